"""A checkpoint is whole or refused by name, and the one before it is used."""

import errno
from pathlib import Path

import pytest
import torch

from manyviews import files
from manyviews.errors import ManyviewsError
from manyviews.training import checkpoint


def saved(folder: Path, *steps: int) -> list[Path]:
    return [
        checkpoint.save(folder, step, {"step": step, "w": torch.full((50,), float(step))}) for step in steps
    ]


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    assert [path.name.split("-")[1] for path in checkpoint.listed(tmp_path)] == ["0000000003", "0000000002"]
    state, refused = checkpoint.newest(tmp_path)
    assert state is not None and state["step"] == 3 and torch.equal(state["w"], torch.full((50,), 3.0))
    assert refused == []


@pytest.mark.parametrize("damage", ["cut short", "a flipped bit", "emptied"])
def test_a_damaged_one_is_refused_by_name_and_the_one_before_is_used(tmp_path: Path, damage: str) -> None:
    _, newest = saved(tmp_path, 1, 2)
    data = bytearray(newest.read_bytes())
    if damage == "a flipped bit":
        data[len(data) // 2] ^= 1
    newest.write_bytes({"cut short": data[:-7], "a flipped bit": data, "emptied": b""}[damage])
    state, refused = checkpoint.newest(tmp_path)
    assert state is not None and state["step"] == 1
    assert len(refused) == 1 and newest.name in refused[0] and "damaged" in refused[0]


def test_none_whole_is_said(tmp_path: Path) -> None:
    for path in saved(tmp_path, 1, 2):
        path.write_bytes(b"PK")
    with pytest.raises(ManyviewsError, match=r"No checkpoint in .* is whole"):
        checkpoint.newest(tmp_path)


def test_no_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) == (None, [])


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = saved(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        ManyviewsError, match=r"step 2 could not be written .*No space left.*the one before it is whole"
    ):
        saved(tmp_path, 2)
    assert list(tmp_path.iterdir()) == [before]
    state, _ = checkpoint.newest(tmp_path)
    assert state is not None and state["step"] == 1


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (tmp_path.joinpath("ran").touch, ())

    path = checkpoint.save(tmp_path / "c", 1, {"step": Evil()})
    with pytest.raises(Exception, match=r"[Ww]eights"):
        checkpoint.load(path)
    assert not (tmp_path / "ran").exists()
