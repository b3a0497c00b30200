"""Figures beside their baselines: tables that can be seen at a glance.

Each is a real table, so that every number can be read, copied and spoken; the marks stand beside the numbers.
"""

from collections.abc import Mapping, Sequence

from manyviews.report.markup import Markup, el
from manyviews.report.numbers import finite, is_share, with_margin
from manyviews.report.story import Figure, Number


def metrics(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Every metric that any row has, in the order of first mention."""
    return list(dict.fromkeys(metric for row in rows for metric in row))


def figure_tables(figures: Sequence[Figure], plain: Sequence[str]) -> list[Markup]:
    """A small table with bars for each metric: the first row is the subject, the others are its baselines."""
    return [
        _figure_table(metric, figures, plain) for metric in metrics([figure.values for figure in figures])
    ]


def _figure_table(metric: str, figures: Sequence[Figure], plain: Sequence[str]) -> Markup:
    having = [figure for figure in figures if metric in figure.values]
    values = [figure.values[metric] for figure in having]
    percent = metric not in plain and is_share(values)
    present = [float(value) for value in values if value is not None and finite(value)]
    # A bar says "so much of nothing": it needs a zero, which negative figures do not have.
    top = 1.0 if percent else max(present, default=0.0)
    barred = top > 0 and min(present, default=0.0) >= 0
    rows = [
        el(
            "tr",
            el("th", figure.name, scope="row"),
            el("td", bar(value, top) if barred else None, class_="bar"),
            el("td", with_margin(value, figure.margins.get(metric), percent), class_="num"),
            class_="subject" if figure is figures[0] else None,
        )
        for figure, value in zip(having, values, strict=True)
    ]
    margins = any(metric in figure.margins for figure in having)
    return el(
        "table",
        el("caption", metric),
        el("tbody", rows),
        class_="bars fixed margins" if margins else "bars fixed",
    )


def bar(value: Number, top: float) -> Markup | None:
    if value is None or not finite(value):
        return None
    return el("i", style=f"width:{100 * value / top:.2f}%")
