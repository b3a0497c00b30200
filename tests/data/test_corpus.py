"""Texts from files, folders, tables, parallel files and Python."""

import csv
import gzip
import io
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manyviews.data.corpus import Corpus, hold_out, open_corpus
from manyviews.errors import ManyviewsError


def put(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def first(corpus: Corpus) -> list[str]:
    return [texts[0] for texts in corpus.texts]


def labels(corpus: Corpus) -> list[int]:
    assert corpus.labels is not None and corpus.labels.dtype == torch.int64
    return corpus.labels.tolist()


def refused(source: object, match: str, **how: object) -> None:
    with pytest.raises(ManyviewsError, match=match):
        open_corpus(source, **how)  # pyright: ignore[reportArgumentType]


# --- files and folders ---


@pytest.mark.parametrize("name", ["a.txt", "a.md", "README", "a.txt.gz", "A.TXT"])
def test_a_file_is_a_document(tmp_path: Path, name: str):
    path = put(tmp_path / name, "One.\n\n Two. \n")
    corpus = open_corpus(path)
    assert corpus.texts == [("One.\n\n Two. \n",)] and corpus.names == [path] and len(corpus) == 1
    assert corpus.labels is None and corpus.classes is None and not corpus.skipped.files
    refused(path, "no split 'test': it has train", split="test")


def test_byte_order_mark_and_line_ends(tmp_path: Path):
    text = "Grüße\r\nzwei\rdrei\n"
    path = put(tmp_path / "a.txt", b"\xef\xbb\xbf" + text.encode())
    assert open_corpus(path).texts == [("Grüße\nzwei\ndrei\n",)]
    for name, content in {
        "a.csv": "text,label\r\nJa,x\r\n",
        "a.tsv": "text\tlabel\r\nJa\tx\r\n",
        "a.jsonl": '{"text": "Ja", "label": "x"}\r\n',
    }.items():
        corpus = open_corpus(put(tmp_path / name, b"\xef\xbb\xbf" + content.encode()))
        assert corpus.texts == [("Ja",)] and corpus.classes == ("x",)


def test_folders_flat_and_nested_in_sorted_order(tmp_path: Path):
    for name in ("b.txt", "a/z.txt", "a/b/c.md", "d.txt.gz", "notes", "x.bin", ".hidden.txt", "e.csv.gz"):
        put(tmp_path / name, name)
    corpus = open_corpus(tmp_path)
    assert first(corpus) == ["a/b/c.md", "a/z.txt", "b.txt", "d.txt.gz"] and corpus.labels is None
    assert corpus.names == [str(tmp_path / text) for text in first(corpus)]


def test_files_without_a_suffix_where_there_are_no_others(tmp_path: Path):
    for name in ("sci/51060", "sci/51059", "rec/10", "rec/table.bin"):
        put(tmp_path / name, name)
    corpus = open_corpus(tmp_path)
    assert first(corpus) == ["rec/10", "sci/51059", "sci/51060"]
    assert corpus.classes == ("rec", "sci") and labels(corpus) == [0, 1, 1]


def test_class_folders_and_split_folders(tmp_path: Path):
    for name in ("train/pos/1.txt", "train/neg/2.txt", "train/pos/0.txt", "test/pos/3.txt"):
        put(tmp_path / name, name)
    train, test = open_corpus(tmp_path), open_corpus(tmp_path, split="test")
    assert first(train) == ["train/neg/2.txt", "train/pos/0.txt", "train/pos/1.txt"]
    assert train.classes == ("neg", "pos") and labels(train) == [0, 1, 1]
    assert first(test) == ["test/pos/3.txt"]
    assert len(open_corpus(tmp_path, split="all")) == 4


def test_a_folder_with_a_list_of_labels(tmp_path: Path):
    put(tmp_path / "1.txt", "one")
    put(tmp_path / "2.txt", "two")
    put(tmp_path / "labels.csv", "path,label\n2.txt,even\n1.txt,odd\n")
    corpus = open_corpus(tmp_path)
    assert first(corpus) == ["two", "one"] and corpus.classes == ("even", "odd") and labels(corpus) == [0, 1]


def test_folders_without_texts(tmp_path: Path):
    refused(tmp_path, "is empty")
    put(tmp_path / "cat.jpg", b"\xff\xd8")
    refused(tmp_path, r"has no texts: no file ends in \.md, \.txt, and all have a suffix\.$")
    path = put(tmp_path / "reviews.csv", "text\nfine\n")
    refused(tmp_path, f"It holds a table, which is given by its own path: {re.escape(path)}")


def test_what_is_empty_is_named_counted_and_left_out(tmp_path: Path):
    for i in range(300):
        put(tmp_path / ("even", "odd")[i % 2] / f"{i:03d}.txt", " \n\t" if i in (7, 8) else f"text {i}")
    path = put(tmp_path / "odd" / "009.txt", "Müller".encode("latin1"))
    corpus = open_corpus(tmp_path)
    assert len(corpus) == len(corpus.texts) == len(corpus.names) == 297
    assert labels(corpus) == [int(text.split()[1]) % 2 for text in first(corpus)]
    assert corpus.skipped.seen == 300 and corpus.skipped.as_dict()["count"] == 3
    assert str(corpus.skipped).startswith("Skipped 3 unreadable texts: ")
    assert corpus.skipped.files[str(tmp_path / "even" / "008.txt")].endswith("008.txt is empty.")
    assert "byte 1 (0xFC)" in corpus.skipped.files[path]
    put(tmp_path / "even" / "010.txt", "")
    refused(tmp_path, "4 of the 300 texts of .* cannot be read, and more than 1% are too many to skip")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.txt", "", r"a\.txt is empty\.$"),
        ("a.txt", " \n \r\n", r"a\.txt is empty\.$"),
        ("a.txt", b"abc\xe9def", r"not UTF-8: byte 3 \(0xE9\) belongs .* iconv -f WINDOWS-1252 -t UTF-8 .*a\.txt > "),
        ("a.txt", b"\xef\xbb\xbfabc\xe9", r"byte 6 \(0xE9\)"),
        ("a.txt", "ab".encode("utf-16"), r"mark it as UTF-16.* iconv -f UTF-16 -t UTF-8 "),
        ("a.txt", "ab".encode("utf-16-le"), r"byte 1 is zero.* iconv -f UTF-16LE"),
        ("a.csv", b"text\nabc\nd\xfc\n", r"byte 10 \(0xFC\)"),
        ("a.jsonl", b'{"text": "\xfc"}', r"byte 10 \(0xFC\)"),
        ("a.docx", "PK", r"no kind of text that is known: texts end in \.md, \.txt or have no suffix, tables end in \.csv"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str | bytes, match: str):
    refused(put(tmp_path / name, content), match)


def test_a_damaged_archive(tmp_path: Path):
    path = put(tmp_path / "a.txt.gz", "one two three " * 100)
    Path(path).write_bytes(Path(path).read_bytes()[:-12])
    refused(path, r"a\.txt\.gz cannot be read: ")
    Path(path).write_bytes(b"not gzip")
    refused(path, r"a\.txt\.gz cannot be read: Not a gzipped file")


def test_one_endless_line(tmp_path: Path):
    line = "endless é " * 300_000  # a field is far beyond what the csv module reads unless told
    limit = csv.field_size_limit()
    assert open_corpus(put(tmp_path / "a.txt", line)).texts == [(line,)]
    for name, content in {
        "a.csv": f"text,label\n{line},x\n",
        "a.tsv": f"text\tlabel\n{line}\tx\n",
        "a.jsonl": json.dumps({"text": line, "label": "x"}),
    }.items():
        assert open_corpus(put(tmp_path / name, content)).texts == [(line,)]
    pair = f"{put(tmp_path / 'a.en', line)}+{put(tmp_path / 'a.de', line)}"
    assert open_corpus(pair).texts == [(line.strip(), line.strip())]
    refused(put(tmp_path / "b.csv", line), r"^.{0,2000}$")  # all header, and the sentence stays short
    assert csv.field_size_limit() == limit


# --- parallel files ---


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_parallel_files(tmp_path: Path, suffix: str):
    en = put(tmp_path / f"train.en{suffix}", "a dog \r\na\u2028cat\r\ntwo\rbirds\r\n")
    de = put(tmp_path / f"train.de{suffix}", "ein Hund\neine\x0cKatze\nzwei Vögel")
    corpus = open_corpus(f"{en}+{de}")
    assert corpus.texts == [
        ("a dog", "ein Hund"),
        ("a\u2028cat", "eine\x0cKatze"),
        ("two\rbirds", "zwei Vögel"),
    ]
    assert corpus.names == [f"{en}:{line}" for line in (1, 2, 3)] and corpus.name == f"{en}+{de}"
    assert open_corpus(f"{en}+train.de{suffix}").texts == corpus.texts  # beside the first
    refused(f"{en}+{de}", "no split 'val'", split="val")


def test_parallel_files_that_do_not_fit(tmp_path: Path):
    en = put(tmp_path / "a.en", "one\n" * 3)
    refused(f"{en}+{put(tmp_path / 'a.de', 'eins' + chr(10))}", r"a\.en has 3 lines and .*a\.de has 1: ")
    refused(f"{en}+{tmp_path / 'a.fr'}", r"There is no file .*a\.fr")
    refused(f"{en}+{en}+{en}", "Two parallel files are joined by .*, not 3")
    left, right = put(tmp_path / "b.en", "1\n\n3\n4\n5\n"), put(tmp_path / "b.de", "i\nii\niii\n \nv\n")
    corpus = open_corpus(f"{left}+{right}")
    assert corpus.texts == [("1", "i"), ("3", "iii"), ("5", "v")]
    assert list(corpus.skipped.files.values()) == [
        f"Text 1 of {left}:2 is empty.",
        f"Text 2 of {left}:4 is empty.",
    ]


# --- tables ---


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'Stars,text,label\n5,"good, ""very""\nindeed",pos\n\n1,bad,neg\n'),
        ("a.csv", 'Stars;text;label\n5;"good, ""very""\nindeed";pos\n\n1;bad;neg\n'),
        ("a.csv.gz", 'label\ttext\npos\t"good, ""very""\nindeed"\n\nneg\tbad\n'),
        ("a.csv", 'text,class\r"good, ""very""\nindeed",pos\r\rbad,neg\r'),
        (
            "a.jsonl",
            '{"text": "good, \\"very\\"\\nindeed", "label": "pos"}\n\n\n{"label": "neg", "text": "bad", "x": [1]}',
        ),
    ],
)
def test_tables(tmp_path: Path, name: str, content: str):
    path = put(tmp_path / name, content)
    corpus = open_corpus(path)
    assert corpus.texts == [('good, "very"\nindeed',), ("bad",)]
    assert corpus.classes == ("neg", "pos") and labels(corpus) == [1, 0]
    assert corpus.names == [f"{path}:{2 if 'csv' in name else 1}", f"{path}:{5 if 'csv' in name else 4}"]


