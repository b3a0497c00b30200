"""Results of claims as JSON, a file a claim and scale: what was found, and all that repeats it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manyviews.claims.claim import SCALES
from manyviews.errors import ManyviewsError
from manyviews.files import write_json

CHECKOUT = Path(__file__).resolve().parents[3]
NEEDED = (
    "claim",
    "scale",
    "sentence",
    "measure",
    "seeds",
    "figures",
    "states",
    "verdict",
    "command",
    "seconds",
)
CIRCUMSTANCES = (
    "command",
    "commit",
    "versions",
    "machine",
    "started",
    "differing",
    "judged",
    "seconds",
    "beside",
)  # of a result, not the result
WRITTEN = ("predicts", "measure", "arms", "same")  # of a result: the claim as it was written then


def folder_of(out: str | Path | None = None) -> Path:
    """Where results lie: ``out``, or ``docs/claims`` of the checkout that this is, or ``claims`` where one stands."""
    if out is not None:
        return Path(out).expanduser()
    return CHECKOUT / "docs" / "claims" if (CHECKOUT / "pyproject.toml").exists() else Path("claims")


def path_of(name: str, scale: str, folder: Path) -> Path:
    return folder / f"{name}-{scale}.json"


def save(result: dict[str, Any], folder: Path, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Write a result, whole or not at all, and give it back.

    What was found before in the same words stays as it is, with its date and commit; then that is given back. What was
    found of the same claim and code under more seeds stays too, and ``say`` is told so.
    """
    file = path_of(result["claim"], result["scale"], folder)
    before = load(result["claim"], result["scale"], folder)
    result = json.loads(json.dumps(result))  # as it will be read
    if before is not None and _found(before) == _found(result):
        return before
    if before is not None and _says_more(before, result):
        if say:
            seeds = len(before["seeds"])
            say(f"{file} keeps its verdict of {seeds} seeds; --seeds {seeds} would renew it")
        return result
    write_json(file, result)
    return result


def _says_more(before: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Whether a stored result is of the same runs and more seeds; what is exact is no better for more of them."""
    alike = not result["exact"] and all(before.get(key) == result.get(key) for key in WRITTEN)
    runs = {arm: of[: len(result["seeds"])] for arm, of in before.get("runs", {}).items()}
    same = runs == result.get("runs", {}) and before.get("measures") == result.get("measures")
    return alike and same and len(before["seeds"]) > len(result["seeds"])


def _found(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in CIRCUMSTANCES}


def load(name: str, scale: str, folder: Path) -> dict[str, Any] | None:
    """What was found; None where it was not run yet.

    Raises:
        ManyviewsError: the file is damaged.
    """
    file = path_of(name, scale, folder)
    return _read(file) if file.exists() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        missing = [key for key in NEEDED if key not in result]
    except (ValueError, TypeError) as error:
        raise ManyviewsError(
            f"The result {file} is damaged ({error}); remove it and run the claim again: the cache still has its runs."
        ) from error
    if missing:
        raise ManyviewsError(
            f"The result {file} is damaged: it has no '{missing[0]}'; remove it and run the claim again."
        )
    return result


def stored(name: str, folder: Path) -> list[dict[str, Any]]:
    """What was found of a claim at every scale."""
    found = [load(name, scale, folder) for scale in SCALES]
    return [result for result in found if result is not None]
