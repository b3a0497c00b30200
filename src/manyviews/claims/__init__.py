"""What the papers claim, as experiments that can be run, each ending in a verdict.

claim.py, predictions.py   how a claim is written; papers/ holds them, a file a paper
trial.py, cache.py         the runs that claims need, each trained once
engine.py, verdict.py      running a claim, and judging it
store.py, cost.py          results as JSON; what a claim costs
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
