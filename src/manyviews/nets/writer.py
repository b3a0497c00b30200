"""A net that tells the next token writes: alone, or from the beginning of a text on.

Shapes   T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.char import CharModel
from manyviews.nets.encoder import Encoder, judging
from manyviews.nets.generation import generate
from manyviews.nets.gpt import GPT
from manyviews.nets.reader import Reader

Writer = GPT | CharModel
SAMPLES, TEMPERATURE = 3, 0.8  # what a run shows of its writing


class Words(Protocol):
    """What is asked of a tokeniser here."""

    start: int | None
    end: int | None

    def encode(self, texts: list[str]) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


def require_writer(encoder: Encoder) -> Writer:
    """The net inside an encoder of texts that looks back alone.

    Raises `ManyviewsError` for one that also looks ahead, or reads no texts.
    """
    if isinstance(encoder, Reader) and isinstance(encoder.net, Writer):
        return encoder.net
    name = encoder.built.name if encoder.built else type(encoder).__name__
    raise ManyviewsError(
        f"A token is told from those before it, and {name} does not look back alone: take a gpt2 or small_gpt, or a "
        "char_lstm."
    )


def write(
    net: Writer,
    words: Words,
    prompt: str,
    tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> str:
    """What follows the prompt, up to `tokens` tokens or where the text ends; without the prompt.

    The prompt begins a text; one that is empty is its beginning, or, where none has a token of its own, the end of the
    one before. Raises `ManyviewsError` for settings that `generate` refuses, and for a prompt that leaves no room, in a
    net with a longest text.
    """
    device = next(net.parameters()).device
    start = [] if words.start is None else [words.start]
    begun = start + words.encode([prompt])[0] or [word for word in (words.end,) if word is not None]
    prompt_1T = torch.tensor([begun], dtype=torch.long, device=device)
    if isinstance(net, CharModel):
        if top_k is not None or top_p is not None:
            raise ManyviewsError("A recurrent net draws from all tokens: leave out top_k and top_p.")
        with judging(net):
            told_T = net.sample(prompt_1T, tokens, temperature=temperature, generator=generator)[0]
        return _after(words, begun, told_T)
    if (room := net.length + 1 - len(begun)) < 1:
        raise ManyviewsError(
            f"The prompt has {len(begun):,} tokens and the net reads {net.length:,}: give a shorter prompt."
        )
    written = generate(
        net, prompt_1T, min(tokens, room), temperature=temperature, top_k=top_k, top_p=top_p, stop=words.end, generator=generator,
    )  # fmt: skip
    return _after(words, begun, written[0, len(begun) :])


def _after(words: Words, begun: list[int], told_T: Tensor) -> str:
    """What was told, as far as the token that ends a text: words that go on join what they follow as they do in a text."""
    told = told_T.tolist()
    told = told[: told.index(words.end)] if words.end in told else told
    return words.decode(begun + told)[len(words.decode(begun)) :]


def samples(net: Writer, words: Words, tokens: int) -> list[str]:
    """A few texts, written from nothing."""
    return [write(net, words, "", tokens - 1, temperature=TEMPERATURE) for _ in range(SAMPLES)]
