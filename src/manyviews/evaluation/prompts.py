"""Learning in context: a task is told by demonstrations in the prompt, and no weight moves.

Paper    Brown et al., NeurIPS 2020 (GPT-3, arXiv:2005.14165), section 2.4. K demonstrations are drawn from the training
         split, anew for each item, and stand before it with a newline or two between: K = 0 is zero-shot, 1 one-shot,
         more few-shot. Of the completions on offer, the likeliest is the answer: by token, or beside how likely it is
         anyway; or the net writes it (`answers`).
Differs  A text begins with a token of its own, or that which closes the one before it, so that its first is foretold
         too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch

from manyviews import rng
from manyviews.errors import ManyviewsError
from manyviews.evaluation.answers import Speaks, written
from manyviews.evaluation.completions import Asked, Logits, Words, likelihoods, tokenised

Scoring = Literal["token", "sum", "unconditional", "written"]


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
    chance: float  # 0 where the net writes its answers
    demonstrations: float  # K, as a mean over the items: less than asked for where prompts were too long
    answers: tuple[int, ...]  # a completion for each item; -1: none of them, where the net writes


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
        scoring: by the mean log-likelihood of a completion's tokens; by their sum; by log P(completion | context) -
            log P(completion | `unconditional`); or by nothing: the net writes, and is right where that is the right completion.
        instruction: stands before the demonstrations, or in their place.
        between: what separates two demonstrations, in the paper a newline or two.
        batch: texts at a time, on the `device`.

    Raises `ManyviewsError` for an item that does not fit by itself, and settings or items that make no sense.
    """
    _check(train, test, shots, scoring, batch)
    asked: list[Asked] = []
    read: list[str] = []
    used, tokens = 0, 0
    if scoring == "written":
        tokens = max(map(len, words.encode([text for item in test for text in item.completions])))
    for number, item in enumerate(test):
        shown = demonstrations(train, item, shots, seed, number)
        one = tokenised(words, whole := prompt(shown, item, instruction, between), item.completions)
        while _read(one, tokens) > length and shown:
            shown = shown[1:]
            one = tokenised(words, whole := prompt(shown, item, instruction, between), item.completions)
        if _read(one, tokens) > length:
            raise ManyviewsError(
                f"Item {number + 1} has {_read(one, tokens)} tokens without any demonstration, and the net reads {length}; "
                "shorten it, or take a net with a longer context."
            )
        used += len(shown)
        asked.append(one)
        read.append(whole)
    if scoring == "written":
        how: dict[str, Any] = {"after": between, "batch": batch, "device": device}
        told = written(logits, cast(Speaks, words), read, tokens, **how)
        return _judged(
            test, tuple(_place(text, item) for text, item in zip(told, test, strict=True)), 0.0, used
        )
    found = likelihoods(logits, asked, words.padding, batch=batch, device=device)
    if scoring == "unconditional":
        alone = [tokenised(words, before(unconditional, item), item.completions) for item in test]
        anyway = likelihoods(logits, alone, words.padding, batch=batch, device=device)
        found = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(found, anyway, strict=True)]
    elif scoring == "token":
        counts = [one.counts for one in asked]
        found = [[a / n for a, n in zip(*rows, strict=True)] for rows in zip(found, counts, strict=True)]
    answers = tuple(max(range(len(row)), key=row.__getitem__) for row in found)
    return _judged(test, answers, sum(1 / len(item.completions) for item in test) / len(test), used)


def _read(one: Asked, written: int) -> int:
    """Tokens that a net reads to score an item, or to write so many and the one that ends them."""
    return one.first + written + 1 if written else one.longest


def _judged(test: Sequence[Item], answers: tuple[int, ...], chance: float, used: int) -> InContext:
    right = sum(answer == item.right for answer, item in zip(answers, test, strict=True))
    return InContext(right / len(test), chance, used / len(test), answers)


def _place(text: str, item: Item) -> int:
    """Which completion the net has written; -1: none."""
    offered = [completion.strip() for completion in item.completions]
    return offered.index(text) if text in offered else -1


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
            f"{shots} demonstrations cannot be drawn from {len(shown)} training items other than the one asked about; "
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
            f'{shots} demonstrations, {batch} texts at a time and scoring by "{scoring}" are not all allowed; '
            f"they must be at least 0, at least 1, and one of {', '.join(get_args(Scoring))}."
        )
    if not test:
        raise ManyviewsError("There is nothing to ask; give at least one item.")
    for name, items in (("training", train), ("test", test)):
        for number, item in enumerate(items, start=1):
            offered = item.completions
            if len(set(offered)) < max(2, len(offered)) or not 0 <= item.right < len(offered):
                raise ManyviewsError(
                    f"Of the completions of {name} item {number}, {list(offered)}, number {item.right} is no answer; "
                    "give two or more different completions, and the index of the right one, counted from 0."
                )
