"""DeepCluster (Caron et al. 2018, arXiv:1807.05520)."""

import torch
from torch import Tensor

from manyviews.claims import Arm, Claim, Order, Scale
from manyviews.runs import Run
from manyviews.training import checkpoint

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=32, budget="3ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=256, budget="50ep")
LARGEST = 0.1  # of the clusters


def share_of_largest(label_N: Tensor, clusters: int) -> float:
    """The share of the items that the largest tenth of the clusters hold."""
    size_K = torch.bincount(label_N, minlength=clusters).sort(descending=True).values
    return float(size_K[: max(1, round(LARGEST * clusters))].sum() / size_K.sum())


def crowded(run: Run) -> float:
    """That share in the run's last clustering, which is in its checkpoint."""
    state, _ = checkpoint.newest(run.path / "checkpoints")
    assert state is not None
    return share_of_largest(state["method"]["label_N"], run.settings["config"]["clusters"])


CLAIMS = {
    "deepcluster-clusters": Claim(
        sentence="Several times as many clusters as there are classes are better than one cluster per class.",
        source="section 4.1, figure 2c",
        arms={"50": Arm("deepcluster", clusters=50), "10": Arm("deepcluster", clusters=10)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear",
        predicts=Order("50", "10"),
        paper="ImageNet with its 1,000 classes: 10,000 clusters are best, better than 1,000.",
        remark="Both data sets have ten classes. The classifier starts anew with each clustering, and in a short pass it cannot learn many more clusters.",
    ),
    "deepcluster-uniform": Claim(
        sentence="Giving every cluster the same weight keeps a few large ones from taking everything.",
        source="section 3.3, trivial parametrization",
        arms={
            "the same weight": Arm("deepcluster"),
            "as many as they have": Arm("deepcluster", uniform=False),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure=crowded,
        best="low",
        predicts=Order("the same weight", "as many as they have"),
        unit="share of the images in the largest tenth of the clusters, a tenth where all are even",
        paper="No figure: if most images belonged to a few clusters, the net would predict the same for every image.",
    ),
}
