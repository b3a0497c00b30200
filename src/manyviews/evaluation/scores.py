"""What a classifier got right, as plain data."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from manyviews.errors import Diverged, ManyviewsError

MOST = 256  # classes of which each is counted against each: the counts grow with their square


@dataclass(frozen=True)
class Scores:
    """Figures of a classifier on a test set. Accuracies are shares in [0, 1]."""

    n: int  # images judged
    top1: float
    top5: float | None  # None where there are five classes or fewer: it would always be 1
    per_class: tuple[float | None, ...]  # accuracy of each class; None for a class that the test set lacks
    confusion: tuple[tuple[int, ...], ...] | None  # counts, [true class][said]; None beyond MOST classes

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def scores(logits_NC: Tensor, labels_N: Tensor, classes: int) -> Scores:
    """Judge logits, probabilities or votes ``[N, C]`` against labels ``[N]`` in [0, C).

    Raises:
        ManyviewsError: no images.
        Diverged: scores that are not finite.
    """
    if len(labels_N) == 0:
        raise ManyviewsError("There are no labelled test images, so no accuracy can be given.")
    if not torch.isfinite(logits_NC).all():
        raise Diverged("The classifier's outputs are not finite numbers; a smaller learning rate may help.")
    logits_NC, labels_N = logits_NC.cpu(), labels_N.cpu()
    said_N = logits_NC.argmax(1)
    told = (labels_N[said_N == labels_N], labels_N)
    hits_C, counts_C = (torch.bincount(some, minlength=classes).tolist() for some in told)
    top5 = None
    if classes > 5:
        among_N = (logits_NC.topk(5, dim=1).indices == labels_N[:, None]).any(1)
        least_N, most_N = logits_NC.aminmax(dim=1)
        # Where few classes have votes the others tie, and which of them are among the five is not defined.
        told_N = (logits_NC.gather(1, labels_N[:, None])[:, 0] > least_N) | (least_N == most_N)
        top5 = (among_N & told_N).double().mean().item()
    return Scores(
        n=len(labels_N),
        top1=sum(hits_C) / len(labels_N),
        top5=top5,
        per_class=tuple(hit / count if count else None for hit, count in zip(hits_C, counts_C, strict=True)),
        confusion=_confusion(labels_N, said_N, classes) if classes <= MOST else None,
    )


def _confusion(labels_N: Tensor, said_N: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
    counts_CC = torch.bincount(labels_N * classes + said_N, minlength=classes**2).reshape(classes, classes)
    return tuple(tuple(row) for row in counts_CC.tolist())


@dataclass(frozen=True)
class MeanStd:
    """The mean of several seeds' figures and how far they lie apart."""

    mean: float
    std: float | None  # of the sample (n - 1 in the denominator); None for a single seed
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.std is None else f"{self.mean:.4f} ± {self.std:.4f} (n={self.n})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def mean_std(figures: Sequence[float]) -> MeanStd:
    """Mean and sample standard deviation of one figure over seeds.

    Raises:
        ValueError: no figures.
    """
    if not figures:
        raise ValueError("There are no figures to take the mean of.")
    n, mean = len(figures), math.fsum(figures) / len(figures)
    std = math.sqrt(math.fsum((figure - mean) ** 2 for figure in figures) / (n - 1)) if n > 1 else None
    return MeanStd(mean, std, n)
