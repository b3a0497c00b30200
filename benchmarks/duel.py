"""Two sides doing the same work in turns: how much longer one takes, and how sure that is.

Who begins changes from turn to turn. What counts is their time's ratio turn by turn: its median, with a 95% bootstrap
interval. Turns go on until the interval is narrower than 5% of the median, or the time given is over: then the interval
says what is not known.
"""

import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

RESOLVED = 0.05  # width of the interval, as a share of the median
Step = Callable[[], object]


class Duel(NamedTuple):
    """The same work by us and by them, or by two `sides` of ours; `size` says what it is."""

    ours: Step
    theirs: Step
    size: str
    tokens: int = 0  # that a turn writes
    sides: tuple[str, str] = ("ours", "theirs")  # what the two are called


def interval(ratios: list[float], draws: int = 1000) -> tuple[float, float]:
    """95% of the medians of resampled turns."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(draws))
    return medians[draws // 40], medians[-draws // 40 - 1]


def fight(duel: Duel, seconds: float) -> dict[str, object]:
    for step in (duel.ours, duel.theirs) * 2:  # warm up, and compile
        step()
    times: list[tuple[float, float]] = []
    low = high = 0.0
    begin = time.perf_counter()
    while len(times) < 7 or (high - low > RESOLVED * high and time.perf_counter() - begin < seconds):
        turn = [duel.ours, duel.theirs]
        spent: dict[Step, float] = {}
        for step in turn[:: -1 if len(times) % 2 else 1]:
            start = time.perf_counter()
            step()
            spent[step] = time.perf_counter() - start
        times.append((spent[duel.ours], spent[duel.theirs]))
        low, high = interval([theirs / ours for ours, theirs in times])
    ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    found: dict[str, object] = {
        "ratio": statistics.median(t / o for o, t in times), "low": low, "high": high, "turns": len(times),
        **{f"{side} ms": 1e3 * spent for side, spent in zip(duel.sides, (ours, theirs), strict=True)}, "size": duel.size,
    }  # fmt: skip
    if not duel.tokens:
        return found
    return found | {
        f"{side} tokens/s": duel.tokens / spent
        for side, spent in zip(duel.sides, (ours, theirs), strict=True)
    }


def told(name: str, result: dict[str, Any]) -> str:
    """A result as a line to print."""
    times = ", ".join(f"{key[:-3]} {value:.0f} ms" for key, value in result.items() if key.endswith(" ms"))
    return (
        f"{name:22} {result['ratio']:.2f} [{result['low']:.2f}, {result['high']:.2f}] in {result['turns']} turns; "
        f"{times}; {result['size']}"
    )
