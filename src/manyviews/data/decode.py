"""One image file, of whatever kind, becomes uint8 RGB; or one sentence says why it cannot.

grey, palette, 1 bit    repeated or looked up to three channels
transparency            laid on white
CMYK, YCCK              turned to RGB by Pillow
16-bit grey             scaled to 8 bits (65535 becomes 255), never clipped
32-bit and float grey   their range is not known: stretched from their own least to their own largest value
GIF, animated WebP      the first frame
EXIF orientation        applied
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from manyviews.errors import ManyviewsError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""What is read. Pillow knows more, but some of those start other programs (EPS) and none is a photograph's."""

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".avif",
    ]
)
"""How the name of an image file ends, in lower case."""

LIMIT = 100_000_000
"""Pixels that are decoded at most (400 MB inside Pillow). A larger JPEG is decoded at 1/2, 1/4 or 1/8 of its size."""

GREY = 65535
"""The largest value of 16-bit grey."""

DARK = GREY // 4
"""Where no pixel of 16-bit images exceeds this, they hold fewer bits: a camera's 10, 12 or 14."""

LOOKED_AT = 8
"""Files of a set in which oddities are looked for."""

TURNS = {  # EXIF orientation -> (swap height and width first?, axes of [C, H, W] to flip then)
    2: (False, (2,)),
    3: (False, (1, 2)),
    4: (False, (1,)),
    5: (True, ()),
    6: (True, (2,)),
    7: (True, (1, 2)),
    8: (True, (1,)),
}


class Unreadable(ManyviewsError):
    """An image that cannot be read; the sentence names the file."""


def read(path: str | os.PathLike[str], side: int | None = None) -> Tensor:
    """The image at ``path`` as uint8 [3, H, W].

    ``side`` is the length in pixels that the caller needs the shorter side to have at least: a JPEG that is twice
    as large or more is then decoded at a half, a quarter or an eighth of its size, which is much faster. Without
    it the image comes at full resolution, up to ``LIMIT`` pixels.

    Raises ``Unreadable``, naming the file, for whatever is not an image, is cut short, or is too large to decode.
    """
    try:
        with Path(path).open("rb") as file:
            return to_rgb(_loaded(file, os.fspath(path), side))
    except (Unreadable, MemoryError):
        raise
    except FileNotFoundError as error:
        raise Unreadable(f"{path} cannot be read: there is no such file.") from error
    except Exception as error:  # decoders that meet damaged bytes raise nearly anything
        raise Unreadable(
            f"{path} cannot be read as an image: {str(error).strip().rstrip('.') or type(error).__name__}."
        ) from error


def to_rgb(image: Image.Image) -> Tensor:
    """A Pillow image of any mode, upright and opaque: uint8 [3, H, W]."""
    image.load()
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint32)
        x_HWC = ((grey * 255 + GREY // 2) // GREY).astype(np.uint8)[..., None].repeat(3, axis=2)
    elif image.mode in ("I", "F"):
        x_HWC = _stretched(np.asarray(image, dtype=np.float64), image.mode)[..., None].repeat(3, axis=2)
    else:
        x_HWC = np.array(_opaque(image))
    x_CHW = torch.from_numpy(x_HWC).permute(2, 0, 1)
    swap, axes = TURNS.get(_orientation(image), (False, ()))
    if swap:
        x_CHW = x_CHW.transpose(1, 2)
    return x_CHW.flip(axes).contiguous() if axes else x_CHW.contiguous()


def odd(paths: Sequence[str]) -> Iterator[str]:
    """Sentences on what few would expect of how these files are read, by a look at some of them."""
    some = [paths[len(paths) * k // LOOKED_AT] for k in range(LOOKED_AT)] if paths else []
    several, brightest = False, list[int]()
    for path in dict.fromkeys(some):
        with suppress(Exception), Path(path).open("rb") as file:  # reading it will say what is wrong
            image = _identified(file, path)
            if image.mode.startswith("I") and image.size[0] * image.size[1] <= LIMIT:
                grey = np.asarray(image)
                brightest += [int(grey.max())] if grey.min() >= 0 else []
            if image.format == "TIFF":
                image.seek(1)  # an EOFError where there is one page
                several = True
    if several:
        yield "there are files of several pages, of which the first is read: write each page into a file of its own."
    if brightest and 0 < max(brightest) <= DARK:
        yield (
            f"16-bit images reach {max(brightest):,} of {GREY:,}, and are seen as dark as that: stretch them beforehand, all alike."
        )


def _loaded(file: IO[bytes], name: str, side: int | None) -> Image.Image:
    image = _identified(file, name)
    width, height = image.size
    pixels, shrink = width * height, 1
    if image.format in ("JPEG", "MPO"):
        if pixels > LIMIT and image.info.get("progressive"):
            raise Unreadable(
                f"{name} is a progressive JPEG of {width} x {height} pixels, which must be held in memory as a whole to be decoded, "
                f"and the limit for that is {LIMIT // 1_000_000} million pixels: store a smaller copy."
            )
        short = min(width, height)
        shrink = next(
            (k for k in (1, 2, 4) if pixels / k**2 <= LIMIT and not (side and short // (2 * k) >= side)), 8
        )
        image.draft(None, (max(width // shrink, 1), max(height // shrink, 1)))
    if pixels / shrink**2 > LIMIT:
        raise Unreadable(
            f"{name} has {width} x {height} pixels, more than the {LIMIT // 1_000_000} million that are decoded: "
            f"store a smaller copy."
        )
    image.load()
    return image


def _identified(file: IO[bytes], name: str) -> Image.Image:
    """Open by content, not by name. Not ``Image.open``: its pixel limit is a global that belongs to the user's
    process, and is checked before a JPEG could be asked for a reduced copy."""
    prefix = file.read(16)
    if not prefix:
        raise Unreadable(f"{name} cannot be read as an image: the file is empty.")
    Image.init()
    for kind in FORMATS:
        if kind not in Image.OPEN:
            continue
        factory, accepts = Image.OPEN[kind]
        if accepts is None or accepts(prefix) is True:
            file.seek(0)
            return factory(file, name)
    raise Unreadable(f"{name} is not an image of a known kind ({', '.join(FORMATS)}).")


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _stretched(grey: np.ndarray, mode: str) -> np.ndarray:
    low, high = float(grey.min()), float(grey.max())
    if mode == "I" and low >= 0 and high <= 65535:  # how Pillow hands out some 16-bit files
        low, high = 0.0, 65535.0
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    return np.round((grey - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damaged metadata does not make the picture unreadable
        return 1
