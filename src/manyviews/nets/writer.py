"""A net that tells the next token writes: alone, or from the beginning of a text on.

Shapes   T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.char import CharModel
from manyviews.nets.encoder import Encoder
from manyviews.nets.generation import generate
from manyviews.nets.gpt import GPT
from manyviews.nets.reader import Reader

Writer = GPT | CharModel
SAMPLES, TEMPERATURE = 3, 0.8  # what a run shows of its writing


@runtime_checkable
class Words(Protocol):
    """What is asked of a tokeniser here."""

    start: int | None
    end: int | None

    def __len__(self) -> int: ...
    def encode(self, texts: list[str]) -> list[list[int]]: ...
    def decode(self, ids: Tensor) -> str: ...


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

    A prompt that is empty is the end of another text. Raises `ManyviewsError` for settings that `generate` refuses, and
    for a prompt that leaves no room, in a net with a longest text.
    """
    device = next(net.parameters()).device
    ids = words.encode([prompt])[0] if prompt else []
    begun = ids or [word for word in (words.start, words.end) if word is not None][:1]
    prompt_1T = torch.tensor([begun], device=device)
    if isinstance(net, CharModel):
        if top_k is not None or top_p is not None:
            raise ManyviewsError("A recurrent net draws from all tokens: leave out top_k and top_p.")
        told = net.sample(prompt_1T, tokens, temperature=temperature, generator=generator)[0]
        return words.decode(_until(told, words.end))
    if (room := net.length + 1 - len(begun)) < 1:
        raise ManyviewsError(
            f"The prompt has {len(begun)} tokens and the net reads {net.length}; give a shorter prompt."
        )
    written = generate(
        net, prompt_1T, min(tokens, room), temperature=temperature, top_k=top_k, top_p=top_p, stop=words.end, generator=generator,
    )  # fmt: skip
    return words.decode(_until(written[0, len(begun) :], words.end))


def _until(ids_T: Tensor, end: int | None) -> Tensor:
    """The tokens before the first that ends a text."""
    places = (ids_T == end).nonzero()[:, 0] if end is not None else ids_T[:0]
    return ids_T[: int(places[0])] if len(places) else ids_T


def samples(net: Writer, words: Words, tokens: int) -> list[str]:
    """A few texts, written from nothing."""
    return [write(net, words, "", tokens - 1, temperature=TEMPERATURE) for _ in range(SAMPLES)]
