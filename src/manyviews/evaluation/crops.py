"""A classifier's answer from one look at each image, from crops of it, from all of it, and at several scales.

Papers   Ten crops: AlexNet (Krizhevsky et al., NIPS 2012, section 4.1). Dense, the classifier applied everywhere to
         the whole image, and a grid of crops at several scales: VGG (arXiv:1409.1556, section 3.2; both together 4.3).
         Dense at several scales: ResNet (arXiv:1512.03385, section 3.4).
Shapes   B images, C H W pixels, K classes. Scales are of the short side, in sides of the net's own square.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import device_of, read_ahead, same_randomness
from manyviews.evaluation.scores import Scores, scores
from manyviews.nets.encoder import Encoder, judging
from manyviews.views import normalise, plain, short_side
from manyviews.views.geometry import scaled

SCALES = tuple(short / 224 for short in (224, 256, 384, 480, 640))  # ResNet, section 3.4
CROPPED = tuple(short / 224 for short in (256, 384, 512))  # VGG, section 4.2, of nets with scale jitter
PIXELS = 2**23  # that a net sees at once, at most; one image may have more
BATCH = 512

Looks = Callable[[Tensor], Iterator[Tensor]]
"""uint8 ``[B, 3, H, W]`` -> normalised float32 ``[B, 3, h, w]``, one for each look."""
Way = tuple[Callable[[Tensor], Tensor], Looks]
"""Scores ``[B, K]`` of a look, and the looks whose softmax is averaged."""


def single(encoder: nn.Module, head: nn.Module, test: ItemSet, *, classes: int, size: int) -> Scores:
    """The centre of each image, as every embedding is taken."""

    def centre(image_BCHW: Tensor) -> Iterator[Tensor]:
        yield plain(image_BCHW, size)

    return _judged([(nn.Sequential(encoder, head), centre)], encoder, test, classes, size, 1.0)


def ten_crop(
    encoder: nn.Module, head: nn.Module, test: ItemSet, *, classes: int, size: int, mirror: bool = True
) -> Scores:
    """The mean softmax over four corners and the centre of the central square (256 for 224), and their mirror images.

    Here and below ``mirror`` is False where left and right differ: no look is at a mirror image then.
    """
    looks = partial(ten_crops, size=size, mirror=mirror)
    return _judged([(nn.Sequential(encoder, head), looks)], encoder, test, classes, size, 8 / 7)


def multi_crop(
    encoder: nn.Module,
    head: nn.Module,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    scales: Sequence[float] = CROPPED,
    across: int = 5,
    with_dense: bool = False,
    mirror: bool = True,
) -> Scores:
    """The mean softmax over crops in a regular grid on the whole image and their mirror images, at several scales.

    Args:
        across: crops a side of the grid: by default 50 crops a scale with the mirror images, 150 in all.
        with_dense: average it with that of ``multi_scale`` at the same scales: what is beyond a crop's border is zero
            there and seen here, so that each sees what the other does not (VGG, table 5).

    Raises:
        ManyviewsError: there is no scale, or one below 1; fewer than one crop; or, with dense, as in ``dense``.
    """
    _check_scales(scales)
    if across < 1:
        raise ManyviewsError(f"The grid has {across} crops a side; it needs at least one.")

    def crops(image_BCHW: Tensor) -> Iterator[Tensor]:
        for scale in scales:
            yield from grid_of_crops(image_BCHW, size, round(size * scale), across, mirror)

    ways: list[Way] = [(nn.Sequential(encoder, head), crops)]
    if with_dense:
        ways.append(_whole(encoder, head, size, scales, mirror))
    return _judged(ways, encoder, test, classes, size, max(scales))


def dense(
    encoder: nn.Module,
    head: nn.Module,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    scale: float = 8 / 7,
    mirror: bool = True,
) -> Scores:
    """The whole image at one scale (256 for 224), the scores averaged over places; softmax over it and, where ``mirror``, its mirror image.

    Raises:
        ManyviewsError: the net is no convolution from its image to its embedding, so it has no answer for each place.
    """
    return multi_scale(encoder, head, test, classes=classes, size=size, scales=(scale,), mirror=mirror)


def multi_scale(
    encoder: nn.Module,
    head: nn.Module,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    scales: Sequence[float] = SCALES,
    mirror: bool = True,
) -> Scores:
    """``dense``, its softmax averaged over several scales."""
    _check_scales(scales)
    return _judged([_whole(encoder, head, size, scales, mirror)], encoder, test, classes, size, max(scales))


def _check_scales(scales: Sequence[float]) -> None:
    if not scales or min(scales) < 1:
        raise ManyviewsError(f"Scales are {list(scales)}; give at least one scale, each at least 1.")


def _whole(encoder: nn.Module, head: nn.Module, size: int, scales: Sequence[float], mirror: bool) -> Way:
    """The scores everywhere, and the whole image and its mirror image at each scale."""

    def whole(image_BCHW: Tensor) -> Iterator[Tensor]:
        for scale in scales:
            x_BCHW = normalise(scaled(image_BCHW, round(size * scale)).float() / 255)
            yield from _both_sides(x_BCHW, mirror)

    def everywhere(x_BCHW: Tensor) -> Tensor:
        # The head is linear: the mean of all places' scores is the score of their mean.
        return head(mean_of_places(encoder, x_BCHW))

    _check_dense(encoder, size)
    return everywhere, whole


def _both_sides(image_BCHW: Tensor, mirror: bool) -> tuple[Tensor, ...]:
    """An image and, where it has one, its mirror image."""
    return (image_BCHW, image_BCHW.flip(-1)) if mirror else (image_BCHW,)


def ten_crops(image_BCHW: Tensor, size: int, mirror: bool = True) -> Iterator[Tensor]:
    """The ten crops of uint8 ``[B, 3, H, W]``, each normalised ``[B, 3, size, size]``: five, then, where ``mirror``, those of the mirror image."""
    short = short_side(size)
    x_BCHW = scaled(image_BCHW, short)
    top, left = round((x_BCHW.shape[2] - short) / 2), round((x_BCHW.shape[3] - short) / 2)
    square_BCHW = x_BCHW[:, :, top : top + short, left : left + short]
    far, middle = short - size, round((short - size) / 2)
    for seen_BCHW in _both_sides(square_BCHW, mirror):
        for y, x in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
            yield normalise(seen_BCHW[:, :, y : y + size, x : x + size].float() / 255)


def grid_of_crops(
    image_BCHW: Tensor, size: int, short: int, across: int, mirror: bool = True
) -> Iterator[Tensor]:
    """Crops of uint8 ``[B, 3, H, W]`` with its short side at ``short``, from edge to edge, each normalised ``[B, 3, size, size]``
    and, where ``mirror``, followed by its mirror image; one crop is the centre."""
    x_BCHW = scaled(image_BCHW, short)
    tops, lefts = (_places(side - size, across) for side in x_BCHW.shape[2:])
    for top in tops:
        for left in lefts:
            crop_BCHW = normalise(x_BCHW[:, :, top : top + size, left : left + size].float() / 255)
            yield from _both_sides(crop_BCHW, mirror)


def _places(room: int, count: int) -> list[int]:
    return [round(room / 2)] if count == 1 else [round(room * i / (count - 1)) for i in range(count)]


def mean_of_places(encoder: nn.Module, x_BCHW: Tensor) -> Tensor:
    """``[B, D]``: the mean of the embeddings that the net would give at each place of a larger image.

    A net with fully connected layers gives them by a method ``dense``; for one that ends in a mean they are its ``grid``.
    """
    places = getattr(encoder, "dense", None) or cast(Encoder, encoder).grid
    return places(x_BCHW).mean((2, 3))


def _check_dense(encoder: nn.Module, size: int) -> None:
    """On an image of its own size a net that can be applied everywhere has one answer, whichever way it is asked."""
    device = device_of(encoder)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    with judging(encoder), same_randomness(device):
        once = encoder(image)
        try:
            everywhere = mean_of_places(encoder, image)
        except (AttributeError, NotImplementedError):
            everywhere = once[:, :0]
    # One hundredth of the embedding's length: reduced precision may differ by that much, another function by more.
    if once.shape != everywhere.shape or (once - everywhere).norm() > 0.01 * once.norm():
        raise ManyviewsError(
            "This net cannot be applied densely to a larger image, because its embedding is not a mean over "
            'places; take "single", "ten-crop", or "multi-crop" without dense.'
        )


@torch.no_grad()
def _judged(
    ways: Sequence[Way],
    encoder: nn.Module,
    test: ItemSet,
    classes: int,
    size: int,
    scale: float,
) -> Scores:
    assert test.labels is not None
    device, short = device_of(encoder), round(size * max(scale, 8 / 7))
    rows_N, shares_NK = [], []
    with judging(encoder), same_randomness(device):
        for rows, image_BCHW in _batches(test, min(BATCH, max(1, PIXELS // short**2)), short):
            image_BCHW = image_BCHW.to(device)
            by_way = [
                torch.stack([logits(x_BCHW).float().softmax(1) for x_BCHW in looks(image_BCHW)]).mean(0)
                for logits, looks in ways
            ]
            shares_NK.append(torch.stack(by_way).mean(0).cpu())
            rows_N.append(rows)
    if not rows_N:
        raise ManyviewsError(f"{test.name} holds no images, so no accuracy can be given.")
    return scores(torch.cat(shares_NK), test.labels[torch.cat(rows_N)], classes)


def _batches(data: ItemSet, batch: int, short: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Places in the set and their images ``[B, 3, H, W]``, of one shape each; what cannot be read is left out."""
    portions = torch.arange(len(data)).split(batch)
    if data.values is not None:
        yield from ((rows, data.values[rows.to(data.values.device)]) for rows in portions)
        return
    made = read_ahead(data, ((rows.tolist(), lambda item, _: data.read_at(item, short)) for rows in portions))
    for rows, images in zip(portions, made, strict=True):
        alike: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for row, image in zip(rows.tolist(), images, strict=True):
            if image is not None:
                alike.setdefault(tuple(image.shape), []).append((row, image))
        for group in alike.values():
            yield torch.tensor([row for row, _ in group]), torch.stack([image for _, image in group])
