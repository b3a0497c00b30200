"""Batches of a set, for ever, from any step: what step t holds is a function of (seed, t) alone.

Shapes   B items of the global batch, b = B / world of them on this rank, V views, S side of a view.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from manyviews import rng
from manyviews.data.canvas import ignore_interrupts
from manyviews.data.decode import Unreadable
from manyviews.data.items import ItemSet, require
from manyviews.data.skipped import Skipped
from manyviews.errors import ManyviewsError
from manyviews.views import Looks, View

SHARE = 0.5  # of a GPU's free memory that a set may take up; a larger one stays where it is, and each batch is sent

TRIES = 100
"""Replacements that are tried for one unreadable image before giving up."""


@dataclass(frozen=True)
class Drawn:
    """What one step is given, on this rank."""

    step: int
    epoch: int
    index: Tensor
    """int64 [b]: which items of the set. A replacement's own number where an item could not be read."""
    image: Tensor | None
    """uint8 [b, 3, H, W] (of sounds int16 [b, 1, T]) of a resident set, on the device."""
    crops: list[Tensor] | None
    """V tensors uint8 [b, 3, S, S] of a set on disk, on the device: ``Views.finish`` does the rest."""
    label: Tensor | None
    """int64 [b], on the device."""
    missed: tuple[tuple[str, str], ...] = ()
    """(name, reason) of items that could not be read and were replaced."""
    senses: dict[str, Tensor] = field(default_factory=dict)
    """uint8 [b, c, H, W] each, of a resident set, on the device."""

    def to(self, device: torch.device | str) -> "Drawn":
        """The same with pixels and labels on ``device``, copied without waiting where the memory is pinned."""
        return replace(
            self,
            image=None if self.image is None else self.image.to(device, non_blocking=True),
            crops=None if self.crops is None else [crop.to(device, non_blocking=True) for crop in self.crops],
            label=None if self.label is None else self.label.to(device, non_blocking=True),
            senses={name: sense.to(device, non_blocking=True) for name, sense in self.senses.items()},
        )

    def pin_memory(self) -> "Drawn":
        """The same in memory that a GPU copies from directly."""
        return replace(
            self,
            crops=None if self.crops is None else [crop.pin_memory() for crop in self.crops],
            label=None if self.label is None else self.label.pin_memory(),
        )


def steps_per_epoch(items: int, batch: int) -> int:
    """Whole batches in one pass; what is left over is dropped, and differs from pass to pass.

    Raises ``ManyviewsError`` for a batch larger than the data.
    """
    if batch < 1:
        raise ManyviewsError(f"A batch has at least 1 item, not {batch}.")
    if batch > items:
        raise ManyviewsError(
            f"A batch of {batch} is larger than the data: there are {items} items, so at most --batch {items}."
        )
    return items // batch


@dataclass(frozen=True)
class Order:
    """Which items a step takes: each pass is a permutation that depends on (seed, epoch) alone."""

    items: int
    batch: int
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def steps(self) -> int:
        """Steps of one pass."""
        return steps_per_epoch(self.items, self.batch)

    def rows(self) -> range:
        """The rows of the global batch that belong to this rank."""
        share = self.batch // self.world
        return range(self.rank * share, (self.rank + 1) * share)

    def permutation(self, epoch: int) -> Tensor:
        """All items in the order of one pass, int64 [N]."""
        return torch.randperm(self.items, generator=rng.generator(self.seed, "order", epoch))


def batches(
    data: ItemSet,
    *,
    batch: int,
    seed: int,
    step: int = 0,
    rank: int = 0,
    world: int = 1,
    views: Looks | None = None,
    workers: int = 0,
    device: torch.device | str = "cpu",
    skipped: Skipped | None = None,
    senses: Sequence[str] = (),
) -> Iterator[Drawn]:
    """Batches without end, the first being that of ``step``.

    The order is a function of (seed, epoch); ``batch`` is the global batch, of which rank r of ``world`` takes the
    rows from r B / world on. A resident set is indexed on ``device``. A set on disk is read by ``workers`` processes
    (0: by this one), which crop each image at its own resolution as ``views`` draws for (seed, "views", step); the
    result does not depend on how many workers there are.

    ``senses`` names what is wanted of the items beside their images; only resident sets have any.

    An image that cannot be read is replaced by another, chosen by (seed, step, row), and noted in
    ``skipped`` (unless given, ``data.skipped``).

    Raises ``ManyviewsError``: a batch larger than the data or not divisible among the ranks; a sense that the set
    lacks; more than 1% of the images unreadable.
    """
    steps_per_epoch(len(data), batch)
    if batch % world:
        raise ManyviewsError(
            f"A batch of {batch} cannot be shared evenly by {world} devices: choose a multiple of {world}."
        )
    order = Order(len(data), batch, seed, rank, world)
    require(data, senses)
    if data.values is not None:
        return _resident(data, order, step, torch.device(device), senses)
    if views is None:
        raise ManyviewsError(
            f"{data.name} is not in memory, and without views its images have no common size: use resident()."
        )
    skipped = data.skipped if skipped is None else skipped
    loader = _loader(data, order, step, views, workers, torch.device(device))
    return _streamed(data, loader, skipped, torch.device(device))


