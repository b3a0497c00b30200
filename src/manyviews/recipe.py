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
    pretrained: str | None = None  # start from weights of torchvision, timm, transformers; or of timm:FILE
    size: int = 32  # side of a view in pixels; for sounds, samples per window; for texts, tokens
    labels: float = 1.0  # share of the labels to use, the same in every class; for methods that use labels
    batch: int = 256  # items per step, over all devices
    budget: str = "20ep"  # length of the run: 20m, 2h, 5ep, 10000steps, 2M items
    optimiser: Optimiser = "sgd"  # gd needs all data as one batch; sgd has momentum unless --inertia is 0
    lr: float = 0.06  # peak learning rate; it does not change with --batch
    inertia: float = 0.9  # the optimiser's momentum, rho or first beta; --momentum is that of a method's twin
    beta2: float = 0.999  # second beta of adam, adamw, lamb: share of the past in the mean squared gradient
    eps: float = 1e-8  # adam and adamw: added to the root of that mean, so that nothing is divided by 0
    weight_decay: float = 5e-4  # of matrices and kernels; adamw and lamb keep it apart from the gradient
    weight_decay_end: float | None = None  # weight decay at the end of the run, reached along a cosine (DINO)
    layer_decay: float = 1.0  # share of a layer's rate that the one below it gets (BEiT and MAE fine-tune so)
    decay_all: bool = False  # also decay biases and norms (as the code of MoCo and SimSiam does)
    trust: float = 0.001  # LARS: layer-wise trust coefficient (eta in the paper)
    schedule: Schedule = "cosine"  # how lr falls; rsqrt: as 1 / sqrt(time)
    milestones: tuple[float, ...] = (0.6, 0.8)  # step schedule: shares of the run at which lr falls tenfold
    warmup: float = 0.0  # share of the run over which lr rises linearly from 0
    accumulate: int = 1  # pieces of a batch, to save memory; negatives, codes and token means are per piece
    clip: float | None = None  # largest allowed norm of the gradient; None: no limit
    upright: bool = True  # --no-upright: nothing is up or down (cells, satellites), so views are rotated too
    mirror: bool = True  # --no-mirror: left and right differ (digits, letters), so no view is flipped
    colour: float = 1.0  # share of the method's colour augmentation to keep: 0 where colours carry meaning
    crops: Literal["random", "contrastive"] = "random"  # contrastive: in a box around what the net looks at
    crop_alpha: float = 0.6  # crop centres follow Beta(alpha, alpha) over the box (0.1 for small sets)
    crop_threshold: float = 0.1  # activation (0 to 1 in each image) from which on a place belongs to the box
    crop_first: float = 0.2  # share of the run before boxes are first computed; until then, crops are plain
    crop_every: float = 0.2  # share of the run between updates of the boxes, each at the start of an epoch
    precision: Literal["float32", "bf16"] = "float32"  # of forward and backward pass; weights stay float32
    compile: bool = False  # torch.compile the encoder: slower to start, faster to run
    channels_last: bool = True  # memory layout of images: the same figures, faster on most machines
    shard: bool = False  # split weights, gradients and optimiser state among the devices (FSDP2)
    seed: int = 0  # of the first weights, the order of items, views and dropout

    @property
    def pose(self) -> dict[str, bool]:
        """How what is seen may be posed, for whoever else makes views of it."""
        return {"upright": self.upright, "mirror": self.mirror}


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
