"""The claims that are there: each can be run as written, and those that need no training hold."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from manyviews import nets
from manyviews.claims import cost, store
from manyviews.claims.cache import Cache, trainer
from manyviews.claims.claim import everything, page, papers
from manyviews.claims.papers import deepcluster, instdisc
from manyviews.claims.rejudge import rejudge, rejudged
from manyviews.claims.trial import trials
from manyviews.claims.verdict import judge
from manyviews.training import checkpoint

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
    measured = {(digests[arm, 0], claim.measure_of(arm)) for arm in claim.arms}
    assert len(measured) == len(claim.arms)  # no two arms are one run, looked at in one way
    assert claim.scales[scale].seeds >= 3
    for setting in claim.scales[scale].same:  # what every arm says itself is not the same for all
        assert not all(setting in arm.settings for arm in claim.arms.values())


def test_what_has_no_verdict_yet_is_expected_to_take_a_laptop_a_quarter_of_an_hour_at_most(
    tmp_path: Path,
) -> None:
    nothing = Cache(tmp_path, trainer())
    for name, claim in CLAIMS.items():
        if claim.laptop is not None and not store.stored(name, ROOT / "docs" / "claims"):
            assert cost.due(claim, claim.laptop, nothing).seconds <= 15 * 60, name


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


def test_of_what_fails_it_is_said_why_we_think_so() -> None:
    fallen = {
        name
        for name in CLAIMS
        for result in store.stored(name, ROOT / "docs" / "claims")
        if result["verdict"]["state"] == "fails"
    }
    assert not [name for name in fallen if not CLAIMS[name].remark]


def test_stored_figures_give_the_stored_verdicts() -> None:
    folder = ROOT / "docs" / "claims"
    results = [result for name in CLAIMS for result in store.stored(name, folder)]
    assert len(results) == len(list(folder.glob("*.json")))  # none is of a claim that is no more
    for result in results:
        claim = CLAIMS[result["claim"]]
        verdict = judge(
            claim.predictions, result["figures"], result["states"], best=claim.best, exact=result["exact"]
        )
        assert verdict.state == result["verdict"]["state"], result["claim"]
        assert rejudged(claim, result) == result, f"{result['claim']}: `make claims` judges it anew"


def test_what_was_edited_by_hand_is_judged_anew(tmp_path: Path) -> None:
    name = next(name for name, _ in TRAINED if store.stored(name, ROOT / "docs" / "claims"))
    (result,) = store.stored(name, ROOT / "docs" / "claims")
    for change in ({"verdict": result["verdict"] | {"state": "fails?"}}, {"predicts": ["something else"]}):
        store.save(result | change, tmp_path)
        assert rejudge(tmp_path) == [name] and store.stored(name, tmp_path) == [result]
    store.save(result | {"measure": "another", "predicts": []}, tmp_path)
    assert rejudge(tmp_path) == []  # its figures are of something else


@pytest.mark.parametrize("name", EXACT)
def test_exact_claims_hold(name: str) -> None:
    claim = CLAIMS[name]
    assert claim.exact is not None
    found = claim.exact()
    assert judge(claim.predictions, found.figures, best=claim.best, exact=True).state == "holds"
    assert claim.exact().figures == found.figures  # the same numbers whenever they are asked for


def test_roughness_is_that_of_the_loss_without_what_the_term_weighs() -> None:
    def rough(losses: list[float], weight: float, moved: list[float]) -> float:
        rows: list[dict[str, float]] = [{"step": 100, "loss": 99.0, "moved": 0.0}]  # of the first half
        for step, loss, way in zip(range(402 - 2 * len(losses), 402, 2), losses, moved, strict=True):
            rows.append({"step": step - 1, "loss": 50.0, "moved": 0.0})  # there by the clock alone
            rows.append({"step": step, "loss": loss + weight * way, "moved": way})
        run: Any = SimpleNamespace(settings={"config": {"proximal": weight}}, metrics=lambda: rows)
        return instdisc.roughness(run)

    steady = [5.0 - step / 100 for step in range(40)]
    restless = [loss + 0.5 * (-1) ** step for step, loss in enumerate(steady)]
    jumps = [(step * 7 % 5) / 5 for step in range(40)]
    assert rough(steady, 30.0, jumps) < 0.01 < 0.4 < rough(restless, 0.0, jumps)
    assert rough(restless, 30.0, jumps) == pytest.approx(rough(restless, 0.0, jumps))


def test_the_largest_clusters_hold_a_tenth_where_all_are_even_and_all_where_they_take_everything() -> None:
    even, crowded = torch.arange(100) % 20, torch.arange(100) % 2
    assert deepcluster.share_of_largest(even, 20) == pytest.approx(0.1)
    assert deepcluster.share_of_largest(crowded, 20) == 1.0
    assert deepcluster.share_of_largest(torch.tensor([0, 0, 0, 1]), 5) == 0.75  # the largest of few


def test_how_crowded_clusters_are_is_read_from_the_last_clustering(tmp_path: Path) -> None:
    state = {"method": {"label_N": torch.tensor([3, 3, 3, 1])}}
    checkpoint.save(tmp_path / "checkpoints", 7, state)
    run: Any = SimpleNamespace(path=tmp_path, settings={"config": {"clusters": 10}})
    assert deepcluster.crowded(run) == 0.75


def test_a_thin_vgg_has_a_quarter_of_the_channels_and_the_depth_of_the_whole_one() -> None:
    convolutions = [
        [w.shape[0] for w in nets.build(name, size=32).parameters() if w.ndim == 4]
        for name in ("vgg_d/cifar/thin", "vgg_d/cifar")
    ]
    assert len(convolutions[0]) == 13
    assert [4 * channels for channels in convolutions[0]] == convolutions[1]
