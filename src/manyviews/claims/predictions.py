"""What a paper predicts of its arms: as differences that must lie within bounds, or as states of a representation.

A difference is a weighted sum of the arms' figures under one seed. A prediction holds where all of the differences of
one of its ``ways`` lie where they must: most have one way, a peak has one for every arm that may be the highest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from manyviews.errors import ManyviewsError

COLLAPSED = ("collapsed", "collapsing")  # states of the monitor
LIVES = ("healthy", "plateaued")
DIVERGED = "diverged"  # no word of the monitor: the run's loss, or what it learned, became no number


@dataclass(frozen=True)
class Difference:
    """A weighted sum of arms, of which the paper says that it lies strictly between ``low`` and ``high``."""

    name: str
    weights: tuple[tuple[str, float], ...]
    low: float = -math.inf
    high: float = math.inf
    worse: str | None = None  # the arm that is to be beaten, where it is one: if its runs diverge, it is

    @classmethod
    def between(
        cls, more: str, less: str, low: float = -math.inf, high: float = math.inf, worse: str | None = None
    ) -> "Difference":
        """One arm minus another."""
        return cls(f"{more} \u2212 {less}", ((more, 1.0), (less, -1.0)), low, high, worse)


Way = tuple[Difference, ...]  # all of them


class Prediction:
    """What every prediction says: the arms it speaks of, and either ways to hold or states."""

    arms: tuple[str, ...]
    states: ClassVar[tuple[str, ...]] = ()  # for predictions of a state: those that fulfil it
    against: ClassVar[tuple[str, ...]] = ()  # and those that contradict it

    def ways(self, sign: float) -> tuple[Way, ...]:
        """The ways in which it can hold; ``sign`` is 1 where high figures are good, else -1."""
        return ()

    def said(self, size: Callable[[float], str]) -> str:
        """The prediction as a clause, with margins as ``size`` writes them."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.said("{:g}".format)


@dataclass(frozen=True, init=False)
class Order(Prediction):
    """Best first: every arm of a level is better than every arm of the next, by more than ``margin``.

    ``Order("mlp", "linear", "none")`` is a chain; ``Order(("0.99", "0.999"), "0.9")`` has two arms on one level.
    """

    levels: tuple[tuple[str, ...], ...]
    margin: float

    def __init__(self, *levels: str | tuple[str, ...], margin: float = 0.0) -> None:
        if len(levels) < 2:
            raise ManyviewsError(f"An Order needs two arms or more, the best first, not {levels}.")
        found = tuple((level,) if isinstance(level, str) else tuple(level) for level in levels)
        object.__setattr__(self, "levels", found)
        object.__setattr__(self, "margin", margin)

    @property
    def arms(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(arm for level in self.levels for arm in level)

    def ways(self, sign: float) -> tuple[Way, ...]:
        pairs = [
            (better, worse)
            for first, second in zip(self.levels, self.levels[1:], strict=False)
            for better in first
            for worse in second
        ]
        return (tuple(_better(better, worse, self.margin, sign) for better, worse in pairs),)

    def said(self, size: Callable[[float], str]) -> str:
        by = f", each by more than {size(self.margin)}" if self.margin else ""
        said = " and ".join(self.levels[0])
        for above, level in zip(self.levels, self.levels[1:], strict=False):
            said += f" {'beat' if len(above) > 1 else 'beats'} {' and '.join(level)}"
        return said + by


@dataclass(frozen=True)
class Gap(Prediction):
    """``more`` lies above ``less`` by ``low`` to ``high``, whichever way is better."""

    more: str
    less: str
    low: float
    high: float = math.inf

    @property
    def arms(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.more, self.less)

    def ways(self, sign: float) -> tuple[Way, ...]:
        return ((Difference.between(self.more, self.less, self.low, self.high),),)

    def said(self, size: Callable[[float], str]) -> str:
        if self.low < 0 and self.high == math.inf:
            return f"{self.more} is at most {size(-self.low)} below {self.less}"
        most = "or more" if self.high == math.inf else f"to {size(self.high)}"
        return f"{self.more} lies above {self.less} by {size(self.low)} {most}"


@dataclass(frozen=True)
class Equal(Prediction):
    """Two arms differ by less than ``within``."""

    a: str
    b: str
    within: float

    @property
    def arms(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.a, self.b)

    def ways(self, sign: float) -> tuple[Way, ...]:
        return ((Difference.between(self.a, self.b, -self.within, self.within),),)

    def said(self, size: Callable[[float], str]) -> str:
        return f"{self.a} and {self.b} are equal within {size(self.within)}"


@dataclass(frozen=True, init=False)
class Peak(Prediction):
    """Along the arms, in order, the best lies in the middle: some inner arm is better than both ends by ``margin``."""

    arms: tuple[str, ...]
    margin: float

    def __init__(self, *arms: str, margin: float = 0.0) -> None:
        if len(arms) < 3:
            raise ManyviewsError(f"A Peak needs three arms or more, in order, not {arms}.")
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "margin", margin)

    def ways(self, sign: float) -> tuple[Way, ...]:
        ends = (self.arms[0], self.arms[-1])
        return tuple(
            tuple(_better(inner, end, self.margin, sign) for end in ends) for inner in self.arms[1:-1]
        )

    def said(self, size: Callable[[float], str]) -> str:
        by = f", by more than {size(self.margin)}" if self.margin else ""
        return f"the best of {', '.join(self.arms)} lies in the middle{by}"


