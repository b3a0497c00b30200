"""A network drawn from its module tree: what runs in which order, what feeds what, where the cost lies.

Colours are translucent and text has the colour of the page, so that one drawing serves light pages and dark ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from manyviews.cli.nets import shape, short
from manyviews.nets.counting import Network
from manyviews.nets.parts import INPUT, Part

BESIDE = re.compile(
    "norm|ReLU|Tanh|Sigmoid|GELU|dropout|identity", re.IGNORECASE
)  # said with what they follow
SEQUENCE = "one after the other"
COLOURS = (  # the first that a part's kind matches
    ("convolution", "#3b82f6"),
    ("attention", "#8b5cf6"),
    ("embedding|learned|positions|grid", "#10b981"),
    ("pool", "#14b8a6"),
    ("linear|feedforward", "#f59e0b"),
    ("rnn|gru|lstm|cell", "#ec4899"),
    ("norm|relu|tanh|gelu|dropout|identity", "#94a3b8"),
)
BLOCK = "#6366f1"  # anything that has parts

ROW, GAP, TITLE, DOT = 40, 16, 22, 14  # heights in pixels; a gap is where an arrow goes
BOX, LANE = 330, 13  # widths; that of a box beside its costs
NARROW = 300  # of a box without
COLUMNS = ((132, "gives"), (96, "parameters"), (110, "multiply-adds"))


@dataclass(frozen=True)
class Row:
    """One box: a part, and the small ones after it that go without boxes of their own."""

    part: Part
    after: tuple[str, ...] = ()
    takes: tuple[int, ...] = ()  # places among the rows, or `INPUT`


@dataclass(frozen=True)
class Join:
    """Where what several rows made comes together; with a `plus` by addition."""

    plus: bool


# -- what is drawn ---------------------------------------------------------------------------------------------------


def rows(whole: Part) -> tuple[list[Row], dict[int, int]]:
    """The parts of one as rows, and which row each part went into."""
    made: list[Row] = []
    place = {INPUT: INPUT}
    for i, part in enumerate(whole.parts):
        takes = tuple(dict.fromkeys(place[j] for j in part.takes if j in place))
        last = made[-1] if made and takes == (len(made) - 1,) else None
        place[i] = len(made) - 1
        if last and part.kind == "identity":
            continue
        if last and last.part.times == 1 and not (last.part.parts or part.parts) and BESIDE.search(part.kind):
            costs = {"parameters": last.part.parameters + part.parameters, "out": part.out}
            made[-1] = replace(last, part=replace(last.part, **costs), after=(*last.after, part.kind))
            continue
        row = Row(part, (), takes)
        place[i] = len(made)
        made.append(row)
    return _folded(made, place)


def _folded(made: list[Row], place: dict[int, int]) -> tuple[list[Row], dict[int, int]]:
    """Rows that are alike and follow each other as one: a convolution and its ReLU, twice."""
    kept: list[Row] = []
    moved = {INPUT: INPUT}
    for i, row in enumerate(made):
        takes = tuple(dict.fromkeys(moved[j] for j in row.takes))
        before = kept[-1] if kept else None
        if before and takes == (len(kept) - 1,) and _alike(before, row):
            one, other = before.part, row.part
            total = replace(
                one,
                times=one.times + other.times,
                parameters=one.parameters + other.parameters,
                multiply_adds=one.multiply_adds + other.multiply_adds,
            )
            kept[-1] = replace(before, part=total)
        else:
            kept.append(replace(row, takes=takes))
        moved[i] = len(kept) - 1
    return kept, {part: moved[row] for part, row in place.items()}


def _alike(a: Row, b: Row) -> bool:
    def form(row: Row) -> Any:
        part = row.part
        return part.kind, part.out, row.after, part.parts, part.multiply_adds // part.times

    return form(a) == form(b) and a.part.parameters * b.part.times == b.part.parameters * a.part.times


def items(whole: Part) -> tuple[list[Row | Join], list[tuple[int, ...]], int]:
    """Rows and joins from top to bottom, what each takes (places among the items), and which one comes out."""
    found, place = rows(whole)
    sums = {frozenset(place[i] for i in some if i in place) for some in whole.sums}
    made: list[Row | Join] = []
    takes: list[tuple[int, ...]] = []
    at = {INPUT: INPUT}  # row -> item
    joins: dict[frozenset[int], int] = {}  # rows -> item

    def one(of: frozenset[int]) -> tuple[int, ...]:
        """The item that stands for what these rows made."""
        if len(of) < 2:
            return tuple(at[i] for i in of)
        if of not in joins:
            known = max((seen for seen in joins if seen < of), key=len, default=frozenset())
            rest = [at[i] for i in sorted(of - known)]
            made.append(Join(of in sums))
            takes.append((*([joins[known]] if known else []), *rest))
            joins[of] = len(made) - 1
        return (joins[of],)

    for i, row in enumerate(found):
        source = one(frozenset(row.takes))
        made.append(row)
        takes.append(source)
        at[i] = len(made) - 1
    last = frozenset(place[i] for i in whole.last if i in place) or frozenset({len(found) - 1})
    out = one(last)
    return made, takes, out[0]


def blocks(whole: Part, path: str = "") -> Iterator[tuple[str, Part]]:
    """Every part within that is worth a drawing of its own, with its place in the net; the outer ones first."""
    for part in whole.parts:
        if part.parts and part.kind != SEQUENCE and len(rows(part)[0]) > 2:
            yield path + part.name, part
    for part in whole.parts:
        yield from blocks(part, f"{path}{part.name}.")


def skeleton(part: Part) -> str:
    """A part without its numbers: nets that differ in depth and width alone share it."""
    if part.kind == SEQUENCE or not part.kind:
        inner = [skeleton(child.part) + "".join(child.after) for child in rows(part)[0]]
    else:
        inner = [skeleton(child) for child in part.parts]
    kept = [one for i, one in enumerate(inner) if i == 0 or one != inner[i - 1]]
    return re.sub(r", stride \d+|[\d.,×]+", "", f"{part.kind}({' '.join(kept)})")


# -- drawing it ------------------------------------------------------------------------------------------------------


def figure(net: Network) -> str:
    """The net as HTML: one drawing of the whole, one of each kind of block in it."""
    assert net.part
    shown: dict[str, tuple[str, Part]] = {}
    for path, block in blocks(net.part):
        shown.setdefault(skeleton(block), (path, block))
    drawings = [whole(net), *(panel(path, block) for path, block in shown.values())]
    boxes = [f'<div style="overflow-x:auto">{drawing}</div>' for drawing in drawings]
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start">'
        + "".join(boxes)
        + "</div>"
    )


def whole(net: Network) -> str:
    """The net from input to output, with what each part gives and costs."""
    assert net.part
    given = {
        "images": f"image, 3 × {net.input} × {net.input}",
        "sounds": f"sound, 1 × {net.input:,} samples",
        "tokens": f"{net.input} tokens",
    }
    drawing = _Column(net.part, costs=True, top=30)
    drawing.run(given.get(net.sees, f"two sequences of {net.input} tokens"), f"out: {shape(net.part.out)}")
    if net.head:
        drawing.head(net.head)
    drawing.header()
    return drawing.svg(f"The parts of {net.name} in the order in which they run")


def panel(path: str, part: Part) -> str:
    """One block, in and out."""
    kind = part.kind.partition(",")[0]
    drawing = _Column(part, costs=False, top=30)
    drawing.text(drawing.left, 14, kind, weight=600)
    drawing.text(drawing.left + NARROW, 14, f"such as {path}", anchor="end", faint=True)
    drawing.run("in", f"out: {shape(part.out)}")
    return drawing.svg(f"The parts of a {kind} in the order in which they run")


class _Column:
    """Boxes under each other, with arrows between them and, on their left, around them."""

    def __init__(self, part: Part, *, costs: bool, top: int):
        self.part, self.costs, self.y = part, costs, top
        self.items, self.takes, self.out = items(part)
        self.left = 12 + LANE * self.lanes()
        self.wide = BOX if costs else NARROW
        self.centre = self.left + self.wide // 2
        self.marks: list[str] = []
        self.entry: dict[int, int] = {}  # item -> where it begins
        self.exit: dict[int, int] = {}  # item -> where it ends
        drawn = [one for item in self.items if isinstance(item, Row) for one in _drawn(item)]
        self.most = {
            "parameters": max(one.part.parameters for one in drawn) or 1,
            "multiply_adds": max(one.part.multiply_adds for one in drawn) or 1,
        }

    def lanes(self) -> int:
        return max((lane for *_, lane in self.around()), default=-1) + 1

    def around(self) -> list[tuple[int, int, int]]:
        """Arrows that do not go to the next item: from, to, and the lane, short ones nearest to the boxes."""
        pairs = [(a, b) for b, some in enumerate(self.takes) for a in some if a != b - 1]
        if self.out != len(self.items) - 1:
            pairs.append((self.out, len(self.items)))
        lanes: list[list[tuple[int, int]]] = []
        found: list[tuple[int, int, int]] = []
        for a, b in sorted(pairs, key=lambda pair: pair[1] - pair[0]):
            free = next(
                (i for i, lane in enumerate(lanes) if all(b <= c or d <= a for c, d in lane)), len(lanes)
            )
            if free == len(lanes):
                lanes.append([])
            lanes[free].append((a, b))
            found.append((a, b, free))
        return found

    def run(self, given: str, out: str) -> None:
        self.entry[INPUT] = self.exit[INPUT] = self.y
        self.chip(given)
        self.exit[INPUT] = self.y
        for i, item in enumerate(self.items):
            self.gap(straight=i - 1 in self.takes[i])
            self.entry[i] = self.y
            if isinstance(item, Join):
                self.join(item)
            elif item.part.kind == SEQUENCE:
                self.group(item)
            else:
                self.row(item)
            self.exit[i] = self.y
        self.gap(straight=self.out == len(self.items) - 1)
        self.entry[len(self.items)] = self.y
        self.chip(out)
        for a, b, lane in self.around():
            self.arc(a, b, lane)

    # The pieces, each at `self.y`, which they move down.

    def gap(self, straight: bool = True) -> None:
        if straight:
            self.marks.append(
                f'<path d="M{self.centre} {self.y + 1}v{GAP - 3}m-3 -4l3 4l3 -4" fill="none" stroke="currentColor" '
                'stroke-opacity=".55"/>'
            )
        self.y += GAP

    def chip(self, words: str) -> None:
        self.text(self.centre, self.y + 12, words, anchor="middle", faint=True)
        self.y += 18

    def join(self, item: Join) -> None:
        x, y, r = self.centre, self.y + DOT // 2, DOT // 2
        plus = f'<path d="M{x - 4} {y}h8m-4 -4v8" stroke="currentColor"/>' if item.plus else ""
        self.marks.append(
            f'<circle cx="{x}" cy="{y}" r="{r if item.plus else 3}" fill="currentColor" '
            f'fill-opacity="{0.06 if item.plus else 0.7}" stroke="currentColor" stroke-opacity=".7"/>{plus}'
        )
        self.y += DOT

    def group(self, row: Row) -> None:
        """Rows one after the other, in a frame under the name of what holds them."""
        inner = _drawn(row)
        height = TITLE + len(inner) * ROW + (len(inner) - 1) * GAP + 10
        self.marks.append(
            f'<rect x="{self.left - 6}" y="{self.y}" width="{self.wide + 12}" height="{height}" rx="9" fill="{BLOCK}" '
            f'fill-opacity=".05" stroke="{BLOCK}" stroke-opacity=".45" stroke-dasharray="4 3"/>'
        )
        self.text(self.left + 4, self.y + 15, row.part.name, mono=True, faint=True)
        if len(inner) > 1:
            self.figures(row.part, self.y + 15, faint=True)
        self.y += TITLE
        for i, one in enumerate(inner):
            if i:
                self.gap()
            self.row(one)
        self.y += 10

    def row(self, row: Row) -> None:
        part, y = row.part, self.y
        colour = BLOCK if part.parts else "#94a3b8"
        for pattern, own in COLOURS:
            if re.search(pattern, part.kind, re.IGNORECASE):
                colour = own
                break
        if part.times > 1:
            for shift in (6, 3):
                self.box(self.left + shift, y - shift, colour, 0.06)
        self.box(self.left, y, colour, 0.16)
        self.text(self.left + 12, y + 17, part.kind, weight=500)
        inside = [" → ".join(one.part.name for one in rows(part)[0])] if _small(part) else []
        said = " · ".join([*row.after, *inside])
        self.text(self.left + 12, y + 32, part.name, mono=True, faint=True)
        if said:
            self.text(self.left + 22 + 6.7 * len(part.name), y + 32, said, faint=True)
        if part.times > 1:
            self.text(
                self.left + self.wide - 12, y + 25, f"× {part.times}", anchor="end", weight=700, size=14
            )
        self.figures(part, y + 21)
        self.y += ROW

    def box(self, x: float, y: float, colour: str, opacity: float) -> None:
        self.marks.append(
            f'<rect x="{x}" y="{y}" width="{self.wide}" height="{ROW}" rx="7" fill="{colour}" fill-opacity="{opacity}" '
            f'stroke="{colour}" stroke-opacity=".7"/>'
        )

    def arc(self, a: int, b: int, lane: int) -> None:
        """Out of one item, down a lane on the left, into another."""
        x, r = self.left - 12 - LANE * lane, 6
        from_x, from_y = self.side(a, leaving=True)
        to_x, to_y = self.side(b, leaving=False)
        self.marks.append(
            f'<path d="M{from_x} {from_y}H{x + r}Q{x} {from_y} {x} {from_y + r}V{to_y - r}Q{x} {to_y} {x + r} {to_y}'
            f'H{to_x}m-4 -3l4 3l-4 3" fill="none" stroke="currentColor" stroke-opacity=".55"/>'
        )

    def side(self, i: int, *, leaving: bool) -> tuple[int, int]:
        """Where an arrow leaves an item or comes to it."""
        if i in (INPUT, len(self.items)):  # beside the words
            return self.centre - (0 if leaving else 70), self.exit[INPUT] + 5 if leaving else self.entry[
                i
            ] + 8
        item = self.items[i]
        if isinstance(item, Join):
            return self.centre - (DOT // 2 if item.plus else 3), (self.entry[i] + self.exit[i]) // 2
        edge = self.left - (6 if item.part.kind == SEQUENCE else 0)
        return edge, self.exit[i] - 10 if leaving else self.entry[i] + 10

    def figures(self, part: Part, y: float, faint: bool = False) -> None:
        """What a part gives and costs, and bars of its share: the longest is that of the dearest row."""
        if not self.costs:
            return
        x = self.left + BOX
        costs = (
            (short(part.parameters or None), part.parameters / self.most["parameters"]),
            (short(part.multiply_adds or None, "KMGT"), part.multiply_adds / self.most["multiply_adds"]),
        )
        self.text(x + COLUMNS[0][0] - 6, y, shape(part.out), anchor="end", faint=faint)
        x += COLUMNS[0][0]
        for (width, _), (said, share) in zip(COLUMNS[1:], costs, strict=True):
            x += width
            self.text(x - 6, y, said, anchor="end", faint=faint)
            if share > 0 and not faint:
                long = max(2.0, (width - 22) * min(share, 1))
                self.marks.append(
                    f'<rect x="{x - 6 - long:.1f}" y="{y + 5}" width="{long:.1f}" height="4" rx="2" '
                    f'fill="currentColor" fill-opacity=".3"/>'
                )

    def head(self, part: Part) -> None:
        self.y += 6
        self.marks.append(
            f'<rect x="{self.left}" y="{self.y}" width="{BOX}" height="{ROW}" rx="7" fill="none" '
            'stroke="currentColor" stroke-opacity=".4" stroke-dasharray="4 3"/>'
        )
        self.text(self.left + 12, self.y + 17, part.kind)
        self.text(self.left + 12, self.y + 32, "the paper's classifier: only in the counts", faint=True)
        self.figures(part, self.y + 21, faint=True)
        self.y += ROW

    def header(self) -> None:
        x = self.left + BOX
        for width, name in COLUMNS:
            x += width
            self.text(x - 6, 14, name, anchor="end", faint=True)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: str = "start",
        weight: int = 400,
        size: int = 12,
        mono: bool = False,
        faint: bool = False,
    ) -> None:
        family = ' font-family="ui-monospace, monospace" font-size="11"' if mono else f' font-size="{size}"'
        self.marks.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill-opacity="{0.65 if faint else 1}"{family}>{escape(words)}</text>'
        )

    def svg(self, label: str) -> str:
        width = self.left + self.wide + (sum(width for width, _ in COLUMNS) if self.costs else 0) + 8
        height = self.y + 8
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(label)}" width="{width}" '
            f'height="{height}" viewBox="0 0 {width} {height}" fill="currentColor" '
            f'font-family="system-ui, sans-serif">{"".join(self.marks)}</svg>'
        )


def _drawn(row: Row) -> list[Row]:
    """The boxes of a row: itself, or those of a group."""
    return rows(row.part)[0] if row.part.kind == SEQUENCE else [row]


def _small(part: Part) -> bool:
    """Whether a part's own parts are few enough to be said in a line."""
    return bool(part.parts) and len(rows(part)[0]) <= 2
