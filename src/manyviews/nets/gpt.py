"""GPT: a net learns to predict the next token of a text, and can then be taught any task.

Paper    Radford, Narasimhan, Salimans, Sutskever, "Improving Language Understanding by Generative Pre-Training", 2018.
         Eq. 2, sizes and initialisation section 4.1. GPT-2 and GPT-3 are this net with its other options.
Differs  GELU is its tanh approximation, and the vocabulary has 40,478 tokens, as in the released code and weights.
         Dropout acts on the sum of token and position here; in GPT-1's code it acts on both tables, with one mask for
         the whole batch, and so on the last layer's weights too.
Shapes   B sequences, T tokens, S tokens with those before them, D width, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manyviews.nets.attention import Cache, expect
from manyviews.nets.dropout import dropout
from manyviews.nets.linear import linear
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.positions import Learned, fits
from manyviews.nets.reader import documents
from manyviews.nets.transformer import Blocks, NormPlace


class GPT(nn.Module):
    """A decoder without a memory; its embedding is its last matrix too (eq. 2).

    Args:
        vocabulary: V.
        length: the longest text, in tokens.
        norm: "post" as GPT-1, "pre" with one more norm after the last block as GPT-2.
        scaled: residual projections start smaller by the root of their number, 2 `depth` (GPT-2).
        band: every second block sees only itself and the `band` - 1 tokens before (GPT-3); None: all see everything.
        head_width: d, where it is not D / `heads`.
        dropout: of the input, every sub-layer's output and the attention weights.

    Raises `ManyviewsError` where `heads` does not divide `width` and no `head_width` is given.
    """

    def __init__(
        self,
        vocabulary: int = 40_478,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        *,
        length: int = 512,
        norm: NormPlace = "post",
        scaled: bool = False,
        band: int | None = None,
        head_width: int | None = None,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.width, self.heads, self.length, self.band, self.dropout = width, heads, length, band, dropout
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = Learned(length, width)
        self.blocks = Blocks(
            depth, width, heads, norm=norm, activation="gelu_tanh",
            dropout=dropout, attention_dropout=dropout, head_width=head_width,
        )  # fmt: skip
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        initialise(self, (2 * depth) ** -0.5 if scaled else 1.0)

    def forward(
        self, tokens_BT: Tensor, padding_BS: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Logits `[B, T, V]` of the token after each.

        Args:
            padding_BS: True where there is a token, False where a text is only filled up, before or after it; it
                speaks of the tokens in the cache too.
            cache: holds the tokens before these (inference only).

        Raises `ManyviewsError` for a text longer than `length`, or padding of another shape.
        """
        return self.words(self.states(tokens_BT, padding_BS, cache))

    def states(
        self, tokens_BT: Tensor, padding_BS: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """What the net knows at each token, `[B, T, D]`; arguments as of `forward`."""
        T, before = tokens_BT.shape[1], cache.length if cache else 0
        x_BTD = self.tokens(tokens_BT) + self.places(T, before, padding_BS)
        return self.through(x_BTD, before, padding_BS=padding_BS, cache=cache)

    def hidden(self, tokens_BT: Tensor, part_BT: Tensor) -> Tensor:
        """`[B, T, D]` of windows of documents (see `Reader`), none of which looks at another."""
        apart = documents(part_BT)
        if apart is None:  # a causal mask alone: what fills up comes last, and nobody looks there
            return self.states(tokens_BT)
        same_BTT, place_BT = apart
        fits(tokens_BT.shape[1], self.length)
        return self.through(self.tokens(tokens_BT) + self.positions.weight[place_BT], 0, mask=same_BTT)

    def through(self, x_BTD: Tensor, before: int, mask: Tensor | None = None, **look: Any) -> Tensor:
        """The blocks, over tokens that follow `before` others."""
        T, x_BTD = x_BTD.shape[1], dropout(x_BTD, self.dropout, self.training)
        near = banded(T, before + T, self.band, x_BTD.device) if self.band else None
        second = near if mask is None else mask if near is None else near & mask
        for number, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, causal=True, mask=second if number % 2 else mask, **look)
        return self.norm(x_BTD)

    def last(self) -> tuple[Tensor, Tensor | None]:
        """The last matrix `[V, D]` and its bias."""
        return self.tokens.weight, None

    def words(self, x: Tensor) -> Tensor:
        """Logits `[..., V]` of states `[..., D]`."""
        return linear(x, self.tokens.weight)

    def places(self, T: int, before: int, padding_BS: Tensor | None) -> Tensor:
        """Positions of T tokens that follow `before` others, counted without the padding: `[T, D]` or `[B, T, D]`."""
        if padding_BS is None:
            return self.positions(T, before)
        expect("padding_BS", padding_BS, {(len(padding_BS), before + T)})
        fits(before + T, self.length)
        place_BS = (padding_BS.cumsum(1) - 1).clamp(min=0)
        return self.positions.weight[place_BS[:, before : before + T]]


