"""What a paper claims, as data: a sentence, the arms that are compared, what stays the same, what is predicted.

A paper that makes claims is one file under ``claims/papers/``: a docstring whose first line is the paper, and ``CLAIMS``,
a dict of ``Claim`` by name. Names begin with the file's own: ``moco-momentum`` stands in ``papers/moco.py``.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from manyviews.claims import measures
from manyviews.claims.predictions import Prediction
from manyviews.errors import ManyviewsError, nearest
from manyviews.runs import Run

Measure = str | Callable[[Run], float]
SCALES = ("laptop", "gpu")


@dataclass(frozen=True, init=False)
class Arm:
    """One of the things compared: a method, and what it changes.

    Args:
        method: its name.
        measure: what is measured of this arm, where that is not the claim's own measure.
        start: an arm whose encoder this one's begins as; it is trained first, with the same seed.
        settings: of its ``Config``, of ``Recipe``, and ``data``; they win over what ``Scale.same`` says. One that is an
            arm stands for that arm's run, trained first like ``start``: ``teacher=Arm("supervised")``. The settings
            of such arms are their own: what is the same at a scale holds for all.
    """

    method: str
    measure: Measure | None
    start: "Arm | None"
    settings: Mapping[str, Any]

    def __init__(
        self,
        method: str,
        /,
        *,
        measure: Measure | None = None,
        start: "Arm | None" = None,
        **settings: Any,
    ) -> None:
        for name, value in {
            "method": method,
            "measure": measure,
            "start": start,
            "settings": settings,
        }.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        words = ", ".join(
            f"{name} ({value})" if isinstance(value, Arm) else f"{name} {value}"
            for name, value in self.settings.items()
        )
        begun = f", begun as ({self.start})" if self.start else ""
        measured = f", by {said(self.measure)}" if self.measure else ""
        return self.method + (f": {words}" if words else "") + begun + measured


@dataclass(frozen=True, init=False)
class Scale:
    """What is held equal at one scale: ``data``, ``net``, ``size``, ``batch``, ``budget`` ...; and how many seeds."""

    same: Mapping[str, Any]
    seeds: int

    def __init__(self, *, seeds: int = 3, **same: Any) -> None:
        object.__setattr__(self, "same", same)
        object.__setattr__(self, "seeds", seeds)


@dataclass(frozen=True)
class Found:
    """What a claim that needs no training computes: the figures of each arm, one a seed, or one that is exact."""

    figures: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        if len(lengths := {len(values) for values in self.figures.values()}) != 1 or 0 in lengths:
            raise ManyviewsError("Found needs figures of every arm, of all the same number of seeds.")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a paper, and the experiment that tests it."""

    sentence: str  # as the paper means it
    source: str  # where it stands: "section 4.1, table of the momentum"
    predicts: Prediction | tuple[Prediction, ...]  # all of them
    paper: str = ""  # the paper's own figures, as text, with where they stand
    arms: Mapping[str, Arm] = field(default_factory=dict)
    laptop: Scale | None = None
    gpu: Scale | None = None
    measure: Measure = (
        "knn"  # a protocol (knn, linear, linear-10%, finetune ...), a figure of the log (loss, rankme ...),
    )
    #                           "verdict" for the monitor's word alone, or a function of a finished Run
    unit: str = ""  # what the figures are where `measure` does not say it: "gradient norm, log10"
    best: Literal["high", "low"] = "high"  # which way is better, for Order and Peak
    exact: Callable[[], Found] | None = None  # instead of arms and scales
    remark: str = ""  # what we think of the verdict, where it needs words

    @property
    def scales(self) -> dict[str, Scale]:
        """The scales at which it can be run; what needs no training is small on any machine, and is stored as laptop's."""
        if self.exact is not None:
            return {"laptop": Scale(seeds=1)}
        found = {"laptop": self.laptop, "gpu": self.gpu}
        return {name: scale for name, scale in found.items() if scale is not None}

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        return self.predicts if isinstance(self.predicts, tuple) else (self.predicts,)

    @property
    def measured(self) -> str:
        """What is measured, in a word."""
        return self.unit or said(self.measure)

    def measure_of(self, arm: str) -> Measure:
        return self.arms[arm].measure or self.measure

    def check(self, name: str) -> None:
        """Raise a ``ManyviewsError`` where the claim cannot be run as it is written."""
        if (self.exact is None) == (not self.arms):
            raise ManyviewsError(
                f"The claim '{name}' needs arms to train, or else `exact`; give one of the two."
            )
        if not self.scales:
            raise ManyviewsError(f"The claim '{name}' has arms but no scale; give laptop=Scale(...).")
        named = [arm for prediction in self.predictions for arm in prediction.arms]
        if self.arms and (unknown := [arm for arm in named if arm not in self.arms]):
            raise ManyviewsError(
                f"The claim '{name}' predicts something of '{unknown[0]}', but its arms are {', '.join(self.arms)}."
            )
        for arm, one in self.arms.items():
            if isinstance(measure := self.measure_of(arm), str):
                measures.check(measure, one.method)