@pytest.mark.parametrize(
    ("header", "texts", "classes"),
    [
        ("id,sentence,label", ("1",), "2"),
        ("text,source,target", ("0",), None),
        ("text,target", ("0",), "1"),
        ("source,target,label", ("0", "1"), "2"),
        ("label,Sentence1, sentence2", ("1", "2"), "0"),
        ("premise,hypothesis,category", ("0", "1"), "2"),
        ("review,caption,class", ("1",), "2"),
        ("id,target,source", ("2", "1"), None),
        ("id,text,stars", ("1",), None),
    ],
)
def test_columns_that_are_known(tmp_path: Path, header: str, texts: tuple[str, ...], classes: str | None):
    corpus = open_corpus(put(tmp_path / "a.csv", f"{header}\n{','.join('012'[: header.count(',') + 1])}\n"))
    assert corpus.texts == [texts] and corpus.classes == (None if classes is None else (classes,))


@pytest.mark.parametrize(
    ("chosen", "texts", "classes"),
    [
        ("body", ("b",), ("l",)),
        ("body,title", ("b", "t"), ("l",)),
        ("title,body", ("t", "b"), ("l",)),
        ("body, label", ("b",), ("l",)),
        ("label,body", ("b",), ("l",)),
        ("body,label=stars", ("b",), ("5",)),
        ("body,label=", ("b",), None),
        ("BODY,TITLE", ("b", "t"), ("l",)),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_columns_that_are_chosen(
    tmp_path: Path, kind: str, chosen: str, texts: tuple[str, ...], classes: tuple[str, ...] | None
):
    names, values = ["title", "body", "stars", "label"], ["t", "b", "5", "l"]
    content = {
        "csv": ",".join(names) + "\n" + ",".join(values),
        "tsv": "\t".join(names) + "\n" + "\t".join(values) + "\n",
        "jsonl": json.dumps(dict(zip(names, values, strict=True))),
    }[kind]
    path = put(tmp_path / f"a#1.{kind}", content)
    corpus = open_corpus(f"{path}#{chosen}")
    assert corpus.texts == [texts] and corpus.classes == classes
    assert open_corpus(path, columns=[name.strip() for name in chosen.split(",")]).texts == [texts]


def test_a_translation_alone_has_no_labels(tmp_path: Path):
    corpus = open_corpus(put(tmp_path / "a.csv", "source,target\na dog,ein Hund\n") + "#source")
    assert corpus.texts == [("a dog",)] and corpus.labels is None


@pytest.mark.parametrize(
    ("content", "chosen", "match"),
    [
        ("text,body\na,b\n", "#bdy", r"a\.csv has no column 'bdy'; did you mean body\?"),
        ("text,body\na,b\n", "#xyz", "has no column 'xyz'; it has text, body."),
        ("text,body\na,b\n", "#body,label=labl", "has no column 'labl'"),
        ("text,text\na,b\n", "#text", "has 2 columns that are called 'text'"),
        ("a,b,c,d\na,b,c,d\n", "#a,b,c,d", "Choose one to three columns of texts of .*, not 4"),
        ("a,b,c\na,b,c\n", "#label=a", "Choose one to three columns of texts of .*, not 0"),
        ("id,body\n1,b\n", "", r"has the columns id, body: none is called text, .* as in a\.csv#id\."),
        (
            "text,label\na,x\nb,\nc, \n",
            "",
            r"a\.csv, line 3: the label is missing \('label', in 2 of 3 rows\)",
        ),
        ("text,label\na,x\nb\n", "", r"a\.csv, line 3: 1 field\(s\), where the first line names 2 column"),
        ('text,label\na,"x\nb,y\n', "", r"a\.csv, from line 2 on, is not CSV: .*; see to its quotes"),
        ("text,split\na,dev\n", "", "a split is train, val or test, not 'dev'"),
        ("text\n", "", r"a\.csv has no texts"),
        ("", "", r"a\.csv has no texts"),
        ("text\n \n", "", r"a\.csv:2 is empty"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, content: str, chosen: str, match: str):
    refused(put(tmp_path / "a.csv", content) + chosen, match)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"text": "a"}\n{"text": "b"', r"a\.jsonl, line 2, is not JSON: "),
        ("[" * 100_000, r"a\.jsonl, line 1, is not JSON: "),
        ('"a"', r"line 1: not an object with fields, but 'a'"),
        ("{}", "has no columns"),
        ('{"text": 3}', r"line 1: 'text' is not a text, but 3"),
        (
            '{"text": "a"}\n{"text": "b", "label": 1}',
            r"line 1: the label is missing \('label', in 1 of 2 rows",
        ),
        ('{"text": "a", "label": 0.5}', r"line 1: a label is a string or a whole number, not 0\.5"),
        ('{"text": "a\\ud800"}', r"a\.jsonl:1 has half a character \(a lone surrogate\) at position 1"),
    ],
)
def test_json_lines_that_are_refused(tmp_path: Path, content: str, match: str):
    refused(put(tmp_path / "a.jsonl", content), match)


def test_json_lines_that_lack_a_text_are_left_out(tmp_path: Path):
    rows = [
        '{"text": "a", "label": 10}',
        '{"label": 9}',
        '{"text": null, "label": 9}',
        '{"text": "b", "label": 9}',
    ]
    corpus = open_corpus(put(tmp_path / "a.jsonl", "\n".join(rows)))
    assert first(corpus) == ["a", "b"] and corpus.classes == ("9", "10") and labels(corpus) == [1, 0]
    assert len(corpus.skipped.files) == 2


def test_labels_of_no_row_are_none(tmp_path: Path):
    corpus = open_corpus(put(tmp_path / "a.csv", "text,label\na,\nb,\n"))
    assert first(corpus) == ["a", "b"] and corpus.labels is None and corpus.classes is None


def test_labels_are_asked_of_the_split_that_is_opened(tmp_path: Path):
    path = put(tmp_path / "a.csv", "text,label,split\na,x,train\nb,y,train\nc,,test\n")
    train, test = open_corpus(path), open_corpus(path, split="test")
    assert labels(train) == [0, 1] and train.classes == ("x", "y")
    assert first(test) == ["c"] and test.labels is None


def test_a_column_of_splits(tmp_path: Path):
    path = put(tmp_path / "a.csv", "text,label,split\na,x,train\nb,y,Test\nc,z,train\n")
    train, test = open_corpus(path), open_corpus(path, split="val")
    assert first(train) == ["a", "c"] and labels(train) == [0, 2]
    assert first(test) == ["b"] and labels(test) == [1] and test.classes == train.classes == ("x", "y", "z")


def test_tab_separated_fields_have_no_quotes(tmp_path: Path):
    corpus = open_corpus(put(tmp_path / "a.tsv", 'sentence\tlabel\n"so" he said\t1\n" oh\t0\n'))
    assert first(corpus) == ['"so" he said', '" oh'] and labels(corpus) == [1, 0]


def test_tab_separated_without_a_header(tmp_path: Path):
    path = put(tmp_path / "a.tsv", "a fine film\t1\ndull\t0\nfine\t1\n")
    corpus = open_corpus(path)
    assert first(corpus) == ["a fine film", "dull", "fine"] and corpus.names[0] == f"{path}:1"
    assert labels(corpus) == [1, 0, 1] and corpus.classes == ("0", "1")
    refused(
        put(tmp_path / "b.tsv", "a\t1\nb\tgood\n"),
        "line 2: the label is 'good', where line 1 has a whole number",
    )
    refused(put(tmp_path / "c.tsv", "a\t1\nb\t\n"), "line 2: the label is missing")
    refused(put(tmp_path / "d.tsv", "a\tone\nb\ttwo\n"), "has the columns a, one: none is called text")


VISIBLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    str.strip
)
ROWS = st.lists(st.tuples(VISIBLE, VISIBLE, st.sampled_from(["b", "a", "10", "9"])), min_size=1, max_size=8)


ENDS = st.sampled_from(
    [("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL)]
)  # with the other pairs, csv leaves \r bare


@given(ROWS, st.sampled_from([",", ";", "\t"]), ENDS)
def test_csv_comes_back_as_it_was_written(
    rows: list[tuple[str, str, str]], delimiter: str, how: tuple[str, Any]
):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=how[0], quoting=how[1])
    writer.writerows([("source", "target", "label"), *rows])
    with TemporaryDirectory() as folder:
        corpus = open_corpus(put(Path(folder) / "a.csv", out.getvalue()))
    assert corpus.texts == [row[:2] for row in rows]
    assert corpus.classes is not None and [corpus.classes[i] for i in labels(corpus)] == [
        row[2] for row in rows
    ]


@given(ROWS, st.booleans())
def test_json_lines_come_back_as_they_were_written(rows: list[tuple[str, str, str]], ascii_only: bool):
    names = ("sentence1", "sentence2", "label")
    lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=ascii_only) for row in rows)
    with TemporaryDirectory() as folder:
        corpus = open_corpus(put(Path(folder) / "a.jsonl", "\n".join(lines)))
    assert corpus.texts == [row[:2] for row in rows]
    assert corpus.classes is not None and [corpus.classes[i] for i in labels(corpus)] == [
        row[2] for row in rows
    ]


