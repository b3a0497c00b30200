"""BERT: each token is read with what stands on both sides of it, and a hidden one is predicted from them.

Paper    Devlin, Chang, Lee, Toutanova, NAACL 2019 (arXiv:1810.04805). Input figure 2, sizes section 3, heads section
         3.1 and appendix A.1; tiny to medium are of Turc et al. 2019 (arXiv:1908.08962).
Differs  Nothing. What the paper leaves open is as in the authors' code: eps is 1e-12, GELU is exact (not its
         approximation by tanh), and a norm stands before the logits of the words.
Shapes   B sequences, T tokens, D width, V vocabulary, N tokens that are hidden.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.dropout import dropout
from manyviews.nets.names import Names
from manyviews.nets.net import Net
from manyviews.nets.positions import Learned
from manyviews.nets.transformer import Blocks

EPS = 1e-12  # of every layer norm


class BERT(nn.Module):
    """An encoder that looks both ways: what it makes of each token, and of the whole sequence (`pool`).

    Args:
        vocabulary: V. The paper speaks of 30,000 word pieces; its uncased English one has 30,522.
        length: the longest sequence, in tokens.
        segments: kinds of sentence: A and B.
        dropout: of the input, every sub-layer's output and the attention weights.

    Raises `ManyviewsError` where `heads` does not divide `width`.
    """

    def __init__(
        self,
        vocabulary: int = 30_522,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        *,
        length: int = 512,
        segments: int = 2,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.width, self.heads, self.length, self.dropout = width, heads, length, dropout
        self.tokens = nn.Embedding(vocabulary, width)
        self.segments = nn.Embedding(segments, width)
        self.positions = Learned(length, width)
        self.norm = nn.LayerNorm(width, EPS)
        self.blocks = Blocks(
            depth,
            width,
            heads,
            norm="post",
            activation="gelu",
            dropout=dropout,
            attention_dropout=dropout,
            eps=EPS,
        )
        self.pooler = nn.Linear(width, width)
        self.apply(initialise)
        truncated_normal(self.positions.weight)

    def forward(
        self, tokens_BT: Tensor, segments_BT: Tensor | None = None, padding_BT: Tensor | None = None
    ) -> Tensor:
        """What each token means where it stands, `[B, T, D]`.

        Args:
            segments_BT: 0 for a token of sentence A, 1 for one of B; all are of A where it is not given.
            padding_BT: True where there is a token, False where the sequence is only filled up.

        Raises `ManyviewsError` for a sequence longer than `length`, or segments or padding of another shape.
        """
        x_BTD = self.embed(tokens_BT, segments_BT)
        return self.blocks(x_BTD, padding_BS=padding_BT)

    def hidden(self, tokens_BT: Tensor, part_BT: Tensor) -> Tensor:
        """`[B, T, D]` of texts, of a sentence or a pair of them (see `Reader`)."""
        return self(tokens_BT, (part_BT - 1).clamp(0, self.segments.num_embeddings - 1), part_BT > 0)

    def embed(self, tokens_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Token, segment and position as one sum (figure 2): `[B, T, D]`."""
        if segments_BT is not None:
            alike("segments_BT", segments_BT, tokens_BT, torch.int64, torch.int32)
        segment = self.segments.weight[0] if segments_BT is None else self.segments(segments_BT)
        x_BTD = self.tokens(tokens_BT) + (self.positions(tokens_BT.shape[1]) + segment)
        return dropout(self.norm(x_BTD), self.dropout, self.training)

    def pool(self, x_BTD: Tensor) -> Tensor:
        """C: the whole sequence as its first token, [CLS], saw it: `[B, D]`."""
        return self.pooler(x_BTD[:, 0]).tanh()


