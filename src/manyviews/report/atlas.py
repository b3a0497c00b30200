"""The map of the embeddings as a picture that answers: point at it, and it shows what lies there."""

from collections import Counter

from manyviews.report.images import inline, sprite
from manyviews.report.markup import Markup, data, el
from manyviews.report.story import Atlas

SIDE = 1000
TONES = 20  # colours in the stylesheet; classes beyond share them


def atlas_map(atlas: Atlas, side: int = 32) -> Markup:
    """The map: dots (pictures on demand), a key of the classes, and a card that shows the point in hand."""
    sheet, columns = sprite(atlas.thumbnails, side)
    places = _places(atlas)
    tones = _tones(atlas)
    dots = "".join(
        f'<circle class="c{tone}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        for (x, y), tone in zip(places, tones, strict=True)
    )
    count = len(atlas.thumbnails)
    spoken = (
        f"A map of {count:,} items; similar embeddings lie close together. Arrow keys move between items."
    )
    stage = el(
        "div",
        el("svg", Markup(dots), viewBox=f"0 0 {SIDE} {SIDE}", aria_hidden="true"),
        el("canvas", class_="pictures", hidden=True, aria_hidden="true"),
        el("div", class_="ring", hidden=True),
        el(
            "div",
            el("canvas", width=side * 3, height=side * 3, aria_hidden="true"),
            el("p", role="status"),
            class_="card",
            hidden=True,
        ),
        class_="stage",
        tabindex=0,
        role="application",
        aria_label=spoken,
    )
    shown = {
        "side": side,
        "columns": columns,
        "labels": None if atlas.labels is None else atlas.labels.tolist(),
        "classes": list(atlas.classes),
        "names": list(atlas.names),
    }
    switch = el("button", "Show pictures", type="button", class_="switch", aria_pressed="false", hidden=True)
    picture = el("img", src=inline(sheet, 75), alt="", class_="sprite", hidden=True)
    return el(
        "div", el("div", _key(atlas), switch, class_="keyrow"), stage, picture, data(shown), class_="atlas"
    )


def _places(atlas: Atlas) -> list[tuple[float, float]]:
    """Points in a square of ``SIDE``, one scale for both directions, with a margin for the dots."""
    if len(atlas.xy) == 0:
        return []
    xy = atlas.xy.double().cpu()
    low, high = xy.amin(dim=0), xy.amax(dim=0)
    extent = float((high - low).max()) or 1.0
    centred = (xy - (low + high) / 2) / extent * (SIDE - 40) + SIDE / 2
    return [(x, y) for x, y in centred.tolist()]


def _tones(atlas: Atlas) -> list[int]:
    if atlas.labels is None:
        return [0] * len(atlas.thumbnails)
    return [label % TONES for label in atlas.labels.tolist()]


def class_name(atlas: Atlas, label: int) -> str:
    """A class by name where it has one, else by number."""
    return atlas.classes[label] if 0 <= label < len(atlas.classes) else f"class {label}"


def _key(atlas: Atlas) -> Markup | None:
    if atlas.labels is None:
        return None
    counts = Counter(atlas.labels.tolist())
    buttons = [
        el(
            "button",
            el("i", class_=f"c{label % TONES}"),
            class_name(atlas, label),
            type="button",
            data_label=label,
            aria_pressed="false",
            title=f"{counts[label]:,} items",
        )
        for label in sorted(counts)
    ]
    return el("div", buttons, class_="key", role="group", aria_label="Classes: press one to see it alone")