# --- Python ---


def test_lists():
    corpus = open_corpus(["one", "two"])
    assert corpus.texts == [("one",), ("two",)] and corpus.names == ["texts/000000", "texts/000001"]
    assert open_corpus([("a dog", "ein Hund"), ["a cat", "eine Katze"]]).texts[1] == ("a cat", "eine Katze")
    assert open_corpus(corpus) is corpus


@pytest.mark.parametrize("given_labels", [[2, 0], np.array([2, 0]), torch.tensor([2, 0])])
def test_texts_with_labels(given_labels: object):
    corpus = open_corpus((["one", "two"], given_labels))
    assert labels(corpus) == [2, 0] and corpus.classes == ("0", "1", "2")
    corpus = open_corpus(([("a", "b"), ("c", "d"), ("", "e")], ["yes", "no", "no"]))
    assert labels(corpus) == [1, 0] and corpus.classes == ("no", "yes") and len(corpus.skipped.files) == 1


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ([], "The list of texts is empty"),
        ([""], "texts/000000 is empty"),
        (["a", 3], "Item 1 of the list is neither a text nor two or three texts: 3"),
        (["a", ("b", "c")], "items of 1 and 2 texts; give those of one kind"),
        ([("a", "b", "c", "d")], "Item 0 of the list is neither"),
        (["a\ud800"], "lone surrogate"),
        (("a", "b"), "or a tuple .texts, labels., not a tuple"),
        (3, "not a int"),
        ((["a", "b"], [1]), r"There are 2 texts, but the labels have the shape \[1\]"),
        ((["a", "b"], [0.5, 1]), "Labels are integers from 0 upwards, or strings"),
    ],
)
def test_what_python_may_not_give(source: object, match: str):
    refused(source, match)