def _resident(
    data: ItemSet, order: Order, start: int, device: torch.device, senses: Sequence[str]
) -> Iterator[Drawn]:
    assert data.values is not None
    wanted = [data.values, *(data.senses[name] for name in senses)]
    on_device = sum(values.nbytes for values in wanted) <= SHARE * _free(device)
    pixels, *others = (values.to(device) if on_device else values.cpu() for values in wanted)
    labels = None if data.labels is None else data.labels.to(device)
    for step, epoch, index in _indices(order, start):
        here = index.to(device, non_blocking=True)
        rows = here if on_device else index
        image, *seen = (values[rows].to(device, non_blocking=True) for values in (pixels, *others))
        label = None if labels is None else labels[here]
        more = dict(zip(senses, seen, strict=True))
        yield Drawn(step, epoch, index, image, None, label, senses=more)


def _free(device: torch.device) -> float:
    """Bytes of a GPU that nobody has taken; without end elsewhere, where a set lies in memory already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def _loader(
    data: ItemSet, order: Order, start: int, views: Looks, workers: int, device: torch.device
) -> DataLoader[Drawn]:
    return DataLoader(
        CroppedSteps(data, order, views),
        batch_size=None,
        sampler=From(start),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # its own, so that no state of the caller's moves
    )


def _streamed(
    data: ItemSet, loader: DataLoader[Drawn], skipped: Skipped, device: torch.device
) -> Iterator[Drawn]:
    for drawn in loader:
        for name, why in drawn.missed:
            skipped.miss(name, why)
        skipped.seen += len(drawn.index)
        skipped.check(data.name, len(data))
        if not drawn.crops:  # even the replacements could not be read
            raise skipped.error(data.name, len(data))
        yield drawn.to(device)


def _indices(order: Order, start: int) -> Iterator[tuple[int, int, Tensor]]:
    rows, steps = order.rows(), order.steps
    for epoch in count(start // steps):
        permutation = order.permutation(epoch)
        first = epoch * steps
        for step in range(max(start, first), first + steps):
            offset = (step - first) * order.batch
            yield step, epoch, permutation[offset + rows.start : offset + rows.stop]


class From(Sampler[int]):
    """The steps from ``start`` on, without end."""

    def __init__(self, start: int):
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return count(self.start)


class CroppedSteps(Dataset[Drawn]):
    """Step -> this rank's rows of it, read and cropped. A worker makes a whole step, so views are drawn once."""

    def __init__(self, data: ItemSet, order: Order, views: Looks):
        self.data = data
        self.order = order
        self.views = views
        self.side = enough(views)
        self._pass: tuple[int, Tensor] | None = None

    def __getitem__(self, step: int) -> Drawn:
        epoch, rows = step // self.order.steps, self.order.rows()
        offset = step % self.order.steps * self.order.batch
        items = self._permutation(epoch)[offset + rows.start : offset + rows.stop].tolist()
        draws = self.views.draw(self.order.batch, self.order.seed, "views", step)
        missed: list[tuple[str, str]] = []
        index, crops = [], []
        for row, item in zip(rows, items, strict=True):
            item, image = self._readable(item, step, row, missed)
            if image is None:
                return Drawn(step, epoch, torch.tensor(index), None, None, None, tuple(missed))
            index.append(item)
            crops.append(self.views.crop(image, draws, row))
        index_b = torch.tensor(index)
        stacked = [torch.stack(view) for view in zip(*crops, strict=True)]
        label = None if self.data.labels is None else self.data.labels[index_b]
        return Drawn(step, epoch, index_b, None, stacked, label, tuple(missed))

    def _readable(
        self, item: int, step: int, row: int, missed: list[tuple[str, str]]
    ) -> tuple[int, Tensor | None]:
        """The item's image; or that of another, the first readable of those that (seed, step, row) gives."""
        others: torch.Generator | None = None
        for _ in range(TRIES):
            try:
                return item, self.data.read_at(item, self.side)
            except Unreadable as error:
                missed.append((self.data.names[item], str(error)))
            others = others or rng.generator(self.order.seed, "replacement", step, row)
            item = int(torch.randint(self.order.items, (), generator=others))
        return item, None

    def _permutation(self, epoch: int) -> Tensor:
        if self._pass is None or self._pass[0] != epoch:
            self._pass = (epoch, self.order.permutation(epoch))
        return self._pass[1]


def enough(views: Looks) -> int:
    """Shorter side in pixels from which on no crop of ``views`` is ever enlarged: decoding more is waste."""
    sides = []
    for view in views.views:
        if not isinstance(view, View):  # a sound or a text is read whole
            continue
        area = 1.0 if view.crop is None else view.crop[0]
        narrow = 1.0 if view.crop is None else min(view.ratio[0], 1 / view.ratio[1], 1.0)
        scale = 1.0 if view.scale is None else view.scale[1]
        sides.append(math.ceil(view.size * scale / math.sqrt(area * narrow)))
    return max(sides, default=0)
