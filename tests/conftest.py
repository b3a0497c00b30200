"""What every test shares: one thread a process, the same numbers in whatever order tests run, and no clock in the verdict."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for processes that tests start
os.environ.pop("MANYVIEWS_NETS", None)  # nets of whoever runs the tests

from importlib import import_module

import pytest
import torch
from hypothesis import settings

from manyviews.data.world import ITEMS

torch.set_num_threads(1)

settings.register_profile("manyviews", deadline=None, max_examples=25)  # a busy machine is not a failure
settings.load_profile("manyviews")


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world of a few items and a probe of two folds, for commands whose figures say nothing here; processes that are
    started see the whole one."""
    for split, items in {"train": 512, "test": 64}.items():
        monkeypatch.setitem(ITEMS, split, items)
    monkeypatch.setattr(import_module("manyviews.evaluation.linear"), "FOLDS", 2)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
