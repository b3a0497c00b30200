"""A folder of images (or of WAV files): flat or nested, with class folders or a CSV of labels where there are labels.

photos/**/*.jpg                     no labels
birds/<class>/*.png                 every image in exactly one level of sub-folders: labels
birds/{train,val,test}/...          either of those, by split
birds/labels.csv                    columns path and label (and split, if you like)
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from manyviews.data.decode import SUFFIXES, read
from manyviews.data.items import ItemSet
from manyviews.data.sounds import SUFFIXES as SOUNDS
from manyviews.data.sounds import sounds_of_files
from manyviews.errors import ManyviewsError, NoSplit

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Name of a split folder -> the split."""

PATH_COLUMNS = ("path", "file", "filename", "image", "image_path", "file_name")
LABEL_COLUMNS = ("label", "class", "category", "target")


@dataclass(frozen=True)
class Files:
    """Reads image files; survives pickling, so that workers can be started in any way."""

    paths: tuple[str, ...]

    def __call__(self, item: int, side: int | None = None) -> Tensor:
        return read(self.paths[item], side)


def open_folder(path: str | os.PathLike[str], split: str = "train") -> ItemSet:
    """The images below a folder, in the order of their paths.

    Where all images lie in split folders (``train`` and any of ``val``, ``validation``, ``test``), ``split`` chooses
    one; ``test`` falls back on ``val`` and the other way round, as many sets have only one of them. Without split
    folders everything is ``train``. ``split="all"`` takes everything in either case.

    Raises ``ManyviewsError``: no such folder, no images in it, no such split.
    """
    folder = Path(path)
    if not folder.exists():
        raise ManyviewsError(f"There is no folder {folder}.")
    if not folder.is_dir():
        raise ManyviewsError(f"{folder} is a file, not a folder of images.")
    if (folder / "labels.csv").is_file():
        return open_csv(folder / "labels.csv", split)
    relative = sorted(files_below(folder, SUFFIXES)) or sorted(files_below(folder, SOUNDS))
    if not relative:
        empty = not any(folder.iterdir())
        kinds, sounds = ", ".join(sorted(SUFFIXES)), ", ".join(sorted(SOUNDS))
        raise ManyviewsError(
            f"The folder {folder} is empty."
            if empty
            else f"The folder {folder} has no images: no file ends in {kinds}; nor sounds, which end in {sounds}."
        )
    return _set_of_files(str(path), *arranged(folder, relative, split))


def arranged(
    folder: Path, relative: Sequence[str], split: str
) -> tuple[list[str], Tensor | None, tuple[str, ...] | None]:
    """The files of a split among those that lie in a folder, their labels and the classes, by the folders they lie in.

    Raises ``ManyviewsError``: no such split, or something beside several of them.
    """
    parts = [PurePosixPath(file).parts for file in relative]
    if _has_split_folders(folder, parts, alone=split != "all"):
        below = [file[1:] for file in parts]
        rows = rows_of_split([SPLITS[file[0].lower()] for file in parts], split, str(folder))
    else:
        below, rows = parts, rows_of_split(["train"] * len(parts), split, str(folder))
    classes = None
    if all(len(below[i]) == 2 for i in rows):  # whatever other splits are like
        classes = _class_folders([file for file in below if len(file) == 2])
    labels = None
    if classes is not None:
        number = {name: i for i, name in enumerate(classes)}
        labels = torch.tensor([number[below[i][0]] for i in rows])
    return [str(folder / relative[i]) for i in rows], labels, classes


def open_csv(path: str | os.PathLike[str], split: str = "train") -> ItemSet:
    """The images that a CSV file lists, with their labels, in the order of the file.

    Its first line names the columns: one of path, file, filename, image (relative to the CSV file's folder, or
    absolute), one of label, class, category, target, and if you like split (train, val or test).

    Raises ``ManyviewsError``: no such file, columns missing, files that are not there, a file listed twice.
    """
    return _set_of_files(str(path), *listed(Path(path), split))


