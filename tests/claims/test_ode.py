"""The claims of neural ODEs that are trained, on runs so short that they cost nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from manyviews.claims.cache import Cache, trainer
from manyviews.claims.claim import Scale, everything
from manyviews.claims.engine import run

SMALL = Scale(data="world", size=16, batch=32, budget="3steps")


@pytest.fixture
def kept(small_world: None, tmp_path: Path) -> Cache:
    return Cache(tmp_path, trainer(quiet=True))


def test_evaluations_are_counted_before_training_and_after_it_forward_and_backward(kept: Cache) -> None:
    figures = {}
    for name in ("ode-backward", "ode-adapts"):
        result = run(name, replace(everything()[name], laptop=SMALL), "laptop", kept, seeds=1)
        assert result is not None
        figures |= {arm: values[0] for arm, values in result["figures"].items()}
    assert figures["forward"] == figures["after training"]
    for calls in figures.values():
        assert (
            8 <= calls == int(calls) < 200
        )  # dopri5 calls twice to find a first step, and six times in each step
    assert figures["forward"] % 6 == figures["before training"] % 6 == 2
    assert len(list(kept.path.glob("*/figures.json"))) == 1  # one run, looked at in several ways
