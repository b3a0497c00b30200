"""Which columns of a table are its texts, which its label, and which says how alike two texts are."""

from collections.abc import Sequence
from dataclasses import dataclass

from manyviews.errors import ManyviewsError, nearest

TEXTS = ("text", "sentence", "caption", "review")
"""Names of a column of texts, the first that is there."""

PAIRS = (
    ("sent0", "sent1", "hard_neg"),
    ("anchor", "positive", "negative"),
    ("source", "target"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
)
"""Names of columns of texts that belong together, two or three, where there is none of ``TEXTS``."""

LABELS = ("label", "class", "category", "target")
"""Names of the column of labels, where it is not one of the texts."""

SCORES = ("score", "similarity", "similarity_score")
"""Names of the column that says how alike the two texts of a row are, where there is no label."""


@dataclass(frozen=True)
class Columns:
    """Numbers of the columns that are read."""

    texts: tuple[int, ...]
    label: int | None
    split: int | None
    score: int | None = None


def choose(where: str, header: Sequence[str], wanted: Sequence[str] | None = None) -> Columns:
    """The columns that are called so, or unless told those that are known by their names."""
    lowered = [name.strip().lower() for name in header]
    split = lowered.index("split") if "split" in lowered else None
    if wanted is None:
        texts = _known(where, header, lowered)
    else:
        named = [
            name
            for name in wanted
            if not name.startswith(("label=", "score=")) and name.strip().lower() not in ("label", "score")
        ]
        texts = tuple(_find(where, header, name) for name in named)
    if len(texts) not in (1, 2, 3):
        raise ManyviewsError(f"Choose one to three columns of texts of {where}, not {len(texts)}.")
    told = [name.removeprefix("label=") for name in wanted or () if name.startswith("label=")]
    told += [name for name in wanted or () if name.strip().lower() == "label"]
    if told:
        label = _find(where, header, told[0]) if told[0] else None
    else:
        known = [
            name for name in LABELS if name in lowered and not (name == "target" and "source" in lowered)
        ]
        label = _find(where, header, known[0]) if known else None
        label = None if label in texts else label
    score = _score_of(where, header, lowered, wanted, label)
    if score is not None and (told or score in texts or len(texts) != 2):
        raise ManyviewsError(
            f"A score says how alike two texts are; it has a column of its own and replaces the label: choose two columns of texts of {where} "
            "and one score, or leave the score out."
        )
    label = label if score is None else None
    return Columns(texts, label, None if split in texts else split, score)


def _score_of(
    where: str, header: Sequence[str], lowered: list[str], wanted: Sequence[str] | None, label: int | None
) -> int | None:
    """The column that says how alike the texts are: the one that is told, or where none is told one that is called so beside
    two texts and no label."""
    told = [name.removeprefix("score=") for name in wanted or () if name.startswith("score=")]
    told += [name for name in wanted or () if name.strip().lower() == "score"]
    if wanted is None and label is None and len(_known(where, header, lowered)) == 2:
        told += [name for name in SCORES if name in lowered]
    return _find(where, header, told[0]) if told and told[0] else None


def _known(where: str, header: Sequence[str], lowered: list[str]) -> tuple[int, ...]:
    for names in (*((name,) for name in TEXTS), *PAIRS):
        if all(name in lowered for name in names):
            return tuple(_find(where, header, name) for name in names)
    if not header:
        raise ManyviewsError(f"{where} has no columns.")
    together = "; or ".join(", ".join(names) for names in PAIRS)
    raise ManyviewsError(
        f"{where} has the columns {_listed(header)}: none is called {', '.join(TEXTS)}, and no pair or triple is called {together}. "
        f"Name the text columns yourself, as in {where.rpartition('/')[2]}#{header[0]:.30}."
    )


def _find(where: str, header: Sequence[str], name: str) -> int:
    found = [i for i, column in enumerate(header) if column == name]
    found = found or [i for i, column in enumerate(header) if column.strip().lower() == name.strip().lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise ManyviewsError(
            f"{where} has {len(found)} columns that are called {name!r}: rename all but one."
        )
    hint = nearest(name, header, f"it has {_listed(header)}.")
    raise ManyviewsError(f"{where} has no column {name!r}; {hint}")


def _listed(header: Sequence[str]) -> str:
    return ", ".join(f"{name:.40}" for name in header[:10]) + (", ..." if len(header) > 10 else "")
