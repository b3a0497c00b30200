"""Official files: found under a data root, or downloaded and checked, or asked for in a sentence."""

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from manyviews.errors import ManyviewsError

TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Remote:
    """An official file: where it is, and the digest that its publisher states."""

    url: str
    md5: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where named sets lie: ``root``, or ``MANYVIEWS_DATA``, or ``manyviews`` in the user's cache folder."""
    if root is not None:
        return Path(root).expanduser()
    if given := os.environ.get("MANYVIEWS_DATA"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "manyviews"


def fetch(remote: Remote, folder: Path, what: str) -> Path:
    """The official file in ``folder``, downloaded first where it is not there, and its digest checked either way.

    Raises ``ManyviewsError`` where it cannot be had (saying which file to put where) or its digest is wrong.
    """
    target = folder / remote.file
    if target.is_file():
        _check(remote, _md5(target), str(target))
        return target
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {remote.url} to {folder} ...", file=sys.stderr, flush=True)
    part = folder / f".{remote.file}.{os.getpid()}"
    try:
        with part.open("wb") as file:
            digest = _download(remote.url, file)
        _check(remote, digest, f"What came from {remote.url}")
        os.replace(part, target)
    except OSError as error:  # no network, no such page, time out, disk full
        reason = getattr(error, "reason", None) or error
        raise ManyviewsError(
            f"{what} is not under {folder} and {remote.url} cannot be downloaded ({reason}): "
            f"put {remote.file} into {folder}."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive into ``folder``: nothing in it leaves that folder, and nothing half done stays.

    Raises ``ManyviewsError`` for an archive that is damaged or reaches outside.
    """
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=folder) as scratch:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
        except tarfile.FilterError as error:
            raise ManyviewsError(
                f"{archive} is refused: it would write outside its folder ({error})."
            ) from error
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ManyviewsError(f"{archive} cannot be unpacked: {error}.") from error
        for item in sorted(Path(scratch).iterdir()):
            if not (folder / item.name).exists():
                shutil.move(item, folder / item.name)


def _download(url: str, file: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        while chunk := response.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _check(remote: Remote, digest: str, where: str) -> None:
    if digest != remote.md5:
        raise ManyviewsError(
            f"{where} is damaged or not the official file: its MD5 is {digest}, not {remote.md5}. "
            f"Remove it and try again."
        )
