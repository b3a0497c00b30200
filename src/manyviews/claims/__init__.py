"""What the papers claim, as experiments that can be run, each ending in a verdict.

claim.py, predictions.py   how a claim is written; papers/ holds them, a file a paper
trial.py, cache.py         the runs that claims need, each trained once
measures.py                what can be measured of a run
engine.py, every.py        running a claim, or all that fit
verdict.py, rejudge.py     judging it, and judging again what is stored
store.py, stale.py         results as JSON, and whether they are of the claim of today
records.py, cost.py        where its runs were trained; what a claim costs
words.py, plot.py, site.py results to be read: in a terminal and on the pages of the docs
"""

from manyviews.claims.claim import Arm, Claim, Found, Scale, find
from manyviews.claims.predictions import Collapse, Equal, GainsMore, Gap, Healthy, Order, Peak, Rising

__all__ = [
    "Arm",
    "Claim",
    "Collapse",
    "Equal",
    "Found",
    "GainsMore",
    "Gap",
    "Healthy",
    "Order",
    "Peak",
    "Rising",
    "Scale",
    "find",
]
