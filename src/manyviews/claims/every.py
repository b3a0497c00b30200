"""All claims: as many as fit into a budget of time, and what each of them costs."""

import math
import time
import traceback
from pathlib import Path
from typing import Any

from manyviews.claims import cost, store
from manyviews.claims.cache import Cache, folder_of, trainer
from manyviews.claims.claim import Claim, check_scale, everything, pages
from manyviews.claims.engine import Say, check_numbers, run, without_gpu
from manyviews.claims.stale import stale
from manyviews.errors import ManyviewsError
from manyviews.recipe import Budget
from manyviews.side import share_of_cores


def claim_all(
    budget: str | None = None,
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
) -> dict[str, dict[str, Any]]:
    """All claims that fit into a budget of time; called again, it goes on where it stopped.

    Those that have no verdict of today's code come before those that have one, the cheapest first; what has to be trained
    and measured yet decides what a claim costs. No run begins that is not expected to end in time. A claim that cannot run is said, whatever the reason,
    and the others go on; so is the one that comes next where time is over.

    Args:
        budget: 2h, 30m ...; None: all of them.
        scale, cache, out, jobs, lean, quiet, say, command: as in ``claim``.
        seeds: likewise, of the claims that train.

    Returns:
        The results by name, in the order in which they came.

    Raises:
        ManyviewsError: none of them could be run.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    seconds = _seconds(budget)
    check_numbers(seeds, jobs)
    tell = say or (lambda _: None)
    kept = Cache(folder_of(cache), trainer(quiet))
    known = {name: one for name, one in everything().items() if scale in one.scales}
    if not known:
        raise ManyviewsError(f"No claim is written for --scale {scale}.")
    started, results, done = time.monotonic(), {}, list[Claim]()
    failed: dict[str, Exception] = {}
    before = {name: _stored(name, scale, store.folder_of(out)) for name in known}
    settled = {name for name, one in known.items() if _settled(one, scale, seeds, before[name])}
    threads = share_of_cores(jobs)
    # What one has trained makes others cheaper.
    while dues := _dues(known, scale, kept, seeds, before, threads, failed, tell):
        left = math.inf if seconds is None else seconds - (time.monotonic() - started)
        order = sorted(
            dues, key=lambda each: (each in settled and dues[each].seconds > 0, dues[each].seconds, each)
        )
        name = next((each for each in order if dues[each].seconds / jobs <= left), order[0])
        if without_gpu(scale) and (untrained := _untrained(known, scale, kept, seeds)):
            for each in untrained:
                failed[each] = ManyviewsError("It has runs to train, and there is no GPU here.")
                del known[each]
            tell(f"{len(untrained)} claims have runs to train, and there is no GPU here.")
            continue
        if dues[name].seconds / jobs > left:
            tell(f"{len(known)} claims do not fit; {name} is next and would take {dues[name]}")
            break
        deadline = None if seconds is None else started + seconds
        one = known.pop(name)
        own_seeds = None if one.exact is not None else seeds
        try:
            result = run(
                name,
                one,
                scale,
                kept,
                seeds=own_seeds,
                jobs=jobs,
                say=say,
                command=None if command is None else _command(name, scale, own_seeds),
                deadline=deadline,
            )
            if result is None:
                tell(f"the time left is too short for {name}")
                continue
            results[name] = store.save(result, store.folder_of(out), say)
            done.append(one)
        except Exception as error:  # a defect of one claim costs no night of the others
            _failed(name, error, failed, tell)
    if lean:  # at the end, for others may have needed a run
        for one in done:
            for trial in cost.runs_of(one, one.scales[scale], seeds):
                kept.lean(trial.digest)
    if failed and not results:
        first, error = next(iter(failed.items()))
        raise ManyviewsError(f"No claim could be run; the first, {first}: {error}") from error
    return results


def _untrained(known: dict[str, Claim], scale: str, cache: Cache, seeds: int | None) -> list[str]:
    """Those with runs that are still to be trained."""
    return [
        name
        for name, one in known.items()
        if any(cache.kept(trial) is None for trial in cost.runs_of(one, one.scales[scale], seeds))
    ]


def _stored(name: str, scale: str, folder: Path) -> dict[str, Any] | None:
    """What was found before; None of a damaged result, which is said when its turn comes."""
    try:
        return store.load(name, scale, folder)
    except ManyviewsError:
        return None


def _settled(claim: Claim, scale: str, seeds: int | None, stored: dict[str, Any] | None) -> bool:
    """Whether a claim that trains has a stored verdict of today's code, of as many seeds as are asked for."""
    if claim.exact is not None or stored is None:
        return False
    try:
        if stale(claim, stored) is not None:
            return False
    except ManyviewsError:  # settings that cannot be: it is said when its turn comes
        return False
    return len(stored["seeds"]) >= (seeds or claim.scales[scale].seeds)


def _dues(
    known: dict[str, Claim],
    scale: str,
    cache: Cache,
    seeds: int | None,
    stored: dict[str, dict[str, Any] | None],
    threads: int,
    failed: dict[str, Exception],
    tell: Say,
) -> dict[str, cost.Cost]:
    """What each claim still costs; those of which that cannot be said go from ``known`` to ``failed``."""
    dues = {}
    for name, one in list(known.items()):
        try:
            dues[name] = cost.due(one, one.scales[scale], cache, seeds, stored[name], threads)
        except Exception as error:
            del known[name]
            _failed(name, error, failed, tell)
    return dues


def _failed(name: str, error: Exception, failed: dict[str, Exception], tell: Say) -> None:
    """Say that a claim cannot be run; what is no plain error is a defect, and shown whole."""
    failed[name] = error
    kind = "" if isinstance(error, ManyviewsError) else f"{type(error).__name__}: "
    tell(f"{name} cannot be run: {kind}{error}")
    if kind:
        traceback.print_exception(error)


def _command(name: str, scale: str, seeds: int | None) -> str:
    """What repeats one of them alone."""
    return f"manyviews claim {name} --scale {scale}" + (f" --seeds {seeds}" if seeds else "")


def _seconds(budget: str | None) -> float | None:
    if budget is None:
        return None
    parsed = Budget.parse(budget)
    if parsed.unit != "seconds":
        raise ManyviewsError(f"--budget is {budget}; for claims it is a time, such as 30m or 2h.")
    return parsed.amount


def claimed(
    scale: str | None = None, *, cache: str | Path | None = None, out: str | Path | None = None
) -> dict[str, dict[str, Any]]:
    """All claims by name: ``paper``, ``sentence``, ``source``, ``predicts``; by scale what each costs, its last verdict
    and whether that is stale.

    Args:
        scale: only those that can be run at this scale; None: all.
        cache: where runs are kept; those that are there cost nothing again.
        out: the folder of stored results.

    Returns:
        ``{name: {..., "scales": {"laptop": {"seconds", "measured", "left", "verdict", "stale"}}}}``; ``measured`` says whether
        ``seconds`` were measured or are expected, ``left`` are those still to be spent; ``stale`` is None or, where the
        verdict is not of today's claim, says what it is of: "of older settings", "of older code".
    """
    if scale is not None:
        check_scale(scale)
    kept, folder = Cache(folder_of(cache), trainer()), store.folder_of(out)
    return {
        name: {
            "paper": page.title,
            **{key: getattr(one, key) for key in ("sentence", "source")},
            "predicts": [str(prediction) for prediction in one.predictions],
            "scales": {
                at: cost.of(one, same, kept, store.load(name, at, folder)) for at, same in one.scales.items()
            },
        }
        for page in pages()
        for name, one in page.claims.items()
        if scale is None or scale in one.scales
    }
