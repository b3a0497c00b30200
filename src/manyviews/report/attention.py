"""What a text looks at while it is written: a heat map, with the words at both of its sides."""

from collections.abc import Sequence

from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.report.drawing import Area, Drawing, Mark, Stroke, Words

CELL = 20.0  # pixels a side
LETTER = 0.62  # of a size of text, that a letter takes across
LONGEST = 16  # letters of a word that are shown
GAP = 14.0  # between the maps of two heads


def attention_map(
    weight_TS: Tensor, written: Sequence[str], read: Sequence[str], title: str = "", cell: float = CELL
) -> Drawing:
    """A row for each word that was written, a column for each that was read; the darker, the more it was looked at.

    Args:
        weight_TS: rows that sum to 1, or `[H, T, S]`: a map for each head, side by side.

    Raises `ManyviewsError` where the words are not as many as the weights.
    """
    weight_HTS = weight_TS[None] if weight_TS.ndim == 2 else weight_TS
    if tuple(weight_HTS.shape[1:]) != (len(written), len(read)):
        raise ManyviewsError(
            f"Attention of {list(weight_TS.shape[-2:])} does not fit {len(written)} words that were written and "
            f"{len(read)} that were read."
        )
    heads, T, S = weight_HTS.shape
    rows, columns = [_short(word) for word in written], [_short(word) for word in read]
    size = min(12.0, 0.75 * cell)
    left, tall = (LETTER * size * max(map(len, words), default=0) for words in (rows, columns))
    left, above = 16 + left, (34 if title else 12) + (18 if heads > 1 else 0) + tall
    across = S * cell + GAP
    width = 12 + max(left + heads * across - GAP, left + LETTER * 13 * len(title))
    height = above + T * cell + 12
    marks: list[Mark] = [Words((left, 20), title, bold=True, size=13)] if title else []
    for row, word in enumerate(rows):
        marks.append(Words((left - 6, above + (row + 0.5) * cell + size / 3), word, size=size, anchor="end"))
    for head, weight in enumerate(weight_HTS.tolist()):
        x = left + head * across
        marks += _cells(weight, x, above, cell)
        marks.append(Stroke(_box(x, above, S * cell, T * cell), "line", closed=True))
        for column, word in enumerate(columns):
            at = x + (column + 0.5) * cell + size / 3, above - 6
            marks.append(Words(at, word, "soft" if head else "ink", size=size, turned=True))
        if heads > 1:
            marks.append(Words((x, above - tall - 12), f"head {head + 1}", "soft", 11))
    return Drawing(width, height, marks, spoken=_spoken(weight_HTS.mean(0), written, read))


def _cells(weight_TS: list[list[float]], x: float, y: float, cell: float) -> list[Mark]:
    """Squares as dark as their weight: the whole colour is a weight of 1."""
    return [
        Area([_box(x + column * cell, y + row * cell, cell, cell)], f"accent {round(100 * weight)}%")
        for row, weights in enumerate(weight_TS)
        for column, weight in enumerate(weights)
        if round(100 * weight)
    ]


def _box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _short(word: str) -> str:
    """A word as it stands beside its row: blanks seen, and no longer than there is room."""
    seen = word.replace(" ", "\N{MIDDLE DOT}").replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}")
    return seen if len(seen) <= LONGEST else seen[: LONGEST - 1] + "…"


def _spoken(weight_TS: Tensor, written: Sequence[str], read: Sequence[str]) -> str:
    pairs = [
        f"{word} from {read[most]}" for word, most in zip(written, weight_TS.argmax(1).tolist(), strict=True)
    ]
    return f"Attention. Looked at most: {', '.join(pairs)}."
