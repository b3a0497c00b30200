"""Run a claim: train what is not in the cache yet, seed by seed, and judge. All of them are every.py's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from manyviews.claims import cost, records, store
from manyviews.claims.cache import Cache, Train, folder_of, name_of, trainer
from manyviews.claims.claim import Claim, Found, Measure, Scale, find, scale_of
from manyviews.claims.trial import Trial, trials
from manyviews.claims.verdict import judge
from manyviews.distributed import device
from manyviews.errors import ManyviewsError
from manyviews.machine import about_machine
from manyviews.side import positive, side_by_side

Say = Callable[[str], None]


def claim(
    name: str,
    scale: str = "laptop",
    *,
    seeds: int | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    jobs: int = 1,
    lean: bool = False,
    quiet: bool = False,
    say: Say | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Run the experiment of one claim, and store and give what came out.

    Runs that any claim has trained before are taken from the cache; one that was cut short is resumed.

    Args:
        name: ``manyviews.claimed()`` lists them.
        scale: laptop or gpu.
        seeds: runs an arm; None: as the claim says. A claim that trains nothing takes none.
        cache: where runs are kept; None: ``MANYVIEWS_CACHE``, or the user's cache folder.
        out: the folder of stored results; None: ``docs/claims`` of this checkout, or ``claims`` here.
        jobs: runs side by side, each with its share of the cores.
        lean: keep of each run only its figures, not its encoder.
        quiet: no progress bars.
        say: takes a sentence as each run begins, and where what is stored stays.
        command: what the user typed, for the record.

    Raises:
        ManyviewsError: no such claim or scale, one of its runs cannot be, or runs of the gpu scale are due where there is
            no GPU.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    found = find(name)
    result = run(
        name,
        found,
        scale,
        Cache(folder_of(cache), trainer(quiet)),
        seeds=seeds,
        jobs=jobs,
        lean=lean,
        say=say,
        command=command,
    )
    assert result is not None
    return store.save(result, store.folder_of(out), say)


def run(
    name: str,
    claim: Claim,
    scale: str,
    cache: Cache,
    *,
    seeds: int | None = None,
    jobs: int = 1,
    lean: bool = False,
    say: Say | None = None,
    command: str | None = None,
    deadline: float | None = None,
) -> dict[str, Any] | None:
    """The result of one claim, ready for JSON; None where ``deadline`` (of ``time.monotonic``) came before its end."""
    claim.check(name)
    same = scale_of(name, claim, scale)
    check_numbers(seeds, jobs)
    if claim.exact is not None and seeds is not None:
        raise ManyviewsError(f"The claim '{name}' trains nothing, so it takes no --seeds; leave it out.")
    if claim.exact is not None:
        found = _computed(claim.exact)
    else:
        found = _trained(
            claim, same, cache, range(seeds or same.seeds), jobs=jobs, say=say, deadline=deadline
        )
    if found is None:
        return None
    figures, states = found["figures"], found["states"]
    if missing := [one for one in claim.predictions if not set(one.arms) <= set(figures)]:
        raise ManyviewsError(
            f"The claim '{name}' predicts that {missing[0]}, but what was found has {', '.join(figures)}."
        )
    verdict = judge(claim.predictions, figures, states, best=claim.best, exact=claim.exact is not None)
    if lean:
        for trial in cost.with_those_before(trial for _, trial in trials(claim, same, found["seeds"])):
            cache.lean(trial.digest)
    return {
        "claim": name,
        "sentence": claim.sentence,
        "source": claim.source,
        "scale": scale,
        "predicts": [str(one) for one in claim.predictions],
        "measure": claim.measured,
        "exact": claim.exact is not None,
        "paper": claim.paper,
        **found,
        "verdict": verdict.as_dict(),
        "command": command or f"manyviews.claim({name!r}, {scale!r}{f', seeds={seeds}' if seeds else ''})",
    }


def check_numbers(seeds: int | None, jobs: int) -> None:
    """Raise a ``ManyviewsError`` for fewer seeds or jobs than one."""
    if seeds is not None and seeds < 1:
        raise ManyviewsError(f"--seeds is {seeds}; it must be at least 1.")
    positive(jobs)


def without_gpu(scale: str) -> bool:
    """Whether runs of this scale would take many hours, for there is no GPU here."""
    return scale == "gpu" and device().type == "cpu"


def _computed(exact: Callable[[], Found]) -> dict[str, Any]:
    """What was found where nothing has to be trained."""
    began = time.monotonic()
    figures = {arm: [float(value) for value in values] for arm, values in exact().figures.items()}
    return {
        "arms": dict.fromkeys(figures, ""),
        "same": {},
        "seeds": list(range(len(next(iter(figures.values()))))),
        "figures": figures,
        "states": {},
        "runs": {},
        "seconds": round(time.monotonic() - began, 1),
        **about_machine(),
    }


def _trained(
    claim: Claim,
    scale: Scale,
    cache: Cache,
    seeds: Sequence[int],
    *,
    jobs: int,
    say: Say | None,
    deadline: float | None,
) -> dict[str, Any] | None:
    """What was found by training; None where the deadline came before its end."""
    plan = list(trials(claim, scale, seeds))
    for _, trial in plan:  # whatever is wrong with the settings of any is said before the first is trained
        trial.planned()
    at = "gpu" if scale is claim.gpu else "laptop"
    untrained = {trial.digest for _, trial in plan if cache.kept(trial) is None}
    if untrained and without_gpu(at):
        raise ManyviewsError(
            f"At --scale gpu {len(untrained)} runs are still to be trained, which would take many hours each without a GPU; "
            "give the command where there is one."
        )
    if jobs > 1:
        due = {one.trial.digest: one for one in asked(claim, plan, cache)}
        tasks = {run: partial(ahead, cache.path, one, at, deadline) for run, one in due.items()}
        for number, (run_of, trained) in enumerate(side_by_side(tasks, jobs), start=1):
            if trained and say:
                say(f"run {number} of {len(due)} is done: {due[run_of].name}")
    figures: dict[str, list[float | None]] = {arm: [] for arm in claim.arms}
    states: dict[str, list[str | None]] = {arm: [] for arm in claim.arms}
    for number, (arm, trial) in enumerate(plan, start=1):
        measure = claim.measure_of(arm)
        if _late(trial, [measure], at, cache, deadline):
            return None
        if say and cache.kept(trial) is None:
            say(f"run {number} of {len(plan)}: {arm}, seed {trial.seed}")
        value, state = cache.figure(trial, measure)
        figures[arm].append(value)
        states[arm].append(state)
    trained = {
        trial.digest: cache.kept(trial) or {} for trial in cost.with_those_before(of for _, of in plan)
    }
    return {
        "arms": {arm: str(one) for arm, one in claim.arms.items()},
        "same": dict(scale.same),
        "seeds": list(seeds),
        "figures": figures,
        "states": states,
        "runs": {arm: [trial.digest for of, trial in plan if of == arm] for arm in claim.arms},
        "measures": {arm: name_of(claim.measure_of(arm)) for arm in claim.arms},
        **cost.spent([trial for _, trial in plan], cache),
        **records.in_common(trained),
        "judged": about_machine(),
    }


@dataclass(frozen=True)
class Due:
    """A run that is to be trained and measured ahead."""

    name: str
    trial: Trial
    measures: list[Measure]
    waits: "Due | None" = None  # who waits for it, where no arm measures it

    def late(self, at: str, cache: Cache, deadline: float | None) -> bool:
        """Whether what it is for is not expected to be measured in time."""
        whole = self.waits or self
        return _late(whole.trial, whole.measures, at, cache, deadline)


def asked(claim: Claim, plan: Sequence[tuple[str, Trial]], cache: Cache) -> list[Due]:
    """Every run that is due, once, with all that arms measure of it; those that others begin as or learn from come first,
    for whoever needs one that is at work has to wait for it."""
    due: dict[str, Due] = {}
    for arm, trial in plan:
        if not cache.has(trial, measure := claim.measure_of(arm)):
            due.setdefault(trial.digest, Due(f"{arm}, seed {trial.seed}", trial, [])).measures.append(measure)
    for one in [one for one in due.values() if not cache.whole(one.trial)]:
        for other in cost.with_those_before(one.trial.before.values()):
            if not cache.whole(other):
                due.setdefault(other.digest, Due(f"{other.method} for {one.name}", other, [], waits=one))
    return sorted(due.values(), key=lambda one: len(cost.with_those_before([one.trial])))


def _late(trial: Trial, measures: Sequence[Measure], at: str, cache: Cache, deadline: float | None) -> bool:
    """Whether what is still to be done of a run is not expected to end in time."""
    if deadline is None:
        return False
    left = cost.left(trial, measures, at, cache)
    return left > 0 and time.monotonic() + left > deadline


def ahead(path: Path, one: Due, at: str, deadline: float | None, train: Train | None = None) -> bool:
    """Trains and measures in a process of its own, so that the cache has it; False where the time is too short."""
    cache = Cache(path, train or trainer(quiet=True))
    if one.late(at, cache, deadline):
        return False
    cache.train_once(one.trial)
    for measure in one.measures:
        cache.figure(one.trial, measure)
    return True
