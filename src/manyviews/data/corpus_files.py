"""Text files: a document each, folders of them, and two whose lines belong together."""

import gzip
import os
import zlib
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from manyviews.data.corpus import Corpus, gathered
from manyviews.data.decode import Unreadable
from manyviews.data.folder import arranged, files_below
from manyviews.data.listed import how_to_convert, listed, rows_of_split, say_left_out
from manyviews.errors import ManyviewsError

SUFFIXES = frozenset({".txt", ".md"})

TABLES = frozenset({".csv", ".tsv", ".jsonl"})

BOM = b"\xef\xbb\xbf"


def suffix_of(path: str | os.PathLike[str]) -> str:
    """``.txt`` of ``poems.txt`` and of ``poems.txt.gz``."""
    return Path(os.fspath(path).lower().removesuffix(".gz")).suffix


def read_text(path: str | os.PathLike[str]) -> str:
    """What is in a file, unpacked where its name ends in .gz, without a byte order mark; line ends as they are.

    Raises ``Unreadable``: it cannot be read, is damaged, or is not UTF-8.
    """
    path = os.fspath(path)
    try:
        raw = Path(path).read_bytes()
        raw = gzip.decompress(raw) if path.lower().endswith(".gz") else raw
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable(
            f"{path} is not UTF-8: bytes 0 and 1 mark it as UTF-16. {how_to_convert(path, 'UTF-16')}"
        )
    start = len(BOM) if raw.startswith(BOM) else 0
    try:
        text = str(memoryview(raw)[start:], "utf-8")
    except UnicodeDecodeError as error:
        at = start + error.start
        raise Unreadable(
            f"{path} is not UTF-8: byte {at} (0x{raw[at]:02X}) belongs to no character. {how_to_convert(path, 'WINDOWS-1252')}"
        ) from error
    if "\0" in text:
        at = raw.index(0)
        raise Unreadable(f"{path} is not a text: byte {at} is zero. {how_to_convert(path, 'UTF-16LE')}")
    return text


def read_document(path: str | os.PathLike[str]) -> str:
    """A file as one text, its lines ending in ``\\n`` alone."""
    text = read_text(path)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a file, without white space at their ends. What else might part lines (U+2028, form feed) does not."""
    lines = read_text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.strip() for line in lines]


def open_text(path: str, split: str = "train") -> Corpus:
    """A file as one document, which is the training split."""
    rows_of_split(["train"], split, path)
    return gathered(path, [path], [(read_document(path),)])


def open_text_folder(path: str | os.PathLike[str], split: str = "train") -> Corpus:
    """The text files below a folder, a document each, in the order of their paths, by the rules of `folder.open_folder`.

    They end in .txt or .md (or that and .gz); where none does, files without a suffix are taken.

    Raises ``ManyviewsError``: no texts in it, no such split, more than 1% that are empty or not UTF-8.
    """
    folder = Path(path)
    if (table := folder / "labels.csv").is_file():
        documents = _documents(str(path), *listed(table, split))
        if split in ("train", "all"):
            with suppress(ManyviewsError):  # what cannot be looked into does not matter here
                say_left_out(table, _texts_below(folder))
        return documents
    relative = _texts_below(folder)
    if not relative:
        raise ManyviewsError(_no_texts(folder))
    return _documents(str(path), *arranged(folder, relative, split))


def _texts_below(folder: Path) -> list[str]:
    found = sorted(files_below(folder, SUFFIXES | {".gz"}))
    relative = [file for file in found if suffix_of(file) in SUFFIXES]
    return relative or sorted(files_below(folder, frozenset({""})))


def _documents(name: str, paths: list[str], labels: Tensor | None, classes: tuple[str, ...] | None) -> Corpus:
    texts, unread = list[tuple[str, ...]](), dict[int, str]()
    for number, path in enumerate(paths):
        try:
            texts.append((read_document(path),))
        except Unreadable as error:
            texts.append(("",))
            unread[number] = str(error)
    return gathered(name, paths, texts, labels, classes, unread)


def _no_texts(folder: Path) -> str:
    if not any(folder.iterdir()):
        return f"The folder {folder} is empty."
    tables = [file for file in files_below(folder, TABLES | {".gz"}) if suffix_of(file) in TABLES]
    hint = f" It holds a table, which is given by its own path: {folder / min(tables)}." if tables else ""
    return (
        f"The folder {folder} has no texts: no file ends in {', '.join(sorted(SUFFIXES))}, "
        f"and all have a suffix.{hint}"
    )


def open_parallel(first: str, second: str, split: str = "train") -> Corpus:
    """Two files whose lines belong together, a pair a line; the second may be the bare name of one beside the first.

    Raises ``ManyviewsError``: a file that is not there, or not UTF-8; unequal numbers of lines, with both.
    """
    beside = os.path.join(os.path.dirname(first), second)
    if not os.path.isfile(second) and os.path.isfile(beside):
        second = beside
    for path in (first, second):
        if not os.path.isfile(path):
            raise ManyviewsError(f"There is no file {path}.")
    name = f"{first}+{second}"
    rows_of_split(["train"], split, name)
    ours, theirs = read_lines(first), read_lines(second)
    if len(ours) != len(theirs):
        raise ManyviewsError(
            f"{first} has {len(ours)} lines and {second} has {len(theirs)}: parallel files need the same number of lines, "
            f"each line the translation of the same line in the other file."
        )
    names = [f"{first}:{line}" for line in range(1, len(ours) + 1)]
    return gathered(name, names, list(zip(ours, theirs, strict=True)))
