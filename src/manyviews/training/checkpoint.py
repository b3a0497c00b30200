"""Checkpoints that are whole or refused: the digest of a file stands in its name.

A checkpoint is written under a temporary name and renamed, so a kill or a full disk leaves the one before; the last
two are kept, so a damaged one costs a few seconds of training. They are read with ``weights_only=True``.
"""

import hashlib
import io
import re
from pathlib import Path
from typing import Any

import torch

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.files import replacing

KEPT = 2
NAME = re.compile(r"step-(\d+)-([0-9a-f]{16})\.pt")


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def step_of(path: Path) -> int:
    """The step after which a checkpoint was written, which its name tells."""
    return int(path.name.split("-")[1])


def listed(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    found = [path for path in folder.glob("step-*.pt") if NAME.fullmatch(path.name)]
    return sorted(found, reverse=True)


def save(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` as the newest checkpoint and drop all but the last two, and what a kill left half-written.

    Those of later steps go as well, and others of this one: a run that came here again has passed them over.

    Raises:
        ManyviewsError: the disk is full or not writable; the checkpoints that were there are untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getbuffer()
    path = folder / f"step-{step:010d}-{_digest(data)}.pt"
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise ManyviewsError(
            f"The checkpoint at step {step} could not be written to {folder} ({error.strerror or error}); "
            "the one before it is whole: free some space and run `manyviews resume`"
        ) from error
    kept = [path, *(other for other in listed(folder) if step_of(other) < step)][:KEPT]
    for other in {*folder.glob("step-*.pt"), *folder.glob(".step-*.tmp")} - set(kept):
        other.unlink(missing_ok=True)
    return path


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint.

    Raises:
        ManyviewsError: the bytes cannot be read, or are not those that were written.
    """
    match = NAME.fullmatch(path.name)
    try:
        data = path.read_bytes()
    except OSError as error:  # a disk that fails
        raise ManyviewsError(
            f"The checkpoint {path.name} cannot be read ({error.strerror or error})"
        ) from error
    if match is None or _digest(data) != match[2]:
        raise ManyviewsError(
            f"The checkpoint {path.name} is damaged: its bytes are not those that were written"
        )
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def agreed(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """``newest``, where all ranks have found the one of the same step.

    Raises:
        ManyviewsError: they have not, or as ``newest`` does.
    """
    state, refused = newest(folder)
    step = 0 if state is None else state["step"]
    if (first := int(distributed.from_main(step))) != step:
        raise ManyviewsError(
            f"This process would go on from step {step} and the first one from step {first}: all processes need the same {folder}, on a "
            "shared disk, with every checkpoint in it undamaged."
        )
    return state, refused


def newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence for every damaged one passed over.

    Raises:
        ManyviewsError: there are checkpoints, but none of them is whole.
    """
    refused: list[str] = []
    for path in listed(folder):
        try:
            return load(path), refused
        except ManyviewsError as error:
            refused.append(str(error))
    if refused:
        raise ManyviewsError(f"No checkpoint in {folder} is whole ({'; '.join(refused)}); start a new run")
    return None, []
