"""Runs side by side, each in a process of its own with its share of the cores.

Small nets leave cores idle: two of them with a core each learn more in an hour than one after the other with two.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from manyviews.claims.cache import Cache, trainer
from manyviews.claims.claim import Measure
from manyviews.claims.trial import Trial
from manyviews.errors import ManyviewsError

Due = tuple[str, Trial, Measure]  # the arm, the run, what is measured of it


def run_ahead(
    due: Sequence[Due],
    cache: Cache,
    jobs: int,
    *,
    say: Callable[[str], None] | None = None,
    deadline: float | None = None,
) -> None:
    """Trains and measures all that is due, ``jobs`` at a time; afterwards it is in the cache.

    No run begins after ``deadline`` (of ``time.monotonic``). Ctrl-C reaches every run, which saves its state.

    Raises:
        ManyviewsError: one of the runs cannot be, or its process was killed: what it had trained is kept.
        KeyboardInterrupt: Ctrl-C, after every run's state was saved.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _share_cores, (threads,))
    try:
        runs = {
            pool.submit(_run, cache.path, trial, measure, deadline): f"{arm}, seed {trial.seed}"
            for arm, trial, measure in due
        }
        for number, run in enumerate(as_completed(runs), start=1):
            if run.result() and say:
                say(f"run {number} of {len(runs)} is done: {runs[run]}")
    except BrokenProcessPool as error:
        raise ManyviewsError(
            "The process of a run was killed; what it had trained is kept. Run the claim again, with fewer --jobs if memory "
            "was short."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _share_cores(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _run(path: Path, trial: Trial, measure: Measure, deadline: float | None) -> bool:
    """Whether there was time for it."""
    if deadline is not None and time.monotonic() > deadline:
        return False
    Cache(path, trainer(quiet=True)).figure(trial, measure)
    return True
