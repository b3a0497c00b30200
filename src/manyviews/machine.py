"""Versions, commit and machine: what a run's record says of where it ran, and how much memory it took there."""

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch


def about_machine() -> dict[str, Any]:
    """Versions, commit and machine, for ``run.json``."""
    return {
        "versions": {
            "manyviews": _version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "commit": _commit(),
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _commit() -> str | None:
    """Of a clone that the code runs from, with ``-dirty`` behind it where the code differs from it; None of an installed
    package, and where there is no git to ask."""
    here = Path(__file__).parent
    commit = _git(here, "rev-parse", "HEAD") if (here / "../../.git").exists() else None
    if commit is None:
        return None
    return f"{commit}-dirty" if _git(here, "status", "--porcelain", "--untracked-files=no", ".") else commit


def _git(folder: Path, *words: str) -> str | None:
    """What git says in a folder, whose index it leaves alone; None where it cannot be asked."""
    git = ["git", "--no-optional-locks", "-C", str(folder), *words]
    try:
        told = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return told.stdout.strip() if told.returncode == 0 else None


def _version() -> str:
    from manyviews import __version__

    return __version__


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


class PeakMemory:
    """The most memory that was in use since this was made, above what was in use then.

    On a GPU what torch allocated; else the process's resident memory, where the system tells its peak (Linux).
    """

    def __init__(self) -> None:
        self.start = None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated() / 2**20
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        except OSError:
            return
        self.start = _resident("VmRSS")

    def mib(self) -> float | None:
        """In MiB; None where the system does not tell."""
        if self.start is None:
            return None
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20 - self.start
        peak = _resident("VmHWM")
        return None if peak is None else max(0.0, peak - self.start)


def _resident(field: str) -> float | None:
    """A line of /proc/self/status, in MiB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)
