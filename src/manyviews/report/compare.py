"""Several methods side by side: every seed shown, nothing chosen among them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from manyviews.report.bars import metrics
from manyviews.report.markup import Markup, el, text
from manyviews.report.numbers import DASH, bounds, finite, is_share, number, short, ticks, with_margin
from manyviews.report.shell import document, repeat, section
from manyviews.report.story import Comparison, Number


def compare_page(comparison: Comparison) -> str:
    """The whole page of a comparison, as one HTML document."""
    if not comparison.contenders:
        raise ValueError("a comparison needs at least one contender; it got none.")
    seeds = {len(values) for contender in comparison.contenders for values in contender.values.values()}
    most = max(seeds, default=0)
    deviation = "± is the standard deviation over seeds." if most > 1 else "One seed gives no deviation."
    budget = el("p", "Each run was given ", el("strong", comparison.budget), ".", class_="budget")
    lead = f"A dot is one seed; the tick is the mean. {deviation}"
    sections = [
        section("Seed by seed", lead, *strip_tables(comparison)),
        section("All figures", "", comparison_table(comparison)),
        repeat(comparison.command, comparison.settings),
    ]
    return document(comparison.title, comparison.subtitle, budget if comparison.budget else None, sections)


@dataclass(frozen=True)
class Summary:
    """One metric over seeds: the figures that are there, their mean and their sample standard deviation."""

    values: list[float]
    missing: int
    mean: float | None
    deviation: float | None

    def words(self, percent: bool) -> Markup:
        """``74.3% ± 1.2``, and under it how many seeds gave no figure."""
        missing = (
            el("small", f"{self.missing} of {self.missing + len(self.values)} missing")
            if self.missing
            else ""
        )
        return text([with_margin(self.mean, self.deviation, percent), missing])


def summary(values: Sequence[Number]) -> Summary:
    """Mean and sample standard deviation of the figures that are there."""
    present = [float(value) for value in values if value is not None and finite(value)]
    mean = statistics.fmean(present) if present else None
    deviation = statistics.stdev(present) if len(present) > 1 else None
    return Summary(present, len(values) - len(present), mean, deviation)


def strip_tables(comparison: Comparison) -> list[Markup]:
    """A table a metric, a row a method: dots are seeds, a tick their mean, a band one deviation each way."""
    named = metrics([contender.values for contender in comparison.contenders])
    return [_strip_table(metric, comparison) for metric in named]


def _strip_table(metric: str, comparison: Comparison) -> Markup:
    every = [value for contender in comparison.contenders for value in contender.values.get(metric, ())]
    references = {
        name: float(row[metric]) for name, row in comparison.references.items() if finite(row.get(metric))
    }
    percent = metric not in comparison.plain and is_share([*every, *references.values()])
    spread = [float(value) for value in [*every, *references.values()] if value is not None and finite(value)]
    low, high = bounds(spread, share=percent) if spread else (0.0, 1.0)
    rows = []
    for contender in comparison.contenders:
        seeds = summary(contender.values.get(metric, ()))
        strip = _strip(seeds, list(references.values()), low, high)
        spoken = (
            ", ".join(number(value, percent) for value in contender.values.get(metric, ())) or "no figures"
        )
        rows.append(
            el(
                "tr",
                el("th", contender.name, scope="row"),
                el("td", el("span", strip, role="img", aria_label=f"seeds: {spoken}"), class_="bar"),
                el("td", seeds.words(percent), class_="num"),
            )
        )
    scale = el(
        "span",
        [
            el(
                "span",
                short(tick, percent),
                class_="xtick",
                style=f"left:{100 * (tick - low) / (high - low):.2f}%",
            )
            for tick in ticks(low, high, 4)
        ],
        class_="scale",
        aria_hidden="true",
    )
    foot = el("tfoot", el("tr", el("td"), el("td", scale, class_="bar"), el("td")))
    said = [
        f"{name} {number(value, percent)}"
        for name, value in sorted(references.items(), key=lambda pair: pair[1])
    ]
    note = el("p", "Dashed: " + ", ".join(said) + ".", class_="note") if said else None
    table = el("table", el("caption", metric), el("tbody", rows), foot, class_="bars strips")
    return el("div", table, note)


def _strip(seeds: Summary, references: Sequence[float], low: float, high: float) -> Markup:
    def at(value: float) -> str:
        return f"{1000 * (value - low) / (high - low):.1f}"

    marks = [el("path", class_="base", d=f"M{at(value)} 0v28") for value in references]
    if seeds.mean is not None:
        if seeds.deviation:
            left, right = max(low, seeds.mean - seeds.deviation), min(high, seeds.mean + seeds.deviation)
            marks.append(el("path", class_="band", d=f"M{at(left)} 14H{at(right)}"))
        marks.append(el("path", class_="mean", d=f"M{at(seeds.mean)} 5v18"))
    # A path of no length with round ends stays a round dot however the drawing is stretched.
    marks += [el("path", class_="dot", d=f"M{at(value)} 14h0") for value in seeds.values]
    return el("svg", marks, viewBox="0 0 1000 28", preserveAspectRatio="none", aria_hidden="true")


def comparison_table(comparison: Comparison) -> Markup:
    """Every method and reference against every metric, as numbers."""
    rows_of = [contender.values for contender in comparison.contenders]
    named = metrics([*rows_of, *comparison.references.values()])
    shares = {}
    for metric in named:
        values = [value for row in rows_of for value in row.get(metric, ())]
        values += [row.get(metric) for row in comparison.references.values()]
        shares[metric] = metric not in comparison.plain and is_share(values)
    head = el("tr", el("th", "", scope="col"), [el("th", metric, scope="col") for metric in named])
    body = []
    for contender in comparison.contenders:
        cells = [
            el(
                "td",
                summary(contender.values[metric]).words(shares[metric])
                if metric in contender.values
                else DASH,
            )
            for metric in named
        ]
        note = el("small", contender.note) if contender.note else None
        body.append(el("tr", el("th", contender.name, note, scope="row"), cells))
    for name, row in comparison.references.items():
        cells = [el("td", number(row.get(metric), shares[metric])) for metric in named]
        body.append(el("tr", el("th", name, scope="row"), cells, class_="reference"))
    table = el("table", el("thead", head), el("tbody", body), class_="plainly")
    return el("div", table, class_="scroll", tabindex=0, role="region", aria_label="All figures")
