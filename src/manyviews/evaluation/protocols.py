"""What an encoder can be asked, by name: how each protocol is run, and what it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.data.items import CLASSES
from manyviews.errors import Diverged
from manyviews.evaluation.crops import dense, multi_crop, multi_scale, single, ten_crop
from manyviews.evaluation.features import (
    Embedder,
    EncoderEmbedder,
    Features,
    device_of,
    embed_all,
    same_randomness,
)
from manyviews.evaluation.finetune import finetune
from manyviews.evaluation.knn import knn
from manyviews.evaluation.labelfree import labelfree
from manyviews.evaluation.layers import probe_last, probe_layers
from manyviews.evaluation.linear import probe_lbfgs, probe_sgd
from manyviews.evaluation.scores import scores
from manyviews.evaluation.scratch import scratch
from manyviews.evaluation.segmentation import segment
from manyviews.evaluation.sets import MARKED, SCORED
from manyviews.evaluation.similarity import by_text, similarity
from manyviews.evaluation.tokens import span, tag
from manyviews.evaluation.verdict import verdict
from manyviews.nets.classifier import Classifier
from manyviews.nets.encoder import judging
from manyviews.views import View, Wave, views_of
from manyviews.views.suited import posed

LOOKED_AT = 512  # images for the label-free figures: as many as during a run, for the rank depends on it
JITTER = (0.4, 0.4, 0.4, 0.1)  # of the two views that are compared: brightness, contrast, saturation, hue
DENSE = (CLASSES,)  # what segmentation reads of every pixel
GAIN = 3.0  # of two views of a sound: decibels
COPIES = 4  # of the features that a linear probe holds at once


@dataclass(frozen=True)
class Task:
    """What every protocol is given; sets are embedded at most once."""

    embedder: Embedder
    train: ItemSet | None
    test: ItemSet | None
    classes: int
    seed: int
    seen: dict[str, Features]
    classifier: Classifier | None = None
    show: Callable[[str, Tensor], None] | None = None
    upright: bool = True
    mirror: bool = True

    @property
    def pose(self) -> dict[str, bool]:
        """How what is seen may be posed, for whoever makes views of it."""
        return {"upright": self.upright, "mirror": self.mirror}

    @property
    def train_features(self) -> Features:
        return self._features("train", _there(self.train))

    @property
    def test_features(self) -> Features:
        return self._features("test", _there(self.test))

    def _features(self, which: str, data: ItemSet) -> Features:
        if which not in self.seen:
            self.seen[which] = _finite(embed_all(self.embedder, data), data)
        return self.seen[which]

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
    drawn: bool = True  # another seed may give another figure
    whole: bool = False  # it looks at whole images, as large as they are


def _knn(task: Task, **options: Any) -> dict[str, Any]:
    bank, query = task.train_features, task.test_features
    assert bank.labels is not None and query.labels is not None
    votes_MC = knn(bank.h_ND, bank.labels, query.h_ND, classes=task.classes, **options)
    return scores(votes_MC, query.labels, task.classes).as_dict() | {"labels": len(bank)}


def _linear(task: Task, **options: Any) -> dict[str, Any]:
    train, test = task.train_features, task.test_features
    how: dict[str, Any] = {"device": _room_for(train, task.embedder)} | options
    return probe_lbfgs(train, test, classes=task.classes, seed=task.seed, **how).as_dict()


def _room_for(features: Features, embedder: Embedder) -> torch.device:
    """Where a probe learns from features: beside the encoder, where that is a GPU with room for them and their copies."""
    device = device_of(embedder.encoder) if isinstance(embedder, EncoderEmbedder) else torch.device("cpu")
    if device.type != "cuda" or COPIES * features.h_ND.nbytes > torch.cuda.mem_get_info(device)[0]:
        return torch.device("cpu")
    return device


def _trained(train_it: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    settings = {"classes": task.classes, "size": task.embedder.size, "seed": task.seed}
    return train_it(task.encoder, task.train, task.test, **settings, **options).as_dict()


def _viewed(train_it: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    return _trained(train_it, task, **task.pose | options)


def _finetuned(task: Task, **options: Any) -> dict[str, Any]:
    head = None if task.classifier is None else task.classifier.head
    return _viewed(partial(finetune, head=head), task, **options)


def _told(tell: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    how = {"size": task.embedder.size, "seed": task.seed} | options
    return tell(task.encoder, task.train, task.test, **how).as_dict()


def _asked(look: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    head = _there(task.classifier).head
    return look(
        task.encoder, head, task.test, classes=task.classes, size=task.embedder.size, **options
    ).as_dict()


def _looked(look: Callable[..., Any], task: Task, **options: Any) -> dict[str, Any]:
    return _asked(look, task, **{"mirror": task.mirror} | options)


def _segmented(task: Task, **options: Any) -> dict[str, Any]:
    train, test = _there(task.train), _there(task.test)
    how: dict[str, Any] = {"size": task.embedder.size, "seed": task.seed} | task.pose | options
    done = segment(task.encoder, train, test, **how)
    if task.show is not None:
        what = "linear segmentation" if options.get("frozen") else "segmentation"
        task.show(f"{what} of {test.name.partition('/')[0]} - image, truth, prediction", done.pictures)
    return done.as_dict()


def _similar(task: Task) -> dict[str, Any]:
    data = task.test if task.test is not None else _there(task.train)
    a_ND, b_ND = (embed_all(task.embedder, text).h_ND for text in by_text(data))
    return similarity(a_ND, b_ND, _there(data.pairs).score_N).as_dict()


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
    photo = posed(View(size=size, jitter=JITTER, grey=0.2), **task.pose)
    views = views_of(Wave(size=size, gain=GAIN) if data.kind == "sounds" else photo)
    draws = views.draw(len(data), task.seed, "labelfree", which)
    device = device_of(task.encoder)
    h = []
    with judging(task.encoder), same_randomness(device):
        for start in range(0, len(data), 128):
            stop = min(start + 128, len(data))
            (x_BCHW,) = views(data.values[start:stop].to(device), draws.rows(start, stop))
            h.append(task.encoder(x_BCHW).float().cpu())
    return torch.cat(h)


JUDGED: dict[str, Any] = {"encoder": True, "classifier": True, "drawn": False}  # a classifier as it is
PROTOCOLS = {
    "knn": Protocol(_knn, knn, drawn=False),
    "linear": Protocol(_linear, probe_lbfgs),
    "linear-1%": Protocol(partial(_linear, label_fraction=0.01), probe_lbfgs),
    "linear-10%": Protocol(partial(_linear, label_fraction=0.1), probe_lbfgs),
    "linear-sgd": Protocol(partial(_viewed, probe_sgd), probe_sgd, encoder=True),
    "finetune": Protocol(_finetuned, finetune, encoder=True),
    "finetune-1%": Protocol(partial(_finetuned, label_fraction=0.01), finetune, encoder=True),
    "finetune-10%": Protocol(partial(_finetuned, label_fraction=0.1), finetune, encoder=True),
    "layers": Protocol(partial(_trained, probe_layers), probe_layers, encoder=True, layered=True),
    "last-layers": Protocol(partial(_trained, probe_last), probe_last, encoder=True),
    "tag": Protocol(partial(_told, tag), tag, labels=False, senses=MARKED, encoder=True),
    "span": Protocol(partial(_told, span), span, labels=False, senses=MARKED, encoder=True),
    "sts": Protocol(_similar, _similar, labels=False, senses=SCORED, drawn=False),
    "scratch": Protocol(partial(_viewed, scratch), scratch, encoder=True),
    "single": Protocol(partial(_asked, single), single, **JUDGED),
    "ten-crop": Protocol(partial(_looked, ten_crop), ten_crop, **JUDGED),
    "multi-crop": Protocol(partial(_looked, multi_crop), multi_crop, whole=True, **JUDGED),
    "dense": Protocol(partial(_looked, dense), dense, whole=True, **JUDGED),
    "multi-scale": Protocol(partial(_looked, multi_scale), multi_scale, whole=True, **JUDGED),
    "segment": Protocol(_segmented, segment, labels=False, senses=DENSE, encoder=True),
    "segment-linear": Protocol(
        partial(_segmented, frozen=True, lr=1e-2), segment, labels=False, senses=DENSE, encoder=True
    ),
    "labelfree": Protocol(_labelfree, _labelfree, labels=False),
}
"""What may be asked for, by name."""


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
