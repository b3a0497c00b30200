"""Texts of which some words are marked: with a tag each, or as the answer to a question.

words.conll   a word a line, its tag in the last column; a blank line ends a sentence (CoNLL 2003)
asked.json    questions, each with the passage that may hold its answer (SQuAD 1.1 and 2.0)

Shapes   N items, A people who mark each, R rows, T tokens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    from manyviews.data.corpus import Corpus
    from manyviews.data.items import ItemSet

MARKS, WORDS = "marks", "words"  # what an `ItemSet` of marked texts has as senses, uint8 [N, A or 1, R, T]
NONE, BEYOND = 0, 255  # the id of a token without a mark, and of what is no token of a text
ANSWER = "answer"
SUFFIXES = (".conll", ".json")


class Mark(NamedTuple):
    """Some characters of one of an item's texts, and what they are; ``by`` is who says so, where several people do."""

    text: int
    start: int
    end: int
    name: str
    by: int = 0


def marked(corpus: Corpus, marks: Sequence[Sequence[Mark]], names: Sequence[str]) -> Corpus:
    """The corpus with the marks of each item, whose names are among ``names``.

    Raises ``ManyviewsError`` for a mark outside its text, or more than 254 names.
    """
    if len(names) >= BEYOND:
        raise ManyviewsError(f"{corpus.name} has {len(names)} kinds of marks; there can be {BEYOND - 1}.")
    for item, texts, found in zip(corpus.names, corpus.texts, marks, strict=True):
        for mark in found:
            if not 0 <= mark.text < len(texts) or not 0 <= mark.start < mark.end <= len(texts[mark.text]):
                raise ManyviewsError(
                    f"{item} has a mark at characters {mark.start} to {mark.end} of text {mark.text + 1}, which is not there."
                )
    return replace(corpus, marks=marks, marked=tuple(names))


def with_marks(data: ItemSet, corpus: Corpus) -> ItemSet:
    """The set with what is marked as two senses, in the row of the tokens. ``MARKS`` holds ids: numbers from 1 on of the
    corpus' names, ``NONE``, or ``BEYOND`` where no mark can be. At the first token, which is no word, stands the id of a
    mark that lies beyond all tokens; an answer that reaches beyond them does.
    ``WORDS`` is 1 where a word begins, after white space."""
    assert corpus.marks is not None and data.values is not None and data.tokeniser is not None
    places = [data.tokeniser.places(list(texts)) for texts in zip(*corpus.texts, strict=True)]
    around = torch.tensor([-1 if it is None else it for it in (data.tokeniser.start, data.tokeniser.end)])
    of_text_NT = ((data.values[:, 1] > 0) & ~torch.isin(data.values[:, 0], around)).numpy()
    people = 1 + max((mark.by for marks in corpus.marks for mark in marks), default=0)
    ids = np.full((len(data), people, *data.values.shape[1:]), BEYOND, np.uint8)
    begins = np.zeros_like(ids[:, :1])
    number, lost = {name: i for i, name in enumerate(corpus.marked, 1)}, 0
    asked = {mark.text for marks in corpus.marks for mark in marks}  # questions have no marks, passages have
    for item, texts in enumerate(corpus.texts):
        edges = np.flatnonzero(
            np.diff(np.pad(of_text_NT[item].astype(np.int8), 1))
        )  # of one text after another
        for text, (characters, first, end) in enumerate(zip(texts, edges[::2], edges[1::2], strict=False)):
            spots_M2, cut = np.split(np.array(places[text][item], np.int64).reshape(-1, 2), [end - first])
            whole_until = cut[0, 0] if len(cut) and corpus.marked == (ANSWER,) else len(characters)
            id_AM = np.full((people, len(spots_M2)), NONE, np.uint8)
            for mark in corpus.marks[item]:
                if mark.text == text:
                    here_M = (spots_M2[:, 0] < mark.end) & (spots_M2[:, 1] > mark.start)
                    here_M &= mark.end <= whole_until
                    id_AM[mark.by, here_M] = number[mark.name]
                    if not here_M.any():
                        ids[item, mark.by, 0, 0], lost = number[mark.name], lost + 1
            if text in asked or not asked:
                ids[item, :, 0, first:end] = id_AM
                begins[item, 0, 0, first:end] = [_begins(characters, *spot) for spot in spots_M2]
    if lost:
        print(
            f"manyviews: {lost:,} marks of {corpus.name} lie beyond the {data.values.shape[-1]} tokens that are read, and "
            "are not found: say a larger --size when pretraining.",
            file=sys.stderr,
        )
    senses = {MARKS: torch.from_numpy(ids), WORDS: torch.from_numpy(begins)}
    return replace(data, senses=senses, pixel_classes=("", *corpus.marked))


