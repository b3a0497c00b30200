"""What a view is: a recipe (`View`), the raw randomness behind a batch of them (`Draws`), and their ranges.

A view is a picture of an item after cropping, flipping, turning, colour jitter, greying, blur and solarisation, in that
order: the pipeline of SimCLR (arXiv:2002.05709, appendix A) and BYOL (arXiv:2006.07733, appendix B). What supervised
nets are trained on stands beside it: scale jitter, padded crops, and a shift of the colours along their principal axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.views.contrastive_crop import Focus

TRIES = 10  # torchvision's number of attempts at a crop that fits

# Which uniform decides what: one row of `Draws` is one sample, so a row means the same in every process.
AREA = slice(0, TRIES)
ASPECT = slice(TRIES, 2 * TRIES)
TOP, LEFT, FLIP, JITTER = range(2 * TRIES, 2 * TRIES + 4)
FACTORS = slice(2 * TRIES + 4, 2 * TRIES + 8)
ORDER = slice(2 * TRIES + 8, 2 * TRIES + 12)
GREY, BLUR, SIGMA, SOLARISE = range(2 * TRIES + 12, 2 * TRIES + 16)
ALPHAS = slice(2 * TRIES + 16, 2 * TRIES + 19)
UNIFORMS = 2 * TRIES + 19
LATE = 3  # drawn after those of all views: what came before the alphas is still drawn as it was without them
AUGMENT = slice(UNIFORMS, None)  # three for each of a view's RandAugment operations, after all of those

Matrix: TypeAlias = tuple[tuple[float, ...], ...]  # rows


@dataclass(frozen=True)
class Draws:
    """The raw randomness of a batch: per view, ``[B, UNIFORMS]`` or more, float32 in [0, 1), on the CPU.

    Pixels enter only later, so the same draws serve images of any size, in any process.
    """

    uniforms: tuple[Tensor, ...]
    focus: Focus | None = None  # where the crops of these items have their centres; None: anywhere

    def __len__(self) -> int:
        """The number of samples, B."""
        return len(self.uniforms[0])

    def rows(self, start: int, stop: int) -> "Draws":
        """The draws of samples ``start`` to ``stop`` (exclusive): a rank's slice of the global batch."""
        focus = None if self.focus is None else self.focus.rows(start, stop)
        return Draws(tuple(uniform[start:stop] for uniform in self.uniforms), focus)


