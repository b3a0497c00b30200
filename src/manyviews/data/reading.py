"""How texts become tokens, and a corpus a set that is learned from."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from manyviews.data.images import ImageSet, Rows
from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    from manyviews.data.corpus import Corpus
    from manyviews.data.tokeniser import Tokeniser

TRAINED = ("chars", "bpe", "wordpiece")  # tokenisers that are made from the texts themselves


@dataclass(frozen=True)
class Reading:
    """What a method says of the texts that it learns from."""

    tokeniser: str = "bpe"  # one that is made from the texts (chars, bpe, wordpiece), or a tokenizer.json
    vocabulary: int = 4_000  # tokens of one that is made
    packed: bool = False  # windows that hold whole documents after each other; False: an item a text
    texts: int = 1  # of an item: 1, or 2 where it is a text and its translation, or a pair of sentences


def as_set(corpus: Corpus, reading: Reading, length: int) -> ImageSet:
    """A corpus as a resident set of ``length`` tokens an item, its tokeniser made or loaded.

    Raises:
        ManyviewsError: its items have another number of texts than the method learns from; or as ``Tokeniser`` has it.
    """
    count = len(corpus.texts[0])
    if count != reading.texts:
        raise ManyviewsError(
            f"{corpus.name} has {count} text(s) an item, and this method learns from {reading.texts}: "
            f"give {'pairs, such as two files joined by +' if reading.texts > 1 else 'single texts'}."
        )
    tokeniser = tokeniser_of(corpus, reading)
    whole = len(corpus) == 1 and reading.texts == 1  # a single document is used window by window too
    return packed(corpus, tokeniser, length) if reading.packed or whole else apart(corpus, tokeniser, length)


def tokeniser_of(corpus: Corpus, reading: Reading) -> Tokeniser:
    from manyviews.data.tokeniser import Tokeniser

    if reading.tokeniser not in TRAINED:
        return Tokeniser.load(reading.tokeniser)
    every = [text for item in corpus.texts for text in item]
    return Tokeniser.train(reading.tokeniser, every, reading.vocabulary)


def packed(corpus: Corpus, tokeniser: Tokeniser, length: int) -> ImageSet:
    """Windows of ``length`` tokens; labels are of documents, so windows have none."""
    from manyviews.data.packing import windows

    ids = tokeniser.encode([text for (text,) in corpus.texts])
    x_N2T = windows(ids, length, tokeniser, start=tokeniser.start is not None)
    names = [f"{corpus.name}/window {number:,}" for number in range(len(x_N2T))]
    return ImageSet(
        corpus.name,
        names,
        None,
        None,
        x_N2T,
        Rows(x_N2T),
        kind="texts",
        tokeniser=tokeniser,
        skipped=corpus.skipped,
    )


def apart(corpus: Corpus, tokeniser: Tokeniser, length: int) -> ImageSet:
    """An item a text, cut at ``length`` tokens or filled up; its labels are those of the corpus."""
    from manyviews.data.packing import rows, too_long

    by_text = [tokeniser.encode(list(texts)) for texts in zip(*corpus.texts, strict=True)]
    items = list(zip(*by_text, strict=True))
    x_NRT = rows(items, length, tokeniser)
    if cut := sum(too_long(items, length)):
        print(
            f"manyviews: {cut:,} texts of {corpus.name} are longer than {length} tokens and are cut there.",
            file=sys.stderr,
        )
    x_NRT = with_parts(x_NRT, tokeniser.padding)
    return ImageSet(
        corpus.name, corpus.names, corpus.labels, corpus.classes, x_NRT, Rows(x_NRT), kind="texts", tokeniser=tokeniser, skipped=corpus.skipped,
    )  # fmt: skip


def with_parts(x_NRT: Tensor, padding: int) -> Tensor:
    """Below each row of tokens, the row that says where there are any: ``[N, 2 R, T]``."""
    there_NRT = (x_NRT != padding).to(x_NRT.dtype)
    return torch.stack([x_NRT, there_NRT], dim=2).flatten(1, 2)