# --- names ---


def test_names_that_are_not_known(tmp_path: Path):
    refused(
        "multi30k-en-ed",
        "There are no texts called 'multi30k-en-ed', .*; did you mean .*multi30k-en-de",
        root=tmp_path,
    )
    refused("zzz", "sets known by name: world-captions, .*sst2", root=tmp_path)
    refused(tmp_path / "a.txt", r"There is no file or folder .*a\.txt")
    refused("x" * 5000, "^.{0,1000}$", root=tmp_path)
    refused(put(tmp_path / "a.txt", "text"), "Columns are chosen of a CSV", columns=["text"])
    refused(f"{tmp_path / 'gone.csv'}#text", r"gone\.csv is none, or not there")
    refused(["a"], "not of texts from Python", columns=["text"])
    put(tmp_path / "poems" / "a.txt", "a poem")
    assert open_corpus("poems", root=tmp_path).name == "poems/train"


# --- subsets ---


def test_subsets_and_holding_out_by_the_seed_alone():
    corpus = open_corpus(([f"text {i}" for i in range(50)], [i % 5 for i in range(50)]))
    some = corpus.subset(torch.tensor([3, 1]))
    assert (
        first(some) == ["text 3", "text 1"]
        and labels(some) == [3, 1]
        and some.names == ["texts/000003", "texts/000001"]
    )
    train, test = hold_out(corpus, 0.2, seed=1)
    assert len(train) == 40 and sorted(labels(test)) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(first(train) + first(test)) == sorted(first(corpus))
    assert first(hold_out(corpus, 0.2, seed=1)[1]) == first(test) != first(hold_out(corpus, 0.2, seed=2)[1])


def test_holding_out_of_one_document_cuts_its_end():
    train, test = hold_out(open_corpus(["0123456789"]), 0.3)
    assert train.texts == [("0123456",)] and test.texts == [("789",)]
    for source, fraction, match in (
        (["a"], 0.1, "too short to set 10% of it aside"),
        (["ab"], 1.0, "must lie between 0 and 1, not 1.0"),
        ([("a", "b")], 0.5, "has 1 pair: too few"),
    ):
        with pytest.raises(ManyviewsError, match=match):
            hold_out(open_corpus(source), fraction)
