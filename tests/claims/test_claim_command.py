"""The commands end to end, a claim that computes and one that trains, and the pages that results become."""

import json
import multiprocessing
import os
import re
import signal
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import manyviews
import manyviews.claims.cache
import manyviews.errors
from commands import answer, refused
from manyviews.claims import site, store
from manyviews.claims.plot import drawing, lines
from manyviews.claims.predictions import Collapse, Equal, GainsMore, Gap, Healthy, Order, Peak, Rising
from manyviews.claims.words import is_share, predicted, verdict_sentences
from manyviews.cli import main
from manyviews.data.world import SPECIES, world
from manyviews.report.drawing import svg
from manyviews.runs import Run

PAPER = '''"""Tiny (Nobody 2000, arXiv:0000.00000)."""

from manyviews.claims import Arm, Claim, Equal, Found, Order, Scale

SMALL = Scale(seeds=1, data="DATA", net="cifar_resnet8", size=16, batch=16, budget="4steps")

CLAIMS = {
    "tiny-exact": Claim(
        sentence="Two & two are four <always>.", source="section 1", unit="sum", paper="4, table 1.",
        exact=lambda: Found({"counted": [2.0 + 2.0], "said": [4.0]}), predicts=Equal("counted", "said", within=0.5),
        remark="It is | known.",
    ),
    "tiny-width": Claim(
        sentence="A wide head is better.", source="table 2", laptop=SMALL, measure="knn",
        arms={"wide": Arm("byol", hidden=64), "narrow": Arm("byol", hidden=8)}, predicts=Order("wide", "narrow"),
    ),
    "tiny-gpu": Claim(
        sentence="It is so at scale.", source="table 3", gpu=Scale(data="world"),
        arms={"a": Arm("byol"), "b": Arm("moco")}, predicts=Order("a", "b"),
    ),
}
'''


