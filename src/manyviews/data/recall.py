"""A task of memory alone: a letter, a gap, a question, and the letter again, which nothing else tells.

recall-50             d,..,,.,.?d with 50 signs in the gap, which say nothing: each is a dot or a comma by chance
recall-50-distract    dbbgahcf?d: in the gap stand letters too, any of which could be the answer

Paper    Hochreiter & Schmidhuber 1997, section 5.2: task 2b, with eight letters instead of two, and what task 2c has
         before the answer, a sign that asks for it.
Shapes   N sequences, G signs in the gap, T = G + 3 tokens; tokens are places in ``ALPHABET``.
"""

import re

import torch
from torch import Tensor

from manyviews.data.corpus import Corpus, gathered
from manyviews.errors import ManyviewsError, NoSplit
from manyviews.rng import generator

LETTERS, SIGNS, QUESTION = "abcdefgh", ".,", "?"
ALPHABET = LETTERS + SIGNS + QUESTION
NAME = re.compile(r"recall-(\d{1,9})(-distract)?")  # the gap, and what is in it
LONGEST = 2_000  # signs in a gap: the texts of a training split then take 16 MB
ITEMS = {"train": 8192, "val": 1024, "test": 1024}


def sequences(rows: int, gap: int, draw: torch.Generator, *, distract: bool = False) -> Tensor:
    """Tokens `[N, T]`: the first is also the last, the answer. Each letter is right by chance in one of eight."""
    first_N1 = torch.randint(len(LETTERS), (rows, 1), generator=draw)
    fill_NG = torch.randint(len(LETTERS) if distract else len(SIGNS), (rows, gap), generator=draw)
    fill_NG += 0 if distract else len(LETTERS)
    return torch.cat([first_N1, fill_NG, torch.full_like(first_N1, ALPHABET.index(QUESTION)), first_N1], 1)


def recall(gap: int, split: str = "train", *, distract: bool = False) -> Corpus:
    """The texts of `sequences`, each a document; those of a gap and a split are always the same.

    Raises ``ManyviewsError`` for a gap that is too long, and for a split that there is not.
    """
    name = f"recall-{gap}" + ("-distract" if distract else "")
    if gap > LONGEST:
        raise ManyviewsError(f"{name} has a gap of more than {LONGEST:,} signs; choose a shorter one.")
    if split not in ITEMS:
        raise NoSplit(f"{name} has no split {split!r}: it has {', '.join(ITEMS)}.")
    token_NT = sequences(ITEMS[split], gap, generator(name, split), distract=distract)
    texts = [("".join(ALPHABET[token] for token in token_T),) for token_T in token_NT.tolist()]
    return gathered(f"{name}/{split}", [f"{name}/{split}/{item:04d}" for item in range(len(texts))], texts)
