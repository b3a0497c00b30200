"""The state of a representation in words: collapsed, collapsing, plateaued, healthy, or too early to say.

Where the thresholds come from, each measured on 256 images or more:

- ``POINT``: untrained on the world, small nets have a spread of 0.2, ResNet-18 0.24, ResNet-50 0.10, a 56-layer CIFAR net
  0.02; a constant with 1% noise 0.01. Nets so deep that they start below this are a point until batch norm settles.
- ``LINE``: the top two directions of those untrained nets hold 50% to 99.8% of the variance; a plane with 3% noise in
  every other direction holds 99.95%.
- ``ALIKE``: methods robbed of what keeps them from collapse (SimSiam's stop-gradient, BYOL's predictor) reached a median
  cosine of 0.96 to 0.999 between the outputs for two images of the world within 50 steps, while the spread of their
  encoders rose; as published they stay at 0 to 0.4, MoCo v2 at 0.8 to 0.86 in its first hundred steps.
- ``FALL``: from one look to the next, healthy runs waver by some per cent. Losing half of the best spread is more.
  The rank is allowed to lose three quarters: it often falls at first, when nets forget their random start.
- ``STILL``: 2% between the halves of the last six looks, all at the same images, is less than learning moves them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Literal

from manyviews.evaluation.labelfree import LabelFree

State = Literal["healthy", "collapsing", "collapsed", "plateaued", "too early"]

POINT = 0.015  # spread
LINE = 0.999  # share of the variance in two directions
ALIKE = 0.95  # median cosine between the method's own outputs for two images
STILL = 0.02  # relative change
LEAST = 3  # looks before anything is said of a run
RECENT = 2  # looks that are taken together against noise


@dataclass(frozen=True)
class Watched:
    """A figure that must not fall."""

    name: str
    figure: Callable[[LabelFree], float]
    fall: float  # share of its best below which, falling, it is called collapsing


FALL = (
    Watched("spread", lambda look: look.spread, 0.5),
    Watched("spread of the method's own output", lambda look: look.spread_projected or 0.0, 0.5),
    Watched("effective rank", lambda look: look.rank, 0.25),
)


@dataclass(frozen=True)
class Verdict:
    """A state, and the sentence that says it with its figures."""

    state: State
    sentence: str

    def __str__(self) -> str:
        return f"{self.state}: {self.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verdict(history: Sequence[LabelFree], *, finished: bool = False, patience: int = 6) -> Verdict:
    """Judge a run by what was seen of its representation so far, oldest first.

    Args:
        history: looks at the same images, at intervals.
        finished: the encoder is final, so one look is enough; what has no history is not said.
        patience: looks without change before a run is called plateaued.
    """
    if not history or (len(history) < LEAST and not finished):
        return Verdict(
            "too early", f"{_looks(len(history))} so far; {LEAST} are needed to tell where this is going."
        )
    now = history[-1]
    return (
        _collapsed(now)
        or _collapsing(history)
        or (None if finished else _plateaued(history, patience))  # a finished schedule ends flat by design
        or Verdict("healthy", f"{_figures(now)}.")
    )


def _collapsed(now: LabelFree) -> Verdict | None:
    if not now.finite:
        return Verdict(
            "collapsed", "The embeddings are not finite numbers; lower the learning rate and start again."
        )
    if now.spread < POINT:
        return Verdict(
            "collapsed",
            f"All images get nearly the same embedding: the spread is {now.spread:.4f}, where 1 means evenly spread and less "
            f"than {POINT} means a single point.",
        )
    if now.likeness is not None and now.likeness > ALIKE:
        return Verdict(
            "collapsed",
            f"The method's own output is nearly the same for most images (median cosine {now.likeness:.3f} between the "
            f"outputs for two images), so its loss has nothing left to teach, although the encoder's spread is still {now.spread:.2f}.",
        )
    if min(now.dim, now.n - 1) > 2 and now.top2 > LINE:  # n points span n - 1 directions at most
        return Verdict(
            "collapsed",
            f"Images differ in only one or two directions of {now.dim}: these hold {now.top2:.1%} of the variance "
            f"(effective rank {now.rank:.1f}), though the spread is {now.spread:.2f}.",
        )
    return None


def _collapsing(history: Sequence[LabelFree]) -> Verdict | None:
    if len(history) < 2 * RECENT:
        return None
    for watched in FALL:
        best = max(map(watched.figure, history[:-RECENT]))
        before = median(map(watched.figure, history[-2 * RECENT : -RECENT]))
        recent = median(map(watched.figure, history[-RECENT:]))
        if recent < watched.fall * best and recent < (1 - STILL) * before:
            return Verdict(
                "collapsing",
                f"The {watched.name} fell from {best:.3g} to {recent:.3g} and is still falling; if this goes on, all "
                "images will get the same embedding.",
            )
    return None


def _plateaued(history: Sequence[LabelFree], patience: int) -> Verdict | None:
    if len(history) < patience:
        return None
    last = history[-patience:]
    half = patience // 2
    changes = {
        "output": _change([r.spread_projected or 0.0 for r in last], half),
        "spread": _change([r.spread for r in last], half),
        "rank": _change([r.rank for r in last], half),
        "alignment": _change([r.alignment or 0.0 for r in last], half),
        "uniformity": _change([r.uniformity for r in last], half),
    }
    if max(changes.values()) >= STILL:
        return None
    return Verdict(
        "plateaued",
        f"{_figures(last[-1])}; none of these changed by {STILL:.0%} or more over the last {patience} looks, so longer training may "
        "change little.",
    )


def _change(figures: list[float], half: int) -> float:
    """How far the later half's mean lies from the earlier half's, relative to the larger."""
    before, after = fmean(figures[:half]), fmean(figures[half:])
    scale = max(abs(before), abs(after))
    return abs(after - before) / scale if scale else 0.0


def _figures(now: LabelFree) -> str:
    text = f"Spread {now.spread:.2f} of 1, images differ in about {now.rank:.0f} of {min(now.dim, now.n - 1)} directions"
    if now.closeness is None:
        return text
    return f"{text}, two views of an image lie {now.closeness:.1f} times closer than two images"


def _looks(n: int) -> str:
    return "One look" if n == 1 else f"{n} looks" if n else "No look"
