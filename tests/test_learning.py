"""Every method learns: by its own recipe for the world, cut short, it beats its random start by what chance cannot give."""

import dataclasses
import math
from pathlib import Path

import pytest

from manyviews import plan
from manyviews.data import summary
from manyviews.data.world import world
from manyviews.evaluation import EncoderEmbedder, evaluate
from manyviews.method import find, names
from manyviews.recipe import Budget
from manyviews.runs import Run

SHARE = {"epochs": 0.25}  # of each recipe's budget
TEST = 2000


@pytest.mark.parametrize("name", names())
def test_it_learns(name: str, tmp_path: Path) -> None:
    train, test = world(), world("test", items=TEST)
    config, recipe = plan.base(find(name), "world")
    whole = Budget.parse(recipe.budget)
    recipe = dataclasses.replace(recipe, budget=f"{math.ceil(whole.amount * SHARE[whole.unit])}ep")
    about = {
        "method": name,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "data": summary(train),
    }
    run = Run.create(tmp_path / "run", about)
    start = EncoderEmbedder(run.build(train).encoder, recipe.size)
    assert run.train(train, quiet=True) == "finished"

    before, after = (
        evaluate(encoder, train, test, protocols=("linear",))["linear"]["top1"]
        for encoder in (start, run.embedder)
    )
    chance = math.sqrt(2 * before * (1 - before) / TEST)  # deviation of a difference between two such figures
    assert after > before + 4 * chance, f"{after:.3f} after {recipe.budget}, {before:.3f} before"
