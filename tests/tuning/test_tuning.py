"""The surface against its own derivatives, walks and runs against loops written out, and the whole command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

import manyviews
from manyviews.cli import main
from manyviews.errors import ManyviewsError
from manyviews.tuning import (
    FAMILIES,
    LEVELS,
    NAMES,
    RATES,
    Learner,
    Task,
    Valley,
    best_walk,
    optimisers,
    walk,
)

VALLEY = Valley()
SMALL = Task(items=100, epochs=2, seeds=2)


def at(x: float, y: float) -> np.ndarray:
    return np.array([x, y], dtype=np.float64)


# -- the surface -------------------------------------------------------------------------------------------------------


@given(st.floats(-0.3, 6.2), st.floats(0.3, 2.8))
def test_the_gradient_is_the_surfaces(x: float, y: float) -> None:
    step = 1e-5
    differences = [
        (VALLEY(at(x + step * dx, y + step * dy)) - VALLEY(at(x - step * dx, y - step * dy))) / (2 * step)
        for dx, dy in ((1, 0), (0, 1))
    ]
    np.testing.assert_allclose(VALLEY.gradient(at(x, y)), differences, rtol=1e-6, atol=1e-6)


def curvatures(x: float) -> np.ndarray:
    """The eigenvalues of the Hessian on the middle line, from differences of the gradient."""
    w, step = at(x, float(VALLEY.middle(np.asarray(x)))), 1e-5
    hessian = [
        (VALLEY.gradient(w + step * d) - VALLEY.gradient(w - step * d)) / (2 * step) for d in np.eye(2)
    ]
    return np.linalg.eigvalsh(np.stack(hessian))


@pytest.mark.parametrize(("place", "signs"), [("hollow", (1, 1)), ("saddle", (-1, 1)), ("lowest", (1, 1))])
def test_the_floor_is_flat_where_it_should_be(place: str, signs: tuple[int, int]) -> None:
    x = getattr(VALLEY, place)
    w = at(x, float(VALLEY.middle(np.asarray(x))))
    np.testing.assert_allclose(VALLEY.gradient(w), 0, atol=1e-9)
    assert tuple(np.sign(curvatures(x))) == signs


def test_the_minimum_is_nought_and_the_saddle_as_high_as_it_says() -> None:
    heights = [float(VALLEY.floor(np.asarray(x))) for x in (VALLEY.lowest, VALLEY.saddle)]
    assert heights == pytest.approx([0.0, VALLEY.ridge], abs=1e-12)
    assert min(VALLEY.floor(np.linspace(-0.3, 6.2, 1000))) > -1e-12


@pytest.mark.parametrize("level", LEVELS)
def test_contours_lie_at_their_level(level: float) -> None:
    outlines = VALLEY.within(level)
    assert len(outlines) == 1 + (float(VALLEY.floor(np.asarray(VALLEY.hollow))) < level < VALLEY.ridge)
    for outline in outlines:
        inside = (outline[:, 0] > VALLEY.window[0]) & (outline[:, 0] < VALLEY.window[1])
        np.testing.assert_allclose(VALLEY(outline[inside]), level, rtol=1e-6)
        centre = outline[:, 0].mean()
        assert VALLEY(at(centre, float(VALLEY.middle(np.asarray(centre))))) < level


# -- walks -------------------------------------------------------------------------------------------------------------


def test_gradient_descent_walks_down_the_gradient() -> None:
    found = walk("GD", 0.1, valley=VALLEY, steps=20)
    assert found is not None
    w = np.array(VALLEY.start)
    for step in range(20):
        np.testing.assert_allclose(found.path[step], w, rtol=1e-12)
        assert found.loss[step] == pytest.approx(float(VALLEY(w)))
        w = w - 0.1 * VALLEY.gradient(w)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_walk_is_the_best_of_those_that_stay(name: str) -> None:
    best = best_walk(name, valley=VALLEY, steps=40)
    assert VALLEY.shows(best.path) and min(RATES) < best.rate < max(RATES)
    every = [walk(name, rate, valley=VALLEY, steps=40) for rate in RATES]
    assert best.settled == min(found.settled for found in every if found is not None)


def test_only_sgds_walk_hangs_on_the_seed() -> None:
    for name in ("SGD", "GD", "LARS"):
        paths = [best_walk(name, valley=VALLEY, steps=20, seed=seed).path for seed in (0, 0, 1)]
        assert np.array_equal(paths[0], paths[1])
        assert np.array_equal(paths[0], paths[2]) == (name != "SGD")


def test_who_runs_away_at_every_rate_is_told_so() -> None:
    assert walk("GD", 300.0, valley=VALLEY, steps=5) is None
    with pytest.raises(ManyviewsError, match="GD runs away at every rate"):
        best_walk("GD", valley=VALLEY, steps=5, rates=(100.0, 300.0))


# -- the task ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner() -> Learner:
    return Learner(SMALL)


def test_gradient_descent_takes_one_step_an_epoch_over_everything(learner: Learner) -> None:
    run = learner.learn("GD", 0.3, seed=5)
    net, (images, labels) = learner.net(5), learner.train
    losses = []
    for _ in range(SMALL.epochs + 1):
        loss = F.cross_entropy(net(images), labels)
        losses.append(float(loss.detach()))
        for w, g in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True):
            w.data.sub_(g, alpha=0.3)
    assert run is not None and run.loss == pytest.approx(losses, rel=1e-4)


def test_runs_begin_alike_and_are_the_seeds(learner: Learner) -> None:
    runs = {name: learner.learn(name, 0.01, seed=1) for name in NAMES}
    assert len({run.loss[0] for run in runs.values() if run}) == 1
    again, other = learner.learn("Adam", 0.01, seed=1), learner.learn("Adam", 0.01, seed=2)
    assert again and other and runs["Adam"]
    assert again.loss == runs["Adam"].loss != other.loss


def test_the_tuned_rate_ends_lowest(learner: Learner) -> None:
    rates = (0.003, 0.03, 0.3)
    ends = {rate: run.loss[-1] for rate in rates if (run := learner.learn("momentum", rate, 3))}
    assert learner.tune("momentum", 3, rates) == min(ends, key=ends.__getitem__)


def test_what_diverges_is_left_out(learner: Learner) -> None:
    assert learner.learn("SGD", 1e6, 0) is None
    with pytest.raises(ManyviewsError, match="SGD diverges at every rate"):
        learner.tune("SGD", 0, (1e6,))
    with pytest.raises(ManyviewsError, match="With every seed SGD diverges"):
        learner.runs("SGD", 1e6, 0)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_everyone_is_there_once() -> None:
    assert len(set(NAMES)) == len(NAMES) == sum(len(family) for family in FAMILIES.values()) == 10


def compared(out: Path) -> dict[str, Any]:
    result = optimisers(out, task=Task(items=50, epochs=1, seeds=2), steps=4, rates=(0.003, 0.01))
    result.pop("seconds")
    return result


def test_the_same_seed_gives_the_same_picture(tmp_path: Path) -> None:
    first, second = compared(tmp_path / "a.svg"), compared(tmp_path / "b.svg")
    assert first.pop("out") != second.pop("out")
    assert first == second
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert first["task"]["Adam"]["loss"]["n"] == 2 and first["task"]["Adam"]["at_end_of_grid"]


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--items", "50", "--epochs", "1", "--seeds", "1", "--steps", "6", "--out"]
    main(["optimisers", *words, str(tmp_path / "all.png"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert set(result["task"]) == set(result["surface"]) == set(NAMES) and result["rates"] == list(RATES)
    with Image.open(tmp_path / "all.png") as image:
        assert image.width > 2000
    main(["optimisers", *words, str(tmp_path / "all.html")])
    assert "Nesterov" in capsys.readouterr().out
    page = (tmp_path / "all.html").read_text()
    assert page.count("<svg") == 2 * len(FAMILIES) and "<span>--epochs</span>" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "all.gif"], "all.gif is no picture that can be drawn"),
        (["--steps", "1"], "With 1 steps there is no way down"),
        (["--items", "70"], "Batches of 50 do not divide 70 items"),
        (["--seeds", "0"], "A task needs at least one item, epoch and seed"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["optimisers", *words])
    said = capsys.readouterr()
    assert stop.value.code == 2 and sentence in said.err and not said.out and not list(tmp_path.iterdir())


def test_python_has_it_too() -> None:
    assert manyviews.optimisers is optimisers
