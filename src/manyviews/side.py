"""Runs side by side, each in a process of its own with its share of the cores.

Small nets leave cores idle, which runs side by side can use.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TypeVar

from manyviews.errors import ManyviewsError

T = TypeVar("T")
PATIENCE = 5.0  # seconds in which a process without its parent saves, before it is told again


def side_by_side(tasks: Mapping[str, Callable[[], T]], jobs: int) -> Iterator[tuple[str, T]]:
    """Does all tasks, ``jobs`` at a time, and gives name and result of each as it is done.

    Tasks and results travel between processes, so they must be picklable: ``functools.partial`` of a function that a
    module defines. No task is handed out before a process is free for it, so none begins once one has failed; and where
    this process is killed, the others save what they have and end too.

    Raises:
        ManyviewsError: one of the tasks cannot be done, or its process was killed: what it had saved is kept.
        KeyboardInterrupt: Ctrl-C, after every task that runs has ended by it.
    """
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _share_cores, (share_of_cores(jobs),))
    waiting = iter(tasks.items())
    running: dict[Future[T], str] = {}
    try:
        while True:
            running |= {
                pool.submit(task): name for name, task in islice(waiting, max(0, jobs - len(running)))
            }
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield running.pop(each), each.result()
    except BrokenProcessPool as error:
        _end(list(pool._processes.values()))
        raise ManyviewsError(
            "The process of a run was killed; what it had trained is kept. Give the same command again, with a smaller --jobs if "
            "memory ran out."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end(processes: Iterable[BaseProcess]) -> None:
    """Tell each again, until it ends: the pool has told them once, which a run takes as the wish to save, and who has saved may
    wait for ever for a lock that the killed one held."""
    for process in processes:
        while process.is_alive():
            process.join(PATIENCE)
            process.terminate()


def positive(jobs: int) -> None:
    """Raises `ManyviewsError` for fewer jobs than one."""
    if jobs < 1:
        raise ManyviewsError(f"--jobs is {jobs}; it must be at least 1.")


def share_of_cores(jobs: int) -> int:
    """Threads of each of so many processes."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def _share_cores(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A run takes the first of these signals as the wish to save; whatever does not run ends by it."""
    if (parent := parent_process()) is None:
        return
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
