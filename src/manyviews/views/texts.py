"""What a method sees of a text: its tokens. Hiding some of them, or writing them twice, is the method's idea.

A text is two rows of whole numbers, its tokens and their parts: 0 where there is no token and the row is only filled up,
else 1 and up, the number of a document in a window, or of a sentence in a pair. Two texts that belong together (a
sentence and its translation) are four rows.

Shapes   B items, R rows (2 or 4), T tokens; int32 in a set, int64 as a view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from manyviews.views.view import Draws


@dataclass(frozen=True, kw_only=True)
class Text:
    """How one view of a text is made: its first ``size`` tokens."""

    size: int  # tokens

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Text size is {self.size}; a view has at least 1 token.")

    def describe(self) -> str:
        """The recipe in plain words, for a report or a page of documentation."""
        return f"its first {self.size:,} tokens"


class Texts:
    """Views of every text: what `Views` is for images."""

    def __init__(self, *views: Text) -> None:
        if not views:
            raise ValueError("Texts needs at least one Text.")
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    def __repr__(self) -> str:
        return f"Texts({', '.join(map(repr, self.views))})"

    def describe(self) -> str:
        """The recipes in plain words; equal ones are told once."""
        texts = [view.describe() for view in self.views]
        return "\n".join(f"{texts.count(text)} x {text}" for text in dict.fromkeys(texts))

    def draw(self, batch: int, *parts: int | str) -> Draws:
        """Nothing is drawn: the rows of a batch, ``[B, 0]`` a view."""
        return Draws(tuple(torch.empty(batch, 0) for _ in self.views))

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
        return [crop.long() for crop in crops]

    def cropped(self, sense: Tensor, draws: Draws) -> list[Tensor]:
        """Where the views look, on something else that is known of the same items: of texts nothing is."""
        raise ValueError("Nothing is known of each token of a text that views could be cut from.")


def check_text(text: Tensor, dims: int) -> None:
    shape = "[B, R, T]" if dims == 3 else "[R, T]"
    if text.dtype != torch.int32 or text.ndim != dims or text.shape[-2] not in (2, 4):
        raise ValueError(f"A text must be int32 {shape} of 2 or 4 rows, not {text.dtype} {list(text.shape)}.")
