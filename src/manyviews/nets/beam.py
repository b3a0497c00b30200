"""Beam search: the likeliest text that a net can write, as far as a few hypotheses at a time can tell.

Paper    Vaswani et al., NeurIPS 2017 (arXiv:1706.03762), section 6.1: beam 4, length penalty 0.6, at most 50 tokens
         more than the source, stopped early where that is possible. The penalty is that of Wu et al. 2016
         (arXiv:1609.08144), eq. 14, without its coverage. GPT-3 answers by the same search (Brown et al. 2020,
         arXiv:2005.14165, section 2.4).
Differs  The paper leaves two things open, in which the search here is that of the transformers library. A hypothesis
         may end where it is among the K best of its step, and K others go on; in the authors' code any of the 2 K best
         may end. A hypothesis that has not ended at the limit of length loses to any that has. Here each sentence has
         its own limit; in the authors' code the limit is that of the longest source in the batch.
Shapes   B sentences, O of them still open, K beams, N = O * K rows (B of them at the first step), T tokens, V
         vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Cache, expect
from manyviews.nets.encoder import judging
from manyviews.nets.gpt import GPT
from manyviews.nets.positions import fits
from manyviews.nets.transformer import Transformer

# Logits [N, V] of what follows the tokens [N, T] that are new to the cache; [N] says which sentence each row is of.
Step = Callable[[Tensor, Tensor, Cache], Tensor]


class Written(NamedTuple):
    """The best that was found for each sentence."""

    tokens_BT: Tensor  # with the token that ends it; what is left is filled up
    score_B: Tensor  # log P(Y) / lp(Y)


def length_penalty(length: int | Tensor, alpha: float) -> float | Tensor:
    """lp(Y) of so many tokens, the one that ends Y among them: 1 for one token, more for longer texts."""
    return ((5 + length) / 6) ** alpha


def translate(
    net: Transformer,
    source_BS: Tensor,
    *,
    start: int,
    end: int,
    beam: int = 4,
    alpha: float = 0.6,
    more: int = 50,
    padding: int | None = None,
) -> Written:
    """What `net` makes of the sources, which are filled up with `padding`; so are the translations.

    Args:
        start, end: the tokens that begin and end a text of the target.
        beam, alpha: as of `search`.
        more: tokens that a translation may have beyond its source, as far as the net has positions.
        padding: unless told, the net's own.

    Raises `ManyviewsError` for settings out of their ranges and a source of padding alone.
    """
    padding = net.padding if padding is None else padding
    padding_BS = source_BS != padding
    if source_BS.ndim != 2 or not padding_BS.any(1).all() or not len(source_BS):
        raise ManyviewsError(
            f"Sources of shape {list(source_BS.shape)} hold a sentence without tokens; leave it out."
        )
    longest_B = (padding_BS.sum(1) + more).clamp(max=len(net.get_buffer("waves")))
    with judging(net):
        memory_BSD = net.encode(source_BS, padding_BS)

        def step(new_NT: Tensor, sentence_N: Tensor, cache: Cache) -> Tensor:
            # From the second step on, what is read of the memory is in the cache.
            return net.decode(new_NT, memory_BSD, padding_BS[sentence_N], cache)[:, -1]

        first_B1 = source_BS.new_full((len(source_BS), 1), start)
        return search(step, first_B1, longest_B, end=end, beam=beam, alpha=alpha, fill=padding)


def answer(
    net: GPT,
    prompt_BT: Tensor,
    tokens: int,
    *,
    end: int | None,
    beam: int = 4,
    alpha: float = 0.6,
    padding_BT: Tensor | None = None,
) -> Written:
    """What `net` writes after the prompts, in up to `tokens` tokens each, filled up with `end`.

    Args:
        end: the token that ends a text; None: all are as long as they may be.
        padding_BT: True where a prompt has a token; shorter prompts are filled up in front.

    Raises `ManyviewsError` for an empty prompt, one that is filled up at its end, settings out of their ranges, or
    more tokens than the net has positions.
    """
    if prompt_BT.ndim != 2 or not prompt_BT.numel():
        raise ManyviewsError(
            f"A prompt of shape {list(prompt_BT.shape)} has nothing to go on from; "
            "give [texts, tokens] with at least one token, such as the one that ends a text."
        )
    if padding_BT is not None:
        expect("padding_BT", padding_BT, {tuple(prompt_BT.shape)})
        if not padding_BT[:, -1].all():
            raise ManyviewsError(
                "A prompt is filled up at its end, where its text goes on; fill it up in front."
            )
    fits(prompt_BT.shape[1] + tokens - 1, net.length)  # nothing follows the last token

    def step(new_NT: Tensor, sentence_N: Tensor, cache: Cache) -> Tensor:
        seen_NS = None
        if padding_BT is not None:
            written = cache.length + new_NT.shape[1] - prompt_BT.shape[1]
            prompt_NT = padding_BT[sentence_N]
            seen_NS = torch.cat([prompt_NT, prompt_NT.new_ones(len(prompt_NT), written)], dim=1)
        return net.words(net.states(new_NT, seen_NS, cache)[:, -1])

    longest_B = torch.full((len(prompt_BT),), tokens, device=prompt_BT.device)
    with judging(net):
        return search(step, prompt_BT, longest_B, end=end, beam=beam, alpha=alpha, fill=end or 0)


@torch.inference_mode()
def search(
    step: Step,
    first_BT: Tensor,
    longest_B: Tensor,
    *,
    end: int | None,
    beam: int = 4,
    alpha: float = 0.6,
    fill: int = 0,
) -> Written:
    """The best text for each sentence by log P(Y) / lp(Y); each as if it were searched alone.

    Args:
        first_BT: what comes before the first token that is written.
        longest_B: tokens that each sentence may have.
        end: the token that ends a text; None: nothing does.
        beam: K hypotheses go on at each step. With 1 it is greedy: the likeliest token each time, until it is `end`.
        alpha: of the length penalty; 0: none.

    Raises `ManyviewsError` for a beam below 1, an `alpha` below 0, nothing to write, or a vocabulary of one token.
    """
    if beam < 1 or not 0 <= alpha < float("inf") or longest_B.min() < 1:
        raise ManyviewsError(
            f"Nothing can be found with a beam of {beam}, a length penalty of {alpha} and "
            f"{int(longest_B.min())} tokens to write; they are at least 1, 0 and 1."
        )
    B, most = len(first_BT), int(longest_B.max())
    cache = Cache(first_BT.shape[1] + most - 1)
    open_O = torch.arange(B, device=first_BT.device)
    logits_NV = step(first_BT, open_O, cache).repeat_interleave(beam, dim=0)
    cache.take(open_O.repeat_interleave(beam))
    V = logits_NV.shape[1]
    if V < 2 or not (end is None or 0 <= end < V):
        raise ManyviewsError(f"Of {V} tokens, {end} cannot be the one that ends a text.")
    best_BT = first_BT.new_full((B, most), fill)
    best_B = torch.full((B,), -torch.inf, device=first_BT.device)
    text_OKT = first_BT.new_full((B, beam, most), fill)
    score_OK = torch.full((B, beam), -torch.inf, device=first_BT.device)
    score_OK[:, 0] = 0.0  # all beams are the same yet: one of them counts
    for length in range(1, most + 1):
        # The 2K best: no more than K of them end, so that K are left to go on.
        log_p_OKV = logits_NV.float().log_softmax(1).view(-1, beam, V)
        score_OC, place_OC = (score_OK[:, :, None] + log_p_OKV).flatten(1).topk(2 * beam)
        parent_OC, token_OC = place_OC // V, place_OC % V
        text_OCT = text_OKT.gather(1, parent_OC[:, :, None].expand(-1, -1, most))
        text_OCT[:, :, length - 1] = token_OC
        ends_OC = torch.zeros_like(token_OC, dtype=torch.bool) if end is None else token_OC == end

        found_OC, last_O = ends_OC.clone(), length == longest_B[open_O]
        found_OC[:, beam:] = False
        nothing_O = last_O & (best_B[open_O] == -torch.inf) & ~found_OC.any(1)
        found_OC[nothing_O] = True  # the likeliest text, though it does not end
        found_O, at_O = score_OC.masked_fill(~found_OC, -torch.inf).max(1)
        found_O = found_O / length_penalty(length, alpha)
        better_O = found_O > best_B[open_O]
        best_B[open_O[better_O]] = found_O[better_O]
        best_BT[open_O[better_O]] = text_OCT[better_O, at_O[better_O]]

        score_OK, at_OK = score_OC.masked_fill(ends_OC, -torch.inf).topk(beam)
        # No sum grows any more, and none is ever divided by more than the penalty of the longest text.
        hope_O = score_OK[:, 0] / length_penalty(longest_B[open_O], alpha)
        goes_O = ~last_O & (hope_O > best_B[open_O])
        if beam == 1:  # greedy: there is nothing beside what has ended
            goes_O &= ~ends_OC[:, 0]
        if not goes_O.any():
            return Written(best_BT[:, :length].clone(), best_B)
        open_O, score_OK, at_OK, all_go = open_O[goes_O], score_OK[goes_O], at_OK[goes_O], bool(goes_O.all())
        text_OKT = text_OCT[goes_O].gather(1, at_OK[:, :, None].expand(-1, -1, most))
        row_OC = parent_OC + beam * torch.arange(len(parent_OC), device=parent_OC.device)[:, None]
        if beam > 1 or not all_go:
            cache.take(row_OC[goes_O].gather(1, at_OK).flatten(), memory=not all_go)
        logits_NV = step(text_OKT[:, :, length - 1].reshape(-1, 1), open_O.repeat_interleave(beam), cache)
    raise AssertionError("every sentence stops at its longest")
