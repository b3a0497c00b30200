"""InstDisc (Wu et al. 2018, arXiv:1805.01978)."""

import math
from statistics import fmean

import torch
from torch.nn.functional import normalize

from manyviews.claims import Arm, Claim, Equal, Found, Healthy, Order, Scale
from manyviews.objectives import log_normaliser
from manyviews.runs import Run
from manyviews.training.hooks import at_line

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="3ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")
NEAR = 3  # even lines of the log on either side that a running mean is over


def roughness(run: Run) -> float:
    """How far the objective without the proximal term strays from its running mean in the second half, root mean square."""
    weight, rows = run.settings["config"]["proximal"], run.metrics()
    steps = rows[-1]["step"]
    rows = [row for row in rows if row["step"] > steps / 2 and at_line(row["step"], steps)]
    losses = [row["loss"] - weight * row["moved"] for row in rows]
    around = [fmean(losses[max(0, i - NEAR) : i + NEAR + 1]) for i in range(len(losses))]
    return math.sqrt(fmean((loss - mean) ** 2 for loss, mean in zip(losses, around, strict=True)))


def _arm(weight: float) -> Arm:
    return Arm("instdisc", softmax=False, proximal=weight, bank_momentum=0.0)


def normaliser() -> Found:
    """Z as the first batch estimates it, over Z as all items give it."""
    items, noise, batch, width, tau = 12_000, 1024, 64, 128, 0.07
    ratios = []
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        bank_ND, v_BD = (normalize(torch.randn(rows, width, generator=draw)) for rows in (items, batch))
        s_BN = v_BD @ bank_ND.T / tau
        told = torch.randint(items, (batch, noise), generator=draw)
        exact = s_BN.double().exp().sum(1).mean()
        ratios.append(float(log_normaliser(s_BN.gather(1, told), items).exp() / exact))
    return Found({"one batch": ratios, "all items": [1.0] * 5})


CLAIMS = {
    "instdisc-normaliser": Claim(
        sentence="The first batch is enough to estimate the normaliser of the instance softmax.",
        source="section 3.2, equation 8",
        exact=normaliser,
        predicts=Equal("one batch", "all items", within=0.05),
        unit="estimate of Z, relative",
        paper="An estimate from the first batches is found to be sufficient; no figure.",
        remark="Tested on vectors of random direction, such as a bank holds at the beginning, when Z is estimated once and for all. Whether the estimate still fits later is another matter.",
    ),
    "instdisc-proximal": Claim(
        sentence="A proximal term makes the objective oscillate less.",
        source="section 3.3, figure 3",
        arms={"with": _arm(30.0), "without": _arm(0.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure=roughness,
        best="low",
        predicts=(Healthy("with"), Order("with", "without")),
        unit="deviation of NCE about its running mean, nats",
        paper="No figure: the objective is said to oscillate less and to converge faster.",
        remark="NCE is measured without the proximal term itself. A representation that collapsed or learned more slowly would have a smooth objective as well: therefore this claim also asks that it does not collapse, and instdisc-smooth measures how good it is. The bank keeps only the last embedding, as in the paper; in the authors' code and in our recipes it moves slowly instead.",
    ),
    "instdisc-smooth": Claim(
        sentence="With a proximal term the representation is better after the same number of passes.",
        source="section 3.3, figure 3",
        arms={"with": _arm(30.0), "without": _arm(0.0)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("with", "without"),
        paper="No figure: the term is said to stabilise training, to speed it up and to improve the representation.",
        remark="Judged by a linear probe, because after three passes NCE's nearest neighbours are hardly better than an untrained encoder's.",
    ),
}
