"""Many views of a batch, as tensor operations on the device that the batch is on.

Every decision is derived on the CPU from `Draws`, so a GPU is never asked which samples to blur: nothing waits for it.
Shapes: V views, B samples, R = V B rows of equal size that are processed together, S side of a view.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy
import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.rng import generator
from manyviews.views import blur, colour, geometry, randaugment
from manyviews.views.look import Look
from manyviews.views.several import Several
from manyviews.views.view import Draws, View, draw_uniforms

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, red green blue, in [0, 1]
STD = (0.229, 0.224, 0.225)

# Bytes of float pixels processed at a time: on a CPU a chunk stays in the cache, on a GPU it bounds the memory.
CHUNK_BYTES = {"cpu": 2**22, "other": 2**29}


class Views(Several[View]):
    """Several views of every item. Multi-crop is several `View` of several sizes.

    Views of one size (and blur kernel, padding and number of RandAugment's operations) run together in one batched
    call, whatever else their recipes say.
    """

    items = "images"

    def __init__(self, *views: View) -> None:
        super().__init__(*views)
        _keep_freed_memory()
        self._groups: dict[tuple[int, ...], list[int]] = {}
        for number, view in enumerate(views):
            alike = (view.size, view.blur_kernel, view.pad, view.mirror, view.randaugment[0])
            self._groups.setdefault(alike, []).append(number)

    def draw(self, batch: int, *parts: int | str) -> Draws:
        """The randomness of a global batch of ``batch`` items: a function of ``parts`` alone.

        Example: ``views.draw(256, seed, "views", step).rows(start, stop)`` on each rank.
        """
        more = [3 * view.randaugment[0] for view in self.views]
        return draw_uniforms(len(self.views), batch, generator(*parts), more)

    def __call__(self, image: Tensor, draws: Draws) -> list[Tensor]:
        """All views of uint8 ``[B, 3, H, W]``: per view float32 ``[B, 3, S, S]``, normalised, on its device.

        Raises:
            ManyviewsError: where the image is not uint8 ``[B, 3, H, W]`` or the draws do not belong to it.
        """
        _check_image(image, 4)
        self.check_draws(draws, len(image))
        return self._render(draws, lambda numbers: self._cropper(image, draws, numbers), image.device)

    @torch.no_grad()
    def cropped(self, sense: Tensor, draws: Draws) -> list[Tensor]:
        """Where the views look, on something else that is known of the same pixels (depth, a mask).

        uint8 ``[B, c, H, W]`` to, per view, float32 ``[B, c, S, S]`` in [0, 1]: the same boxes and flips and no change
        of colours; not standardised, and 0 in a view's padding.

        Raises:
            ManyviewsError: where the sense is not uint8 ``[B, c, H, W]`` or the draws do not belong to it.
        """
        if sense.dtype != torch.uint8 or sense.ndim != 4 or 0 in sense.shape:
            raise ManyviewsError(
                f"A sense must be uint8 [B, c, H, W], not {sense.dtype} {list(sense.shape)}."
            )
        self.check_draws(draws, len(sense))
        black, rows = (0.0,) * sense.shape[1], torch.arange(len(sense), device=sense.device)
        return [
            self._cropper(sense, draws, [number], black)(rows).clamp_(0, 1) for number in range(len(self))
        ]

    def cropped_ids(self, ids: Tensor, draws: Draws, outside: int = 255) -> list[Tensor]:
        """Where the views look, on a class of every pixel: uint8 ``[B, H, W]`` to, per view, uint8 ``[B, S, S]``.

        The same boxes and flips; ids are taken from the nearest pixel, never mixed, and are ``outside`` in the padding.

        Raises:
            ManyviewsError: where the ids are not uint8 ``[B, H, W]`` or the draws do not belong to them.
        """
        if ids.dtype != torch.uint8 or ids.ndim != 3 or 0 in ids.shape:
            raise ManyviewsError(f"Ids must be uint8 [B, H, W], not {ids.dtype} {list(ids.shape)}.")
        self.check_draws(draws, len(ids))
        height, width = ids.shape[1:]
        cropped = []
        for view, uniforms in zip(self.views, draws.uniforms, strict=True):
            boxes = geometry.crop_boxes(view, uniforms, height, width, draws.focus).to(ids.device)
            flips, turns = (each.to(ids.device) for each in geometry.flips_and_turns(view, uniforms))
            border = geometry.border_of(view, height, width)
            crop = geometry.crop_nearest(ids, boxes, flips, view.size, border, outside)
            cropped.append(geometry.turned(crop, turns) if view.turn else crop)
        return cropped

    def crop(self, image: Tensor, draws: Draws, row: int) -> list[Tensor]:
        """Crop and flip one full-resolution image in a worker: uint8 ``[3, H, W]`` to V of uint8 ``[3, S, S]``."""
        _check_image(image, 3)
        self.check_draws(draws, None)
        crops = []
        for view, uniforms in zip(self.views, draws.uniforms, strict=True):
            uniform = uniforms[row : row + 1]
            focus = draws.focus and draws.focus.rows(row, row + 1)
            box = geometry.crop_boxes(view, uniform, *image.shape[1:], focus=focus)[0].tolist()
            framed = geometry.bordered(view, image, MEAN)
            flip, turn = (each.item() for each in geometry.flips_and_turns(view, uniform))
            crops.append(geometry.crop_one(framed, box, bool(flip), view.size, int(turn)))
        return crops

    def finish(self, crops: list[Tensor], draws: Draws) -> list[Tensor]:
        """Colour, blur and normalise what workers cropped: V of uint8 ``[B, 3, S, S]`` to V of float32."""
        if len(crops) != len(self.views):
            raise ManyviewsError(
                f"Views.finish got {len(crops)} crops for {len(self.views)} views; give one for each."
            )
        for crop, view in zip(crops, self.views, strict=True):
            _check_image(crop, 4)
            if crop.shape[2:] != (view.size, view.size):
                raise ManyviewsError(
                    f"A crop of {tuple(crop.shape[2:])} came for a view of {view.size} pixels."
                )
        self.check_draws(draws, len(crops[0]))

        def reader(numbers: list[int]) -> Callable[[Tensor], Tensor]:
            stack = torch.cat([crops[number] for number in numbers])
            return lambda rows: stack.index_select(0, rows).float().div_(255)

        return self._render(draws, reader, crops[0].device)

    def _cropper(
        self, image: Tensor, draws: Draws, numbers: list[int], border: tuple[float, ...] = MEAN
    ) -> Callable[[Tensor], Tensor]:
        """A function from row numbers to their crops, float32 ``[n, C, S, S]`` in [0, 1]; padding has ``border``."""
        batch, channels, height, width = image.shape
        size = self.views[numbers[0]].size
        views = [(self.views[number], draws.uniforms[number]) for number in numbers]
        boxes = torch.cat(
            [geometry.crop_boxes(view, uniforms, height, width, draws.focus) for view, uniforms in views]
        )
        each = [geometry.flips_and_turns(view, uniforms) for view, uniforms in views]
        flips, turns = (torch.cat(parts) for parts in zip(*each, strict=True))
        turning = any(view.turn for view, _ in views)
        image = geometry.bordered(views[0][0], image, border)
        height, width = image.shape[2:]

        if image.device.type != "cpu" or max(height, width, size) <= geometry.MATRIX_SIDE:
            boxes, flips, turns = (each.to(image.device, non_blocking=True) for each in (boxes, flips, turns))

            def by_matrices(rows: Tensor) -> Tensor:
                source = image.index_select(0, rows % batch).float().div_(255)
                x = geometry.crop_by_matrices(source, boxes[rows], flips[rows], size)
                return geometry.turned(x, turns[rows]) if turning else x

            return by_matrices

        boxes_list, flips_list, turns_list = boxes.tolist(), flips.tolist(), turns.tolist()

        def one_by_one(rows: Tensor) -> Tensor:
            x = torch.empty(len(rows), channels, size, size)
            for out, row in zip(x, rows.tolist(), strict=True):
                place = boxes_list[row], flips_list[row], size, turns_list[row]
                out.copy_(geometry.crop_one(image[row % batch], *place)).div_(255)
            return x

        return one_by_one

    def _render(
        self,
        draws: Draws,
        reader: Callable[[list[int]], Callable[[Tensor], Tensor]],
        device: torch.device,
    ) -> list[Tensor]:
        views: list[Tensor] = [torch.empty(0)] * len(self.views)
        with torch.no_grad():
            for (size, kernel, *_), numbers in self._groups.items():
                look = Look.joined([Look.of(self.views[n], draws.uniforms[n]) for n in numbers])
                out = _empty((len(look.orders), 3, size, size), device)
                read = reader(numbers)
                for rows in _chunks(look.orders, 12 * size * size, device):
                    rows_there = rows.to(device, non_blocking=True)
                    out[rows_there] = _finish(read(rows_there), look.rows(rows), kernel)
                for number, view in zip(numbers, out.split(len(draws)), strict=True):
                    views[number] = view
        return views


def plain(image: Tensor, size: int) -> Tensor:
    """What an encoder sees when it is judged: uint8 ``[B, 3, H, W]`` to float32 ``[B, 3, size, size]``, normalised.

    Images that are not already ``size`` on both sides are resized (antialiased, the short side to 8/7 of ``size``:
    256 for 224) and cropped in the middle.
    """
    _check_image(image, 4)
    height, width = image.shape[2:]
    if (height, width) != (size, size):
        image = geometry.scaled(geometry.less_long(image), short_side(size))
        top, left = round((image.shape[2] - size) / 2), round((image.shape[3] - size) / 2)
        image = image[:, :, top : top + size, left : left + size]
    return normalise(image.float().div_(255))


def short_side(size: int) -> int:
    """The shorter side, in pixels, to which ``plain`` resizes an image before it cuts the square."""
    return round(size * 8 / 7)


def normalise(x: Tensor) -> Tensor:
    """Standardise float32 ``[..., 3, H, W]`` in [0, 1] by `MEAN` and `STD`."""
    return _normalise_(x.clone())


def picture(view: Tensor) -> Tensor:
    """The picture behind a normalised view ``[..., 3, H, W]``: uint8, for people to look at."""
    mean, std = _mean_and_std(view.device)
    return (view.detach().float() * std + mean).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def _finish(x: Tensor, look: Look, kernel: int) -> Tensor:
    """Everything after the crop, in SimCLR's and BYOL's order, AlexNet's shift last; consumes ``x``.

    RandAugment stands before the greying, which commutes with the blur, as in the code of Tian et al. 2020.
    """
    colour.jitter(x, look.factors.to(x.device, non_blocking=True), look.orders)
    if look.which.shape[1] == 0:
        _change(x, look.grey, colour.grey)
    if look.blur.any():
        blur.blur_(x, look.blur.nonzero()[:, 0], look.sigma[look.blur], kernel)
    if look.which.shape[1] > 0:
        randaugment.augment_(x, look.which, look.amount, MEAN)
        _change(x, look.grey, colour.grey)
    _change(x, look.solarise, colour.solarise)
    if look.shift.any():
        x.add_(look.shift.to(x.device, non_blocking=True)[:, :, None, None])
    return _normalise_(x)


def _change(x: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    if chosen.any():
        rows = chosen.nonzero()[:, 0].to(x.device, non_blocking=True)
        x.index_copy_(0, rows, change(x.index_select(0, rows)))


def _normalise_(x: Tensor) -> Tensor:
    mean, std = _mean_and_std(x.device)
    return x.sub_(mean).div_(std)


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # they are kept, whoever asks first
        mean, std = (torch.tensor(each, device=device)[:, None, None] for each in (MEAN, STD))
    return mean, std


@cache
def _keep_freed_memory() -> None:
    """Free one large block, so that glibc keeps such blocks rather than asking for new pages at every operation.

    Its threshold for returning memory rises to the largest block ever freed, 32 MiB at most; elsewhere this is idle.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _empty(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Like `torch.empty`, but NumPy asks for huge pages: a tenth of the time that a CPU takes to touch new memory."""
    if device.type != "cpu":
        return torch.empty(shape, device=device)
    return torch.from_numpy(numpy.empty(shape, numpy.float32))


def _chunks(orders: Tensor, row_bytes: int, device: torch.device) -> Iterator[Tensor]:
    """Row numbers, sorted by their order of operations so that neighbours can share them, a chunk at a time."""
    limit = CHUNK_BYTES["cpu" if device.type == "cpu" else "other"]
    yield from orders.argsort(stable=True).split(max(1, limit // row_bytes))


def _check_image(image: Tensor, dims: int) -> None:
    shape = "[B, 3, H, W]" if dims == 4 else "[3, H, W]"
    if image.dtype != torch.uint8 or image.ndim != dims or image.shape[-3] != 3:
        raise ManyviewsError(f"An image must be uint8 {shape}, not {image.dtype} {list(image.shape)}.")
    if 0 in image.shape[-2:]:
        raise ManyviewsError(f"An image of {image.shape[-1]}x{image.shape[-2]} pixels has nothing to see.")
