"""The one contract between a paper and everything else.

A paper that proposes how to learn is one file under ``methods/``; the file's name is the method's name
on the command line. It holds a module docstring (the paper), ``Config`` (its hyper-parameters),
``ANATOMY`` (what tells it from its neighbours), one ``Method`` class and ``RECIPES``; and ``SERVES``, where a
hyper-parameter is read only beside some value of another one.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import Tensor, nn

from manyviews import code, nets
from manyviews.data import Reading
from manyviews.errors import ManyviewsError, nearest
from manyviews.nets.encoder import Encoder
from manyviews.views import Kind, Looks, Matrix, suited

if TYPE_CHECKING:
    from manyviews.data.tokeniser import Tokeniser

EmbedAll: TypeAlias = Callable[[], Tensor]  # every item of the training set through the encoder: [N, width]
NetFactory: TypeAlias = Callable[
    ..., Encoder
]  # net(), net(in_channels=1), net(within="lab({})") for an encoder around it (`nets.around`), net(size=64)


@dataclass(frozen=True)
class Spec:
    """What a method may know of the data before it sees any of it."""

    items: int  # N, the size of memory banks
    size: int  # side of a view in pixels; of sounds, samples of a window; of texts, tokens
    classes: int | None = None  # None where there are no labels
    rgb: Callable[[], Matrix] | None = (
        None  # covariance [3, 3] of the colours in [0, 1], computed when first asked
    )
    colours: Callable[[], Tensor] | None = (
        None  # a sample of the set's pixels, uint8 [M, 3], read when first asked
    )
    senses: Mapping[str, int] = field(default_factory=dict)  # what comes beside the images -> its channels
    class_names: tuple[str, ...] | None = None
    labels: Tensor | None = None  # [N] int64, -1 where hidden; only for methods that declare ``supervised``
    upright: bool = True  # False: what is to be seen has no up and down
    mirror: bool = True  # False: its left and right differ
    colour: float = 1.0  # share of the changes of colour that views are to have
    tokeniser: "Tokeniser | None" = None  # of texts: what their tokens mean, and how many there are

    @property
    def vocabulary(self) -> "Tokeniser":
        """What tokens mean, where the data is texts."""
        if self.tokeniser is None:
            raise ManyviewsError("This data has no tokens: give texts.")
        return self.tokeniser


@dataclass
class Batch:
    """One step's items. ``label`` is present only for methods that declare ``supervised``."""

    views: list[Tensor]  # V tensors, each [B, C, H, W]; of sounds [B, 1, T]; of texts int64 [B, R, T]
    index: Tensor  # [B] place of each item in the data set
    label: Tensor | None = None  # [B] int64
    senses: dict[str, list[Tensor]] = field(
        default_factory=dict
    )  # for each that the method asked for V tensors, each [B, c, S, S] in [0, 1]: where the views look, on it


@dataclass
class Out:
    """What a step gives back: a scalar loss, what to log, and what ``after_step`` needs."""

    loss: Tensor
    log: dict[str, Tensor] = field(default_factory=dict)  # name -> scalar
    carry: Any = None  # a tensor [B, ...], or a tuple of such; rows in the order of the batch
    z: Tensor | None = (
        None  # [B, D] the embedding that the loss compares: the monitor watches it for collapse
    )


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What tells contrastive papers apart, as data: a row of ``manyviews methods``."""

    pretext: str
    positives: str
    negatives: str
    target: str
    objective: str


class Method(nn.Module):
    """How one paper learns: views of a batch in, a loss out."""

    encoder: Encoder  # what is kept when learning is over
    sees: ClassVar[Kind] = "images"  # what it learns from, and its net reads
    supervised: ClassVar[bool] = False  # True: `batch.label` is filled; False: no label ever reaches `loss`
    unlabelled: ClassVar[bool] = False  # True: also learns from items whose label is hidden, which then is -1
    colours: ClassVar[bool] = False  # True: it changes colours by itself too, by the share `spec.colour`
    learned_views: int | None = None  # the first so many; a twin alone looks at the others. None: all

    def __init__(self, config: Any, spec: Spec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec

    @classmethod
    def senses(cls, config: Any) -> tuple[str, ...]:
        """What ``batch.senses`` has to hold under this ``Config``: names of ``ItemSet.senses``; none unless told."""
        return ()

    @classmethod
    def reading(cls, config: Any) -> Reading | None:
        """How texts become the tokens that it learns from under this ``Config``; None of methods that see none."""
        return None

    def views(self) -> Looks:
        """How an item is seen."""
        raise NotImplementedError

    def suited_views(self) -> Looks:
        """``views`` as this data wants them."""
        spec = self.spec
        return suited(
            self.views(),
            upright=spec.upright,
            mirror=spec.mirror,
            colour=spec.colour,
            elsewhere=self.colours,
        )

    def loss(self, batch: Batch, progress: float) -> Out:
        """The loss of one step at ``progress`` in [0, 1] of the run."""
        raise NotImplementedError

    def before_step(self, progress: float) -> None:
        """Called between the backward pass and the optimiser's step: a layer that is still frozen drops its gradient."""

    def after_step(self, out: Out, progress: float) -> None:
        """Called after the optimiser's step: the twin follows, the queue turns."""

    def before_epoch(self, epoch: int, embed: EmbedAll) -> None:
        """Called as each pass over the data begins: clustering, neighbours. What it finds belongs in buffers.

        Torch's global generator is a function of (seed, epoch) here, so what is drawn is the same when a run is resumed.
        """

    def pictures(self, image_B3HW: Tensor) -> dict[str, Tensor]:
        """What the method can show of some images, uint8 ``[B, 3, H, W]``, when it has learned.

        A title -> uint8 ``[R, C, 3, S, S]``, R rows of C pictures. Called in eval mode, without gradients.
        """
        return {}

    def writes(self) -> list[str]:
        """What the method writes when it has learned, a text an entry. Called in eval mode, without gradients."""
        return []

    def classifier_head(self) -> nn.Linear | None:
        """What turns embeddings into class scores, where the method learns it; it is kept beside the encoder."""
        return None

    def class_names(self) -> tuple[str, ...] | None:
        """What the classes of ``classifier_head`` are called, where the method knows it better than the data."""
        return self.spec.class_names

    def constant_rate(self) -> list[nn.Parameter]:
        """The parameters whose learning rate the schedule leaves at its peak."""
        return []


