"""Versions, commit and machine: what a run's record says of where it ran."""

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch


def about_machine() -> dict[str, Any]:
    """Versions, commit and machine, for ``run.json``."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "rev-parse", "HEAD"]
    commit = (
        subprocess.run(git, capture_output=True, text=True, check=False)
        if (here / "../../.git").exists()
        else None
    )
    return {
        "versions": {
            "manyviews": _version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "commit": commit.stdout.strip() if commit is not None and commit.returncode == 0 else None,
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


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
