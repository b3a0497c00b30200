"""What a run took of its machine."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from manyviews import machine
from manyviews.machine import PeakMemory, about_machine

MIB = 2**20


def used_for_a_moment(mib: int) -> None:
    """Fresh pages from the system, written to and given back: what an allocator keeps cannot stand in for them."""
    with mmap.mmap(-1, mib * MIB) as pages:
        for start in range(0, len(pages), mmap.PAGESIZE):
            pages[start] = 1


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="reads Linux's own account")
def test_the_peak_is_what_was_in_use_at_most_since_then() -> None:
    used_for_a_moment(64)  # before anybody looks
    memory = PeakMemory()
    before = memory.mib()
    assert before is not None and before < 32
    used_for_a_moment(96)
    after = memory.mib()
    assert after is not None and 90 <= after - before < 160


def test_a_commit_is_that_of_the_code_and_says_where_the_code_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        told = subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return told.stdout.strip()

    code, result = tmp_path / "src" / "manyviews" / "machine.py", tmp_path / "docs" / "result.json"
    for file in (code, result):
        file.parent.mkdir(parents=True)
        file.write_text("before")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    monkeypatch.setattr(machine, "__file__", str(code))
    result.write_text("after")  # which is no code
    assert about_machine()["commit"] == git("rev-parse", "HEAD")
    code.write_text("after")
    assert about_machine()["commit"] == git("rev-parse", "HEAD") + "-dirty"


def test_a_clone_on_a_machine_without_git_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "git")

    monkeypatch.setattr("subprocess.run", absent)
    assert about_machine()["commit"] is None
