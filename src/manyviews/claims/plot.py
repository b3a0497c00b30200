"""The figures of a claim as a picture: a row an arm, a dot a seed, a tick at their mean."""

from collections.abc import Mapping
from typing import Any

from manyviews.claims.words import is_share, mean_of, values
from manyviews.report.drawing import Dots, Drawing, Mark, Stroke, Words
from manyviews.report.numbers import bounds, short, ticks

PLOT, ROW, AXIS = 190, 30, 24  # pixels: the dots; a row; the ticks below
LETTER = 8.0  # pixels of a letter
COLUMNS = 40  # of the dots in a terminal
LONGEST = 20  # letters of a name beside the dots


def drawing(result: Mapping[str, Any]) -> Drawing | None:
    """The picture; None where there is no figure to show."""
    rows, percent = values(result), is_share(result)
    every = [value for row in rows.values() for value in row]
    if not every:
        return None
    low, high = bounds(every, share=percent)
    height = ROW * len(rows)
    left = 14 + LETTER * max(len(_cut(arm)) for arm in rows)
    right = 14 + LETTER * max(len(mean_of(row, percent)) for row in rows.values())

    def at(value: float) -> float:
        return left + PLOT * (value - low) / (high - low)

    marks: list[Mark] = []
    for tick in ticks(low, high, 4):
        marks.append(Stroke([(at(tick), 0), (at(tick), height)], "line"))
        marks.append(Words((at(tick), height + 17), short(tick, percent), "soft", 12, "middle"))
    for number, (arm, row) in enumerate(rows.items()):
        y = ROW * number + ROW / 2
        marks.append(Words((left - 10, y + 4), _cut(arm), "ink", 13, "end"))
        marks.append(Words((left + PLOT + 10, y + 4), mean_of(row, percent), "ink", 13))
        if row:
            mean = sum(row) / len(row)
            marks.append(Stroke([(at(min(row)), y), (at(max(row)), y)], "accent 35%", 2))
            marks.append(Stroke([(at(mean), y - 9), (at(mean), y + 9)], "ink", 2))
            marks.append(Dots([(at(value), y) for value in row], "accent", 4.5))
    spoken = "; ".join(f"{arm}: {mean_of(row, percent)}" for arm, row in rows.items())
    return Drawing(
        left + PLOT + right, height + AXIS, marks, spoken=f"{result['measure']}, a dot a seed. {spoken}."
    )


def lines(result: Mapping[str, Any]) -> list[str]:
    """The same in letters: o is a seed, | the mean."""
    rows, percent = values(result), is_share(result)
    every = [value for row in rows.values() for value in row]
    if not every:
        return []
    low, high = bounds(every, share=percent)
    wide = min(LONGEST, max(map(len, rows)))

    def at(value: float) -> int:
        return min(COLUMNS - 1, int(COLUMNS * (value - low) / (high - low)))

    drawn = []
    for arm, row in rows.items():
        cells = [" "] * COLUMNS
        if row:
            cells[at(sum(row) / len(row))] = "|"
        for value in row:
            cells[at(value)] = "o"
        drawn.append(f"{_cut(arm):>{wide}}  [{''.join(cells)}]  {mean_of(row, percent)}")
    ends = short(low, percent), short(high, percent)
    return [*drawn, f"{'':{wide}}   {ends[0]}{ends[1]:>{COLUMNS - len(ends[0])}}"]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\u2026"
