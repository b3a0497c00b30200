"""Spans that follow each other and spans that do not: whole sentences, from where they are said to be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyviews.data.corpus import from_texts
from manyviews.data.pairs import pairs, sentences, spans
from manyviews.data.reading import Reading, as_set
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError

WORDS = Tokeniser.train("chars", ["abc"], 8)
DOCUMENTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=7), min_size=2, max_size=6).filter(
    lambda documents: any(len(sizes) > 1 for sizes in documents)
)


def numbered(sizes: list[list[int]]) -> list[list[list[tuple[int, int, int]]]]:
    """Documents whose tokens say where they are from: document, sentence, place."""
    return [
        [[(d, s, t) for t in range(size)] for s, size in enumerate(document)]
        for d, document in enumerate(sizes)
    ]


@settings(max_examples=60, deadline=None)
@given(sizes=DOCUMENTS, room=st.integers(2, 20))
def test_b_follows_a_and_the_other_is_of_another_document(sizes: list[list[int]], room: int) -> None:
    documents = numbered(sizes)
    seen: set[tuple[int, int, int]] = set()
    for a, b, other in spans(documents, room):  # pyright: ignore[reportArgumentType]
        assert a and b and other
        (number,) = {token[0] for token in [*a, *b]}
        whole = [token for sentence in documents[number] for token in sentence]
        first = whole.index(a[0])
        assert a[0][2] == b[0][2] == other[0][2] == 0  # whole sentences
        assert [*a, *b] == whole[first : first + len(a) + len(b)]
        assert {token[0] for token in other} != {number} and len({token[0] for token in other}) == 1
        seen |= set(a) | set(b)
    told = {token for document in documents if len(document) > 1 for one in document for token in one}
    assert seen == told  # nothing of a document that has two sentences is left out


def test_spans_fill_the_room_and_some_are_short() -> None:
    documents = numbered([[5] * 400] * 40)
    found = list(spans(documents, 50))  # pyright: ignore[reportArgumentType]
    sizes = [len(a) + len(b) for a, b, _ in found]
    full = sum(size == 50 for size in sizes)
    assert max(sizes) == 50 and 0.5 * len(sizes) < full < len(sizes)
    assert sum(len(a) + len(other) == 50 for a, _, other in found) > 0.7 * len(found)
    assert min(len(a) for a, _, _ in found) >= 5 and len({len(a) for a, _, _ in found}) > 5


def test_rows_are_cls_a_sep_b_sep_and_the_same_twice() -> None:
    corpus = from_texts(["ab. ca. bb", "cc\nab\n\nba"])
    first, second = (as_set(corpus, Reading("chars", 20, pairs=True), 12) for _ in range(2))
    x = first.values
    assert x is not None and second.values is not None and x.equal(second.values)
    assert x.shape[1:] == (4, 12) and first.labels is None
    assert first.tokeniser is not None
    start, end = first.tokeniser.start, first.tokeniser.end
    for row in x:
        for tokens, parts in (row[:2], row[2:]):
            there = tokens[parts > 0].tolist()
            assert there[0] == start and there[-1] == end and there.count(end) == 2
            middle = there.index(end)
            assert parts.tolist()[: len(there)] == [1] * (middle + 1) + [2] * (len(there) - middle - 1)
        a, again = (row[k][: int((row[k + 1] == 1).sum()) - 1].tolist() for k in (0, 2))
        same = min(len(a), len(again))  # the longer span is cut, so A too
        assert same > 1 and a[:same] == again[:same] and row[0].ne(row[2]).any()


def test_sentences_end_with_their_line_or_a_full_stop() -> None:
    text = 'It is blue. "Is it?" It is!\n\n  A title\nNo. 3.5 is left'
    assert sentences(text) == [
        "It is blue.",
        ' "Is it?"',
        " It is!",
        "\n\n  A title",
        "\nNo.",
        " 3.5 is left",
    ]
    assert "".join(sentences(text)) == text
    assert sentences(" \n ") == []


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    with pytest.raises(ManyviewsError, match=r"only one: give several .*--no-next-sentence"):
        pairs([[[5], [6]]], 10, WORDS)
    with pytest.raises(ManyviewsError, match="No document has a second sentence"):
        pairs([[[5]], [[6], []]], 10, WORDS)
    with pytest.raises(ManyviewsError, match="4 tokens have no room"):
        pairs([[[5], [6]], [[7]]], 4, WORDS)
