"""Whether a stored result is what its claim would give today: a run is known by its digest, which changes with what decides it."""

import json
from collections.abc import Mapping
from typing import Any

from manyviews.claims.cache import name_of
from manyviews.claims.claim import Claim
from manyviews.claims.trial import trials

SETTINGS, CODE = "of older settings", "of older code"


def stale(claim: Claim, result: Mapping[str, Any]) -> str | None:
    """What a stored result is of where that is not the claim of today; None where it is.

    ``SETTINGS``: arms, scale, measure or predictions are written otherwise today. ``CODE``: they are alike, but the runs
    or what is measured of them would be others, for code or recipes that they depend on have changed since. An exact
    claim has no runs to know it by, so only its words count.
    """
    scale = claim.scales.get(result["scale"])
    if scale is None:
        return SETTINGS
    written: dict[str, Any] = {
        "predicts": [str(one) for one in claim.predictions],
        "measure": claim.measured,
        "exact": claim.exact is not None,
    }
    if claim.exact is None:
        written |= {"same": dict(scale.same), "arms": {arm: str(one) for arm, one in claim.arms.items()}}
    if json.loads(json.dumps(written)) != {key: result.get(key) for key in written}:
        return SETTINGS
    runs: dict[str, list[str]] = {arm: [] for arm in claim.arms}
    for arm, trial in trials(claim, scale, result["seeds"]):
        runs[arm].append(trial.digest)
    if claim.exact is not None:
        return None
    measures = {arm: name_of(claim.measure_of(arm)) for arm in claim.arms}
    alike = runs == result.get("runs", {}) and measures == result.get("measures", measures)
    return None if alike else CODE
