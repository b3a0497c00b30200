"""SwAV (Caron et al. 2020, arXiv:2006.09882)."""

import torch
from torch.nn.functional import normalize

from manyviews.claims import Arm, Claim, Collapse, Equal, Found, Healthy, Order, Scale
from manyviews.claims.papers.simclr import LAPTOP as SIMCLR_LAPTOP
from manyviews.objectives import sinkhorn

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=128, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")

BATCH, PROTOTYPES, WIDTH, EPSILON, SEEDS = 512, 64, 128, 0.05, 5


def unevenness() -> Found:
    """The share of items that would have to move for all prototypes to have as many, after some iterations."""
    figures: dict[str, list[float]] = {"1": [], "3": [], "10": [], "even": [0.0] * SEEDS}
    for seed in range(SEEDS):
        draw = torch.Generator().manual_seed(seed)
        z_BD, c_KD = (normalize(torch.randn(rows, WIDTH, generator=draw)) for rows in (BATCH, PROTOTYPES))
        z_BD = normalize(
            z_BD + 0.5 * c_KD[torch.randint(8, (BATCH,), generator=draw)]
        )  # crowded around eight
        for iterations in (1, 3, 10):
            share_K = sinkhorn(z_BD @ c_KD.T, EPSILON, iterations).mean(0)
            figures[str(iterations)].append(float((share_K - 1 / PROTOTYPES).abs().sum() / 2))
    return Found(figures)


CLAIMS = {
    "swav-iterations": Claim(
        sentence="Three iterations of Sinkhorn's algorithm are enough to spread codes evenly over the prototypes.",
        source="section 3.1, computing codes online",
        exact=unevenness,
        best="low",
        predicts=(Order("3", "1"), Equal("3", "even", within=0.05)),
        unit="share of a batch that lies unevenly",
        paper="Three iterations are fast and sufficient; no figure.",
        remark="Tested on features that crowd around 8 of 64 prototypes, at an epsilon of 0.05.",
    ),
    "swav-equipartition": Claim(
        sentence="If codes need not be spread evenly over the prototypes, SwAV collapses.",
        source="section 3.1",
        arms={"even codes": Arm("swav"), "any codes": Arm("swav", sinkhorn=False)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="knn",
        predicts=(Healthy("even codes"), Collapse("any codes")),
        paper="No figure: the equipartition constraint is what prevents every image from having the same code.",
    ),
    "swav-multicrop": Claim(
        sentence="Adding small crops as further views helps.",
        source="section 5.2, figure 3",
        arms={
            "two crops and four small ones": Arm("swav", local_crops=4, local_area=(0.1, 0.3)),
            "two crops": Arm("swav"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("two crops and four small ones", "two crops"),
        paper="ImageNet, ResNet-50: two to four points more for SwAV and other methods.",
        remark="Both arms see the same number of images but do not take the same time, because small crops cost.",
    ),
    "swav-multicrop-simclr": Claim(
        sentence="Small crops help SimCLR too.",
        source="section 5.2, figure 3",
        arms={
            "two crops and four small ones": Arm("simclr", local_crops=4, local_area=(0.1, 0.3)),
            "two crops": Arm("simclr"),
        },
        laptop=SIMCLR_LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("two crops and four small ones", "two crops"),
        paper="ImageNet, ResNet-50: two to four points more for SwAV and other methods, least for SimCLR.",
        remark="Both arms see the same number of images but do not take the same time, because small crops cost. Each small crop is contrasted with both large ones.",
    ),
}
