"""A task of memory: the answer is the first letter, and nothing else tells it."""

import pytest

from manyviews.data import Reading
from manyviews.data.corpus import open_corpus
from manyviews.data.reading import as_set
from manyviews.data.recall import LETTERS, LONGEST, SIGNS
from manyviews.errors import ManyviewsError


def texts(name: str, split: str = "train") -> list[str]:
    return [text for (text,) in open_corpus(name, split=split).texts]


@pytest.mark.parametrize(("name", "fill"), [("recall-6", SIGNS), ("recall-6-distract", LETTERS)])
def test_a_sequence_ends_as_it_begins_and_the_gap_says_nothing(name: str, fill: str) -> None:
    found = texts(name)
    assert {len(text) for text in found} == {6 + 3}
    assert all(text[0] == text[-1] and text[-2] == "?" for text in found)
    assert {sign for text in found for sign in text[1:-2]} == set(fill)
    for place in range(8):  # what the best guess is right in, by one place alone
        pairs = [(text[place], text[-1]) for text in found]
        right = sum(max(pairs.count((sign, letter)) for letter in LETTERS) for sign in {a for a, _ in pairs})
        assert right / len(found) == (1.0 if place == 0 else pytest.approx(1 / 8, abs=0.04))


def test_the_texts_of_a_name_are_always_the_same_and_those_of_splits_differ() -> None:
    assert texts("recall-30") == texts("Recall_30")
    train, test = texts("recall-30"), texts("recall-30", "test")
    assert len(test) == 1024 and not set(train) & set(test)
    assert [text[0] for text in train] != [text[0] for text in texts("recall-31")]


def test_a_window_of_its_size_holds_one_whole_sequence() -> None:
    data = as_set(open_corpus("recall-6", split="test"), Reading("chars", packed=True), 6 + 5)
    assert data.values is not None and data.tokeniser is not None
    token_NT, part_NT = data.values.unbind(1)
    assert len(token_NT) == 1024 and (part_NT == 1).all()
    assert (token_NT[:, 0] == data.tokeniser.start).all() and (token_NT[:, -1] == data.tokeniser.end).all()
    assert (token_NT[:, 1] == token_NT[:, -2]).all()


def test_what_there_is_not_is_said() -> None:
    for name, split, said in (
        (f"recall-{LONGEST + 1}", "train", r"a gap of more than 2,000 signs"),
        ("recall-5", "all", r"no split 'all': it has train, val, test"),
        ("recall", "train", r"There are no texts called 'recall'.*recall-50 and the like"),
    ):
        with pytest.raises(ManyviewsError, match=said):
            open_corpus(name, split=split)
