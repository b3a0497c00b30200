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
    """The same work by us and by them; `size` says what it is."""

    ours: Step
    theirs: Step
    size: str
    tokens: int = 0  # that a turn writes


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
        "ours ms": 1e3 * ours, "theirs ms": 1e3 * theirs, "size": duel.size,
    }  # fmt: skip
    return found | (
        {"ours tokens/s": duel.tokens / ours, "theirs tokens/s": duel.tokens / theirs} if duel.tokens else {}
    )


def told(name: str, result: dict[str, Any]) -> str:
    """A result as a line to print."""
    return (
        f"{name:22} {result['ratio']:.2f} [{result['low']:.2f}, {result['high']:.2f}] in {result['turns']} turns; "
        f"ours {result['ours ms']:.0f} ms, theirs {result['theirs ms']:.0f} ms; {result['size']}"
    )
