"""Optimisers side by side: their paths on one surface, their learning curves on one task, as one picture.

A row a family: left the paths, right the curves, in the same colours, with all the other families' behind in grey.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from manyviews.report.curves import Axis, apart
from manyviews.report.drawing import Area, Dots, Drawing, Mark, Point, Stroke, Words, svg
from manyviews.report.markup import Markup, el
from manyviews.report.numbers import number, short, ticks, with_margin
from manyviews.report.shell import document, repeat, section

TONES = ("accent", "c1", "c4", "c10")  # as the page's charts colour their first four lines
WIDE, HIGH = 520, 200  # pixels of a plot of paths
LEFT, PLOT, LABELS = 40, 400, 132  # of a plot of curves: its ticks, itself, its lines' names
DEEPEST = 62  # percent of grey on the highest ground
MARGIN, GAP, HEAD, ROW = 28, 44, 108, 268


@dataclass(frozen=True, eq=False)
class Runner:
    """One optimiser. Losses and paths as they were at every step or epoch, the first before any."""

    name: str
    path_rate: float
    path: Sequence[Point]
    path_loss: float  # the mean over the path's second half
    task_rate: float
    curves: Sequence[Sequence[float]]  # a row a seed: mean training loss after each epoch, in nats
    top1: tuple[float, float | None]  # mean and standard deviation over seeds, shares

    @property
    def mean_curve(self) -> list[float]:
        """The mean over seeds."""
        return [sum(column) / len(column) for column in zip(*self.curves, strict=True)]

    @property
    def loss(self) -> tuple[float, float | None]:
        """Mean and standard deviation over seeds of the loss at the end."""
        last = [curve[-1] for curve in self.curves]
        mean = sum(last) / len(last)
        square = sum((value - mean) ** 2 for value in last)
        return mean, (square / (len(last) - 1)) ** 0.5 if len(last) > 1 else None


@dataclass(frozen=True, eq=False)
class Race:
    """What the picture tells. The surface in its own coordinates, y upwards."""

    title: str
    subtitle: str
    families: dict[str, Sequence[Runner]]  # at most four in each
    contours: Sequence[Sequence[Sequence[Point]]]  # outlines of what lies below each level, from high to low
    window: tuple[float, float, float, float]  # x and y, from and to
    places: dict[str, Point]  # "saddle", "minimum": points to be named
    paths_note: str
    curves_note: str

    @property
    def runners(self) -> list[Runner]:
        """All of them, in order."""
        return [runner for family in self.families.values() for runner in family]


def paths(race: Race, family: str) -> Drawing:
    """The surface, and a family's paths on it."""
    x_axis, y_axis = Axis(*race.window[:2]), Axis(*race.window[2:])

    def placed(points: Sequence[Point]) -> list[Point]:
        return [(WIDE * x_axis.at(x), HIGH * (1 - y_axis.at(y))) for x, y in points]

    shade = DEEPEST / max(1, len(race.contours))
    marks: list[Mark] = [Area([[(0, 0), (WIDE, 0), (WIDE, HIGH), (0, HIGH)]], f"grey {DEEPEST}%")]
    for index, outlines in enumerate(race.contours, start=1):
        shown = [placed(outline) for outline in outlines]
        marks.append(Area(shown, f"grey {DEEPEST - shade * index:.0f}%"))
        marks += [Stroke(outline, "grey 70%", 0.6, closed=True) for outline in shown]
    own = race.families[family]
    marks += [Stroke(placed(runner.path), "grey", 1) for runner in race.runners if runner not in own]
    for runner, tone in zip(own, TONES, strict=False):
        points = placed(runner.path)
        marks += [Stroke(points, tone, 1.4), Dots(points, tone, 2.1)]
    (start, *_) = placed(own[0].path[:1])
    marks += [Dots([start], "ink", 4), Words((start[0] + 9, start[1] - 3), "start", "ink", 11)]
    for name, point in race.places.items():
        marks += _named(name, placed([point])[0])
    for row, (runner, tone) in enumerate(zip(own, TONES, strict=False)):
        y = 20 + 18 * row
        marks += [
            Dots([(14, y - 4)], tone, 4),
            Words((24, y), runner.name, tone, 13, bold=True),
            Words((150, y), number(runner.path_rate), "ink", 13, "end"),
        ]
    spoken = "; ".join(
        f"{r.name} at rate {number(r.path_rate)}: mean loss {number(r.path_loss)} over the second half"
        for r in own
    )
    return Drawing(WIDE, HIGH, marks, spoken=f"Paths on the surface. {spoken}.")


def _named(name: str, at: Point) -> list[Mark]:
    """A ring, and its name below whatever happens around it."""
    x, y = at
    low = HIGH - 12
    return [
        Stroke([(x, y + 5), (x, low - 14)], "soft", 0.8, dashed=True),
        Dots([at], "ink", 4.5),
        Dots([at], "paper", 3),
        Words((x, low), name, "ink", 11, "middle"),
    ]


