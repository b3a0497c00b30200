"""What is told of each token: its tag, or whether an answer starts or ends there.

Paper    Devlin et al. 2019 (arXiv:1810.04805): tags section 5.3, a word's first piece tells; spans section 4.2, the best
         one from i to j >= i by S T_i + E T_j; no answer section 4.3, S C + E C against it.
Differs  Tags of frozen features are read by a linear layer, where the paper has a two-layer BiLSTM. Answers are judged
         by their tokens, not by words without articles and signs; one that reaches beyond the tokens that are read is
         learned as none and never found, where the authors slide a window along the passage; tags there count in no
         figure.
Shapes   B texts, T tokens, D features of one, K outputs for each, A people who mark a text; the first one's are learned.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.data.marked import BEYOND, MARKS, WORDS
from manyviews.eager import eager
from manyviews.errors import ManyviewsError
from manyviews.evaluation.batches import Plan
from manyviews.evaluation.descent import descend, parameter_groups
from manyviews.evaluation.features import device_of, same_randomness
from manyviews.evaluation.frozen import frozen as unchanged
from manyviews.evaluation.linear import linear_head
from manyviews.evaluation.schedules import Schedule
from manyviews.evaluation.spans import Entity, best_span, entities, judged, marked, where
from manyviews.nets.encoder import judging
from manyviews.nets.reader import LastLayers, Reader


@dataclass(frozen=True)
class Told:
    """A head grown on a reader, what it learned from, and its figures after the last epoch: shares in [0, 1]."""

    figures: dict[str, float]
    texts: int
    loss: float  # of the last step
    teller: "Teller" = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures, without the network."""
        return self.figures | {"texts": self.texts, "loss": self.loss}


