"""One door to all protocols: give what embeds and labelled images, name the protocols, get figures.

Which protocols can run is a question of what there is: labels, two images a class, an encoder that can be trained.
Where one cannot, a sentence says why before anything is computed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.data.items import CLASSES
from manyviews.errors import Diverged, ManyviewsError, nearest
from manyviews.evaluation.crops import dense, multi_scale, single, ten_crop
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
from manyviews.evaluation.layers import probe_last, probe_layers
from manyviews.evaluation.linear import probe_lbfgs, probe_sgd
from manyviews.evaluation.options import check_options
from manyviews.evaluation.scores import scores
from manyviews.evaluation.scratch import scratch
from manyviews.evaluation.segmentation import segment
from manyviews.evaluation.sets import MARKED, dense_sets, knows, labelled_sets, marked_sets, number_of_classes
from manyviews.evaluation.tokens import span, tag
from manyviews.evaluation.verdict import verdict
from manyviews.nets.classifier import Classifier
from manyviews.nets.encoder import Layered, judging
from manyviews.views import View, Wave, views_of

LOOKED_AT = 512  # images for the label-free figures: as many as during a run, for the rank depends on it
JITTER = (0.4, 0.4, 0.4, 0.1)  # of the two views that are compared: brightness, contrast, saturation, hue
DENSE = (CLASSES,)  # what segmentation reads of every pixel
GAIN = 3.0  # of two views of a sound: decibels


def evaluate(
    model: Embedder | nn.Module,
    train: ItemSet | None,
    test: ItemSet | None,
    *,
    protocols: Sequence[str] = ("knn",),
    classes: int | None = None,
    size: int | None = None,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    classifier: Classifier | None = None,
    show: Callable[[str, Tensor], None] | None = None,
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
        seed: of whatever is drawn, but for the fifth that is held out.
        classifier: what was learned on top of the encoder, for the protocols that judge it as it is; fine-tuning
            begins with it where its classes are those of the sets.
        show: takes what protocols have to show: a title, and pictures uint8 [R, C, 3, S, S].
        options: by protocol, keyword arguments of the function behind it, e.g. ``{"linear-sgd": {"epochs": 10}}``.

    Raises:
        ManyviewsError: an unknown protocol or option, a protocol that cannot run, sets that do not match.
    """
    options = dict(options or {})
    for name in [*protocols, *options]:
        _known(name)
    for name, chosen in options.items():
        if name not in protocols:
            raise ManyviewsError(f'"{name}" has options, and is not among the protocols: add it.')
        check_options(name, PROTOCOLS[name].behind, chosen)
    data = train if train is not None else test
    if data is None:
        raise ManyviewsError("There are no images to evaluate on; give a training set, a test set or both.")
    embedder = _embedder(model, size, data)
    with_labels = [name for name in protocols if PROTOCOLS[name].labels]
    if with_labels:
        train, test = labelled_sets(train, test, with_labels)
        classes = number_of_classes(train, test, classes)
    for senses, sets_with in ((DENSE, dense_sets), (MARKED, marked_sets)):
        if asked := [name for name in protocols if PROTOCOLS[name].senses == senses]:
            train, test = sets_with(train, test, asked)
    if classifier is not None and train is not None and not knows(classifier, train, classes):
        odd, classifier = classifier, None
        if judged := [name for name in protocols if PROTOCOLS[name].classifier]:
            raise ManyviewsError(
                f'"{judged[0]}" judges a classifier of {len(odd.classes)} classes ({", ".join(odd.classes[:3])} ...), which '
                f'are not those of {train.name}; give data of the same classes, or take "finetune".'
            )
    for name in protocols:
        if PROTOCOLS[name].encoder and not isinstance(embedder, EncoderEmbedder):
            raise ManyviewsError(
                f'"{name}" trains or augments through the encoder itself, which {type(model).__name__} does not have; '
                'take "knn" or "linear".'
            )
        if PROTOCOLS[name].layered and not isinstance(getattr(embedder, "encoder", None), Layered):
            raise ManyviewsError(
                f'"{name}" looks into an encoder layer by layer, which only one with a by_layer() allows, such as a '
                'ViT or a net that reads pixels; take "linear".'
            )
        if PROTOCOLS[name].classifier and classifier is None:
            raise ManyviewsError(
                f'"{name}" judges the classifier that a run learned on top of its encoder, and here is none; '
                'take "linear" or "finetune", which learn one.'
            )
    task = Task(embedder, train, test, classes or 0, seed, classifier, show)
    if not isinstance(embedder, EncoderEmbedder):
        return {name: PROTOCOLS[name].run(task, **options.get(name, {})) for name in protocols}
    with frozen(embedder.encoder):
        return {name: PROTOCOLS[name].run(task, **options.get(name, {})) for name in protocols}


@dataclass(frozen=True)
class Task:
    """What every protocol is given; sets are embedded at most once."""

    embedder: Embedder
    train: ItemSet | None
    test: ItemSet | None
    classes: int
    seed: int
    classifier: Classifier | None = None
    show: Callable[[str, Tensor], None] | None = None

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
    senses: tuple[str, ...] = ()  # what it reads of every pixel, or token
    encoder: bool = False
    classifier: bool = False
    layered: bool = False


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


