"""Images of any size on one square canvas, in memory; read by several processes where there are many.

Sounds of any length likewise: the middle of each, followed by zeros where others are longer.

Shapes   B N images, H W pixels, S side of the canvas; uint8. Sounds are int16 [1, T].
"""

import signal
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from manyviews.data.decode import Unreadable
from manyviews.data.skipped import Skipped
from manyviews.views import centred, kind_of

if TYPE_CHECKING:
    from manyviews.data.items import ItemSet

PART = 128
"""Items that a process reads at a time."""


def squares(x_BCHW: Tensor, size: int, ids: bool = False) -> Tensor:
    """The centre square of each image, at most ``size`` pixels wide: uint8 [B, 3, S, S]; of sounds that many samples.

    Of ``ids`` the nearest is taken instead of a mean.
    """
    if kind_of(x_BCHW) == "sounds":
        return centred(x_BCHW, size).contiguous()
    height, width = x_BCHW.shape[-2:]
    side = min(height, width)
    target = min(side, size)
    shape = (max(round(height * target / side), target), max(round(width * target / side), target))
    x_BCHW = F.interpolate(x_BCHW, shape, mode="nearest-exact") if ids else resized(x_BCHW, shape)
    top, left = (shape[0] - target) // 2, (shape[1] - target) // 2
    return x_BCHW[..., top : top + target, left : left + target].contiguous()


def resized(x_BCHW: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(x_BCHW.shape[-2:]) == shape:
        return x_BCHW
    return F.interpolate(x_BCHW, shape, mode="bilinear", antialias=True)


def stacked(squares: list[Tensor], size: int) -> Tensor:
    """Squares of one side as they are; of several sides, all enlarged to ``size``. uint8 [N, 3, S, S].

    Sounds of several lengths are all made as long as the longest, by zeros.
    """
    if squares and kind_of(squares[0]) == "sounds":
        longest = max(sound.shape[-1] for sound in squares)
        return torch.stack([F.pad(sound, (0, longest - sound.shape[-1])) for sound in squares])
    if len({square.shape[-1] for square in squares}) > 1:
        squares = [resized(square[None], (size, size))[0] for square in squares]
    return torch.stack(squares)


def read_all(data: "ItemSet", size: int, skipped: Skipped, workers: int) -> list[Tensor | None]:
    """The centre square of every item, at most ``size`` pixels wide; None, and noted, where it cannot be read.

    Raises ``ManyviewsError`` where more than 1% cannot, once all are known.
    """
    # Processes, not threads: Pillow holds the interpreter's lock while it decodes.
    loader = DataLoader(
        Parts(data, size),
        batch_size=None,
        collate_fn=as_it_is,
        num_workers=workers,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # its own, so that no state of the caller's moves
    )
    found: list[Tensor | None] = []
    for part in loader:
        for result in part:
            if isinstance(result, str):
                skipped.miss(data.names[len(found)], result)
            found.append(None if isinstance(result, str) else torch.from_numpy(result))
        skipped.seen += len(part)
    skipped.check(data.name, len(data))
    return found


def ignore_interrupts(_: int) -> None:
    """In a worker: Ctrl-C reaches every process of the terminal, but only the main one decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def as_it_is(part: list[np.ndarray | str]) -> list[np.ndarray | str]:
    """Keeps the loader from turning arrays into tensors."""
    return part


class Parts(Dataset[list[np.ndarray | str]]):
    """Part -> its squares as arrays, or the reason why there is none.

    Arrays, because each tensor that crosses a process boundary would keep a file open.
    """

    def __init__(self, data: "ItemSet", size: int):
        self.data = data
        self.size = size

    def __len__(self) -> int:
        return -(-len(self.data) // PART)

    def __getitem__(self, part: int) -> list[np.ndarray | str]:
        return [self._square(item) for item in range(part * PART, min((part + 1) * PART, len(self.data)))]

    def _square(self, item: int) -> np.ndarray | str:
        try:
            return squares(self.data.read_at(item, self.size)[None], self.size)[0].numpy()
        except Unreadable as error:
            return str(error)
