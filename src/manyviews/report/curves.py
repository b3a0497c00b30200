"""Line charts: an SVG for the lines, which stretches, and HTML for the words, which do not.

So one chart serves a phone and a desk: its text keeps its size at any width. Lines are named at their ends
rather than in a legend. A series of more than ``MOST`` points is drawn as its mean over equal runs of points,
with the whole of it, thinned to extremes, faint behind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from manyviews.report.markup import Markup, data, el
from manyviews.report.numbers import bounds, finite, log_ticks, number, short, ticks
from manyviews.report.story import Curve, Number

MOST = 240
HEIGHT = 190  # pixels of the plotting area, which the stylesheet sets too
LABEL = 16  # pixels between the baselines of two labels


@dataclass(frozen=True)
class Axis:
    """A range of values, and where in [0, 1] a value lies on it."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of ``value``: 0 at the low end, 1 at the high end."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        return ((math.log(value) if self.log else value) - low) / (high - low)


@dataclass(frozen=True)
class Line:
    """One series as drawn: ``points`` thinned by means of ``run`` each, ``faint`` thinned to extremes."""

    name: str
    points: list[tuple[float, Number]]
    faint: list[tuple[float, Number]]
    run: int
    reach: tuple[float, float]  # the first and last x that were given, which means do not reach


def line_chart(curve: Curve) -> Markup | None:
    """The chart, or ``None`` where there is no finite point to draw."""
    lines = [thin(name, xs, ys) for name, (xs, ys) in curve.series.items()]
    drawn = [line for line in lines if any(_shown(y, curve.log_y) for _, y in line.points)]
    if not drawn:
        return None
    x_axis, y_axis = _axes(curve, drawn)
    area = el(
        "div",
        _drawing(curve, drawn, x_axis, y_axis),
        _tick_labels(curve, x_axis, y_axis),
        _end_labels(curve, drawn, y_axis),
        el("div", class_="hair", hidden=True),
        el("div", class_="readout", hidden=True),
        class_="area" if _labelled(curve, drawn) else "area bare",
        role="img",
        tabindex=0,
        aria_label=_spoken(curve, drawn),
    )
    run = max(line.run for line in drawn)
    mean = f"The line is the mean of every {run:,} points; behind it is their range." if run > 1 else ""
    note = " ".join(part for part in (curve.note, mean) if part)
    return el(
        "figure",
        el("figcaption", curve.title),
        area,
        el("p", curve.x_label, class_="xlabel"),
        el("p", note, class_="note") if note else None,
        data(_hover(curve, drawn, x_axis, y_axis)),
        class_="chart wide" if curve.baselines else "chart",
    )


def thin(name: str, xs: Sequence[Number], ys: Sequence[Number]) -> Line:
    """A series with at most ``MOST`` points to draw; short ones stay as they are."""
    points = [
        (float(x), y if finite(y) else None)
        for x, y in zip(xs, ys, strict=True)
        if x is not None and finite(x)
    ]
    reach = (min(x for x, _ in points), max(x for x, _ in points)) if points else (0.0, 0.0)
    if len(points) <= MOST:
        return Line(name, points, [], 1, reach)
    run = math.ceil(len(points) / MOST)
    runs = [points[start : start + run] for start in range(0, len(points), run)]
    means: list[tuple[float, Number]] = []
    faint: list[tuple[float, Number]] = []
    for part in runs:
        present = [(x, y) for x, y in part if y is not None]
        x_mean = sum(x for x, _ in part) / len(part)
        if not present:
            means.append((x_mean, None))
            faint.append((x_mean, None))
            continue
        means.append((x_mean, sum(y for _, y in present) / len(present)))
        faint += sorted({min(present, key=lambda p: p[1]), max(present, key=lambda p: p[1])})
    return Line(name, means, faint, run, reach)


def _shown(y: Number, log: bool) -> bool:
    return y is not None and (y > 0 or not log)


def _labelled(curve: Curve, lines: list[Line]) -> bool:
    return len(lines) > 1 or bool(curve.baselines)


def _axes(curve: Curve, lines: list[Line]) -> tuple[Axis, Axis]:
    xs = [x for line in lines for x in line.reach]
    ys = [
        y for line in lines for _, y in line.points + line.faint if y is not None and _shown(y, curve.log_y)
    ]
    ys += [y for y in curve.baselines.values() if finite(y) and _shown(y, curve.log_y)]
    x_low, x_high = min(xs), max(xs)
    x_axis = Axis(x_low, x_high) if x_low < x_high else Axis(x_low - 0.5, x_high + 0.5)
    if curve.log_y:
        return x_axis, Axis(min(ys) / 1.15, max(ys) * 1.15, log=True)
    return x_axis, Axis(*bounds(ys, share=curve.percent and min(ys) >= 0 and max(ys) <= 1))


