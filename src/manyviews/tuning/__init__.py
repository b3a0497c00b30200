"""Optimisers side by side: each at its own rate, found on the same grid under the same budget and seeds.

At a rate that they share, a comparison of optimisers only tells whom the rate suits.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.errors import ManyviewsError
from manyviews.evaluation import mean_std
from manyviews.files import replacing, write_text
from manyviews.report.drawing import Point, painted, svg
from manyviews.report.race import Race, Runner, picture, race_page
from manyviews.tuning.entrants import FAMILIES, NAMES, RATES, recipe
from manyviews.tuning.task import Learned, Learner, Task
from manyviews.tuning.valley import Valley
from manyviews.tuning.walks import NOISE, Walk, best_walk, walk

__all__ = [
    "FAMILIES",
    "NAMES",
    "RATES",
    "Learned",
    "Learner",
    "Task",
    "Valley",
    "Walk",
    "best_walk",
    "optimisers",
    "recipe",
    "walk",
]

SUFFIXES = (".png", ".svg", ".html")
STEPS = 60  # on the surface
LEVELS = (
    14.0,
    10.0,
    7.0,
    5.0,
    3.6,
    2.5,
    1.6,
    0.9,
    0.4,
    0.1,
)  # of the contours; the saddle's own is among them


def optimisers(
    out: str | Path | None = "optimisers.png",
    *,
    seed: int = 0,
    steps: int = STEPS,
    task: Task | None = None,
    rates: Sequence[float] = RATES,
    command: str | None = None,
    said: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Any]:
    """Let every optimiser find its rate on one surface and on one small task, and draw how it fares there.

    Args:
        out: the picture: .png, .svg (light or dark with its reader) or .html (for a phone too); None: no picture.
        seed: of the net, the order of items and SGD's noise; the runs that are shown have the seeds after it.
        steps: on the surface.
        task: items, batch, epochs and seeds of the task; None: the default.
        rates: the grid.
        command: what the user typed, for the record.
        said: told what has just been found, once an optimiser.

    Returns:
        ``{"rates", "surface": {name: {"rate", "loss"}}, "task": {name: {"rate", "loss", "top1", "diverged", "at_end_of_grid"}},
        "seconds", "out"}``; losses and top-1 of the task as ``{"mean", "std", "n"}``.

    Raises:
        ManyviewsError: an ending that is no picture, a task or a number of steps that cannot be, or a grid that holds no rate an optimiser can live with.
    """
    path = None if out is None else Path(out)
    if path is not None and path.suffix not in SUFFIXES:
        raise ManyviewsError(f"{path} is no picture that can be drawn: end it in {', '.join(SUFFIXES)}")
    if steps < 2:
        raise ManyviewsError(f"With {steps} steps there is no way down the surface: give at least 2")
    started, task, valley = time.monotonic(), task or Task(), Valley()
    learner, surface, learned = Learner(task), {}, {}
    for name in NAMES:
        surface[name] = best_walk(name, valley=valley, steps=steps, rates=rates, seed=seed)
        rate = learner.tune(name, seed, rates)
        learned[name] = learner.runs(name, rate, seed)
        said(f"{name}: {surface[name].rate:g} on the surface, {rate:g} on the task")
    if path is not None:
        race = _race(valley, surface, learned, task, steps)
        settings: dict[str, dict[str, object]] = {
            "task": {**asdict(task), "seed": seed},
            "surface": {**asdict(valley), "steps": steps, "noise of SGD": NOISE},
            "grid": {"rates": tuple(rates)},
        }
        asked = {"steps": (steps, STEPS), "task": (task, Task()), "rates": (tuple(rates), tuple(RATES))}
        more = [f"{name}={value!r}" for name, (value, usual) in asked.items() if value != usual]
        typed = f"manyviews.optimisers({', '.join([repr(str(out)), f'seed={seed}', *more])})"
        _draw(path, race, command or typed, settings)
    return {
        "rates": list(rates),
        "surface": {name: {"rate": walk.rate, "loss": walk.settled} for name, walk in surface.items()},
        "task": {name: _figures(runs, task, rates) for name, runs in learned.items()},
        "seconds": time.monotonic() - started,
        "out": None if path is None else str(path),
    }


def _figures(runs: Sequence[Learned], task: Task, rates: Sequence[float]) -> dict[str, Any]:
    rate = runs[0].rate
    return {
        "rate": rate,
        "loss": mean_std([run.loss[-1] for run in runs]).as_dict(),
        "top1": mean_std([run.top1 for run in runs]).as_dict(),
        "diverged": task.seeds - len(runs),
        "at_end_of_grid": rate in (min(rates), max(rates)),
    }


def _draw(path: Path, race: Race, command: str, settings: dict[str, dict[str, object]]) -> None:
    if path.suffix == ".html":
        write_text(path, race_page(race, command, settings))
    elif path.suffix == ".svg":
        write_text(path, svg(picture(race)))
    else:
        image = painted(picture(race))
        with replacing(path) as file:
            image.save(file, "PNG")


def _race(
    valley: Valley, surface: dict[str, Walk], learned: dict[str, list[Learned]], task: Task, steps: int
) -> Race:
    def runner(name: str) -> Runner:
        walk, runs = surface[name], learned[name]
        top1 = mean_std([run.top1 for run in runs])
        return Runner(
            name,
            walk.rate,
            _points(walk.path),
            walk.settled,
            runs[0].rate,
            [run.loss for run in runs],
            (top1.mean, top1.std),
        )

    return Race(
        title="Ten optimisers, each at its own rate",
        subtitle=(
            f"Paths: {steps} steps on one surface. Curves: {task.epochs} epochs on {task.items:,} images of the embedded "
            f"world, {task.seeds} seeds and their mean. Beside each name, its rate."
        ),
        families={family: [runner(name) for name in of] for family, of in FAMILIES.items()},
        contours=[[_points(outline) for outline in valley.within(level)] for level in LEVELS],
        window=valley.window,
        places={
            name: _points(np.array([[x, float(valley.middle(np.asarray(x)))]]))[0]
            for name, x in (("saddle", valley.saddle), ("minimum", valley.lowest))
        },
        paths_note="A dot is a step",
        curves_note="Training loss after each epoch",
    )


def _points(path: np.ndarray) -> list[Point]:
    return [(float(x), float(y)) for x, y in path]
