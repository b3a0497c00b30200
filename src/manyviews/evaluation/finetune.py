"""Fine-tuning: the whole network learns the labels, starting from the encoder. The encoder itself stays as it was.

Papers   Layer-wise decay of the learning rate: ELECTRA (arXiv:2003.10555, appendix A.1 and B), used for images by
         BEiT (arXiv:2106.08254) and MAE (arXiv:2111.06377, appendix A.1). Few labels: SimCLR
         (arXiv:2002.05709, section 4.3). A language beside the task: GPT-1 (Radford et al. 2018, section 3.2).
Shapes   B images, C classes.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.eager import eager
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation.batches import Plan, augmented, labelled_part, usual_batch, usual_view
from manyviews.evaluation.features import EncoderEmbedder, device_of, embed_all, same_randomness
from manyviews.evaluation.frozen import frozen
from manyviews.evaluation.linear import linear_head
from manyviews.evaluation.schedules import Schedule, share_of_peak
from manyviews.evaluation.scores import Scores, scores
from manyviews.evaluation.transformations import Embeds, Told
from manyviews.nets.encoder import Generative, Midway
from manyviews.nets.reader import Reader, by_first_token
from manyviews.nets.split import Split
from manyviews.views import Text, View, Wave, nothing

Embedding = Literal["pooled", Embeds]


@dataclass(frozen=True)
class FineTuned:
    """A classifier grown from an encoder, and its figures after the last epoch."""

    scores: Scores
    labels: int  # labelled images that it learned from
    loss: float  # of the last step
    history: tuple[float, ...]  # test top-1 after each epoch where ``watch`` asked for it
    classifier: nn.Sequential  # (encoder, head): normalised images -> logits
    items: int  # images that it saw while learning
    seconds: float  # of learning
    kept_head: bool  # it began with the head of a classifier that knew the same classes

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the scores' figures, and these beside them; without the network."""
        own = {name: getattr(self, name) for name in ("labels", "loss", "history", "items", "kept_head")}
        return self.scores.as_dict() | own


