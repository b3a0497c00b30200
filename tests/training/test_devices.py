"""Several devices, end to end: one of them is killed, the run says so, and goes on to the very weights of an unbroken one."""

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
    "40steps",
    "--hidden",
    "16",
    "--baselines",
]
HOW = ["--devices", "2", "--save-every", "0", "--quiet"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return drawn(tmp_path / "photos", 48, lambda _: "")


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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes as Linux lists them")
def test_a_killed_device_is_said_and_the_run_goes_on_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    words = ["pretrain", "byol", "--data", str(photos), *SETTINGS]
    subprocess.run(command(*words, "--out", str(tmp_path / "unbroken")), check=True, timeout=240)

    folder = tmp_path / "killed"
    process = subprocess.Popen(command(*words, "--out", str(folder)), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while not [path for path in checkpoint.listed(folder / "checkpoints") if checkpoint.step_of(path) >= 3]:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    (torchrun,) = children(process.pid)
    os.kill(children(torchrun)[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 2 and "One of 2 processes failed" in said
    assert not Run.open(folder).finished and checkpoint.listed(folder / "checkpoints")

    subprocess.run(command("resume", str(folder)), check=True, timeout=240)
    files = [Run.open(path).path / "encoder.safetensors" for path in (folder, tmp_path / "unbroken")]
    assert files[0].read_bytes() == files[1].read_bytes()
