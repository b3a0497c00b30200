"""A set of items, which are images, sounds or texts: in memory, or on disk and read one at a time.

Shapes   N items, C = 3 channels, H W pixels, uint8 in [0, 255]; of sounds T samples; of texts R rows of T tokens.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from manyviews import rng
from manyviews.data.canvas import read_all, squares, stacked
from manyviews.data.skipped import Skipped
from manyviews.errors import ManyviewsError
from manyviews.views import Kind

if TYPE_CHECKING:
    from manyviews.data.tokeniser import Tokeniser

MANY = 2000
"""Items from which on starting processes pays."""

MOST_WORKERS = 16

CLASSES = "classes"
"""The sense that holds a class of every pixel: ids, which are never mixed with their neighbours."""

VOID = 255
"""The id of a pixel that has no class."""


class Pairs(NamedTuple):
    """Two texts an item, each by itself, and how alike they are said to be."""

    texts_N4T: Tensor
    """int32: the first one's rows, as `views.texts` says, and below them the second one's."""
    score_N: Tensor
    """float32, the larger the more."""


@dataclass
class ItemSet:
    """A set of images, of sounds, or of texts.

    ``read`` may be any callable; sets that this package opens have one that survives pickling, so that workers
    can be started in any way.
    """

    name: str
    names: Sequence[str]
    """One path or id per item."""
    labels: Tensor | None
    """int64 [N], indices into ``classes``."""
    classes: tuple[str, ...] | None
    values: Tensor | None
    """What all items are, where they are in memory: of images uint8 [N, 3, H, W]; of sounds int16 [N, 1, T], zeros after
    those that end earlier; of texts int32 [N, R, T], as `views.texts` says."""
    read: Callable[[int], Tensor]
    """Item -> uint8 [3, H, W] at its own resolution, a sound, int16 [1, T], or a text. Raises ``Unreadable``, naming the file."""
    read_near: Callable[[int, int], Tensor] | None = None
    """(item, side) -> the same image, perhaps decoded smaller, its shorter side at least ``side`` if it ever was."""
    skipped: Skipped = field(default_factory=Skipped)
    """What could not be read so far."""
    senses: Mapping[str, Tensor] = field(default_factory=dict)
    """What else is known of every pixel of a resident set (depth, a mask): name -> uint8 [N, c, H, W]. ``CLASSES`` holds
    ids, ``VOID`` where there is none."""
    pixel_classes: tuple[str, ...] | None = None
    """What the ids in the sense ``CLASSES`` are called."""
    kind: Kind = "images"
    """What the items are; a method says which it learns from by ``sees``."""
    rate: int | None = None
    """Samples a second, of sounds; None where it is not known, as with arrays."""
    tokeniser: "Tokeniser | None" = None
    """What the tokens of texts mean."""
    pairs: "Pairs | None" = None
    """Of items that are two texts of which it is said how alike they are: these texts by themselves, and that."""

    def __post_init__(self) -> None:
        self.skipped.kind = self.kind
        for name, sense in self.senses.items():
            if self.values is None:
                raise ManyviewsError(
                    f"{self.name} is on disk, and only a set in memory can have {name} beside its images; read it into memory first."
                )
            due, found = (len(self.values), *self.values.shape[-2:]), (len(sense), *sense.shape[-2:])
            if sense.dtype != torch.uint8 or sense.ndim != 4 or due != found:
                raise ManyviewsError(
                    f"The {name} of {self.name} must be uint8 [{due[0]}, c, {due[1]}, {due[2]}], as its images are, "
                    f"not {sense.dtype} {list(sense.shape)}."
                )

    def __len__(self) -> int:
        return len(self.names)

    def read_at(self, item: int, side: int) -> Tensor:
        """Item as uint8 [3, H, W], decoded as small as its shorter side's staying at least ``side`` allows."""
        return self.read(item) if self.read_near is None else self.read_near(item, side)

    def text(self, item: int) -> str | None:
        """What a text says; None of items that are no texts."""
        if self.tokeniser is None:
            return None
        tokens_T, part_T = self.read(item)[:2]
        return self.tokeniser.decode(tokens_T[part_T > 0])

    def subset(self, indices: Sequence[int] | Tensor) -> "ItemSet":
        """The chosen items, in the order given."""
        chosen = torch.as_tensor(indices, dtype=torch.long).cpu()
        items = tuple(chosen.tolist())
        values = None if self.values is None else self.values[chosen.to(self.values.device)]
        return replace(
            self,
            names=[self.names[i] for i in items],
            labels=None if self.labels is None else self.labels[chosen.to(self.labels.device)],
            values=values,
            read=Chosen(self.read, items) if values is None else Rows(values),
            read_near=None if self.read_near is None else Chosen(self.read_near, items),
            skipped=Skipped(whole=self.skipped.whole or len(self)),
            senses={name: sense[chosen.to(sense.device)] for name, sense in self.senses.items()},
            pairs=None if self.pairs is None else Pairs(*(each[chosen] for each in self.pairs)),
        )

    def to(self, device: torch.device | str) -> "ItemSet":
        """The same set with its values and senses, where it has them, on ``device``. Labels stay on the CPU."""
        if self.values is None:
            return self
        senses = {name: sense.to(device) for name, sense in self.senses.items()}
        return replace(self, values=self.values.to(device), senses=senses)

    def resident(self, size: int, *, workers: int | None = None) -> "ItemSet":
        """The set in memory, on a square canvas of at most ``size`` x ``size`` pixels; of sounds the middle ``size`` samples.

        Each image's shorter side is resized to ``size`` (bilinear, antialiased) and the centre square kept. Where
        all images have the same smaller square, they stay as they are: enlarging is the views' business.

        ``workers`` processes read the images; unless told, one per core for large sets and none for small ones.

        Unreadable images are left out; ``skipped`` of the result names them. Raises ``ManyviewsError`` where they
        are more than 1% of the set, of a subset more than 1% of that which it was taken from.
        """
        if self.values is not None:
            height, width = self.values.shape[-2:]
            if self.kind == "texts" or (width <= size and (height == width or self.kind == "sounds")):
                return self
            values = _all_squares(self.values, size)
            senses = {
                name: _all_squares(sense, size, ids=name == CLASSES) for name, sense in self.senses.items()
            }
            return replace(self, values=values, read=Rows(values), read_near=None, senses=senses)
        if len(self) == 0:
            raise ManyviewsError(f"{self.name} has no {self.kind} to read.")
        skipped = Skipped(kind=self.kind, whole=self.skipped.whole)
        if workers is None:
            workers = min(cores(), MOST_WORKERS) if len(self) >= MANY else 0
        found = read_all(self, size, skipped, workers)
        kept = [i for i, square in enumerate(found) if square is not None]
        values = stacked([square for square in found if square is not None], size)
        del found
        return ItemSet(
            name=self.name,
            names=[self.names[i] for i in kept],
            labels=None if self.labels is None else self.labels[kept],
            classes=self.classes,
            values=values,
            read=Rows(values),
            skipped=skipped,
            kind=self.kind,
            rate=self.rate,
        )


