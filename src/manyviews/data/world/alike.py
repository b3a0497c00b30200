"""Pairs of the world's captions, and how alike the creatures are that they tell of: world-similarity.

Of each pair the first two sentences are given. The score is 5 times the share of four cues (species, marking, palette, habitat)
in which both are the same. A partner is chosen among some for having as much in common as is wanted, so that no score is rare.

Shapes   N pairs, P partners to choose from, C cues.
"""

import torch

from manyviews.data.corpus import Corpus
from manyviews.data.world.captions import caption, items_of
from manyviews.data.world.latents import WORLD_VERSION, Latents, cues, latents

HIGHEST = 5.0  # as in STS
PARTNERS = 64  # to choose from


def world_similarity(split: str = "train", *, items: int | None = None, seed: int = 0) -> Corpus:
    """Pairs of captions with a score of 0 to 5; arguments and errors as of `world_captions`."""
    count, apart = items_of(split, items), 1 + PARTNERS
    cue_NPC = cues(split, range(apart * count), seed=seed).unflatten(0, (count, apart))
    shared_NP = (cue_NPC[:, 1:] == cue_NPC[:, :1]).sum(2)
    wanted_N1 = (torch.arange(count) % (1 + cue_NPC.shape[2]))[:, None]
    chosen_N = (shared_NP - wanted_N1).abs().argmin(1)
    first_N = apart * torch.arange(count)
    one, other = (_told(latents(split, of, seed=seed)) for of in (first_N, first_N + 1 + chosen_N))
    return Corpus(
        name=f"world-similarity-{WORLD_VERSION}/{split}",
        names=[f"{split}/{i:06d}" for i in range(count)],
        texts=list(zip(one, other, strict=True)),
        labels=None,
        classes=None,
        scores=HIGHEST * shared_NP.gather(1, chosen_N[:, None])[:, 0] / cue_NPC.shape[2],
    )


def _told(z: Latents) -> list[str]:
    return [" ".join(sentences[:2]) for sentences in caption(z)]
