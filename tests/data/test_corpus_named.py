"""Named sets of texts from tiny files in their official layouts, those of the hub, and the world's."""

import gzip
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from manyviews.data import corpus_named
from manyviews.data.corpus import open_corpus
from manyviews.data.fetch import Remote
from manyviews.errors import ManyviewsError, NoSplit


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def refused(source: str, match: str, **how: Any) -> None:
    with pytest.raises(ManyviewsError, match=match):
        open_corpus(source, **how)


def test_tiny_shakespeare_is_parted_as_nanogpt_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "".join(f"{i} to be\n" for i in range(123))
    put(tmp_path / "tinyshakespeare" / "input.txt", text)
    train, val, test = (
        open_corpus("tinyshakespeare", split=split, root=tmp_path) for split in ("train", "val", "test")
    )
    at = int(len(text) * 0.9)
    assert train.texts == [(text[:at],)] and val.texts == test.texts == [(text[at:],)]
    assert train.name == "tinyshakespeare/train"
    refused("tinyshakespeare", "no split 'all': it has train, val, test", split="all", root=tmp_path)
    here = Remote("file:///nowhere/input.txt", "0")
    monkeypatch.setattr(corpus_named, "SHAKESPEARE", here)
    refused(
        "tinyshakespeare", r"put input\.txt into .*elsewhere/tinyshakespeare", root=tmp_path / "elsewhere"
    )


WIKITEXT = """ \n = Lobster ( animal ) = \n \n It lives . \n = 1 / s and more = \n Still it . \n \n = = Food = = \n \n
 = not a title \n \n = Du Fu = \n \n A poet . \n \n"""


@pytest.mark.parametrize("file", ["wikitext2/valid.txt", "wikitext-2/wiki.valid.tokens"])
def test_wikitext_is_articles(tmp_path: Path, file: str):
    put(tmp_path / file, WIKITEXT)
    corpus = open_corpus("wikitext2", split="val", root=tmp_path)
    titles = [text.split("\n")[0] for (text,) in corpus.texts]
    assert titles == [" = Lobster ( animal ) = ", " = Du Fu = "]
    assert "".join(f"{text}\n" for (text,) in corpus.texts) == f"{WIKITEXT}\n".removeprefix(" \n")
    assert [name.rpartition(":")[2] for name in corpus.names] == ["2", "13"]
    refused("wikitext2", r"put train\.txt or wiki\.train\.tokens of .* into .*wikitext2\.$", root=tmp_path)


def test_wikitext_that_does_not_begin_with_a_title(tmp_path: Path):
    put(tmp_path / "wikitext2" / "test.txt", "the end of one\n\n = Next = \n\nmore\n")
    corpus = open_corpus("wikitext2", split="test", root=tmp_path)
    assert corpus.texts == [("the end of one\n",), (" = Next = \n\nmore\n",)]
    put(tmp_path / "wikitext2" / "test.txt", "no titles\n")
    assert open_corpus("wikitext2", split="test", root=tmp_path).texts == [("no titles\n",)]


def test_sst2(tmp_path: Path):
    put(tmp_path / "sst2" / "train.tsv", "a fine film\t1\ndull\t0\nfine\t1\n")
    put(tmp_path / "sst2" / "dev.tsv", "fine\t1\n")
    put(tmp_path / "sst2" / "test.tsv", "index\tsentence\n0\twho knows\n")  # as GLUE has it
    train, val, test = (open_corpus("sst2", split=split, root=tmp_path) for split in ("train", "val", "test"))
    assert train.labels is not None and train.labels.tolist() == [1, 0, 1]
    assert val.labels is not None and val.labels.tolist() == [1]
    assert train.classes == val.classes == ("negative", "positive")
    assert test.texts == [("who knows",)] and test.labels is None
    put(tmp_path / "SST-2" / "train.tsv", "sentence\tlabel\nfine \t2\n")
    (tmp_path / "sst2" / "train.tsv").unlink()
    refused("sst2", "not that of sst2: its labels are 0 and 1, not 2", root=tmp_path)
    refused("sst2", r"put train\.tsv into .*gone.sst2", root=tmp_path / "gone")


@pytest.mark.parametrize("place", ["multi30k/data/task1/raw/{}.gz", "multi30k/{}"])
def test_multi30k(tmp_path: Path, place: str):
    for split in ("train", "val", "test_2016_flickr", "test_2018_flickr"):
        for language in ("en", "de", "fr"):
            put(tmp_path / place.format(f"{split}.{language}"), f"{language} {split}\n{language} 2\n")
    for name, row in {
        "multi30k-en-de": ("en", "de"),
        "Multi30k_fr_en": ("fr", "en"),
        "multi30k-de": ("de",),
    }.items():
        for split, file in {"train": "train", "val": "val", "test": "test_2016_flickr"}.items():
            corpus = open_corpus(name, split=split, root=tmp_path)
            assert corpus.texts == [tuple(f"{x} {file}" for x in row), tuple(f"{x} 2" for x in row)]
            assert corpus.name == f"{name.lower().replace('_', '-')}/{split}"
            assert corpus.names[1].endswith(f"{place.format(f'{file}.{row[0]}')}:2")
    assert open_corpus("multi30k-en", split="test_2018_flickr", root=tmp_path).texts[0] == (
        "en test_2018_flickr",
    )
    refused("multi30k-en-de", "no split 'dev': it has train, val, test, ", split="dev", root=tmp_path)
    refused("multi30k-en-cs", r"multi30k has no train\.cs under .*put the files of https", root=tmp_path)
    put(tmp_path / place.format("train.de"), "one\n")
    refused("multi30k-en-de", r"train\.en.* has 2 lines and .*train\.de.* has 1", root=tmp_path)


