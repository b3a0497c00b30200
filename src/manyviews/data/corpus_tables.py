"""Tables of texts: CSV, TSV and JSON lines, a row an item; which columns are its texts, and which its label."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from manyviews.data.corpus import Corpus, gathered
from manyviews.data.corpus_files import read_text, suffix_of
from manyviews.data.listed import numbered, rows_of_split, splits_of
from manyviews.errors import ManyviewsError, nearest

TEXTS = ("text", "sentence", "caption", "review")
"""Names of a column of texts, the first that is there."""

PAIRS = (
    ("sent0", "sent1", "hard_neg"),
    ("anchor", "positive", "negative"),
    ("source", "target"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
)
"""Names of columns of texts that belong together, two or three, where there is none of ``TEXTS``."""

LABELS = ("label", "class", "category", "target")
"""Names of the column of labels, where it is not one of the texts."""

DELIMITERS = (",", ";", "\t")

WIDEST = 2**31 - 1  # characters of a field, where the csv module's own limit is 131,072


@dataclass(frozen=True)
class Table:
    """The rows of a file, with the line that each begins on."""

    path: str
    header: Sequence[str]
    lines: Sequence[int]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Columns:
    """Numbers of the columns that are read."""

    texts: tuple[int, ...]
    label: int | None
    split: int | None


def open_table(path: str, split: str = "train", columns: Sequence[str] | None = None) -> Corpus:
    """The texts of a CSV, TSV or JSON lines file, packed by gzip or not, as `corpus.open_corpus` says.

    Raises ``ManyviewsError``: a column that is not there, with the nearest; a row that cannot be read; a label that is
    missing; no such split.
    """
    kind = suffix_of(path)
    if kind == ".jsonl":
        table = _json_lines(path)
    elif kind == ".tsv":
        table = _tabbed(path, columns is None)
    else:
        table = _commas(path)
    name = path if columns is None else f"{path}#{','.join(columns)}"
    if not table.rows:
        raise ManyviewsError(f"{path} has no texts.")
    return corpus_of(name, table, choose(path, table.header, columns), split)


def corpus_of(
    name: str, table: Table, columns: Columns, split: str, classes: Sequence[str] | None = None
) -> Corpus:
    """The rows of a split as a corpus; classes are those of all splits, or given."""
    splits = ["train"] * len(table.rows)
    if columns.split is not None:
        splits = splits_of([str(row[columns.split]) for row in table.rows], table.path)
    chosen = rows_of_split(splits, split, name)
    labels, known = _labels(table, columns.label, chosen)
    if labels is not None and known is not None and classes is not None:
        labels = torch.tensor([list(classes).index(name) for name in known])[labels]
        known = tuple(classes)
    texts = [tuple(_text(table, i, column) for column in columns.texts) for i in chosen]
    names = [f"{table.path}:{table.lines[i]}" for i in chosen]
    return gathered(name, names, texts, None if labels is None else labels[chosen], known)


def choose(where: str, header: Sequence[str], wanted: Sequence[str] | None = None) -> Columns:
    """The columns that are called so, or unless told those that are known by their names."""
    lowered = [name.strip().lower() for name in header]
    split = lowered.index("split") if "split" in lowered else None
    if wanted is None:
        texts = _known(where, header, lowered)
    else:
        named = [name for name in wanted if not name.startswith("label=") and name.strip().lower() != "label"]
        texts = tuple(_find(where, header, name) for name in named)
    if len(texts) not in (1, 2, 3):
        raise ManyviewsError(f"Choose one to three columns of texts of {where}, not {len(texts)}.")
    told = [name.removeprefix("label=") for name in wanted or () if name.startswith("label=")]
    told += [name for name in wanted or () if name.strip().lower() == "label"]
    if told:
        label = _find(where, header, told[0]) if told[0] else None
    else:
        known = [
            name for name in LABELS if name in lowered and not (name == "target" and "source" in lowered)
        ]
        label = _find(where, header, known[0]) if known else None
        label = None if label in texts else label
    return Columns(texts, label, None if split in texts else split)


def _known(where: str, header: Sequence[str], lowered: list[str]) -> tuple[int, ...]:
    for names in (*((name,) for name in TEXTS), *PAIRS):
        if all(name in lowered for name in names):
            return tuple(_find(where, header, name) for name in names)
    if not header:
        raise ManyviewsError(f"{where} has no columns.")
    together = "; or ".join(", ".join(names) for names in PAIRS)
    raise ManyviewsError(
        f"{where} has the columns {_listed(header)}: none is called {', '.join(TEXTS)}, nor are several called {together}. "
        f"Choose the texts, as in {where.rpartition('/')[2]}#{header[0]:.30}."
    )


def _find(where: str, header: Sequence[str], name: str) -> int:
    found = [i for i, column in enumerate(header) if column == name]
    found = found or [i for i, column in enumerate(header) if column.strip().lower() == name.strip().lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise ManyviewsError(
            f"{where} has {len(found)} columns that are called {name!r}: rename all but one."
        )
    hint = nearest(name, header, f"it has {_listed(header)}.")
    raise ManyviewsError(f"{where} has no column {name!r}; {hint}")


def _listed(header: Sequence[str]) -> str:
    return ", ".join(f"{name:.40}" for name in header[:10]) + (", ..." if len(header) > 10 else "")


def _text(table: Table, row: int, column: int) -> str:
    value = table.rows[row][column]
    if value is None:  # JSON that lacks the field, or says null: as empty as an empty one
        return ""
    if not isinstance(value, str):
        raise ManyviewsError(
            f"{table.path}, line {table.lines[row]}: {table.header[column]!r} is not a text, but {value!r:.40}."
        )
    return value


def _labels(
    table: Table, column: int | None, chosen: Sequence[int]
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Labels of all rows, -1 where there is none; none at all where no chosen row has one, as in the test sets of some."""
    if column is None:
        return None, None
    values = [_label(table, i, column) for i in range(len(table.rows))]
    missing = [i for i in chosen if not values[i]]
    if len(missing) == len(chosen):
        return None, None
    if missing:
        name = table.header[column]
        raise ManyviewsError(
            f"{table.path}, line {table.lines[missing[0]]}: the label is missing ({name!r}, in {len(missing)} of "
            f"{len(chosen)} rows). Fill it in, or leave labels out by naming the columns and label=, as in #text,label="
        )
    there = [i for i, value in enumerate(values) if value]
    found, known = numbered([values[i] for i in there])
    labels = torch.full((len(values),), -1)
    labels[there] = found
    return labels, known


