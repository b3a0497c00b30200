"""Packed tokens are those that went in, once each and in their order; nothing is cut that a window could hold."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from manyviews.data.packing import beside, best_fit, pair, rows, too_long, windows
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError

CHARS = Tokeniser.train("chars", ["abcdefghijklmnopqrstuvwxyz"], 31)
PAD, START, END = CHARS.padding, CHARS.start, CHARS.end

DOCUMENTS = st.lists(st.lists(st.integers(5, 30), max_size=25), max_size=15)
LENGTHS = st.one_of(st.just(1), st.integers(1, 12), st.just(100))


def numbered(sizes: Sequence[int]) -> list[list[int]]:
    """Documents of these sizes, of which no two tokens are alike."""
    count = itertools.count(5)
    return [[next(count) for _ in range(size)] for size in sizes]


def contents(x_N2T: Tensor) -> list[list[list[int]]]:
    """The pieces of each window, checked to be numbered from 1 and to have padding behind them only."""
    found = []
    for tokens, parts in x_N2T.tolist():
        there = sum(part > 0 for part in parts)
        assert all(parts[:there]) and not any(parts[there:]), "padding stands at the end only"
        assert tokens[there:] == [PAD] * (len(parts) - there)
        runs = [(part, len([*group])) for part, group in itertools.groupby(parts[:there])]
        assert [part for part, _ in runs] == [*range(1, len(runs) + 1)]
        ends = [0, *itertools.accumulate(size for _, size in runs)]
        found.append([tokens[a:b] for a, b in itertools.pairwise(ends)])
    return found


# -- windows -----------------------------------------------------------------------------------------------------


@given(DOCUMENTS, LENGTHS, st.booleans(), st.booleans())
def test_no_token_is_lost_or_doubled_and_no_document_cut_that_fits(
    documents: list[list[int]], length: int, start: bool, end: bool
) -> None:
    if not any(documents):
        return
    x_N2T = windows(documents, length, CHARS, start=start, end=end)
    assert x_N2T.dtype == torch.int32 and x_N2T.shape[1:] == (2, length) and x_N2T.is_contiguous()
    whole = [[START] * start + document + [END] * end for document in documents if document]
    due = [document[at : at + length] for document in whole for at in range(0, len(document), length)]
    assert sorted(itertools.chain(*contents(x_N2T))) == sorted(due)


@given(st.lists(st.integers(1, 25), min_size=1, max_size=15), LENGTHS)
def test_everything_stands_in_the_order_of_the_documents(sizes: list[int], length: int) -> None:
    documents = numbered(sizes)
    found = contents(windows(documents, length, CHARS, end=False))
    assert all(window == sorted(window) for window in found)
    assert found == sorted(found), "windows by their first tokens"
    assert sorted(itertools.chain(*itertools.chain(*found))) == [*itertools.chain(*documents)]


@pytest.mark.parametrize("portion", [1, 7, 50])
def test_portions_and_arrays_make_the_same_windows(portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = numbered([3, 25, 0, 8, 1, 14, 14, 2])
    whole = windows(documents, 6, CHARS)
    monkeypatch.setattr("manyviews.data.packing.AT_ONCE", portion)
    assert torch.equal(windows([np.array(ids, np.int32) for ids in documents], 6, CHARS), whole)


def plainly(sizes: Sequence[int], length: int) -> list[int]:
    """What is left in each window after best-fit decreasing, written out."""
    left: list[int] = []
    for size in sorted(sizes, reverse=True):
        fits = [window for window, room in enumerate(left) if room >= size]
        if fits:
            left[min(fits, key=left.__getitem__)] -= size
        else:
            left.append(length - size)
    return sorted(left)


@given(st.integers(1, 90), st.data())
def test_windows_are_those_of_best_fit_decreasing(length: int, data: st.DataObject) -> None:
    size_P = np.array(data.draw(st.lists(st.integers(1, length), min_size=1, max_size=60)))
    window_P = best_fit(size_P, length)
    taken = np.bincount(window_P, size_P).astype(int)
    assert sorted(length - taken) == plainly(size_P.tolist(), length)


def test_best_fit_by_hand() -> None:
    documents = numbered([3, 9, 2, 5, 4, 1])
    assert contents(windows(documents, 6, CHARS, end=False)) == [
        [documents[0], documents[1][6:]],
        [documents[1][:6]],
        [documents[2], documents[4]],
        [documents[3], documents[5]],
    ]


def test_one_long_document_becomes_consecutive_windows() -> None:
    (document,) = numbered([10])
    x_N2T = windows([document], 4, CHARS)
    assert x_N2T[:, 0].flatten().tolist() == [*document, END, PAD]
    assert x_N2T[:, 1].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]


def test_a_window_larger_than_all_holds_all_in_order() -> None:
    documents = numbered([3, 1, 7])
    (window,) = contents(windows(documents, 50, CHARS))
    assert window == [[*document, END] for document in documents]


def test_windows_of_one_token_hold_one_each() -> None:
    x_N2T = windows([[7, 8], [], [9]], 1, CHARS)
    assert x_N2T.tolist() == [[[token], [1]] for token in (7, 8, END, 9, END)]


def test_packing_twice_is_packing_once() -> None:
    random = np.random.default_rng(0)
    documents = [random.integers(5, 30, size).tolist() for size in random.geometric(0.05, 500)]
    x_N2T = windows(documents, 32, CHARS, start=True)
    assert torch.equal(x_N2T, windows(documents, 32, CHARS, start=True))
    assert (x_N2T[:, 1] == 0).float().mean() < 0.01, "hardly anything is padding"


# -- rows --------------------------------------------------------------------------------------------------------

PAIRS = st.lists(
    st.tuples(st.lists(st.integers(5, 30), max_size=9), st.lists(st.integers(5, 30), max_size=9)), min_size=1
)


@given(
    PAIRS,
    st.integers(3, 14),
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(st.booleans(), st.booleans()),
)
def test_each_text_has_a_row_and_keeps_its_ends(
    texts: list[tuple[list[int], list[int]]], length: int, starts: tuple[bool, bool], ends: tuple[bool, bool]
) -> None:
    x_NRT = rows(texts, length, CHARS, starts=starts, ends=ends)
    assert x_NRT.dtype == torch.int32 and x_NRT.shape == (len(texts), 2, length)
    cut = [0, 0]
    for item, found in zip(texts, x_NRT.tolist(), strict=True):
        for r, text in enumerate(item):
            kept = text[: length - starts[r] - ends[r]]
            cut[r] += kept != text
            due = [START] * starts[r] + kept + [END] * ends[r]
            assert found[r] == due + [PAD] * (length - len(due))
    assert too_long(texts, length, starts=starts, ends=ends) == tuple(cut)


def test_rows_have_both_ends_unless_told() -> None:
    assert rows([([7, 8],), ([],)], 5, CHARS).tolist() == [
        [[START, 7, 8, END, PAD]],
        [[START, END, PAD, PAD, PAD]],
    ]
    assert rows([([7, 8],)], 1, CHARS, starts=False, ends=False).tolist() == [[[7]]]
    assert rows([([7, 8], [9])], 3, CHARS, starts=False, ends=(True, False)).tolist() == [
        [[7, 8, END], [9, PAD, PAD]]
    ]
    assert too_long([([7, 8], [9])], 3) == (1, 0)


# -- pairs -------------------------------------------------------------------------------------------------------


def cut_plainly(a: list[int], b: list[int], most: int) -> None:
    """_truncate_seq_pair of the authors' run_classifier.py."""
    while len(a) + len(b) > most:
        (a if len(a) > len(b) else b).pop()


