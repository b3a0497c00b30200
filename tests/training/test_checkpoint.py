"""A checkpoint is whole or refused by name, and the one before it is used."""

import errno
import math
from pathlib import Path

import pytest
import torch

from manyviews import distributed, files
from manyviews.errors import Diverged, ManyviewsError
from manyviews.training import checkpoint
from manyviews.training.hooks import Saver
from manyviews.training.progress import Moment


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


def test_what_was_passed_over_and_what_a_kill_left_do_not_outlive_the_next_one(tmp_path: Path) -> None:
    saved(tmp_path, 190, 200)
    (tmp_path / ".step-0000000195-0123456789abcdef.pt.1.tmp").write_bytes(b"half")
    saved(tmp_path, 195)  # by a run that went on from 190, for 200 was damaged
    assert [path.name.split("-")[1] for path in sorted(tmp_path.iterdir())] == ["0000000190", "0000000195"]


def test_a_damaged_one_of_the_same_step_is_not_kept_in_place_of_a_whole_one(tmp_path: Path) -> None:
    _, damaged = saved(tmp_path, 190, 200)
    damaged.write_bytes(b"cut")
    checkpoint.save(tmp_path, 200, {"step": 200, "seconds": 2.0})  # by a run that went on from 190
    assert [checkpoint.step_of(path) for path in checkpoint.listed(tmp_path)] == [200, 190]
    state, refused = checkpoint.newest(tmp_path)
    assert state == {"step": 200, "seconds": 2.0} and refused == []


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    def moment(w: float, step: int) -> Moment:
        state = {"step": step, "method": {"w": torch.tensor([1.0, w]), "n": torch.tensor(3)}}
        return Moment(
            step=step, epoch=0.0, progress=0.5, seconds=1.0, items=8, lr=0.1, loss=torch.tensor(1.0), log={},
            whole=lambda: None, z=None, state=lambda: state,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip

    saver = Saver(tmp_path, every=0.0)
    assert saver.kept() == "no step was saved"
    saver(moment(2.0, 1))
    for broken in (math.nan, math.inf):
        with pytest.raises(Diverged, match="After step 2, w is not finite: try a lower --lr"):
            saver(moment(broken, 2))
        assert saver.kept() == "step 1 is the last that was saved"
    state, _ = checkpoint.newest(tmp_path)
    assert state is not None and state["step"] == 1


def test_ranks_that_would_go_on_from_different_steps_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, 5)
    state, _ = checkpoint.agreed(tmp_path)
    assert state is not None and state["step"] == 5
    monkeypatch.setattr(distributed, "from_main", lambda value: 7.0)
    with pytest.raises(ManyviewsError, match="go on from step 5 and the first one from step 7"):
        checkpoint.agreed(tmp_path)


def test_one_that_the_disk_cannot_read_is_passed_over_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bad = saved(tmp_path, 100, 200)
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    state, refused = checkpoint.newest(tmp_path)
    assert state is not None and state["step"] == 100
    assert refused == [f"The checkpoint {bad.name} cannot be read (Input/output error)"]


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
