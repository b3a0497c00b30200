"""Judge stored figures again, by the claims and by the rules of today; nothing is trained."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyviews.claims import store
from manyviews.claims.claim import Claim, everything
from manyviews.claims.verdict import judge
from manyviews.files import write_json


def rejudge(folder: Path) -> list[str]:
    """Judge every result in a folder again and store what comes out otherwise; the names of these claims.

    Raises:
        ManyviewsError: a stored result is damaged.
    """
    changed = []
    for name, claim in everything().items():
        for result in store.stored(name, folder):
            if (again := rejudged(claim, result)) != result:
                write_json(store.path_of(name, result["scale"], folder), again)
                changed.append(name)
    return changed


def rejudged(claim: Claim, result: dict[str, Any]) -> dict[str, Any]:
    """A stored result with the verdict, the predictions and the words that its claim has today.

    It stays as it is where its figures are of something else: another measure, or not of the arms that are predicted.
    """
    arms = {arm for prediction in claim.predictions for arm in prediction.arms}
    if result["measure"] != claim.measured or not arms <= set(result["figures"]):
        return result
    verdict = judge(
        claim.predictions, result["figures"], result["states"], best=claim.best, exact=claim.exact is not None
    )
    again = result | {
        "sentence": claim.sentence,
        "source": claim.source,
        "paper": claim.paper,
        "predicts": [str(one) for one in claim.predictions],
        "verdict": verdict.as_dict(),
    }
    return result if _rounded(again) == _rounded(result) else json.loads(json.dumps(again))


def _rounded(result: Mapping[str, Any]) -> Any:
    """As it would be read, without the last digits, which differ between processors."""
    return json.loads(json.dumps(result), parse_float=lambda text: float(f"{float(text):.9g}"))
