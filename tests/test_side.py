"""Tasks in processes of their own: none begins too early or too late, and none outlives whoever asked for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from manyviews import side
from manyviews.errors import ManyviewsError
from manyviews.side import side_by_side

ASKS = """
import sys
from functools import partial
from pathlib import Path
from test_side import _waits
from manyviews.side import side_by_side

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for _ in side_by_side({str(i): partial(_waits, folder, i) for i in range(4)}, 2):
        pass
"""


def _square(number: int) -> int:
    return number**2


def _fails(beside: Path) -> None:
    """Once the one beside it has begun."""
    assert _becomes(beside.exists)
    raise ManyviewsError("It cannot be.")


def _marks(file: Path) -> None:
    file.touch()
    time.sleep(5)


def _waits(folder: Path, number: int) -> None:
    """Says who it is, whole or not at all, and takes long."""
    (folder / f"new-{number}").write_text(str(os.getpid()))
    (folder / f"new-{number}").rename(folder / f"pid-{number}")
    time.sleep(600)


def _killed(beside: Path) -> None:
    """Once the one beside it has begun."""
    assert _becomes(beside.exists)
    os.kill(os.getpid(), signal.SIGKILL)


def _saves_and_waits(folder: Path) -> None:
    """Takes the first signal as the wish to save, as a run does, and then waits for what nobody will give it."""

    def save(number: int, frame: object) -> None:
        (folder / "saved").touch()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, save)
    (folder / "begun").touch()
    time.sleep(30)
    (folder / "outlived").touch()


def test_every_task_is_done_once() -> None:
    assert dict(side_by_side({str(i): partial(_square, i) for i in range(5)}, 2)) == {
        str(i): i**2 for i in range(5)
    }
    assert not list(side_by_side({}, 2))


def test_where_one_is_killed_the_others_save_and_end_even_if_they_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "PATIENCE", 0.5)
    # A pool watches a new process from the next result on, so there are some.
    quick = {str(i): partial(_square, i) for i in range(3)}
    tasks = quick | {"a": partial(_killed, tmp_path / "begun"), "b": partial(_saves_and_waits, tmp_path)}
    with pytest.raises(ManyviewsError, match="The process of a run was killed"):
        list(side_by_side(tasks, 2))
    assert (tmp_path / "saved").exists() and not (tmp_path / "outlived").exists()


def test_none_begins_once_one_has_failed(tmp_path: Path) -> None:
    (begun := tmp_path / "begun").mkdir()
    tasks = {"ill": partial(_fails, begun / "0")} | {
        str(i): partial(_marks, begun / str(i)) for i in range(4)
    }
    with pytest.raises(ManyviewsError, match="It cannot be"):
        list(side_by_side(tasks, 2))
    assert [file.name for file in begun.iterdir()] == ["0"]  # what ran beside it comes to its end


def test_tasks_end_where_the_one_that_asked_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "asks.py"
    script.write_text(ASKS)
    (folder := tmp_path / "pids").mkdir()
    here = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], env={**os.environ, "PYTHONPATH": here}
    )
    try:
        assert _becomes(lambda: len(list(folder.glob("pid-*"))) == 2)
        process.kill()
        process.wait()
        pids = [int(file.read_text()) for file in folder.glob("pid-*")]
        assert _becomes(lambda: not any(map(_lives, pids)))
        assert len(list(folder.glob("pid-*"))) == 2  # and no other has begun
    finally:
        process.kill()
        for file in folder.glob("pid-*"):
            if _lives(int(file.read_text())):
                os.kill(int(file.read_text()), signal.SIGKILL)


def _becomes(true: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _lives(pid: int) -> bool:
    """And is no process that has ended and waits for whoever asks after it, which Linux tells."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()
