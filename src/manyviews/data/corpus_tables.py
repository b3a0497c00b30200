"""Tables of texts: CSV, TSV and JSON lines, a row an item."""

import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from manyviews.data.columns import Columns, choose
from manyviews.data.corpus import Corpus, gathered
from manyviews.data.corpus_files import read_text, suffix_of
from manyviews.data.listed import numbered, rows_of_split, splits_of
from manyviews.errors import ManyviewsError

DELIMITERS = (",", ";", "\t")

WIDEST = 2**31 - 1  # characters of a field, where the csv module's own limit is 131,072


@dataclass(frozen=True)
class Table:
    """The rows of a file, with the line that each begins on."""

    path: str
    header: Sequence[str]
    lines: Sequence[int]
    rows: Sequence[Sequence[Any]]


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
    scores = None
    if columns.score is not None:
        given = [table.rows[i][columns.score] not in (None, "") for i in chosen]
        if any(given):  # in some test sets it is hidden
            scores = torch.tensor([_score(table, i, columns.score) for i in chosen])
    return gathered(name, names, texts, None if labels is None else labels[chosen], known, scores=scores)


def _text(table: Table, row: int, column: int) -> str:
    value = table.rows[row][column]
    if value is None:  # JSON that lacks the field, or says null: as empty as an empty one
        return ""
    if not isinstance(value, str):
        raise ManyviewsError(
            f"{table.path}, line {table.lines[row]}: {table.header[column]!r} is not a text, but {value!r:.40}."
        )
    return value


def _score(table: Table, row: int, column: int) -> float:
    value = table.rows[row][column]
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found):
        raise ManyviewsError(
            f"{table.path}, line {table.lines[row]}: {table.header[column]!r} says how alike two texts are, by a number, "
            f"not {value!r:.40}. To leave the score out, name only the columns of texts, as in #{table.header[0]:.30},..."
        )
    return found


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
            f"{len(chosen)} rows). Fill it in, or ignore the labels by naming the columns of texts and an empty label=, as in #text,label="
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
                f"if labels are not all whole numbers, the first line must name the columns."
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
