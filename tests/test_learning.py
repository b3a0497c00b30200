"""Every method learns: by its own recipe for the world, cut short, it beats its random start by what chance cannot give.

Those that learn within a minute are in `make test`; the others are marked slow, and `make learn` runs them. Some of them start
slowly and are given more than one pass over the data. Probes are fitted on some of the items and judged on many others, for what
is tested is a difference, not a record.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from manyviews import plan
from manyviews.data import ImageSet, open_data, summary
from manyviews.data.world import world
from manyviews.evaluation import EncoderEmbedder, embed_all
from manyviews.evaluation.linear import probe_lbfgs
from manyviews.method import Batch, Method, find, names
from manyviews.nets.encoder import judging
from manyviews.runs import Run
from manyviews.training.loop import Loop

QUICK = ("simclr", "supervised", "translation")  # within a minute
WITHIN_A_PASS = (*QUICK, "crd", "distillation", "invaspread", "mocov2", "mocov3", "wcl")
OTHERWISE = ("dvae",)  # learns to draw, which tells no species apart: its own tests say whether it does
PROBE, TEST = 4_000, 6_000


def begun(name: str, train: ImageSet, folder: Path, budget: str, **settings: Any) -> Run:
    """A run of the method by its own recipe for the world, cut short."""
    config, recipe = plan.base(find(name), "world")
    about = {
        "method": name,
        "config": dataclasses.asdict(config) | settings,
        "recipe": dataclasses.asdict(dataclasses.replace(recipe, budget=budget)),
        "data": summary(train),
    }
    return Run.create(folder, about)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run that others learn from: that of the labels themselves."""
    train = world()
    run = begun("supervised", train, tmp_path_factory.mktemp("teacher") / "run", "1ep")
    assert run.train(train, quiet=True) == "finished"
    return str(run.path)


def loss_of(method: Method, texts: ImageSet) -> float:
    """What the method's loss is on texts that it never saw, dropout off."""
    assert texts.pixels is not None
    views, batch = method.views(), 64
    losses = []
    with judging(method):
        for start in range(0, len(texts) - batch + 1, batch):
            torch.manual_seed(start)  # what is hidden is hidden before and after
            rows = torch.arange(start, start + batch)
            seen = views(texts.pixels[rows], views.draw(batch, "learning", start))
            losses.append(float(method.loss(Batch(seen, rows), 0.5).loss))
    return sum(losses) / len(losses)


def told(embedder: EncoderEmbedder, train: ImageSet, test: ImageSet) -> float:
    """Top-1 of a linear probe."""
    seen, asked = (embed_all(embedder, data) for data in (train, test))
    assert train.classes is not None
    return probe_lbfgs(seen, asked, classes=len(train.classes), weight_decays=(1e-3,)).scores.top1


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in names()
        if name not in OTHERWISE and find(name).method.sees != "texts"
    ],
)
def test_it_learns(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    config, recipe = plan.base(find(name), "world")
    train = open_data(recipe.data, size=recipe.size, senses=find(name).method.senses(config))
    some, others = train.subset(range(PROBE)), open_data(recipe.data, split="test", size=recipe.size)
    if recipe.data == "world":
        others = world("test", size=recipe.size, items=TEST)
    taught = {"teacher": request.getfixturevalue("teacher")} if hasattr(config, "teacher") else {}

    if hasattr(config, "tokeniser"):
        taught["tokeniser"] = "random"
    run = begun(name, train, tmp_path / "run", "1ep" if name in WITHIN_A_PASS else "4ep", **taught)
    before = told(EncoderEmbedder(run.build(train).encoder, recipe.size), some, others)
    assert run.train(train, quiet=True) == "finished"
    after = told(run.embedder, some, others)
    chance = math.sqrt(
        2 * before * (1 - before) / len(others)
    )  # deviation of a difference of two such figures
    assert after > before + 4 * chance, f"{after:.3f} after {run.recipe.budget}, {before:.3f} before"


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in names()
        if find(name).method.sees == "texts"
    ],
)
def test_it_foretells_texts_that_it_never_saw(name: str, tmp_path: Path) -> None:
    config, recipe = plan.base(find(name), "world")
    train = open_data(recipe.data, size=recipe.size, reading=find(name).method.reading(config))
    run = begun(name, train, tmp_path / "run", "100steps")
    run.keep(train.tokeniser)
    unseen = open_data(recipe.data, split="test", size=recipe.size, reading=run.reading)
    method = run.build(train)
    before = loss_of(method, unseen)
    loop = Loop(method, train, run.recipe)
    assert loop.run() == "finished"
    after = loss_of(method, unseen)
    assert after < 0.7 * before, f"{after:.3f} nats after {run.recipe.budget}, {before:.3f} before"
