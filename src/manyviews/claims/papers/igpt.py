"""iGPT (Chen et al. 2020)."""

from functools import cache

from manyviews.claims import Arm, Claim, Order, Peak, Scale
from manyviews.runs import Run
from manyviews.worth import evaluate

LAPTOP = Scale(data="world", net="small_igpt/6x64/8px", size=32, batch=64, budget="250steps")
GPU = Scale(data="cifar10", net="small_igpt", size=32, batch=128, budget="50ep")


@cache
def _probed(run: str) -> dict[int, float]:
    """Top-1 of a linear probe by layer, as shares of the test set."""
    found = evaluate(run, protocol=("layers",))["figures"]["layers"]["by_layer"]
    return dict(enumerate(found))


def _at(run: Run, depth: float) -> float:
    """The probe of the layer at a share of the depth."""
    layers = _probed(str(run.path))
    return layers[round(depth * (len(layers) - 1))]


def first(run: Run) -> float:
    return _at(run, 0.0)


def quarter(run: Run) -> float:
    return _at(run, 0.25)


def middle(run: Run) -> float:
    return _at(run, 0.5)


def three_quarters(run: Run) -> float:
    return _at(run, 0.75)


def last(run: Run) -> float:
    return _at(run, 1.0)


DEPTHS = {
    "first": first,
    "a quarter": quarter,
    "middle": middle,
    "three quarters": three_quarters,
    "last": last,
}


CLAIMS = {
    "igpt-middle": Claim(
        sentence="In a net that has learned to generate images, the middle layers predict the labels best.",
        source="section 4.1, figure 2",
        arms={name: Arm("igpt", measure=at) for name, at in DEPTHS.items()},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear probe of a layer",
        predicts=Peak(*DEPTHS),
        paper="CIFAR-10, iGPT-L: the probe rises to layer 20 of 48 and falls after it.",
    ),
    "igpt-order": Claim(
        sentence="Predicting the next pixel gives better features than predicting hidden ones.",
        source="figure 4, comparison with BERT",
        arms={"next": Arm("igpt", measure=middle), "hidden": Arm("igpt", objective="masked", measure=middle)},
        laptop=LAPTOP,
        gpu=GPU,
        measure="linear probe of the layer in the middle",
        predicts=Order("next", "hidden"),
        paper="Linear probe, CIFAR-10: about a point lower with hidden pixels; on ImageNet 6 points.",
    ),
}  # fmt: skip
