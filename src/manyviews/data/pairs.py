"""Spans of text that follow each other, and beside each one that does not: what next sentence prediction learns from.

Paper    Devlin et al. 2019 (arXiv:1810.04805), section 3.1 and appendix A.2, as in the authors' create_pretraining_data.
Differs  Both a span that follows and one from elsewhere are laid out, and the method draws which one it reads, so that
         half of them follow without being the same half each time. What is too long loses its end alone. A sentence
         that is left over takes the one before it along instead of being followed by nothing. A document of one
         sentence is read as what does not follow, and begins no pair. Cuts, lengths and the document from elsewhere are
         drawn once, where the authors draw them ten times, and go on from a span whose continuation they did not use.
Shapes   N items, T tokens.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from manyviews.data.packing import Ids, pair
from manyviews.errors import ManyviewsError
from manyviews.rng import seed_of

if TYPE_CHECKING:
    from manyviews.data.tokeniser import Tokeniser

SHORT = 0.1  # share of the chunks that are shorter than there is room for, so that short texts are seen too
SPECIALS = 3  # [CLS], and [SEP] twice
END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=\S)|\n")  # of a sentence


def sentences(document: str) -> list[str]:
    """The sentences of a text: what ends with its line, or with a full stop and the like. Each begins with the white space
    before it, so that they are the text together, but for white space at its end."""
    ends = [match.start() + len(match[0].rstrip()) for match in END.finditer(document)]
    found, blank = list[str](), ""
    for start, end in zip([0, *ends], [*ends, len(document)], strict=True):
        part = blank + document[start:end]
        if part.strip():
            found.append(part)
        blank = "" if part.strip() else part
    return found


def pairs(documents: Sequence[Sequence[Ids]], length: int, tokeniser: Tokeniser) -> Tensor:
    """Documents as sentences as tokens -> `[N, 4, T]`: [CLS] A [SEP] B [SEP] with its parts, and the same A with a span
    of another document for B. What is drawn is a function of the documents alone.

    Raises:
        ManyviewsError: there is no second document, no document has a second sentence, or an item no room for both.
    """
    documents = [kept for sentences in documents if (kept := [ids for ids in sentences if len(ids)])]
    if len(documents) < 2:
        raise ManyviewsError(
            "Next-sentence prediction takes the spans that do not follow out of other documents, and here is only one: give several (a file, a row or "
            "an article each), or learn without next-sentence prediction (--no-next-sentence)."
        )
    if not any(len(sentences) > 1 for sentences in documents):
        raise ManyviewsError(
            "No document has a second sentence that could follow its first: learn without next-sentence prediction "
            "(--no-next-sentence)."
        )
    if length < SPECIALS + 2:
        raise ManyviewsError(
            f"{length} tokens have no room for two spans and their special tokens: choose a larger --size."
        )
    rows = [
        torch.cat([pair(a, b, length, tokeniser), pair(a, other, length, tokeniser)])
        for a, b, other in spans(documents, length - SPECIALS)
    ]
    return torch.stack(rows)


def spans(documents: Sequence[Sequence[Ids]], room: int) -> Iterator[tuple[Ids, Ids, Ids]]:
    """A, the B that follows it, and a B of another document, each of whole sentences."""
    draw = random.Random(seed_of("pairs"))
    for number, sentences in enumerate(documents):
        first, wanted = 0, draw.randint(2, room) if draw.random() < SHORT else room
        while first < len(sentences) > 1:
            first = min(first, len(sentences) - 2)
            last = _filled(sentences, first, wanted, least=2)
            cut = draw.randint(first + 1, last - 1)
            a, b = _joined(sentences[first:cut]), _joined(sentences[cut:last])
            yield a, b, _elsewhere(documents, number, wanted - len(a), draw)
            first = last


def _elsewhere(documents: Sequence[Sequence[Ids]], but: int, wanted: int, draw: random.Random) -> Ids:
    """So many tokens of any other document, from any of its sentences on, or as many as it has from there."""
    number = draw.randrange(len(documents) - 1)
    sentences = documents[number + (number >= but)]
    first = draw.randrange(len(sentences))
    return _joined(sentences[first : _filled(sentences, first, wanted, least=1)])


def _filled(sentences: Sequence[Ids], first: int, wanted: int, least: int) -> int:
    """Where a span from `first` on ends that has so many tokens, or all there are, and at least `least` sentences."""
    size, last = 0, first
    for ids in islice(sentences, first, None):
        if size >= wanted and last - first >= least:
            break
        size, last = size + len(ids), last + 1
    return last


def _joined(sentences: Sequence[Ids]) -> Ids:
    return list(chain.from_iterable(sentences))
