"""From a corpus to a set of tokens: packed or apart, by a tokeniser that is made or loaded."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from manyviews.data import Reading, open_data
from manyviews.data.items import ItemSet, summary
from manyviews.data.reading import laid_out
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError

TEXTS = ["a cat sat", "a dog", "the cat and the dog sat"]
PAIRS = [("a cat", "eine katze"), ("a dog", "ein hund"), ("dogs", "hunde")]
CHARS = Reading("chars", 64)


def said(data: ItemSet) -> list[str | None]:
    return [data.text(item) for item in range(len(data))]


def parts(data: ItemSet) -> torch.Tensor:
    assert data.values is not None
    return data.values[:, 1]


def test_texts_apart_are_an_item_each_with_their_labels() -> None:
    data = open_data((TEXTS, ["cat", "dog", "both"]), size=32, reading=CHARS)
    assert data.kind == "texts" and said(data) == TEXTS
    assert data.values is not None and data.values.dtype == torch.int32 and data.values.shape == (3, 2, 32)
    assert data.classes == ("both", "cat", "dog") and data.labels is not None
    assert data.labels.tolist() == [1, 2, 0]
    words = data.tokeniser
    assert words is not None and words.start is not None
    for row, text in zip(data.values, TEXTS, strict=True):
        length = len(text) + 2
        assert row[1].tolist() == [1] * length + [0] * (32 - length)
        assert row[0, 0] == words.start and row[0, length - 1] == words.end
        assert (row[0, length:] == words.padding).all()
    assert summary(data)["vocabulary"] == len(words)


def test_packed_windows_hold_whole_texts_and_no_labels() -> None:
    data = open_data((TEXTS, [0, 1, 2]), size=32, reading=Reading("chars", 64, packed=True))
    assert data.labels is None and data.classes is None
    assert said(data) == ["a cat sat", "a dogthe cat and the dog sat"]  # 7 and 25 tokens fill a window
    assert parts(data).amax(1).tolist() == [1, 2] and (parts(data)[1] > 0).all()


def test_a_text_that_is_too_long_is_cut_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    data = open_data(TEXTS, size=11, reading=CHARS)
    assert said(data) == ["a cat sat", "a dog", "the cat a"]
    assert "1 text(s) of texts longer than 11 tokens" in capsys.readouterr().err


def test_a_single_document_becomes_windows_however_it_is_read() -> None:
    data = open_data(["abcdefgh" * 3], size=9, reading=CHARS)
    assert data.tokeniser is not None and data.values is not None
    inner = 9 - 1 - (data.tokeniser.start is not None)
    assert len(data) == -(-24 // inner)
    assert parts(data).sum() == 24 + len(data) * (
        9 - inner
    )  # each window is a text, with what begins and ends one
    assert "".join(data.tokeniser.decode(row) for row in data.values[:, 0]) == "abcdefgh" * 3


def test_pairs_are_four_rows() -> None:
    data = open_data(PAIRS, size=16, reading=Reading("chars", 64, texts=2))
    assert data.values is not None and data.values.shape == (3, 4, 16) and data.tokeniser is not None
    assert said(data) == [pair[0] for pair in PAIRS]
    tokens, there = data.values[:, 2], data.values[:, 3]
    told = [data.tokeniser.decode(row[on > 0]) for row, on in zip(tokens, there, strict=True)]
    assert told == [pair[1] for pair in PAIRS]
    assert there.unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("texts", "source", "words"), [(2, TEXTS, "1 text.*learns from 2: give pairs"), (1, PAIRS, "2 text.*learns from 1: give single")]
)  # fmt: skip
def test_another_number_of_texts_is_refused(texts: int, source: list, words: str) -> None:
    with pytest.raises(ManyviewsError, match=words):
        open_data(source, size=16, reading=Reading("chars", 64, texts=texts))


def test_for_use_single_texts_will_do_where_translations_were_learned() -> None:
    data = open_data(TEXTS, size=32, reading=Reading("chars", 64, texts=2, joined=True))
    assert said(data) == TEXTS and data.values is not None and data.values.shape == (3, 2, 32)


@pytest.mark.parametrize("segments", [False, True])
def test_for_use_two_texts_are_one_row_and_segments_only_where_they_were_learned(segments: bool) -> None:
    data = open_data(PAIRS, size=24, reading=Reading("chars", 64, pairs=segments, joined=True))
    assert said(data) == ["".join(pair) for pair in PAIRS]
    first, second = 2 + len(PAIRS[0][0]), 1 + len(PAIRS[0][1])
    assert parts(data)[0, : first + second].tolist() == [1] * first + [1 + segments] * second


def test_a_text_and_two_answers_are_one_row_for_use() -> None:
    threes = [(*pair, "x") for pair in PAIRS]
    data = open_data((threes, list(range(len(PAIRS)))), size=24, reading=Reading("chars", 64, joined=True))
    assert said(data) == ["".join(three) for three in threes]
    assert parts(data).max() == 1
    with pytest.raises(ManyviewsError, match=r"3 text.*learns from 1"):
        open_data(
            (threes, list(range(len(PAIRS)))), size=24, reading=Reading("chars", 64, pairs=True, joined=True)
        )


def test_threes_are_refused_where_they_were_not_learned() -> None:
    from manyviews.data.corpus import from_texts
    from manyviews.data.reading import as_set

    corpus = from_texts(PAIRS)
    corpus = type(corpus)("threes", corpus.names, [(*pair, "x") for pair in PAIRS], None, None)
    with pytest.raises(ManyviewsError, match=r"3 text.*learns from 1"):
        as_set(corpus, Reading("chars", 64, joined=True), 16)


def test_a_tokeniser_of_ones_own_is_loaded(tmp_path: Path) -> None:
    made = Tokeniser.train("chars", TEXTS, 64)
    path = made.save(tmp_path / "words.json")
    data = open_data(["a tad"], size=16, reading=Reading(str(path)))
    assert data.tokeniser is not None and data.tokeniser.to_json() == made.to_json()
    with pytest.raises(ManyviewsError, match=r"There is no tokeniser nowhere\.json"):
        open_data(TEXTS, size=16, reading=Reading("nowhere.json"))


def test_a_tokeniser_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = Tokeniser.train("chars", TEXTS, 64).save(tmp_path / "words.json")
    path.write_text(path.read_text()[:200])
    with pytest.raises(ManyviewsError, match=r"words\.json is no whole tokenizer\.json"):
        open_data(TEXTS, size=16, reading=Reading(str(path)))


def startless(tmp_path: Path) -> str:
    """A tokeniser whose texts end with a token but begin with none, its padding the last."""
    names = ["<unk>", "</s>", *"abcdeghinostu "]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.add_special_tokens(["</s>"])
    made.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def test_a_tokeniser_without_a_start_token_will_do_where_nothing_is_told_from_it(tmp_path: Path) -> None:
    path = startless(tmp_path)
    for packed in (True, False):
        data = open_data(TEXTS, size=32, reading=Reading(path, packed=packed))
        assert data.tokeniser is not None and data.tokeniser.start is None and data.values is not None
        assert data.values[0, 0, 0] == data.tokeniser.encode(["a"])[0][0]
    with pytest.raises(ManyviewsError, match="no start token"):
        open_data(PAIRS, size=32, reading=Reading(path, texts=2))


def test_what_is_left_out_is_known_of_the_set() -> None:
    texts = [*TEXTS, "  "]
    for reading in (CHARS, Reading("chars", 64, packed=True)):
        assert len(open_data(texts, size=32, reading=reading).skipped.files) == 1


def test_texts_to_be_embedded_keep_their_rows() -> None:
    words = Tokeniser.train("chars", TEXTS, 64)
    x_N2T = laid_out(["a cat sat", "a dog"], words, 12)
    assert torch.equal(x_N2T[:1], laid_out(["a cat sat"], words, 12))  # alone, it is an item too
    assert len(laid_out(["a cat sat on the dog"], words, 12)) == 1
    with pytest.raises(ManyviewsError, match="is empty"):
        laid_out(["a cat", ""], words, 12)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b" \n\n", "is empty"), (b"a caf\xe9", "is not UTF-8: byte 5 .* iconv")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(ManyviewsError, match=words):
        open_data(str(path), size=16, reading=CHARS)


def test_one_endless_line_is_a_document_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "line.txt"
    path.write_text("abcde " * 5_000)
    for kind in ("chars", "bpe"):
        data = open_data(str(path), size=64, reading=Reading(kind, 300, packed=True))
        assert parts(data).amax() == 1 and (parts(data)[:-1] > 0).all()
        told = "".join(text or "" for text in said(data))
        assert told == "abcde " * 5_000
