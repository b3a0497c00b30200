"""A batch in pieces, where memory is short: cut before the loss, and one record of the step after it."""

from typing import Any

import torch

from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Out


def pieces(batch: Batch, count: int) -> list[Batch]:
    """The batch in ``count`` equal runs of rows."""
    if count == 1:
        return [batch]
    rows = len(batch.index)
    if rows % count:
        raise ManyviewsError(
            f"A batch of {rows} does not split into {count} pieces; choose an --accumulate that divides it"
        )
    return [_part(batch, slice(start, start + rows // count)) for start in range(0, rows, rows // count)]


def _part(batch: Batch, rows: slice) -> Batch:
    return Batch(
        [view[rows] for view in batch.views],
        batch.index[rows],
        None if batch.label is None else batch.label[rows],
        {name: [view[rows] for view in views] for name, views in batch.senses.items()},
    )


def merged(outs: list[Out]) -> Out:
    """One record of a step from those of its pieces: mean loss, carried and watched rows in order."""
    if len(outs) == 1:
        return outs[0]
    carry = _joined([out.carry for out in outs])
    log = {name: torch.stack([out.log[name] for out in outs]).mean() for name in outs[0].log}
    z = _joined([out.z for out in outs])
    return Out(torch.stack([out.loss.detach() for out in outs]).mean(), log, carry, z)


def _joined(carried: list[Any]) -> Any:
    """What all pieces have, rows in order: of each tensor, where there are several."""
    if carried[0] is None:
        return None
    if isinstance(carried[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*carried, strict=True))
    return torch.cat(carried)
