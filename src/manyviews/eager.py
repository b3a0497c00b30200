"""Optimisers that step without torch's compiler.

`torch.optim` wraps a few methods for those who compile them, and the first call of any imports the compiler, which takes
about as long as torch itself. Nothing here compiles an optimiser.
"""

import inspect
from functools import cache
from typing import Any, TypeVar, cast

import torch

K = TypeVar("K", bound=torch.optim.Optimizer)
WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict", "step")


def eager(kind: type[K]) -> type[K]:
    """The optimiser with the same arithmetic, bit for bit; what it keeps loads into ``kind`` and the other way round."""
    return cast(type[K], _bare(kind))


@cache
def _bare(kind: type) -> type:
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)
