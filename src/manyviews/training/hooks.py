"""What watches a run: the log of its figures, the progress bar, the checkpoints. None of them changes the run."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.files import naming, write_text
from manyviews.machine import PeakMemory
from manyviews.training import checkpoint
from manyviews.training.finite import ill_weights, stop_all
from manyviews.training.progress import Moment

LINES = 200  # even marks of a run at which a line is logged


class Saver:
    """Writes a checkpoint at once where there is none, every ``every`` seconds and at the end, never one of weights that
    are not finite.

    Raises `Diverged`, on every rank, where they are not, which a finite loss does not tell: the loss is that before the
    step.
    """

    def __init__(self, folder: Path, every: float = 30.0) -> None:
        self.folder, self.every = folder, every
        self.last: float | None = None if checkpoint.listed(folder) else -math.inf

    def __call__(self, moment: Moment) -> None:
        if self.last is None:
            self.last = moment.seconds
        if not (moment.seconds - self.last >= self.every or moment.ends):
            return
        if distributed.added(not torch.isfinite(moment.loss))[0]:
            return  # the loop stops at the next step, and names the batch
        state = moment.state()  # all ranks ask, one writes
        stop_all(ill_weights(state["method"], moment.step) if distributed.is_main() else None)
        if distributed.is_main():
            checkpoint.save(self.folder, moment.step, state)
        self.last = None  # from the next step on, so that what saving takes does not count

    def kept(self) -> str:
        """What is left of a run that broke, in words."""
        for path in checkpoint.listed(self.folder):
            return f"step {checkpoint.step_of(path)} is the last that was saved"
        return "no step was saved"


class Log:
    """One JSON line and one set of TensorBoard scalars at ``lines`` even marks of the run, every ``every`` seconds, at each
    monitor's word and at the end.

    ``loss`` is the step's, ``loss_mean`` that of all steps since the line before. They and what the method logs are means over
    the ranks, which all take part in a line; rank 0 writes it. A run that resumes at step k first drops the lines past k, so
    the log is that of one unbroken run.
    """

    def __init__(self, folder: Path, step: int = 0, every: float = 2.0, lines: int = LINES) -> None:
        self.path, self.board_folder = folder / "metrics.jsonl", folder / "tensorboard"
        self.every, self.lines = every, lines
        self.last, self.board = -math.inf, None
        self.seen: tuple[int, float] | None = None
        self.losses: list[Tensor] = []  # since the last line
        self.before = 0.0  # progress at the step before
        self.memory = PeakMemory()
        self.step = step
        if distributed.is_main():
            _drop_after(self.path, step)
        distributed.barrier()  # before any of them reads it

    def __call__(self, moment: Moment) -> None:
        if self.seen is None:
            self.seen = (moment.items, moment.seconds)
        self.losses.append(moment.loss.detach())
        even, self.before = at_mark(self.before, moment.progress, self.lines), moment.progress
        if not (even or moment.seconds - self.last >= self.every or moment.looked or moment.ends):
            return
        self.last, means = moment.seconds, _means(moment, torch.stack(self.losses).mean())
        self.losses.clear()
        if not distributed.is_main():
            return
        (items, seconds), self.seen = self.seen, (moment.items, moment.seconds)
        speed = (moment.items - items) / max(1e-9, moment.seconds - seconds) if moment.items > items else None
        row = {
            "step": moment.step,
            "epoch": round(moment.epoch, 4),
            "progress": round(moment.progress, 6),
            "seconds": round(moment.seconds, 3),
            "items": moment.items,
            "items_per_s": speed and round(speed, 1),
            "lr": moment.lr,
            "loss": means["loss"],
            "memory_mib": self.memory.mib(),
            **(moment.log | means),
        }
        with naming(self.path), open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        with naming(self.board_folder):
            self._scalars(row)
            if moment.ends and self.board is not None:
                self.board.close()

    def _scalars(self, row: dict[str, Any]) -> None:
        if self.board is None:
            from torch.utils.tensorboard import SummaryWriter  # half a second to import: after the first step

            self.board = SummaryWriter(
                str(self.board_folder), purge_step=self.step + 1 if self.step else None
            )
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "step":
                self.board.add_scalar(name, value, row["step"])


def at_mark(before: float, progress: float, marks: int = LINES) -> bool:
    """Whether a step passes one of so many even marks of the run."""
    return int(progress * marks + 1e-9) > int(before * marks + 1e-9)


def at_line(step: int, steps: int) -> bool:
    """Whether the log has a line of a step of a run of so many, however fast that was."""
    return at_mark((step - 1) / steps, step / steps)


def _means(moment: Moment, loss_mean: Tensor) -> dict[str, float]:
    """The losses and what the method logs, over all ranks, in one collective."""
    losses = {"loss": moment.loss, "loss_mean": loss_mean}
    scalars = losses | {name: x for name, x in moment.log.items() if isinstance(x, Tensor)}
    stacked = torch.stack([x.to(moment.loss.device, torch.float64) for x in scalars.values()])
    return dict(zip(scalars, distributed.all_reduce_mean(stacked).tolist(), strict=True))


def logged(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; one cut short by a kill is left out. None where there is no file yet."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_after(path: Path, step: int) -> None:
    if path.exists():
        write_text(path, "".join(json.dumps(row) + "\n" for row in logged(path) if row["step"] <= step))


class Bar:
    """One line on stderr: share done, loss (of rank 0's part of a batch), items/s, time left, and the newest word on the
    representation.
    """

    def __init__(self, title: str, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.words = ""
        self.rate = _Rate()
        self.console = Console(stderr=True)
        self.quiet = quiet or not distributed.is_main()
        self.live = self.console.is_terminal and not self.quiet
        self.spoken = time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"),
            TextColumn("{task.fields[words]}"), TimeRemainingColumn(), console=self.console, transient=True,
        )  # fmt: skip
        self.task = self.progress.add_task(title, total=1.0, words="")
        self.title = title
        if self.live:
            self.progress.start()

    def __call__(self, moment: Moment) -> None:
        if self.quiet:
            return
        if "verdict" in moment.log:
            knn = f"kNN {moment.log['knn']:.1%}  " if "knn" in moment.log else ""
            self.words = f"{knn}{moment.log['verdict']}"
        due = time.monotonic() - self.spoken >= (0.2 if self.live else 15.0)
        if not (due or moment.ends):
            return
        self.spoken = time.monotonic()
        text = f"loss {float(moment.loss):.3f}  {self.rate(moment):,.0f} items/s  {self.words}"
        if self.live:
            self.progress.update(self.task, completed=moment.progress, words=text)
        else:
            print(f"{self.title} {moment.progress:4.0%}  {text}", file=sys.stderr, flush=True)
        if moment.ends:
            self.close()

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        if self.live:
            self.progress.stop()


class _Rate:
    """Items a second since fifty lines ago, which is ten seconds where the line is live."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def __call__(self, moment: Moment) -> float:
        self.marks = [*self.marks[-50:], (moment.seconds, moment.items)]
        (start, first), (end, last) = self.marks[0], self.marks[-1]
        return (last - first) / (end - start) if end > start else moment.items / max(1e-9, moment.seconds)


def _said_at_once(text: str) -> None:
    # A signal may come while a print is under way, which cannot begin another.
    with suppress(OSError):  # nobody may be there to read it
        os.write(2, f"{text}\n".encode())


class Interrupt:
    """Ctrl-C or SIGTERM asks the run to finish its step, save and stop; a second Ctrl-C stops at once.

    A second SIGTERM does not: whoever ends a group of processes sends it to each, and those hand it on.
    """

    def __init__(self, say: Callable[[str], None] = _said_at_once) -> None:
        self.asked, self.say, self.previous = False, say, {}

    def __call__(self) -> bool:
        return self.asked

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _asked(self, number: int, frame: object) -> None:
        if self.asked:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.asked = True
        self.say("\nstopping after this step; press Ctrl-C again to stop at once")
