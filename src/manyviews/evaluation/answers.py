"""What a net writes where it is asked: answers of free form.

Paper    Brown et al., NeurIPS 2020 (GPT-3, arXiv:2005.14165), section 2.4: beam search with 4 beams and a length
         penalty of 0.6.
Differs  An answer ends where the next demonstration would begin, and has no more tokens than the longest that could be
         right.
Shapes   B prompts that are read together, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from manyviews.errors import ManyviewsError
from manyviews.evaluation.completions import Words
from manyviews.nets.beam import answer
from manyviews.nets.gpt import GPT


class Speaks(Words, Protocol):
    """A tokeniser that can say what tokens mean."""

    def decode(self, ids: Sequence[int], /) -> str: ...


def written(
    net: object,
    words: Speaks,
    prompts: Sequence[str],
    tokens: int,
    *,
    after: str,
    batch: int = 16,
    device: torch.device | str = "cpu",
) -> list[str]:
    """What `net` writes after each prompt, without blanks around it.

    Args:
        tokens: that an answer has at most.
        after: what stands between an answer and the next demonstration.

    Raises `ManyviewsError` unless the net is a GPT, whose prompts can be filled up.
    """
    if not isinstance(net, GPT):
        raise ManyviewsError(
            'Answers that are "written" are those of a GPT; take another scoring for this net.'
        )
    begins = words.end if words.start is None else words.start
    before = [] if begins is None else [begins]
    ids = [before + text for text in words.encode(list(prompts))]
    stop = _first(words, after)
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    found = [""] * len(ids)
    for some in (order[at : at + batch] for at in range(0, len(order), batch)):
        longest = max(len(ids[place]) for place in some)
        empty_B = [longest - len(ids[place]) for place in some]
        rows = [[words.padding] * empty + ids[place] for empty, place in zip(empty_B, some, strict=True)]
        there_BT = torch.arange(longest) >= torch.tensor(empty_B)[:, None]
        prompt_BT, there_BT = torch.tensor(rows).to(device), there_BT.to(device)
        told = answer(net, prompt_BT, tokens + 1, end=stop, padding_BT=there_BT)  # and the one that ends it
        for place, row in zip(some, told.tokens_BT.tolist(), strict=True):
            row = row[: row.index(stop)] if stop in row else row
            text = words.decode(row)
            found[place] = (text.partition(after)[0] if after else text).strip()
    return found


def _first(words: Words, after: str) -> int | None:
    """The token that an answer ends at; None where none stands for the beginning of `after` alone."""
    if not after:
        return words.end
    (alone,) = words.encode([after])
    if not alone:
        raise ManyviewsError(
            f"This tokeniser has no token for the separator {after!r}, so that no answer would end; separate demonstrations by something else."
        )
    joined = words.encode([f"{letter}{after}" for letter in "ab"])
    return alone[0] if all(alone[0] in text for text in joined) else None