class Pretraining(nn.Module):
    """BERT with its two tasks: which word is hidden here, and does B follow A?"""

    def __init__(self, encoder: BERT):
        super().__init__()
        self.encoder = encoder
        self.transform = nn.Linear(encoder.width, encoder.width)
        self.transform_norm = nn.LayerNorm(encoder.width, EPS)
        self.bias = nn.Parameter(torch.zeros(encoder.tokens.num_embeddings))
        self.next = nn.Linear(encoder.width, 2)
        self.transform.apply(initialise)
        self.next.apply(initialise)

    def forward(
        self,
        tokens_BT: Tensor,
        segments_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        hidden_BT: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Logits of the words, and of "B follows A" and "B is from elsewhere" `[B, 2]`.

        Words are told of every token, `[B, T, V]`; given `hidden_BT`, True where one is hidden, only of those,
        `[N, V]`: with 15% of the tokens hidden this saves most of the largest product.

        Raises `ManyviewsError` as the encoder does, and for `hidden_BT` of another shape.
        """
        if hidden_BT is not None:
            alike("hidden_BT", hidden_BT, tokens_BT, torch.bool)
        x_BTD = self.encoder(tokens_BT, segments_BT, padding_BT)
        words = self.words(x_BTD if hidden_BT is None else x_BTD[hidden_BT])
        return words, self.next(self.encoder.pool(x_BTD))

    def words(self, x: Tensor) -> Tensor:
        """Logits `[..., V]` of tokens `[..., D]`; the embedding is the last matrix too."""
        return F.linear(self.transformed(x), self.encoder.tokens.weight, self.bias)

    def transformed(self, x: Tensor) -> Tensor:
        """What the logits of the words are made of, `[..., D]`."""
        return self.transform_norm(F.gelu(self.transform(x)))


def alike(name: str, given: Tensor, tokens_BT: Tensor, *dtypes: torch.dtype) -> None:
    """Raises `ManyviewsError` where what is said of every token has another shape than the tokens, or another type."""
    if given.shape != tokens_BT.shape or given.dtype not in dtypes:
        raise ManyviewsError(
            f"{name} is {given.dtype} {list(given.shape)}, but these tokens need {dtypes[0]} {list(tokens_BT.shape)}."
        )


def initialise(module: nn.Module) -> None:
    """A normal of deviation 0.02, cut at two deviations; biases start at zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        truncated_normal(module.weight)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def truncated_normal(weight: Tensor, std: float = 0.02) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


# depth, width, heads, millions of parameters as the papers state them, name at the hub
SIZES = {
    "tiny": (2, 128, 2, 4.4, "google/bert_uncased_L-2_H-128_A-2"),
    "mini": (4, 256, 4, 11.3, "google/bert_uncased_L-4_H-256_A-4"),
    "small": (4, 512, 8, 29.1, "google/bert_uncased_L-4_H-512_A-8"),
    "medium": (8, 512, 8, 41.7, "google/bert_uncased_L-8_H-512_A-8"),
    "base": (12, 768, 12, 110, "google-bert/bert-base-uncased"),
    "large": (24, 1024, 16, 340, "google-bert/bert-large-uncased"),
}
NETS = {
    f"bert_{size}": Net(
        make=partial(BERT, depth=depth, width=width, heads=heads),
        paper="Devlin et al. 2019, section 3" if size in ("base", "large") else "Turc et al. 2019, table 1",
        sees="tokens", size=512, parameters=millions, known_as={"transformers": name},
    )
    for size, (depth, width, heads, millions, name) in SIZES.items()
} | {
    "small_bert": Net(
        make=partial(BERT, width=128, depth=4, heads=4), paper="ours, for the embedded world", sees="tokens", size=128,
        variants={"nodrop": {"dropout": 0.0}},
    )
}  # fmt: skip

_BERT = {
    "tokens.weight": "embeddings.word_embeddings.weight",
    "segments.weight": "embeddings.token_type_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "norm.*": "embeddings.LayerNorm.*",
    "blocks.{}.attention.qkv.*": "encoder.layer.{}.attention.self.query.* + encoder.layer.{}.attention.self.key.*"
    " + encoder.layer.{}.attention.self.value.*",
    "blocks.{}.attention.out.*": "encoder.layer.{}.attention.output.dense.*",
    "blocks.{}.norm1.*": "encoder.layer.{}.attention.output.LayerNorm.*",
    "blocks.{}.mlp.up.*": "encoder.layer.{}.intermediate.dense.*",
    "blocks.{}.mlp.down.*": "encoder.layer.{}.output.dense.*",
    "blocks.{}.norm2.*": "encoder.layer.{}.output.LayerNorm.*",
    "pooler.*": "pooler.dense.*",
}


def config(net: BERT | Pretraining) -> dict[str, Any]:
    """transformers' `BertConfig` of a net."""
    bert = net if isinstance(net, BERT) else net.encoder
    return {
        "model_type": "bert",
        "architectures": ["BertModel" if net is bert else "BertForPreTraining"],
        "vocab_size": bert.tokens.num_embeddings,
        "hidden_size": bert.width,
        "num_hidden_layers": len(bert.blocks),
        "num_attention_heads": bert.heads,
        "intermediate_size": 4 * bert.width,
        "hidden_act": "gelu",
        "is_decoder": False,
        "max_position_embeddings": bert.length,
        "type_vocab_size": bert.segments.num_embeddings,
        "hidden_dropout_prob": bert.dropout,
        "attention_probs_dropout_prob": bert.dropout,
        "layer_norm_eps": EPS,
    }


# BERT is their `BertModel`, or what any of their models with a head calls "bert."; those that tell words or tags of every
# token have no pooler. Pretraining is `BertForPreTraining`, whose decoder is the embedding once more.
NAMES = {
    "transformers": Names(
        {
            **_BERT,
            **{
                f"encoder.{ours}": " + ".join(f"bert.{part}" for part in theirs.split(" + "))
                for ours, theirs in _BERT.items()
            },
            "transform.*": "cls.predictions.transform.dense.*",
            "transform_norm.*": "cls.predictions.transform.LayerNorm.*",
            "bias": "cls.predictions.bias",
            "next.*": "cls.seq_relationship.*",
        },
        ignore=("cls.", "classifier.", "qa_outputs.", "embeddings.position_ids"),
        base="bert.",
        optional=("pooler.",),
        also={
            "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
            "**.LayerNorm.gamma": "**.LayerNorm.weight",  # as files that came from TensorFlow call them
            "**.LayerNorm.beta": "**.LayerNorm.bias",
        },
        config=config,
        speaks_of=("vocabulary", "width", "depth", "heads", "length", "segments"),
    )
}