@given(st.integers(0, 20), st.integers(0, 20), st.integers(5, 30))
def test_a_pair_is_cut_as_bert_cuts_it(first: int, second: int, length: int) -> None:
    a, b = numbered([first, second])
    tokens, parts = pair(a, b, length, CHARS).tolist()
    cut_plainly(a, b, length - 3)
    due = [START, *a, END, *b, END]
    assert tokens == due + [PAD] * (length - len(due))
    assert parts == [1] * (len(a) + 2) + [2] * (len(b) + 1) + [0] * (length - len(due))


@given(st.lists(st.integers(1, 12), min_size=3, max_size=4), st.integers(9, 40))
def test_several_texts_lose_the_last_token_of_the_longest(sizes: list[int], length: int) -> None:
    texts = numbered(sizes)
    tokens, parts = beside(texts, length, CHARS).tolist()
    while sum(map(len, texts)) + 1 + len(texts) > length:
        max(reversed(texts), key=len).pop()
    due = [START, *(token for text in texts for token in [*text, END])]
    assert tokens == due + [PAD] * (length - len(due))
    each = [number for number, text in enumerate(texts, 1) for _ in [*text, END]]
    assert parts == [1, *each] + [0] * (length - len(due))


@pytest.mark.parametrize("length", [3, 5, 12])
def test_a_sentence_alone_has_one_part(length: int) -> None:
    (a,) = numbered([6])
    tokens, parts = pair(a, None, length, CHARS).tolist()
    due = [START, *a[: length - 2], END]
    assert tokens == due + [PAD] * (length - len(due)) and parts == [1] * len(due) + [0] * (length - len(due))


