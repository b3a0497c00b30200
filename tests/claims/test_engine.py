"""The engine on a trainer that is no trainer: nothing is trained twice, nothing is lost, and what was found is said."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from manyviews.claims import claim as registry
from manyviews.claims import cost, engine, every, store
from manyviews.claims.cache import Cache, folder_of
from manyviews.claims.claim import Arm, Claim, Found, Scale
from manyviews.claims.measures import mean_loss
from manyviews.claims.predictions import Collapse, Equal, Healthy, Order
from manyviews.claims.stale import CODE, SETTINGS, stale
from manyviews.claims.trial import (
    DECIDES,
    REWRITTEN,
    ROOT,
    YOUNGER,
    Trial,
    _file,
    _imports,
    _net_files,
    _put_around,
    _tree,
    code_of,
    syntax_of,
    trials,
)
from manyviews.errors import Diverged, ManyviewsError
from manyviews.nets import around
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
        self.commit: str | None = None
        self.threads: int | None = None
        self.ends: dict[str, Any] = {}

    def __call__(self, trial: Trial, folder: Path, before: Mapping[str, Path]) -> Run:
        if folder.exists():
            self.resumed += 1
        else:
            self.begun.append(trial)
            self.before.append(before)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "method": trial.method,
            "versions": {"torch": "2.9"},
            "commit": self.commit,
            "machine": {"processor": "a desk"} | ({"threads": self.threads} if self.threads else {}),
            "started": f"2026-01-0{1 + len(self.begun)}",
        }
        (folder / "run.json").write_text(json.dumps(settings))
        if self.stop_at == len(self.begun):
            self.stop_at = None
            raise KeyboardInterrupt
        if self.diverges(trial):
            (folder / "metrics.jsonl").write_text(json.dumps({"step": 3, "seconds": 5.0}) + "\n")
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
            "loss_mean": 2.0,
            "rankme": 7.0,
            "knn": 0.9,  # the monitor's, which is no protocol's
            "finite": True,
            "verdict": "healthy",
        } | self.ends
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


def test_side_by_side_what_others_learn_from_comes_first_so_that_none_waits(
    kept: Cache, trainer: Trainer
) -> None:
    teacher = Arm("moco", momentum=0.99)
    claim = Claim(
        sentence="Two of it are better.",
        source="section 4",
        arms={
            "both": Arm("crd", start=teacher, teacher=Arm("supervised", start=Arm("moco", momentum=0.9))),
            "teacher": teacher,
            "student": Arm("crd", teacher=teacher),
        },
        laptop=SAME,
        predicts=Order("student", "teacher"),
    )
    plan = list(trials(claim, SAME, range(2)))
    due = engine.asked(claim, plan, kept)
    assert len({one.trial.digest for one in due}) == len(due) == 10
    for place, one in enumerate(due):
        done = {other.trial.digest for other in due[:place]}
        assert {other.digest for other in cost.with_those_before(one.trial.before.values())} <= done
        assert (one.waits is None) == (one.measures == ["knn"])
    measured = [one.name for one in due if one.waits is None]
    assert sorted(measured) == sorted(f"{arm}, seed {seed}" for arm in claim.arms for seed in (0, 1))
    nothing_fits = time.monotonic()
    assert not any(engine.ahead(kept.path, one, "laptop", nothing_fits, trainer) for one in due)
    assert not trainer.begun
    trainer.diverges = lambda trial: trial.method == "supervised"
    assert all(engine.ahead(kept.path, one, "laptop", None, trainer) for one in due)
    assert len(trainer.begun) == 8  # all but those of the teacher that diverged
    assert not engine.asked(claim, plan, kept)
    trainer.begun.clear()
    assert run(claim, kept)["states"]["both"] == ["diverged"] * 3


def test_embeddings_that_are_not_finite_are_divergence(kept: Cache, trainer: Trainer) -> None:
    trainer.ends = {"finite": False, "verdict": "collapsed"}
    result = run(MOMENTA, kept)
    assert result["states"] == {arm: ["diverged"] * 3 for arm in MOMENTA.arms}
    assert result["figures"] == {arm: [None] * 3 for arm in MOMENTA.arms}


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
    with pytest.raises(ManyviewsError, match=r"no figure 'alignment'; it has .*rankme"):
        run(Claim(**vars(MOMENTA) | {"measure": "alignment"}), kept)


def test_a_run_that_diverges_is_a_result(kept: Cache, trainer: Trainer) -> None:
    trainer.diverges = lambda trial: dict(trial.settings)["momentum"] == 0.9
    collapse = Claim(**vars(MOMENTA) | {"predicts": (Healthy("0.99"), Collapse("0.9"))})
    result = run(collapse, kept)
    assert result["verdict"]["state"] == "cannot tell" and result["figures"]["0.9"] == [None] * 3
    assert result["seconds"] == 3 * 20 + 3 * 5 and result["beside"] == 0
    assert result["states"]["0.9"] == ["diverged"] * 3  # which is no collapse, and not healthy
    assert run(Claim(**vars(MOMENTA) | {"predicts": Healthy("0.9")}), kept)["verdict"]["state"] == "fails"
    beaten = run(MOMENTA, kept)["verdict"]
    assert beaten["state"] == "holds" and len(trainer.begun) == 6
    assert beaten["parts"][0]["found"] == "0.9 diverged under every seed"
    other = Claim(**vars(MOMENTA) | {"predicts": Order("0.9", "0.99")})
    assert run(other, kept)["verdict"]["state"] == "cannot tell"


def test_what_learns_from_a_run_that_diverged_is_a_result(kept: Cache, trainer: Trainer) -> None:
    trainer.diverges = lambda trial: trial.method == "moco"
    claim = Claim(
        sentence="What came before helps.", source="section 5", laptop=SAME, predicts=Order("after", "scratch"),
        arms={"after": Arm("supervised", start=Arm("moco", momentum=0.99)), "scratch": Arm("supervised")},
    )  # fmt: skip
    for _ in range(2):  # and is not trained again
        result = run(claim, kept)
        assert result["states"]["after"] == ["diverged"] * 3 and result["verdict"]["state"] == "cannot tell"
        assert [trial.method for trial in trainer.begun].count("moco") == 3
        assert len(result["figures"]["scratch"]) == 3 and None not in result["figures"]["scratch"]


def test_a_probe_that_diverges_is_a_result(kept: Cache) -> None:
    calls: list[Path] = []

    def probed(run: Run) -> float:
        calls.append(run.path)
        if run.settings["started"].endswith("2"):
            raise Diverged("The loss of the probe is nan.")
        return 1.0

    for _ in range(2):  # and is not probed again
        result = run(Claim(**vars(MOMENTA) | {"measure": probed}), kept)
        assert [row.count(None) for row in result["figures"].values()] == [1, 0] and len(calls) == 6
        assert result["verdict"]["state"] == "cannot tell" and result["states"]["0.9"] == ["healthy"] * 3
        assert "no figure under 1 of 3 seeds" in result["verdict"]["parts"][0]["found"]


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
    assert run(claim, kept, seeds=1)["seconds"] == 60.0  # all three of them
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


def test_a_setting_younger_than_runs_makes_them_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Trial.of(Arm("moco"), SAME, 0)
    assert "eps" not in before.facts()["recipe"]
    assert Trial.of(Arm("moco", eps=1e-8), SAME, 0).digest == before.digest
    assert Trial.of(Arm("moco", eps=1e-9), SAME, 0).digest != before.digest
    digest = before.digest
    monkeypatch.setitem(
        YOUNGER, "eps", 1e-6
    )  # as if the default had since become another than what runs before it had
    assert before.digest != digest


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


def test_the_code_of_a_paper_has_the_nets_that_it_puts_around_others() -> None:
    assert _put_around("manyviews.methods.contrastive.simclrv2") == ["manyviews.nets.neck"]
    assert not _put_around("manyviews.methods.contrastive.moco")
    for word in around.wrappers():
        assert all(_file(module) for module in _net_files(f"{word}(small_resnet)"))


def test_a_loss_is_the_mean_over_the_steps_of_the_last_tenth() -> None:
    rows = [{"step": 80, "progress": 0.8, "loss_mean": 9.0}, {"step": 90, "progress": 0.9, "loss_mean": 3.0},
            {"step": 95, "progress": 0.95, "loss_mean": 2.0}, {"step": 100, "progress": 1.0, "loss_mean": 1.0}]  # fmt: skip
    assert mean_loss(rows) == pytest.approx((10 * 3.0 + 5 * 2.0 + 5 * 1.0) / 20)
    assert mean_loss([]) is None


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
    with pytest.raises(ManyviewsError, match="trains nothing, so it takes no --seeds"):
        run(EXACT, kept, seeds=3)
    with pytest.raises(ManyviewsError, match="trains nothing, so it needs no --scale gpu"):
        engine.run("moco-test", EXACT, "gpu", kept)
    with pytest.raises(ManyviewsError, match="same number of seeds"):
        Found({"a": [1.0], "b": []})


def test_what_was_found_is_stored_whole_and_kept_if_nothing_changed(kept: Cache, tmp_path: Path) -> None:
    first = store.save(run(MOMENTA, kept), tmp_path)
    assert store.load("moco-test", "laptop", tmp_path) == first
    later = run(MOMENTA, kept) | {"started": "later", "commit": "another"}
    assert store.save(later, tmp_path) == first  # nothing new was found
    assert store.load("moco-test", "gpu", tmp_path) is None


def test_more_seeds_are_kept_against_fewer(
    kept: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    three = store.save(run(MOMENTA, kept), tmp_path, said.append)
    assert store.save(run(MOMENTA, kept, seeds=2), tmp_path, said.append)["seeds"] == [0, 1]
    assert store.load("moco-test", "laptop", tmp_path) == three
    (told,) = said
    assert "moco-test-laptop.json keeps its verdict of 3 seeds; --seeds 3 would renew it" in told
    four = store.save(run(MOMENTA, kept, seeds=4), tmp_path, said.append)
    assert store.load("moco-test", "laptop", tmp_path) == four
    other = Claim(**vars(MOMENTA) | {"predicts": Order("0.9", "0.99")})
    store.save(run(other, kept, seeds=2), tmp_path, said.append)
    assert store.load("moco-test", "laptop", tmp_path)["seeds"] == [0, 1] and len(said) == 1  # pyright: ignore[reportOptionalSubscript]
    monkeypatch.setattr("manyviews.claims.trial.GENERATION", 99)  # more seeds of older code are no better
    renewed = store.save(run(other, kept, seeds=1), tmp_path, said.append)
    assert store.load("moco-test", "laptop", tmp_path) == renewed and len(said) == 1
    store.save(run(other, kept, seeds=2), tmp_path, said.append)
    remeasured = run(other, kept, seeds=1) | {"measures": {"0.9": "another", "0.99": "another"}}
    assert store.save(remeasured, tmp_path, said.append) == store.load("moco-test", "laptop", tmp_path)
    assert len(said) == 1


def test_results_of_other_code_or_settings_are_known(kept: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    result = json.loads(json.dumps(run(MOMENTA, kept)))
    assert stale(MOMENTA, result) is None and stale(EXACT, json.loads(json.dumps(run(EXACT, kept)))) is None
    for change in (
        {"predicts": Equal("0.9", "0.99", within=1.0)},
        {"measure": "linear"},
        {"laptop": Scale(batch=8)},
    ):
        assert stale(Claim(**vars(MOMENTA) | change), result) == SETTINGS
    assert cost.of(MOMENTA, SAME, kept, result)["stale"] is None
    monkeypatch.setattr("manyviews.claims.trial.GENERATION", 99)
    assert stale(MOMENTA, result) == CODE and cost.of(MOMENTA, SAME, kept, result)["stale"] == CODE


def test_a_result_records_where_its_runs_were_trained(kept: Cache, trainer: Trainer) -> None:
    trainer.commit = "a" * 40
    trainer.diverges = lambda trial: trial.seed == 1
    first = run(MOMENTA, kept, seeds=2)
    told = {key: first[key] for key in ("commit", "machine", "started", "differing")}
    assert told == {
        "commit": "a" * 40, "machine": {"processor": "a desk"}, "started": "2026-01-02", "differing": {},
    }  # fmt: skip
    assert first["judged"]["machine"]["system"]  # of this one
    trainer.commit = "b" * 40
    later = run(MOMENTA, kept, seeds=3)
    assert later["commit"] is None and later["versions"] == {"torch": "2.9"}
    assert {run: commit[0] for run, commit in later["differing"]["commit"].items()} == {
        run: "b" if seed == 2 else "a" for runs in later["runs"].values() for seed, run in enumerate(runs)
    }


def test_the_gpu_scale_is_not_trained_without_one(
    kept: Cache, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    claim = Claim(**vars(MOMENTA) | {"gpu": Scale(seeds=2, data="world", budget="3ep")})
    monkeypatch.setattr(engine, "device", lambda: torch.device("cpu"))
    with pytest.raises(
        ManyviewsError, match=r"At --scale gpu 4 runs are still to be trained.*where there is one"
    ):
        engine.run("moco-test", claim, "gpu", kept)
    assert trainer.begun == []
    monkeypatch.setattr(engine, "device", lambda: torch.device("cuda"))
    engine.run("moco-test", claim, "gpu", kept)
    monkeypatch.setattr(engine, "device", lambda: torch.device("cpu"))
    assert engine.run("moco-test", claim, "gpu", kept) is not None  # what is there is judged anywhere


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


def test_what_comes_before_a_run_is_part_of_what_is_left_of_it(kept: Cache) -> None:
    student = Trial.of(Arm("crd", teacher=Arm("moco", momentum=0.99)), SAME, 0)
    one = 2 * 12_000 / cost.SPEED["laptop"] + cost.MEASURING
    assert cost.left(student, ["knn"], "laptop", kept) == pytest.approx(2 * one)
    run(MOMENTA, kept)
    paced = cost.left(student, ["knn"], "laptop", kept)
    assert 0 < paced < one  # the teacher is there
    kept.figure(student, "knn")
    assert cost.left(student, ["knn"], "laptop", kept) == 0
    asked = Trial.of(Arm("moco", momentum=0.99), SAME, 0)
    kept.lean(asked.digest)
    again = cost.left(asked, ["linear"], "laptop", kept)
    assert again == pytest.approx(20.0)  # without its encoder it is trained anew


def test_costs_are_expected_and_then_measured(kept: Cache) -> None:
    before = cost.of(MOMENTA, SAME, kept, None)
    expected = 6 * (2 * 12_000 / cost.SPEED["laptop"] + cost.MEASURING)
    assert (
        before["seconds"] == pytest.approx(expected) and not before["measured"] and before["verdict"] is None
    )
    run(MOMENTA, kept)
    after = cost.of(MOMENTA, SAME, kept, None)
    assert after == {"seconds": 120.0, "measured": True, "left": 0.0, "verdict": None, "stale": None}
    longer = Scale(
        seeds=1, data="world", budget="4ep"
    )  # by the speed of what was measured: 1,200 items a second
    speed = pytest.approx(2 * (4 * 12_000 / 1200 + 7.0))
    # And by what judging took, which the clock of a test cannot tell.
    for file in kept.path.glob("*/figures.json"):
        found = json.loads(file.read_text())
        assert found["beside"] == 0.0
        file.write_text(json.dumps(found | {"beside": 7.0}))
    cost._paces.cache_clear()
    assert cost.due(MOMENTA, longer, kept).seconds == speed
    for number, text in enumerate(("{", "[]", "{}")):  # damaged, of whichever claim
        (kept.path / f"damaged{number}").mkdir()
        (kept.path / f"damaged{number}" / "figures.json").write_text(text)
    assert cost.due(MOMENTA, longer, kept).seconds == speed
    assert cost.due(MOMENTA, Scale(seeds=1, data="world", budget="1m"), kept).seconds == 2 * (60 + 7.0)
    asked = Claim(**vars(MOMENTA) | {"measure": lambda run: 1.0})  # trained, and yet to be measured
    assert cost.due(asked, SAME, kept).seconds == 6 * 7.0
    assert engine.run("moco-test", asked, "laptop", kept, deadline=time.monotonic() + 5) is None
    run(asked, kept)
    assert cost.due(asked, SAME, kept).seconds == 0


def test_a_run_of_which_only_figures_were_kept_costs_what_it_takes_to_train_it_again(kept: Cache) -> None:
    after = Claim(
        sentence="A teacher helps.", source="section 5", laptop=SAME, predicts=Order("after", "before"),
        arms={"after": Arm("crd", teacher=Arm("moco", momentum=0.99)), "before": Arm("moco", momentum=0.99)},
    )  # fmt: skip
    before = cost.due(after, SAME, kept, seeds=1).seconds
    run(Claim(**vars(MOMENTA) | {"measure": "knn"}), kept)
    there = cost.due(after, SAME, kept, seeds=1).seconds
    for trial in cost.runs_of(MOMENTA, SAME):
        kept.lean(trial.digest)
    dropped = cost.due(after, SAME, kept, seeds=1).seconds
    assert there < before and dropped == pytest.approx(there + 20.0)
    (student,) = [trial for _, trial in trials(after, SAME, [0]) if trial.method == "crd"]
    assert dropped == cost.left(
        student, ["knn"], "laptop", kept
    )  # what `--all` counts is what the engine asks for


def test_what_is_computed_anew_costs_what_it_took_last(kept: Cache) -> None:
    exact = Claim(
        sentence="Two and two are four.", source="section 1", exact=lambda: Found({"a": [4.0], "b": [3.0]}),
        predicts=Order("a", "b"),
    )  # fmt: skip
    assert cost.due(exact, SAME, kept).seconds == 0
    assert cost.due(exact, SAME, kept, stored={"seconds": 9.0}) == cost.Cost(9.0, True)


def test_the_pace_is_that_of_runs_with_as_many_threads(kept: Cache, trainer: Trainer) -> None:
    longer = Scale(seeds=1, data="world", budget="4ep")
    for threads, seconds in ((1, 40.0), (2, 20.0)):
        trainer.threads, trainer.ends = threads, {"seconds": seconds}
        run(
            Claim(**vars(MOMENTA) | {"laptop": Scale(seeds=threads, data="world", budget="2ep")}),
            kept,
            seeds=threads,
        )
    cost._paces.cache_clear()
    by_threads = [cost.due(MOMENTA, longer, kept, threads=threads).seconds for threads in (1, 2)]
    assert by_threads == pytest.approx([2 * 80.0, 2 * 40.0], rel=0.01)
    assert cost.due(MOMENTA, longer, kept, threads=3).seconds == pytest.approx(
        2 * 48_000 / 900, rel=0.01
    )  # of all


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
    monkeypatch.setattr(every, "trainer", lambda quiet: trainer)
    monkeypatch.setattr(cost, "MEASURING", 0.1)
    said: list[str] = []
    where = {"cache": tmp_path / "cache", "out": tmp_path / "out"}
    done = every.claim_all("5m", say=said.append, command="manyviews claim --all", **where)
    assert list(done) == ["tiny-shorter", "tiny-short"] and len(trainer.begun) == 8
    assert "1 claims do not fit; tiny-long is next and would take" in said[-1]
    assert done["tiny-short"]["command"].endswith("claim tiny-short --scale laptop")
    assert set(every.claim_all("5m", **where)) == {"tiny-shorter", "tiny-short"} and len(trainer.begun) == 8
    assert list(every.claim_all(**where))[-1] == "tiny-long" and len(trainer.begun) == 12
    monkeypatch.setattr(every, "trainer", lambda quiet: Trainer())
    elsewhere = where | {"cache": tmp_path / "elsewhere"}
    # What has its verdict comes last, though it is cheaper.
    (tmp_path / "out" / "tiny-short-laptop.json").unlink()
    again = every.claim_all(lean=True, **elsewhere)
    assert list(again) == ["tiny-short", "tiny-shorter", "tiny-long"]
    (tmp_path / "out" / "tiny-long-laptop.json").write_text("{")  # which is said, and ends no others
    assert set(every.claim_all(say=said.append, **where)) == {"tiny-shorter", "tiny-short"}
    assert said[-1].startswith("tiny-long cannot be run:") and "is damaged" in said[-1]
    (tmp_path / "out" / "tiny-long-laptop.json").unlink()
    assert not list((tmp_path / "elsewhere").glob("*/run"))
    with pytest.raises(ManyviewsError, match="it is a time"):
        every.claim_all("5ep", **where)
    with pytest.raises(ManyviewsError, match="No claim is written for --scale gpu"):
        every.claim_all(scale="gpu", **where)


# -- what cannot be --------------------------------------------------------------------------------------------------


def test_claims_that_cannot_run_are_said_and_the_others_go_on(
    write_paper: Callable[[str, str], None], tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = 'Claim(sentence="So.", source="s", exact=lambda: Found({"a": [1.0], "b": [0.0]}), predicts=Order("a", "b"))'
    write_paper(
        "tiny",
        f'{PAPER}CLAIMS["tiny-exact"] = {exact}\nCLAIMS["tiny-long"].arms["slow"] = Arm("moco", momentun=1)\n'
        'CLAIMS["tiny-defect"] = claim("2ep")\n',
    )
    wrong = set[str]()

    def train(trial: Trial, folder: Path, before: Mapping[str, Path]) -> Run:
        if (budget := dict(trial.settings)["budget"]) in wrong:
            raise (ZeroDivisionError if budget == "2ep" else ManyviewsError)("The disk is full.")
        return trainer(trial, folder, before)

    monkeypatch.setattr(every, "trainer", lambda quiet: train)
    said: list[str] = []
    where = {"cache": tmp_path / "cache", "out": tmp_path / "out"}
    wrong |= {"60steps", "2ep"}
    done = every.claim_all(seeds=3, say=said.append, command="manyviews claim --all", **where)
    assert list(done) == ["tiny-exact", "tiny-short"]
    assert done["tiny-exact"]["command"] == "manyviews claim tiny-exact --scale laptop"
    assert done["tiny-short"]["command"] == "manyviews claim tiny-short --scale laptop --seeds 3"
    assert "tiny-shorter cannot be run: The disk is full." in said
    assert "tiny-defect cannot be run: ZeroDivisionError: The disk is full." in said
    assert any(
        sentence.startswith("tiny-long cannot be run:") and "momentun" in sentence for sentence in said
    )
    write_paper("tiny", PAPER)
    registry.page.cache_clear()
    wrong |= {"1ep", "40ep"}
    with pytest.raises(
        ManyviewsError, match="No claim could be run; the first, tiny-shorter: The disk is full"
    ):
        every.claim_all(cache=tmp_path / "empty", out=tmp_path / "out")


def test_one_that_does_not_fit_is_said_and_the_others_go_on(
    write_paper: Callable[[str, str], None], tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_paper("tiny", PAPER)
    monkeypatch.setattr(every, "trainer", lambda quiet: trainer)
    monkeypatch.setattr(
        every,
        "run",
        lambda name, *args, **more: None if name == "tiny-shorter" else engine.run(name, *args, **more),
    )
    said: list[str] = []
    where = {"cache": tmp_path / "cache", "out": tmp_path / "out"}
    done = every.claim_all("9h", say=said.append, **where)  # the others may fit
    assert list(done) == ["tiny-short", "tiny-long"]
    assert said[0] == "the time left is too short for tiny-shorter"


def test_all_of_the_gpu_scale_without_one(
    write_paper: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_paper("tiny", PAPER.replace("laptop=", "gpu="))
    monkeypatch.setattr(every, "without_gpu", lambda scale: scale == "gpu")
    said: list[str] = []
    with pytest.raises(ManyviewsError, match="It has runs to train, and there is no GPU here"):
        every.claim_all(scale="gpu", say=said.append, cache=tmp_path, out=tmp_path)
    assert said == ["3 claims have runs to train, and there is no GPU here."]


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
        ({"measure": "rankm"}, "A run of moco has no figure 'rankm'; did you mean rankme"),
        (
            {"arms": MOMENTA.arms | {"x": Arm("moco", measure="linaer.top5")}},
            "'linaer.top5'; did you mean linear",
        ),
        ({"measure": "moved"}, "A run of moco has no figure 'moved'"),
    ]
    for change, sentence in cases:
        with pytest.raises(ManyviewsError, match=sentence):
            run(Claim(**vars(MOMENTA) | change), kept)
    with pytest.raises(ManyviewsError, match="--seeds is 0"):
        run(MOMENTA, kept, seeds=0)
    Claim(**vars(MOMENTA) | {"measure": "moved", "arms": {m: Arm("instdisc") for m in MOMENTA.arms}}).check(
        "its own"
    )
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


def test_lean_clears_what_came_before_a_run_too(kept: Cache) -> None:
    claim = Claim(
        sentence="A teacher helps.", source="section 5", laptop=SAME, predicts=Order("after", "scratch"),
        arms={"after": Arm("crd", teacher=Arm("moco", momentum=0.99)), "scratch": Arm("supervised")},
    )  # fmt: skip
    run(claim, kept, seeds=1, lean=True)
    assert not list(kept.path.glob("*/run")) and len(list(kept.path.glob("*/figures.json"))) == 3


def test_what_is_rewritten_counts_as_it_was_and_its_row_is_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for part in DECIDES for path in [*ROOT.glob(f"{part}.py"), *ROOT.glob(f"{part}/**/*.py")]]
    names = [".".join(("manyviews", *path.relative_to(ROOT).with_suffix("").parts)) for path in files]
    today = {syntax_of(name.removesuffix(".__init__")) for name in names}
    if sys.version_info[:2] == (3, 11):  # others write some syntax otherwise
        assert set(REWRITTEN) <= today
    assert not set(REWRITTEN.values()) & today
    before = code_of("manyviews.methods.contrastive.simclr", "small_resnet")
    monkeypatch.setattr("manyviews.claims.trial.REWRITTEN", {})
    code_of.cache_clear()
    assert (code_of("manyviews.methods.contrastive.simclr", "small_resnet") == before) == (not REWRITTEN)
    code_of.cache_clear()


@pytest.mark.parametrize(("what", "value"), [("code_of", lambda module, net: "other"), ("WORLD_VERSION", 99)])
def test_other_code_or_another_world_is_another_run(
    what: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial.of(Arm("moco"), SAME, 0)
    before = trial.digest
    monkeypatch.setattr(f"manyviews.claims.trial.{what}", value)
    assert trial.digest != before


@pytest.mark.parametrize("budget", ["100steps", "6400items"])
def test_a_length_in_steps_or_items_costs_its_items(budget: str, kept: Cache) -> None:
    scale = Scale(seeds=1, data="world", batch=64, budget=budget)
    each = 6400 / cost.SPEED["laptop"] + cost.MEASURING
    assert cost.due(MOMENTA, scale, kept).seconds == pytest.approx(2 * each)


def test_each_of_all_claims_is_told_when_time_is_over(
    write_paper: Callable[[str, str], None], tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_paper("tiny", PAPER)
    told: list[float | None] = []
    monkeypatch.setattr(every, "trainer", lambda quiet: trainer)
    monkeypatch.setattr(every, "run", lambda *args, **more: told.append(more["deadline"]))
    now = time.monotonic()
    for budget in ("9h", None):
        every.claim_all(budget, cache=tmp_path, out=tmp_path)
    assert told == [pytest.approx(now + 9 * 3600, abs=60)] * 3 + [None] * 3
