"""Transformer: sequences by attention alone; BERT, GPT and ViT are stacks of its block.

Paper    Vaswani et al., NeurIPS 2017 (arXiv:1706.03762). Figure 1, sub-layers section 3.1, feed-forward eq. 2, one
         embedding matrix for all three uses section 3.4, sizes table 3, dropout section 5.4.
Differs  Pre-norm is an option here (Xiong et al. 2020, arXiv:2002.04745), with the norm after the last block that it
         needs. Weights start as in Glorot & Bengio 2010, as in the authors' code, which at first drew queries, keys and
         values as one matrix. The projections to these have biases here, none in the paper.
Shapes   B sequences, S source tokens, T target tokens, D width, V vocabulary.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.nets.attention import Attention, Cache
from manyviews.nets.dropout import drop_path, dropout
from manyviews.nets.linear import Linear, linear
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.positions import Learned, fits, sinusoidal

NormPlace = Literal["pre", "post"]
Activation = Literal["relu", "gelu", "gelu_tanh", "gelu_sigmoid"]


def gelu_sigmoid(x: Tensor) -> Tensor:
    """GELU's other approximation (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_sigmoid": gelu_sigmoid,
}


class FeedForward(nn.Module):
    """Two layers, applied to each token by itself (eq. 2); `inner_dropout` is ViT's, after the activation."""

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        activation: Activation = "relu",
        inner_dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        self.up = Linear(width, hidden, bias=bias)
        self.down = Linear(hidden, width, bias=bias)
        self.activation = ACTIVATIONS[activation]
        self.inner_dropout = inner_dropout

    def forward(self, x_BTD: Tensor) -> Tensor:
        hidden = self.activation(self.up(x_BTD))
        return self.down(dropout(hidden, self.inner_dropout, self.training))


