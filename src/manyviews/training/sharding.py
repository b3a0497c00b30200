"""Weights, gradients and optimiser state split among devices (torch's FSDP2), and put together again.

Whatever leaves a sharded run is whole: its checkpoints are those of an unsharded one, so that a run may go on with
other devices, or with none to share with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def shard(compute: nn.Module) -> nn.Module:
    """Split the parameters of `compute` in place: each block of a stack by itself, then what is left over.

    A block's weights are put together when it is reached and let go behind it, forward and backward.
    """
    from torch.distributed.fsdp import fully_shard  # half a second, which only sharded runs should pay

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
    """The same nested containers with every split tensor put together; every rank has to ask, and each gets all."""
    if not sharded:
        return tree
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map_only

    return tree_map_only(DTensor, lambda split: split.full_tensor(), tree)


def restore(module: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give both, which may be split, what a checkpoint holds."""
    load(module, state["method"])
    load_optimiser(optimiser, state["optimiser"])


@torch.no_grad()
def load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module that may be split the tensors of a whole state dict.

    Raises `KeyError` for a state dict of another module.
    """
    for name, own in module.state_dict(keep_vars=True).items():
        own.data.copy_(_like(state[name], own))


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give an optimiser over parameters that may be split the state of one over whole ones."""
    parameters = [w for group in optimiser.param_groups for w in group["params"]]
    split = {
        number: {
            name: _like(value, parameters[number])
            if isinstance(value, Tensor) and value.shape == parameters[number].shape
            else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": split})


def _like(tensor: Tensor, own: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)
