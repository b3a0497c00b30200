"""Runs side by side, each in a process of its own with its share of the cores.

Small nets leave cores idle, which runs side by side can use.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from manyviews.errors import ManyviewsError

T = TypeVar("T")


def side_by_side(tasks: Mapping[str, Callable[[], T]], jobs: int) -> Iterator[tuple[str, T]]:
    """Does all tasks, ``jobs`` at a time, and gives name and result of each as it is done.

    Tasks and results travel between processes, so they must be picklable: ``functools.partial`` of a function that a
    module defines.

    Raises:
        ManyviewsError: one of the tasks cannot be done, or its process was killed: what it had saved is kept.
        KeyboardInterrupt: Ctrl-C, after every task that runs has ended by it.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _share_cores, (threads,))
    try:
        names = {pool.submit(task): name for name, task in tasks.items()}
        for done in as_completed(names):
            yield names[done], done.result()
    except BrokenProcessPool as error:
        raise ManyviewsError(
            "The process of a run was killed; what it had trained is kept. Give the same command again, with fewer --jobs if "
            "memory was short."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def positive(jobs: int) -> None:
    """Raises `ManyviewsError` for fewer jobs than one."""
    if jobs < 1:
        raise ManyviewsError(f"--jobs is {jobs}; it must be at least 1.")


def _share_cores(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
