"""Files, and folders, that are whole or absent: written under a temporary name, flushed to the disk, then renamed."""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from manyviews.errors import ManyviewsError

try:
    import fcntl
except ImportError:
    fcntl = None


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Open a new version of ``path``; it takes the old one's place only when the block ends without an error."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """An `OSError` in the block says which file it is of, which that of a write to a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def set_aside(folder: Path) -> Iterator[None]:
    """What lies at ``folder`` is out of the way in the block, deleted at its end, and put back should it end in an error."""
    there = folder.resolve()
    aside = there.with_name(f".{there.name}.{os.getpid()}.old")
    there.rename(aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(there, ignore_errors=True)
        aside.rename(there)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    if aside.exists():  # the file systems of networks keep files that are open
        print(f"manyviews: what was overwritten is still in {aside}: remove it.", file=sys.stderr)


_held: set[int] = set()  # files that this process holds alone


@contextmanager
def alone(place: Path, otherwise: str | None = None) -> Iterator[None]:
    """One process at a time with this file or folder; a killed one lets go by itself. Where there are no locks, on trust.

    Raises:
        ManyviewsError: another one is there: the sentence ``otherwise``. None: it is waited for.
    """
    held = _open_to_hold(place)
    if held is None:
        yield
        return
    _held.add(held)
    try:
        if not _is_held(held, wait=otherwise is None):
            raise ManyviewsError(str(otherwise))
        yield
    finally:
        _held.discard(held)
        _let_go(held)


def _open_to_hold(place: Path) -> int | None:
    if fcntl is None:  # Windows, where a folder with an open file in it could not be moved
        return None
    for how in (os.O_RDWR, os.O_RDONLY):  # file systems of networks want the first, which folders refuse
        try:
            return os.open(place, how)
        except OSError:
            continue
    return None


def _is_held(held: int, wait: bool) -> bool:
    assert fcntl is not None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _let_go(held: int) -> None:
    assert fcntl is not None
    with suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_UN)  # whichever children have the file open too
    os.close(held)


def _leave_to_the_parent() -> None:
    """A forked child holds nothing: were its parent killed, it would keep what that held."""
    for held in _held:
        os.close(held)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def writable(path: Path | str) -> bool:
    """Whether a file can be made there; folders that are wanting are made with it."""
    there = Path(path).resolve().parent
    while not there.exists():
        there = there.parent
    return os.access(there, os.W_OK)


def write_text(path: Path | str, text: str) -> None:
    """Write text atomically."""
    with replacing(path) as file:
        file.write(text.encode())


def change_json(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Enter in an object of JSON what is to be changed in it, given what it holds; alone with its folder, so that nothing is lost."""
    with alone(path.parent):
        there = read_json(path)
        write_json(path, there | change(there))


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; an empty one where there is no file yet."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically, indented, keys in the order given."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError:
        # A file name that is not UTF-8 arrives as lone surrogates; escaped, they are read back as they were.
        text = json.dumps(value, indent=2) + "\n"
    write_text(path, text)
