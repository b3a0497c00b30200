"""How a probe's learning rate moves: plain functions of the share of training done."""

import math
from typing import Literal

Schedule = Literal["step", "cosine", "linear", "poly", "constant"]


def share_of_peak(progress: float, schedule: Schedule, warmup: float = 0.0) -> float:
    """The share of the peak learning rate at ``progress`` in [0, 1).

    "step" divides by ten at 60% and again at 80% (MoCo's code: epochs 60 and 80 of 100); "cosine" and "linear" fall to
    0, and so does "poly", as the power 0.9 of what is left (DeepLab and SETR); before any, the rate rises linearly over the
    share ``warmup``.
    """
    if progress < warmup:
        return progress / warmup
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 0.1 ** sum(progress >= mark for mark in (0.6, 0.8))
    if schedule == "linear":
        return (1 - progress) / (1 - warmup)
    if schedule == "poly":
        return ((1 - progress) / (1 - warmup)) ** 0.9
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2
