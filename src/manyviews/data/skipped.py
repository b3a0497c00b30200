"""What could not be read: named, counted, skipped; and too much of it stops the run."""

from dataclasses import dataclass, field

from manyviews.errors import ManyviewsError

SHARE = 0.01
"""Share of a set that may be unreadable."""

ALWAYS = 2
"""Unreadable items that any set may have, however small."""


REASONS = 3
"""Unreadable items of which a sentence says why."""

NAMED = 100
"""Unreadable items that it names at most."""


@dataclass
class Skipped:
    """What could not be read so far. Items are counted once, however often they come up."""

    seen: int = 0
    """Items asked for, repeats included."""
    files: dict[str, str] = field(default_factory=dict)
    """Name of an unreadable item -> the sentence that says why."""
    kind: str = "images"
    """What the items are."""
    whole: int = 0
    """Items of the set that this one is a part of: what may be unreadable is a share of that one."""

    def miss(self, name: str, why: str) -> None:
        """Note that item ``name`` cannot be read."""
        self.files.setdefault(name, why)

    def check(self, name: str, items: int) -> None:
        """Raise ``ManyviewsError`` where more than 1% of the ``items`` of set ``name``, or all, cannot be read."""
        lost = len(self.files)
        if lost < items and (lost <= ALWAYS or lost <= SHARE * max(items, self.whole)):
            return
        raise self.error(name, items)

    def error(self, name: str, items: int) -> ManyviewsError:
        """The sentence that a run stops with."""
        lost = len(self.files)
        reasons = " ".join(list(self.files.values())[:REASONS])
        others = list(self.files)[REASONS:NAMED]
        more = f" The others: {', '.join(others)}{', ...' if lost > NAMED else ''}." if others else ""
        return ManyviewsError(
            f"{lost} of the {items} {self.kind} of {name} cannot be read, and more than {SHARE:.0%} are too many to skip: "
            f"mend or remove them. {reasons}{more}"
        )

    def __or__(self, other: "Skipped") -> "Skipped":
        """Both together: an item that neither could read counts once."""
        return Skipped(
            self.seen + other.seen, self.files | other.files, self.kind, max(self.whole, other.whole)
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON: the count, and the first names with the reason."""
        return {"count": len(self.files), "files": dict(list(self.files.items())[:NAMED])}

    def __str__(self) -> str:
        """One line for the screen; empty where nothing was skipped."""
        if not self.files:
            return ""
        first, count = next(iter(self.files.values())), len(self.files)
        what = self.kind if count > 1 else self.kind.removesuffix("s")
        return f"Skipped {count} unreadable {what}: {first}{' ...' if count > 1 else ''}"
