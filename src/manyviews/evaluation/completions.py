"""How likely texts are to go on in one way or another, by a net that tells the next token.

Shapes   B texts, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError

# [B, T] -> [B, T, V]: the logits of what follows each token, which know of none behind it.
Logits = Callable[[Tensor], Tensor]


class Words(Protocol):
    """What is asked of a tokeniser here."""

    padding: int
    start: int | None
    end: int | None

    def encode(self, texts: list[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class Asked:
    """A prompt with each of its completions, as tokens."""

    texts: list[list[int]]
    first: int  # token of the texts from which on they are scored

    @property
    def longest(self) -> int:
        """Tokens that are read; the last is only foretold."""
        return max(map(len, self.texts)) - 1

    @property
    def counts(self) -> list[int]:
        """Tokens that are scored, of each text."""
        return [len(text) - self.first for text in self.texts]


def tokenised(words: Words, prompt: str, completions: Sequence[str]) -> Asked:
    """The prompt and each completion as one text, because a token may begin in one and end in the other.

    What is scored comes after the tokens that the prompt by itself and with any of the completions begins with: the same
    for all completions. A text begins with the tokeniser's `start`, or where it has none, the `end` of the one before it.

    Raises `ManyviewsError` for a completion without a token of its own.
    """
    alone, *texts = words.encode([prompt, *(prompt + completion for completion in completions)])
    columns = zip(alone, *texts, strict=False)
    shared = next((place for place, column in enumerate(columns) if len(set(column)) > 1), None)
    begins = words.end if words.start is None else words.start
    before = [] if begins is None else [begins]
    first = len(before) + (min(map(len, (alone, *texts))) if shared is None else shared)
    for text, completion in zip(texts, completions, strict=True):
        if len(before) + len(text) <= first:
            raise ManyviewsError(f"The completion {completion!r} has no token of its own; make it longer.")
    if first == 0:
        raise ManyviewsError("An empty prompt foretells nothing; begin it with an instruction.")
    return Asked([before + text for text in texts], first)


@torch.inference_mode()
def likelihoods(
    logits: Logits,
    asked: Sequence[Asked],
    padding: int,
    *,
    batch: int = 16,
    device: torch.device | str = "cpu",
) -> list[list[float]]:
    """log P(completion | prompt) of each completion of each prompt; texts of like length are read together."""
    flat = [(text, one.first) for one in asked for text in one.texts]
    order = sorted(range(len(flat)), key=lambda place: len(flat[place][0]))
    found = [0.0] * len(flat)
    for start in range(0, len(order), batch):
        some = [flat[place] for place in order[start : start + batch]]
        longest = max(len(text) for text, _ in some)
        tokens_BT = torch.tensor([text + [padding] * (longest - len(text)) for text, _ in some])
        logits_BTV = logits(tokens_BT[:, :-1].to(device))
        for place, (text, first), logits_TV in zip(
            order[start : start + batch], some, logits_BTV, strict=True
        ):
            log_p_TV = logits_TV[first - 1 : len(text) - 1].float().log_softmax(1)
            token_T1 = torch.tensor(text[first:], device=log_p_TV.device)[:, None]
            found[place] = float(log_p_TV.gather(1, token_T1).double().sum())
    rest = iter(found)
    return [[next(rest) for _ in one.texts] for one in asked]
