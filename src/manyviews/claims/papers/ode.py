"""Neural ODE (Chen, Rubanova, Bettencourt & Duvenaud 2018, arXiv:1806.07366)."""

import math
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.claims import Arm, Claim, Equal, Found, Gap, Order, Rising, Scale
from manyviews.data import open_data
from manyviews.nets.counting import kept
from manyviews.nets.encoder import judging
from manyviews.nets.ode import ODEBlock, ODENet, Solver
from manyviews.runs import Run
from manyviews.views import plain

WIDTH, HIDDEN, STATES, SEEDS = 4, 32, 16, 5
TOLERANCES = {"1e-7": 1e-7, "1e-5": 1e-5, "1e-3": 1e-3}
TRUE = 1e-10  # tolerance of the gradient that counts as true
STRONG = 3.0  # times what a layer gives at its start, so that states go far and fast
FEW, MANY = 4, 64  # steps of rk4
LEARNED_AT = 128  # images in a batch


class Smooth(nn.Module):
    """f(t, z) with a layer of tanh: under ReLUs the adjoint's own change jumps, and a solver creeps over every jump."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(WIDTH + 1, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, t: Tensor, z_NW: Tensor) -> Tensor:
        h_NH = self.hidden(torch.cat([z_NW, t.expand(len(z_NW), 1)], dim=1))
        return STRONG * self.out(torch.tanh(STRONG * h_NH))


def _problem(seed: int) -> tuple[Smooth, Tensor]:
    """A random f in float64, and states that it changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Smooth().double(), torch.randn(STATES, WIDTH, dtype=torch.float64)


def _gradient(f: nn.Module, z: Tensor, tolerance: float, adjoint: bool) -> Tensor:
    """Of f's parameters and of z(0), for a loss of z(1)."""
    z = z.clone().requires_grad_()
    block = ODEBlock(f, Solver(rtol=tolerance, atol=tolerance), adjoint=adjoint)
    loss = block(z).square().sum()
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, [z, *f.parameters()])])


def gradients() -> Found:
    """How far the adjoint's gradient lies from the true one, in norm, as a share of it and as a power of ten."""
    figures: dict[str, list[float]] = {name: [] for name in TOLERANCES}
    for seed in range(SEEDS):
        f, z = _problem(seed)
        true = _gradient(f, z, TRUE, adjoint=False)
        for name, tolerance in TOLERANCES.items():
            off = _gradient(f, z, tolerance, adjoint=True) - true
            figures[name].append(float((off.norm() / true.norm()).log10()))
    return Found(figures)


def evaluations() -> Found:
    """Calls of f in a forward pass, as a power of ten."""
    figures: dict[str, list[float]] = {name: [] for name in TOLERANCES}
    for seed in range(SEEDS):
        f, z = _problem(seed)
        for name, tolerance in TOLERANCES.items():
            block = ODEBlock(f, Solver(rtol=tolerance, atol=tolerance))
            with torch.no_grad():
                block(z)
            figures[name].append(math.log10(block.forward_evaluations))
    return Found(figures)


def exponents() -> Found:
    """p of memory ~ steps^p, between few and many steps."""
    f, z = _problem(0)
    z.requires_grad_()

    def grows(adjoint: bool) -> float:
        few, many = (
            kept(ODEBlock(f, Solver("rk4", steps=steps), adjoint=adjoint), z) for steps in (FEW, MANY)
        )
        return math.log(many / few) / math.log(MANY / FEW)

    found = {"adjoint": [grows(True)], "through the solver": [grows(False)]}
    return Found(found | {"0": [0.0], "1": [1.0]})


@cache
def _asked(folder: str) -> tuple[int, int]:
    """Calls of f forward and backward in a step on the first images to judge by."""
    run = Run.open(folder)
    x_B3HW, label_B = _first(run)
    assert run.classifier is not None
    net, head = cast(ODENet, run.encoder.cpu()), run.classifier.head.cpu()
    with torch.enable_grad():
        F.cross_entropy(head(net(x_B3HW)), label_B).backward()
    middle = cast(ODEBlock, net.middle)
    return middle.forward_evaluations, middle.backward_evaluations


def _first(run: Run) -> tuple[Tensor, Tensor]:
    root = run.settings["data"]["root"]
    test = open_data(run.recipe.data, split="test", root=root, size=run.size)
    assert test.labels is not None
    seen = range(min(LEARNED_AT, len(test)))
    return plain(torch.stack([test.read(item) for item in seen]), run.size), test.labels[: len(seen)]


def forward(run: Run) -> float:
    return _asked(str(run.path))[0]


