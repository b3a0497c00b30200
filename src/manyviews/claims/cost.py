"""What a claim costs: measured where its runs are in the cache, else expected from their length and the speed of others."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from statistics import median
from typing import Any, NamedTuple

import torch

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
        took = stored["seconds"] + stored.get("beside", 0.0)
        return {"seconds": took, "measured": True, "left": still.seconds, **last}
    kept = [cache.kept(trial) or {} for trial in runs_of(claim, scale)]
    have = sum(each.get("seconds", 0.0) + each.get("beside", 0.0) for each in kept)
    return {"seconds": have + still.seconds, "measured": still.measured, "left": still.seconds, **last}


def due(
    claim: Claim,
    scale: Scale,
    cache: Cache,
    seeds: int | None = None,
    stored: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> Cost:
    """What is still to be trained and measured, by so many threads a run or as many as this process has; of what is computed
    anew each time, what it took last."""
    if claim.exact is not None:
        return Cost(0.0 if stored is None else stored["seconds"], True)
    at = "gpu" if scale is claim.gpu else "laptop"
    asked: dict[str, list[Measure]] = {}
    every = _all(claim, scale, seeds)
    for arm, trial in every:
        asked.setdefault(trial.digest, []).append(claim.measure_of(arm))
    parts: dict[str, float] = {}
    for trial in {trial.digest: trial for _, trial in every}.values():
        for digest, seconds in _parts(trial, asked[trial.digest], at, cache, threads).items():
            parts[digest] = max(seconds, parts.get(digest, 0.0))
    seconds = sum(parts.values())
    return Cost(seconds, not seconds)


def left(trial: Trial, measures: Sequence[Measure], at: str, cache: Cache) -> float:
    """Seconds that a run is expected to take yet, to be trained and measured, with those that come before it; 0 where all
    is there."""
    return sum(_parts(trial, measures, at, cache).values())


def _parts(
    trial: Trial, measures: Sequence[Measure], at: str, cache: Cache, threads: int | None = None
) -> dict[str, float]:
    """The same by run: those before it count where it has to be trained, and if all but their figures was dropped."""
    own = _left(trial, measures, at, cache, threads)
    if not own or cache.whole(trial):
        return {trial.digest: own}
    before = [each for each in with_those_before([trial]) if each.digest != trial.digest]
    due = {each.digest: _left(each, (), at, cache, threads, needed=True) for each in before}
    return due | {trial.digest: own}


def runs_of(claim: Claim, scale: Scale, seeds: int | None = None) -> list[Trial]:
    """All runs of a claim, and those before them, each once."""
    return with_those_before(trial for _, trial in _all(claim, scale, seeds))


def spent(trials: Iterable[Trial], cache: Cache) -> dict[str, float]:
    """Seconds that went into these runs and those that they begin as or learn from, each counted once: of training; and beside
    it, to begin, to end and to measure, as far as that is known."""
    kept = [cache.kept(trial) or {} for trial in with_those_before(trials)]
    return {part: round(sum(each.get(part, 0.0) for each in kept), 1) for part in ("seconds", "beside")}


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


def _left(
    trial: Trial,
    measures: Sequence[Measure],
    at: str,
    cache: Cache,
    threads: int | None,
    needed: bool = False,
) -> float:
    """Of the run alone; where it is ``needed`` by another, it has to have its encoder."""
    kept = cache.kept(trial)
    trained = kept is not None and (not needed or "diverged" in kept or cache.whole(trial))
    if trained and all(cache.has(trial, measure) for measure in measures):
        return 0.0
    _, _, recipe = trial.planned()
    speed, beside = _pace(trial.method, recipe, at, cache, threads or torch.get_num_threads())
    if trained and cache.whole(trial):
        return beside
    budget = Budget.parse(recipe.budget)
    training = budget.amount if budget.unit == "seconds" else _items(trial.data, budget, recipe) / speed
    return training + beside


def _items(data: str, budget: Budget, recipe: Recipe) -> float:
    size = ITEMS["train"] if data.startswith("world") else SET
    return budget.amount * {"epochs": size, "steps": recipe.batch, "items": 1}[budget.unit]


def _pace(method: str, recipe: Recipe, at: str, cache: Cache, threads: int) -> tuple[float, float]:
    """Items a second and the seconds beside training: of runs in the cache of the same method and net and size, else of
    the same net and size, else guesses; of such runs those that had as many threads, where there are any."""
    runs = _paces(cache.path, sum(1 for _ in cache.path.glob("*/figures.json")))
    alike = [(of, pace) for of, pace in runs if of.shaped == (recipe.net, recipe.size)]
    alike = [(of, pace) for of, pace in alike if of.method == method] or alike
    alike = [pace for of, pace in alike if of.threads == threads] or [pace for _, pace in alike]
    besides = [beside for _, beside in alike if beside is not None]
    return median([speed for speed, _ in alike] or [SPEED[at]]), median(besides or [MEASURING])


class _Of(NamedTuple):
    """What the pace of a run depends on."""

    method: str
    shaped: tuple[str, int]  # net and size
    threads: int | None


@remembered
def _paces(folder: Any, runs: int) -> list[tuple[_Of, tuple[float, float | None]]]:
    """Items a second of each run in the cache, and what it took beside training where that is known; ``runs`` are there, so
    that new ones are read.

    A damaged one says nothing of speed; whoever needs it is told by the cache.
    """
    found = []
    for file in folder.glob("*/figures.json"):
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            last = kept["last"]
            facts = json.loads((file.parent / "trial.json").read_text(encoding="utf-8"))
            if last.get("seconds") and last.get("items"):
                shaped = facts["recipe"]["net"], facts["recipe"]["size"]
                of = _Of(facts["method"], shaped, (kept.get("machine") or {}).get("threads"))
                found.append((of, (last["items"] / last["seconds"], kept.get("beside"))))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return found
