"""What crosses ranks, in one place: gathering, averaging, handing out, splitting.

Every function is the identity on one process and does not ask for ``torch.distributed`` to be initialised, so the
code above never asks how many ranks there are. Torch's own collectives do the work.

One convention holds everywhere: each rank's loss is the *mean over its own rows*, every rank has the same number of
rows, and gradients are *averaged* over ranks (as DDP and FSDP do). Then R ranks give the loss and gradients of one
process with the whole batch. The loss of the whole is ``L = (1/R) sum_s L_s``. What leaves a rank through a collective
may come back in any rank's loss, so the backward pass of every collective here adds up what all ranks send back:
rank r then holds the gradient of ``sum_s L_s`` by its own rows, and the averaging supplies the ``1/R``.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

T = TypeVar("T")


def active() -> bool:
    """Whether this process is one of several, or could be: a process group exists."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, in ``[0, world_size())``."""
    return dist.get_rank() if active() else 0


def device() -> torch.device:
    """Where this process computes: its GPU where there is one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if (
        started() > 1 and "LOCAL_RANK" not in os.environ
    ):  # SLURM, which may show each process its own GPU alone
        return torch.device("cuda", int(os.environ.get("SLURM_LOCALID", "0")) % torch.cuda.device_count())
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if active() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files and prints; true of one among several after they parted too."""
    return (rank() if active() else int(os.environ.get("RANK", "0"))) == 0


def local_rows(total: int) -> slice:
    """This rank's contiguous share of ``total`` rows; shares are equal where ``world_size()`` divides ``total``."""
    return slice(total * rank() // world_size(), total * (rank() + 1) // world_size())


def gather(x: Tensor) -> Tensor:
    """All ranks' rows in rank order, ``[B, ...] -> [R * B, ...]``, without gradient. B is the same on every rank."""
    if world_size() == 1:
        return x.detach()
    everything = x.new_empty(world_size() * x.shape[0], *x.shape[1:])
    dist.all_gather_into_tensor(everything, x.detach().contiguous())
    return everything


def gather_with_grad(x: Tensor) -> Tensor:
    """All ranks' rows in rank order, ``[B, ...] -> [R * B, ...]``, with gradient. B is the same on every rank.

    Backward is a reduce-scatter by SUM: a row's gradient is what all ranks' losses, not only its own rank's, say about
    it. With each loss a mean over the rank's own rows and gradients averaged over ranks, this is the gradient of one
    process with the whole batch (see the module's convention).
    """
    return x if world_size() == 1 else cast(Tensor, _Gather.apply(x))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        own = grad.new_empty(grad.shape[0] // world_size(), *grad.shape[1:])
        dist.reduce_scatter_tensor(own, grad.contiguous())
        return own


def _summed(x: Tensor) -> Tensor:
    total = x.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum of ``x`` (any shape, the same on every rank) over ranks, without gradient."""
    return x.detach() if world_size() == 1 else _summed(x)


def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean of ``x`` (any shape) over ranks, without gradient: for figures that are logged."""
    return x.detach() if world_size() == 1 else _summed(x) / world_size()


def broadcast_(x: Tensor, source: int = 0) -> Tensor:
    """Overwrite ``x`` with rank ``source``'s; returns ``x``."""
    if world_size() > 1:
        dist.broadcast(x.detach(), source)
    return x


@torch.no_grad()
def overwrite_(own: Tensor, x: Tensor) -> Tensor:
    """Overwrite a tensor, which may be split among the ranks (FSDP2), with one that is whole and the same on all of them;
    returns ``own``."""
    return own.copy_(split_like(own, x))


def split_like(own: Tensor, x: Tensor) -> Tensor:
    """``x``, whole and the same on all ranks, split among them as ``own`` is (FSDP2), of the same shape; whole if it is."""
    if (mesh := getattr(own, "device_mesh", None)) is None:
        return x
    from torch.distributed.tensor import distribute_tensor  # half a second that only sharded runs pay

    return distribute_tensor(x.to(own.device), mesh, own.placements)  # pyright: ignore[reportAttributeAccessIssue]


def whole(x: Tensor) -> Tensor:
    """A tensor, which may be split among the ranks (FSDP2), put together; then every rank has to ask."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]


def rows_from_main(x: Tensor) -> Tensor:
    """This rank's share of the rows that rank 0 holds, ``[R * B, ...] -> [B, ...]``; ``x`` of other ranks is lost.

    What is drawn for a whole batch and handed out like this is what one process would draw for it.
    """
    return broadcast_(x)[local_rows(x.shape[0])]


def from_main(value: float) -> float:
    """Rank 0's number, on every rank."""
    if world_size() == 1:
        return value
    return float(broadcast_(torch.tensor(value, dtype=torch.float64, device=_device())))


def rand(rows: int, *shape: int) -> Tensor:
    """Uniform numbers ``[rows, *shape]`` on the CPU: this rank's rows of what one process would draw for the whole batch.

    Rank 0's global generator decides; ``rows`` is the same on every rank.
    """
    return rands(rows, *shape)()


def rands(rows: int, *shape: int) -> Callable[[], Tensor]:
    """What gives such numbers anew at every call, of which a rank may make more than another."""
    seed = int(from_main(float(torch.randint(2**52, ()))))  # a float holds it exactly
    source = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        everyone = torch.rand(world_size() * rows, *shape, generator=source)
        return everyone[local_rows(len(everyone))]

    return draw


def barrier() -> None:
    """Wait until every rank is here."""
    added(0.0)


def started() -> int:
    """How many processes torchrun (or what speaks its language) started together, in a group or not; 1 where nobody did.

    It tells each its number too: a number of processes alone is what some batch systems leave behind.
    """
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def everyone(value: T) -> list[T]:
    """What every rank has, in rank order; of anything that can be pickled, and all of them have to ask."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def added(*numbers: float) -> list[float]:
    """Each number's sum over ranks, all of them in one collective."""
    if world_size() == 1:
        return list(numbers)
    return _summed(torch.tensor(numbers, dtype=torch.float64, device=_device())).tolist()


def _device() -> torch.device:
    """Where a few numbers are told: on the CPU, which waits for no GPU, but in a group that somebody began with NCCL alone."""
    alone = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if alone else torch.device("cpu")
