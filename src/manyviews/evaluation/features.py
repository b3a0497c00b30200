"""Every image of a set, embedded once.

Shapes   N images, B a batch, C H W pixels, D embedding.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from manyviews.data import ItemSet, Unreadable
from manyviews.data.items import cores
from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import judging
from manyviews.views import centred, kind_of, picture, plain, short_side
from manyviews.views.waves import HEARD

THREADS = 8  # that decode: decoders let go of the interpreter, so they run side by side


@runtime_checkable
class Embedder(Protocol):
    """What can be judged: something that turns images (or sounds) into vectors."""

    size: int  # the side of the square at which it looks at images, in pixels; of sounds, samples of a window

    def embed(self, image_BCHW_uint8: Tensor) -> Tensor:
        """``[B, 3, H, W]`` uint8, or sounds ``[B, 1, T]`` int16 -> ``[B, D]`` float32, without gradients."""
        ...


@dataclass(frozen=True)
class Features:
    """A set seen by an embedder. Rows are in the order of the set, less the images that cannot be read."""

    h_ND: Tensor  # float32 on the CPU
    labels: Tensor | None  # int64 [N]
    index: Tensor | None = None  # int64 [N], each row's place in the set; None: every place

    def __len__(self) -> int:
        return len(self.h_ND)

    def subset(self, rows: Tensor) -> "Features":
        """The features of some rows, labels along with them."""
        labels = None if self.labels is None else self.labels[rows]
        return Features(self.h_ND[rows], labels, rows if self.index is None else self.index[rows])


class EncoderEmbedder:
    """An encoder as an embedder: the centre of each image, in evaluation mode, changing no state.

    Of sounds it hears the middle two windows, where they last so long.

    Args:
        encoder: maps ``[B, 3, size, size]`` normalised images, or sounds ``[B, 1, T]``, to ``[B, D]``.
        size: side in pixels of the square that the encoder sees; of sounds, samples of a window.
        device: where to run; None: wherever the encoder's parameters are at the time.
    """

    def __init__(self, encoder: nn.Module, size: int, device: str | torch.device | None = None):
        self.encoder = encoder if device is None else encoder.to(device)
        self.size = size

    def embed(self, image_BCHW_uint8: Tensor) -> Tensor:
        device = device_of(self.encoder)
        with judging(self.encoder), same_randomness(device):
            return self.encoder(plain(image_BCHW_uint8.to(device), self.size)).float()


def embed_all(embedder: Embedder, data: ItemSet, *, batch: int = 512) -> Features:
    """Embed every image of ``data``, in order. Images on disk are read by threads, one batch ahead.

    Raises:
        ManyviewsError: the set is empty, or too many of its images cannot be read (see ``data.Skipped``).
    """
    if len(data) == 0:
        raise ManyviewsError(f"{data.name} holds no images, so there is nothing to embed.")
    if data.values is not None:
        return Features(_filled(len(data), map(embedder.embed, data.values.split(batch))), data.labels)

    def make(item: int, _: int) -> Tensor:
        return canvas(data.read_at(item, short_side(embedder.size)), embedder.size)

    kept = list[int]()

    def parts() -> Iterator[Tensor]:
        portions = [rows.tolist() for rows in torch.arange(len(data)).split(batch)]
        made = read_ahead(data, ((rows, make) for rows in portions))
        for rows, images in zip(portions, made, strict=True):
            found = [(row, image) for row, image in zip(rows, images, strict=True) if image is not None]
            if found:
                kept.extend(row for row, _ in found)
                yield embedder.embed(torch.stack([image for _, image in found]))

    h_ND = _filled(len(data), parts())
    index = torch.tensor(kept)
    return Features(h_ND, None if data.labels is None else data.labels[index], index)


def _filled(rows: int, parts: Iterable[Tensor]) -> Tensor:
    """All parts after each other on the CPU, ``rows`` at the most, and never twice in memory."""
    h_ND, done = torch.empty(0), 0
    for part in parts:
        if not done:
            h_ND = torch.empty(rows, *part.shape[1:], dtype=part.dtype)
        h_ND[done : done + len(part)] = part
        done += len(part)
    return h_ND[:done]


Make = Callable[[int, int], Tensor]
"""An item and its place in the batch -> what is batched; may raise ``Unreadable``."""


def read_ahead(data: ItemSet, jobs: Iterable[tuple[Sequence[int], Make]]) -> Iterator[list[Tensor | None]]:
    """For each job (items, make): what was made of each item, None where it cannot be read.

    Threads work on the next job while the caller is busy with this one. What cannot be read is noted in ``data.skipped``.
    """

    def one(item: int, place: int, make: Make) -> Tensor | None:
        if data.names[item] in data.skipped.files:
            return None
        try:
            return make(item, place)
        except Unreadable as reason:
            data.skipped.miss(data.names[item], str(reason))
            return None

    def done(tasks: Sequence[Future[Tensor | None]]) -> list[Tensor | None]:
        made = [task.result() for task in tasks]
        data.skipped.seen += len(made)
        data.skipped.check(data.name, len(data))
        return made

    with ThreadPoolExecutor(min(THREADS, cores())) as pool:
        ahead: list[Future[Tensor | None]] | None = None
        try:
            for items, make in jobs:
                now, ahead = ahead, [pool.submit(one, item, k, make) for k, item in enumerate(items)]
                if now is not None:
                    yield done(now)
            if ahead is not None:
                yield done(ahead)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # whoever stops early waits for nothing


def canvas(image_CHW_uint8: Tensor, size: int) -> Tensor:
    """The square that ``plain`` would cut from one image, still as uint8 ``[3, size, size]``.

    Images of different shapes can then be stacked, and ``plain`` has only to normalise them. Of a sound, all that
    ``plain`` would hear, with zeros behind it where that is less.
    """
    if kind_of(image_CHW_uint8) == "sounds":
        heard = centred(image_CHW_uint8, HEARD * size)
        return nn.functional.pad(heard, (0, HEARD * size - heard.shape[-1]))
    return picture(plain(image_CHW_uint8[None], size)[0])


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are; the CPU for one without parameters."""
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


@contextmanager
def same_randomness(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, torch's global generators stand afterwards where they stood before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
