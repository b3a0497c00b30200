"""What a method remembers between steps: a queue of past keys, a bank with a row for every item, and a twin that follows
the network slowly.

Shapes   B keys of a batch, K keys in the queue, N items of the data set, D embedding.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.rng import generator


class Twin(nn.Module):
    """A frozen copy of a network that follows it as a moving average: MoCo's key encoder (He et al., CVPR 2020, eq. 2),
    BYOL's target (Grill et al., NeurIPS 2020, eq. 1).

    Equal to ``online`` when it is made. Calling it gives no gradient, and its parameters ask for none. Only parameters
    are averaged: in train mode the twin's batch norms normalise by its own batch and keep their own running statistics,
    as in both papers' code.
    """

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(online).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.module(*inputs, **named)

    @torch.no_grad()
    def shuffled(self, x: Tensor) -> Any:
        """What it makes of ``x`` ``[B, ...]`` where the rows of all ranks go through it in another order, and come back in
        their own: query and key then share no batch statistics (He et al., CVPR 2020, section 3.3).

        The network gives a tensor of B rows, or several.
        """
        everyone = distributed.gather(x)
        order = distributed.broadcast_(torch.randperm(len(everyone), device=x.device))
        mine = distributed.local_rows(len(everyone))
        back = order.argsort()[mine]
        out = self.module(everyone[order[mine]])
        if isinstance(out, Tensor):
            return distributed.gather(out)[back]
        return [distributed.gather(part)[back] for part in out]

    @torch.no_grad()
    def follow(self, online: nn.Module, momentum: float) -> None:
        """Set every parameter to ``momentum * own + (1 - momentum) * online's``; ``momentum`` in [0, 1].

        Raises ``ManyviewsError`` where ``online`` has other parameters than the network that the twin was copied from.
        """
        own: list[Tensor] = list(self.module.parameters())
        others: list[Tensor] = list(online.parameters())
        if [p.shape for p in own] != [p.shape for p in others]:
            raise ManyviewsError(
                "A twin can only follow the network that it was copied from: their parameters differ."
            )
        torch._foreach_lerp_(own, others, 1.0 - momentum)  # pyright: ignore[reportPrivateImportUsage]


class Queue(nn.Module):
    """The last K keys, first in, first out: MoCo's dictionary (He et al., CVPR 2020, section 3.2).

    Starts full of random unit rows, the same on every rank and in every run. Its state are buffers, so checkpoints
    carry it and ``.to(device)`` moves it.
    """

    keys_KD: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ManyviewsError(
                f"A queue needs room for at least one key of one dimension, not size={size}, dim={dim}."
            )
        keys = torch.randn(size, dim, generator=generator("queue", size, dim))
        self.register_buffer("keys_KD", F.normalize(keys, dim=1))
        self.register_buffer(
            "pointer", torch.zeros((), dtype=torch.int64)
        )  # the oldest row: next to be replaced

    def __len__(self) -> int:
        return self.keys_KD.shape[0]

    @torch.no_grad()
    def push(self, keys_BD: Tensor) -> None:
        """Replace the oldest rows by this step's keys, unit rows ``[B, D]``; of more than K keys the last K stay.

        Across ranks the keys of all are pushed in rank order, so every rank holds the same queue. Call it after the
        backward pass of the loss that read the queue.
        """
        keys = distributed.gather(keys_BD).to(self.keys_KD.dtype)
        pushed, room = keys.shape[0], len(self)
        # Positions stay on the device: reading the pointer would make the host wait for it at every step.
        rows = (self.pointer + torch.arange(pushed, device=keys.device)) % room
        self.keys_KD[rows[-room:]] = keys[-room:]
        self.pointer.copy_((self.pointer + pushed) % room)


class Bank(nn.Module):
    """One row for every item of the data set: InstDisc's memory (Wu et al., CVPR 2018, section 3.1).

    Starts as the authors' code does, uniform in +-sqrt(3 / D) and so of about unit length, the same on every rank and
    in every run. Its state is a buffer, so checkpoints carry it and ``.to(device)`` moves it.
    """

    rows_ND: Tensor
    seen_N: Tensor  # whether `update` has set a row already, which was drawn before

    def __init__(self, items: int, dim: int, name: str = "bank") -> None:
        super().__init__()
        if items < 1 or dim < 1:
            raise ManyviewsError(
                f"A bank needs at least one item of one dimension, not items={items}, dim={dim}."
            )
        unit_ND = torch.rand(items, dim, generator=generator(name, items, dim))
        self.register_buffer("rows_ND", (2 * unit_ND - 1) * math.sqrt(3 / dim))
        self.register_buffer("seen_N", torch.zeros(items, dtype=torch.bool))

    def __len__(self) -> int:
        return self.rows_ND.shape[0]

    def noise(self, rows: int, count: int) -> Tensor:
        """For each of this rank's ``rows`` queries ``count`` items, drawn uniformly with replacement: ``[rows, count]``.

        From torch's global generator, by rank 0 for all, so R ranks are given what one process would be.
        """
        every = rows * distributed.world_size()
        drawn = torch.randint(len(self), (every, count), device=self.rows_ND.device)
        return distributed.rows_from_main(drawn)

    @torch.no_grad()
    def update(self, index_B: Tensor, v_BD: Tensor, momentum: float) -> None:
        """Set row i to the unit vector along ``momentum * own + (1 - momentum) * v_i``, for the items of all ranks.

        Call it after the backward pass of the loss that read the bank. ``index_B`` may be on the CPU.
        """
        device = self.rows_ND.device
        index, v = distributed.gather(index_B.to(device)), distributed.gather(v_BD).to(self.rows_ND.dtype)
        self.rows_ND[index] = F.normalize(torch.lerp(v, self.rows_ND[index], momentum), dim=1)
        self.seen_N[index] = True


UNKNOWN = 1e38  # a number that no estimate is; finite, as all that a checkpoint holds has to be


class Once(nn.Module):
    """A number that is estimated at the first step and stays: InstDisc's normalising constant (Wu et al., CVPR 2018, eq. 8).

    Its state is a buffer, so a resumed run keeps the estimate.
    """

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.tensor(UNKNOWN))
        self.known = False  # asked of the device once only: every answer makes the host wait

    @torch.no_grad()
    def forward(self, estimate: Callable[[], Tensor]) -> Tensor:
        """The number, from ``estimate()`` where there is none yet; a scalar."""
        if not self.known and bool(self.value >= UNKNOWN / 2):
            self.value.copy_(estimate())
        self.known = True
        return self.value


def cosine_momentum(base: float, progress: float) -> float:
    """BYOL's schedule for the twin (section 3.2): from ``base`` at progress 0 to 1 at progress 1, along a cosine.

    A ``base`` of 0, with which the twin is the net itself, stays 0 (BYOL, table 5a).
    """
    if base == 0:
        return 0.0
    return 1.0 - (1.0 - base) * (math.cos(math.pi * progress) + 1.0) / 2.0