def backward(run: Run) -> float:
    return _asked(str(run.path))[1]


def forward_before(run: Run) -> float:
    """Of the net that the run began with."""
    train = open_data(run.recipe.data, root=run.settings["data"]["root"], size=run.size)
    net = cast(ODENet, run.build(run.seen(train)).encoder.cpu())
    x_B3HW, _ = _first(run)
    with judging(net):
        net(x_B3HW)
    return cast(ODEBlock, net.middle).forward_evaluations


LAPTOP = Scale(data="world", size=20, batch=LEARNED_AT, budget="2ep")
GPU = Scale(data="mnist", recipe="ode", budget="20ep")
CALLS = "evaluations of f"
SOLVER = (
    "The paper's solver is an implicit Adams method; counted here are the calls of dopri5 at the tolerance of the authors' later example, "
    "which also bounds the error of the parameters' gradients as it goes back."
)
CLAIMS = {
    "ode-adjoint": Claim(
        sentence="The tighter the tolerance, the nearer the adjoint's gradient comes to the true one.",
        source="section 2, appendix B",
        exact=gradients,
        predicts=Rising(*TOLERANCES, margin=1.0),
        unit="relative error of the gradient, log10",
        paper="No figure: the adjoint's equations are exact, and solved as precisely as is asked for.",
        remark="Of a small random f with tanh, in float64; the true gradient goes back through a solver a thousand times as precise. "
        "A hundred times the tolerance should cost a factor of ten or more.",
    ),
    "ode-memory": Claim(
        sentence="By the adjoint, memory does not grow with the number of steps; through the solver it grows in proportion.",
        source="section 2; section 3, table 1",
        exact=exponents,
        predicts=(
            Equal("adjoint", "0", within=0.01),
            Equal("through the solver", "1", within=0.05),
        ),
        unit="exponent of the number of steps in what the forward pass keeps",
        paper="Table 1: memory O(1) for the ODE-Net; for RK-Net, which goes back through its solver, in proportion to its evaluations.",
    ),
    "ode-tolerance": Claim(
        sentence="A tighter tolerance takes more evaluations.",
        source="section 3, figure 3a",
        exact=evaluations,
        predicts=Order(*TOLERANCES),
        unit=f"{CALLS} in a forward pass, log10",
        paper="Figure 3a, a plot without figures in the text: the error falls as evaluations rise.",
        remark="Of a small random f with tanh, in float64, solved by dopri5; the paper's solver is an implicit Adams method.",
    ),
    "ode-residual": Claim(
        sentence="An ODE-Net classifies about as well as a residual net with almost three times its parameters.",
        source="section 3, table 1",
        arms={
            "ODE-Net": Arm("supervised", net="ode_net"),
            "ResNet": Arm("supervised", net="ode_net/residual"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="single",
        predicts=Gap("ODE-Net", "ResNet", low=-0.03),
        paper="MNIST, test error: ODE-Net 0.42% with 0.22 million parameters, ResNet 0.41% with 0.60 million.",
        remark="On the laptop the ODE-Net is far ahead, of which the paper says nothing: after two passes both are at their beginnings. We think that the norm with which "
        "its f ends lets it learn sooner; the residual blocks, as the paper has them, end with a convolution.",
    ),
    "ode-backward": Claim(
        sentence="The backward pass takes fewer evaluations than the forward pass.",
        source="section 3, figure 3c",
        arms={
            "forward": Arm("supervised", net="ode_net", measure=forward),
            "backward": Arm("supervised", net="ode_net", measure=backward),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure=CALLS,
        predicts=Order("backward", "forward"),
        best="low",
        unit=f"{CALLS} in a step of {LEARNED_AT} images",
        paper="Figure 3c: about half as many backward as forward.",
        remark=SOLVER
        + " At this tolerance each way took three steps of six calls here, and two calls to find the first.",
    ),
    "ode-adapts": Claim(
        sentence="As it learns, an ODE-Net takes more evaluations.",
        source="section 3, figure 3d",
        arms={
            "before training": Arm("supervised", net="ode_net", measure=forward_before),
            "after training": Arm("supervised", net="ode_net", measure=forward),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure=CALLS,
        predicts=Order("after training", "before training"),
        unit=f"{CALLS} in a forward pass",
        paper="Figure 3d: on MNIST the evaluations of a forward pass grow throughout training.",
        remark=SOLVER
        + " Here the random start asks for more than the net after two passes, under each seed. We think that learning first makes f smoother than a random one, and that the "
        "paper's growth, over a training many times as long, comes later.",
    ),
}
