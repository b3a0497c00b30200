"""Every method learns: by its own recipe for the world, cut short, it beats its random start by what chance cannot give. Those
that tell tokens beat who knows how often each occurs.

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
from torch import Tensor

from manyviews import plan
from manyviews.data import ItemSet, open_data, summary
from manyviews.data.world import world
from manyviews.evaluation import EncoderEmbedder, embed_all
from manyviews.evaluation.linear import probe_lbfgs
from manyviews.learn import pretrain
from manyviews.method import Batch, Method, find, names
from manyviews.nets.encoder import judging
from manyviews.runs import Run
from manyviews.training.loop import Loop

QUICK = ("simclr", "supervised", "translation")  # within a minute
BUDGET = {"supervised": "0.3ep", "simclr": "0.6ep"}  # what learns soonest
WITHIN_A_PASS = (*QUICK, "crd", "distillation", "invaspread", "mocov2", "mocov3", "wcl")
OTHERWISE = ("dvae",)  # learns to draw, which tells no species apart: its own tests say whether it does
TELLS_TOKENS = ("bert", "char_rnn", "gpt", "translation")  # which has to beat knowing how often each occurs
# BERT knows nothing but that for long; those that are not named learn enough in 100 steps.
STEPS = {"translation": "50steps", "bert": "300steps", "char_rnn": "300steps"}
PROBE, TEST = 2_000, 4_000


def begun(name: str, train: ItemSet, folder: Path, budget: str, **settings: Any) -> Run:
    """A run of the method by its own recipe for the world, cut short."""
    config, recipe = plan.base(find(name), "world")
    about = {
        "method": name,
        "config": dataclasses.asdict(config) | settings,
        "recipe": dataclasses.asdict(dataclasses.replace(recipe, budget=budget)),
        "data": summary(train),
    }
    return Run.create(folder, about)


def finished(name: str, folder: Path, budget: str) -> str:
    """The folder of a run that others learn from."""
    train = world()
    run = begun(name, train, folder, budget)
    assert run.train(train, quiet=True) == "finished"
    return str(run.path)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that learned from the labels themselves."""
    return finished("supervised", tmp_path_factory.mktemp("teacher") / "run", "1ep")


@pytest.fixture(scope="module")
def tokeniser(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that learned to write images in codes."""
    return finished("dvae", tmp_path_factory.mktemp("tokeniser") / "run", "1ep")


def loss_of(method: Method, texts: ItemSet) -> float:
    """What the method's loss is on texts that it never saw, dropout off; in nats a token where it tells tokens."""
    assert texts.values is not None
    if hasattr(method.config, "smoothing"):
        method.config = dataclasses.replace(method.config, smoothing=0.0)
    views, batch = method.views(), 64
    losses = []
    with judging(method):
        for start in range(0, len(texts) - batch + 1, batch):
            torch.manual_seed(start)  # what is hidden is hidden before and after
            rows = torch.arange(start, start + batch)
            seen = views(texts.values[rows], views.draw(batch, "learning", start))
            out = method.loss(Batch(seen, rows), 0.5)
            losses.append(float(out.log["perplexity"].log() if "perplexity" in out.log else out.loss))
    return sum(losses) / len(losses)


def by_frequency(name: str, train: ItemSet, unseen: ItemSet) -> float:
    """Nats a token of who knows how often each stands in the texts that were learned from, and nothing else."""
    known, asked = (told_tokens(name, texts) for texts in (train, unseen))
    assert train.tokeniser is not None
    count_V = 1 + known.bincount(minlength=len(train.tokeniser)).float()
    return float(-(count_V / count_V.sum()).log()[asked].mean())


def told_tokens(name: str, texts: ItemSet) -> Tensor:
    """All that the method may have to tell: of pairs the translations, and no token that begins a text."""
    assert texts.values is not None and texts.tokeniser is not None
    token_NT, part_NT = texts.values[:, -2:].unbind(1)
    told_NT = (part_NT > 0) & (token_NT != texts.tokeniser.start)
    if name == "bert":
        told_NT &= token_NT != texts.tokeniser.end
    return token_NT[told_NT].long()


def probed(embedder: EncoderEmbedder, train: ItemSet, test: ItemSet) -> float:
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
    needs = [needed for needed in ("teacher", "tokeniser") if hasattr(config, needed)]
    taught = {needed: request.getfixturevalue(needed) for needed in needs}
    budget = BUDGET.get(name, "1ep" if name in WITHIN_A_PASS else "4ep")
    run = begun(name, train, tmp_path / "run", budget, **taught)
    before = probed(EncoderEmbedder(run.build(train).encoder, recipe.size), some, others)
    assert run.train(train, quiet=True) == "finished"
    after = probed(run.embedder, some, others)
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
    run = begun(name, train, tmp_path / "run", STEPS.get(name, "100steps"))
    run.keep(train.tokeniser)
    unseen = open_data(recipe.data, split="test", size=recipe.size, reading=run.reading)
    method = run.build(train)
    if name in TELLS_TOKENS:
        most, what = 0.9 * by_frequency(name, train, unseen), "by frequencies alone, less a tenth"
    else:
        most, what = 0.7 * loss_of(method, unseen), "before, less three tenths"
    loop = Loop(method, train, run.recipe)
    assert loop.run() == "finished"
    after = loss_of(method, unseen)
    assert after < most, f"{after:.3f} nats after {run.recipe.budget}, {most:.3f} {what}"


@pytest.mark.slow
def test_views_that_a_generator_is_played_for_share_less(tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "net": "cifar_resnet8",
        "size": 16,
        "batch": 64,
        "budget": "120steps",
        "quiet": True,
    }
    shared = [
        pretrain("infomin_learned", out=tmp_path / str(weight), adversary=weight, judged=False, **small)
        .metrics()[-1]["mutual_information"]
        for weight in (1.0, 0.0)
    ]  # fmt: skip
    assert shared[0] < shared[1] - 0.3, shared
