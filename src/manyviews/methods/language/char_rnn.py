"""Character RNN: predict the next character from all before it, through a state that is carried along.

Paper    Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks", and its char-rnn: RMSprop at
         2e-3, gradients over 50 characters, a state that goes on from one piece of the text to the next. What such a
         state holds is examined in Karpathy, Johnson, Fei-Fei 2015 (arXiv:1506.02078), whose sections the code names.
Differs  Here a state is carried through one window, with its gradient cut every `truncate` characters, and each window
         begins from a zero state, so that a step depends on its own items alone; char-rnn carries the state through the
         whole text. Texts that share a window follow each other as in one text. A step is taken after a whole window
         here, after each piece in char-rnn. Gradients are clipped by their norm here (--clip), each number by itself in
         char-rnn. The learning rate falls along a cosine here, in char-rnn by 3% an epoch from the tenth on.
Shapes   B windows, T characters, of which K are read at a time, H width, V vocabulary, N characters that are predicted.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from manyviews.data import Reading
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Kind, Method, NetFactory, Out, Spec
from manyviews.nets.char import CharModel
from manyviews.nets.writer import require_writer, samples
from manyviews.objectives import linear_cross_entropy
from manyviews.recipe import Recipe
from manyviews.views import Text, Texts


@dataclass(frozen=True, kw_only=True)
class Config:
    tokens: str = "chars"  # tokeniser: chars, bpe, wordpiece, or the path of a tokenizer.json
    vocabulary: int = 1_000  # V at most; for chars, as many as the texts have
    truncate: int = 50  # K, characters over which gradients flow back (char-rnn: seq_length)
    after: str = ""  # learn only the character right after this one, such as the answer to a "?"; empty: all


ANATOMY = Anatomy(
    pretext="the next character",
    positives="the character that follows",
    negatives="the other characters",
    target="none: what is written",
    objective="cross entropy",
)


class CharRNN(Method):
    sees: ClassVar[Kind] = "texts"

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.truncate < 1:
            raise ManyviewsError(
                f"--truncate is {config.truncate}; a gradient goes back at least 1 character."
            )
        self.encoder = net(in_channels=len(spec.vocabulary))
        found = require_writer(self.encoder)
        if not isinstance(found, CharModel):
            raise ManyviewsError("char_rnn carries a state: take char_rnn, char_gru or char_lstm as --net.")
        self.net, self.after = found, _number(config.after, spec)

    @classmethod
    def reading(cls, config: Config) -> Reading:
        return Reading(config.tokens, config.vocabulary, packed=True)

    def views(self) -> Texts:
        return Texts(Text(size=self.spec.size))

    def loss(self, batch: Batch, progress: float) -> Out:
        (x_B2T,) = batch.views
        token_BT, document_BT = x_B2T.unbind(1)
        h_BTH = self.carried(token_BT)
        told_BT = document_BT[:, 1:] > 0
        if self.after is not None:
            told_BT &= token_BT[:, :-1] == self.after
        W_VH, b_V = self.net.last()  # a softmax over all characters (section 3.2)
        loss = linear_cross_entropy(h_BTH[:, :-1][told_BT], W_VH, token_BT[:, 1:][told_BT], b_V)
        return Out(loss, log={"bits": loss.detach() / math.log(2)})

    def carried(self, token_BT: Tensor) -> Tensor:
        """The states `[B, T, H]`: their values reach from one piece to the next, their gradients do not.

        Truncated back-propagation through time (section 3.3).
        """
        state, pieces = None, []
        for token_BK in token_BT.split(self.config.truncate, dim=1):
            h_BKH, state = self.net.follow(token_BK, state)
            state = tuple(part.detach() for part in state)
            pieces.append(h_BKH)
        return torch.cat(pieces, dim=1)

    def writes(self) -> list[str]:
        return samples(self.net, self.spec.vocabulary, 4 * self.spec.size)


def _number(character: str, spec: Spec) -> int | None:
    """Which token a character is; None of none. Raises `ManyviewsError` for what is no one token of the texts."""
    if not character:
        return None
    (ids,) = spec.vocabulary.encode([character])
    if len(ids) != 1 or ids[0] == spec.vocabulary.unknown:
        raise ManyviewsError(
            f"--after is {character!r}, which is not one character of these texts; give one that is, or leave it out."
        )
    return ids[0]


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="tinyshakespeare", net="char_lstm", size=200, batch=50, budget="50ep", optimiser="rmsprop", lr=2e-3,
            inertia=0.95, weight_decay=0.0, clip=5.0,
        ),
    ),
    "tinyshakespeare": (
        Config(truncate=128),
        Recipe(
            data="tinyshakespeare", net="char_lstm/3x512", size=256, batch=32, budget="15m", optimiser="adamw", lr=2e-3,
            weight_decay=0.01, warmup=0.02, clip=1.0,
        ),
    ),
    "world": (
        Config(),
        Recipe(
            data="world-captions", net="char_lstm", size=200, batch=32, budget="2ep", optimiser="adamw", lr=4e-3,
            weight_decay=0.01, warmup=0.05, clip=1.0,
        ),
    ),
}  # fmt: skip
