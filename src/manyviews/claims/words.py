"""A stored result in words and figures, for the terminal and for its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from manyviews.claims.predictions import COLLAPSED, Prediction
from manyviews.report.numbers import number, with_margin

SHARES = (
    "knn",
    "linear",
    "finetune",
    "scratch",
    "single",
    "ten-crop",
    "multi-crop",
    "multi-scale",
    "last-layers",
    "dense",
    "segment",
    "layers",
)
SHARE_WORDS = ("accuracy", "error", "probe", "share", "top-1", "miou")


def values(result: Mapping[str, Any]) -> dict[str, list[float]]:
    """The figures that are there, by arm."""
    figures: Mapping[str, Sequence[float | None]] = result["figures"]
    return {
        arm: [value for value in row if value is not None and value == value] for arm, row in figures.items()
    }


def is_share(result: Mapping[str, Any]) -> bool:
    """Whether the figures are shares, to be written in percent."""
    every = [value for row in values(result).values() for value in row]
    word = str(result["measure"]).lower()
    named = word.startswith(SHARES) or any(part in word for part in SHARE_WORDS)
    return named and bool(every) and all(0 <= value <= 1 for value in every)


def standing(result: Mapping[str, Any]) -> str:
    """Its verdict, with what that is of where it is not of the claim of today: "holds, of older code"."""
    return ", ".join(part for part in (result["verdict"]["state"], result.get("stale")) if part)


def by_seed(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every figure as it is written, by arm; a dash where there is none."""
    percent = is_share(result)
    return {arm: [number(value, percent) for value in row] for arm, row in result["figures"].items()}


def mean_of(row: Sequence[float], percent: bool) -> str:
    """``74.3% ± 1.2``: mean and standard deviation over seeds."""
    if not row:
        return number(None)
    mean = sum(row) / len(row)
    deviation = (sum((value - mean) ** 2 for value in row) / (len(row) - 1)) ** 0.5 if len(row) > 1 else None
    return with_margin(mean, deviation, percent)


def verdict_sentences(result: Mapping[str, Any]) -> list[str]:
    """Why the verdict is what it is: a sentence a predicted difference or state, and one for each arm that collapsed unasked."""
    percent, parts = is_share(result), result["verdict"]["parts"]
    return [_part(part, percent) for part in parts] + _collapsed(result)


def predicted(predictions: Sequence[Prediction], percent: bool) -> str:
    """What is predicted, as one clause; margins of shares in points."""
    return "; ".join(one.said(_points if percent else "{:g}".format) for one in predictions)


def _points(share: float) -> str:
    return f"{100 * share:g} point" + "s" * (100 * share != 1)


def _collapsed(result: Mapping[str, Any]) -> list[str]:
    """Of arms whose state nothing was predicted of: a difference to them is no comparison of what was learned."""
    asked = " ".join(part["what"] for part in result["verdict"]["parts"] if part["found"])
    said = []
    for arm, states in result["states"].items():
        fallen = sum(state in COLLAPSED for state in states)
        if fallen and f"{arm} collapses" not in asked and f"{arm} does not collapse" not in asked:
            said.append(f"The representation of {arm} collapsed in {fallen} of {len(states)} seeds.")
    return said


def _part(part: Mapping[str, Any], percent: bool) -> str:
    if part["found"]:
        return f"{part['what']}: {part['found']}."
    if part["mean"] is None:
        return f"{part['what']}: no seed gave figures for all of these arms."
    said = f"{part['what']}: {_difference(part['mean'], percent)}"
    predicted = f"; predicted {_bounds(part['bounds'][0], part['bounds'][1], percent)}"
    if part["low"] is None:
        return f"{said} under one seed{predicted}. One seed tells nothing about chance: two are needed."
    if part["seeds"] == 1:
        return f"{said}, exactly{predicted}."
    low, high = (_difference(part[key], percent, unit=False) for key in ("low", "high"))
    interval = f"{said} (95% interval {low} to {high}, {part['seeds']} seeds){predicted}"
    if part["state"] != "cannot tell":
        return f"{interval}."
    if _outside(part):
        interval += ". That is no failure yet, for of all that is predicted one may miss by chance"
    if part["needed"] is None:
        return f"{interval}. No number of seeds that could reasonably be run is likely to settle it."
    return f"{interval}. About {part['needed']} seeds would settle it."


def _outside(part: Mapping[str, Any]) -> bool:
    """Whether all of the interval lies where the paper says that the difference does not."""
    low, high = part["bounds"]
    return (low is not None and part["high"] < low) or (high is not None and part["low"] > high)


def _difference(value: float, percent: bool, unit: bool = True) -> str:
    if value == 0:
        return "0"
    if percent:
        return f"{100 * value:.1f}".replace("-", "\u2212") + (" points" if unit else "")
    return number(float(f"{value:.4g}"))


def _bounds(low: float | None, high: float | None, percent: bool) -> str:
    if low is not None and high is not None:
        return f"{_difference(low, percent, unit=False)} to {_difference(high, percent)}"
    if low is not None:
        return f"above {_difference(low, percent)}"
    return f"below {_difference(high, percent)}" if high is not None else "anything"
