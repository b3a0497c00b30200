"""Fine-tuning: the whole network learns the labels, starting from the encoder. The encoder itself stays as it was.

Papers   Few labels: SimCLR (arXiv:2002.05709, section 6 and appendix B.5). A language beside the task: GPT-1 (Radford et al. 2018,
         section 3.2). What BEiT (arXiv:2106.08254) and MAE (arXiv:2111.06377, table 9) fine-tune with: rates that decay
         with depth, stochastic depth (arXiv:1603.09382), smoothed labels, mixup and CutMix. Gradients clipped: BERT's code.
Differs  All of these are off unless they are asked for. RandAugment is a `view`'s affair, from Python; random erasing
         is not here. A ViT's new head starts at N(0, 0.01^2), where ViT's (arXiv:2010.11929, 3.2) starts at 0, and its
         table of positions decays with its weights. Where a ViT's patches are averaged, its norm stays in front of the
         mean; in BEiT's and MAE's code a new one stands behind it, and the head starts near 0.
Shapes   B images, C classes.
"""

import copy
import time
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.eager import eager
from manyviews.errors import ManyviewsError
from manyviews.evaluation.batches import Plan, augmented, labelled_part, usual_batch, usual_view
from manyviews.evaluation.descent import descend, parameter_groups
from manyviews.evaluation.features import EncoderEmbedder, device_of, embed_all, same_randomness
from manyviews.evaluation.frozen import frozen
from manyviews.evaluation.linear import linear_head
from manyviews.evaluation.mixing import Mixing
from manyviews.evaluation.schedules import Schedule
from manyviews.evaluation.scores import Scores, scores
from manyviews.evaluation.transformations import Embeds, Told
from manyviews.nets.encoder import Generative, Midway
from manyviews.nets.reader import Reader, by_first_token
from manyviews.nets.transformer import Block, Transformer, stochastic_depth
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
    mirror: bool = True,
    embedding: Embedding = "mean",
    watch: bool = False,
    joint: float = 0.0,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    smoothing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    clip: float = 0.0,
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
        mirror: False: their left and right differ, and the usual view is not flipped.
        embedding: of texts, what the head reads: the mean over the tokens, or "pooled", what [CLS] makes of all of them;
            of a net that tells the next token also its "last" state, or that of the token that GPT-1 puts there:
            "extract", "similarity" (two texts in both orders) or "choice" (a text and two answers); see `Told`.
        watch: also judge after each epoch, for a curve; costs a pass over the test set each.
        joint: weight of the encoder's own loss on the same items beside that of the labels, of an encoder that has one:
            lambda of GPT-1, eq. 5, there 0.5 (iGPT, section 2.3).
        dropout: of what the head reads (GPT-1, section 4.1: 0.1).
        drop_path: chance that a sample goes around the last block of a transformer, before it less (BEiT and MAE, base: 0.1).
        smoothing: share of the target spread over all classes (BEiT and MAE: 0.1).
        mixup: alpha of the Beta that two images are mixed by, as ``Mixing`` has it (BEiT and MAE: 0.8); 0 for none.
        cutmix: likewise of boxes of one image in another (1.0).
        clip: bound on the norm of all gradients together (BERT's code: 1.0); 0 for none.
        head: of a classifier of the same classes, which the new one begins as; None: a random one.

    Raises:
        ManyviewsError: a rate that cannot be, a joint loss that the encoder does not have, or a loss that is not finite.
    """
    if test.labels is None:
        raise ManyviewsError("Fine-tuning is judged on labels; the test set has none.")
    if joint < 0 or (joint and not isinstance(encoder, Generative | Reader)):
        raise ManyviewsError(
            f"joint is {joint}: it weighs, by 0 or more, the encoder's own generative loss, which only an encoder that generates has "
            f"(with_loss()), and this is {type(encoder).__name__}; leave it at 0."
        )
    for name, share in (("dropout", dropout), ("drop_path", drop_path), ("smoothing", smoothing)):
        if not 0 <= share < 1:
            raise ManyviewsError(f"{name} is {share}; it must be at least 0 and below 1.")
    if clip < 0:
        raise ManyviewsError(f"clip is {clip}; it is a bound above 0 on the gradients' norm, or 0 for none.")
    mixing = Mixing(mixup, cutmix, classes, train.kind)
    if embedding == "choice" and classes != 2:
        raise ManyviewsError(
            f'"choice" decides between the two answers of an item, but {train.name} has {classes} classes.'
        )
    train = labelled_part(train, label_fraction, seed)
    device = device_of(encoder)
    with frozen(encoder), torch.enable_grad():
        network = copy.deepcopy(encoder).requires_grad_()
        if isinstance(network, Midway):
            network.embed_at(None)  # it learns as a whole (iGPT, section 2.3)
        if drop_path:
            stochastic_depth(_blocks_of(network), drop_path)
        if embedding == "pooled":
            by_first_token(network)
        if embedding not in ("mean", "pooled") or (joint and isinstance(network, Reader)):
            network = Told(network, cast(Embeds, embedding), train.tokeniser, seed)
        width = network.width if isinstance(network, Told) else _width(network, train, size)
        outputs = 1 if embedding == "choice" else classes  # a score for each answer by itself
        own = linear_head(width, outputs, seed) if head is None else copy.deepcopy(head).requires_grad_()
        if (own.in_features, own.out_features) != (width, outputs):
            raise ManyviewsError(
                f"The given head maps {own.in_features} features to {own.out_features} outputs, but {width} to {outputs} are needed."
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
        for now in augmented(train, view or usual_view(train.kind, size, upright, mirror), plan, device):
            with same_randomness(device):
                torch.manual_seed(rng.seed_of(seed, "dropout", now.step))
                x_BCHW, target = mixing(now.x_BCHW, now.labels_B)
                loss = _loss(classifier, x_BCHW, target, joint, dropout, smoothing)
            descend(optimise, loss, now.step, total, schedule, warmup, "Fine-tuning", clip)
            items += len(now.labels_B)
            if watch and now.ends_epoch:
                history.append(_judge(classifier, test, size, classes).top1)
        classifier.eval()
        loss = loss.item()  # waits for the device
        seconds = time.perf_counter() - started
    figures = _judge(classifier, test, size, classes)
    return FineTuned(figures, len(train), loss, tuple(history), classifier, items, seconds, head is not None)


def _blocks_of(network: nn.Module) -> nn.Module:
    """The part of a net whose blocks an embedding goes through: of a translation's, what encodes."""
    part = (
        network.net.encoder
        if isinstance(network, Reader) and isinstance(network.net, Transformer)
        else network
    )
    if not any(isinstance(module, Block) for module in part.modules()):
        raise ManyviewsError(
            "drop_path lets samples skip the blocks of a transformer built by Manyviews, and this net has none; leave it at 0."
        )
    return part


def _loss(
    classifier: nn.Sequential, x_BCHW: Tensor, target: Tensor, joint: float, dropout: float, smoothing: float
) -> Tensor:
    """Of the labels ``[B]``, or of shares of them ``[B, C]``, and beside it the encoder's own."""
    own = torch.tensor(0.0)
    if joint:
        h_BD, own = cast(Generative, classifier[0]).with_loss(x_BCHW)
    else:
        h_BD = classifier[0](x_BCHW)
    logits_BC = classifier[1:](F.dropout(h_BD, dropout))
    return F.cross_entropy(logits_BC, target, label_smoothing=smoothing) + joint * own  # eq. 5


def _width(network: nn.Module, train: ItemSet, size: int) -> int:
    return EncoderEmbedder(network, size).embed(nothing(train.kind, size)).shape[1]


def _judge(classifier: nn.Module, test: ItemSet, size: int, classes: int) -> Scores:
    logits = embed_all(EncoderEmbedder(classifier, size), test)
    assert logits.labels is not None
    return scores(logits.h_ND, logits.labels, classes)
