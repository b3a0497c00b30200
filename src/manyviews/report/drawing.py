"""Line drawings: marks in pixels, written as SVG (which turns dark with its reader) or painted as a picture.

Colours are the page's own, by the names that ``page.css`` gives them; ``"grey 30%"`` is so much of one on paper.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from manyviews.report.markup import Markup, el

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "arial.ttf",
)
SERIF = 'Charter, "Palatino Linotype", Palatino, Georgia, "Liberation Serif", serif'


@dataclass(frozen=True)
class Area:
    """Filled outlines, none inside another."""

    outlines: Sequence[Sequence[Point]]
    tone: str


@dataclass(frozen=True)
class Stroke:
    """A line through points; ``closed`` joins the ends."""

    points: Sequence[Point]
    tone: str
    width: float = 1.0
    closed: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Dots:
    """A disc at every point."""

    points: Sequence[Point]
    tone: str
    radius: float


@dataclass(frozen=True)
class Words:
    """Text on a baseline at (x, y); ``turned``: the baseline rises upwards from there."""

    at: Point
    words: str
    tone: str = "ink"
    size: float = 13.0
    anchor: Anchor = "start"
    bold: bool = False
    serif: bool = False
    turned: bool = False


Mark = Area | Stroke | Dots | Words


@dataclass(frozen=True)
class Drawing:
    """Marks, and other drawings set into it; what reaches over its edge is cut off. Pixels, y downwards."""

    width: float
    height: float
    marks: Sequence[Mark] = ()
    inset: Sequence[tuple[Point, "Drawing"]] = field(default=())
    spoken: str = ""  # what it shows, for those who do not see it


@cache
def palette() -> dict[str, tuple[str, str]]:
    """The page's colours by name: light and dark."""
    css = resources.files("manyviews.report").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)")[:2]
    found = [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part)) for part in (light, dark)]
    return {name: (found[0][name], found[1][name]) for name in found[0]}


def colours(tone: str) -> tuple[str, str]:
    """Light and dark of ``"ink"`` or of ``"grey 30%"``."""
    name, _, share = tone.partition(" ")
    if not share:
        return palette()[name]
    weight = float(share.rstrip("%")) / 100
    light, dark = (
        _mixed(colour, paper, weight)
        for colour, paper in zip(palette()[name], palette()["paper"], strict=True)
    )
    return light, dark


