"""A CSV file that names files: the columns, the splits, and whether the files are there."""

import csv
import io
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError, NoSplit

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Name of a split folder -> the split."""

PATH_COLUMNS = ("path", "file", "filename", "image", "image_path", "file_name")
LABEL_COLUMNS = ("label", "class", "category", "target")
BYTE_ORDERS = (b"\xff\xfe", b"\xfe\xff")  # with which UTF-16 begins
_said: set[str] = set()


def listed(path: Path, split: str) -> tuple[list[str], Tensor, tuple[str, ...]]:
    """The files of a split that a CSV file lists, their labels and the classes. Raises as ``open_csv`` does."""
    rows = _csv_rows(path)
    if not rows:
        raise ManyviewsError(f"{path} lists no files.")
    columns = {name.strip().lower(): name for name in rows[0]}
    file_column = _column(columns, PATH_COLUMNS, path)
    label_column = _column(columns, LABEL_COLUMNS, path)
    files = _there([str(path.parent / row[file_column].strip()) for row in rows], path)
    values = [row[label_column].strip() for row in rows]
    if "" in values:
        raise ManyviewsError(f"{path}, line {values.index('') + 2}: the label is empty.")
    labels, classes = numbered(values)
    if "split" in columns:
        splits = splits_of([row[columns["split"]] for row in rows], str(path))
    else:
        splits = ["train"] * len(rows)
    chosen = rows_of_split(splits, split, str(path))
    return [files[i] for i in chosen], labels[chosen], classes


def numbered(values: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as int64 [N], and the classes: in order, by value where all are whole numbers."""
    numeric = all(value.isdecimal() for value in values)
    classes = tuple(sorted(set(values), key=(lambda value: (int(value), value)) if numeric else None))
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number[value] for value in values], dtype=torch.long), classes


def splits_of(given: Sequence[str], where: str) -> list[str]:
    """What a column of splits says, in this package's words."""
    given = [value.strip().lower() for value in given]
    if unknown := sorted(set(given) - set(SPLITS)):
        raise ManyviewsError(f"{where}: a split is train, val or test, not {unknown[0]!r}.")
    return [SPLITS[name] for name in given]


def rows_of_split(splits: Sequence[str], split: str, where: str) -> list[int]:
    """The rows that are of a split: all of them, or test in the place of val and the other way round."""
    if split == "all":
        return list(range(len(splits)))
    wanted = SPLITS.get(split)
    if wanted is None:
        raise ManyviewsError(f"A split is train, val, test or all, not {split!r}.")
    there = set(splits)
    instead = {"test": "val", "val": "test"}.get(wanted)
    found = wanted if wanted in there else instead
    if found not in there:
        raise NoSplit(f"{where} has no split {split!r}: it has {', '.join(sorted(there))}.")
    return [i for i, name in enumerate(splits) if name == found]


def say(sentence: str) -> None:
    """What the user should know of his data, on stderr: once a process, and by the first of several."""
    if sentence not in _said and os.environ.get("RANK", "0") == "0":
        print(f"manyviews: {sentence}", file=sys.stderr)
    _said.add(sentence)


def say_left_out(table: Path, below: Iterable[str]) -> None:
    """Say where a table does not name all of the files ``below`` its folder."""
    rows = _csv_rows(table)
    column = _column({name.strip().lower(): name for name in rows[0]}, PATH_COLUMNS, table)
    named = {os.path.normpath(row[column].strip().replace("\\", "/")) for row in rows}
    named = {os.path.relpath(name, table.parent) if os.path.isabs(name) else name for name in named}
    there = [os.path.normpath(file) for file in below]
    if left := sum(file not in named for file in there):
        say(
            f"{table} does not name {left:,} of the {len(there):,} files in its folder, which are left out; to take all of them, call "
            "it something else."
        )


def how_to_convert(path: str | Path, encoding: str) -> str:
    """What helps where a file is not UTF-8."""
    path, packed = Path(path), Path(path).suffix.lower() == ".gz"
    reads = f"zcat {shlex.quote(str(path))} | " if packed else ""
    file = "" if packed else f" {shlex.quote(str(path))}"
    suffix = path.with_suffix("").suffix if packed else path.suffix
    return (
        f"If its encoding is {encoding}, convert it: {reads}iconv -f {encoding} -t UTF-8{file} > new{suffix}"
    )


def _csv_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise ManyviewsError(f"There is no file {path}.")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if raw.startswith(BYTE_ORDERS) else "WINDOWS-1252"
        raise ManyviewsError(
            f"{path} is not a CSV file in UTF-8: byte {error.start} is not. {how_to_convert(path, encoding)}"
        ) from error
    header = text.partition("\n")[0]
    delimiter = next((mark for mark in (",", ";", "\t") if mark in header), ",")
    rows, reader = [], csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ManyviewsError(
                    f"{path}, line {reader.line_num}: not as many fields as the first line has columns."
                )
            rows.append(row)
    except csv.Error as error:  # a quote that is not closed would swallow the rest
        raise ManyviewsError(
            f"{path}, line {reader.line_num}: not CSV ({error}); see to its quotes."
        ) from error
    return rows


def _column(columns: dict[str, str], wanted: tuple[str, ...], path: Path) -> str:
    for name in wanted:
        if name in columns:
            return columns[name]
    raise ManyviewsError(
        f"{path} has the columns {', '.join(columns.values())}: one of them should be called {' or '.join(wanted)}."
    )


def _there(files: list[str], path: Path) -> list[str]:
    """The files, whose folders are each looked into once; a path that Windows wrote may part its folders by backslashes."""
    names: dict[str, set[str]] = {}

    def there(file: str) -> bool:
        folder, name = os.path.split(file)
        if folder not in names:
            names[folder] = _files_in(folder)
        return name in names[folder] or os.path.isfile(file)

    missing: list[str] = []
    for number, file in enumerate(files):
        if there(file):
            continue
        files[number] = file.replace("\\", os.sep)
        if not there(files[number]):
            missing.append(file)
    if missing:
        what = "a file that is" if len(missing) == 1 else f"{len(missing)} files that are"
        more = ", ..." if len(missing) > 3 else ""
        raise ManyviewsError(f"{path} names {what} not there: {', '.join(missing[:3])}{more}.")
    seen: set[str] = set()
    for file in files:
        if file in seen:
            raise ManyviewsError(f"{path} lists {file} twice.")
        seen.add(file)
    return files


def _files_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder or os.curdir) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()