def test_pairs_are_those_of_transformers(tmp_path) -> None:
    from transformers import BertTokenizer

    made = Tokeniser.train("wordpiece", ["the cat sat on the mat and the dog sat on the cat"] * 2, 60)
    (tmp_path / "vocab.txt").write_text("\n".join(made.tokens(range(len(made)))) + "\n", "utf-8")
    theirs = BertTokenizer.from_pretrained(tmp_path)
    for a, b in [
        ("the cat", "the dog sat"),
        ("on the mat and on the dog", "sat"),
        ("the", "the cat sat on the mat"),
    ]:
        for length in (8, 9, 24):
            due = theirs(a, b, truncation="longest_first", max_length=length, padding="max_length")
            found = pair(*made.encode([a, b]), length, made)
            assert found[0].tolist() == due["input_ids"]
            mask = torch.tensor(due["attention_mask"])
            assert torch.equal(found[1].long(), (torch.tensor(due["token_type_ids"]) + 1) * mask)


# -- bad input ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_packed_is_said_in_a_sentence() -> None:
    for nothing in ([], [[], []]):
        with pytest.raises(ManyviewsError, match="no tokens to pack: all documents are empty"):
            windows(nothing, 8, CHARS)
    with pytest.raises(ManyviewsError, match="A window has at least 1 token, not 0"):
        windows([[7]], 0, CHARS)
    with pytest.raises(ManyviewsError, match="There are no texts to lay into rows"):
        rows([], 8, CHARS)
    with pytest.raises(ManyviewsError, match=r"Item 2 has 1 text\(s\), and the first has 2"):
        rows([([7], [8]), ([9],)], 8, CHARS)
    with pytest.raises(ManyviewsError, match=r"2 token\(s\) are too few .* at least 3"):
        rows([([7],)], 2, CHARS)
    with pytest.raises(ManyviewsError, match=r"4 tokens are too few for 2 sentence\(s\) .* at least 5"):
        pair([7], [8], 4, CHARS)
    with pytest.raises(ManyviewsError, match=r"2 tokens are too few for 1 sentence\(s\) .* at least 3"):
        pair([7], None, 2, CHARS)
    with pytest.raises(ValueError, match=r"1 answers were given for 2 text\(s\)"):
        rows([([7], [8])], 8, CHARS, ends=[True])


def test_a_tokeniser_without_ends_is_refused_where_they_are_needed() -> None:
    import tokenizers
    from tokenizers import models

    bare = Tokeniser(tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
    with pytest.raises(ManyviewsError, match="has no end token"):
        windows([[0, 1]], 4, bare)
    with pytest.raises(ManyviewsError, match="has no start token"):
        rows([([0],)], 4, bare)
    with pytest.raises(ManyviewsError, match="has no start token"):
        pair([0], [1], 8, bare)
    assert windows([[0, 1]], 4, bare, end=False)[0, 0].tolist() == [0, 1, 2, 2]
