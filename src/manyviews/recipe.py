"""How a run is trained: everything that is not the method's own idea. Plain data, nothing more."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal

from manyviews.errors import ManyviewsError

UNITS = {
    "s": "seconds", "sec": "seconds", "m": "minutes", "min": "minutes", "h": "hours",
    "ep": "epochs", "epoch": "epochs", "epochs": "epochs",
    "step": "steps", "steps": "steps", "item": "items", "items": "items",
}  # fmt: skip
SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}
PREFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}

Schedule = Literal["cosine", "linear", "step", "rsqrt", "constant"]
Optimiser = Literal["gd", "sgd", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lars", "lamb"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data, net, optimiser and schedule of one run. Each field is a flag of ``manyviews pretrain``."""

    data: str = "world"  # named set, folder, CSV or hf:name
    net: str = "small_resnet"  # `manyviews nets` lists all; or timm/NAME, torchvision/NAME
    pretrained: str | None = None  # start with what a library has for the net (timm), or timm:FILE has
    size: int = 32  # side of a view in pixels; of sounds, samples of a window; of texts, tokens
    labels: float = 1.0  # share of the labels that may be seen, evenly in every class; for what learns labels
    batch: int = 256  # items a step, over all devices
    budget: str = "20ep"  # how long: 20m, 2h, 5ep, 10000steps, 2M items
    optimiser: Optimiser = "sgd"  # gd takes the whole data as its batch; sgd has momentum unless inertia is 0
    lr: float = 0.06  # learning rate at its peak, for this batch
    inertia: float = 0.9  # the optimiser's momentum, rho or first beta; a method's `momentum` is its twin's
    beta2: float = 0.999  # second beta of adam, adamw, lamb: share of the past in the mean of squares
    eps: float = 1e-8  # of adam and adamw: what the root of that mean is kept from 0 by
    weight_decay: float = 5e-4  # of matrices and kernels, which adamw decays apart from the gradient
    weight_decay_end: float | None = None  # what the weight decay becomes by the end, along a cosine (DINO)
    layer_decay: float = 1.0  # each layer's share of the rate of the one above it (BEiT and MAE fine-tune so)
    decay_all: bool = False  # also decay biases and norms (MoCo's and SimSiam's code do)
    trust: float = 0.001  # LARS: layer-wise trust coefficient (eta in the paper)
    schedule: Schedule = "cosine"  # how lr falls; rsqrt: as 1 / sqrt of the time passed
    milestones: tuple[float, ...] = (0.6, 0.8)  # step schedule: shares of the run at which lr falls tenfold
    warmup: float = 0.0  # share of the run over which lr rises linearly from 0
    accumulate: int = 1  # pieces of a batch, to save memory (negatives, codes, token means are a piece's)
    clip: float | None = None  # largest allowed norm of the gradient
    upright: bool = True  # no-upright: nothing is up or down (cells, satellites), and views are turned too
    colour: float = 1.0  # share of the changes of colour that the method's views have: 0 where colours tell
    crops: Literal["random", "contrastive"] = "random"  # contrastive: in a box around what the net looks at
    crop_alpha: float = 0.6  # of Beta(alpha, alpha), by which the centre lies in the box (0.1 for small sets)
    crop_threshold: float = 0.1  # share of the brightest from which on a place belongs to the box
    crop_first: float = 0.2  # share of the run after which boxes are looked for, and plain crops until then
    crop_every: float = 0.2  # share of the run after which they are looked for again, as an epoch begins
    precision: Literal["float32", "bf16"] = "float32"  # of the forward and backward pass; weights are float32
    compile: bool = False  # torch.compile the encoder: slower to start, faster to run
    channels_last: bool = True  # how images lie in memory: the same figures, on most machines sooner
    shard: bool = False  # split weights, gradients and optimiser state among the devices (FSDP2)
    seed: int = 0  # of first weights, order, views and dropout


@dataclass(frozen=True)
class Budget:
    """A length with its unit: one of seconds, epochs, steps or items."""

    amount: float
    unit: Literal["seconds", "epochs", "steps", "items"]

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read ``20m``, ``2h``, ``5ep``, ``10000steps``, ``2M items``.

        Raises:
            ManyviewsError: no unit, an unknown one, or an amount that is not positive.
        """
        match = re.fullmatch(
            r"\s*(\d[\d_]*(?:\.\d+)?(?:e\d+)?)\s*(?:([kKMG])(?=\s*[a-z]{2}))?\s*([a-z]+)\s*", text
        )
        unit = UNITS.get(match[3]) if match else None
        if match is None or unit is None:
            raise ManyviewsError(
                f"The budget '{text}' is not a length with a unit; write for example 20m, 2h, 5ep, 10000steps or 2M items"
            )
        amount = float(match[1].replace("_", "")) * PREFIX[match[2] or ""]
        if amount <= 0:
            raise ManyviewsError(f"The budget '{text}' is not positive; give at least one step")
        if unit in SECONDS:
            return cls(amount * SECONDS[unit], "seconds")
        return cls(amount, unit)  # pyright: ignore[reportArgumentType]

    def steps(self, batch: int, steps_per_epoch: int) -> int | None:
        """The number of steps, at least 1; None where only the clock can tell."""
        per_unit = {"epochs": steps_per_epoch, "steps": 1, "items": 1 / batch}
        if self.unit == "seconds":
            return None
        return max(1, round(self.amount * per_unit[self.unit]))


def record(kind: type, values: dict[str, Any]) -> Any:
    """A frozen dataclass from JSON.

    Raises:
        ManyviewsError: a key that the dataclass does not know.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ManyviewsError(
            f"{kind.__module__}.{kind.__name__} knows no setting '{unknown[0]}'; remove it from run.json"
        )
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )
