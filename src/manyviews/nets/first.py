"""The first token speaks for the whole text, as it is or through a layer of its own: an encoder around a BERT.

Papers   The first token and its layer: Devlin et al., NAACL 2019 (arXiv:1810.04805), section 3. With the layer in training and
         without it in use: Gao, Yao, Chen, EMNLP 2021 (arXiv:2104.08821), section 6.3.
Shapes   B texts, R rows (see `views.texts`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.bert import BERT
from manyviews.nets.encoder import Encoder, called
from manyviews.nets.reader import Reader


class First(Reader):
    """The same net with another embedding: the state of [CLS], or with `layer` what BERT's pooler makes of it.

    Its tensors are those of the reader, so that each can start from the other.
    """

    def __init__(self, reader: Reader, layer: bool):
        super().__init__(reader.net, reader.in_channels)
        self.layer = layer

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, width]` of texts `[B, R, T]`."""
        state_BTD = self.states(x_BCHW)
        return self.pool(state_BTD) if self.layer or self.by == "pooled" else state_BTD[:, 0]

    def pool(self, state_BTD: Tensor) -> Tensor:
        """What the layer makes of the first token, `[B, width]`."""
        assert isinstance(self.net, BERT)
        return self.net.pool(state_BTD)


def _first(
    inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int, layer: bool = False
) -> Encoder:
    reader = inner()
    if numbers:
        raise ManyviewsError(
            "The first token needs no number, as in first(small_bert) or pooler(small_bert)."
        )
    if not isinstance(reader, Reader) or not isinstance(reader.net, BERT):
        raise ManyviewsError(
            f"The first token speaks for a text where it looks at all others, and in {called(reader)} it does not: "
            "take small_bert or a bert_base."
        )
    return First(reader, layer)


AROUND = {"first": _first, "pooler": partial(_first, layer=True)}
