"""kill -9 at any step, resume: the weights are those of the run that was never broken, bit for bit."""

import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyviews import learn, plan
from manyviews.learn import pretrain, resume
from manyviews.method import find, names
from manyviews.runs import Run
from manyviews.training import checkpoint
from shrink import SIDE, noise, sees, sentences, shrunk, small_net, taught

STEPS = 11
SETTINGS: dict[str, Any] = {
    "batch": 16, "budget": f"{STEPS}steps",
    "baselines": (), "quiet": True,
}  # fmt: skip


def data(name: str) -> Any:
    """What the method learns from, as it is given in Python: arrays and labels, or texts, or pairs of them."""
    if (reading := find(name).method.reading(plan.base(find(name), "world")[0])) is not None:
        texts = sentences(48)
        return texts if reading.texts == 1 else list(zip(texts, texts[::-1], strict=True))
    pixels = noise(sees(name), 48, "kill").values
    assert pixels is not None
    return (pixels if sees(name) == "images" else pixels[:, 0]).numpy(), np.arange(48) % 4


def victim(name: str, out: Path, settings: dict[str, Any], at: int, inside: bool) -> None:
    """Dies by kill -9, which a process can send itself, once step ``at`` is saved, or ``inside`` the writing of it."""
    torch.set_num_threads(1)
    save = checkpoint.save

    def saved(folder: Path, step: int, state: dict[str, Any]) -> None:
        if step == at and inside:
            os.fsync = lambda _: die()  # the file is written, and has not taken its name yet
        save(folder, step, state)
        if step == at:
            die()

    checkpoint.save = saved
    pretrain(name, data(name), out=out, save_every=0.0, **settings)  # a checkpoint at every step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["manyviews.api"])
    return context


@pytest.mark.parametrize("name", names())
def test_killed_and_resumed_equals_unbroken(
    name: str, tmp_path: Path, processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "judge", lambda *_: None)  # what matters here is the training
    config, _ = plan.base(find(name), "world")
    small = {"net": small_net(name), "size": SIDE[sees(name)]}
    own = {
        key: value
        for key, value in vars(shrunk(config)).items()
        if key not in find(name).serves or value != getattr(config, key)  # nothing may read it
    }
    settings = SETTINGS | small | own | taught(config, classes="0123")
    pretrain(name, data(name), out=tmp_path / "unbroken", **settings)

    chance = random.Random(name)
    at, inside = chance.randrange(3, STEPS), chance.random() < 0.5
    process = processes.Process(target=victim, args=(name, tmp_path / "killed", settings, at, inside))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    steps = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "killed/checkpoints").glob("step-*"))
    assert steps[-1] == (at - 1 if inside else at)
    assert not (tmp_path / "killed" / "encoder.safetensors").exists()

    resume(tmp_path / "killed", data(name), quiet=True)
    unbroken, resumed = (Run.open(tmp_path / which) for which in ("unbroken", "killed"))
    for (key, a), b in zip(
        unbroken.encoder.state_dict().items(), resumed.encoder.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), key
    assert (tmp_path / "killed/encoder.safetensors").read_bytes() == (
        tmp_path / "unbroken/encoder.safetensors"
    ).read_bytes()
