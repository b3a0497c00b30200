"""Two gloo ranks with half the batch each equal one process with the whole; one process needs no process group.

Starting a rank imports torch anew, which takes seconds, so both ranks run every check of this file in one start and
report what they measured; the tests then compare.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from manyviews import distributed, launching
from manyviews.errors import ManyviewsError
from manyviews.memory import Queue
from manyviews.nets.synchronised import synchronise
from manyviews.objectives import in_batch, nt_xent, several_positives, sup_con

RANKS = 2
TEMPERATURES = (0.005, 0.1, 0.5)


def data(rows: int = 12) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(0)
    return torch.randn(rows, 6, generator=make), torch.randn(rows, 6, generator=make) * 2 + 1


def plain_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 5)).double()


def normed_net(momentum: float | None = 0.1) -> nn.Sequential:
    torch.manual_seed(2)
    image = nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU()
    )
    return nn.Sequential(image, nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5, affine=False)).double()


def train(net: nn.Module, temperature: float, rows: slice) -> dict[str, Tensor]:
    """One loss and its gradients; across ranks through DDP, as the training loop does."""
    a, b = (x[rows].double() for x in data())
    net.train()
    learner = DistributedDataParallel(net) if dist.is_initialized() else net
    z = learner(torch.cat([a, b]))
    loss = nt_xent(*z.chunk(2), temperature)
    loss.backward()
    found = {f"grad {name}": p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    found |= {f"buffer {name}": x.clone() for name, x in net.named_buffers()}
    return found | {"loss": distributed.all_reduce_mean(loss)}


def grouped(rows: slice) -> dict[str, Tensor]:
    """Losses with several positives, some rows having none, or with hard negatives, and what all ranks' losses say about the rows of all."""
    group = torch.tensor([0, 0, 1, 0, 2, 3, 4, 4, 5, 6, 7, 8])[rows]  # most that are in company are on rank 0
    positive = torch.stack([torch.arange(12), (torch.arange(12) + 5) % 12], 1)[rows]
    a, b = (x[rows].double().requires_grad_() for x in data())
    loss = sup_con(a, group, 0.2) + several_positives(a, b, positive, 0.3)
    loss = loss + in_batch(a, b, 0.2, hard_BD=b.square())
    loss.backward()
    assert a.grad is not None and b.grad is not None
    both = torch.cat([a.grad, b.grad], 1) / distributed.world_size()
    return {"loss": distributed.all_reduce_mean(loss), "grad": distributed.gather(both)}


def measure(rows: slice) -> dict[str, Any]:
    found: dict[str, Any] = {f"plain {t}": train(plain_net(), t, rows) for t in TEMPERATURES}
    for momentum in (0.1, None):
        net = synchronise(normed_net(momentum))
        found[f"normed {momentum}"] = train(net, 0.5, rows)
        found[f"normed {momentum} keys"] = list(net.state_dict())
        found[f"normed {momentum} eval"] = distributed.gather(net.eval()(data()[0][rows].double()))
    halved = synchronise(nn.Sequential(nn.BatchNorm1d(6)))
    found["bf16"] = distributed.gather(halved((8 + data()[0][rows]).bfloat16()))
    queue = Queue(20, 6)
    for x in data():
        queue.push(F.normalize(x[rows], dim=1))
    found["queue"] = queue.state_dict()
    found["grouped"] = grouped(rows)
    return found


