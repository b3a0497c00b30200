"""One run, one page: what was learned from, how it went, what it is worth, and how to repeat it."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from manyviews.files import write_text
from manyviews.report.atlas import atlas_map
from manyviews.report.bars import figure_tables, metrics
from manyviews.report.classes import class_bars, confusion_table, top_confusions
from manyviews.report.compare import compare_page
from manyviews.report.curves import line_chart
from manyviews.report.gaze import gaze_pictures
from manyviews.report.images import TINY, inline, picture
from manyviews.report.markup import Markup, capital, el
from manyviews.report.numbers import DASH, finite, is_share, number, with_margin
from manyviews.report.shell import document, repeat, section
from manyviews.report.story import Atlas, Comparison, Confusion, Figure, Gaze, Neighbours, Quotes, Story

ALIKE = "What it finds alike"
STATES = {"healthy": "good", "collapsing": "bad", "collapsed": "bad", "plateaued": "fair"}


def page(story: Story) -> str:
    """The whole page of a run, as one HTML document; the same story gives the same text, byte for byte."""
    sections = [
        _figures(story),
        _curves(story),
        _sheet(story.sheet),
        _neighbours(story.neighbours),
        _quotes(story.quotes),
        _atlas(story.atlas),
        _gaze(story.gaze),
        _shown(story),
        _classes(story),
        repeat(story.command, story.settings),
    ]
    lead = [_lead(story), _verdict(story.verdict)]
    return document(story.title, story.subtitle, Markup("".join(part for part in lead if part)), sections)


def write(story: Story | Comparison, path: str | Path) -> Path:
    """Write the page of a run or of a comparison to ``path``, whole or not at all; returns the path.

    The folder is made where it is missing. Whatever goes wrong on the way (a full disk, a kill), the file that
    was there before is still there, complete.
    """
    text = compare_page(story) if isinstance(story, Comparison) else page(story)
    write_text(path, text)
    return Path(path)


def _verdict(verdict: tuple[str, str] | None) -> Markup | None:
    if verdict is None:
        return None
    state, sentence = verdict
    tone = STATES.get(state.lower(), "unknown")
    return el("p", el("strong", capital(state) + "."), " ", sentence, class_=f"verdict {tone}")


def _lead(story: Story) -> Markup | None:
    """The first figure, large, and in one sentence how far it lies from each baseline."""
    if not story.figures or not story.figures[0].values:
        return None
    subject = story.figures[0]
    metric, value = next(iter(subject.values.items()))
    if value is None or not finite(value):
        return None
    others = [figure for figure in story.figures[1:] if finite(figure.values.get(metric))]
    percent = metric not in story.plain and is_share([figure.values.get(metric) for figure in story.figures])
    gaps = [_gap(float(value), figure, metric, percent) for figure in others]
    sentence = el("p", _listed(gaps), ".", class_="gaps") if gaps else None
    shown = el(
        "p", el("b", with_margin(value, subject.margins.get(metric), percent)), " ", metric, class_="hero"
    )
    return el("div", shown, sentence, class_="lead")


def _gap(value: float, other: Figure, metric: str, percent: bool) -> str:
    gap = value - float(other.values[metric] or 0.0)
    if (abs(gap) < 0.0005) if percent else gap == 0:
        return f"level with {other.name}"
    size = f"{100 * abs(gap):.1f} points" if percent else number(abs(gap))
    return f"{size} {'above' if gap > 0 else 'below'} {other.name}"


def _listed(parts: Sequence[str]) -> str:
    return capital(parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}")


def _figures(story: Story) -> Markup | None:
    if not metrics([figure.values for figure in story.figures]):
        return None
    notes = [
        el("div", el("dt", figure.name), el("dd", figure.note)) for figure in story.figures if figure.note
    ]
    return section(
        "What it is worth",
        f"{capital(story.figures[0].name)} beside its baselines." if len(story.figures) > 1 else "",
        el("div", figure_tables(story.figures, story.plain), class_="columns"),
        el("dl", notes, class_="notes") if notes else None,
    )


def _curves(story: Story) -> Markup | None:
    charts = [chart for chart in map(line_chart, story.curves) if chart is not None]
    if not charts:
        return None
    return section("How it went", "Point at a line to read it.", el("div", charts, class_="columns"))


def _sheet(sheet_RV3SS: Tensor | None) -> Markup | None:
    if sheet_RV3SS is None or len(sheet_RV3SS) == 0:
        return None
    views = sheet_RV3SS.shape[1] - 1
    rows = [
        el(
            "div",
            [
                _image(image, 128, f"Item {row + 1}" if column == 0 else f"Item {row + 1}, view {column}")
                for column, image in enumerate(images)
            ],
            class_="item",
        )
        for row, images in enumerate(sheet_RV3SS)
    ]
    each = "one view" if views == 1 else f"{views} views"
    lead = f"Each item (framed) and {each} of it."
    many = " many" if views > 3 else ""
    return section("What it learned from", lead, el("div", rows, class_=f"sheet{many}"))


def _shown(story: Story) -> Markup | None:
    """What the method itself shows and writes."""
    if not story.pictures and not story.written:
        return None
    figures = [
        el("figure", el("img", src=inline(image), alt=title, class_="shown"), el("figcaption", title))
        for title, image in story.pictures.items()
    ]
    written = el("pre", story.written, class_="written") if story.written else None
    return section("What it can do", "", el("div", figures, class_="columns") if figures else None, written)


def _image(image: Tensor, longest: int, alt: str) -> Markup:
    shown = picture(image, longest)
    small = "tiny" if max(shown.size) <= TINY else None
    return el("img", src=inline(shown), alt=alt, width=shown.width, height=shown.height, class_=small)


def _neighbours(near: Neighbours | None) -> Markup | None:
    if near is None or len(near.query) == 0:
        return None
    rows = []
    for q, query in enumerate(near.query):
        name = near.names[q] if near.names else f"Query {q + 1}"
        found = [_found(near, q, k) for k in range(near.neighbours.shape[1])]
        caption = el("figcaption", name, title=name) if near.names else None
        asked = el("figure", _image(query, 128, name), caption, class_="query")
        rows.append(el("div", asked, el("ol", found), class_="near"))
    lead = "On the left is a query, followed by its nearest neighbours, nearest first."
    if near.similarity is not None:
        lead += " Below each is its cosine similarity to the query."
    return section(ALIKE, lead + _share(near.same_class), el("div", rows, class_="nears"))


def _share(same_class: Tensor | None) -> str:
    if same_class is None or not same_class.numel():
        return ""
    right, count = int(same_class.sum()), same_class.numel()
    return f" {right:,} of these {count:,} neighbours are of their query's class (✓)."


def _found(near: Neighbours, q: int, k: int) -> Markup:
    words = [f"Neighbour {k + 1}"]
    under: list[Markup] = []
    if near.same_class is not None:
        same = bool(near.same_class[q, k])
        words.append("same class" if same else "another class")
        under.append(_mark(same))
    if near.similarity is not None:
        said = _cosine(near.similarity[q, k])
        under.append(el("span", said))
        words.append(f"similarity {said}")
    caption = near.captions[q][k] if near.captions else None
    return el(
        "li",
        _image(near.neighbours[q, k], 128, ", ".join(words)),
        el("span", *under, class_="under") if under else None,
        el("span", caption, class_="caption", title=caption) if caption else None,
    )


def _mark(same: bool) -> Markup:
    return el("b", "✓" if same else "✗", class_="yes" if same else "no")


def _cosine(similarity: Tensor) -> str:
    return f"{float(similarity):.2f}".replace("-", "\u2212") if finite(float(similarity)) else DASH


def _quotes(quotes: Quotes | None) -> Markup | None:
    if quotes is None or len(quotes.query) == 0:
        return None
    rows = []
    for q, query in enumerate(quotes.query):
        found = [
            el(
                "li",
                None if quotes.same_class is None else _mark(bool(quotes.same_class[q, k])),
                el("span", _cosine(quotes.similarity[q, k])),
                " ",
                text,
            )
            for k, text in enumerate(quotes.neighbours[q])
        ]
        rows.append(el("div", el("blockquote", query), el("ol", found), class_="quote"))
    lead = "Each text is followed by its nearest neighbours, nearest first, with their cosine similarity."
    return section(ALIKE, lead + _share(quotes.same_class), el("div", rows, class_="nears"))


def _atlas(atlas: Atlas | None) -> Markup | None:
    if atlas is None or len(atlas.thumbnails) == 0:
        return None
    lead = "Each dot is an item; similar embeddings lie close together. Point at a dot to see its item."
    if atlas.labels is not None:
        lead += " Colours are classes."
    return section("How it sees them", lead, atlas_map(atlas))


def _gaze(gaze: Gaze | None) -> Markup | None:
    if gaze is None:
        return None
    lead = "What the patches attend to, and what the net knows about their positions."
    return section("Where it looks", lead, *gaze_pictures(gaze))


def _classes(story: Story) -> Markup | None:
    matrix = confused = None
    if story.confusion is not None and len(story.confusion.classes):
        matrix, confused = _matrix(story.confusion), _confused(story.confusion)
    bars = class_bars(story.per_class) if story.per_class else None
    if not (matrix or confused or bars):
        return None
    lead = "Which classes it tells apart."
    if matrix:
        lead += " Each row of the matrix is a true class: what its items were taken for, in percent."
    return section("Class by class", lead, bars, confused, matrix)


def _matrix(confusion: Confusion) -> Markup | None:
    table = confusion_table(confusion)
    return None if table is None else el("div", table, class_="matrix")


def _confused(confusion: Confusion) -> Markup | None:
    mistakes = top_confusions(confusion, most=4)
    if not mistakes:
        return None
    said = [
        el("li", el("b", number(share, percent=True)), " of ", was, " taken for ", taken)
        for was, taken, share in mistakes
    ]
    return Markup(el("h3", "Most often confused") + el("ol", said, class_="confused"))
