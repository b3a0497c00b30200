"""A net that reads texts, as an encoder: what it makes of a text's tokens becomes one embedding.

Shapes   B texts, R rows of which the first two are tokens and their parts (see `views.texts`), T tokens, D width.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder, called
from manyviews.nets.positions import Learned

By = Literal["mean", "pooled"]


@runtime_checkable
class Reads(Protocol):
    """A net of tokens that says what each of them means where it stands."""

    width: int

    def hidden(self, tokens_BT: Tensor, part_BT: Tensor) -> Tensor:
        """`[B, T, D]`; what stands where `part_BT` is 0 is nobody's business."""
        ...


@runtime_checkable
class Pools(Protocol):
    """A net whose first token speaks for the whole text."""

    def pool(self, x_BTD: Tensor) -> Tensor:
        """`[B, D]`."""
        ...


class Reader(Encoder):
    """A language model, or the reading half of one. The embedding is the mean over a text's tokens.

    The channels of a text are its vocabulary: what goes in is one-hot, said by the numbers of the tokens.
    """

    def __init__(self, net: nn.Module, vocabulary: int):
        if not isinstance(net, Reads):
            raise ManyviewsError(f"{type(net).__name__} reads no texts.")
        super().__init__(net.width, vocabulary)
        self.net = net
        self.by: By = "mean"

    def states(self, x_BRT: Tensor) -> Tensor:
        """What each token means where it stands, `[B, T, D]`; zeros where there is none."""
        tokens_BT, part_BT = x_BRT[:, 0], x_BRT[:, 1]
        return self.net.hidden(tokens_BT, part_BT) * (part_BT > 0)[..., None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, width]` of texts `[B, R, T]`; their mean is zeros for one without tokens."""
        if self.by == "pooled":
            assert isinstance(self.net, Pools)
            return self.net.pool(self.states(x_BCHW))
        return pooled(self.states(x_BCHW), x_BCHW[:, 1])

    def warm_start_from(self, other: Encoder) -> None:
        """Begin as a reader of the same net that was made for longer texts, or for more or fewer kinds of sentence.

        Places and kinds that no text reaches are left out; a kind that `other` has not is its last, as which BERT reads it.
        Raises `ManyviewsError` where anything else differs.
        """
        own, given = self.state_dict(), other.state_dict()
        for name, module in self.named_modules():
            place = f"{name}.weight"
            if isinstance(module, Learned) and place in given:
                given[place] = given[place][: len(own[place])]
        if (kinds := "net.segments.weight") in own.keys() & given.keys():
            given[kinds] = given[kinds][torch.arange(len(own[kinds])).clamp(max=len(given[kinds]) - 1)]
        shapes = [{name: list(tensor.shape) for name, tensor in state.items()} for state in (own, given)]
        differ = sorted(
            name for name in own.keys() | given.keys() if shapes[0].get(name) != shapes[1].get(name)
        )
        if differ:
            here, there = (shape.get(differ[0], "not there") for shape in shapes)
            raise ManyviewsError(
                f"{called(self)} cannot start from {called(other)}: {differ[0]} is {here} here and {there} there. Take the "
                "same net, its vocabulary (its tokeniser.json as --tokens) and a --size of no more than its own."
            )
        self.load_state_dict(given)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """The states as a feature map of one row, `[B, width, 1, T]`."""
        return self.states(x_BCHW).mT[:, :, None]


def pooled(state_BTD: Tensor, part_BT: Tensor) -> Tensor:
    """The mean over the tokens that there are, `[B, D]`."""
    there_BT1 = (part_BT > 0)[..., None]
    return (state_BTD * there_BT1).sum(1) / there_BT1.sum(1).clamp(min=1)


class LastLayers(Encoder):
    """The last layers of a reader beside each other: what feature-based use takes (Devlin et al. 2019, section 5.3)."""

    def __init__(self, reader: nn.Module, layers: int = 4):
        if not isinstance(reader, Reader) or not isinstance(
            blocks := getattr(reader.net, "blocks", None), nn.ModuleList
        ):
            raise ManyviewsError(
                "The last layers of a net are asked for, and it is no stack of blocks that reads texts: take a bert or a gpt."
            )
        if not 1 <= layers <= len(blocks):
            raise ManyviewsError(f"The last {layers} layers are asked for; the net has {len(blocks)}.")
        super().__init__(layers * reader.width, reader.in_channels)
        self.reader, self.blocks = reader, list(blocks)[-layers:]

    def states(self, x_BRT: Tensor) -> Tensor:
        """What each layer made of each token, `[B, T, L D]`, the last layer last; zeros where there is no token."""
        kept: list[Tensor] = []
        hooks = [block.register_forward_hook(lambda *args: kept.append(args[-1])) for block in self.blocks]
        try:
            self.reader.states(x_BRT)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(kept, dim=-1) * (x_BRT[:, 1] > 0)[..., None]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Their mean over a text's tokens, `[B, L D]`."""
        return pooled(self.states(x_BCHW), x_BCHW[:, 1])


def by_first_token(encoder: nn.Module) -> None:
    """From now on a reader's embedding is what its first token makes of the whole text: BERT's C.

    Raises `ManyviewsError` for a net that has no such token.
    """
    if not isinstance(encoder, Reader) or not isinstance(encoder.net, Pools):
        raise ManyviewsError(
            'A pooled embedding is that of a net with a [CLS] token, as BERT has, and this is none; take "mean".'
        )
    encoder.by = "pooled"


def documents(part_BT: Tensor) -> tuple[Tensor, Tensor] | None:
    """Of windows that hold several documents: who may look at whom `[B, T, T]`, and each token's place in its own `[B, T]`.

    None where every window holds one, which needs neither.
    """
    if not bool((part_BT > 1).any()):
        return None
    # Padding looks at padding: to some kernels a row that looks nowhere is no number.
    same_BTT = part_BT[:, :, None] == part_BT[:, None]
    first_BT = torch.ones_like(part_BT, dtype=torch.bool)
    first_BT[:, 1:] = part_BT[:, 1:] != part_BT[:, :-1]
    place_T = torch.arange(part_BT.shape[1], device=part_BT.device)
    start_BT = torch.where(first_BT, place_T, 0).cummax(1).values
    return same_BTT, place_T - start_BT
