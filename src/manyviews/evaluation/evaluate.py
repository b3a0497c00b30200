"""One door to all protocols: give what embeds and labelled images, name the protocols, get figures.

Which protocols can run is a question of what there is: labels, two images a class, an encoder that can be trained.
Where one cannot, a sentence says why before anything is computed.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from manyviews import rng
from manyviews.data import ImageSet, split_of
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import (
    Embedder,
    EncoderEmbedder,
    Features,
    device_of,
    embed_all,
    same_randomness,
)
from manyviews.evaluation.finetune import finetune
from manyviews.evaluation.frozen import frozen
from manyviews.evaluation.knn import knn
from manyviews.evaluation.labelfree import labelfree
from manyviews.evaluation.linear import probe_lbfgs, probe_sgd
from manyviews.evaluation.scores import scores
from manyviews.evaluation.verdict import verdict
from manyviews.nets.encoder import judging
from manyviews.views import View, Views

HELD_OUT = 0.2  # share of the labelled images that is held out where there is no test set
LOOKED_AT = 512  # images for the label-free figures: as many as during a run, for the rank depends on it
JITTER = (0.4, 0.4, 0.4, 0.1)  # of the two views that are compared: brightness, contrast, saturation, hue


def evaluate(
    model: Embedder | nn.Module,
    train: ImageSet | None,
    test: ImageSet | None,
    *,
    protocols: Sequence[str] = ("knn",),
    classes: int | None = None,
    size: int | None = None,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run protocols on an embedder or encoder; the figures of each, under its name, ready for JSON.

    Args:
        model: an ``Embedder`` (raw pixels, say), or an encoder, which the protocols that train by images need; an
            ``EncoderEmbedder`` is both.
        train: labelled images to learn from; may be None for "labelfree".
        test: labelled images to judge by; None: a fifth of ``train`` is held out, class by class.
        protocols: of ``PROTOCOLS``.
        classes: how many there are; None: as many as the sets name.
        size: side of the square that a bare encoder sees; None: the side of the images, if they are in memory.
        seed: of whatever is drawn.
        options: by protocol, keyword arguments of the function behind it, e.g. ``{"linear-sgd": {"epochs": 10}}``.

    Raises:
        ManyviewsError: an unknown protocol or option, a protocol that cannot run, sets that do not match.
    """
    options = dict(options or {})
    for name in [*protocols, *options]:
        _known(name)
    for name, chosen in options.items():
        _known_options(name, chosen)
    data = train if train is not None else test
    if data is None:
        raise ManyviewsError("There are no images to evaluate on; give a training set, a test set or both.")
    embedder = _embedder(model, size, data)
    with_labels = [name for name in protocols if PROTOCOLS[name].labels]
    if with_labels:
        train, test = _labelled_sets(train, test, with_labels, seed)
        classes = _classes(train, test, classes)
    for name in protocols:
        if PROTOCOLS[name].encoder and not isinstance(embedder, EncoderEmbedder):
            raise ManyviewsError(
                f'"{name}" trains or augments through the encoder itself, which {type(model).__name__} does not have; '
                'take "knn" or "linear".'
            )
    task = Task(embedder, train, test, classes or 0, seed)
    if not isinstance(embedder, EncoderEmbedder):
        return {name: PROTOCOLS[name].run(task, **options.get(name, {})) for name in protocols}
    with frozen(embedder.encoder):
        return {name: PROTOCOLS[name].run(task, **options.get(name, {})) for name in protocols}


@dataclass(frozen=True)
class Task:
    """What every protocol is given; sets are embedded at most once."""

    embedder: Embedder
    train: ImageSet | None
    test: ImageSet | None
    classes: int
    seed: int

    @cached_property
    def train_features(self) -> Features:
        return _finite(embed_all(self.embedder, _there(self.train)), _there(self.train))

    @cached_property
    def test_features(self) -> Features:
        return _finite(embed_all(self.embedder, _there(self.test)), _there(self.test))

    @property
    def encoder(self) -> nn.Module:
        assert isinstance(self.embedder, EncoderEmbedder)
        return self.embedder.encoder


@dataclass(frozen=True)
class Protocol:
    """How one name is run and what it takes."""

    run: Callable[..., dict[str, Any]]
    behind: Callable[..., Any]  # the function whose keyword arguments are the options
    labels: bool = True
    encoder: bool = False


def _knn(task: Task, **options: Any) -> dict[str, Any]:
    bank, query = task.train_features, task.test_features
    assert bank.labels is not None and query.labels is not None
    votes_MC = knn(bank.h_ND, bank.labels, query.h_ND, classes=task.classes, **options)
    return scores(votes_MC, query.labels, task.classes).as_dict() | {"labels": len(bank)}


def _linear(task: Task, **options: Any) -> dict[str, Any]:
    train, test = task.train_features, task.test_features
    return probe_lbfgs(train, test, classes=task.classes, seed=task.seed, **options).as_dict()