class Teller(nn.Module):
    """Texts `[B, R, T]` -> K numbers for each token, `[B, T, K]`."""

    def __init__(self, reader: Reader, outputs: int, layers: int, frozen: bool, seed: int):
        super().__init__()
        self.reads = LastLayers(reader, layers) if layers != 1 else reader
        self.head, self.frozen = linear_head(self.reads.width, outputs, seed), frozen

    def forward(self, x_BRT: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            h_BTD = self.reads.states(x_BRT)
        return self.head(h_BTD)

    def train(self, mode: bool = True) -> "Teller":
        """A frozen reader stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.reads.eval()
        return self


@dataclass(frozen=True, kw_only=True)
class How:
    """How the head, and unless it is frozen the reader, learn: as `finetune` has it."""

    size: int  # T
    frozen: bool
    layers: int
    epochs: int
    lr: float
    weight_decay: float
    layer_decay: float
    schedule: Schedule
    warmup: float
    batch: int
    seed: int


def tag(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    size: int,
    frozen: bool = False,
    layers: int = 1,
    epochs: int = 3,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    layer_decay: float = 1.0,
    schedule: Schedule = "linear",
    warmup: float = 0.1,
    batch: int = 32,
    texts: int | None = None,
    seed: int = 0,
) -> Told:
    """Learn the tags of words with a copy of the reader; ``f1`` is of whole entities, words of one tag in a row.

    Args:
        size: T, tokens of a text that are read.
        frozen: leave the reader as it is, and learn from its features alone.
        layers: of its last layers, beside each other; the paper's features are four.
        lr: peak learning rate of the head, for this batch; AdamW.
        layer_decay: each layer of the reader learns at this share of the rate of the one above.
        texts: learn from so many of them, drawn by the seed; None: all.

    Raises:
        ManyviewsError: an encoder that reads no texts, a rate that cannot be, more texts than there are, a loss that is not finite.
    """
    train = _some(train, texts, seed)
    names = train.pixel_classes
    assert names is not None
    how = How(
        size=size, frozen=frozen, layers=layers, epochs=epochs, lr=lr, weight_decay=weight_decay,
        layer_decay=layer_decay, schedule=schedule, warmup=warmup, batch=batch, seed=seed,
    )  # fmt: skip

    def loss(logits_BTK: Tensor, x_BRT: Tensor, marks_BT: Tensor, words_BT: Tensor) -> Tensor:
        return F.cross_entropy(logits_BTK[words_BT], marks_BT[words_BT])

    teller, last = _learned(encoder, train, len(names), how, loss)
    right = words = 0
    found: list[set[Entity]] = []
    there: list[set[Entity]] = []
    for logits_BTK, _, marks_BAT, words_BT in _asked(teller, test, how):
        for said_T, is_T, word_T in zip(logits_BTK.argmax(-1), marks_BAT[:, 0], words_BT, strict=True):
            said, known = (ids[word_T].tolist() for ids in (said_T, is_T))
            right += sum(a == b for a, b in zip(said, known, strict=True))
            words += len(known)
            found.append(entities([names[i] for i in said]))
            there.append(entities([names[i] for i in known]))
    hit = sum(len(a & b) for a, b in zip(found, there, strict=True))
    said, known = sum(map(len, found)), sum(map(len, there))
    figures = {
        "accuracy": right / max(1, words),
        "precision": hit / max(1, said),
        "recall": hit / max(1, known),
        "f1": 2 * hit / max(1, said + known),
        "entities": known,
    }
    return Told(figures, len(train), last, teller)


def span(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    size: int,
    longest: int = 30,
    threshold: float = 0.0,
    frozen: bool = False,
    layers: int = 1,
    epochs: int = 3,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    layer_decay: float = 1.0,
    schedule: Schedule = "linear",
    warmup: float = 0.1,
    batch: int = 32,
    texts: int | None = None,
    seed: int = 0,
) -> Told:
    """Learn where answers start and end in a passage, and, where some questions have none, which those are.

    Args:
        longest: tokens of an answer at most (the authors' 30).
        threshold: tau: there is an answer where its score is above that of none by more than this; always, where all of ``train`` have one.
        size, frozen, layers, lr, layer_decay, texts: as in `tag`.

    Raises:
        ManyviewsError: as `tag` does, and where no answer could have a token.
    """
    if longest < 1:
        raise ManyviewsError(f"An answer has at least 1 token, not {longest}.")
    train = _some(train, texts, seed)
    how = How(
        size=size, frozen=frozen, layers=layers, epochs=epochs, lr=lr, weight_decay=weight_decay,
        layer_decay=layer_decay, schedule=schedule, warmup=warmup, batch=batch, seed=seed,
    )  # fmt: skip

    def loss(logits_BT2: Tensor, x_BRT: Tensor, marks_BT: Tensor, words_BT: Tensor) -> Tensor:
        logits_BT2 = logits_BT2.masked_fill((x_BRT[:, 1] == 0)[..., None], -torch.inf)
        at_B2 = where(marks_BT)
        return sum(F.cross_entropy(logits_BT2[..., k], at_B2[:, k]) for k in (0, 1)) / 2  # pyright: ignore[reportReturnType]

    all_answered = bool(marked(train.senses[MARKS][:, 0, 0]).any(1).all())
    teller, last = _learned(encoder, train, 2, how, loss)
    exact, f1, none = [], [], []
    for logits_BT2, _, marks_BAT, _ in _asked(teller, test, how):
        least = -torch.inf if all_answered else threshold
        said_B2 = best_span(logits_BT2, marks_BAT[:, 0] != BEYOND, longest, least)
        for rows, found_B in zip((exact, f1, none), judged(said_B2, marks_BAT), strict=True):
            rows.append(found_B)
    exact_N, f1_N, none_N = map(torch.cat, (exact, f1, none))
    some_N = 1 - none_N
    figures = {
        "exact": exact_N.mean().item(),
        "f1": f1_N.mean().item(),
        "f1_answered": ((f1_N * some_N).sum() / some_N.sum().clamp(min=1)).item(),  # where there is one
        "unanswered": none_N.mean().item(),
    }
    return Told(figures, len(train), last, teller)


# -- learning and asking --------------------------------------------------------------------------------------------


def _some(data: ItemSet, texts: int | None, seed: int) -> ItemSet:
    if texts is None:
        return data
    if not 0 < texts <= len(data):
        raise ManyviewsError(
            f"texts is {texts}, and {data.name} has {len(data):,} to learn from: take 1 to all of them."
        )
    order_N = torch.randperm(len(data), generator=rng.generator(seed, "tokens", "texts"))
    return data.subset(order_N[:texts].tolist())


def _learned(
    encoder: nn.Module, train: ItemSet, outputs: int, how: How, loss_of: Callable[..., Tensor]
) -> tuple[Teller, float]:
    """A copy of the reader with a head, when both have learned, and the last loss."""
    if not isinstance(encoder, Reader):
        raise ManyviewsError(
            f"Tokens can be judged only with a net that reads texts, and {type(encoder).__name__} does not."
        )
    device, plan = device_of(encoder), Plan(how.epochs, how.batch, how.seed, "tokens")
    total, last = how.epochs * plan.steps_per_epoch(len(train)), torch.tensor(0.0)
    with unchanged(encoder), torch.enable_grad(), same_randomness(device):
        network = copy.deepcopy(encoder).requires_grad_(not how.frozen)
        teller = Teller(network, outputs, how.layers, how.frozen, how.seed).to(device).train()
        learns = nn.Identity() if how.frozen else network
        groups = parameter_groups(learns, teller.head, how.lr, how.layer_decay, how.weight_decay)
        optimise = eager(torch.optim.AdamW)(groups)
        for step in range(total):
            x_BRT, marks_BAT, words_BT = _rows(train, plan.rows(len(train), step), how.size, device)
            torch.manual_seed(rng.seed_of(how.seed, "tokens", "dropout", step))
            last = loss_of(teller(x_BRT), x_BRT, marks_BAT[:, 0], words_BT)
            descend(optimise, last, step, total, how.schedule, how.warmup, "Learning what tokens are")
    return teller.eval(), last.item()


def _rows(data: ItemSet, rows_B: Tensor, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Texts `[B, R, T]`, what is marked in them `[B, A, T]`, and where words begin `[B, T]`."""
    assert data.values is not None
    x_BRT = data.values[rows_B, :, :size].to(device).long()
    marks_BAT, words_B1T = (data.senses[name][rows_B, :, 0, :size].to(device) for name in (MARKS, WORDS))
    return x_BRT, marks_BAT.long(), words_B1T[:, 0] == 1


def _asked(teller: Teller, data: ItemSet, how: How) -> Iterator[tuple[Tensor, ...]]:
    """Of the texts, some at a time: what is told of each token, the texts, and what is known of them."""
    device = device_of(teller)
    with judging(teller), same_randomness(device):
        for rows_B in torch.arange(len(data)).split(how.batch):
            x_BRT, *known = _rows(data, rows_B, how.size, device)
            yield teller(x_BRT), x_BRT, *known