# -- discovery: the folder is the registry ---------------------------------------------------------------------

FOLDER = Path(__file__).parent / "methods"


@cache
def names() -> tuple[str, ...]:
    """All methods, by the names of their files."""
    return tuple(sorted(path.stem for path in FOLDER.rglob("*.py") if path.stem != "__init__"))


def titles() -> dict[str, str]:
    """The first line of each method's file, read without importing any: the list behind ``--help``."""
    lines = {
        path.stem: path.read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0]
        for path in FOLDER.rglob("*.py")
    }
    return {name: lines[name] for name in names()}


@dataclass(frozen=True)
class Paper:
    """A method's file, opened: what the command line, the docs and the tests walk over."""

    name: str
    module: ModuleType
    own: Path | None = None  # where the file lies, if it is none of the package's

    @property
    def address(self) -> str:
        """What `find` finds it by again, from any folder."""
        return self.name if self.own is None else str(self.own)

    @property
    def title(self) -> str:
        """The first line of the file: its name and its idea in one sentence."""
        return (self.module.__doc__ or self.name).strip().splitlines()[0]

    @property
    def config(self) -> type:
        return self.module.Config

    @property
    def anatomy(self) -> Anatomy:
        return self.module.ANATOMY

    @property
    def serves(self) -> dict[str, tuple[str, tuple[Any, ...]]]:
        """Hyper-parameters that are read only beside some values of another one: its name, and these; () is any but 0."""
        return getattr(self.module, "SERVES", {})

    @property
    def recipes(self) -> dict[str, Any]:
        return self.module.RECIPES

    @property
    def method(self) -> type[Method]:
        """The one Method that the file itself defines."""
        own = [
            kind
            for _, kind in inspect.getmembers(self.module, inspect.isclass)
            if issubclass(kind, Method) and kind.__module__ == self.module.__name__
        ]
        if len(own) != 1:
            raise ManyviewsError(
                f"Methods file '{self.name}' must define exactly one Method, but defines {len(own)}"
            )
        return own[0]

    def suits(self, kind: Kind, data: str, net: str | None = None) -> None:
        """Raise a ``ManyviewsError`` unless data of this kind is what the method learns from, and its net reads."""
        learns = f"{self.name} learns from {self.method.sees}"
        if kind != self.method.sees:
            raise ManyviewsError(f"{learns}; {data} holds {kind}.")
        if net is not None and (reads := nets.sees(net)) != kind:
            raise ManyviewsError(f"{learns}; the net {net} reads {reads}: choose another --net.")


def find(name: str, *, asked: bool = True) -> Paper:
    """Open a method by its name; or by the path of a file of one's own, ``mine.py``, whose code is then run.

    Args:
        asked: it is the user who gives the name. False: a run's record does, which may come from a stranger.

    Raises:
        ManyviewsError: there is no such method (the nearest names are suggested), the file does not hold one, or it is a run
            that asks for it and the user never has.
    """
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise ManyviewsError(f"There is no file {path}; give a methods file, or a method's name.")
        if asked:
            code.name(path)
        elif not code.is_named(path):
            raise ManyviewsError(
                f"This run learned by {path}, a file that was never named here, and opening it would run its code: if you trust it, "
                f"say `manyviews pretrain {path} --help` once, then this again."
            )
        return _own(path, path.stat().st_mtime_ns)
    if name not in names():
        hint = nearest(name, names(), f"there are {', '.join(names())}.")
        raise ManyviewsError(f"There is no method '{name}'; {hint}")
    path = next(path for path in FOLDER.rglob(f"{name}.py"))
    dotted = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    return Paper(name, importlib.import_module(f"manyviews.methods.{dotted}"))


@cache
def _own(path: Path, changed: int) -> Paper:
    """A methods file from outside the package, opened once as long as it is not ``changed``."""
    if path.stem in names():
        raise ManyviewsError(
            f"{path} has the name of a method that is there already; call the file otherwise."
        )
    module = code.run(path, f"manyviews.methods.own.{code.dotted(path)}")
    if lacks := [part for part in ("Config", "ANATOMY", "RECIPES") if not getattr(module, part, None)]:
        raise ManyviewsError(f"{path} is no methods file: it has no {' and no '.join(lacks)}.")
    return Paper(path.stem, module, path)
