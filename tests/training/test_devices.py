"""Several devices, end to end: one of them or their command is killed, and the run goes on to the very weights of an unbroken one."""

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
    "20steps",
    "--hidden",
    "16",
    "--baselines",
]
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes as Linux lists them")
HOW = ["--devices", "2", "--save-every", "0", "--quiet"]


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


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The words of a run that was not disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("devices")
    words = ["pretrain", "byol", "--data", str(drawn(folder / "photos", 48, lambda _: "")), *SETTINGS]
    subprocess.run(command(*words, "--out", str(folder / "unbroken")), check=True, timeout=240)
    return words, folder / "unbroken"


def begun(words: list[str], folder: Path) -> tuple[subprocess.Popen[str], int]:
    """The same run in another folder, some steps on, and the process of its torchrun."""
    process = subprocess.Popen(command(*words, "--out", str(folder)), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 240
    while not [path for path in checkpoint.listed(folder / "checkpoints") if checkpoint.step_of(path) >= 3]:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.005)
    (torchrun,) = children(process.pid)
    return process, torchrun


def goes_on_to(folder: Path, unbroken: Path) -> bool:
    """Whether a run that was stopped ends bit for bit as the one that was not."""
    assert not Run.open(folder).finished and checkpoint.listed(folder / "checkpoints")
    subprocess.run(command("resume", str(folder)), check=True, timeout=240)
    files = [path / "encoder.safetensors" for path in (folder, unbroken)]
    return files[0].read_bytes() == files[1].read_bytes()


@LINUX
def test_a_killed_device_is_said_and_the_run_goes_on_bit_for_bit(
    unbroken: tuple[list[str], Path], tmp_path: Path
) -> None:
    process, torchrun = begun(unbroken[0], tmp_path / "killed")
    os.kill(children(torchrun)[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 2 and "One of 2 processes failed" in said
    assert goes_on_to(tmp_path / "killed", unbroken[1])


@LINUX
def test_devices_end_with_a_command_that_is_killed(unbroken: tuple[list[str], Path], tmp_path: Path) -> None:
    process, torchrun = begun(unbroken[0], tmp_path / "killed")
    ranks = children(torchrun)
    assert len(ranks) == 2
    process.kill()
    process.communicate(timeout=240)
    until = time.monotonic() + 120
    while any(
        Path(f"/proc/{rank}/cmdline").exists() and Path(f"/proc/{rank}/cmdline").read_bytes()
        for rank in ranks
    ):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert goes_on_to(tmp_path / "killed", unbroken[1])