def _label(table: Table, row: int, column: int) -> str:
    value = table.rows[row][column]
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int):
        return str(value).strip()
    raise ManyviewsError(
        f"{table.path}, line {table.lines[row]}: a label is a string or a whole number, not {value!r:.40}."
    )


def _commas(path: str) -> Table:
    """CSV, with the delimiter that parts its header into most columns."""
    text = read_text(path)
    end = re.search(r"[\r\n]", text)
    first = text[: end.start()] if end else text
    with _wide_fields():
        delimiter = max(DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        return _table(path, _records(path, text, delimiter))


def _records(path: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, fields) of each record. A quote that is not closed is an error: it would swallow the rest."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for fields in reader:
            yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ManyviewsError(
            f"{path}, from line {line} on, is not CSV: {error}; see to its quotes."
        ) from error


def _tabbed(path: str, may_lack_header: bool) -> Table:
    """TSV; without a header where there are two columns and the second is a whole number, as in SST-2."""
    lines = (line.removesuffix("\r") for line in read_text(path).split("\n"))
    rows = ((number, line.split("\t") if line else []) for number, line in enumerate(lines, 1))
    if not may_lack_header:
        return _table(path, rows)
    first = next(rows, (1, []))
    if len(first[1]) != 2 or not first[1][1].strip().isdecimal():
        return _table(path, _after(first, rows))
    table = _table(path, _after((0, ["text", "label"]), _after(first, rows)))
    for line, (_, label) in zip(table.lines, table.rows, strict=True):
        if label and not label.strip().isdecimal():
            raise ManyviewsError(
                f"{path}, line {line}: the label is {label!r:.40}, where line 1 has a whole number; "
                f"a file with other labels names its columns in its first line."
            )
    return table


def _after(
    first: tuple[int, list[str]], rest: Iterable[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _table(path: str, records: Iterable[tuple[int, list[str]]]) -> Table:
    """A table whose first record names the columns; lines with nothing in them are passed over."""
    header, lines, rows = None, list[int](), list[list[str]]()
    for line, fields in records:
        if not fields:
            continue
        if header is None:
            header = fields
        elif len(fields) != len(header):
            raise ManyviewsError(
                f"{path}, line {line}: {len(fields)} field(s), where the first line names {len(header)} column(s)."
            )
        else:
            lines.append(line)
            rows.append(fields)
    return Table(path, header or [], lines, rows)


def _json_lines(path: str) -> Table:
    """Objects, a line each; the columns are all their fields, in the order in which they first come up."""
    header, lines, objects = dict[str, None](), list[int](), list[dict[str, Any]]()
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ManyviewsError(f"{path}, line {number}, is not JSON: {error}.") from error
        if not isinstance(value, dict):
            raise ManyviewsError(f"{path}, line {number}: not an object with fields, but {value!r:.40}.")
        header.update(dict.fromkeys(value))
        lines.append(number)
        objects.append(value)
    return Table(path, list(header), lines, [[value.get(name) for name in header] for value in objects])


@contextmanager
def _wide_fields() -> Iterator[None]:
    """The csv module reads fields of any length inside."""
    before = csv.field_size_limit(min(WIDEST, sys.maxsize))
    try:
        yield
    finally:
        csv.field_size_limit(before)
