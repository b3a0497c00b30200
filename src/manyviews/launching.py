"""Processes that train together: started on this machine, or by torchrun on many; how they meet, and how they are stopped."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.recipe import Recipe


def launched() -> bool:
    """Whether torchrun (or what speaks its language) started this process as one of several."""
    return distributed.started() > 1


def launch(processes: int, arguments: list[str]) -> None:
    """Start ``processes`` Pythons with ``arguments`` by torchrun on this machine, and wait for them.

    Where this process is killed they save their state and end too: it holds the other end of what torchrun reads.

    Raises:
        KeyboardInterrupt: they were interrupted and saved their state.
        ManyviewsError: one of them failed; what it printed stands above.
    """
    started_by = [sys.executable, "-m", __name__, "--standalone", f"--nproc-per-node={processes}"]
    # In a session of its own, so that what the terminal sends comes once, from here, and torchrun hands it on. What comes
    # out is said by whoever launched them; they speak to the person only.
    child = subprocess.Popen(
        [*started_by, *arguments],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(processes),
    )
    asked = False

    def hand_on(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        child.send_signal(number)

    handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, hand_on) for number in handled}
    try:
        with child:
            code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if code and asked:
        raise KeyboardInterrupt
    if code:
        raise ManyviewsError(f"One of {processes} processes failed; its message is printed above.")


def environment(processes: int) -> dict[str, str]:
    """What each of so many processes is told beside what this one was: its share of the cores, where nobody said how many.

    Unless told, torchrun gives each of several a single one.
    """
    return {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // processes))} | os.environ


@contextmanager
def group() -> Iterator[None]:
    """Join the other processes for the length of the block. Nothing on one process.

    What lies on GPUs crosses by NCCL, and what lies on the CPU by gloo, there too: so what processes agree on after each step
    does not wait for what their GPUs still have to do.
    """
    if not launched():
        yield
        return
    if on_gpus := torch.cuda.is_available():
        torch.cuda.set_device(distributed.device())
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def require_shares(devices: int, data: Any, recipe: Recipe) -> None:
    """Raises ``ManyviewsError`` for what cannot be shared among so many, or those of torchrun, before anything is written."""
    if devices < 1:
        raise ManyviewsError(f"--devices is {devices}; a run needs at least one.")
    ranks = distributed.started() if launched() else devices
    if ranks < 2:
        return
    if recipe.batch % (ranks * recipe.accumulate):
        pieces = f" of {recipe.accumulate} pieces each" if recipe.accumulate > 1 else ""
        raise ManyviewsError(
            f"A batch of {recipe.batch} does not divide among {ranks} devices{pieces}; choose a multiple."
        )
    if launched():
        _require_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), "--nproc-per-node")
        return
    if not isinstance(data, (str, Path)):
        raise ManyviewsError(
            "With several devices, each must be able to open the data by itself: give a folder or a name."
        )
    _require_gpus(devices, "--devices")


def _require_gpus(devices: int, flag: str) -> None:
    if 0 < (there := torch.cuda.device_count()) < devices:
        raise ManyviewsError(f"There are {there} GPUs for {devices} devices; say {flag} {there}.")


def require_workers(workers: int) -> None:
    """Raises ``ManyviewsError`` for fewer processes that decode than none."""
    if workers < 0:
        raise ManyviewsError(
            f"--workers is {workers}; it must be 0, to decode in the training process, or more."
        )


def require_same(digest: str, name: str) -> None:
    """Raises ``ManyviewsError`` on all processes where they have not found the same items: each would number them otherwise."""
    digests = distributed.everyone(digest)
    if len(set(digests)) > 1:
        other = next(rank for rank, found in enumerate(digests) if found != digests[0])
        raise ManyviewsError(
            f"Process {other} has found other items in {name} than the first one: all processes need the same files, on a disk that they "
            "share or copied completely to each node."
        )


def torchrun(arguments: list[str]) -> int:
    """What torchrun does, without its tracebacks; gives its exit status: 130 where it was told to stop."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main(arguments)
    except SignalException:
        return 130
    except ChildFailedError:
        return 1
    return 0


def _end_with_the_launcher() -> None:
    while os.read(0, 1):  # nothing is written, and it ends as the launcher does
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    sys.exit(torchrun(sys.argv[1:]))