@dataclass(frozen=True, init=False)
class Rising(Prediction):
    """Figures rise along the arms, in order: the slope of the straight line through them exceeds ``margin`` an arm.

    Single steps may fall; ``Order`` is for where none may.
    """

    arms: tuple[str, ...]
    margin: float

    def __init__(self, *arms: str, margin: float = 0.0) -> None:
        if len(arms) < 2:
            raise ManyviewsError(f"Rising needs two arms or more, in order, not {arms}.")
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "margin", margin)

    def ways(self, sign: float) -> tuple[Way, ...]:
        middle = (len(self.arms) - 1) / 2
        square = sum((place - middle) ** 2 for place in range(len(self.arms)))
        weights = tuple((arm, (place - middle) / square) for place, arm in enumerate(self.arms))
        return ((Difference("slope an arm", weights, low=self.margin),),)

    def said(self, size: Callable[[float], str]) -> str:
        by = f", by more than {size(self.margin)} an arm" if self.margin else ""
        return f"it rises along {', '.join(self.arms)}{by}"


@dataclass(frozen=True)
class GainsMore(Prediction):
    """The first pair's gain exceeds the second's by more than ``margin``: (a over b) against (c over d)."""

    gain: tuple[str, str]
    other: tuple[str, str]
    margin: float = 0.0

    @property
    def arms(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (*self.gain, *self.other)

    def ways(self, sign: float) -> tuple[Way, ...]:
        (a, b), (c, d) = self.gain, self.other
        name = f"({a} \u2212 {b}) \u2212 ({c} \u2212 {d})"
        weights = tuple((arm, sign * weight) for arm, weight in ((a, 1.0), (b, -1.0), (c, -1.0), (d, 1.0)))
        return ((Difference(name if sign > 0 else f"\u2212[{name}]", weights, low=self.margin),),)

    def said(self, size: Callable[[float], str]) -> str:
        (a, b), (c, d) = self.gain, self.other
        by = f", by more than {size(self.margin)}" if self.margin else ""
        return f"{a} gains more over {b} than {c} over {d}{by}"


@dataclass(frozen=True)
class Collapse(Prediction):
    """The representation of an arm collapses under every seed, by the monitor's word."""

    arm: str
    states = COLLAPSED
    against = LIVES

    @property
    def arms(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.arm,)

    def said(self, size: Callable[[float], str]) -> str:
        return f"{self.arm} collapses"


@dataclass(frozen=True)
class Healthy(Prediction):
    """The representation of an arm does not collapse under any seed, by the monitor's word."""

    arm: str
    states = LIVES
    against = (*COLLAPSED, DIVERGED)

    @property
    def arms(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.arm,)

    def said(self, size: Callable[[float], str]) -> str:
        return f"{self.arm} does not collapse"


def _better(better: str, worse: str, margin: float, sign: float) -> Difference:
    """One arm is better than another: higher by more than ``margin``, or lower, which is written as higher too."""
    more, less = (better, worse) if sign > 0 else (worse, better)
    return Difference.between(more, less, margin, worse=worse)
