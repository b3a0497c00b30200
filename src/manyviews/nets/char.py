"""Character models: predict which character comes next, by an RNN, a GRU or an LSTM.

Paper    Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks", and its char-rnn: two layers of
         128 units, one-hot characters, the LSTM's forget gate open at the start; the 65 characters are those of Tiny
         Shakespeare. The same models are published in Karpathy, Johnson, Fei-Fei 2015 (arXiv:1506.02078), section 3.
Differs  An embedding can replace the one-hot characters here. Weights start here as those of the cells do (see
         `recurrent`). char-rnn's GRU is `char_gru/before`.
Shapes   B sequences, T tokens, D inputs, H width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.linear import Linear
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.recurrent import GRU, LSTM, RNN, Recurrent, State


class CharModel(nn.Module):
    """What comes next, after each token: one-hot or embedded tokens, a recurrent stack, a linear layer.

    The character models of section 3.2 of Karpathy, Johnson, Fei-Fei 2015.

    Args:
        kind: of the stack; `options` are its own (`dropout`, `reset`, `forget_bias`).
        embedding: width of the tokens' vectors; None: they are one-hot.
    """

    def __init__(
        self,
        kind: Callable[..., Recurrent],
        vocabulary: int = 65,
        width: int = 128,
        depth: int = 2,
        *,
        embedding: int | None = None,
        **options: Any,
    ):
        super().__init__()
        self.vocabulary, self.width = vocabulary, width
        self.tokens = None if embedding is None else nn.Embedding(vocabulary, embedding)
        self.recurrent = kind(embedding or vocabulary, width, depth, **options)  # section 3.1
        self.out = Linear(width, vocabulary)
        if self.tokens is not None:
            nn.init.normal_(self.tokens.weight, std=0.01)
        nn.init.normal_(self.out.weight, std=width**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits `[B, T, V]` of the token after each token."""
        return self.read(tokens_BT)[0]

    def read(
        self, tokens_BT: Tensor, state: State | None = None, *, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Logits `[B, T, V]` and the state to go on from; arguments as those of `Recurrent`."""
        y_BTH, after = self.follow(tokens_BT, state, lengths_B=lengths_B)
        return self.out(y_BTH), after

    def follow(
        self, tokens_BT: Tensor, state: State | None = None, *, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """What `read` makes its logits of, `[B, T, H]`, and the state."""
        if self.tokens is None:
            x_BTD = F.one_hot(tokens_BT, self.vocabulary).to(self.out.weight.dtype)
        else:
            x_BTD = self.tokens(tokens_BT)
        return self.recurrent(x_BTD, state, lengths_B=lengths_B)

    def hidden(self, tokens_BT: Tensor, part_BT: Tensor) -> Tensor:
        """The last layer's states `[B, T, H]`, of one text that every window is (see `Reader`)."""
        return self.follow(tokens_BT)[0]

    def last(self) -> tuple[Tensor, Tensor | None]:
        """The last matrix `[V, H]` and its bias."""
        return self.out.weight, self.out.bias

    @torch.no_grad()
    def sample(
        self,
        prompt_BT: Tensor,
        length: int,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`[B, length]` tokens that follow the prompt, drawn from softmax(logits / temperature); 0 takes the likeliest."""
        if not temperature >= 0:
            raise ManyviewsError(f"A temperature of {temperature} cannot be; it starts at 0.")
        logits, state = self.read(prompt_BT)
        drawn = []
        for _ in range(length):
            last_BV = logits[:, -1]
            if temperature:
                token_B1 = torch.multinomial((last_BV / temperature).softmax(1), 1, generator=generator)
            else:
                token_B1 = last_BV.argmax(1, keepdim=True)
            drawn.append(token_B1)
            logits, state = self.read(token_B1, state)
        return torch.cat(drawn, dim=1) if drawn else prompt_BT[:, :0]


OPEN = 20.0  # bias of a forget gate that never closes: the cell of 1997, which has none
_LARGE = {"3x512": {"width": 512, "depth": 3}}
_PAPER = "Karpathy 2015, char-rnn"
NETS = {
    "char_rnn": Net(
        make=partial(CharModel, RNN), paper=_PAPER, sees="tokens", any_length=True, size=50, variants=_LARGE,
        known_as={"torch.nn": "RNN"},
    ),
    "char_gru": Net(
        make=partial(CharModel, GRU), paper=_PAPER, sees="tokens", any_length=True, size=50,
        variants=_LARGE | {"before": {"reset": "before"}}, known_as={"torch.nn": "GRU"},
    ),
    "char_lstm": Net(
        make=partial(CharModel, LSTM, forget_bias=1.0), paper=_PAPER, sees="tokens", any_length=True, size=50,
        variants=_LARGE | {"1997": {"forget_bias": OPEN}}, known_as={"torch.nn": "LSTM"},
    ),
}  # fmt: skip

# The parts of torch under the same names: `nn.Embedding`, `nn.LSTM` (or GRU, or RNN) and `nn.Linear`.
NAMES = {
    "torch.nn": Names(
        {
            "tokens.weight": "tokens.weight",
            "recurrent.layers.{}.x.*": "recurrent.*_ih_l{}",
            "recurrent.layers.{}.h.*": "recurrent.*_hh_l{}",
            "out.*": "out.*",
        }
    )
}