def finetune(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    epochs: int = 30,
    lr: float = 1e-3,
    optimiser: Literal["adamw", "sgd"] = "adamw",
    weight_decay: float = 0.05,
    layer_decay: float = 1.0,
    schedule: Schedule = "cosine",
    warmup: float = 0.05,
    batch: int | None = None,
    label_fraction: float = 1.0,
    view: View | Wave | Text | None = None,
    upright: bool = True,
    embedding: Embedding = "mean",
    watch: bool = False,
    joint: float = 0.0,
    dropout: float = 0.0,
    head: nn.Linear | None = None,
    seed: int = 0,
) -> FineTuned:
    """Train a copy of the encoder and a linear head on labels; from scratch is the same with a fresh encoder.

    The figures are the last epoch's. What is drawn (order, views, dropout) is a function of the seed and the step.

    Args:
        size: side of the square that the encoder sees, in pixels.
        lr: peak learning rate of the head, for this batch.
        layer_decay: each layer below the head learns at this share of the rate of the one above.
        weight_decay: of matrices and kernels; biases and norms have none.
        warmup: share of the steps over which the rate rises.
        batch: images a step; None: 256, or an eighth of what there is where that is less, and at least 8.
        view: how training images are seen; None: random resized crop of 8% to 100% and flip.
        upright: False: images have no up and down, and the usual view is also turned by 0 to 3 quarters.
        embedding: of texts, what the head reads: the mean over the tokens, or "pooled", what [CLS] makes of all of them;
            of a net that tells the next token also its "last" state, or that of the token that GPT-1 puts there:
            "extract", "similarity" (two texts in both orders) or "choice" (a text and two answers); see `Told`.
        watch: also judge after each epoch, for a curve; costs a pass over the test set each.
        joint: weight of the encoder's own loss on the same items beside that of the labels, of an encoder that has one:
            lambda of GPT-1, eq. 5, there 0.5 (iGPT, section 2.3).
        dropout: of what the head reads (GPT-1, section 4.1: 0.1).
        head: of a classifier of the same classes, which the new one begins as; None: a random one.

    Raises:
        ManyviewsError: a rate that cannot be, a joint loss that the encoder does not have, or a loss that is not finite.
    """
    if test.labels is None:
        raise ManyviewsError("Fine-tuning is judged on labels; the test set has none.")
    if joint < 0 or (joint and not isinstance(encoder, Generative | Reader)):
        raise ManyviewsError(
            f"joint is {joint}: it weighs, by 0 or more, a loss of the encoder's own, which only one that generates has "
            f"(with_loss()), and this is {type(encoder).__name__}; leave it at 0."
        )
    if not 0 <= dropout < 1:
        raise ManyviewsError(f"dropout is {dropout}; it is at least 0 and below 1.")
    if embedding == "choice" and classes != 2:
        raise ManyviewsError(
            f'"choice" is between the two answers of an item, and {train.name} has {classes} classes.'
        )
    train = labelled_part(train, label_fraction, seed)
    device = device_of(encoder)
    with frozen(encoder), torch.enable_grad():
        network = copy.deepcopy(encoder).requires_grad_()
        if isinstance(network, Midway):
            network.embed_at(None)  # it learns as a whole (iGPT, section 2.3)
        if embedding == "pooled":
            by_first_token(network)
        if embedding not in ("mean", "pooled") or (joint and isinstance(network, Reader)):
            network = Told(network, cast(Embeds, embedding), train.tokeniser, seed)
        width = network.width if isinstance(network, Told) else _width(network, train, size)
        outputs = 1 if embedding == "choice" else classes  # a score for each answer by itself
        own = linear_head(width, outputs, seed) if head is None else copy.deepcopy(head).requires_grad_()
        if (own.in_features, own.out_features) != (width, outputs):
            raise ManyviewsError(
                f"The head maps {own.in_features} to {own.out_features}, not {width} to {outputs}."
            )
        classifier = nn.Sequential(network, own, nn.Flatten(1)).to(device).train()
        plan = Plan(epochs, usual_batch(len(train)) if batch is None else batch, seed, "finetune")
        total = epochs * plan.steps_per_epoch(len(train))
        groups = parameter_groups(network, classifier[1], lr, layer_decay, weight_decay)
        optimise = (
            eager(torch.optim.AdamW)(groups)
            if optimiser == "adamw"
            else eager(torch.optim.SGD)(groups, momentum=0.9)
        )
        loss, history, started, items = torch.tensor(0.0), [], time.perf_counter(), 0
        for now in augmented(train, view or usual_view(train.kind, size, upright), plan, device):
            with same_randomness(device):
                torch.manual_seed(rng.seed_of(seed, "dropout", now.step))
                loss = _loss(classifier, now.x_BCHW, now.labels_B, joint, dropout)
            descend(optimise, loss, now.step, total, schedule, warmup, "Fine-tuning")
            items += len(now.labels_B)
            if watch and now.ends_epoch:
                history.append(_judge(classifier, test, size, classes).top1)
        classifier.eval()
        loss = loss.item()  # waits for the device
        seconds = time.perf_counter() - started
    figures = _judge(classifier, test, size, classes)
    return FineTuned(figures, len(train), loss, tuple(history), classifier, items, seconds, head is not None)


def _loss(
    classifier: nn.Sequential, x_BCHW: Tensor, labels_B: Tensor, joint: float, dropout: float
) -> Tensor:
    """Of the labels, and beside it the encoder's own."""
    own = torch.tensor(0.0)
    if joint:
        h_BD, own = cast(Generative, classifier[0]).with_loss(x_BCHW)
    else:
        h_BD = classifier[0](x_BCHW)
    logits_BC = classifier[1:](F.dropout(h_BD, dropout))
    return F.cross_entropy(logits_BC, labels_B) + joint * own  # eq. 5