def _drawing(curve: Curve, lines: list[Line], x_axis: Axis, y_axis: Axis) -> Markup:
    """Everything without words, in a square of 1000 that the page stretches."""
    marks = [
        el("path", class_="rule", d=f"M0 {1000 * (1 - y_axis.at(tick)):.1f}h1000")
        for tick in _y_ticks(y_axis)
    ]
    for value in curve.baselines.values():
        if finite(value) and _shown(value, curve.log_y):
            marks.append(el("path", class_="base", d=f"M0 {1000 * (1 - y_axis.at(value)):.1f}h1000"))
    for index, line in enumerate(lines):
        for points, kind in ((line.faint, "faint"), (line.points, "line")):
            if points:
                marks.append(el("path", class_=f"{kind} s{index % 8}", d=_path(points, x_axis, y_axis)))
    return el("svg", marks, viewBox="0 0 1000 1000", preserveAspectRatio="none", aria_hidden="true")


def _path(points: list[tuple[float, Number]], x_axis: Axis, y_axis: Axis) -> str:
    """A path that lifts the pen wherever a value is missing; a lone point becomes a dot."""
    steps: list[str] = []
    down = False
    for index, (x, y) in enumerate(points):
        if y is None or not _shown(y, y_axis.log):
            down = False
            continue
        steps.append(f"{'L' if down else 'M'}{1000 * x_axis.at(x):.1f} {1000 * (1 - y_axis.at(y)):.1f}")
        ends = index + 1 == len(points) or not _shown(points[index + 1][1], y_axis.log)
        if not down and ends:
            steps.append("h0")
        down = True
    return "".join(steps)


def _y_ticks(axis: Axis) -> list[float]:
    return log_ticks(axis.low, axis.high) if axis.log else ticks(axis.low, axis.high)


def _tick_labels(curve: Curve, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    ys = [
        el(
            "span",
            short(tick, curve.percent),
            class_="ytick",
            style=f"top:{100 * (1 - y_axis.at(tick)):.2f}%",
        )
        for tick in _y_ticks(y_axis)
    ]
    xs = [
        el("span", short(tick), class_="xtick", style=f"left:{100 * x_axis.at(tick):.2f}%")
        for tick in ticks(x_axis.low, x_axis.high, 4)
    ]
    return ys + xs


def _end_labels(curve: Curve, lines: list[Line], y_axis: Axis) -> list[Markup]:
    """Names at the right-hand ends, moved apart where they would touch."""
    if not _labelled(curve, lines):
        return []
    wanted: list[tuple[float, str, str, str]] = []
    for index, line in enumerate(lines):
        last = next(y for _, y in reversed(line.points) if y is not None and _shown(y, curve.log_y))
        wanted.append((1 - y_axis.at(last), line.name, number(last, curve.percent), f"s{index % 8}"))
    for name, value in curve.baselines.items():
        if finite(value) and _shown(value, curve.log_y):
            wanted.append((1 - y_axis.at(value), name, number(value, curve.percent), "basename"))
    wanted.sort(key=lambda label: label[0])
    tops = apart([place * HEIGHT for place, *_ in wanted])
    return [
        el(
            "span",
            el("span", name),
            " ",
            el("b", value),
            class_=f"end {kind}",
            style=f"top:{top:.1f}px",
            title=name,
        )
        for top, (_, name, value, kind) in zip(tops, wanted, strict=True)
    ]


def apart(tops: Sequence[float], gap: float = LABEL, height: float = HEIGHT) -> list[float]:
    """Ascending positions moved as little as a single pass each way allows, so that all are ``gap`` apart."""
    placed: list[float] = []
    for top in tops:
        placed.append(max(top, placed[-1] + gap) if placed else top)
    limit = height
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def _spoken(curve: Curve, lines: list[Line]) -> str:
    """What the picture shows, for those who do not see it."""
    parts = []
    for line in lines:
        present = [(x, y) for x, y in line.points if _shown(y, curve.log_y)]
        (x0, y0), (x1, y1) = present[0], present[-1]
        parts.append(
            f"{line.name}: {number(y0, curve.percent)} at {curve.x_label} {number(x0)}, "
            f"{number(y1, curve.percent)} at {number(x1)}"
        )
    parts += [f"baseline {name}: {number(value, curve.percent)}" for name, value in curve.baselines.items()]
    return f"Line chart, {curve.title}. " + "; ".join(parts) + "."


def _hover(curve: Curve, lines: list[Line], x_axis: Axis, y_axis: Axis) -> dict[str, object]:
    """What the page's script needs to read a chart aloud under the pointer: places, and the words at each."""
    series = []
    for index, line in enumerate(lines):
        present = [(x, y) for x, y in line.points if y is not None and _shown(y, curve.log_y)]
        series.append(
            {
                "name": line.name,
                "tone": index % 8,
                "x": [round(x_axis.at(x), 4) for x, _ in present],
                "y": [round(1 - y_axis.at(y), 4) for _, y in present],
                "at": [number(x) for x, _ in present],
                "value": [number(y, curve.percent) for _, y in present],
            }
        )
    return {"x": curve.x_label, "series": series}
