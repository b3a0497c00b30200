"""Numbers as people read them, and axes that end where people expect."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

DASH = "–"


def finite(value: Any) -> bool:
    """Whether there is a number to show."""
    return value is not None and math.isfinite(value)


def number(value: float | int | None, percent: bool = False) -> str:
    """``0.7431`` as ``74.3%`` or ``0.7431``, whole numbers whole (``12,000``), a dash for what is missing."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "\u2212∞"
    if percent:
        written = f"{100 * value:.1f}%"
    elif value == int(value) and abs(value) < 1e12:
        written = f"{int(value):,}"
    elif abs(value) >= 1000:
        written = f"{value:,.0f}"
    else:
        mantissa, _, exponent = f"{value:.4g}".partition("e")
        written = f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return written.replace("-", "\u2212") if written.startswith("-") else written


def with_margin(value: float | int | None, margin: float | None, percent: bool = False) -> str:
    """``74.3% ± 1.2``: the margin without its unit, which the value has said."""
    if value is None or not finite(value) or margin is None or not finite(margin):
        return number(value, percent)
    if percent:
        return f"{number(value, percent)} ± {100 * margin:.1f}"
    # Two digits of the margin are all that it knows, and the value needs no more.
    places = max(0, 1 - math.floor(math.log10(margin))) if margin > 0 else 2
    return f"{value:,.{places}f} ± {margin:,.{places}f}".replace("-", "\u2212")


def is_share(values: Iterable[float | int | None]) -> bool:
    """Whether these are shares: at least one value, and all that are there in [0, 1]."""
    present = [value for value in values if value is not None and finite(value)]
    return bool(present) and all(0 <= value <= 1 for value in present)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2, 2.5 or 5 times a power of ten) that lie within [low, high]."""
    if not low < high:
        return [low]
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 2.5, 5, 10) if nice * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high]; 1, 2 and 5 times them where that would be fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 2, 5)):
        found = [m * 10.0**p for p in powers for m in mantissas if low * 0.999 <= m * 10.0**p <= high * 1.001]
        if len(found) >= 3:
            break
    return found[:: math.ceil(len(found) / 6)] if found else [low]


def short(value: float, percent: bool = False) -> str:
    """A tick's label: ``50%``, ``20k``, ``0.25``."""
    if percent:
        return f"{100 * value:.4g}%".replace("-", "\u2212")
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == 'k' else size):.4g}{suffix}".replace("-", "\u2212")
    return number(value)


def bounds(values: Sequence[float], share: bool = False) -> tuple[float, float]:
    """The range that shows ``values`` with a little air; never empty; a range of shares stays in [0, 1]."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - air, high + air
    return (max(low, 0.0), min(high, 1.0)) if share else (low, high)
