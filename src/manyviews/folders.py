"""New folders for runs and comparisons: by name, each given out only once."""

from contextlib import suppress
from pathlib import Path

from manyviews.errors import ManyviewsError


def free_folder(method: str, data: str, under: Path = Path("runs")) -> Path:
    """``runs/simclr-world``, or the next number after it that is free: a new folder, which nobody else is given."""
    stem = f"{method}-{_short(data)}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 10_000))]
    under.mkdir(parents=True, exist_ok=True)
    for name in names:
        with suppress(FileExistsError):
            (under / name).mkdir()
            return under / name
    raise ManyviewsError(f"{under} has ten thousand runs of that name; choose another folder with --out.")


def _short(data: str) -> str:
    """What a set is called in a folder's name: the last part of a path, a known set without its split."""
    if data and (path := Path(data).expanduser()).exists():
        return path.resolve().stem or "data"
    parts = data.split("/")  # hf:OWNER/SET/SPLIT, SET/SPLIT
    return (parts[-2] if data.startswith("hf:") and len(parts) > 2 else Path(parts[0]).stem) or "data"