def said(measure: Measure) -> str:
    """What a measure is called."""
    return measure if isinstance(measure, str) else measure.__name__.replace("_", " ").strip()


# -- discovery: the folder is the registry ---------------------------------------------------------------------

FOLDER = Path(__file__).parent / "papers"


@dataclass(frozen=True)
class Page:
    """A paper's file, opened."""

    name: str
    title: str  # the first line of its docstring
    claims: Mapping[str, Claim]


def papers() -> tuple[str, ...]:
    """All papers with claims, by the names of their files."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"))


@cache
def page(paper: str) -> Page:
    """A paper's claims.

    Raises:
        ManyviewsError: its file has no ``CLAIMS``, or one of them cannot be.
    """
    module = importlib.import_module(f"manyviews.claims.papers.{paper}")
    claims = getattr(module, "CLAIMS", None)
    if not isinstance(claims, dict) or not claims:
        raise ManyviewsError(
            f"claims/papers/{paper}.py holds no CLAIMS; end it with a dict of claims by name."
        )
    for name, claim in claims.items():
        if not name.startswith(f"{paper}-"):
            raise ManyviewsError(f"The claim '{name}' of claims/papers/{paper}.py must be called {paper}-...")
        claim.check(name)
    return Page(paper, (module.__doc__ or paper).strip().splitlines()[0].rstrip("."), claims)


def pages() -> list[Page]:
    """Every paper that makes claims."""
    return [page(paper) for paper in papers()]


def everything() -> dict[str, Claim]:
    """All claims by name, paper by paper."""
    return {name: claim for each in pages() for name, claim in each.claims.items()}


def find(name: str) -> Claim:
    """A claim by name.

    Raises:
        ManyviewsError: there is no such claim; the nearest names are suggested.
    """
    known = everything()
    if name not in known:
        hint = nearest(name, known, "`manyviews claims` lists them.")
        raise ManyviewsError(f"There is no claim '{name}'; {hint}")
    return known[name]


def check_scale(scale: str) -> None:
    """Refuse a scale that there is not."""
    if scale not in SCALES:
        raise ManyviewsError(f"There is no scale '{scale}'; there are {', '.join(SCALES)}.")


def scale_of(name: str, claim: Claim, scale: str) -> Scale:
    """What is held equal at a scale.

    Raises:
        ManyviewsError: the claim has no experiment at this scale.
    """
    check_scale(scale)
    if claim.exact is not None and scale not in claim.scales:
        raise ManyviewsError(
            f"The claim '{name}' trains nothing, so it needs no --scale {scale}; leave it out."
        )
    if scale not in claim.scales:
        raise ManyviewsError(
            f"The claim '{name}' is not written for --scale {scale}; it has {', '.join(claim.scales)}."
        )
    return claim.scales[scale]
