"""What a claim costs: measured where its runs are in the cache, else expected from their length and the speed of others."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from statistics import median
from typing import Any

from manyviews.claims.cache import Cache
from manyviews.claims.claim import Claim, Measure, Scale
from manyviews.claims.stale import SETTINGS, stale
from manyviews.claims.trial import Trial, trials
from manyviews.data.world import ITEMS
from manyviews.recipe import Budget, Recipe

SPEED = {"laptop": 300.0, "gpu": 6000.0}  # items a second before anything was measured: guesses
MEASURING = 15.0  # seconds to begin a run and to measure it: likewise
SET = 50_000  # items of a set whose size is not known here: that of CIFAR-10


@dataclass(frozen=True)
class Cost:
    """Seconds, and whether all of them were measured."""

    seconds: float
    measured: bool

    def __str__(self) -> str:
        return ("" if self.measured else "about ") + in_words(self.seconds)


def in_words(seconds: float) -> str:
    """12 s, 4 min, 1.5 h."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def of(claim: Claim, scale: Scale, cache: Cache, stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row of ``manyviews claims``: what the claim costs at a scale in all, what of it is left, its last verdict, and
    whether that is ``stale``."""
    last: dict[str, Any] = {"verdict": None, "stale": None}
    if stored is not None:
        last = {"verdict": stored["verdict"]["state"], "stale": stale(claim, stored)}
    if claim.exact is not None:
        return {"seconds": stored and stored["seconds"], "measured": True, "left": 0.0, **last}
    still = due(claim, scale, cache)
    if stored is not None and still.seconds and last["stale"] != SETTINGS:  # trained elsewhere
        return {"seconds": stored["seconds"], "measured": True, "left": still.seconds, **last}
    kept = [cache.kept(trial) or {} for trial in runs_of(claim, scale)]
    have = sum(each.get("seconds", 0.0) + each.get("beside", 0.0) for each in kept)
    return {"seconds": have + still.seconds, "measured": still.measured, "left": still.seconds, **last}


def due(claim: Claim, scale: Scale, cache: Cache, seeds: int | None = None) -> Cost:
    """What is still to be trained and measured."""
    if claim.exact is not None:
        return Cost(0.0, True)
    at = "gpu" if scale is claim.gpu else "laptop"
    asked: dict[str, list[Measure]] = {}
    for arm, trial in _all(claim, scale, seeds):
        asked.setdefault(trial.digest, []).append(claim.measure_of(arm))
    seconds = sum(
        _left(trial, asked.get(trial.digest, ()), at, cache) for trial in runs_of(claim, scale, seeds)
    )
    return Cost(seconds, not seconds)


def left(trial: Trial, measures: Sequence[Measure], at: str, cache: Cache) -> float:
    """Seconds that a run is expected to take yet, to be trained and measured, with those that come before it; 0 where all
    is there."""
    own = _left(trial, measures, at, cache)
    if not own or cache.whole(trial):
        return own
    before = [each for each in with_those_before([trial]) if each.digest != trial.digest]
    return own + sum(_left(each, (), at, cache, needed=True) for each in before)


def runs_of(claim: Claim, scale: Scale, seeds: int | None = None) -> list[Trial]:
    """All runs of a claim, and those before them, each once."""
    return with_those_before(trial for _, trial in _all(claim, scale, seeds))


def spent(trials: Iterable[Trial], cache: Cache) -> float:
    """Seconds of training that went into these runs and those that they begin as or learn from, each counted once."""
    kept = [cache.kept(trial) for trial in with_those_before(trials)]
    return sum(each["seconds"] for each in kept if each is not None)


def _all(claim: Claim, scale: Scale, seeds: int | None = None) -> list[tuple[str, Trial]]:
    return list(trials(claim, scale, range(seeds or scale.seeds)))


def with_those_before(trials: Iterable[Trial]) -> list[Trial]:
    """The runs, and those that they begin as or learn from, each once."""
    found: dict[str, Trial] = {}
    due = list(trials)
    while due:
        trial = due.pop()
        found[trial.digest] = trial
        due += trial.before.values()
    return list(found.values())


def _left(trial: Trial, measures: Sequence[Measure], at: str, cache: Cache, needed: bool = False) -> float:
    """Of the run alone; where it is ``needed`` by another, it has to have its encoder."""
    trained = cache.kept(trial) is not None and (cache.whole(trial) or not needed)
    if trained and all(cache.has(trial, measure) for measure in measures):
        return 0.0
    _, _, recipe = trial.planned()
    speed, beside = _pace(trial.method, recipe, at, cache)
    if trained and cache.whole(trial):
        return beside
    budget = Budget.parse(recipe.budget)
    training = budget.amount if budget.unit == "seconds" else _items(trial.data, budget, recipe) / speed
    return training + beside


def _items(data: str, budget: Budget, recipe: Recipe) -> float:
    size = ITEMS["train"] if data.startswith("world") else SET
    return budget.amount * {"epochs": size, "steps": recipe.batch, "items": 1}[budget.unit]


def _pace(method: str, recipe: Recipe, at: str, cache: Cache) -> tuple[float, float]:
    """Items a second and the seconds beside training: of runs in the cache of the same method and net and size, else of
    the same net and size, else guesses."""
    runs = _paces(cache.path, sum(1 for _ in cache.path.glob("*/figures.json")))
    alike = [pace for of, pace in runs if of == (method, recipe.net, recipe.size)]
    alike = alike or [pace for of, pace in runs if of[1:] == (recipe.net, recipe.size)]
    besides = [beside for _, beside in alike if beside is not None]
    return median([speed for speed, _ in alike] or [SPEED[at]]), median(besides or [MEASURING])


@remembered
def _paces(folder: Any, runs: int) -> list[tuple[tuple[str, str, int], tuple[float, float | None]]]:
    """Items a second of each run in the cache, and what it took beside training where that is known, by method, net and
    size; ``runs`` are there, so that new ones are read.

    A damaged one says nothing of speed; whoever needs it is told by the cache.
    """
    found = []
    for file in folder.glob("*/figures.json"):
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            last = kept["last"]
            facts = json.loads((file.parent / "trial.json").read_text(encoding="utf-8"))
            if last.get("seconds") and last.get("items"):
                of = (facts["method"], facts["recipe"]["net"], facts["recipe"]["size"])
                found.append((of, (last["items"] / last["seconds"], kept.get("beside"))))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return found