def _width(network: nn.Module, train: ItemSet, size: int) -> int:
    return EncoderEmbedder(network, size).embed(nothing(train.kind, size)).shape[1]


def _judge(classifier: nn.Module, test: ItemSet, size: int, classes: int) -> Scores:
    logits = embed_all(EncoderEmbedder(classifier, size), test)
    assert logits.labels is not None
    return scores(logits.h_ND, logits.labels, classes)


def descend(
    optimise: torch.optim.Optimizer,
    loss: Tensor,
    step: int,
    total: int,
    schedule: Schedule,
    warmup: float,
    what: str,
) -> None:
    """Step ``step`` of ``total`` down the loss, each of the ``parameter_groups`` at its share of its own peak rate.

    Raises:
        Diverged: the loss is not finite.
    """
    if not torch.isfinite(loss):
        raise Diverged(f"{what} diverged at step {step}: its loss is {loss.item()}; lower the learning rate.")
    for group in optimise.param_groups:
        group["lr"] = group["peak"] * share_of_peak((step + 1) / (total + 1), schedule, warmup)
    optimise.zero_grad()
    loss.backward()
    optimise.step()


def parameter_groups(
    encoder: nn.Module, head: nn.Module, lr: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimiser groups with their peak rate: ``lr * layer_decay ** depth``, where the head has depth 0.

    Raises:
        ManyviewsError: a rate that cannot be.
    """
    if lr <= 0 or layer_decay < 0:
        raise ManyviewsError(
            f"A learning rate is positive and a layer's share of it not negative, not {lr}, {layer_decay}."
        )
    groups = []
    for depth, parameters in enumerate([list(head.parameters()), *reversed(layers(encoder))]):
        peak = lr * layer_decay**depth
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            if chosen:
                decay = weight_decay if decays else 0.0
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    return groups


def layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """The encoder's parameters by depth, from the image up; every parameter once.

    An encoder may say so itself, by ``layers() -> Sequence[nn.Module]``. Otherwise its children are taken in the order
    in which they are defined: a stack of blocks (a ResNet's stage, a transformer's blocks) is a layer a block, neighbours
    that are single operations (a stem's convolution and norm) are one layer together. What belongs to no module that
    was named (a class token, position embeddings) learns with the first layer.
    """
    if isinstance(encoder, Split):  # two nets side by side, none above the other
        return [a + b for a, b in zip(layers(encoder.light), layers(encoder.colour), strict=True)]
    own = getattr(encoder, "layers", None)
    if callable(own) and not isinstance(own, nn.Module):
        modules = [[module] for module in cast(Callable[[], Sequence[nn.Module]], own)()]
    else:
        modules = list(_stacked(encoder))
    seen: set[int] = set()
    found = []
    for together in modules:
        new = [p for module in together for p in module.parameters() if id(p) not in seen]
        new = list({id(p): p for p in new}.values())
        seen.update(map(id, new))
        if new:
            found.append(new)
    rest = [p for p in encoder.parameters() if id(p) not in seen]
    if not found:
        return [rest] if rest else []
    return [rest + found[0], *found[1:]]


def _stacked(encoder: nn.Module) -> Iterator[list[nn.Module]]:
    children = _with_parameters(encoder)
    while len(children) == 1 and _with_parameters(children[0]):  # a wrapper around the network proper
        children = _with_parameters(children[0])
    operations: list[nn.Module] = []
    for child in children:
        if not _with_parameters(child):
            operations.append(child)
            continue
        if operations:
            yield operations
            operations = []
        parts = _with_parameters(child)
        is_stack = isinstance(child, nn.Sequential | nn.ModuleList) and any(
            _with_parameters(part) for part in parts
        )
        yield from [[part] for part in parts] if is_stack else [[child]]
    if operations:
        yield operations


def _with_parameters(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if any(True for _ in child.parameters())]
