"""How evaluators that train go down their loss: rates that decay with depth, schedules of their own.

Papers   Layer-wise decay of the learning rate: ELECTRA (arXiv:2003.10555, appendix), used for images by BEiT
         (arXiv:2106.08254) and MAE (arXiv:2111.06377, appendix A.1).
Differs  A ViT's last norm learns with its last block; in BEiT's and MAE's code with the head.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation.schedules import Schedule, share_of_peak
from manyviews.nets.split import Split


def descend(
    optimise: torch.optim.Optimizer,
    loss: Tensor,
    step: int,
    total: int,
    schedule: Schedule,
    warmup: float,
    what: str,
    clip: float = 0.0,
) -> None:
    """Step ``step`` of ``total`` down the loss, each of the ``parameter_groups`` at its share of its own peak rate; with
    ``clip`` the norm of all gradients together is at most that.

    Raises:
        Diverged: the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise Diverged(f"{what} diverged at step {step}: its loss is {loss.item()}; lower the learning rate.")
    for group in optimise.param_groups:
        group["lr"] = group["peak"] * share_of_peak((step + 1) / (total + 1), schedule, warmup)
    optimise.zero_grad()
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_([p for group in optimise.param_groups for p in group["params"]], clip)
    optimise.step()


def parameter_groups(
    encoder: nn.Module, head: nn.Module, lr: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimiser groups with their peak rate: ``lr * layer_decay ** depth``, where the head has depth 0.

    Raises:
        ManyviewsError: a rate that cannot be.
    """
    if lr <= 0 or layer_decay < 0:
        raise ManyviewsError(
            f"A learning rate is positive and its layer_decay not negative, but they are {lr} and {layer_decay}."
        )
    groups = []
    for depth, parameters in enumerate([list(head.parameters()), *reversed(layers(encoder))]):
        peak = lr * layer_decay**depth
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            if chosen:
                decay = weight_decay if decays else 0.0
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    return groups


def layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """The encoder's parameters by depth, from the image up; every parameter once.

    An encoder may say so itself, by ``layers() -> Sequence[nn.Module]``. Otherwise its children are taken in the order
    in which they are defined: a stack of blocks (a ResNet's stage, a transformer's blocks) is a layer a block, neighbours
    that are single operations (a stem's convolution and norm) are one layer together. What belongs to no module that
    was named (a class token, position embeddings) learns with the first layer.
    """
    if isinstance(encoder, Split):
        # Two nets side by side, none above the other; what stands before both learns with their first layers.
        found = [a + b for a, b in zip(layers(encoder.light), layers(encoder.colour), strict=True)]
        known = {id(p) for layer in found for p in layer}
        return [[p for p in encoder.parameters() if id(p) not in known] + found[0], *found[1:]]
    own = getattr(encoder, "layers", None)
    if callable(own) and not isinstance(own, nn.Module):
        modules = [[module] for module in cast(Callable[[], Sequence[nn.Module]], own)()]
    else:
        modules = list(_stacked(encoder))
    seen: set[int] = set()
    found = []
    for together in modules:
        new = [p for module in together for p in module.parameters() if id(p) not in seen]
        new = list({id(p): p for p in new}.values())
        seen.update(map(id, new))
        if new:
            found.append(new)
    rest = [p for p in encoder.parameters() if id(p) not in seen]
    if not found:
        return [rest] if rest else []
    return [rest + found[0], *found[1:]]


def _stacked(encoder: nn.Module) -> Iterator[list[nn.Module]]:
    children = _with_parameters(encoder)
    while len(children) == 1 and _with_parameters(children[0]):  # a wrapper around the network proper
        children = _with_parameters(children[0])
    operations: list[nn.Module] = []
    for child in children:
        if not _with_parameters(child):
            operations.append(child)
            continue
        if operations:
            yield operations
            operations = []
        parts = _with_parameters(child)
        is_stack = isinstance(child, nn.Sequential | nn.ModuleList) and any(
            _with_parameters(part) for part in parts
        )
        yield from [[part] for part in parts] if is_stack else [[child]]
    if operations:
        yield operations


def _with_parameters(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if any(True for _ in child.parameters())]