def collectives() -> dict[str, Tensor]:
    here = distributed.rank()
    x = torch.full((2, 3), float(here + 1), requires_grad=True)
    weight = torch.arange(12.0).view(4, 3) * (here + 1)
    (distributed.gather_with_grad(x) * weight).sum().backward()
    assert x.grad is not None
    y = torch.tensor([1.0 + here], requires_grad=True)
    return {
        "gather": distributed.gather(x),
        "gather grad": x.grad,
        "sum": distributed.all_reduce_sum(y),
        "mean": distributed.all_reduce_mean(y),
        "added": torch.tensor(distributed.added(here + 2.0, here == 1)),
        "broadcast": distributed.broadcast_(torch.tensor([here + 5.0]), source=1),
        "rank": torch.tensor([here, distributed.world_size(), distributed.is_main()]),
    }


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    found = {"measured": measure(distributed.local_rows(12)), "collectives": collectives()}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.spawn(rank_main, (str(folder),), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return measure(slice(None))


@pytest.mark.parametrize(
    "what", [*(f"plain {t}" for t in TEMPERATURES), "normed 0.1", "normed None", "grouped"]
)
def test_loss_and_gradients_equal_one_process(
    ranks: list[dict[str, Any]], whole: dict[str, Any], what: str
) -> None:
    for found in ranks:
        ours, one = found["measured"][what], whole[what]
        assert ours.keys() == one.keys()
        for name in one:
            assert torch.allclose(ours[name], one[name], rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("momentum", [0.1, None])
def test_synchronised_batch_norm_keeps_its_keys_and_evaluates_alike(
    ranks: list[dict[str, Any]], whole: dict[str, Any], momentum: float | None
) -> None:
    for found in ranks:
        assert found["measured"][f"normed {momentum} keys"] == whole[f"normed {momentum} keys"]
        evaluated = found["measured"][f"normed {momentum} eval"]
        assert torch.allclose(evaluated, whole[f"normed {momentum} eval"], atol=1e-9)


def test_synchronised_batch_norm_computes_half_precision_in_full(
    ranks: list[dict[str, Any]], whole: dict[str, Any]
) -> None:
    for found in ranks:
        assert found["measured"]["bf16"].dtype == torch.bfloat16
        torch.testing.assert_close(found["measured"]["bf16"], whole["bf16"], rtol=0.01, atol=1e-3)


def test_every_rank_holds_the_queue_of_one_process(
    ranks: list[dict[str, Any]], whole: dict[str, Any]
) -> None:
    for found in ranks:
        for name, value in whole["queue"].items():
            assert torch.equal(found["measured"]["queue"][name], value)


def test_collectives_across_ranks(ranks: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(each["collectives"] for each in ranks):
        assert torch.equal(found["gather"][:, 0], torch.tensor([1.0, 1.0, 2.0, 2.0]))
        assert torch.equal(found["gather grad"], 3 * torch.arange(12.0).view(4, 3)[rank * 2 : rank * 2 + 2])
        assert (found["sum"].item(), found["mean"].item()) == (3.0, 1.5)
        assert not found["sum"].requires_grad and not found["mean"].requires_grad
        assert found["added"].tolist() == [5.0, 1.0]
        assert found["broadcast"].item() == 6.0
        assert found["rank"].tolist() == [rank, 2, rank == 0]


def test_one_process_needs_no_process_group() -> None:
    assert not dist.is_initialized()
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.local_rows(10) == slice(0, 10)
    x = torch.randn(3, 2, requires_grad=True)
    assert distributed.gather_with_grad(x) is x and torch.equal(distributed.all_reduce_sum(x), x)
    assert torch.equal(distributed.gather(x), x) and not distributed.gather(x).requires_grad
    assert torch.equal(distributed.all_reduce_mean(x), x)
    assert distributed.broadcast_(x) is x and distributed.added(2.5, True) == [2.5, 1]
    net = normed_net()
    assert synchronise(net) is net and type(net[3]) is nn.BatchNorm1d


def test_rows_are_shared_out_without_gap_or_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    for total in (0, 1, 7, 9):
        shares = []
        for rank in range(3):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            shares += list(range(total))[distributed.local_rows(total)]
        assert shares == list(range(total))


def test_how_many_there_are_is_said_by_who_numbers_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("RANK", raising=False)
    assert distributed.started() == 1 and not launching.launched()  # what some batch systems leave behind
    monkeypatch.setenv("RANK", "2")
    assert distributed.started() == 4 and launching.launched()


def test_each_of_slurms_processes_has_a_gpu_that_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("SLURM_LOCALID", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert distributed.device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.device() == torch.device("cuda", 1)


def test_where_there_are_gpus_what_lies_on_the_cpu_still_crosses_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: asked.append(str(device)))
    monkeypatch.setattr(dist, "init_process_group", asked.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with launching.group():
        pass
    device, backends = asked
    assert device == "cuda:1" and dist.BackendConfig(backends).device_backend_map == {
        "cpu": "gloo",
        "cuda": "nccl",
    }


def test_ranks_that_found_other_items_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    launching.require_same("a", "photos")
    monkeypatch.setattr(distributed, "everyone", lambda digest: [digest, digest, "b"])
    with pytest.raises(ManyviewsError, match="Process 2 has found other items in photos than the first one"):
        launching.require_same("a", "photos")


def test_each_process_gets_its_share_of_the_cores_unless_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = launching.environment(3)
    assert told["OMP_NUM_THREADS"] == "2" and told.keys() > {"PATH"}
    assert launching.environment(16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert launching.environment(3)["OMP_NUM_THREADS"] == "5"
