"""Differences of figures that were measured under the same seeds: where their mean lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

LEVEL = 0.05  # of both sides: a difference that is not there is found in 2.5 of 100 cases


@dataclass(frozen=True)
class Interval:
    """The mean of paired differences, and where the true one lies at a level; unbounded where one seed says nothing."""

    mean: float
    low: float
    high: float


def interval(d: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t: where the mean of the differences lies but for a share ``level`` of all such intervals."""
    mean, deviation = moments(d)
    if len(d) == 1:  # exact: nothing was sampled
        return Interval(mean, mean, mean)
    half = t_quantile(1 - level / 2, len(d) - 1) * deviation / math.sqrt(len(d))
    return Interval(mean, mean - half, mean + half)


def moments(d: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation."""
    mean = math.fsum(d) / len(d)
    if len(d) == 1:
        return mean, math.inf
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in d) / (len(d) - 1))


@cache
def t_quantile(share: float, freedom: int) -> float:
    """Where Student's t of so many degrees of freedom has this share of its mass below."""
    from scipy.special import stdtrit  # a quarter of a second, for those who judge

    return float(stdtrit(freedom, share))