class Block(nn.Module):
    """Attention, attention to a memory (`cross`), feed-forward: each adds to what it was given.

    Post-norm is `norm(x + sublayer(x))` (3.1), pre-norm `x + sublayer(norm(x))`.

    Args:
        hidden: width inside the feed-forward layer; 4 * `width` where it is not given.
        dropout: of each sub-layer's output. `attention_dropout` is of the attention weights.
        eps: of the norms.
        bias: of all dense layers.
        rms: norms only scale, by the root of the mean square (Zhang & Sennrich 2019, arXiv:1910.07467).
        head_width, relative: see `Attention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        *,
        norm: NormPlace = "pre",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        inner_dropout: float = 0.0,
        cross: bool = False,
        eps: float = 1e-5,
        bias: bool = True,
        rms: bool = False,
        head_width: int | None = None,
        relative: nn.Module | None = None,
    ):
        super().__init__()
        self.pre, self.dropout = norm == "pre", dropout
        self.drop_path = 0.0  # chance that a sample goes around a sub-layer: `stochastic_depth` sets it
        norm_of = nn.RMSNorm if rms else nn.LayerNorm
        look: dict[str, Any] = {"head_width": head_width, "dropout": attention_dropout, "bias": bias}
        self.norm1 = norm_of(width, eps)
        self.attention = Attention(width, heads, relative=relative, **look)
        self.cross: Attention | None = None
        if cross:
            self.norm_cross = norm_of(width, eps)
            self.cross = Attention(width, heads, cross=True, **look)
        self.norm2 = norm_of(width, eps)
        self.mlp = FeedForward(
            width, hidden or 4 * width, activation=activation, inner_dropout=inner_dropout, bias=bias
        )

    def forward(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor | None = None,
        *,
        memory_padding_BS: Tensor | None = None,
        cache: Cache | None = None,
        **masks: Any,
    ) -> Tensor:
        """`[B, T, D]`; `masks` are those of `Attention` over the tokens themselves."""
        x, drop, masks["cache"] = x_BTD, self.drop, cache
        look = {"padding_BS": memory_padding_BS, "cache": cache}
        if self.pre:
            x = x + drop(self.attention(self.norm1(x), **masks))
            if self.cross is not None:
                x = x + drop(self.cross(self.norm_cross(x), memory_BSD, **look))
            return x + drop(self.mlp(self.norm2(x)))
        x = self.norm1(x + drop(self.attention(x, **masks)))
        if self.cross is not None:
            x = self.norm_cross(x + drop(self.cross(x, memory_BSD, **look)))
        return self.norm2(x + drop(self.mlp(x)))

    def drop(self, y: Tensor) -> Tensor:
        return drop_path(dropout(y, self.dropout, self.training), self.drop_path, self.training)


def stochastic_depth(net: nn.Module, rate: float) -> None:
    """From now on samples go around sub-layers of `net` while it trains: of its last block with probability `rate`, of
    those before with less, in equal steps down to 0 for the first (Huang et al., ECCV 2016, arXiv:1603.09382)."""
    blocks = [module for module in net.modules() if isinstance(module, Block)]
    for layer, block in enumerate(blocks):
        block.drop_path = rate * layer / max(1, len(blocks) - 1)


def glorot(name: str, dense: nn.Linear) -> None:
    """Weights by Glorot & Bengio 2010, of each projection by itself where a layer makes several."""
    for part_ND in dense.weight.data.chunk({"qkv": 3, "kv": 2}.get(name.rpartition(".")[2], 1)):
        nn.init.xavier_uniform_(part_ND)


class Blocks(nn.ModuleList):
    """A stack of `depth` blocks, all alike and all given the same masks."""

    def __init__(self, depth: int, width: int, heads: int, hidden: int | None = None, **options: Any):
        super().__init__(Block(width, heads, hidden, **options) for _ in range(depth))

    def forward(self, x_BTD: Tensor, *args: Any, **masks: Any) -> Tensor:
        for block in self:
            x_BTD = block(x_BTD, *args, **masks)
        return x_BTD


class Transformer(nn.Module):
    """Encoder and decoder (figure 1); source and target share one vocabulary.

    Args:
        vocabulary: V; `padding` is the token that only fills up.
        length: places of learned positions; sinusoidal ones reach as far.
        positions: "none" tells an encoder nothing of order, a decoder what its causal mask tells.
    """

    def __init__(
        self,
        vocabulary: int = 37_000,
        width: int = 512,
        depth: int = 6,
        heads: int = 8,
        hidden: int = 2048,
        *,
        dropout: float = 0.1,
        norm: NormPlace = "post",
        positions: Literal["sinusoidal", "learned", "none"] = "sinusoidal",
        length: int = 1024,
        padding: int = 0,
    ):
        super().__init__()
        self.width, self.padding, self.dropout = width, padding, dropout
        self.tokens = nn.Embedding(vocabulary, width)
        self.learned = Learned(length, width) if positions == "learned" else None
        waves_LD = torch.zeros(length, width) if positions == "none" else sinusoidal(length, width)
        self.register_buffer("waves", waves_LD, persistent=False)
        plan = {"norm": norm, "activation": "relu", "dropout": dropout}
        self.encoder = Blocks(depth, width, heads, hidden, **plan)
        self.decoder = Blocks(depth, width, heads, hidden, cross=True, **plan)
        last = nn.LayerNorm if norm == "pre" else nn.Identity
        self.encoder_norm, self.decoder_norm = last(width), last(width)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                glorot(name, module)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)

    def forward(self, source_BS: Tensor, target_BT: Tensor) -> Tensor:
        """Logits `[B, T, V]` of the token after each target token; the target begins with its start token."""
        return self.decode(target_BT, self.encode(source_BS), source_BS != self.padding)

    def encode(self, source_BS: Tensor, padding_BS: Tensor | None = None) -> Tensor:
        """The memory `[B, S, D]`; `padding_BS` is True where there is a token, unless told where none is `padding`."""
        padding_BS = source_BS != self.padding if padding_BS is None else padding_BS
        return self.encoder_norm(self.encoder(self.embed(source_BS), padding_BS=padding_BS))

    def hidden(self, tokens_BT: Tensor, part_BT: Tensor) -> Tensor:
        """The memory of texts (see `Reader`), `[B, T, D]`."""
        return self.encode(tokens_BT, part_BT > 0)

    def decode(
        self,
        target_BT: Tensor,
        memory_BSD: Tensor,
        source_padding_BS: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`; with a `cache`, `target_BT` are the tokens after those that it holds."""
        return linear(self.answer(target_BT, memory_BSD, source_padding_BS, cache), self.tokens.weight)

    def answer(
        self,
        target_BT: Tensor,
        memory_BSD: Tensor,
        source_padding_BS: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """What `decode` makes its logits of, `[B, T, D]`."""
        x_BTD = self.embed(target_BT, cache.length if cache else 0)
        x_BTD = self.decoder(x_BTD, memory_BSD, memory_padding_BS=source_padding_BS, causal=True, cache=cache)
        return self.decoder_norm(x_BTD)

    def embed(self, tokens_BT: Tensor, start: int = 0) -> Tensor:
        """Tokens scaled by the root of D (3.4), with their places (3.5): `[B, T, D]`."""
        T = tokens_BT.shape[1]
        waves_TD = self.get_buffer("waves")
        fits(start + T, len(waves_TD))
        place_TD = self.learned(T, start) if self.learned else waves_TD[start : start + T]
        return dropout(self.tokens(tokens_BT) * self.width**0.5 + place_TD, self.dropout, self.training)


NETS = {
    "transformer_base": Net(
        make=Transformer, paper="Vaswani et al. 2017, table 3", sees="two sequences",
        size=64, parameters=65, known_as={"torch.nn": "Transformer"},
    ),
    "transformer_big": Net(
        make=partial(Transformer, width=1024, heads=16, hidden=4096, dropout=0.3),
        paper="Vaswani et al. 2017, table 3", sees="two sequences", size=64, parameters=213,
        known_as={"torch.nn": "Transformer"},
    ),
    "small_transformer": Net(
        make=partial(Transformer, width=128, depth=2, heads=4, hidden=512), paper="ours, for the embedded world",
        sees="two sequences", size=48, known_as={"torch.nn": "Transformer"},
        variants={
            "nodrop": {"dropout": 0.0}, "3x256": {"depth": 3, "width": 256, "hidden": 1024}, "pre": {"norm": "pre"},
            "learned": {"positions": "learned"}, "unplaced": {"positions": "none"},
        },
    ),
}  # fmt: skip

# `nn.Transformer` beside an embedding. Its two last norms are ours in pre-norm; post-norm has none: there, set them to
# the identity, as the paper has it.
_BOTH = {
    "norm1.*": "norm1.*",
    "attention.qkv.*": "self_attn.in_proj_*",
    "attention.out.*": "self_attn.out_proj.*",
    "mlp.up.*": "linear1.*",
    "mlp.down.*": "linear2.*",
}
NAMES = {
    "torch.nn": Names(
        {
            **{f"encoder.{{}}.{ours}": f"encoder.layers.{{}}.{theirs}" for ours, theirs in _BOTH.items()},
            **{f"decoder.{{}}.{ours}": f"decoder.layers.{{}}.{theirs}" for ours, theirs in _BOTH.items()},
            "encoder.{}.norm2.*": "encoder.layers.{}.norm2.*",
            "decoder.{}.norm_cross.*": "decoder.layers.{}.norm2.*",
            "decoder.{}.cross.q.* + decoder.{}.cross.kv.*": "decoder.layers.{}.multihead_attn.in_proj_*",
            "decoder.{}.cross.out.*": "decoder.layers.{}.multihead_attn.out_proj.*",
            "decoder.{}.norm2.*": "decoder.layers.{}.norm3.*",
            "encoder_norm.*": "encoder.norm.*",
            "decoder_norm.*": "decoder.norm.*",
            "tokens.weight": "tokens.weight",
        }
    )
}
