"""What crosses ranks, in one place: gathering, averaging, batch statistics.

Every function is the identity on one process and does not ask for ``torch.distributed`` to be initialised, so the
code above never asks how many ranks there are. Torch's own collectives do the work.

One convention holds everywhere: each rank's loss is the *mean over its own rows*, every rank has the same number of
rows, and gradients are *averaged* over ranks (as DDP and FSDP do). Then R ranks give the loss and gradients of one
process with the whole batch. The loss of the whole is ``L = (1/R) sum_s L_s``. What leaves a rank through a collective
may come back in any rank's loss, so the backward pass of every collective here adds up what all ranks send back:
rank r then holds the gradient of ``sum_s L_s`` by its own rows, and the averaging supplies the ``1/R``.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

T = TypeVar("T")


def active() -> bool:
    """Whether this process is one of several, or could be: a process group exists."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, in ``[0, world_size())``."""
    return dist.get_rank() if active() else 0


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


def all_reduce_sum_with_grad(x: Tensor) -> Tensor:
    """The sum of ``x`` (any shape, the same on every rank) over ranks, with gradient; backward sums over ranks too."""
    return x if world_size() == 1 else cast(Tensor, _Sum.apply(x))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _summed(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _summed(grad)


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
    if (mesh := getattr(own, "device_mesh", None)) is not None:
        from torch.distributed.tensor import distribute_tensor  # half a second that only sharded runs pay

        x = distribute_tensor(x.to(own.device), mesh, own.placements)  # pyright: ignore[reportAttributeAccessIssue]
    return own.copy_(x)


def whole(x: Tensor) -> Tensor:
    """A tensor, which may be split among the ranks (FSDP2), put together; then every rank has to ask."""
    return x.full_tensor() if hasattr(x, "full_tensor") else x  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]


def synchronise(module: nn.Module) -> nn.Module:
    """Make every ``BatchNorm1d`` and ``BatchNorm2d`` of ``module``, and timm's ``BatchNormAct2d``, take its batch
    statistics over all ranks.

    Children are replaced in place; the return value matters where ``module`` is itself a batch norm. Parameters,
    buffers and the keys of ``state_dict`` stay the same. Other subclasses are left alone: whoever wrote one (statistics
    in split halves, say) meant something else than the whole batch. Ours mind the ranks themselves; those of others are
    named on stderr. Call it before DDP or FSDP wraps the module.
    """
    if world_size() == 1:
        return module
    module = _converted(module)
    kinds = {type(layer) for layer in module.modules() if isinstance(layer, _BatchNorm)}
    alone = sorted(kind.__name__ for kind in kinds if not _minds_ranks(kind))
    if alone and is_main():
        said = f"{', '.join(alone)} takes its statistics over each device's part of a batch, not the whole"
        print(f"manyviews: {said}; a net with plain batch norms takes them over all of it", file=sys.stderr)
    return module


def _converted(module: nn.Module) -> nn.Module:
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d) or _fused(module):
        return _synchronised(cast(_BatchNorm, module))
    if isinstance(module, _BatchNorm):
        return module
    for name, child in module.named_children():
        setattr(module, name, _converted(child))
    return module


def _minds_ranks(kind: type) -> bool:
    return issubclass(kind, nn.SyncBatchNorm) or kind.__module__.startswith("manyviews.")


def _fused(module: nn.Module) -> bool:
    """Whether it is timm's batch norm with a dropout and an activation behind it; who has one has imported timm."""
    layers = sys.modules.get("timm.layers")
    return layers is not None and type(module) is layers.BatchNormAct2d


def _synchronised(norm: _BatchNorm) -> _BatchNorm:
    state = [*norm.parameters(), *norm.buffers()]
    on_cpu = not state or state[0].device.type == "cpu"
    kind = SyncBatchNorm if on_cpu else nn.SyncBatchNorm
    twin = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    twin.weight, twin.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(twin, name, buffer)
    for name, child in norm.named_children():
        twin.add_module(name, child)
    if _fused(norm):
        twin.register_forward_hook(_through_children)
    return twin.train(norm.training)


def _through_children(norm: nn.Module, _: Any, x: Tensor) -> Tensor:
    for child in norm.children():  # timm has them in the order in which they are applied
        x = child(x)
    return x


class SyncBatchNorm(_BatchNorm):
    """Batch norm over all ranks, ``[B, C]`` or ``[B, C, ...]``, where torch's refuses to work: on the CPU.

    Running statistics equal those of one process with the whole batch (the variance unbiased by the whole count).
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"Batch norm needs [B, C] or [B, C, ...], but got {input.dim()} dimension(s).")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if (not self.training and self.running_mean is not None) or world_size() == 1:
            return super().forward(input)
        over = [axis for axis in range(input.dim()) if axis != 1]
        column = (1, -1) + (1,) * (input.dim() - 2)
        count = input.numel() // input.shape[1] * world_size()
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        mean = all_reduce_sum_with_grad(x.sum(over)) / count
        centred = x - mean.view(column)
        variance = all_reduce_sum_with_grad(centred.square().sum(over)) / count
        if self.training:
            self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return (centred * scale.view(column)).to(input.dtype)
        out = torch.addcmul(self.bias.view(column), centred, (scale * self.weight).view(column))
        return out.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # Without a momentum, torch's batch norm keeps the plain average of all batches so far.
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


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
    return (
        torch.device("cuda", torch.cuda.current_device())
        if dist.get_backend() == "nccl"
        else torch.device("cpu")
    )
