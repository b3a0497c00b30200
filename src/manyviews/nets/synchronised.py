"""Batch norm whose statistics are of the whole batch, where each of several ranks has a part of it.

Torch's `nn.SyncBatchNorm` is that on GPUs; here is the same for CPUs, and what puts either into a net that is built.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from manyviews import distributed


def synchronise(module: nn.Module) -> nn.Module:
    """Make every ``BatchNorm1d`` and ``BatchNorm2d`` of ``module``, and timm's ``BatchNormAct2d``, take its batch
    statistics over all ranks.

    Children are replaced in place; the return value matters where ``module`` is itself a batch norm. Parameters,
    buffers and the keys of ``state_dict`` stay the same. Other subclasses are left alone: whoever wrote one (statistics
    in split halves, say) meant something else than the whole batch. Ours mind the ranks themselves; those of others are
    named on stderr. Call it before DDP or FSDP wraps the module.
    """
    if distributed.world_size() == 1:
        return module
    module = _converted(module)
    kinds = {type(layer) for layer in module.modules() if isinstance(layer, _BatchNorm)}
    alone = sorted(kind.__name__ for kind in kinds if not _minds_ranks(kind))
    if alone and distributed.is_main():
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


def _of_all(mean_C: Tensor, variance_C: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over the rows of all ranks, of which each has as many, from those over each one's own: the mean of
    the variances and the variance of the means. One collective, and one backward."""
    own = torch.stack([mean_C, variance_C])[None]
    mean_RC, variance_RC = distributed.gather_with_grad(own).unbind(1)
    mean_C = mean_RC.mean(0)
    return mean_C, (variance_RC + (mean_RC - mean_C).square()).mean(0)


class SyncBatchNorm(_BatchNorm):
    """Batch norm over all ranks, ``[B, C]`` or ``[B, C, ...]``, where torch's refuses to work: on the CPU.

    Running statistics equal those of one process with the whole batch (the variance unbiased by the whole count).
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"Batch norm needs [B, C] or [B, C, ...], but got {input.dim()} dimension(s).")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if (not self.training and self.running_mean is not None) or distributed.world_size() == 1:
            return super().forward(input)
        over = [axis for axis in range(input.dim()) if axis != 1]
        column = (1, -1) + (1,) * (input.dim() - 2)
        count = input.numel() // input.shape[1] * distributed.world_size()
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        mean, variance = _of_all(*reversed(torch.var_mean(x, over, correction=0)))
        if self.training:
            self._remember(mean.detach(), variance.detach() * count / max(count - 1, 1))
        centred = x - mean.view(column)
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
