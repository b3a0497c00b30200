"""SimSiam (Chen & He 2021, arXiv:2011.10566)."""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from manyviews import nets
from manyviews.claims import Arm, Claim, Collapse, Equal, Found, Healthy, Scale
from manyviews.method import Batch, Spec, find

LAPTOP = Scale(data="world", net="small_resnet", size=24, batch=64, budget="2ep")
GPU = Scale(data="cifar10", net="resnet18", size=32, batch=512, budget="50ep")
SEEDS, IMAGES, SIDE = 5, 16, 16


def _gradient(stop_gradient: bool, seed: int) -> Tensor:
    """Of SimSiam's loss without a predictor, for everything that it trains."""
    paper, net = find("simsiam"), partial(nets.build, "cifar_resnet8", size=SIDE)
    config = paper.config(dim=64, predictor=False, stop_gradient=stop_gradient)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = cast(type[Any], paper.method)(config, net, Spec(IMAGES, SIDE)).double()
        views = [torch.randn(IMAGES, 3, SIDE, SIDE, dtype=torch.float64) for _ in range(2)]
    loss = method.loss(Batch(views, torch.arange(IMAGES)), progress=0.5).loss
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(method.parameters()))])


def gradients() -> Found:
    """The gradient with the stop-gradient beside that without it."""
    figures: dict[str, list[float]] = {"cosine": [], "ratio of lengths": []}
    for seed in range(SEEDS):
        stopped, whole = (_gradient(stop, seed) for stop in (True, False))
        figures["cosine"].append(float(torch.cosine_similarity(stopped, whole, dim=0)))
        figures["ratio of lengths"].append(float(stopped.norm() / whole.norm()))
    return Found(figures | {"1": [1.0] * SEEDS, "1/2": [0.5] * SEEDS})


CLAIMS = {
    "simsiam-stop-gradient": Claim(
        sentence="Without its stop-gradient, SimSiam collapses.",
        source="section 4.1, figure 2",
        arms={"with": Arm("simsiam"), "without": Arm("simsiam", stop_gradient=False)},
        laptop=LAPTOP,
        gpu=GPU,
        predicts=(Healthy("with"), Collapse("without")),
        paper="ImageNet, ResNet-50, 100 epochs: 67.7% with the stop-gradient, 0.1% without.",
    ),
    "simsiam-gradient": Claim(
        sentence="Without a predictor the stop-gradient only halves the gradient: its direction is that of the loss without a stop-gradient.",
        source="section 4.2",
        exact=gradients,
        predicts=(
            Equal("cosine", "1", within=1e-6),
            Equal("ratio of lengths", "1/2", within=1e-6),
        ),
        unit="cosine and ratio of lengths of the two gradients",
        paper="Exact, for the symmetric loss, which can therefore be expected to collapse without a predictor; the asymmetric loss, for which this does not hold, fails without it too.",
        remark="Computed in float64, on the net's random start and random images.",
    ),
    "simsiam-predictor": Claim(
        sentence="Without its predictor, SimSiam collapses.",
        source="section 4.2, table 1",
        arms={"with": Arm("simsiam"), "without": Arm("simsiam", predictor=False)},
        laptop=LAPTOP,
        gpu=GPU,
        predicts=(Healthy("with"), Collapse("without")),
        paper="ImageNet, ResNet-50, 100 epochs: 67.7% with the predictor (68.1% where its rate does not decay), 0.1% without.",
    ),
}