def test_the_world():
    captions, german = (
        open_corpus("world-captions", split="test"),
        open_corpus("world_captions_de", split="test"),
    )
    pairs = open_corpus("world-translation", split="test")
    assert len(captions) == len(german) == len(pairs)
    assert {len(row) for row in captions.texts} == {1} and {len(row) for row in pairs.texts} == {2}
    assert captions.texts != german.texts and captions.labels is not None
    assert open_corpus("world", split="test").texts == captions.texts
    refused("world-captions", "split", split="dev")


class FakeTable:
    """What this package uses of a table of the datasets library."""

    def __init__(self, features: dict[str, Any], rows: dict[str, list[Any]]):
        self.features, self.rows = features, rows

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def __getitem__(self, column: str) -> list[Any]:
        return self.rows[column]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """A stand-in for the library, as tests have no network; yields what it was asked for."""
    asked = []

    class Label(SimpleNamespace): ...

    class Translation(SimpleNamespace): ...

    def load_dataset(name: str, config: str | None, *, split: str | None = None) -> Any:
        if split is None:
            return {split: load_dataset(name, config, split=split) for split in ("train", "test")}
        asked.append((name, config, split))
        if name == "glue" and split not in ("train", "validation"):
            raise ValueError(f'Unknown split "{split}". Should be one of ["train", "validation"].')
        if name == "stars":
            stars = {"text": ["fine", "poor"], "label": [10, 2] if split == "train" else [3, 2]}
            return FakeTable({"text": 0, "label": SimpleNamespace(dtype="int64")}, stars)
        if name == "wmt":
            pairs = [{"de": "ein Hund", "en": "a dog"}, {"de": "eine Katze", "en": "a cat"}]
            return FakeTable({"translation": Translation(languages=["de", "en"])}, {"translation": pairs})
        if name == "stsb":
            scores = [3.8, 0.0] if split == "train" else [-1.0, -1.0]
            pairs = {"sentence1": ["a cat", "a dog"], "sentence2": ["the cat", "far"], "label": scores}
            return FakeTable(
                {"sentence1": 0, "sentence2": 0, "label": SimpleNamespace(dtype="float32")}, pairs
            )
        label, split_column = Label(names=["neg", "neutral", "pos"]), [-1, -1, -1]
        rows = {
            "idx": [0, 1, 2],
            "split": ["x", "y", "z"],
            "sentence": ["good", "", "bad"],
            "label": [2, 0, 0],
        }
        if split == "test":
            rows["label"] = split_column
        return FakeTable({"idx": 0, "split": 0, "sentence": 0, "label": label}, rows)

    library = ModuleType("datasets")
    vars(library).update(Translation=Translation, ClassLabel=Label, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", library)
    return asked


def test_the_hub(hub: list[tuple[str, str | None, str]]):
    corpus = open_corpus("hf:someone/films@small")
    assert hub == [("someone/films", "small", "train")]
    assert corpus.texts == [("good",), ("bad",)] and corpus.name == "hf:someone/films@small/train"
    assert corpus.labels is not None and corpus.labels.tolist() == [2, 0]
    assert corpus.classes == ("neg", "neutral", "pos")
    assert list(corpus.skipped.files) == ["hf:someone/films@small/train:1"]
    assert open_corpus("hf:films", split="test").labels is None  # hidden ones are -1
    assert open_corpus("hf:films#sentence,label=").labels is None
    for split in ("val", "test"):
        assert open_corpus("hf:glue", split=split).texts == corpus.texts and hub[-1] == (
            "glue",
            None,
            "validation",
        )
    with pytest.raises(NoSplit, match='Unknown split "other"'):
        open_corpus("hf:glue", split="other")
    assert open_corpus("hf:films", columns=["sentence", "label=split"]).classes == ("x", "y", "z")
    refused("hf:films#sentense", "hf:films/train has no column 'sentense'; did you mean sentence")
    refused("hf:films#idx", "'idx' is not a text, but 0")


def test_numbers_of_the_hub_are_labels_of_the_same_classes_in_every_split(hub: list[Any]):
    train, test = (open_corpus("hf:stars", split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("2", "3", "10")
    assert train.labels is not None and train.labels.tolist() == [2, 0]
    assert test.labels is not None and test.labels.tolist() == [1, 0]


def test_numbers_with_a_point_say_how_alike_pairs_are(hub: list[Any]):
    train, test = (open_corpus("hf:stsb", split=split) for split in ("train", "test"))
    assert train.texts == [("a cat", "the cat"), ("a dog", "far")] and train.labels is None
    assert train.scores is not None and train.scores.tolist() == pytest.approx([3.8, 0.0])
    assert test.scores is None and len(test) == 2  # hidden ones are -1
    refused("hf:stsb#sentence1,label", "a label is a string or a whole number, not 3.8")


def test_translations_of_the_hub(hub: list[tuple[str, str | None, str]]):
    corpus = open_corpus("hf:wmt@de-en#en,de")
    assert corpus.texts == [("a dog", "ein Hund"), ("a cat", "eine Katze")]
    refused("hf:wmt@de-en", "has the columns de, en: none is called text")


def test_the_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused("hf:films", r"hf:films needs the datasets library: .* pip install 'manyviews\[hub\]'")
