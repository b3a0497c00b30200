"""Texts as they are read, not tokens yet: from files, folders, tables, the hub, named sets and the embedded world.

notes.txt, README, poems.txt.gz   one document
poems/**/*.txt                    a file a document; class folders, split folders or a labels.csv, as for images
reviews.csv, .tsv, .jsonl         a row a document or a pair, perhaps with a label; reviews.csv#body chooses columns
train.en+train.de                 two parallel files: a line of the first and the same line of the second
hf:name, hf:name@config           a set of the hub; hf:name#column chooses columns
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyviews.data.items import set_aside
from manyviews.data.marked import Mark
from manyviews.data.skipped import Skipped
from manyviews.errors import ManyviewsError


@dataclass(frozen=True)
class Corpus:
    """Texts as they are read: not tokens yet."""

    name: str
    names: Sequence[str]
    """A path or id per item; path:line of those that are lines."""
    texts: Sequence[tuple[str, ...]]
    """An item a row: (document,), (source, target), (first sentence, second sentence) or (sentence, like it, unlike it)."""
    labels: Tensor | None
    """int64 [N], indices into ``classes``."""
    classes: tuple[str, ...] | None
    skipped: Skipped = field(default_factory=lambda: Skipped(kind="texts"))
    """What was left out because it is empty or cannot be read."""
    marks: Sequence[Sequence[Mark]] | None = None
    """Of each item, what is marked in its texts, where anything is."""
    marked: tuple[str, ...] = ()
    """The names of marks."""
    scores: Tensor | None = None
    """float32 [N]: how alike the two texts of each item are; the larger the more."""

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int] | Tensor) -> "Corpus":
        """The chosen items, in the order given."""
        chosen = torch.as_tensor(indices, dtype=torch.long).cpu()
        items = chosen.tolist()
        return replace(
            self,
            names=[self.names[i] for i in items],
            texts=[self.texts[i] for i in items],
            labels=None if self.labels is None else self.labels[chosen],
            skipped=Skipped(kind="texts"),
            marks=None if self.marks is None else [self.marks[i] for i in items],
            scores=None if self.scores is None else self.scores[chosen],
        )


def hold_out(corpus: Corpus, fraction: float, seed: int = 0) -> tuple[Corpus, Corpus]:
    """(train, test): ``fraction`` of every class is set aside for testing, by the seed alone, as `images.split_of` does.

    A single document is cut in two, and its end set aside. Raises ``ManyviewsError`` where a side would be empty.
    """
    if len(corpus) == 1:
        return cut(corpus, fraction)
    test = set_aside(corpus.name, len(corpus), corpus.labels, fraction, seed)
    return corpus.subset((~test).nonzero().squeeze(1)), corpus.subset(test.nonzero().squeeze(1))


def cut(corpus: Corpus, fraction: float) -> tuple[Corpus, Corpus]:
    """One document as its beginning and, ``fraction`` of its characters, its end."""
    if not 0 < fraction < 1:
        raise ManyviewsError(f"The share set aside for testing must lie between 0 and 1, not {fraction}.")
    (texts,) = corpus.texts
    if len(texts) != 1:
        raise ManyviewsError(f"{corpus.name} has 1 pair: too few to set any aside for testing.")
    at = int((1 - fraction) * len(texts[0]))
    halves = texts[0][:at], texts[0][at:]
    if not all(half.strip() for half in halves):
        raise ManyviewsError(f"{corpus.name} is too short to set {fraction:.0%} of it aside for testing.")
    first, second = (replace(corpus, texts=[(half,)]) for half in halves)
    return first, second


def gathered(
    name: str,
    names: Sequence[str],
    texts: Sequence[tuple[str, ...]],
    labels: Tensor | None = None,
    classes: tuple[str, ...] | None = None,
    unread: Mapping[int, str] | None = None,
    scores: Tensor | None = None,
) -> Corpus:
    """A corpus of what can be learned from: empty texts, and the items of ``unread`` with why, are named and left out.

    Raises ``ManyviewsError`` where there are no texts, or more than 1% are left out.
    """
    if not names:
        raise ManyviewsError(f"{name} has no texts.")
    skipped, kept = Skipped(seen=len(names), kind="texts"), list[int]()
    for number, (item, row) in enumerate(zip(names, texts, strict=True)):
        why = (unread or {}).get(number) or _fault(item, row)
        if why is None:
            kept.append(number)
        else:
            skipped.miss(item, why)
    if len(kept) == len(names):
        return Corpus(name, names, texts, labels, classes, skipped, scores=scores)
    if len(names) == 1:
        raise ManyviewsError(*skipped.files.values())
    skipped.check(name, len(names))
    return replace(Corpus(name, names, texts, labels, classes, scores=scores).subset(kept), skipped=skipped)


def _fault(item: str, texts: tuple[str, ...]) -> str | None:
    """Why a text cannot be learned from."""
    for number, text in enumerate(texts, 1):
        what = item if len(texts) == 1 else f"Text {number} of {item}"
        if not text or text.isspace():
            return f"{what} is empty."
        try:
            text.encode()
        except UnicodeEncodeError as error:  # from JSON or from Python
            return f"{what} has half a character (a lone surrogate) at position {error.start}."
    return None


def open_corpus(
    source: Any,
    *,
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Corpus:
    """The texts of ``source``.

    Args:
        source: ``"world-captions"`` (or ``"world"``), ``"world-riddles"``, either with ``-de`` behind it,
            ``"world-tags"``, ``"world-questions"``, ``"world-similarity"``,
            ``"world-translation"``; a named set (tinyshakespeare, wikitext2, sst2, multi30k-en, multi30k-en-de, ...);
            ``"recall-50"``, a task of memory (`data.recall`);
            the path of a file, of a folder, or of two parallel files joined by ``+``; ``"hf:name"``; a list of texts, of
            pairs or of triples, or any of them as a tuple with labels; or a ``Corpus``, which is returned as it is.
        split: train, val or test, as far as the source has them; all for files. Lists have none: it is ignored.
        root: the folder where named sets lie; unless told, ``MANYVIEWS_DATA`` or the user's cache folder.
        columns: of a table, as after ``#`` in its name: one to three columns of texts, and one that is called label
            is the label; ``label=stars`` takes the labels from any other, and ``label=`` leaves them out. Of pairs one that
            is called score says how alike they are, or ``score=grade`` any other.

    Unless told, a table's texts are its column text, sentence, caption or review, or else source and target, sentence1
    and sentence2 or premise and hypothesis; its labels are its column label, class or category, or target where there
    is no source. It may have a column split as well. Fields of a TSV are taken as they stand, without quotes; it may
    lack the header where it has two columns and the second is a whole number, the label.

    Raises ``ManyviewsError``: nothing of that name, with the nearest ones; what is wrong with it.
    """
    if isinstance(source, Corpus):
        return source
    if isinstance(source, str | os.PathLike):
        from manyviews.data.corpus_sources import by_name

        return by_name(os.fspath(source), split, root, columns)
    if columns is not None:
        raise ManyviewsError("Columns are chosen of a table, not of texts from Python; leave columns out.")
    return from_texts(source)


def from_texts(source: Any, *, name: str = "texts") -> Corpus:
    """A corpus of a list of texts or of pairs, or of either as a tuple with labels: N integers from 0, or N strings.

    N floats beside pairs are no labels but say how alike the two are.
    """
    labels = None
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], list):
        source, labels = source
    if not isinstance(source, list):
        raise ManyviewsError(
            f"Texts must be a name, a path, a list of texts, a list of pairs, or a tuple (texts, labels), "
            f"not a {type(source).__name__}."
        )
    if not source:
        raise ManyviewsError("The list of texts is empty.")
    texts = [_row(item, number) for number, item in enumerate(source)]
    counts = {len(row) for row in texts}
    if len(counts) > 1:
        told = " and ".join(map(str, sorted(counts)))
        raise ManyviewsError(f"The list holds items of {told} texts; give those of one kind.")
    indices, classes, scores = None, None, None
    if labels is not None and counts == {2} and (told := np.asarray(labels)).dtype.kind == "f":
        scores = as_scores(torch.from_numpy(np.array(told, np.float32)), len(texts), name)
    elif labels is not None:
        from manyviews.data.arrays import as_labels

        indices, classes = as_labels(labels, len(texts), "texts")
    names = [f"{name}/{i:06d}" for i in range(len(texts))]
    return gathered(name, names, texts, indices, classes, scores=scores)


def as_scores(told: Tensor, count: int, name: str) -> Tensor:
    """How alike pairs are, as float32 [N]; raises ``ManyviewsError`` for another number of them, or one that is not finite."""
    if told.shape != (count,) or not torch.isfinite(told).all():
        raise ManyviewsError(f"{name} has {count} pairs: say of each how alike it is, by a finite number.")
    return told


def _row(item: object, number: int) -> tuple[str, ...]:
    if isinstance(item, str):
        return (item,)
    if isinstance(item, tuple | list) and len(item) in (2, 3) and all(isinstance(text, str) for text in item):
        return tuple(item)
    raise ManyviewsError(f"Item {number} of the list is neither a text nor two or three texts: {item!r:.60}.")
