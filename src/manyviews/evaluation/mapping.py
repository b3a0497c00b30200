"""A task that only its demonstrations tell: which word of one list stands for which of another.

The mapping is drawn anew for each task, so that whoever knows every other task still has to read the prompt. An item asks
for a word that was shown with another number behind it, so that no demonstration is the item over again.
"""

from __future__ import annotations

import torch

from manyviews import rng
from manyviews.errors import ManyviewsError
from manyviews.evaluation.prompts import Item

SIGNS = ("ba", "do", "fe", "gi", "ku", "lo", "me", "ni", "pa", "ru", "so", "ti", "vu", "wa", "xe", "zo")
NAMES = (" red", " blue", " green", " black", " white", " brown", " pink", " grey")


def mapping(
    task: int, *, signs: int = 4, names: int = 4, train: int = 32, test: int = 16, seed: int = 0
) -> tuple[list[Item], list[Item]]:
    """Training and test items of one task: "ba 17 ->" and, of all the names, the one that stands for "ba" here.

    Args:
        task: its number; each has a mapping of its own, in which every name is as frequent as the signs allow.
        signs: that occur; `names` are the completions on offer, so that chance is 1 / names.

    Raises `ManyviewsError` for more words than there are, or fewer than two names.
    """
    if not (2 <= names <= len(NAMES) and 1 <= signs <= len(SIGNS)) or train + test > 90 * signs:
        raise ManyviewsError(
            f"There is no task of {signs} signs, {names} names and {train + test} items; a task has 1 to {len(SIGNS)} signs, "
            f"2 to {len(NAMES)} names, and at most 90 items a sign."
        )
    draw = rng.generator(seed, "mapping", task)
    offered = tuple(NAMES[place] for place in torch.randperm(len(NAMES), generator=draw)[:names].tolist())
    known = [SIGNS[place] for place in torch.randperm(len(SIGNS), generator=draw)[:signs].tolist()]
    stands_for = (torch.arange(signs) % names)[torch.randperm(signs, generator=draw)].tolist()
    asked = torch.randperm(90 * signs, generator=draw)[: train + test].tolist()
    items = [
        Item(f"{known[place % signs]} {10 + place // signs} ->", offered, stands_for[place % signs])
        for place in asked
    ]
    return items[:train], items[train:]
