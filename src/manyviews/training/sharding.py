"""Parameters on several devices: whole on each (DDP), or split among them with gradients and optimiser state (FSDP2).

Whatever leaves a sharded run is whole: its checkpoints are those of an unsharded one, so that a run may go on with
other devices, or with none to share with.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from manyviews import distributed
from manyviews.method import Method


def replicate(compute: nn.Module, device: torch.device) -> nn.Module:
    """The same parameters on all devices, where gradients are averaged. Buffers are the same too and stay as they are, for what
    changes one changes it alike on all of them; newer torch sends round those of the first device here, older does not."""
    ddp = nn.parallel.DistributedDataParallel
    new = "forward_sync_buffers" in inspect.signature(ddp.__init__).parameters  # since torch 2.13
    buffers: dict[str, Any] = {"forward_sync_buffers" if new else "broadcast_buffers": False}
    return ddp(compute, device_ids=[device.index] if device.type == "cuda" else None, **buffers)


def shard(compute: nn.Module) -> nn.Module:
    """Split the parameters of `compute` in place: each block of a stack by itself, then what is left over.

    A block's weights are put together when it is reached and let go behind it, forward and backward.
    """
    from torch.distributed.fsdp import fully_shard  # half a second, which only sharded runs should pay

    for module in compute.modules():
        # cuDNN's own copy of the weights would stay that of the first step.
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters = lambda: None
    _shard_blocks(compute)
    fully_shard(compute)
    return compute


def _shard_blocks(module: nn.Module) -> None:
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if getattr(module, "fused", False):  # its layers are never reached by themselves
        return
    for child in module.children():  # what lies inside comes before what lies around it
        _shard_blocks(child)
    if not isinstance(module, nn.ModuleList | nn.Sequential):
        return
    for block in module:
        simple = not any(True for _ in block.children()) or not any(True for _ in block.parameters())
        if not (simple or isinstance(block, FSDPModule)):
            fully_shard(block)


def whole(tree: Any, sharded: bool) -> Any:
    """The same nested containers with every split tensor put together, on the CPU, one after another, for all of them are more
    than a device may have room for; every rank has to ask, and each gets all."""
    if not sharded:
        return tree
    from torch.utils._pytree import tree_map_only

    return tree_map_only(Tensor, lambda x: distributed.whole(x).cpu(), tree)


def hollow(method: Method) -> Method:
    """A copy of a method that is not split yet, in which parameters have a shape and no numbers: what ``filled`` fills."""
    shared = {id(x): x for x in (*method.buffers(), method.spec)}
    return copy.deepcopy(method, shared | {id(w): _without_numbers(w) for w in method.parameters()})


def _without_numbers(w: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(w, device="meta"), w.requires_grad)


def filled(shell: Method, method: Method) -> Method:
    """The method, which is split by now, in one piece: a new copy of its ``hollow`` shell; every rank has to ask.

    The numbers live as long as the copy. Only parameters are split, so the buffers, those that no state dict has too, are
    not copied: both use the same.
    """
    split, buffers = method.state_dict(), dict(method.named_buffers())
    tensors = {id(x): buffers[name] for name, x in shell.named_buffers()}
    for name, w in shell.named_parameters():  # one that stands in two places comes once
        tensors[id(w)] = nn.Parameter(distributed.whole(split[name]), w.requires_grad)
    return copy.deepcopy(shell, {id(shell.spec): shell.spec} | tensors)


def restore(module: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give both, which may be split, what a checkpoint holds."""
    load(module, state["method"])
    load_optimiser(optimiser, state["optimiser"])


def load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module that may be split the tensors of a whole state dict.

    Raises `KeyError` for a state dict of another module.
    """
    for name, own in module.state_dict().items():
        distributed.overwrite_(own, state[name])


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser over parameters that may be split the state of one over whole ones."""
    parameters = [w for group in optimiser.param_groups for w in group["params"]]
    split = {
        number: {
            name: distributed.split_like(parameters[number], value)
            if isinstance(value, Tensor) and value.shape == parameters[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": split})
