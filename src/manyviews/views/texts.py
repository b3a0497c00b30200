"""What a method sees of a text: its tokens, or all but some of them. Hiding some, or reading them twice, is the method's idea.

A text is two rows of whole numbers, its tokens and their parts: 0 where there is no token and the row is only filled up,
else 1 and up, the number of a document in a window, or of a sentence in a pair. Two texts that belong together (a
sentence and its translation) are four rows, three are six.

Shapes   B items, R rows (2, 4 or 6), T tokens; int32 in a set, int64 as a view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.rng import generator
from manyviews.views.several import Several
from manyviews.views.view import Draws


@dataclass(frozen=True, kw_only=True)
class Text:
    """How one view of a text is made: its first ``size`` tokens, perhaps less some of them: at least one, never all."""

    size: int  # tokens
    delete: float | None = None  # share of the tokens that are taken out, anywhere
    crop: float | None = None  # share of the tokens that are taken off the ends: one stretch stays
    keep: tuple[int, ...] = ()  # tokens that do not count as such: those that begin and end a text

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ManyviewsError(f"Text size is {self.size}; a view has at least 1 token.")
        if self.delete is not None and self.crop is not None:
            raise ManyviewsError("A text is shortened in one way: by delete or by crop.")
        if not 0 <= (self.share or 0) < 1:
            raise ManyviewsError(
                f"The share of a text that is taken away is {self.share}; it is at least 0 and below 1."
            )

    @property
    def share(self) -> float | None:
        """Of the tokens that are taken away; None: all stay."""
        return self.crop if self.delete is None else self.delete

    @property
    def uniforms(self) -> int:
        """How many numbers are drawn for a text."""
        return 0 if self.share is None else 1 if self.delete is None else self.size

    def describe(self) -> str:
        """The recipe in plain words, for a report or a page of documentation."""
        where = "from anywhere" if self.delete is not None else "off its ends"
        less = (
            ""
            if self.share is None
            else f", less {self.share:.0%} {where}"
            if self.share
            else f", less one {where}"
        )
        return f"its first {self.size:,} tokens{less}"


class Texts(Several[Text]):
    """Views of every text: what `Views` is for images."""

    items = "texts"

    def draw(self, batch: int, *parts: int | str) -> Draws:
        """What is drawn of a global batch, ``[B, uniforms]`` a view: a function of ``parts`` alone."""
        source = generator(*parts)
        return Draws(tuple(torch.rand(batch, view.uniforms, generator=source) for view in self.views))

    def __call__(self, text: Tensor, draws: Draws) -> list[Tensor]:
        """All views of int32 ``[B, R, T]``: per view int64 ``[B, R, S]``, on its device."""
        check_text(text, 3)
        return self.finish([text[..., : view.size] for view in self.views], draws)

    def crop(self, text: Tensor, draws: Draws, row: int) -> list[Tensor]:
        """One text in a worker: int32 ``[R, T]`` to V of int32 ``[R, S]``."""
        check_text(text, 2)
        return [text[..., : view.size] for view in self.views]

    def finish(self, crops: list[Tensor], draws: Draws) -> list[Tensor]:
        """V of int32 ``[B, R, S]`` to V of int64."""
        seen = zip(self.views, crops, draws.uniforms, strict=True)
        return [shortened(crop.long(), view, uniforms_BU) for view, crop, uniforms_BU in seen]

    def cropped(self, sense: Tensor, draws: Draws) -> list[Tensor]:
        """Where the views look, on something else that is known of the same items: of texts nothing is."""
        raise ManyviewsError("Nothing is known of each token of a text that views could be cut from.")


def shortened(text_BRT: Tensor, view: Text, uniforms_BU: Tensor) -> Tensor:
    """Texts without what the view takes away, what stays moved together; of all texts of an item at the same places."""
    if view.share is None:
        return text_BRT
    token_BNT, part_BNT = text_BRT[:, 0::2], text_BRT[:, 1::2]
    may_BNT = part_BNT > 0
    for token in view.keep:
        may_BNT = may_BNT & (token_BNT != token)
    count_BN1 = may_BNT.sum(-1, keepdim=True)
    taken_BN1 = (view.share * count_BN1).round().clamp(min=1).minimum(count_BN1 - 1).clamp(min=0)
    u_B1U = uniforms_BU.to(text_BRT.device)[:, None]
    if view.delete is not None:
        u_BNT = u_B1U[..., : text_BRT.shape[-1]].expand_as(may_BNT)
        rank_BNT = u_BNT.masked_fill(~may_BNT, 2.0).argsort(dim=-1, stable=True).argsort(dim=-1)
        gone_BNT = may_BNT & (rank_BNT < taken_BN1)
    else:
        place_BNT, first_BN1 = may_BNT.cumsum(-1) - 1, (u_B1U * (taken_BN1 + 1)).floor()
        inside_BNT = (place_BNT >= first_BN1) & (place_BNT < first_BN1 + count_BN1 - taken_BN1)
        gone_BNT = may_BNT & ~inside_BNT
    order_BNT = (gone_BNT | (part_BNT == 0)).to(torch.uint8).argsort(dim=-1, stable=True)
    stays = [x.masked_fill(gone_BNT, 0).gather(-1, order_BNT) for x in (token_BNT, part_BNT)]
    return torch.stack(stays, 2).flatten(1, 2)


def check_text(text: Tensor, dims: int) -> None:
    shape = "[B, R, T]" if dims == 3 else "[R, T]"
    if text.dtype != torch.int32 or text.ndim != dims or text.shape[-2] not in (2, 4, 6):
        raise ManyviewsError(
            f"A text must be int32 {shape} of 2, 4 or 6 rows, not {text.dtype} {list(text.shape)}."
        )
