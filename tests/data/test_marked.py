"""Marks of characters become marks of the tokens that are read, whatever the tokeniser and wherever the text stands."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from manyviews.data import ItemSet
from manyviews.data.corpus import from_texts, open_corpus
from manyviews.data.marked import ANSWER, BEYOND, MARKS, WORDS, Mark, marked
from manyviews.data.reading import Reading, as_set
from manyviews.data.world.asked import QUESTIONS, TAGS, world_questions, world_tags
from manyviews.errors import ManyviewsError

TEXTS = ["A red fox, seen.", "The blue-red sea is  calm"]
FOUND = [[Mark(0, 2, 5, "colour"), Mark(0, 6, 9, "noun")], [Mark(0, 4, 8, "colour"), Mark(0, 13, 16, "noun")]]


def read(corpus, kind: str = "wordpiece", length: int = 24, **how: bool) -> ItemSet:
    return as_set(corpus, Reading(kind, 400, joined=True, **how), length)


def shown(data: ItemSet, item: int) -> list[tuple[str, int, int]]:
    assert data.values is not None and data.tokeniser is not None
    there = data.values[item, 1] > 0
    tokens = data.tokeniser.tokens(data.values[item, 0][there])
    marks, words = (data.senses[name][item, 0, 0][there].tolist() for name in (MARKS, WORDS))
    return list(zip(tokens, marks, words, strict=True))


def test_words_and_their_first_pieces() -> None:
    data = read(marked(from_texts(TEXTS), FOUND, ["colour", "noun"]), "chars", 40)
    assert data.pixel_classes == ("", "colour", "noun")
    for item, text in enumerate(TEXTS):
        rows = shown(data, item)
        assert rows[0][1:] == rows[-1][1:] == (BEYOND, 0)
        assert "".join(token for token, _, _ in rows[1:-1]) == text
        for place, (_, mark, begins) in enumerate(rows[1:-1]):
            named = [k + 1 for k, one in enumerate(FOUND[item]) if one.start <= place < one.end]
            assert mark == sum(named)
            assert begins == (not text[place].isspace() and (place == 0 or text[place - 1].isspace()))
    assert (data.senses[MARKS][:, 0, 1] == BEYOND).all()  # the row of the parts


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_pieces_of_words(kind: str) -> None:
    data = read(marked(from_texts(TEXTS), FOUND, ["colour", "noun"]), kind, 40)
    for item, text in enumerate(TEXTS):
        rows = shown(data, item)[1:-1]
        assert sum(begins for _, _, begins in rows) == len(text.split())
        for number, one in enumerate(FOUND[item], 1):
            pieces = "".join(token.strip().removeprefix("##") for token, mark, _ in rows if mark == number)
            assert pieces == text[one.start : one.end].lower() or pieces == text[one.start : one.end]


@pytest.mark.parametrize("pairs", [True, False])
def test_the_answer_is_found_behind_the_question(pairs: bool) -> None:
    corpus = marked(
        from_texts([("Which fox?", TEXTS[0]), ("Why?", TEXTS[1])]), [[Mark(1, 2, 5, ANSWER)], []], [ANSWER]
    )
    data = read(corpus, "chars", 60, pairs=pairs)
    first = shown(data, 0)
    assert "".join(token for token, mark, _ in first if mark == 1) == "red"
    assert "".join(token for token, mark, _ in first if mark == 0) == "A  fox, seen."
    assert [mark for _, mark, _ in first[:12]] == [BEYOND] * 12  # [CLS], the question, [SEP]
    assert {mark for _, mark, _ in shown(data, 1)} == {0, BEYOND}


@pytest.mark.parametrize(("length", "seen"), [(16, True), (15, False), (12, False)])
def test_an_answer_that_is_read_in_part_is_beyond(length: int, seen: bool) -> None:
    corpus = marked(from_texts([("Who?", "A red fox, seen.")]), [[Mark(1, 2, 9, ANSWER)]], [ANSWER])
    rows = shown(read(corpus, "chars", length), 0)  # [CLS] Who? [SEP] A red fox [SEP]
    assert "".join(token for token, mark, _ in rows if mark == 1) == ("red fox" if seen else "[CLS]")


def test_what_is_not_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    data = read(marked(from_texts(TEXTS), FOUND, ["colour", "noun"]), "chars", 10)
    assert "1 marks of texts lie beyond the 10 tokens" in capsys.readouterr().err
    assert [mark for _, mark, _ in shown(data, 0)] == [BEYOND, 0, 0, 1, 1, 1, 0, 2, 2, BEYOND]
    assert shown(data, 1)[0][1] == 2  # [CLS] tells that there is one beyond


def test_marks_follow_their_items() -> None:
    corpus = marked(from_texts(TEXTS), FOUND, ["colour", "noun"]).subset([1, 0])
    assert corpus.marks == FOUND[::-1]
    data = read(corpus, "chars", 40).subset([1])
    assert [mark for _, mark, _ in shown(data, 0)][3:6] == [1, 1, 1]
    assert not as_set(corpus, Reading("chars", 400), 40).senses  # learning sees none of it


def test_the_world_is_asked_what_its_captions_tell() -> None:
    tags = world_tags("test", items=200)
    assert tags.marks is not None and tags.marked == TAGS
    told = {tag: {t[m.start : m.end] for (t,), ms in zip(tags.texts, tags.marks, strict=True) for m in ms if m.name == tag}
            for tag in TAGS}  # fmt: skip
    assert "fish" in told["creature"] and "sea" in told["habitat"] and "purple" in told["colour"]
    assert {word.lower() for word in told["season"]} == {"winter", "spring", "summer", "autumn", "night"}
    asked = world_questions("test", items=200)
    assert asked.marks is not None and {q for q, _ in asked.texts} == set(QUESTIONS)
    none = sum(not marks for marks in asked.marks) / len(asked)
    assert 0.1 < none < 0.35 and all(len(marks) < 2 for marks in asked.marks)
    answers = {text[m.start : m.end] for (q, text), ms in zip(asked.texts, asked.marks, strict=True) for m in ms
               if "Where" in q}  # fmt: skip
    assert "in the sea" in answers and all("the " in answer for answer in answers)
    for (question, text), marks in zip(asked.texts, asked.marks, strict=True):
        if question == "What season is it?":
            told_it = any(word in text.lower() for word in ("winter", "spring", "summer", "autumn", "night"))
            assert told_it == bool(marks)
    assert dataclasses.asdict(world_tags("test", items=50))["marks"] == list(tags.marks)[:50]


def test_files_of_conll_and_squad(tmp_path: Path) -> None:
    words = tmp_path / "words.conll"
    words.write_text(
        "-DOCSTART- -X- O O\n\nU.N. NNP B-ORG\nofficial NN O\nEkeus NNP B-PER\n\nRolf NNP B-PER\n"
    )
    corpus = open_corpus(str(words))
    assert list(corpus.texts) == [("U.N. official Ekeus",), ("Rolf",)]
    assert corpus.marks == [[Mark(0, 0, 4, "B-ORG"), Mark(0, 14, 19, "B-PER")], [Mark(0, 0, 4, "B-PER")]]
    assert corpus.marked == ("B-ORG", "B-PER") and corpus.names[0] == f"{words}:3"

    qas = [{"id": "x", "question": "Who?", "answers": [{"text": "Rolf", "answer_start": 3}, {"text": "It", "answer_start": 0}]},
           {"id": "y", "question": "Why?", "answers": []}]  # fmt: skip
    asked = tmp_path / "asked.json"
    asked.write_text(json.dumps({"data": [{"paragraphs": [{"context": "It Rolf", "qas": qas}]}]}))
    corpus = open_corpus(str(asked))
    assert list(corpus.texts) == [("Who?", "It Rolf"), ("Why?", "It Rolf")]
    assert corpus.marks == [[Mark(1, 3, 7, ANSWER), Mark(1, 0, 2, ANSWER, by=1)], []]
    senses = read(corpus, "chars", 20, pairs=True).senses
    assert senses[MARKS].shape[1] == 2 and senses[WORDS].shape[1] == 1
    assert [(senses[MARKS][0, by, 0] == 1).nonzero().flatten().tolist() for by in (0, 1)] == [
        [9, 10, 11, 12],
        [6, 7],
    ]
    with pytest.raises(ManyviewsError, match="has no split 'test'"):
        open_corpus(str(asked), split="test")


def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path) -> None:
    corpus = from_texts(TEXTS)
    with pytest.raises(ManyviewsError, match="a mark at characters 2 to 99 of text 1, which is not there"):
        marked(corpus, [[Mark(0, 2, 99, "x")], []], ["x"])
    with pytest.raises(ManyviewsError, match="300 kinds of marks; there can be 254"):
        marked(corpus, [[], []], [str(i) for i in range(300)])
    for name, text, message in [
        ("bare.conll", "word\n", "Line 1 of .* has no tag behind its word"),
        ("none.conll", "\n\n", "has no texts"),
        ("cut.json", '{"data": [{"paragr', "no whole file of questions as SQuAD has them"),
        ("odd.json", '{"data": [{"paragraphs": [{"context": "a"}]}]}', "KeyError: 'qas'"),
        ("none.json", '{"data": []}', "has no texts"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(ManyviewsError, match=message):
            open_corpus(str(tmp_path / name))


def test_senses_are_bytes_of_every_token() -> None:
    data = read(marked(from_texts(TEXTS), FOUND, ["colour", "noun"]), "chars", 40)
    assert data.values is not None
    for sense in data.senses.values():
        assert sense.dtype == torch.uint8 and sense.shape == (2, 1, *data.values.shape[1:])
