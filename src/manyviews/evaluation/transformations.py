"""A task as sequences that a net reads from left to right, and the loss of telling them beside the task's own.

Paper    Radford et al. 2018 (GPT-1): the last token's state into a linear layer, eqs. 3 and 4; both losses, eq. 5; what
         is read of each kind of task, section 3.3 and figure 1.
Differs  The language's loss is a mean over the tokens of each sequence, as in the authors' code; eq. 1 is a sum.
Shapes   B items, S sequences of each, R rows, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from manyviews import rng
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, called
from manyviews.nets.gpt import GPT
from manyviews.nets.reader import Reader, pooled
from manyviews.nets.writer import require_writer

Embeds = Literal["mean", "last", "extract", "similarity", "choice"]
TEXTS = {"extract": (1, 2), "similarity": (2,), "choice": (3,)}  # of an item
Ids = Sequence[int]


@dataclass(frozen=True)
class Marks:
    """Tokens that fine-tuning adds to the vocabulary: <s>, $ and <e> of figure 1."""

    start: int
    delimiter: int
    extract: int


def classification(text: Ids, marks: Marks) -> list[int]:
    """<s> text <e>."""
    return [marks.start, *text, marks.extract]


def entailment(premise: Ids, hypothesis: Ids, marks: Marks) -> list[int]:
    """<s> premise $ hypothesis <e>."""
    return [marks.start, *premise, marks.delimiter, *hypothesis, marks.extract]


def similarity(first: Ids, second: Ids, marks: Marks) -> list[list[int]]:
    """Both orders, because neither text comes first; their states at <e> are added."""
    return [entailment(first, second, marks), entailment(second, first, marks)]


def choices(context: Ids, answers: Sequence[Ids], marks: Marks) -> list[list[int]]:
    """A sequence an answer; the softmax is over their scores."""
    return [entailment(context, answer, marks) for answer in answers]


def texts_of(row: Ids, start: int | None, end: int | None) -> list[list[int]]:
    """A and B of a row of tokens [CLS] A [SEP] B [SEP]."""
    found: list[list[int]] = [[]]
    for token in row[1:] if len(row) and row[0] == start else row:
        if token == end:
            found.append([])
        else:
            found[-1].append(token)
    return found if found[-1] else found[:-1] or [[]]


def last(state_BTD: Tensor, part_BT: Tensor) -> Tensor:
    """The state of each text's last token, `[B, D]`."""
    at_B = ((part_BT > 0) * torch.arange(1, part_BT.shape[1] + 1, device=part_BT.device)).amax(1) - 1
    return state_BTD[torch.arange(len(state_BTD), device=part_BT.device), at_B.clamp(min=0)]


