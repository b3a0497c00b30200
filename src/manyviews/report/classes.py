"""Class by class: how well each is known, and what it is taken for."""

import math
from collections.abc import Mapping, Sequence

import torch

from manyviews.report.bars import bar
from manyviews.report.markup import Markup, el
from manyviews.report.numbers import finite, number
from manyviews.report.story import Confusion

MOST_CLASSES = 24  # rows that a list of classes shows before it folds the middle away
MOST_CELLS = 20  # classes that a confusion matrix shows; beyond, only the commonest confusions are listed


def class_bars(per_class: Mapping[str, float]) -> Markup:
    """Classes from best to worst; where there are many, the ends are open and the whole is folded."""
    ranked = sorted(per_class.items(), key=lambda pair: (-pair[1] if finite(pair[1]) else math.inf, pair[0]))
    if len(ranked) <= MOST_CLASSES:
        return _class_table(ranked, "columns")
    ends = el(
        "div",
        el("div", el("h3", "Best"), _class_table(ranked[:10])),
        el("div", el("h3", "Worst"), _class_table(ranked[-10:])),
        class_="columns",
    )
    whole = el("details", el("summary", f"All {len(ranked):,} classes"), _class_table(ranked, "columns"))
    return Markup(ends + whole)


def _class_table(rows: Sequence[tuple[str, float]], class_: str = "") -> Markup:
    if class_ and len(rows) > 6:
        half = math.ceil(len(rows) / 2)
        return el("div", _class_table(rows[:half]), _class_table(rows[half:]), class_=f"{class_} close")
    body = [
        el(
            "tr",
            el("th", name, scope="row"),
            el("td", bar(value, 1.0), class_="bar"),
            el("td", number(value, percent=True), class_="num"),
            class_="subject",
        )
        for name, value in rows
    ]
    return el("table", el("tbody", body), class_="bars thin")


def top_confusions(confusion: Confusion, most: int = 8) -> list[tuple[str, str, float]]:
    """The commonest mistakes: (what it was, what it was taken for, the share of its items), largest first."""
    share = _row_shares(confusion).clone()
    share.fill_diagonal_(0)
    count = len(confusion.classes)
    largest = torch.sort(share.flatten(), descending=True, stable=True)
    return [
        (confusion.classes[int(place) // count], confusion.classes[int(place) % count], float(value))
        for value, place in zip(largest.values[:most].tolist(), largest.indices[:most].tolist(), strict=True)
        if value > 0
    ]


def confusion_table(confusion: Confusion) -> Markup | None:
    """The matrix in percent of each row, shaded; ``None`` beyond ``MOST_CELLS`` classes, too many to see."""
    if len(confusion.classes) > MOST_CELLS:
        return None
    share = _row_shares(confusion)
    corner = el("td", el("span", "was ↓ taken for →"), class_="corner")
    head = el("tr", corner, [el("th", el("span", name), scope="col") for name in confusion.classes])
    body = [
        el("tr", el("th", name, scope="row"), [_cell(float(value), i == j) for j, value in enumerate(row)])
        for i, (name, row) in enumerate(zip(confusion.classes, share, strict=True))
    ]
    dense = "confusion dense" if len(confusion.classes) > 12 else "confusion"
    return el("table", el("thead", head), el("tbody", body), class_=dense)


def _cell(value: float, right: bool) -> Markup:
    shade = "right" if right else "wrong"
    strong = " strong" if value > 0.5 else ""
    written = f"{100 * value:.0f}" if round(100 * value) else ""
    return el("td", el("span", written), class_=shade + strong, style=f"--v:{value:.3f}")


def _row_shares(confusion: Confusion) -> torch.Tensor:
    counts = confusion.counts.double().cpu()
    return counts / counts.sum(dim=1, keepdim=True).clamp(min=1e-12)
