"""The engine on a trainer that is no trainer: nothing is trained twice, nothing is lost, and what was found is said."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from manyviews.claims import claim as registry
from manyviews.claims import cost, engine, store
from manyviews.claims.cache import Cache, folder_of
from manyviews.claims.claim import Arm, Claim, Found, Scale
from manyviews.claims.predictions import Collapse, Equal, Healthy, Order
from manyviews.claims.trial import Trial, _imports, _tree, code_of, syntax_of
from manyviews.errors import Diverged, ManyviewsError
from manyviews.runs import Run

SAME = Scale(seeds=3, data="world", budget="2ep")
MOMENTA = Claim(
    sentence="A slow twin is better.",
    source="section 4",
    arms={m: Arm("moco", momentum=float(m)) for m in ("0.9", "0.99")},
    laptop=SAME,
    predicts=Order("0.99", "0.9"),
)


class Trainer:
    """Writes what a run would leave behind; its kNN is its momentum and a little of its seed."""

    def __init__(self) -> None:
        self.begun: list[Trial] = []
        self.resumed = 0
        self.stop_at: int | None = None
        self.diverges: Callable[[Trial], bool] = lambda trial: False
        self.before: list[Mapping[str, Path]] = []

    def __call__(self, trial: Trial, folder: Path, before: Mapping[str, Path]) -> Run:
        if folder.exists():
            self.resumed += 1
        else:
            self.begun.append(trial)
            self.before.append(before)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"method": trial.method, "versions": {}, "commit": None, "machine": {}, "started": "now"}
        (folder / "run.json").write_text(json.dumps(settings))
        if self.stop_at == len(self.begun):
            self.stop_at = None
            raise KeyboardInterrupt
        if self.diverges(trial):
            raise Diverged("The loss of step 3 is nan.")
        knn = 0.5 * dict(trial.settings).get("momentum", 1.0) + 0.001 * trial.seed
        (folder / "results.json").write_text(
            json.dumps({"figures": {"this encoder": {"knn": {"top1": knn}}}})
        )
        row = {
            "step": 9,
            "progress": 1.0,
            "seconds": 20.0,
            "items": 24_000,
            "loss": 2.0,
            "rankme": 7.0,
            "verdict": "healthy",
        }
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        (folder / "encoder.safetensors").write_text("")
        return Run.open(folder)


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def kept(tmp_path: Path, trainer: Trainer) -> Cache:
    return Cache(tmp_path / "cache", trainer)


def run(claim: Claim, cache: Cache, **more: Any) -> dict[str, Any]:
    result = engine.run("moco-test", claim, "laptop", cache, **more)
    assert result is not None
    return result


def test_arms_under_paired_seeds_end_in_a_verdict(kept: Cache, trainer: Trainer) -> None:
    said: list[str] = []
    result = run(MOMENTA, kept, say=said.append, command="manyviews claim moco-test")
    assert result["figures"] == {
        "0.9": pytest.approx([0.45, 0.451, 0.452]),
        "0.99": pytest.approx([0.495, 0.496, 0.497]),
    }
    assert result["verdict"]["state"] == "holds" and result["seeds"] == [0, 1, 2]
    assert result["states"] == {"0.9": ["healthy"] * 3, "0.99": ["healthy"] * 3}
    assert result["seconds"] == 120.0 and result["command"] == "manyviews claim moco-test"
    assert {"commit", "versions", "machine", "started", "same", "paper"} <= result.keys()
    assert [(trial.seed, dict(trial.settings)["momentum"]) for trial in trainer.begun[:3]] == [
        (0, 0.9),
        (0, 0.99),
        (1, 0.9),
    ]
    assert said[0] == "run 1 of 6: 0.9, seed 0" and len(said) == 6


def test_the_same_run_is_never_trained_twice(kept: Cache, trainer: Trainer) -> None:
    first = run(MOMENTA, kept)
    assert len(trainer.begun) == 6
    again = run(MOMENTA, kept)
    assert len(trainer.begun) == 6 and again["figures"] == first["figures"]
    other = Claim(
        sentence="Another claim of the same runs, by another figure.", source="section 5",
        arms={"slow": Arm("moco", momentum=0.99), "slower": Arm("moco", momentum=0.999)},
        laptop=SAME, measure="rankme", predicts=Equal("slow", "slower", within=1.0),
    )  # fmt: skip
    assert run(other, kept)["verdict"]["state"] == "holds"
    assert len(trainer.begun) == 9  # the slower alone
    assert len(run(MOMENTA, kept, seeds=4)["figures"]["0.9"]) == 4 and len(trainer.begun) == 11


def test_killed_and_resumed_loses_nothing(kept: Cache, trainer: Trainer) -> None:
    trainer.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        run(MOMENTA, kept)
    assert len(trainer.begun) == 4
    whole = run(MOMENTA, kept)
    assert len(trainer.begun) == 6 and trainer.resumed == 1  # the fourth went on, three were there
    assert whole["verdict"]["state"] == "holds"


def test_lean_keeps_figures_alone(kept: Cache, trainer: Trainer) -> None:
    run(MOMENTA, kept, lean=True)
    assert not list(kept.path.glob("*/run")) and len(list(kept.path.glob("*/figures.json"))) == 6
    run(MOMENTA, kept)
    assert len(trainer.begun) == 6


def test_a_function_of_a_run_measures_what_figures_lack(kept: Cache, trainer: Trainer) -> None:
    calls: list[Path] = []

    def letters(run: Run) -> float:
        calls.append(run.path)
        return float(len(run.settings["method"]))

    claim = Claim(
        sentence="MoCo has fewer letters.", source="its title", measure="knn",
        arms={"moco": Arm("moco", measure=letters), "simclr": Arm("simclr", measure=letters)},
        laptop=SAME, predicts=Order("simclr", "moco"),
    )  # fmt: skip
    result = run(claim, kept, lean=True)
    assert (
        result["figures"] == {"moco": [4.0] * 3, "simclr": [6.0] * 3}
        and result["verdict"]["state"] == "holds"
    )
    assert run(claim, kept)["figures"] == result["figures"] and len(calls) == 6  # kept without the encoder
    with pytest.raises(ManyviewsError, match=r"no figure 'rankm'; it has .*rankme"):
        run(
            Claim(**vars(claim) | {"measure": "rankm", "arms": MOMENTA.arms, "predicts": MOMENTA.predicts}),
            kept,
        )


def test_a_run_that_diverges_is_a_result(kept: Cache, trainer: Trainer) -> None:
    trainer.diverges = lambda trial: dict(trial.settings)["momentum"] == 0.9
    collapse = Claim(**vars(MOMENTA) | {"predicts": (Healthy("0.99"), Collapse("0.9"))})
    result = run(collapse, kept)
    assert result["verdict"]["state"] == "holds" and result["figures"]["0.9"] == [None] * 3
    assert run(MOMENTA, kept)["verdict"]["state"] == "cannot tell" and len(trainer.begun) == 6


@pytest.mark.parametrize(
    ("arm", "setting"),
    [
        (Arm("supervised", start=Arm("moco", momentum=0.99)), "init_from"),
        (Arm("crd", teacher=Arm("moco", momentum=0.99)), "teacher"),
    ],
)
def test_an_arm_that_needs_another_run(kept: Cache, trainer: Trainer, arm: Arm, setting: str) -> None:
    claim = Claim(
        sentence="What came before helps.", source="section 5", laptop=SAME, predicts=Order("after", "scratch"),
        arms={"after": arm, "scratch": Arm("supervised")},
    )  # fmt: skip
    assert (
        cost.due(claim, SAME, kept, seeds=1).seconds == cost.due(MOMENTA, SAME, kept, seeds=1).seconds * 3 / 2
    )
    run(claim, kept, seeds=1)
    assert sorted(trial.method for trial in trainer.begun) == sorted(["moco", arm.method, "supervised"])
    first = Trial.of(Arm("moco", momentum=0.99), SAME, 0)
    assert [dict(before) for before in trainer.before if before] == [{setting: kept.folder(first) / "run"}]
    alone = Arm(arm.method, **{name: value for name, value in arm.settings.items() if name != setting})
    assert Trial.of(arm, SAME, 0).digest != Trial.of(alone, SAME, 0).digest
    assert "moco" in str(arm)


def test_no_run_begins_after_the_deadline(kept: Cache, trainer: Trainer) -> None:
    assert engine.run("moco-test", MOMENTA, "laptop", kept, deadline=time.monotonic() - 1) is None
    assert trainer.begun == []
    run(MOMENTA, kept)
    late = engine.run("moco-test", MOMENTA, "laptop", kept, deadline=time.monotonic() - 1)
    assert late is not None  # all of it was there


# -- the digest ------------------------------------------------------------------------------------------------------


def test_the_digest_covers_what_decides_and_nothing_else() -> None:
    base = Trial.of(Arm("moco", momentum=0.99), SAME, 0)
    same = [
        Trial.of(Arm("moco"), SAME, 0),  # which is the recipe's own momentum
        Trial.of(Arm("moco", momentum=0.99, budget="2ep"), SAME, 0),
        Trial.of(Arm("moco", momentum=0.99, measure="linear"), SAME, 0),
        Trial.of(Arm("moco", momentum=0.99), Scale(seeds=9, data="world", epochs=2), 0),
    ]
    assert {trial.digest for trial in same} == {base.digest}
    others = [
        Trial.of(Arm("moco", momentum=0.9), SAME, 0),
        Trial.of(Arm("moco"), SAME, 1),
        Trial.of(Arm("mocov2"), SAME, 0),
        Trial.of(Arm("moco", budget="3ep"), SAME, 0),
        Trial.of(Arm("moco", data="cifar10"), SAME, 0),
        Trial.of(Arm("moco", net="cifar_resnet8"), SAME, 0),
    ]
    assert len({trial.digest for trial in [base, *others]}) == 7
    assert "machine" in Trial.of(Arm("moco", budget="1m"), SAME, 0).facts() and "machine" not in base.facts()


def test_code_counts_and_comments_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyviews.claims import trial

    source = (
        '"""A paper."""\nRECIPES = {"a": 1}\n\n\ndef loss(x):\n    """It says."""\n    return x + 1  # why\n'
    )
    texts = {
        "same": source.replace("A paper", "The paper")
        .replace("# why", "# because")
        .replace('"a": 1', '"a": 2'),
        "layout": source.replace("x + 1", "(x +\n        1)"),
        "other": source.replace("x + 1", "x + 2"),
    }
    monkeypatch.setattr(trial, "ROOT", tmp_path)
    digests = {}
    for name, text in {"base": source, **texts}.items():
        (tmp_path / f"{name}.py").write_text(text)
        digests[name] = syntax_of(f"manyviews.{name}")
    for cached in (syntax_of, _tree):
        cached.cache_clear()
    assert digests["base"] == digests["same"] == digests["layout"] != digests["other"]


def test_the_code_of_a_paper_is_what_it_imports() -> None:
    used = _imports("manyviews.methods.contrastive.moco")
    assert {"manyviews.memory", "manyviews.objectives.contrast", "manyviews.views.view"} <= used
    assert "manyviews.objectives" not in used  # which merely passes it on
    assert code_of("manyviews.methods.contrastive.moco", "small_resnet") != code_of(
        "manyviews.methods.contrastive.moco", "small_vit"
    )


# -- exact claims, storing, costs ------------------------------------------------------------------------------------


EXACT = Claim(
    sentence="Two is more than one.", source="section 1", predicts=Order("two", "one"),
    exact=lambda: Found({"two": [2.0], "one": [1.0]}),
)  # fmt: skip


def test_an_exact_claim_trains_nothing(kept: Cache, trainer: Trainer) -> None:
    result = run(EXACT, kept)
    assert result["verdict"]["state"] == "holds" and result["exact"] and trainer.begun == []
    wrong = Claim(**vars(EXACT) | {"predicts": Order("two", "three")})
    with pytest.raises(ManyviewsError, match="what was found has two, one"):
        run(wrong, kept)
    with pytest.raises(ManyviewsError, match="same number of seeds"):
        Found({"a": [1.0], "b": []})


def test_what_was_found_is_stored_whole_and_kept_if_nothing_changed(kept: Cache, tmp_path: Path) -> None:
    first = store.save(run(MOMENTA, kept), tmp_path)
    assert store.load("moco-test", "laptop", tmp_path) == first
    later = run(MOMENTA, kept) | {"started": "later", "commit": "another"}
    assert store.save(later, tmp_path) == first  # nothing new was found
    assert store.save(run(MOMENTA, kept, seeds=2), tmp_path)["seeds"] == [0, 1]
    assert store.load("moco-test", "gpu", tmp_path) is None


@pytest.mark.parametrize(
    "text", ['{"claim": "moco-te', "[]", "{}", '{"claim": "moco-test", "scale": "laptop"}']
)
def test_a_damaged_result_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "moco-test-laptop.json").write_text(text)
    with pytest.raises(ManyviewsError, match=r"moco-test-laptop.json is damaged.*run the claim again"):
        store.load("moco-test", "laptop", tmp_path)


def test_a_damaged_figure_in_the_cache_is_said(kept: Cache) -> None:
    run(MOMENTA, kept)
    next(kept.path.glob("*/figures.json")).write_text("{")
    with pytest.raises(ManyviewsError, match="is not whole JSON"):
        run(MOMENTA, kept)


def test_costs_are_expected_and_then_measured(kept: Cache) -> None:
    before = cost.of(MOMENTA, SAME, kept, None)
    expected = 6 * (2 * 12_000 / cost.SPEED["laptop"] + cost.JUDGING)
    assert (
        before["seconds"] == pytest.approx(expected) and not before["measured"] and before["verdict"] is None
    )
    run(MOMENTA, kept)
    after = cost.of(MOMENTA, SAME, kept, None)
    assert after == {"seconds": 120.0, "measured": True, "left": 0.0, "verdict": None}
    longer = Scale(
        seeds=1, data="world", budget="4ep"
    )  # by the speed of what was measured: 1,200 items a second
    assert cost.due(MOMENTA, longer, kept).seconds == pytest.approx(2 * (4 * 12_000 / 1200 + cost.JUDGING))
    assert cost.due(MOMENTA, Scale(seeds=1, data="world", budget="1m"), kept).seconds == 2 * (
        60 + cost.JUDGING
    )


# -- all of them, within a budget ------------------------------------------------------------------------------------

PAPER = '''"""Tiny (Nobody 2000)."""

from manyviews.claims import Arm, Claim, Found, Order, Scale

def claim(budget):
    return Claim(
        sentence="Slow is better.", source="section 1", laptop=Scale(seeds=2, data="world", budget=budget),
        arms={"slow": Arm("moco", momentum=0.99), "fast": Arm("moco", momentum=0.9)}, predicts=Order("slow", "fast"),
    )

CLAIMS = {"tiny-long": claim("40ep"), "tiny-short": claim("1ep"), "tiny-shorter": claim("60steps")}
'''


def test_as_many_as_fit_the_cheapest_first(
    write_paper: Callable[[str, str], None], tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_paper("tiny", PAPER)
    monkeypatch.setattr(engine, "trainer", lambda quiet: trainer)
    monkeypatch.setattr(cost, "JUDGING", 0.1)
    said: list[str] = []
    where = {"cache": tmp_path / "cache", "out": tmp_path / "out"}
    done = engine.claim_all("5m", say=said.append, command="manyviews claim --all", **where)
    assert list(done) == ["tiny-shorter", "tiny-short"] and len(trainer.begun) == 8
    assert "1 claims do not fit" in said[-1] and done["tiny-short"]["command"].endswith(
        "claim tiny-short --scale laptop"
    )
    assert set(engine.claim_all("5m", **where)) == {"tiny-shorter", "tiny-short"} and len(trainer.begun) == 8
    assert list(engine.claim_all(**where))[-1] == "tiny-long" and len(trainer.begun) == 12
    with pytest.raises(ManyviewsError, match="it is a time"):
        engine.claim_all("5ep", **where)
    with pytest.raises(ManyviewsError, match="No claim is written for --scale gpu"):
        engine.claim_all(scale="gpu", **where)


# -- what cannot be --------------------------------------------------------------------------------------------------


def test_bad_claims_are_refused_before_anything_is_trained(kept: Cache, trainer: Trainer) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"predicts": Order("0.99", "0.5")}, "predicts something of '0.5', but its arms are 0.9, 0.99"),
        ({"arms": {}}, "needs arms to train, or else `exact`"),
        ({"laptop": None}, "has arms but no scale"),
        (
            {"arms": MOMENTA.arms | {"x": Arm("moco", momentun=1)}},
            "no setting 'momentun'; did you mean momentum",
        ),
        ({"arms": MOMENTA.arms | {"x": Arm("mocco")}}, "no method 'mocco'; did you mean moco"),
    ]
    for change, sentence in cases:
        with pytest.raises(ManyviewsError, match=sentence):
            run(Claim(**vars(MOMENTA) | change), kept)
    with pytest.raises(ManyviewsError, match="--seeds is 0"):
        run(MOMENTA, kept, seeds=0)
    assert trainer.begun == []


def test_names_are_found_and_the_nearest_suggested(write_paper: Callable[[str, str], None]) -> None:
    write_paper("tiny", PAPER)
    assert registry.papers() == ("tiny",) and registry.page("tiny").title == "Tiny (Nobody 2000)"
    assert registry.find("tiny-long").laptop is not None
    with pytest.raises(ManyviewsError, match="no claim 'tiny-shrot'; did you mean tiny-short"):
        registry.find("tiny-shrot")
    with pytest.raises(ManyviewsError, match="not written for --scale gpu; it has laptop"):
        registry.scale_of("tiny-long", registry.find("tiny-long"), "gpu")
    with pytest.raises(ManyviewsError, match="no scale 'cluster'; there are laptop, gpu"):
        registry.scale_of("tiny-long", registry.find("tiny-long"), "cluster")
    write_paper("empty", '"""Empty."""\n')
    with pytest.raises(ManyviewsError, match=r"empty.py holds no CLAIMS"):
        registry.everything()
    write_paper("empty", PAPER)
    with pytest.raises(ManyviewsError, match=r"must be called empty-\.\.\."):
        registry.everything()


def test_where_runs_and_results_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "given"))
    assert folder_of() == tmp_path / "given" and folder_of(tmp_path / "asked") == tmp_path / "asked"
    monkeypatch.delenv("MANYVIEWS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_of() == tmp_path / "manyviews" / "claims"
    assert store.folder_of() == Path(__file__).parents[2] / "docs" / "claims"
