"""A folder of images (or of WAV files): flat or nested, with class folders or a CSV of labels where there are labels.

photos/**/*.jpg                     no labels
birds/<class>/*.png                 every image in exactly one level of sub-folders: labels
birds/{train,val,test}/...          either of those, by split
birds/labels.csv                    columns path and label (and split, if you like)
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from manyviews.data.decode import SUFFIXES, odd, read
from manyviews.data.items import ItemSet
from manyviews.data.listed import SPLITS, listed, rows_of_split, say, say_left_out
from manyviews.data.sounds import SUFFIXES as SOUNDS
from manyviews.data.sounds import sounds_of_files
from manyviews.errors import ManyviewsError


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
    if (table := folder / "labels.csv").is_file():
        data = open_csv(table, split)
        if split in ("train", "all"):
            _say_left_out(table, data.kind)
        return data
    relative = sorted(files_below(folder, SUFFIXES)) or sorted(files_below(folder, SOUNDS))
    if not relative:
        empty = not any(folder.iterdir())
        kinds, sounds = ", ".join(sorted(SUFFIXES)), ", ".join(sorted(SOUNDS))
        raise ManyviewsError(
            f"The folder {folder} is empty."
            if empty
            else f"The folder {folder} has no images: no file ends in {kinds}; nor sounds, which end in {sounds}."
        )
    return _looked_at(_set_of_files(str(path), *arranged(folder, relative, split)), split)


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
    return _looked_at(_set_of_files(str(path), *listed(Path(path), split)), split)


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
        raise ManyviewsError(f"{name} lists images and sounds; give only one of the two.")
    if True in sounds:
        return sounds_of_files(name, paths, labels, classes)
    files = Files(tuple(paths))
    return ItemSet(name, paths, labels, classes, None, files, files)


def files_below(folder: Path, suffixes: frozenset[str]) -> Iterator[str]:
    """Paths of files of such names relative to ``folder``, with forward slashes; hidden files and folders, and runs, left out.

    Links to folders are followed, each folder once, so that a link to a folder above does not go round for ever.
    """
    visited: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_cannot_look):
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


def _cannot_look(error: OSError) -> None:
    raise ManyviewsError(
        f"The folder {error.filename} cannot be looked into ({error.strerror}): give this user permission to read it, or move it elsewhere."
    ) from error


def _none_of_the_data(root: str, name: str) -> bool:
    """A folder that is hidden, a disk's own, or that of a run, whose pictures are no data."""
    return name.startswith((".", "__MACOSX", "lost+found")) or os.path.isfile(
        os.path.join(root, name, "run.json")
    )


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


def _looked_at(data: ItemSet, split: str) -> ItemSet:
    """The set; what a look at some of its images finds odd is said."""
    if split in ("train", "all") and data.kind == "images":
        for what in odd(data.names):
            say(f"{data.name}: {what}")
    return data


def _say_left_out(table: Path, kind: str) -> None:
    with suppress(ManyviewsError):  # what cannot be looked into does not matter here
        say_left_out(table, files_below(table.parent, SOUNDS if kind == "sounds" else SUFFIXES))