@dataclass(frozen=True, kw_only=True)
class View:
    """How one view is made. Probabilities lie in [0, 1]; ``None`` or 0 turns a step off.

    Every step has the semantics of torchvision's float path, with its own parameters (and, for the jitter,
    its own order of operations) for every sample.

    Raises:
        ManyviewsError: where a range or a probability makes no sense.
    """

    size: int  # side of the view, pixels
    crop: tuple[float, float] | None = (0.08, 1.0)  # share of the area; None: the central square
    ratio: tuple[float, float] = (
        3 / 4,
        4 / 3,
    )  # width / height of the crop, before it is resized to a square
    scale: tuple[float, float] | None = (
        None  # S, the image's short side, in sides of the view: a square is cut anywhere from it (VGG, section 3.1)
    )
    pad: int = (
        0  # pixels of the view that are put around the image before, in the mean colour (ResNet, section 4.2)
    )
    mirror: bool = False  # of what a mirror at the edge would show instead (iGPT, section 3.1)
    flip: float = 0.5
    turn: bool = False  # by 0 to 3 quarters, all alike: of things that have no up and down
    jitter: tuple[float, float, float, float] | None = (
        None  # strengths: brightness, contrast, saturation, hue
    )
    jitter_p: float = 0.8
    grey: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels of the view
    kernel: int | None = None  # odd; None: a tenth of the side, made odd (SimCLR, appendix A)
    solarise: float = 0.0  # inverts what is brighter than 128 of 255
    pca: float = (
        0.0  # standard deviation of the shift along each principal axis of `rgb` (AlexNet, section 4.1)
    )
    rgb: Matrix | None = None  # covariance [3, 3] of red, green and blue over the training set, in [0, 1]
    randaugment: tuple[int, float] = (0, 0.0)  # how many of its operations, at what magnitude of at most 30
    randaugment_p: float = 1.0  # with which each of them happens
    randaugment_colours: bool = True  # among them those that change what colour there is

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ManyviewsError(f"View size is {self.size}; it must be at least 1 pixel.")
        for name in ("flip", "jitter_p", "grey", "blur", "solarise", "randaugment_p"):
            _check_range(f"probability {name}", (getattr(self, name),), 0, 1)
        if self.crop is not None:
            _check_range("crop (share of the area)", self.crop, 0, 1, open_low=True)
        if self.scale is not None:
            _check_range("scale (short side in views)", self.scale, 1, float("inf"))
            if self.crop is not None:
                raise ManyviewsError(
                    "A View has either a crop (share of the area) or a scale; set the other to None."
                )
        if self.pad < 0 or (self.pad and self.scale is None):
            raise ManyviewsError(
                f"View pad is {self.pad}; it is 0 or, with a scale such as (1, 1), a number of pixels."
            )
        _check_range("ratio", self.ratio, 0, float("inf"), open_low=True)
        _check_range("sigma", self.sigma, 0, float("inf"), open_low=True)
        if self.jitter is not None:
            if len(self.jitter) != 4:
                raise ManyviewsError(
                    "View jitter needs four strengths: brightness, contrast, saturation and hue."
                )
            for strength in self.jitter[:3]:
                _check_range("jitter strength", (strength,), 0, float("inf"))
            _check_range("jitter of the hue", self.jitter[3:], 0, 0.5)
        if self.kernel is not None and (self.kernel < 1 or self.kernel % 2 == 0):
            raise ManyviewsError(f"View kernel is {self.kernel}; a blur kernel must be odd and positive.")
        if self.blur > 0 and self.blur_kernel // 2 >= self.size:
            raise ManyviewsError(
                f"View kernel {self.blur_kernel} is too wide for a view of {self.size} pixels; "
                f"use at most {2 * self.size - 1}."
            )

        _check_range("pca (standard deviation)", (self.pca,), 0, float("inf"))
        if self.pca and (self.rgb is None or len(self.rgb) != 3 or any(len(row) != 3 for row in self.rgb)):
            raise ManyviewsError("View pca needs rgb, the 3 x 3 covariance of the training set's colours.")
        if self.randaugment[0] < 0 or self.randaugment[0] != int(self.randaugment[0]):
            raise ManyviewsError(
                f"View randaugment begins with {self.randaugment[0]}; it is a number of operations."
            )
        _check_range("magnitude of randaugment", self.randaugment[1:], 0, 30)

    @property
    def blur_kernel(self) -> int:
        """The side of the blur kernel in pixels, odd."""
        return self.kernel if self.kernel is not None else self.size // 10 // 2 * 2 + 1

    def describe(self) -> str:
        """The recipe in plain words, for a report or a page of documentation."""
        side = f"{self.size}x{self.size}"
        steps = [f"the central square, resized to {side}"]
        if self.crop is not None:
            low, high = self.crop
            steps = [f"a crop of {_percent(low)} to {_percent(high)} of the area, resized to {side}"]
        if self.scale is not None:
            low, high = (f"{self.size * s:.4g}" for s in self.scale)
            sides = low if low == high else f"{low} to {high}"
            padded = f", padded by {self.pad} of them{' in a mirror' * self.mirror}" if self.pad else ""
            steps = [f"the short side scaled to {sides} pixels{padded}, then a random square of {side}"]
        if self.flip:
            steps.append(f"flipped left to right ({_percent(self.flip)})")
        if self.turn:
            steps.append("turned by 0 to 3 quarters")
        if self.jitter is not None and self.jitter_p:
            names = ("brightness", "contrast", "saturation", "hue")
            strengths = ", ".join(f"{n} {s:g}" for n, s in zip(names, self.jitter, strict=True) if s)
            steps.append(f"colours jittered in random order ({_percent(self.jitter_p)}: {strengths})")
        if self.grey:
            steps.append(f"turned grey ({_percent(self.grey)})")
        if self.blur:
            low, high = self.sigma
            steps.append(
                f"blurred ({_percent(self.blur)}: sigma {low:g} to {high:g} pixels, kernel {self.blur_kernel})"
            )
        if self.solarise:
            steps.append(f"solarised ({_percent(self.solarise)})")
        if self.randaugment[0]:
            number, magnitude = self.randaugment
            steps.append(
                f"RandAugment ({number} operations of magnitude {magnitude:g}, {_percent(self.randaugment_p)})"
            )
        if self.pca:
            steps.append(f"colours shifted along their principal axes (deviation {self.pca:g})")
        return "; ".join(steps)


def draw_uniforms(views: int, batch: int, generator: torch.Generator, more: Sequence[int] = ()) -> Draws:
    """Draws for ``batch`` samples of each view, from ``generator``; ``more``: how many a view needs for RandAugment."""
    early = [torch.rand(batch, UNIFORMS - LATE, generator=generator) for _ in range(views)]
    late = [torch.rand(batch, LATE, generator=generator) for _ in range(views)]
    last = [torch.rand(batch, number, generator=generator) for number in more or [0] * views]
    return Draws(tuple(torch.cat(parts, 1) for parts in zip(early, late, last, strict=True)))


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


def _check_range(
    name: str, values: tuple[float, ...], low: float, high: float, open_low: bool = False
) -> None:
    if len(values) > 2 or list(values) != sorted(values):
        raise ManyviewsError(f"View {name} is {values}; give the smaller bound first, then the larger.")
    if any(not (low < v if open_low else low <= v) or not v <= high for v in values):
        bracket = "(" if open_low else "["
        raise ManyviewsError(f"View {name} is {values}; it must lie in {bracket}{low}, {high}].")