@pytest.fixture
def tiny(tmp_path: Path, write_paper: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty pictures in folders, a paper about them, and a cache; the folder of results."""
    photos = tmp_path / "photos"
    data = world(items=40, size=16)
    assert data.values is not None and data.labels is not None
    for i, (image, label) in enumerate(zip(data.values, data.labels.tolist(), strict=True)):
        path = photos / SPECIES[label % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    write_paper("tiny", PAPER.replace("DATA", str(photos)))
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "results"


def test_a_claim_is_trained_once_judged_and_stored(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    words = ["claim", "tiny-width", "--out", str(tiny)]
    result = answer(capsys, *words)
    assert {arm: len(row) for arm, row in result["figures"].items()} == {"wide": 1, "narrow": 1}
    for arm, (value,) in result["figures"].items():
        run = Run.open(tiny.parent / "cache" / result["runs"][arm][0] / "run")
        assert not run.judged and "knn" in run.metrics()[-1]  # which is the monitor's, of a few items
        assert value == manyviews.evaluate(run, protocol=("knn",))["figures"]["knn"]["top1"]
    assert result["verdict"]["state"] == "cannot tell"  # one seed tells nothing
    assert result["command"] == f"manyviews claim tiny-width --out {tiny} --json"
    assert json.loads((tiny / "tiny-width-laptop.json").read_text()) == result
    monkeypatch.setattr(manyviews.claims.cache.learn, "pretrain", None)  # from now on nothing can be trained
    assert answer(capsys, *words) == result
    main(words)
    out = capsys.readouterr().out
    assert "A wide head is better." in out and "[" in out and result["verdict"]["state"].upper() in out
    listed = answer(capsys, "claims", "--out", str(tiny))
    row = listed["tiny-width"]["scales"]["laptop"]
    assert row["measured"] and row["left"] == 0 and row["verdict"] == result["verdict"]["state"]
    assert row["stale"] is None and listed["tiny-gpu"]["scales"]["gpu"]["verdict"] is None
    monkeypatch.setattr("manyviews.claims.trial.GENERATION", 99)
    row = answer(capsys, "claims", "--out", str(tiny))["tiny-width"]["scales"]["laptop"]
    assert row["stale"] == "of older code"
    main(["claims", "--out", str(tiny)])
    assert "  tiny-width  laptop: cannot tell (of older code), " in capsys.readouterr().out
    assert answer(capsys, "claims", "--scale", "gpu", "--out", str(tiny)).keys() == {"tiny-gpu"}
    main(["claims", "--scale", "gpu", "--out", str(tiny)])
    out = capsys.readouterr().out
    assert "  tiny-gpu  gpu: ~" in out and "laptop" not in out


def test_all_of_them_and_the_table(tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    done = answer(capsys, "claim", "--all", "--budget", "1s", "--out", str(tiny))
    assert done.keys() == {"tiny-exact"}  # nothing that is trained fits
    main(["claims", "--out", str(tiny)])
    out = capsys.readouterr().out
    assert "tiny-width" in out and "holds" in out and "~" in out
    result = manyviews.claim("tiny-exact", out=tiny)
    assert result["verdict"]["state"] == "holds"
    assert manyviews.claimed(out=tiny).keys() == {"tiny-exact", "tiny-width", "tiny-gpu"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Say which claim, or --all"),
        (["tiny-exact", "--all"], "Say which claim, or --all"),
        (["tiny-exactly"], "did you mean tiny-exact or"),
        (["tiny-gpu"], "not written for --scale laptop; it has gpu"),
        (["tiny-exact", "--budget", "1h"], "--budget is for --all"),
        (["tiny-exact", "--seeds", "3"], "trains nothing, so it takes no --seeds"),
        (["tiny-exact", "--scale", "gpu"], "trains nothing, so it needs no --scale gpu"),
        (["--all", "--budget", "3ep"], "it is a time, such as 30m or 2h"),
        (["tiny-width", "--seeds", "0"], "it must be at least 1"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    tiny: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert sentence in refused(capsys, "claim", *words, "--out", str(tiny))


# -- pages -----------------------------------------------------------------------------------------------------------

RESULT = {
    "claim": "tiny-width", "scale": "laptop", "sentence": "A wide head is better.", "source": "table 2", "measure": "knn",
    "exact": False, "paper": "", "arms": {"wide": "byol: hidden 64", "narrow": "byol"}, "same": {"budget": "4steps"},
    "seeds": [0, 1, 2], "figures": {"wide": [0.5, 0.52, 0.6], "narrow": [0.4, 0.42, None]},
    "states": {"wide": ["healthy"] * 3, "narrow": ["healthy", "healthy", "collapsed"]},
    "verdict": {"state": "cannot tell", "needed": 4, "parts": [{
        "what": "wide \u2212 narrow", "state": "cannot tell", "seeds": 2, "mean": 0.1, "low": -0.02, "high": 0.22,
        "bounds": [0.0, None], "needed": 4, "found": "",
    }]},
    "command": "manyviews claim tiny-width", "seconds": 100.0, "commit": "0123456789abcdef", "started": "2026-01-02T03:04",
    "machine": {"processor": "a desk", "gpu": None}, "versions": {"torch": "2.9"},
}  # fmt: skip


def test_pages_tell_everything(tiny: Path) -> None:
    store.save(dict(RESULT), tiny)
    manyviews.claim("tiny-exact", out=tiny)
    pages = site.render(tiny)
    assert pages.keys() == {"index", "tiny"}
    page = pages["tiny"]
    for words in (
        "# Tiny\n", "[arXiv:0000.00000](https://arxiv.org/abs/0000.00000)", "(tiny-width)=", "**At laptop scale: Cannot tell, of older settings.**", "written otherwise", "**The paper.** 4, table 1.",
        "10.0 points (95% interval \u22122.0 to 22.0, 2 seeds); predicted above 0. About 4 seeds would settle it.",
        "50.0%, 52.0%, 60.0%", "healthy, healthy, collapsed", "manyviews claim tiny-width", "2 min of training on a desk, torch 2.9, commit 0123456789, 2026-01-02.",
        "It is | known.", "Not run yet.", "manyviews claim tiny-gpu --scale gpu",
    ):  # fmt: skip
        assert words in page, words
    tables = re.findall(r"(?:^\|.*\|\n)+", page, re.MULTILINE)
    assert [{line.count(" | ") for line in table.splitlines()} for table in tables] == [{2}, {4}]
    index = pages["index"]
    assert "Of 3 claims: holds: 1, cannot tell: 1, not run yet: 1 (1 of older settings)." in index
    assert "cannot tell, of older settings" in index
    assert 'data-verdict="cannot tell"' in index and 'data-verdict="not run yet"' in index
    assert "Two &amp; two are four &lt;always&gt;." in index and 'href="tiny.html#tiny-width"' in index
    (block,) = re.findall(r"^<div>.*?</div>$", index, re.DOTALL | re.MULTILINE)
    assert "\n\n" not in block  # an empty line would end the HTML


@pytest.mark.parametrize(
    ("asked", "said"), [(3, "seeds: 3."), (4, "seeds: 3, fewer than the 4 of the claim.")]
)
def test_seeds_that_lack_are_said(
    asked: int, said: str, tmp_path: Path, write_paper: Callable[[str, str], None]
) -> None:
    write_paper("tiny", PAPER.replace("seeds=1", f"seeds={asked}"))
    store.save(dict(RESULT), tmp_path)
    assert said in site.render(tmp_path)["tiny"]


def test_runs_that_differ_are_said_together(tiny: Path) -> None:
    differing = {
        "commit": {"x": "a" * 40, "y": "b" * 40 + "-dirty"},
        "versions": {"x": {"torch": "2.9"}, "y": {"torch": "2.10"}},
    }
    found = {"commit": None, "versions": None, "differing": differing, "judged": {}, "beside": 40.0}
    store.save(RESULT | found, tiny)
    assert (
        "2 min of training and 40 s beside it on a desk, torch 2.9 and 2.10, commit aaaaaaaaaa and bbbbbbbbbb-dirty, 2026"
        in site.render(tiny)["tiny"]
    )


def test_a_picture_has_a_dot_for_every_seed_that_has_a_figure() -> None:
    picture = drawing(RESULT)
    assert picture is not None
    tree = ET.fromstring(svg(picture, alone=False))
    dots = [
        path.get("d", "")
        for path in tree.iter("{http://www.w3.org/2000/svg}path")
        if "h0" in path.get("d", "")
    ]
    assert sorted(d.count("h0") for d in dots) == [2, 3]
    assert picture.spoken.startswith("knn, a dot a seed. wide: 54.0%")
    rows = lines(RESULT)
    assert len(rows) == 3 and rows[0].count("o") == 3 and "54.0%" in rows[0]
    assert drawing(RESULT | {"figures": {"wide": [None], "narrow": [None]}}) is None
    assert is_share(RESULT) and not is_share(RESULT | {"measure": "loss"})


def test_sentences_of_every_kind() -> None:
    def said(**part: Any) -> str:
        base = RESULT["verdict"]["parts"][0] | part
        return verdict_sentences(RESULT | {"verdict": {"parts": [base]}})[0]

    assert said(state="holds").endswith("predicted above 0.")
    assert "No number of seeds" in said(needed=None)
    assert "One seed tells nothing" in said(low=None, high=None, seeds=1)
    assert said(seeds=1, low=0.1, high=0.1) == "wide \u2212 narrow: 10.0 points, exactly; predicted above 0."
    assert (
        said(found="collapsed in 3 of 3 seeds", what="x collapses")
        == "x collapses: collapsed in 3 of 3 seeds."
    )
    assert "\u22122.0 to 2.0 points" in said(bounds=[-0.02, 0.02]) and "below 2.0 points" in said(
        bounds=[None, 0.02]
    )
    assert "no seed gave figures" in said(mean=None, seeds=0)
    beyond = said(mean=-0.1, low=-0.18, high=-0.02)  # of several predictions
    assert (
        "predicted above 0. That is no failure yet, for of all that is predicted one may miss by chance. About 4"
        in beyond
    )


def test_an_arm_that_collapsed_unasked_is_said() -> None:
    states = {"wide": ["healthy", "collapsed", "collapsing"], "narrow": ["healthy"] * 3}
    sentences = verdict_sentences(RESULT | {"states": states})
    assert sentences[1:] == ["The representation of wide collapsed in 2 of 3 seeds."]
    asked = RESULT["verdict"]["parts"] + [
        RESULT["verdict"]["parts"][0]
        | {"what": "wide does not collapse", "found": "collapsed in 2 of 3 seeds"}
    ]
    assert len(verdict_sentences(RESULT | {"states": states, "verdict": {"parts": asked}})) == 2


def test_margins_of_shares_are_told_in_points() -> None:
    predictions = (
        Equal("a", "b", within=0.05), Gap("a", "b", low=-0.03), Gap("a", "b", low=0.01, high=0.025),
        Order("a", "b", margin=0.1), Peak("a", "b", "c", margin=0.2), Rising("a", "b", margin=0.3),
        GainsMore(("a", "b"), ("c", "d"), margin=0.4), Healthy("a"), Collapse("b"),
    )  # fmt: skip
    plain, points = (predicted(predictions, percent).split("; ") for percent in (False, True))
    assert plain == [str(one) for one in predictions]
    assert points[:3] == [
        "a and b are equal within 5 points", "a is at most 3 points below b",
        "a lies above b by 1 point to 2.5 points",
    ]  # fmt: skip
    for one, size in zip(points[3:7], ("10", "20", "30", "40"), strict=True):
        assert f"by more than {size} points" in one
    assert points[7:] == plain[7:]


def test_an_unsaid_scale_is_refused_in_python(tiny: Path) -> None:
    with pytest.raises(manyviews.errors.ManyviewsError, match="no scale 'cluster'"):
        manyviews.claim("tiny-width", "cluster", out=tiny)


def test_side_by_side_is_as_one_after_the_other(
    tiny: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("claim", "tiny-width", "--out", str(tiny))
    alone = answer(capsys, *words, "--cache", str(tmp_path / "alone"))
    beside = answer(capsys, *words, "--cache", str(tmp_path / "beside"), "--jobs", "2")
    assert len({run for runs in beside["runs"].values() for run in runs}) == 2
    assert beside["runs"] == alone["runs"]
    assert beside["figures"] == alone["figures"]
    with pytest.raises(manyviews.errors.ManyviewsError, match="--jobs is 0"):
        manyviews.claim("tiny-width", out=tiny, jobs=0)


def test_a_run_whose_process_is_killed_is_said_and_nothing_is_lost(tiny: Path) -> None:
    before = set(multiprocessing.active_children())

    def kill(_: str) -> None:
        process = (set(multiprocessing.active_children()) - before).pop()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(manyviews.errors.ManyviewsError, match="The process of a run was killed"):
        manyviews.claim("tiny-width", seeds=2, jobs=2, out=tiny, say=kill)
    begun: list[str] = []
    again = manyviews.claim("tiny-width", seeds=2, out=tiny, say=begun.append)
    assert 0 < len(begun) < 4  # what had come to its end is not trained again
    assert all(None not in row for row in again["figures"].values())
