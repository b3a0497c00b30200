"""Sheets of pictures as pictures: grids, views, and what a search found."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from manyviews.report.drawing import font_for
from manyviews.report.images import picture
from manyviews.report.story import need_images

PAPER = (252, 251, 248)
INK = (28, 27, 25)
SOFT = (107, 104, 98)


def grid(images_N3HW: Tensor, columns: int, gap: int = 4) -> Image.Image:
    """Images in rows of ``columns``, ``gap`` pixels apart, on paper.

    Args:
        images_N3HW: uint8 ``[N, 3, H, W]``, at least one.
        columns: images in a row, at least 1.
    """
    need_images("images", images_N3HW, 4)
    if columns < 1 or len(images_N3HW) == 0:
        raise ValueError(
            f"a grid needs images and columns; it got {len(images_N3HW)} images, {columns} columns."
        )
    count, _, height, width = images_N3HW.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), PAPER)
    for index, image in enumerate(images_N3HW):
        row, column = divmod(index, columns)
        sheet.paste(picture(image), (gap + column * (width + gap), gap + row * (height + gap)))
    return sheet


def views_sheet(sheet_RV3HW: Tensor, across: int = 1, gap: int = 4) -> Image.Image:
    """Items, each followed by its views in one row; ``across`` such rows stand side by side.

    Args:
        sheet_RV3HW: uint8 ``[R, 1 + V, 3, S, S]``, at least one row.
    """
    need_images("sheet", sheet_RV3HW, 5)
    if across < 1 or len(sheet_RV3HW) == 0:
        raise ValueError(f"a sheet of views needs rows; it got {len(sheet_RV3HW)} rows, {across} across.")
    strips = [grid(row, len(row), gap) for row in sheet_RV3HW]
    across = min(across, len(strips))
    width, height = strips[0].size
    wide, high = width + 3 * gap, height + gap
    sheet = Image.new("RGB", (across * wide - 3 * gap, math.ceil(len(strips) / across) * high - gap), PAPER)
    for index, strip in enumerate(strips):
        sheet.paste(strip, (index % across * wide, index // across * high))
    return sheet


def contact_sheet(
    query: Tensor,
    neighbours: Sequence[Tensor],
    captions: Sequence[str],
    *,
    query_caption: str = "query",
    columns: int = 5,
    side: int = 160,
) -> Image.Image:
    """What a search found: the query on the left, its neighbours in reading order, a caption under each.

    Args:
        query: uint8 ``[3, H, W]``, of any size.
        neighbours: uint8 ``[3, H, W]`` each, of any size, nearest first.
        captions: one per neighbour; the last line's worth of a long path is kept, since that is what tells
            files apart. A newline starts a second line.
        side: pixels of a cell's side; images are fitted into it, never cropped.
    """
    if len(captions) != len(neighbours):
        raise ValueError(
            f"a contact sheet needs a caption for each image; it got {len(captions)} for {len(neighbours)}."
        )
    if columns < 1 or side < 16:
        raise ValueError(f"a contact sheet needs columns >= 1 and side >= 16; it got {columns} and {side}.")
    gap, line = 16, 18
    lines = max([1, *(caption.count("\n") + 1 for caption in captions)])
    wide, high = side + gap, side + 6 + lines * line + gap
    columns = max(1, min(columns, len(neighbours)))
    rows = max(1, math.ceil(len(neighbours) / columns))
    sheet = Image.new("RGB", (gap + (columns + 1) * wide + gap, gap + rows * high), PAPER)
    pen = ImageDraw.Draw(sheet)
    _place(sheet, pen, query, query_caption, (gap, gap), side, INK)
    rule = gap + wide
    pen.line([(rule, gap), (rule, gap + rows * high - gap)], fill=(228, 224, 216))
    for index, (image, caption) in enumerate(zip(neighbours, captions, strict=True)):
        row, column = divmod(index, columns)
        _place(sheet, pen, image, caption, (2 * gap + (column + 1) * wide, gap + row * high), side, SOFT)
    return sheet


def _place(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    image: Tensor,
    caption: str,
    corner: tuple[int, int],
    side: int,
    ink: tuple[int, int, int],
) -> None:
    shown = picture(image)
    scale = side / max(shown.size)
    # Whole multiples keep the pixels of tiny images square; anything else is resampled.
    if scale >= 2:
        shown = shown.resize((shown.width * int(scale), shown.height * int(scale)), Image.Resampling.NEAREST)
    shown = shown.resize(
        (
            max(1, round(shown.width * side / max(shown.size))),
            max(1, round(shown.height * side / max(shown.size))),
        ),
        Image.Resampling.LANCZOS,
    )
    left, top = corner
    sheet.paste(shown, (left + (side - shown.width) // 2, top + (side - shown.height) // 2))
    for index, words in enumerate(caption.split("\n")):
        font = font_for(words, 13)
        pen.text((left, top + side + 6 + index * 18), _fit(words, font, side), fill=ink, font=font)


def _fit(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The words, shortened from the front until they fit."""
    if font.getlength(words) <= width:
        return words
    while words and font.getlength("…" + words) > width:
        words = words[1:]
    return "…" + words
