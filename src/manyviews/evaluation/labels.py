"""Choosing some of the labels: fairly between classes, and as a function of the seed alone."""

import torch
from torch import Tensor

from manyviews import rng
from manyviews.errors import ManyviewsError


def label_subset(labels_N: Tensor, fraction: float, seed: int) -> Tensor:
    """Which items keep their labels when only a share of labels is given: sorted places, int64.

    Every class gives ``round(fraction * its size)`` items, and at least one: the class-balanced subsets of
    the few-label protocol (Chen et al. 2020, SimCLR, section 6). Smaller subsets of a seed lie within larger
    ones, so that 1% and 10% differ by what was added, not by what was drawn.

    Raises:
        ManyviewsError: the fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ManyviewsError(f"The fraction of labels must lie in (0, 1], not {fraction}.")
    turn_N, size_N = turns(labels_N, seed)
    return (turn_N < (fraction * size_N).round().clamp(min=1)).nonzero().squeeze(1)


def folds(labels_N: Tensor, k: int, seed: int) -> Tensor:
    """A fold in [0, k) for every item, each class spread evenly over the folds: int64 [N]."""
    return (turns(labels_N, seed)[0] + labels_N) % k  # + label: small classes do not all begin in fold 0


def turns(labels_N: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Each item's place in a shuffled queue of its class (int64 [N]), and the size of that class (int64 [N])."""
    shuffled_N = torch.randperm(len(labels_N), generator=rng.generator(seed, "labels"))
    by_class_N = shuffled_N[labels_N[shuffled_N].argsort(stable=True)]
    counts_C = labels_N.bincount()
    first_C = counts_C.cumsum(0) - counts_C
    turn_N = torch.empty_like(labels_N)
    turn_N[by_class_N] = torch.arange(len(labels_N)) - first_C[labels_N[by_class_N]]
    return turn_N, counts_C[labels_N]
