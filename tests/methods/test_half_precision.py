"""Under autocast, what a small temperature divides and what must not tie is computed in full precision all the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from manyviews.method import Spec, find
from manyviews.methods.contrastive.invaspread import spreading
from manyviews.nets.heads import Prototypes
from manyviews.objectives import nearest
from manyviews.rng import generator
from manyviews.runs import net_factory
from shrink import shrunk

ROWS, DIM, SIZE = 64, 16, 16


def built(name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = replace(shrunk(find(name).config()), **settings)
    return find(name).method(config, net_factory("cifar_resnet8", SIZE), Spec(items=ROWS, size=SIZE))


def rows(*shape: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=generator("half", *shape)), dim=-1)


def scores_of_swav() -> Callable[[], Tensor]:
    swav = built("swav", dim=DIM)
    return lambda: swav.scores(rows(ROWS, DIM))


def counterparts_of_densecl() -> Callable[[], Tensor]:
    densecl, maps = built("densecl"), rows(2, ROWS, DIM)
    return lambda: densecl.counterparts(maps, maps.flip(0), maps, maps)


def cosines_with_prototypes() -> Callable[[], Tensor]:
    torch.manual_seed(0)
    head = Prototypes(DIM, 12)
    return lambda: head(rows(ROWS, DIM))


@pytest.mark.parametrize(
    "made",
    [
        scores_of_swav,
        counterparts_of_densecl,
        cosines_with_prototypes,
        lambda: lambda: nearest(rows(10 * ROWS, DIM)),
        lambda: lambda: spreading(rows(ROWS, DIM), 0.05),
    ],
    ids=["SwAV's scores", "DenseCL's counterparts", "prototypes", "neighbours", "InvaSpread's spreading"],
)
def test_half_precision_changes_nothing(made: Callable[[], Callable[[], Tensor]]) -> None:
    compute = made()
    whole = compute()
    with torch.autocast("cpu", torch.bfloat16):
        half = compute()
    assert half.dtype == whole.dtype and torch.equal(half, whole)
