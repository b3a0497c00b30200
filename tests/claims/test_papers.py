"""The claims that are there: each can be run as written, and those that need no training hold."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from manyviews.claims import store
from manyviews.claims.claim import everything, page, papers
from manyviews.claims.trial import trials
from manyviews.claims.verdict import judge

ROOT = Path(__file__).parents[2]
CLAIMS = everything()
TRAINED = [(name, scale) for name, claim in CLAIMS.items() if claim.exact is None for scale in claim.scales]
EXACT = [name for name, claim in CLAIMS.items() if claim.exact is not None]


@pytest.mark.parametrize(("name", "scale"), TRAINED)
def test_every_run_of_a_claim_can_be_planned(name: str, scale: str) -> None:
    claim = CLAIMS[name]
    plan_of = list(trials(claim, claim.scales[scale], range(claim.scales[scale].seeds)))
    assert {arm for arm, _ in plan_of} == set(claim.arms)
    for _, trial in plan_of:
        trial.planned()
    digests = {(arm, trial.seed): trial.digest for arm, trial in plan_of}
    measured = {(arm, claim.measure_of(arm)) for arm in claim.arms}
    assert len(measured) == len(claim.arms) and len(set(digests.values())) >= claim.scales[scale].seeds
    assert claim.scales[scale].seeds >= 3


def test_the_example_of_contributing_can_be_run(write_paper: Callable[[str, str], None]) -> None:
    (source,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE
    )
    write_paper("swav", source)
    claim = everything()["swav-queue"]
    assert claim.laptop is not None
    for _, trial in trials(claim, claim.laptop, [0]):
        assert trial.planned()[1].queue in (0, 3840)


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_says_where_it_stands(name: str) -> None:
    claim = CLAIMS[name]
    assert claim.sentence.endswith(".") and claim.source and claim.paper
    assert name.partition("-")[0] in papers() and page(name.partition("-")[0]).title


@pytest.mark.parametrize("name", CLAIMS)
def test_what_is_stored_is_of_the_claim_as_it_is_written(name: str) -> None:
    claim = CLAIMS[name]
    for result in store.stored(name, ROOT / "docs" / "claims"):
        told = {key: result[key] for key in ("predicts", "measure", "exact")}
        assert told == {
            "predicts": [str(one) for one in claim.predictions],
            "measure": claim.measured,
            "exact": claim.exact is not None,
        }
        if claim.exact is None:
            assert result["same"] == dict(claim.scales[result["scale"]].same), "run it again"
            assert result["arms"] == {arm: str(one) for arm, one in claim.arms.items()}, "run it again"


@pytest.mark.parametrize("name", EXACT)
def test_exact_claims_hold(name: str) -> None:
    claim = CLAIMS[name]
    assert claim.exact is not None
    found = claim.exact()
    assert judge(claim.predictions, found.figures, best=claim.best, exact=True).state == "holds"
    assert claim.exact().figures == found.figures  # the same numbers whenever they are asked for
