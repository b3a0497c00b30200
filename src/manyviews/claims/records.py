"""Where and when the runs of a result were trained, and by which code: what they have in common, and where they differ."""

from collections.abc import Mapping
from typing import Any

SHARED = ("versions", "commit", "machine")
RECORD = (*SHARED, "started")  # what a run notes as it begins


def in_common(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The records of runs, by their digests, as one.

    Returns:
        ``versions``, ``commit``, ``machine``: those of all runs, or None where they differ; ``differing``: there, by
        digest, that of each run; ``started``: when the first began.
    """
    found: dict[str, Any] = {}
    differing: dict[str, dict[str, Any]] = {}
    for key in SHARED:
        by_run = {digest: run[key] for digest, run in runs.items() if run.get(key) is not None}
        values = distinct(by_run)
        found[key] = values[0] if len(values) == 1 else None
        if len(values) > 1:
            differing[key] = by_run
    starts = [run["started"] for run in runs.values() if run.get("started")]
    return found | {"started": min(starts, default=None), "differing": differing}


def distinct(by_run: Mapping[str, Any]) -> list[Any]:
    """Every value once, in the order in which they came."""
    values: list[Any] = []
    for value in by_run.values():
        if value not in values:
            values.append(value)
    return values


def each(result: Mapping[str, Any], key: str) -> list[Any]:
    """What a result notes of its runs: one value where they have it in common, else every one once."""
    differing = (result.get("differing") or {}).get(key)
    if differing is not None:
        return distinct(differing)
    return [] if result.get(key) is None else [result[key]]