def curves(race: Race, family: str) -> Drawing:
    """A family's learning curves: every seed thin, their mean thick, and its rate at its end."""
    epochs = len(race.runners[0].mean_curve) - 1
    worst = max(max(runner.mean_curve) for runner in race.runners)
    x_axis, y_axis = Axis(0, epochs), Axis(0, 1.04 * worst)

    def placed(losses: Sequence[float]) -> list[Point]:
        top = y_axis.high  # one seed may rise above the means
        return [
            (LEFT + PLOT * x_axis.at(x), HIGH * (1 - y_axis.at(min(loss, top))))
            for x, loss in enumerate(losses)
        ]

    marks: list[Mark] = []
    for tick in ticks(y_axis.low, y_axis.high):
        y = HIGH * (1 - y_axis.at(tick))
        marks += [
            Stroke([(LEFT, y), (LEFT + PLOT, y)], "line"),
            Words((LEFT - 8, y + 4), short(tick), "soft", 12, "end"),
        ]
    for tick in ticks(0, epochs, 6):
        x = LEFT + PLOT * x_axis.at(tick)
        marks.append(Words((x, HIGH + 18), short(tick), "soft", 12, "middle"))
    own = race.families[family]
    marks += [Stroke(placed(runner.mean_curve), "grey", 1) for runner in race.runners if runner not in own]
    for runner, tone in zip(own, TONES, strict=False):
        marks += [Stroke(placed(curve), f"{tone} 40%", 0.8) for curve in runner.curves]
    for runner, tone in zip(own, TONES, strict=False):
        marks.append(Stroke(placed(runner.mean_curve), tone, 2.2))
    ends = sorted(
        (placed(runner.mean_curve)[-1][1], tone, f"{runner.name} {number(runner.task_rate)}")
        for runner, tone in zip(own, TONES, strict=False)
    )
    for y, (_, tone, words) in zip(apart([y for y, *_ in ends], 17, HIGH), ends, strict=True):
        marks.append(Words((LEFT + PLOT + 10, y + 4), words, tone, 13, bold=True))
    spoken = "; ".join(
        f"{r.name} at rate {number(r.task_rate)}: {number(r.loss[0])} after {epochs} epochs" for r in own
    )
    return Drawing(LEFT + PLOT + LABELS, HIGH + 24, marks, spoken=f"Training loss. {spoken}.")


def picture(race: Race) -> Drawing:
    """Everything as one drawing."""
    right = MARGIN + WIDE + GAP
    width = right + LEFT + PLOT + LABELS + MARGIN // 2
    marks: list[Mark] = [
        Words((MARGIN, 50), race.title, "ink", 30, serif=True),
        Words((MARGIN, 78), race.subtitle, "soft", 14),
    ]
    inset: list[tuple[Point, Drawing]] = []
    for row, family in enumerate(race.families):
        top = HEAD + ROW * row
        marks += [
            Words((MARGIN, top + 14), family, "ink", 15, bold=True),
            Words((right + LEFT, top + 14), race.curves_note, "soft", 12),
            Words((MARGIN + WIDE, top + 14), race.paths_note, "soft", 12, "end"),
        ]
        inset += [((MARGIN, top + 26), paths(race, family)), ((right, top + 26), curves(race, family))]
    height = HEAD + ROW * len(race.families)
    return Drawing(width, height, marks, inset, spoken=f"{race.title}. {race.subtitle}")


def race_page(race: Race, command: str, settings: dict[str, dict[str, object]]) -> str:
    """The picture as a page, its panels under each other where there is no room beside; and all figures."""
    sections = [_row(race, family) for family in race.families]
    sections.append(section("All figures", "± is the standard deviation over seeds.", _table(race)))
    return document(race.title, race.subtitle, None, [*sections, repeat(command, settings)])


def _row(race: Race, family: str) -> Markup:
    drawings = ((race.paths_note, paths(race, family)), (race.curves_note, curves(race, family)))
    figures = [
        el("figure", svg(drawing, alone=False), el("figcaption", note, class_="note"))
        for note, drawing in drawings
    ]
    # Without the side column that other sections have, so that both drawings are as wide as they can be.
    return el(
        "section",
        el("h2", family),
        el("div", figures, class_="columns"),
        style="grid-template-columns:minmax(0,1fr);gap:1.25rem",
    )


def _table(race: Race) -> Markup:
    heads = (
        "",
        "rate on the surface",
        "mean loss, second half",
        "rate on the task",
        "training loss",
        "test top-1",
    )
    rows = [
        el(
            "tr",
            el("th", runner.name, scope="row"),
            el("td", number(runner.path_rate)),
            el("td", number(round(runner.path_loss, 4))),
            el("td", number(runner.task_rate)),
            el("td", with_margin(*runner.loss)),
            el("td", with_margin(*runner.top1, percent=True)),
        )
        for runner in race.runners
    ]
    head = el("tr", [el("th", name, scope="col") for name in heads])
    table = el("table", el("thead", head), el("tbody", rows), class_="plainly")
    return el("div", table, class_="scroll", tabindex=0, role="region", aria_label="All figures")
