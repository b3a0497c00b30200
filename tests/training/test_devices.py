"""Several devices, end to end: one of them is killed, then their command, and the run goes on to the very weights of an unbroken one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manyviews.runs import Run
from manyviews.training import checkpoint
from pictures import drawn

SETTINGS = [
    "--net",
    "cifar_resnet8",
    "--size",
    "16",
    "--batch",
    "16",
    "--budget",
    "30steps",
    "--hidden",
    "16",
    "--baselines",
]
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes as Linux lists them")
HOW = ["--devices", "2", "--save-every", "0", "--quiet", "--no-judged"]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "manyviews", *words, *HOW]


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # gone in the meantime
            continue
        if int(fields[1]) == pid:
            found.append(int(place.parent.name))
    return sorted(found)


def begun(words: list[str], folder: Path, step: int) -> tuple[subprocess.Popen[str], int]:
    """A run that has gone on to a step, and the process of its torchrun."""
    process = subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while not any(checkpoint.step_of(path) >= step for path in checkpoint.listed(folder / "checkpoints")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    (torchrun,) = children(process.pid)
    return process, torchrun


def alive(pid: int) -> bool:
    """Whether a process runs, and is not only waited for."""
    place = Path(f"/proc/{pid}/cmdline")
    return place.exists() and place.read_bytes() != b""


@LINUX
def test_whoever_is_killed_the_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    photos, folder = drawn(tmp_path / "photos", 48, lambda _: ""), tmp_path / "killed"
    words = ["pretrain", "byol", "--data", str(photos), *SETTINGS]
    process, torchrun = begun([*words, "--out", str(folder)], folder, step=3)
    os.kill(children(torchrun)[-1], signal.SIGKILL)  # one of the devices
    _, said = process.communicate(timeout=240)
    assert process.returncode == 2 and "One of 2 processes failed" in said

    process, torchrun = begun(["resume", str(folder)], folder, step=6)
    ranks = children(torchrun)
    assert len(ranks) == 2
    process.kill()  # the command itself
    process.communicate(timeout=240)
    until = time.monotonic() + 120
    while any(alive(rank) for rank in ranks):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert not Run.open(folder).finished and checkpoint.listed(folder / "checkpoints")

    subprocess.run(command("resume", str(folder)), check=True, timeout=240)
    subprocess.run(command(*words, "--out", str(tmp_path / "unbroken")), check=True, timeout=240)
    assert not Run.open(folder).judged and not Run.open(tmp_path / "unbroken").judged  # as was asked
    files = [tmp_path / name / "encoder.safetensors" for name in ("killed", "unbroken")]
    assert files[0].read_bytes() == files[1].read_bytes()