def _finetuned(task: Task, **options: Any) -> dict[str, Any]:
    head = None if task.classifier is None else task.classifier.head
    return _trained(partial(finetune, head=head), task, **options)


def _told(tell: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    how = {"size": task.embedder.size, "seed": task.seed} | options
    return tell(task.encoder, task.train, task.test, **how).as_dict()


def _asked(look: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    head = _there(task.classifier).head
    return look(
        task.encoder, head, task.test, classes=task.classes, size=task.embedder.size, **options
    ).as_dict()


def _segmented(task: Task, **options: Any) -> dict[str, Any]:
    train, test = _there(task.train), _there(task.test)
    done = segment(task.encoder, train, test, size=task.embedder.size, seed=task.seed, **options)
    if task.show is not None:
        how = "linear segmentation" if options.get("frozen") else "segmentation"
        task.show(f"{how} of {test.name.partition('/')[0]} - image, truth, prediction", done.pictures)
    return done.as_dict()


def _labelfree(task: Task) -> dict[str, Any]:
    data = task.test if task.test is not None else _there(task.train)
    order = torch.randperm(len(data), generator=rng.generator(task.seed, "labelfree"))
    some = data.subset(order[:LOOKED_AT])
    some = some if some.values is not None else some.resident(2 * task.embedder.size)
    h_ND = embed_all(task.embedder, some).h_ND
    looks = isinstance(task.embedder, EncoderEmbedder) and data.kind != "texts"
    views = [_seen(task, some, which) for which in "ab"] if looks else []
    figures = labelfree(h_ND, *views)
    return figures.as_dict() | verdict([figures], finished=True).as_dict()


def _seen(task: Task, data: ItemSet, which: str) -> Tensor:
    """Embeddings ``[N, D]`` of one random view of each image."""
    assert data.values is not None
    size = task.embedder.size
    how = Wave(size=size, gain=GAIN) if data.kind == "sounds" else View(size=size, jitter=JITTER, grey=0.2)
    views = views_of(how)
    draws = views.draw(len(data), task.seed, "labelfree", which)
    device = device_of(task.encoder)
    h = []
    with judging(task.encoder), same_randomness(device):
        for start in range(0, len(data), 128):
            stop = min(start + 128, len(data))
            (x_BCHW,) = views(data.values[start:stop].to(device), draws.rows(start, stop))
            h.append(task.encoder(x_BCHW).float().cpu())
    return torch.cat(h)


PROTOCOLS = {
    "knn": Protocol(_knn, knn),
    "linear": Protocol(_linear, probe_lbfgs),
    "linear-1%": Protocol(partial(_linear, label_fraction=0.01), probe_lbfgs),
    "linear-10%": Protocol(partial(_linear, label_fraction=0.1), probe_lbfgs),
    "linear-sgd": Protocol(partial(_trained, probe_sgd), probe_sgd, encoder=True),
    "finetune": Protocol(_finetuned, finetune, encoder=True),
    "finetune-1%": Protocol(partial(_finetuned, label_fraction=0.01), finetune, encoder=True),
    "finetune-10%": Protocol(partial(_finetuned, label_fraction=0.1), finetune, encoder=True),
    "layers": Protocol(partial(_trained, probe_layers), probe_layers, encoder=True, layered=True),
    "last-layers": Protocol(partial(_trained, probe_last), probe_last, encoder=True),
    "tag": Protocol(partial(_told, tag), tag, labels=False, senses=MARKED, encoder=True),
    "span": Protocol(partial(_told, span), span, labels=False, senses=MARKED, encoder=True),
    "scratch": Protocol(partial(_trained, scratch), scratch, encoder=True),
    "single": Protocol(partial(_asked, single), single, encoder=True, classifier=True),
    "ten-crop": Protocol(partial(_asked, ten_crop), ten_crop, encoder=True, classifier=True),
    "dense": Protocol(partial(_asked, dense), dense, encoder=True, classifier=True),
    "multi-scale": Protocol(partial(_asked, multi_scale), multi_scale, encoder=True, classifier=True),
    "segment": Protocol(_segmented, segment, labels=False, senses=DENSE, encoder=True),
    "segment-linear": Protocol(
        partial(_segmented, frozen=True, lr=1e-2), segment, labels=False, senses=DENSE, encoder=True
    ),
    "labelfree": Protocol(_labelfree, _labelfree, labels=False),
}
"""What may be asked for, by name."""


def _known(name: str) -> None:
    if name not in PROTOCOLS:
        hint = nearest(name, PROTOCOLS, f"there are {', '.join(PROTOCOLS)}.")
        raise ManyviewsError(f'There is no protocol "{name}"; {hint}')


def _embedder(model: Embedder | nn.Module, size: int | None, data: ItemSet) -> Embedder:
    if not isinstance(model, nn.Module):
        return model
    if size is None and data.values is None:
        raise ManyviewsError(
            "The images differ in size, so say at which the encoder looks at them: size=224, say."
        )
    side = size if size is not None else min(_there(data.values).shape[2:])
    return EncoderEmbedder(model, side)


def _finite(features: Features, data: ItemSet) -> Features:
    if not torch.isfinite(features.h_ND).all():
        raise Diverged(
            f"The encoder's embeddings of {data.name} are not finite numbers, so it cannot be judged: its weights are broken."
        )
    return features


T = TypeVar("T")


def _there(value: T | None) -> T:
    assert value is not None
    return value
