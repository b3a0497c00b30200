"""Does a claim hold? Paired by seed, by the interval of what it predicts: holds, fails, or cannot tell.

Each arm is trained under the same seeds, so a predicted difference has one value a seed. Its mean has an interval:

- it lies wholly where the paper says: **holds**;
- it lies wholly elsewhere: **fails**;
- it spans a bound: **cannot tell**, and how many seeds would settle it, from the deviation that was seen.

The interval is Student's t of the paired differences. With the 3 to 5 seeds that one can afford, bootstrap intervals are
too narrow: ``benchmarks/verdicts.py`` measures how often each of them finds an effect that is not there.

A prediction of several differences holds where each of them does, at the full level (the worst of them decides, so
nothing is gained by having many); it fails where one of them fails at the level divided by their number. Where a run gave no
figure, because it diverged, those that did decide nothing; but an arm that diverged under every seed is beaten by one that
never did. Where one of several ways is enough (``Peak``), each way has to hold at the level divided by the number of ways.
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from manyviews.claims.predictions import DIVERGED, Difference, Prediction
from manyviews.evaluation.paired import LEVEL, interval, moments, t_quantile

State = Literal["holds", "fails", "cannot tell"]
Figures = Mapping[str, Sequence[float | None]]  # arm -> a figure a seed; None where a run gave none
States = Mapping[str, Sequence[str | None]]  # arm -> the monitor's word a seed

POWER = 0.8  # with which the seeds that are asked for would settle it
MOST = 1000  # seeds that anybody would ask for


@dataclass(frozen=True)
class Part:
    """One predicted difference or state, and what was found."""

    what: str
    state: State
    seeds: int
    mean: float | None = None  # of the difference, and its interval at 95%
    low: float | None = None
    high: float | None = None
    bounds: tuple[float | None, float | None] = (None, None)  # where the paper says that it lies
    needed: int | None = None  # seeds that would settle it, where it cannot be told
    found: str = ""  # of a state: "collapsed in 3 of 3 seeds"


@dataclass(frozen=True)
class Verdict:
    """The state of a whole claim, and each of its parts."""

    state: State
    parts: tuple[Part, ...]

    @property
    def needed(self) -> int | None:
        """Seeds that would settle it; None where that is not known, or beyond ``MOST``."""
        open_parts = [part.needed for part in self.parts if part.state == "cannot tell"]
        return None if not open_parts or None in open_parts else max(n for n in open_parts if n is not None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"state": self.state, "needed": self.needed, "parts": [asdict(part) for part in self.parts]}


def judge(
    predictions: Sequence[Prediction],
    figures: Figures,
    states: States | None = None,
    *,
    best: Literal["high", "low"] = "high",
    exact: bool = False,
) -> Verdict:
    """The verdict on everything that a claim predicts.

    Args:
        predictions: all must hold.
        figures: of each arm, seed by seed in the same order.
        states: the monitor's word of each arm's representation, likewise.
        best: which way is better.
        exact: a single figure an arm is not a sample but the truth.
    """
    sign = 1.0 if best == "high" else -1.0
    found = [_prediction(one, figures, states or {}, sign, exact, len(predictions)) for one in predictions]
    parts = tuple(part for _, parts in found for part in parts)
    return Verdict(_all([state for state, _ in found]), parts)


def _all(states: Sequence[State]) -> State:
    if "fails" in states:
        return "fails"
    return "holds" if set(states) == {"holds"} else "cannot tell"


def _prediction(
    prediction: Prediction, figures: Figures, states: States, sign: float, exact: bool, beside: int
) -> tuple[State, list[Part]]:
    if prediction.states:
        parts = [_state(prediction, arm, states.get(arm, ())) for arm in prediction.arms]
        return _all([part.state for part in parts]), parts
    ways = prediction.ways(sign)
    told = [
        [
            _beaten(one, figures, states) or _part(one, figures, exact, len(ways), len(way) * beside)
            for one in way
        ]
        for way in ways
    ]
    by_way = [_all([part.state for part in parts]) for parts in told]
    if "holds" in by_way:
        return "holds", told[by_way.index("holds")]
    state: State = "fails" if set(by_way) == {"fails"} else "cannot tell"
    return state, told[_nearest(told)]


def _nearest(told: Sequence[Sequence[Part]]) -> int:
    """The way that comes nearest to holding: whose worst difference is the largest."""
    worst = [min(-math.inf if part.mean is None else part.mean for part in parts) for parts in told]
    return worst.index(max(worst))


def _state(prediction: Prediction, arm: str, seen: Sequence[str | None]) -> Part:
    words = [state for state in seen if state is not None]
    yes = sum(state in prediction.states for state in words)
    no = sum(state in prediction.against for state in words)
    counts = ", ".join(
        f"{state} in {words.count(state)} of {len(seen)} seeds" for state in dict.fromkeys(words)
    )
    if len(seen) < 2:
        alone = (
            f"{counts}, which tells nothing of chance: two are the least" if counts else "nothing was seen"
        )
        return Part(str(prediction), "cannot tell", len(words), found=alone)
    state: State = "holds" if yes == len(seen) else "fails" if no == len(seen) else "cannot tell"
    return Part(str(prediction), state, len(words), found=counts or "nothing was seen")


def _beaten(one: Difference, figures: Figures, states: States) -> Part | None:
    """Where the arm that is to be beaten diverged under every seed, and the other under none."""
    fallen = list(states.get(one.worse or "", ()))
    others = [figures.get(arm, ()) for arm, _ in one.weights if arm != one.worse]
    whole = all(value is not None and math.isfinite(value) for row in others for value in row)
    if len(fallen) < 2 or set(fallen) != {DIVERGED} or not whole:
        return None
    bounds = (_finite(one.low), _finite(one.high))
    return Part(one.name, "holds", len(fallen), bounds=bounds, found=f"{one.worse} diverged under every seed")


def _part(one: Difference, figures: Figures, exact: bool, ways: int, beside: int) -> Part:
    d = differences(one, figures)
    bounds = (_finite(one.low), _finite(one.high))
    lost = max(len(figures.get(arm, ())) for arm, _ in one.weights) - len(d)
    if len(d) < 2 and not (exact and d):
        found = f"no figure under {lost} of {lost + len(d)} seeds" if lost and d else ""
        return Part(one.name, "cannot tell", len(d), mean=d[0] if d else None, bounds=bounds, found=found)
    holds, shown, fails = (interval(d, level) for level in (LEVEL / ways, LEVEL, LEVEL / beside))
    beyond = operator.le if exact else operator.lt  # of samples a tie, as at a ceiling, decides nothing
    state: State = "cannot tell"
    if lost:
        found = f"no figure under {lost} of {lost + len(d)} seeds"
        return Part(one.name, state, len(d), shown.mean, shown.low, shown.high, bounds, found=found)
    if one.low < holds.low and holds.high < one.high:
        state = "holds"
    elif beyond(fails.high, one.low) or beyond(one.high, fails.low):
        state = "fails"
    inside = one.low < shown.mean < one.high
    level = LEVEL / (ways if inside else beside)
    asked = seeds_needed(one, d, level) if state == "cannot tell" else None
    needed = asked if asked is None else max(asked, len(d) + 1)
    return Part(one.name, state, len(d), shown.mean, shown.low, shown.high, bounds, needed)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def differences(one: Difference, figures: Figures) -> list[float]:
    """The difference under each seed that has a finite figure of every arm in it."""
    arms = [figures.get(arm, ()) for arm, _ in one.weights]
    rows = zip(*arms, strict=True) if all(len(arm) == len(arms[0]) for arm in arms) else ()
    return [
        sum(weight * value for (_, weight), value in zip(one.weights, row, strict=True) if value is not None)
        for row in rows
        if all(value is not None and math.isfinite(value) for value in row)
    ]


def seeds_needed(one: Difference, d: Sequence[float], level: float = LEVEL) -> int | None:
    """How many seeds would settle it with ``POWER``, were mean and deviation those that were seen; None: over ``MOST``."""
    mean, deviation = moments(d)
    away = min(abs(mean - bound) for bound in (one.low, one.high) if math.isfinite(bound))
    for n in range(2, MOST + 1) if away else ():
        reach = t_quantile(1 - level / 2, n - 1) + t_quantile(POWER, n - 1)
        if reach * deviation / math.sqrt(n) <= away:
            return n
    return None