class Told(Encoder):
    """A reader whose net tells the next token, fine-tuned: what it embeds of its sequences, and how well it tells them.

    Args:
        reads: "mean" over a text's tokens or their "last", of texts as they are; or the extract token's state of
            sequences of figure 1: "extract" of a text, or of a premise and a hypothesis; "similarity", the sum over
            both orders of two texts; "choice", of each answer by itself.
        seed: of the three tokens that are added for the latter.

    Raises `ManyviewsError` for a reader that cannot.
    """

    def __init__(self, reader: nn.Module, reads: Embeds, tokeniser: Tokeniser | None, seed: int):
        if not isinstance(reader, Reader) or tokeniser is None:
            raise ManyviewsError(
                f'"{reads}" and the language-modelling loss need a net that reads texts, and {type(reader).__name__} does not.'
            )
        net = require_writer(reader)
        super().__init__(reader.width, reader.in_channels)
        self.reader, self.reads, self.tokeniser = reader, reads, tokeniser
        if reads not in TEXTS:
            return
        if not isinstance(net, GPT):
            raise ManyviewsError(
                f'"{reads}" adds tokens to the vocabulary, for which {called(reader)} has no place; take a gpt, or "last".'
            )
        old_VD = net.tokens.weight.detach()
        self.marks, self.room = Marks(*range(len(old_VD), len(old_VD) + 3)), net.length
        new_3D = 0.02 * torch.randn(3, old_VD.shape[1], generator=rng.generator(seed, "marks"))  # section 4.1
        net.tokens = nn.Embedding.from_pretrained(torch.cat([old_VD, new_3D.to(old_VD)]), freeze=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, D]` of texts `[B, R, T]`; of "choice" `[B, S, D]`."""
        return self._embedded(*self._told(x_BCHW)[1:])

    def with_loss(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and the loss of telling the same sequences (eq. 1)."""
        token_BST, part_BST, h_BSTD = self._told(x_BCHW)
        follows_NT = (part_BST[..., 1:] > 0).flatten(0, 1)
        W_VD, b_V = require_writer(self.reader).last()
        logits_NTV = F.linear(h_BSTD[..., :-1, :].flatten(0, 1), W_VD, b_V)
        told_NT = F.cross_entropy(logits_NTV.mT, token_BST[..., 1:].flatten(0, 1), reduction="none")
        by_sequence_N = (told_NT * follows_NT).sum(1) / follows_NT.sum(1).clamp(min=1)
        return self._embedded(part_BST, h_BSTD), by_sequence_N.mean()

    def sequences(self, x_BRT: Tensor) -> tuple[Tensor, Tensor]:
        """What is read of texts: tokens and parts, `[B, S, T]` each.

        Raises `ManyviewsError` for items of another number of texts than the task has.
        """
        if self.reads not in TEXTS:
            return x_BRT[:, None, 0], x_BRT[:, None, 1]
        text_B2T = x_BRT[:, :2].cpu()  # at once, not text by text
        items = [self._item(token_T[part_T > 0].tolist()) for token_T, part_T in text_B2T]
        every = [torch.tensor(sequence) for item in items for sequence in item]
        token_NT = pad_sequence(every, batch_first=True, padding_value=self.tokeniser.padding)
        part_NT = pad_sequence([torch.ones_like(sequence) for sequence in every], batch_first=True)
        token_BST, part_BST = (x_NT.unflatten(0, (len(items), -1)) for x_NT in (token_NT, part_NT))
        return token_BST.to(x_BRT.device), part_BST.to(x_BRT.device)

    def _item(self, row: Ids) -> list[list[int]]:
        texts, marks = texts_of(row, self.tokeniser.start, self.tokeniser.end), self.marks
        if len(texts) not in TEXTS[self.reads]:
            wanted = " or ".join(map(str, TEXTS[self.reads]))
            raise ManyviewsError(
                f'"{self.reads}" reads items of {wanted} text(s), and here is one of {len(texts)}.'
            )
        while (
            sum(map(len, texts)) + 1 + len(texts) > self.room
        ):  # of a tokeniser without tokens that begin and end
            max(reversed(texts), key=len).pop()
        match self.reads, texts:
            case "similarity", [first, second]:
                return similarity(first, second, marks)
            case "choice", [context, *answers]:
                return choices(context, answers, marks)
            case _, [premise, hypothesis]:
                return [entailment(premise, hypothesis, marks)]
        return [classification(texts[0], marks)]

    def _told(self, x_BRT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        token_BST, part_BST = self.sequences(x_BRT)
        x_N2T = torch.stack([token_BST.flatten(0, 1), part_BST.flatten(0, 1)], 1)
        return token_BST, part_BST, self.reader.states(x_N2T).unflatten(0, token_BST.shape[:2])

    def _embedded(self, part_BST: Tensor, h_BSTD: Tensor) -> Tensor:
        part_NT, h_NTD = part_BST.flatten(0, 1), h_BSTD.flatten(0, 1)
        h_ND = pooled(h_NTD, part_NT) if self.reads == "mean" else last(h_NTD, part_NT)  # h_l^m, eq. 3
        h_BSD = h_ND.unflatten(0, part_BST.shape[:2])
        return h_BSD if self.reads == "choice" else h_BSD.sum(1)
