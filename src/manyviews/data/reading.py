"""How texts become tokens, and a corpus a set that is learned from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from manyviews.data.items import ItemSet, Pairs, Rows
from manyviews.data.marked import with_marks
from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    from manyviews.data.corpus import Corpus
    from manyviews.data.tokeniser import Tokeniser

TRAINED = ("chars", "bpe", "wordpiece")  # tokenisers that are made from the texts themselves
GIVE = {  # texts of an item -> what to learn from
    1: "single texts",
    2: "pairs, such as two files joined by +",
    3: "texts in threes, such as three columns of a table",
}


@dataclass(frozen=True)
class Reading:
    """What a method says of the texts that it learns from."""

    tokeniser: str = "bpe"  # one that is made from the texts (chars, bpe, wordpiece), or a tokenizer.json
    vocabulary: int = 4_000  # tokens of one that is made
    packed: bool = False  # windows that hold whole documents after each other; False: an item a text
    texts: int = 1  # of an item: 1, 2 where it is a text and its translation, or 3
    sentences: bool = False  # items are the sentences of the documents, which have no labels
    pairs: bool = False  # items are spans A and B of a document, and A beside a B of another (`data.pairs`)
    joined: bool = (
        False  # for use, not for learning: single texts too, and several that are no translation as one
    )


def as_set(corpus: Corpus, reading: Reading, length: int) -> ItemSet:
    """A corpus as a resident set of ``length`` tokens an item, its tokeniser made or loaded.

    Raises:
        ManyviewsError: its items have another number of texts than the method learns from; or as ``Tokeniser`` has it.
    """
    count = len(corpus.texts[0])
    both = reading.joined and count > reading.texts
    a_choice = count == 3 and corpus.labels is not None and not reading.pairs  # a text and two answers
    if count != reading.texts and not (reading.joined and (count < 3 or a_choice)):
        raise ManyviewsError(
            f"{corpus.name} has {count} text(s) an item, and this method learns from {reading.texts}: "
            f"give {GIVE[reading.texts]}."
        )
    if reading.sentences and not reading.joined:
        corpus = by_sentence(corpus)
    tokeniser = tokeniser_of(corpus, reading)
    if reading.pairs and not reading.joined:
        return following(corpus, tokeniser, length)
    if reading.packed:
        return packed(corpus, tokeniser, length)
    plain = corpus.labels is None and corpus.marks is None
    if len(corpus) == count == 1 and plain:  # a single document is used window by window too
        return in_pieces(corpus, tokeniser, length)
    data = joined(corpus, tokeniser, length, reading.pairs) if both else apart(corpus, tokeniser, length)
    if reading.joined:  # to be judged by what is known of it
        data = replace(data, pairs=side_by_side(corpus, tokeniser, length))
    return data if corpus.marks is None or not reading.joined else with_marks(data, corpus)


def tokeniser_of(corpus: Corpus, reading: Reading) -> Tokeniser:
    from manyviews.data.tokeniser import Tokeniser

    if reading.tokeniser not in TRAINED:
        return Tokeniser.load(reading.tokeniser)
    every = [text for item in corpus.texts for text in item]
    return Tokeniser.train(reading.tokeniser, every, reading.vocabulary)


def packed(corpus: Corpus, tokeniser: Tokeniser, length: int) -> ItemSet:
    """Windows of ``length`` tokens."""
    from manyviews.data.packing import windows

    ids = tokeniser.arrays([text for (text,) in corpus.texts])
    x_N2T = windows(ids, length, tokeniser, start=tokeniser.start is not None)
    return _set(corpus, x_N2T, tokeniser, parts="window")


def in_pieces(corpus: Corpus, tokeniser: Tokeniser, length: int) -> ItemSet:
    """A single document as items of ``length`` tokens, each with the tokens that begin and end a text."""
    from manyviews.data.packing import rows

    ((text,),) = corpus.texts
    (ids,) = tokeniser.arrays([text])
    starts = tokeniser.start is not None
    room = max(1, length - 1 - starts)
    items = [(ids[at : at + room],) for at in range(0, len(ids), room)]
    x_N2T = with_parts(rows(items, length, tokeniser, starts=starts), tokeniser.padding)
    return _set(corpus, x_N2T, tokeniser, parts="window")


def apart(corpus: Corpus, tokeniser: Tokeniser, length: int) -> ItemSet:
    """An item a text, cut at ``length`` tokens or filled up; its labels are those of the corpus."""
    x_NRT, cut = _laid(corpus.texts, tokeniser, length)
    _say_cut(corpus, cut, length)
    return _set(corpus, x_NRT, tokeniser)


def _laid(texts: Sequence[tuple[str, ...]], tokeniser: Tokeniser, length: int) -> tuple[Tensor, int]:
    """Items of texts that are read each by itself, ``[N, 2 R, T]``, and how many are cut."""
    from manyviews.data.packing import rows, too_long

    by_text = [tokeniser.arrays(list(each)) for each in zip(*texts, strict=True)]
    items = list(zip(*by_text, strict=True))
    starts = len(by_text) > 1 or tokeniser.start is not None  # a translation is told from its start on
    x_NRT = with_parts(rows(items, length, tokeniser, starts=starts), tokeniser.padding)
    return x_NRT, sum(too_long(items, length, starts=starts))


def side_by_side(corpus: Corpus, tokeniser: Tokeniser, length: int) -> Pairs | None:
    """The two texts of each item by themselves, where it is said how alike they are."""
    if corpus.scores is None:
        return None
    sides = [[(item[side],) for item in corpus.texts] for side in (0, 1)]
    laid, cut = zip(*(_laid(texts, tokeniser, length) for texts in sides), strict=True)
    _say_cut(corpus, sum(cut), length)
    return Pairs(torch.cat(laid, 1), corpus.scores)


def laid_out(texts: list[str], tokeniser: Tokeniser, length: int) -> Tensor:
    """Texts as items, ``[N, 2, T]``, a row each; raises ``ManyviewsError`` for one that is empty."""
    from manyviews.data.corpus import from_texts

    corpus = from_texts(texts)
    if corpus.skipped.files:
        raise ManyviewsError(next(iter(corpus.skipped.files.values())))
    pixels = apart(corpus, tokeniser, length).values
    assert pixels is not None
    return pixels


def joined(corpus: Corpus, tokeniser: Tokeniser, length: int, segments: bool) -> ItemSet:
    """An item its texts in one row, [CLS] A [SEP] B [SEP], cut at ``length`` tokens, the longest first, or filled up.

    Without ``segments`` they are one part: a net that learned from documents would not let B look at A.
    """
    from manyviews.data.packing import beside

    by_text = [tokeniser.encode(list(texts)) for texts in zip(*corpus.texts, strict=True)]
    items = list(zip(*by_text, strict=True))
    x_N2T = torch.stack([beside(item, length, tokeniser) for item in items])
    if not segments:
        x_N2T[:, 1].clamp_(max=1)
    if corpus.scores is None:  # these are read by themselves as well, where more of them fits
        _say_cut(corpus, sum(sum(map(len, item)) + 1 + len(item) > length for item in items), length)
    return _set(corpus, x_N2T, tokeniser)


def following(corpus: Corpus, tokeniser: Tokeniser, length: int) -> ItemSet:
    """Spans that follow each other, and spans that do not."""
    from manyviews.data.pairs import pairs, sentences

    by_document = [sentences(text) for (text,) in corpus.texts]
    if alone := sum(len(document) == 1 for document in by_document):
        print(
            f"manyviews: {alone:,} of the {len(by_document):,} documents of {corpus.name} have one sentence, which begins no "
            "pair; --no-next-sentence reads them like the others.",
            file=sys.stderr,
        )
    ids = iter(tokeniser.encode([sentence for document in by_document for sentence in document]))
    x_N4T = pairs([[next(ids) for _ in document] for document in by_document], length, tokeniser)
    return _set(corpus, x_N4T, tokeniser, parts="pair")


def by_sentence(corpus: Corpus) -> Corpus:
    """A corpus whose items are sentences; labels are of documents, so they have none."""
    from manyviews.data.pairs import sentences

    texts = [(sentence.strip(),) for (document,) in corpus.texts for sentence in sentences(document)]
    names = [f"{corpus.name}/sentence {number:,}" for number in range(len(texts))]
    return replace(corpus, names=names, texts=texts, labels=None, classes=None)


def _set(corpus: Corpus, x_NRT: Tensor, tokeniser: Tokeniser, parts: str | None = None) -> ItemSet:
    """The items of a corpus; or such ``parts`` of its documents, which have no labels, for those are of documents."""
    names, labels, classes = corpus.names, corpus.labels, corpus.classes
    if parts is not None:
        names, labels, classes = [f"{corpus.name}/{parts} {i:,}" for i in range(len(x_NRT))], None, None
    return ItemSet(
        corpus.name, names, labels, classes, x_NRT, Rows(x_NRT), kind="texts", tokeniser=tokeniser, skipped=corpus.skipped,
    )  # fmt: skip


def with_parts(x_NRT: Tensor, padding: int) -> Tensor:
    """Below each row of tokens, the row that says where there are any: ``[N, 2 R, T]``."""
    there_NRT = (x_NRT != padding).to(x_NRT.dtype)
    return torch.stack([x_NRT, there_NRT], dim=2).flatten(1, 2)


def _say_cut(corpus: Corpus, cut: int, length: int) -> None:
    if cut:
        print(
            f"manyviews: {cut:,} text(s) of {corpus.name} longer than {length} tokens are cut there.",
            file=sys.stderr,
        )
