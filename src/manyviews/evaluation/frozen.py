"""Probes judge an encoder; they must not change it. Here that is checked, not promised."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from manyviews.nets.encoder import judging


class NotFrozen(RuntimeError):
    """An encoder that was to be judged came out changed: the figure would not be that encoder's."""


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; proves that parameters and buffers are bit-equal afterwards.

    Every submodule is put back into the mode in which it was found. Costs two passes of a hash over the weights.

    Raises:
        NotFrozen: naming the tensors that changed.
    """
    before = digests(module)
    with judging(module):
        yield
    after = digests(module)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise NotFrozen(f"The encoder changed while it was judged ({shown}); the figure is not valid.")


def digests(module: nn.Module) -> dict[str, str]:
    """A BLAKE2 digest of every parameter and buffer (batch statistics among them), by name."""
    return {name: _digest(tensor) for name, tensor in [*module.named_parameters(), *module.named_buffers()]}


def _digest(tensor: Tensor) -> str:
    flat = (
        tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    )  # bytes: NaN equals itself, -0.0 is not 0.0
    head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.blake2b(head + flat.numpy().tobytes(), digest_size=16).hexdigest()