def _trained(train_it: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    settings = {"classes": task.classes, "size": task.embedder.size, "seed": task.seed}
    return train_it(task.encoder, task.train, task.test, **settings, **options).as_dict()


def _labelfree(task: Task) -> dict[str, Any]:
    data = task.test if task.test is not None else _there(task.train)
    order = torch.randperm(len(data), generator=rng.generator(task.seed, "labelfree"))
    some = data.subset(order[:LOOKED_AT])
    some = some if some.pixels is not None else some.resident(2 * task.embedder.size)
    h_ND = embed_all(task.embedder, some).h_ND
    views = (
        [] if not isinstance(task.embedder, EncoderEmbedder) else [_seen(task, some, which) for which in "ab"]
    )
    figures = labelfree(h_ND, *views)
    return figures.as_dict() | verdict([figures], finished=True).as_dict()


def _seen(task: Task, data: ImageSet, which: str) -> Tensor:
    """Embeddings ``[N, D]`` of one random view of each image."""
    assert data.pixels is not None
    views = Views(View(size=task.embedder.size, jitter=JITTER, grey=0.2))
    draws = views.draw(len(data), task.seed, "labelfree", which)
    device = device_of(task.encoder)
    h = []
    with judging(task.encoder), same_randomness(device):
        for start in range(0, len(data), 128):
            stop = min(start + 128, len(data))
            (x_BCHW,) = views(data.pixels[start:stop].to(device), draws.rows(start, stop))
            h.append(task.encoder(x_BCHW).float().cpu())
    return torch.cat(h)


PROTOCOLS = {
    "knn": Protocol(_knn, knn),
    "linear": Protocol(_linear, probe_lbfgs),
    "linear-1%": Protocol(partial(_linear, label_fraction=0.01), probe_lbfgs),
    "linear-10%": Protocol(partial(_linear, label_fraction=0.1), probe_lbfgs),
    "linear-sgd": Protocol(partial(_trained, probe_sgd), probe_sgd, encoder=True),
    "finetune": Protocol(partial(_trained, finetune), finetune, encoder=True),
    "finetune-1%": Protocol(partial(_trained, finetune, label_fraction=0.01), finetune, encoder=True),
    "finetune-10%": Protocol(partial(_trained, finetune, label_fraction=0.1), finetune, encoder=True),
    "labelfree": Protocol(_labelfree, _labelfree, labels=False),
}
"""What may be asked for, by name."""


def _known(name: str) -> None:
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=3, cutoff=0.4)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ManyviewsError(f'There is no protocol "{name}"; {meant}There are {", ".join(PROTOCOLS)}.')


def _known_options(name: str, chosen: Mapping[str, Any]) -> None:
    parameters = inspect.signature(PROTOCOLS[name].behind).parameters.values()
    allowed = [
        p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in ("classes", "size", "seed")
    ]
    for option in chosen:
        if option not in allowed:
            raise ManyviewsError(f'"{name}" has no option "{option}"; it has {", ".join(allowed) or "none"}.')


def _embedder(model: Embedder | nn.Module, size: int | None, data: ImageSet) -> Embedder:
    if not isinstance(model, nn.Module):
        return model
    if size is None and data.pixels is None:
        raise ManyviewsError(
            "The images differ in size, so say at which the encoder looks at them: size=224, say."
        )
    side = size if size is not None else min(_there(data.pixels).shape[-2:])
    return EncoderEmbedder(model, side)


def _labelled_sets(
    train: ImageSet | None, test: ImageSet | None, asked: Sequence[str], seed: int
) -> tuple[ImageSet, ImageSet]:
    """Sets to learn from and to judge by, both with labels of the same classes."""
    names = ", ".join(f'"{name}"' for name in asked)
    for data in (train, test):
        if data is not None and data.labels is None:
            raise ManyviewsError(
                f'{data.name} has no labels, which {names} needs; without labels take "labelfree".'
            )
    if train is None:
        raise ManyviewsError(
            f'{names} needs labelled images to learn from, not only a test set; or take "labelfree".'
        )
    if test is None:
        train, test = split_of(train, HELD_OUT, seed)
    if train.classes is not None and test.classes is not None and train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        what = (
            f"{', '.join(odd[:5])} {'are' if len(odd) > 1 else 'is'} in only one"
            if odd
            else "their order differs"
        )
        raise ManyviewsError(
            f"The classes of {train.name} ({len(train.classes)}) and {test.name} ({len(test.classes)}) differ: {what}; "
            "give two sets with the same classes."
        )
    return train, test


def _classes(train: ImageSet, test: ImageSet, classes: int | None) -> int:
    """How many classes there are; every label lies in [0, classes)."""
    named = train.classes or test.classes
    labels = torch.cat([_there(train.labels).cpu(), _there(test.labels).cpu()])
    count = classes or (len(named) if named else int(labels.max()) + 1)
    if int(labels.min()) < 0 or int(labels.max()) >= count:
        raise ManyviewsError(
            f"Labels of {train.name} and {test.name} run from {int(labels.min())} to {int(labels.max())}, but there are "
            f"{count} classes, numbered from 0; leave out unlabelled images or mend the labels."
        )
    if count < 2 or len(_there(train.labels).unique()) < 2:
        raise ManyviewsError(f"{train.name} has images of only one class, so there is nothing to tell apart.")
    return count


def _finite(features: Features, data: ImageSet) -> Features:
    if not torch.isfinite(features.h_ND).all():
        raise ManyviewsError(
            f"The encoder's embeddings of {data.name} are not finite numbers, so it cannot be judged: its weights are broken."
        )
    return features


T = TypeVar("T")


def _there(value: T | None) -> T:
    assert value is not None
    return value
