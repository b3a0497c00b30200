"""What two processes log is their mean, their clock is one, and where one of them must stop both do."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from manyviews import distributed
from manyviews.data import in_memory
from manyviews.errors import Diverged
from manyviews.method import Batch, Method, Out, Spec
from manyviews.recipe import Recipe
from manyviews.training.hooks import Log, Saver, at_line
from manyviews.training.loop import Loop
from manyviews.views import Looks, View, views_of

RANKS, ITEMS, STEPS, ILL = 2, 8, 4, 2


class Uneven(Method):
    """Its loss is 1 on rank 0 and 3 on rank 1 to begin with; in step ``ILL`` one rank's loss or weights become no number."""

    def __init__(self, ill: str = "") -> None:
        super().__init__(None, Spec(items=ITEMS, size=8))
        self.encoder, self.weight = nn.Identity(), nn.Parameter(torch.ones(2))  # pyright: ignore[reportAttributeAccessIssue]
        self.ill, self.step = ill, 0

    def views(self) -> Looks:
        return views_of(View(size=8))

    def loss(self, batch: Batch, progress: float) -> Out:
        self.step += 1
        here = 2.0 * distributed.rank() + 1
        loss = here * self.weight.mean()
        if (self.ill, self.step, distributed.rank()) == ("loss", ILL, 1):
            loss = loss * torch.nan
        return Out(loss, {"here": torch.tensor(here)})

    def after_step(self, out: Out, progress: float) -> None:
        if (self.ill, self.step, distributed.rank()) == ("weights", ILL, 0):
            self.weight.data.fill_(torch.inf)


def loop_of(method: Method) -> Loop:
    data = in_memory("grey", torch.full((ITEMS, 3, 8, 8), 128, dtype=torch.uint8), None, None)
    return Loop(method, data, Recipe(size=8, batch=4, budget=f"{STEPS}steps", optimiser="sgd", lr=0.1))


def watched(folder: Path) -> list[tuple[float, float]]:
    """The clock and the loss of each step on this rank; the log is written."""
    found: list[tuple[float, float]] = []
    loop = loop_of(Uneven())
    loop.hooks = (Log(folder, every=0.0), lambda moment: found.append((moment.seconds, float(moment.loss))))
    loop.run()
    return found


def stopped(folder: Path, ill: str) -> str:
    """What a run says that breaks on one rank."""
    loop = loop_of(Uneven(ill))
    loop.hooks = (Saver(folder / ill, every=0.0),)
    try:
        return loop.run()
    except Diverged as error:
        return str(error)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet, patience = f"file://{folder}/meet", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=meet, timeout=patience, rank=rank, world_size=RANKS)
    here = Path(folder)
    found = {"seen": watched(here), "loss": stopped(here, "loss"), "weights": stopped(here, "weights")}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()  # neither leaves while the other still talks to it
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    mp.spawn(process, (str(folder),), nprocs=RANKS)
    return folder


def told(folder: Path, what: str) -> list[Any]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True)[what] for rank in range(RANKS)]


def test_what_is_logged_is_the_mean_over_the_ranks(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [[loss for _, loss in seen] for seen in told(folder, "seen")]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert losses[0][0] == 1.0 and losses[1][0] == 3.0
    for row, *own in zip(rows, *losses, strict=True):
        assert row["loss"] == row["loss_mean"] == pytest.approx(sum(own) / RANKS, rel=1e-6)
        assert row["here"] == 2.0


def test_a_line_has_the_mean_of_all_losses_since_the_one_before(tmp_path: Path) -> None:
    loop, seen = loop_of(Uneven()), list[float]()
    loop.hooks = (Log(tmp_path, every=1e9, lines=1), lambda moment: seen.append(float(moment.loss)))
    loop.run()
    first, last = (json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert (first["step"], last["step"]) == (1, STEPS) and first["loss_mean"] == first["loss"]
    assert last["loss_mean"] == pytest.approx(sum(seen[1:]) / (STEPS - 1), rel=1e-6) != last["loss"]


def test_there_are_lines_at_even_marks_however_fast_a_run_is(tmp_path: Path) -> None:
    loop = loop_of(Uneven())
    loop.hooks = (Log(tmp_path, every=1e9, lines=2),)
    loop.run()
    rows = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [1, STEPS // 2, STEPS]
    assert [step for step in range(1, 401) if at_line(step, 400)] == list(range(2, 401, 2))


def test_all_have_the_clock_of_one(folder: Path) -> None:
    one, other = ([seconds for seconds, _ in seen] for seen in told(folder, "seen"))
    assert one == other and one == sorted(one) and one[0] > 0


def test_a_loss_or_weights_that_are_not_finite_stop_both_with_one_sentence(folder: Path) -> None:
    one, other = told(folder, "loss")
    assert one == other and one.startswith("The loss of step 2 is nan, on a batch beginning with grey/")
    one, other = told(folder, "weights")
    assert one == other and one.startswith("After step 2, weight is not finite")
    assert len(list((folder / "loss").iterdir())) == len(list((folder / "weights").iterdir())) == 1
