"""Learning in context: a task is told by demonstrations in the prompt, and no weight moves.

Paper    Brown et al., NeurIPS 2020 (GPT-3, arXiv:2005.14165), section 2.4. K demonstrations are drawn from the training
         split, anew for each item, and stand before it with a newline or two between: K = 0 is zero-shot, 1 one-shot, more
         few-shot. Of the completions on offer, the likeliest is the answer: by token, or beside how likely it is anyway.
         Answers of free form are `nets.beam`'s.
Differs  A text begins with a token of its own, or that which closes the one before it, so that its first is foretold too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from manyviews import rng
from manyviews.errors import ManyviewsError
from manyviews.evaluation.completions import Asked, Logits, Words, likelihoods, tokenised

Scoring = Literal["token", "sum", "unconditional"]


@dataclass(frozen=True)
class Item:
    """A question: what stands before the answer, and what may be the answer, with the blank that it begins with."""

    context: str
    completions: tuple[str, ...]
    right: int  # which completion


@dataclass(frozen=True)
class InContext:
    """How many answers were right, and how many would be by guessing."""

    accuracy: float
    chance: float
    demonstrations: float  # K, as a mean over the items: less than asked for where prompts were too long
    answers: tuple[int, ...]  # a completion for each item


def in_context(
    logits: Logits,
    words: Words,
    train: Sequence[Item],
    test: Sequence[Item],
    *,
    length: int,
    shots: int = 0,
    scoring: Scoring = "token",
    instruction: str = "",
    between: str = "\n\n",
    unconditional: str = "Answer: ",
    seed: int = 0,
    batch: int = 16,
    device: torch.device | str = "cpu",
) -> InContext:
    """Ask a net each item of `test`, with `shots` demonstrations from `train`.

    Args:
        logits: the net, judging.
        length: tokens that it reads at most; demonstrations are left out, the first of them first, until an item fits.
        shots: K.
        scoring: by the mean log-likelihood of a completion's tokens; by their sum; or by log P(completion | context) -
            log P(completion | `unconditional`).
        instruction: stands before the demonstrations, or in their place.
        between: what separates two demonstrations, in the paper a newline or two.
        batch: texts at a time, on the `device`.

    Raises `ManyviewsError` for an item that does not fit by itself, and settings or items that make no sense.
    """
    _check(train, test, shots, scoring, batch)
    asked: list[Asked] = []
    used = 0
    for number, item in enumerate(test):
        shown = demonstrations(train, item, shots, seed, number)
        one = tokenised(words, prompt(shown, item, instruction, between), item.completions)
        while one.longest > length and shown:
            shown = shown[1:]
            one = tokenised(words, prompt(shown, item, instruction, between), item.completions)
        if one.longest > length:
            raise ManyviewsError(
                f"Item {number + 1} has {one.longest} tokens without any demonstration, and the net reads {length}; "
                "shorten it, or take a net with a longer context."
            )
        used += len(shown)
        asked.append(one)
    found = likelihoods(logits, asked, words.padding, batch=batch, device=device)
    if scoring == "unconditional":
        alone = [tokenised(words, before(unconditional, item), item.completions) for item in test]
        anyway = likelihoods(logits, alone, words.padding, batch=batch, device=device)
        found = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(found, anyway, strict=True)]
    elif scoring == "token":
        counts = [one.counts for one in asked]
        found = [[a / n for a, n in zip(*rows, strict=True)] for rows in zip(found, counts, strict=True)]
    answers = tuple(max(range(len(row)), key=row.__getitem__) for row in found)
    return InContext(
        accuracy=sum(answer == item.right for answer, item in zip(answers, test, strict=True)) / len(test),
        chance=sum(1 / len(item.completions) for item in test) / len(test),
        demonstrations=used / len(test),
        answers=answers,
    )


def before(context: str, item: Item) -> str:
    """The context as completions follow it, which may bring the blank between the two along."""
    return context.rstrip(" ") if all(words.startswith(" ") for words in item.completions) else context


def demonstrations(train: Sequence[Item], item: Item, shots: int, seed: int, number: int) -> list[Item]:
    """`shots` items of `train`, drawn without putting back by the seed and the item's number; none with its context.

    Raises `ManyviewsError` where there are not so many.
    """
    order = torch.randperm(len(train), generator=rng.generator(seed, "demonstrations", number)).tolist()
    shown = [train[place] for place in order if train[place].context != item.context][:shots]
    if len(shown) < shots:
        raise ManyviewsError(
            f"{shots} demonstrations cannot be drawn from {len(shown)} training items other than the one that is asked; "
            "ask for fewer."
        )
    return shown


def prompt(shown: Sequence[Item], item: Item, instruction: str = "", between: str = "\n\n") -> str:
    """What a net reads: demonstrations with their right completions, then the item without."""
    whole = [one.context + one.completions[one.right] for one in shown]
    return between.join([*([instruction] if instruction else []), *whole, item.context])


def _check(train: Sequence[Item], test: Sequence[Item], shots: int, scoring: str, batch: int) -> None:
    if shots < 0 or batch < 1 or scoring not in get_args(Scoring):
        raise ManyviewsError(
            f'{shots} demonstrations, {batch} texts at a time and scoring by "{scoring}" cannot be; '
            f"they are at least 0, at least 1, and one of {', '.join(get_args(Scoring))}."
        )
    if not test:
        raise ManyviewsError("There is nothing to ask; give at least one item.")
    for name, items in (("training", train), ("test", test)):
        for number, item in enumerate(items, start=1):
            offered = item.completions
            if len(set(offered)) < max(2, len(offered)) or not 0 <= item.right < len(offered):
                raise ManyviewsError(
                    f"Of the completions of {name} item {number}, {list(offered)}, number {item.right} is no answer; "
                    "give two or more that differ, and the place of the right one, from 0 on."
                )