@dataclass(frozen=True)
class Rows:
    """Reads from memory."""

    values: Tensor

    def __call__(self, item: int) -> Tensor:
        return self.values[item]


@dataclass(frozen=True)
class Chosen:
    """Reads some items of another set."""

    read: Callable[..., Tensor]
    items: tuple[int, ...]

    def __call__(self, item: int, *side: int) -> Tensor:
        return self.read(self.items[item], *side)


def in_memory(
    name: str,
    values: Tensor,
    labels: Tensor | None,
    classes: tuple[str, ...] | None,
    senses: Mapping[str, Tensor] | None = None,
) -> ItemSet:
    """A resident set of uint8 [N, 3, H, W] whose items are named by their numbers."""
    names = [f"{name}/{i:06d}" for i in range(len(values))]
    return ItemSet(name, names, labels, classes, values, Rows(values), senses=senses or {})


def require(data: ItemSet, senses: Sequence[str]) -> None:
    """Raises ``ManyviewsError`` where a set lacks one of ``senses``, naming what is missing and what is there."""
    if missing := [name for name in senses if name not in data.senses]:
        here = f"it has {', '.join(data.senses)}" if data.senses else "it has nothing beside its images"
        raise ManyviewsError(
            f"{data.name} has no {' and no '.join(missing)} that this method could learn from: {here}. "
            "The world (--data world) has depth, mask and classes; for sets of your own, give them as ItemSet.senses."
        )