def listed(path: Path, split: str) -> tuple[list[str], Tensor, tuple[str, ...]]:
    """The files of a split that a CSV file lists, their labels and the classes. Raises as ``open_csv`` does."""
    rows = _csv_rows(path)
    if not rows:
        raise ManyviewsError(f"{path} lists no files.")
    columns = {name.strip().lower(): name for name in rows[0]}
    file_column = _column(columns, PATH_COLUMNS, path)
    label_column = _column(columns, LABEL_COLUMNS, path)
    files = [str(path.parent / row[file_column].strip()) for row in rows]
    _check_files(files, path)
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


def open_files(paths: Sequence[str | os.PathLike[str]]) -> ItemSet:
    """The image files listed, in that order, without labels. Raises ``ManyviewsError`` where one is not there."""
    files = [os.fspath(path) for path in paths]
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        raise ManyviewsError(
            f"There is no file {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}."
        )
    return _set_of_files(files[0] if len(files) == 1 else f"{len(files)} files", files, None, None)


def _set_of_files(
    name: str, paths: list[str], labels: Tensor | None, classes: tuple[str, ...] | None
) -> ItemSet:
    sounds = {os.path.splitext(path)[1].lower() in SOUNDS for path in paths}
    if sounds == {True, False}:
        raise ManyviewsError(f"{name} lists images and sounds; give those of one kind.")
    if True in sounds:
        return sounds_of_files(name, paths, labels, classes)
    files = Files(tuple(paths))
    return ItemSet(name, paths, labels, classes, None, files, files)


def files_below(folder: Path, suffixes: frozenset[str]) -> Iterator[str]:
    """Paths of files of such names relative to ``folder``, with forward slashes; hidden files and folders, and runs, left out.

    Links to folders are followed, each folder once, so that a link to a folder above does not go round for ever.
    """
    visited: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not _none_of_the_data(root, name))
        above = Path(root).relative_to(folder).as_posix()
        for file in files:
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in suffixes:
                yield file if above == "." else f"{above}/{file}"


def _none_of_the_data(root: str, name: str) -> bool:
    """A folder that is hidden, or that of a run, whose pictures are no data."""
    return name.startswith((".", "__MACOSX")) or os.path.isfile(os.path.join(root, name, "run.json"))


def _has_split_folders(folder: Path, parts: list[tuple[str, ...]], alone: bool) -> bool:
    """Raises ``ManyviewsError`` where splits have to be ``alone`` and are not: test images would be learned from."""
    tops = {name.lower() if below else "": name for name, *below in parts}
    splits = {SPLITS[top] for top in tops if top in SPLITS}
    beside = [name for top, name in tops.items() if top not in SPLITS]
    if alone and beside and "train" in splits and len(splits) > 1:
        raise ManyviewsError(
            f"{folder} has splits, {' and '.join(sorted(splits))}, and {beside[0]} beside them: move that elsewhere, or give "
            f"the folder to learn from, as {folder / 'train'}."
        )
    return "train" in splits and tops.keys() <= set(SPLITS)


def _class_folders(below: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    classes = tuple(sorted({file[0] for file in below}))
    return classes if len(classes) > 1 else None


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


def _csv_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise ManyviewsError(f"There is no file {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManyviewsError(f"{path} is not a CSV file in UTF-8: byte {error.start} is not.") from error
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


def _check_files(files: list[str], path: Path) -> None:
    missing = [file for file in files if not os.path.isfile(file)]
    if missing:
        what = "a file that is" if len(missing) == 1 else f"{len(missing)} files that are"
        more = ", ..." if len(missing) > 3 else ""
        raise ManyviewsError(f"{path} names {what} not there: {', '.join(missing[:3])}{more}.")
    seen: set[str] = set()
    for file in files:
        if file in seen:
            raise ManyviewsError(f"{path} lists {file} twice.")
        seen.add(file)
