"""What a language model writes: one token after another, each drawn from what the model expects.

Papers   Top-k: Fan et al. 2018 (arXiv:1805.04833), section 5.4; GPT-2 has k = 40 for its samples and k = 2 for its
         summaries. Top-p, or nucleus: Holtzman et al. 2020 (arXiv:1904.09751), section 3.1.
Shapes   B texts, T tokens of a prompt, S tokens so far, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Cache, expect
from manyviews.nets.encoder import judging
from manyviews.nets.gpt import GPT
from manyviews.nets.positions import fits


def generate(
    net: GPT,
    prompt_BT: Tensor,
    tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    padding_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The prompts and up to `tokens` more each, `[B, T + tokens]` or fewer where all have stopped.

    Args:
        temperature: divides the logits; at 0 the likeliest token is taken, whatever `top_k` and `top_p`.
        top_k: only the k likeliest tokens are drawn from.
        top_p: only the likeliest tokens are drawn from, as few as have this probability together, in (0, 1].
        stop: the token that ends a text; it is kept, and repeated where other texts go on.
        padding_BT: True where a prompt has a token; shorter prompts are filled up in front.
        generator: what is drawn from it is all the chance there is; torch's own where it is not given.

    Raises `ManyviewsError` for an empty prompt, one that is filled up at its end, settings out of their ranges, or
    more tokens than the net has positions.
    """
    _check(prompt_BT, tokens, temperature, top_k, top_p, padding_BT)
    (B, T), S = prompt_BT.shape, prompt_BT.shape[1] + tokens
    fits(S - 1, net.length)  # nothing follows the last token
    text_BS = torch.cat([prompt_BT, prompt_BT.new_zeros(B, tokens)], dim=1)
    seen_BS = None if padding_BT is None else torch.cat([padding_BT, padding_BT.new_ones(B, tokens)], dim=1)
    stopped_B = torch.zeros(B, dtype=torch.bool, device=prompt_BT.device)
    cache, new_BT = Cache(S), prompt_BT
    with judging(net), torch.inference_mode():
        for place in range(T, S):
            x_BTD = net.states(new_BT, None if seen_BS is None else seen_BS[:, :place], cache)
            logits_BV = net.words(x_BTD[:, -1])
            new_BT = draw(logits_BV, temperature, top_k, top_p, generator)[:, None]
            if stop is not None:
                new_BT = new_BT.masked_fill(stopped_B[:, None], stop)
                stopped_B |= new_BT[:, 0] == stop
            text_BS[:, place : place + 1] = new_BT
            if stop is not None and stopped_B.all():
                return text_BS[:, : place + 1]
    return text_BS


def draw(
    logits_BV: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token a text, `[B]`."""
    if temperature == 0 or top_k == 1:
        return logits_BV.argmax(1)
    probability_BV = likeliest(logits_BV / temperature, top_k, top_p).softmax(1)
    return probability_BV.multinomial(1, generator=generator)[:, 0]


def likeliest(logits_BV: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """The logits, with minus infinity for what is not drawn from: beyond `top_k` first, then beyond `top_p`."""
    if top_k is not None and top_k < logits_BV.shape[1]:
        least_B1 = logits_BV.topk(top_k, dim=1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)
    if top_p is not None and top_p < 1:
        sorted_BV, order_BV = logits_BV.sort(dim=1, descending=True)
        p_BV = sorted_BV.softmax(1)
        enough_BV = p_BV.cumsum(1) - p_BV >= top_p  # before this token is counted: the first always stays
        logits_BV = logits_BV.masked_fill(enough_BV.gather(1, order_BV.argsort(1)), -torch.inf)
    return logits_BV


def _check(
    prompt_BT: Tensor,
    tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    padding_BT: Tensor | None,
) -> None:
    if prompt_BT.ndim != 2 or not prompt_BT.numel():
        raise ManyviewsError(
            f"A prompt of shape {list(prompt_BT.shape)} has nothing to go on from; "
            "give [texts, tokens] with at least one token, such as the one that ends a text."
        )
    if tokens < 0:
        raise ManyviewsError(f"{tokens} tokens cannot be written; ask for 0 or more.")
    if (
        not temperature >= 0
        or (top_k is not None and top_k < 1)
        or (top_p is not None and not 0 < top_p <= 1)
    ):
        raise ManyviewsError(
            f"Nothing can be drawn at temperature {temperature}, top_k {top_k} and top_p {top_p}; "
            "they are at least 0, at least 1, and above 0 up to 1."
        )
    if padding_BT is None:
        return
    expect("padding_BT", padding_BT, {(len(prompt_BT), prompt_BT.shape[1])})
    if not padding_BT[:, -1].all():
        raise ManyviewsError("A prompt is filled up at its end, where its text goes on; fill it up in front.")