def _mixed(colour: str, paper: str, weight: float) -> str:
    pairs = ((int(colour[i : i + 2], 16), int(paper[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(weight * a + (1 - weight) * b):02x}" for a, b in pairs)


# -- SVG -------------------------------------------------------------------------------------------------------------


def svg(drawing: Drawing, *, alone: bool = True) -> Markup:
    """The drawing as an SVG element. Light colours stand at the marks; a style turns them where the reader is dark.

    Args:
        drawing: what is drawn.
        alone: as a file of its own, on paper; otherwise within a page, as wide as its place.
    """
    tones = sorted({mark.tone for mark in _every(drawing)} | {"paper"})
    dark = "".join(
        f".f-{_slug(tone)}{{fill:{colours(tone)[1]}}}.t-{_slug(tone)}{{stroke:{colours(tone)[1]}}}"
        for tone in tones
    )
    style = el("style", Markup(f"@media (prefers-color-scheme: dark){{{dark}}}"))
    paper = _area(Area([_box(drawing)], "paper")) if alone else None
    size = {"width": drawing.width, "height": drawing.height} if alone else {}
    return el(
        "svg", style, paper, _content(drawing),
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {drawing.width:g} {drawing.height:g}", **size,
        role="img", aria_label=drawing.spoken, font_family=SANS,
    )  # fmt: skip


def _slug(tone: str) -> str:
    return re.sub(r"\W+", "-", tone).strip("-")


def _content(drawing: Drawing) -> list[Markup]:
    inset = [
        el(
            "svg", _content(part), x=f"{x:g}", y=f"{y:g}", width=f"{part.width:g}", height=f"{part.height:g}",
            overflow="hidden",
        )
        for (x, y), part in drawing.inset
    ]  # fmt: skip
    return [*inset, *(_mark(mark) for mark in drawing.marks)]


def _mark(mark: Mark) -> Markup:
    light, slug = colours(mark.tone)[0], _slug(mark.tone)
    match mark:
        case Area():
            return _area(mark)
        case Stroke():
            return el(
                "path", d=_path(mark.points, mark.closed), fill="none", stroke=light, class_=f"t-{slug}",
                stroke_width=f"{mark.width:g}", stroke_linejoin="round", stroke_linecap="round",
                stroke_dasharray="3 4" if mark.dashed else None,
            )  # fmt: skip
        case Dots():  # lines of no length with round ends: one element, however many
            d = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in mark.points)
            return el(
                "path", d=d, stroke=light, class_=f"t-{slug}", stroke_width=f"{2 * mark.radius:g}", stroke_linecap="round",
            )  # fmt: skip
        case Words():
            return el(
                "text", mark.words, x=f"{mark.at[0]:.1f}", y=f"{mark.at[1]:.1f}", fill=light, class_=f"f-{slug}",
                font_size=f"{mark.size:g}", text_anchor=mark.anchor, font_weight=600 if mark.bold else None,
                font_family=SERIF if mark.serif else None,
                transform=f"rotate(-90 {mark.at[0]:.1f} {mark.at[1]:.1f})" if mark.turned else None,
            )  # fmt: skip


def _area(mark: Area) -> Markup:
    d = "".join(_path(outline, closed=True) for outline in mark.outlines)
    return el("path", d=d, fill=colours(mark.tone)[0], class_=f"f-{_slug(mark.tone)}")


def _path(points: Sequence[Point], closed: bool) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")


def _every(drawing: Drawing) -> Iterator[Mark]:
    yield from drawing.marks
    for _, part in drawing.inset:
        yield from _every(part)


def _box(drawing: Drawing) -> list[Point]:
    return [(0, 0), (drawing.width, 0), (drawing.width, drawing.height), (0, drawing.height)]


# -- a picture -------------------------------------------------------------------------------------------------------


def painted(drawing: Drawing, scale: int = 2) -> Image.Image:
    """The drawing as an RGB picture of ``scale`` pixels a pixel, in its light colours."""
    fine = 2 * scale  # drawn twice as fine and shrunk, which softens the edges
    image = _painted(drawing, fine)
    width, height = round(drawing.width * scale), round(drawing.height * scale)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _painted(drawing: Drawing, fine: int) -> Image.Image:
    size = round(drawing.width * fine), round(drawing.height * fine)
    image = Image.new("RGB", size, colours("paper")[0])
    for (x, y), part in drawing.inset:
        image.paste(_painted(part, fine), (round(x * fine), round(y * fine)))
    brush = ImageDraw.Draw(image)
    for mark in drawing.marks:
        _paint(brush, mark, fine)
    return image


def _paint(brush: ImageDraw.ImageDraw, mark: Mark, fine: int) -> None:
    light = colours(mark.tone)[0]
    match mark:
        case Area():
            for outline in mark.outlines:
                brush.polygon([(x * fine, y * fine) for x, y in outline], fill=light)
        case Stroke():
            points = [(x * fine, y * fine) for x, y in mark.points]
            if mark.closed:
                points.append(points[0])
            pieces = list(_dashes(points, 3 * fine, 4 * fine)) if mark.dashed else [points]
            for piece in pieces:
                brush.line(piece, fill=light, width=max(1, round(mark.width * fine)), joint="curve")
        case Dots():
            for x, y in mark.points:
                brush.circle((x * fine, y * fine), mark.radius * fine, fill=light)
        case Words():
            font = font_for(mark.words, mark.size * fine)
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
            x, y = mark.at[0] * fine, mark.at[1] * fine
            bold = mark.size * fine / 45 if mark.bold else 0
            if not mark.turned:
                brush.text((x, y), mark.words, light, font, anchor=anchor, stroke_width=bold)
                return
            left, top, right, bottom = map(round, font.getbbox(mark.words, anchor=anchor, stroke_width=bold))
            ink = Image.new("L", (right - left + 2, bottom - top + 2))
            ImageDraw.Draw(ink).text(
                (1 - left, 1 - top), mark.words, 255, font, anchor=anchor, stroke_width=bold
            )
            # What was right of the anchor is above it now, and what was below it is right of it.
            brush.bitmap(
                (round(x + top - 1), round(y - right - 1)), ink.transpose(Image.Transpose.ROTATE_90), light
            )


def _shape(font: Any, letter: str) -> bytes:
    """The pixels of a letter; Pillow's types do not know that its masks are buffers."""
    return bytes(font.getmask(letter))


def font_for(words: str, size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own letters, which are the same everywhere; where they lack one, such as ä, those of the machine."""
    own = ImageFont.load_default(size)
    missing = _shape(own, "\uffff")  # the box that stands for what is not there
    if all(letter.isascii() or _shape(own, letter) != missing for letter in words):
        return own
    for name in SYSTEM_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:  # it is not there
            continue
    return own


def _dashes(points: Sequence[Point], on: float, off: float) -> Iterator[list[Point]]:
    """A straight line from the first point to the last, in pieces."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    start = 0.0
    while start < length:
        a, b = start / length, min(1.0, (start + on) / length)
        yield [(x0 + a * (x1 - x0), y0 + a * (y1 - y0)), (x0 + b * (x1 - x0), y0 + b * (y1 - y0))]
        start += on + off