def fits(data: ItemSet, size: int, limit_bytes: int = 2 << 30) -> bool:
    """Whether ``data.resident(size)`` would take at most ``limit_bytes`` (2 GiB unless told)."""
    if data.values is not None:
        if data.kind == "texts":
            return True
        size = min(size, *data.values.shape[2:])
    return len(data) * (2 * size if data.kind == "sounds" else 3 * size * size) <= limit_bytes


def split_of(data: ItemSet, fraction: float, seed: int = 0) -> tuple[ItemSet, ItemSet]:
    """(train, test): ``fraction`` of every class is set aside for testing, by the seed alone.

    Every class of two items or more gets at least one on either side. Raises ``ManyviewsError`` for fewer than two
    items.
    """
    test = set_aside(data.name, len(data), data.labels, fraction, seed)
    return data.subset((~test).nonzero().squeeze(1)), data.subset(test.nonzero().squeeze(1))


def set_aside(name: str, count: int, labels: Tensor | None, fraction: float, seed: int) -> Tensor:
    """Which of ``count`` items are for testing, bool [N], as ``split_of`` has it."""
    if not 0 < fraction < 1:
        raise ManyviewsError(f"The share set aside for testing must lie between 0 and 1, not {fraction}.")
    if count < 2:
        raise ManyviewsError(f"{name} has {count} item(s): too few to set any aside for testing.")
    labels = torch.zeros(count, dtype=torch.long) if labels is None else labels.cpu()
    test = torch.zeros(count, dtype=torch.bool)
    for label in labels.unique().tolist():
        items = (labels == label).nonzero().squeeze(1)
        if len(items) < 2:
            continue
        share = min(max(round(len(items) * fraction), 1), len(items) - 1)
        order = torch.randperm(len(items), generator=rng.generator(seed, "split", label))
        test[items[order[:share]]] = True
    if not test.any():  # as many classes as items
        order = torch.randperm(count, generator=rng.generator(seed, "split"))
        test[order[: max(round(count * fraction), 1)]] = True
    return test


def summary(data: ItemSet) -> dict[str, object]:
    """What a run folder keeps of its data: name, items, classes, shape, senses (name -> channels), a cheap digest, what
    was skipped.

    The digest covers all names (below their common folder, so that moving it changes nothing), all labels, and the
    values of up to 64 items where the set is in memory.
    """
    digest = hashlib.blake2b(digest_size=16)
    names = [name.replace(os.sep, "/") for name in data.names]
    common = os.path.commonprefix(names).rpartition("/")[0]  # noqa: RUF071, cut at the last slash
    for name in names:
        digest.update(name[len(common) :].encode(errors="surrogateescape") + b"\0")
    if data.labels is not None:
        digest.update(data.labels.cpu().contiguous().numpy().tobytes())
    if data.values is not None:
        some = torch.linspace(0, len(data) - 1, min(len(data), 64)).long()
        digest.update(data.values[some.to(data.values.device)].cpu().contiguous().numpy().tobytes())
    return {
        "name": data.name,
        "items": len(data),
        "classes": None if data.classes is None else list(data.classes),
        "shape": None if data.values is None else list(data.values.shape[1:]),
        "senses": {name: sense.shape[1] for name, sense in data.senses.items()},
        "kind": data.kind,
        "rate": data.rate,
        "vocabulary": None if data.tokeniser is None else len(data.tokeniser),
        "digest": digest.hexdigest(),
        "skipped": data.skipped.as_dict(),
    }


def _all_squares(x_NCHW: Tensor, size: int, ids: bool = False) -> Tensor:
    return torch.cat([squares(part.cpu(), size, ids) for part in x_NCHW.split(512)]).to(x_NCHW.device)


def cores() -> int:
    """Cores that this process may use, which can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
