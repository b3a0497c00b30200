"""Which figures can be measured of a run, so that a misspelt one is said before anything is trained."""

import inspect
import re
import sys
from dataclasses import fields
from functools import cache
from itertools import pairwise
from typing import Any

from manyviews.errors import ManyviewsError, nearest
from manyviews.evaluation import PROTOCOLS, LabelFree
from manyviews.method import find

OF_EVERY_RUN = (
    "loss",
    "lr",
    "seconds",
    "items",
    "items_per_s",
    "memory_mib",
    "step",
    "epoch",
    "progress",
    "verdict",
)  # of the last line of its log, beside the monitor's figures
KNOWN = {*PROTOCOLS, *OF_EVERY_RUN, *(field.name for field in fields(LabelFree))}


def check(measure: str, method: str) -> None:
    """Raise a ``ManyviewsError`` for a figure that no run of a method can have.

    A figure that the method itself logs is known by standing in quotes in its code. Figures of a protocol, such as
    the ``top5`` of ``linear.top5``, are known only once it has run.
    """
    name = measure.partition(".")[0]
    if name in KNOWN or name in _quoted(method):
        return
    meant = nearest(name, KNOWN, f"there are the protocols {', '.join(PROTOCOLS)}.")
    raise ManyviewsError(f"A run of {method} has no figure '{measure}'; {meant}")


@cache
def _quoted(method: str) -> set[str]:
    """Words in quotes in the code of a method and of those that it extends."""
    kinds = [kind for kind in find(method).method.__mro__ if kind.__module__.startswith("manyviews.methods.")]
    sources = [inspect.getsource(sys.modules[kind.__module__]) for kind in kinds]
    return {word for source in sources for word in re.findall(r'"(\w+)"', source)}


def mean_loss(rows: list[dict[str, Any]]) -> float | None:
    """The mean over the steps of the last tenth of the run: that of the last step alone is mostly chance.

    Figures that claims keep are made of it: whoever changes it raises ``GENERATION``.
    """
    due = [
        (row["step"] - before["step"], row["loss_mean"])
        for before, row in pairwise([{"step": 0}, *rows])
        if "loss_mean" in row and row.get("progress", 1.0) >= 0.9
    ]
    steps = sum(count for count, _ in due)
    return sum(count * loss for count, loss in due) / steps if steps else None