def _begins(text: str, start: int, end: int) -> bool:
    """Whether a word begins with a token, which may have white space of its own before it."""
    token = text[start:end]
    start += len(token) - len(token.lstrip())
    return start < end and (start == 0 or text[start - 1].isspace())


# -- files ---------------------------------------------------------------------------------------------------------


def open_marked(path: str, split: str = "train") -> Corpus:
    """The marked texts of a file, which is the training split.

    Raises ``ManyviewsError``: it is not what its name says, or has no texts.
    """
    from manyviews.data.corpus_files import read_text, suffix_of
    from manyviews.data.listed import rows_of_split

    rows_of_split(["train"], split, path)
    text = read_text(path)
    return _tagged(path, text) if suffix_of(path) == ".conll" else _asked(path, text)


def _tagged(path: str, text: str) -> Corpus:
    names, texts, marks = [], [], []
    for line, rows in _sentences(path, text):
        words = [word for word, _ in rows]
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        spots = zip(ends.tolist(), rows, strict=True)
        names.append(f"{path}:{line}")
        texts.append((" ".join(words),))
        marks.append([Mark(0, end - len(word), end, tag) for end, (word, tag) in spots if tag != "O"])
    return _corpus(path, names, texts, marks, sorted({mark.name for found in marks for mark in found}))


def _sentences(path: str, text: str) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """(line, words with their tags) of each sentence."""
    rows: list[tuple[str, str]] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            if len(columns) < 2:
                raise ManyviewsError(
                    f"Line {number} of {path} has no tag behind its word: write each line as WORD ... TAG."
                )
            rows.append((columns[0], columns[-1]))
        elif rows:
            yield number - len(rows), rows
            rows = []


def _asked(path: str, text: str) -> Corpus:
    names, texts, marks = [], [], []
    try:
        for article in json.loads(text)["data"]:
            for passage in article["paragraphs"]:
                for question in passage["qas"]:
                    names.append(str(question["id"]))
                    texts.append((question["question"], passage["context"]))
                    marks.append([_answer(said, by) for by, said in enumerate(question["answers"])])
    except (ValueError, KeyError, TypeError) as error:
        raise ManyviewsError(
            f"{path} is no whole file of questions as SQuAD has them ({type(error).__name__}: {error}): it must have "
            "data, paragraphs, context, qas, id, question, answers, text and answer_start."
        ) from error
    return _corpus(path, names, texts, marks, [ANSWER])


def _answer(answer: dict[str, Any], by: int) -> Mark:
    start = int(answer["answer_start"])
    return Mark(1, start, start + len(answer["text"]), ANSWER, by)


def _corpus(
    path: str, names: list[str], texts: list[Any], marks: list[list[Mark]], kinds: Sequence[str]
) -> Corpus:
    from manyviews.data.corpus import Corpus

    if not names:
        raise ManyviewsError(f"{path} has no texts.")
    if empty := [
        name for name, row in zip(names, texts, strict=True) if not all(text.strip() for text in row)
    ]:
        raise ManyviewsError(f"A text of {empty[0]} in {path} is empty.")
    return marked(Corpus(path, names, texts, None, None), marks, kinds)