def banded(T: int, S: int, band: int, device: torch.device | None = None) -> Tensor:
    """Mask `[T, S]`: the last T of S tokens see themselves and the `band` - 1 before them."""
    back_TS = torch.arange(S - T, S, device=device)[:, None] - torch.arange(S, device=device)
    return (back_TS >= 0) & (back_TS < band)


def initialise(net: GPT, residual: float) -> None:
    """A normal of deviation 0.02, times `residual` for what is added to the residual stream; biases at zero."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02 * (residual if name.endswith((".out", ".down")) else 1.0))
            nn.init.zeros_(module.bias)
    nn.init.normal_(net.tokens.weight, std=0.02)


NETS = {
    "gpt": Net(
        make=GPT, paper="Radford et al. 2018, section 4.1", sees="tokens", size=512,
        parameters=117, known_as={"transformers": "openai-community/openai-gpt"},
    ),
    "small_gpt1": Net(
        make=partial(GPT, width=128, depth=4, heads=4), paper="ours, for the embedded world", sees="tokens", size=128,
        variants={"nodrop": {"dropout": 0.0}},
    ),
}  # fmt: skip

SPEAKS_OF = ("vocabulary", "width", "depth", "heads", "length")


def config(net: GPT) -> dict[str, Any]:
    """transformers' `OpenAIGPTConfig` of a net; "gelu" is the tanh approximation there."""
    return sizes(net) | {"model_type": "openai-gpt", "architectures": ["OpenAIGPTLMHeadModel"], "afn": "gelu"}


def sizes(net: GPT) -> dict[str, Any]:
    """What transformers' configs of GPT and GPT-2 say alike."""
    return {
        "vocab_size": net.tokens.num_embeddings,
        "n_embd": net.width,
        "n_layer": len(net.blocks),
        "n_head": net.heads,
        "n_positions": net.length,
        "resid_pdrop": net.dropout,
        "embd_pdrop": net.dropout,
        "attn_pdrop": net.dropout,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": None,  # the tokens' meaning is the tokeniser's affair
        "eos_token_id": None,
    }


# What their files hold beside it: heads, the first of which is the embedding over again, and masks that old ones kept.
BESIDE = (
    "lm_head.",
    "multiple_choice_head.",
    "score.",
    "classifier.",
    "qa_outputs.",
    "h.{}.attn.bias",
    "h.{}.attn.masked_bias",
)
# `OpenAIGPTLMHeadModel`; a file of `OpenAIGPTModel` leaves out "transformer.".
NAMES = {
    "transformers": Names(
        {
            "tokens.weight": "transformer.tokens_embed.weight",
            "positions.weight": "transformer.positions_embed.weight",
            "blocks.{}.attention.qkv.*": "transformer.h.{}.attn.c_attn.*^T",
            "blocks.{}.attention.out.*": "transformer.h.{}.attn.c_proj.*^T",
            "blocks.{}.norm1.*": "transformer.h.{}.ln_1.*",
            "blocks.{}.mlp.up.*": "transformer.h.{}.mlp.c_fc.*^T",
            "blocks.{}.mlp.down.*": "transformer.h.{}.mlp.c_proj.*^T",
            "blocks.{}.norm2.*": "transformer.h.{}.ln_2.*",
        },
        ignore=BESIDE,
        base="transformer.",
        also={"lm_head.weight": "tokens_embed.weight"},  # of the two, which are one, a file may hold either
        config=config,
        speaks_of=SPEAKS_OF,
    )
}
