"""Tensors to pictures, and pictures into the page itself."""

import base64
import io
import math

from PIL import Image
from torch import Tensor

from manyviews.report.story import need_images

TINY = 48  # pixels of the longest side


def picture(image_CHW: Tensor, longest: int | None = None) -> Image.Image:
    """A uint8 ``[3, H, W]`` tensor as a picture, shrunk (never enlarged) to a longest side of ``longest``."""
    need_images("image", image_CHW, 3)
    shown = Image.fromarray(image_CHW.permute(1, 2, 0).contiguous().cpu().numpy())
    if longest is not None and max(shown.size) > longest:
        shown.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return shown


def inline(image: Image.Image, quality: int = 82) -> str:
    """A ``data:`` address that holds the picture as WebP; tiny ones without loss, since every pixel shows."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=max(image.size) <= TINY, quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def sprite(thumbnails_N3HW: Tensor, side: int = 32) -> tuple[Image.Image, int]:
    """All thumbnails in one near-square picture, row by row, and how many stand in a row.

    Each is brought to ``side`` pixels; a browser then loads one picture instead of thousands.
    """
    columns = max(1, math.ceil(math.sqrt(len(thumbnails_N3HW))))
    rows = max(1, math.ceil(len(thumbnails_N3HW) / columns))
    sheet = Image.new("RGB", (columns * side, rows * side))
    for index, thumbnail in enumerate(thumbnails_N3HW):
        small = picture(thumbnail)
        if small.size != (side, side):
            small = small.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (index % columns * side, index // columns * side))
    return sheet, columns
