"""Runs that claims have in common: each is trained once, and what it gave is kept.

A run's folder in the cache is named by the digest of its ``Trial`` and holds ``trial.json`` (what it was), ``run/`` (the
run itself, not judged) and ``figures.json`` (what it gave, and all that is needed afterwards). A run that
was cut short is resumed from its checkpoint; one that another process trains is waited for.
"""

import hashlib
import inspect
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from manyviews import learn
from manyviews.claims.claim import Measure
from manyviews.claims.measures import mean_loss
from manyviews.claims.predictions import DIVERGED
from manyviews.claims.records import RECORD
from manyviews.claims.trial import Trial, syntax_of
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation import PROTOCOLS
from manyviews.files import alone, write_json
from manyviews.runs import Run

Train = Callable[[Trial, Path, Mapping[str, Path]], Run]  # the trial, its folder, those of the runs before it


def trainer(quiet: bool = False) -> Train:
    """Trains by ``learn.pretrain``, or goes on with what is there by ``learn.resume``; what is asked of a run is measured
    afterwards."""

    def train(trial: Trial, folder: Path, before: Mapping[str, Path]) -> Run:
        if (folder / "run.json").exists():
            run = Run.open(folder)
            return run if run.finished else learn.resume(folder, quiet=quiet, judged=False)
        shutil.rmtree(folder, ignore_errors=True)  # killed before it had begun
        told: dict[str, Any] = trial.changes | {name: str(path) for name, path in before.items()}
        how: dict[str, Any] = {"out": folder, "baselines": (), "quiet": quiet, "judged": False}
        return learn.pretrain(trial.method, trial.data, **how, **told)

    return train


def folder_of(cache: str | Path | None = None) -> Path:
    """Where runs are kept: ``cache``, or ``MANYVIEWS_CACHE``, or ``manyviews/claims`` in the user's cache folder."""
    if given := cache or os.environ.get("MANYVIEWS_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "manyviews" / "claims"


@dataclass(frozen=True)
class Cache:
    """A folder of runs."""

    path: Path
    train: Train

    def folder(self, trial: Trial) -> Path:
        return self.path / trial.digest

    def kept(self, trial: Trial) -> dict[str, Any] | None:
        """What the run gave; None where it has not been to its end."""
        file = self.folder(trial) / "figures.json"
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ManyviewsError(
                f"{file} is not whole JSON ({error}); remove it, and the run is measured again."
            ) from error

    def has(self, trial: Trial, measure: Measure) -> bool:
        """Whether a figure is there without training or measuring."""
        kept = self.kept(trial)
        return kept is not None and _told(kept, measure) is not None

    def whole(self, trial: Trial) -> bool:
        """Whether the run has its encoder still."""
        return (self.folder(trial) / "run" / "encoder.safetensors").exists()

    def train_once(self, trial: Trial) -> None:
        """Train it to its end, where it has no encoder yet; one that diverged stays as it is."""
        with _alone(self.folder(trial)), suppress(Diverged):
            self._whole(trial)

    def figure(self, trial: Trial, measure: Measure) -> tuple[float | None, str | None]:
        """A figure of the run and the monitor's word on it, trained first where it has not been.

        Raises:
            ManyviewsError: the run cannot be, or has no such figure.
            KeyboardInterrupt: Ctrl-C, after the run's state was saved.
        """
        with _alone(self.folder(trial)):
            kept = self.kept(trial) or self._run(trial)
            if (told := _told(kept, measure)) is not None:
                return told
            again = not self.whole(trial)  # which is no part of what measuring takes
            began = time.monotonic()
            kept["measured"][name_of(measure)] = value = self._measured(trial, measure)
            if not again:
                kept["beside"] = kept.get("beside", 0.0) + time.monotonic() - began
            write_json(self.folder(trial) / "figures.json", kept)
            return value, kept["last"].get("verdict")

    def _run(self, trial: Trial) -> dict[str, Any]:
        """Train to the end and keep what it gave; a run whose loss became no number is a result too."""
        folder = self.folder(trial)
        write_json(folder / "trial.json", trial.facts())
        afresh, began = not (folder / "run").exists(), None
        try:
            before = self._before(trial)
            began = time.monotonic()
            run = self.train(trial, folder / "run", before)
        except Diverged as error:
            kept = {
                "diverged": str(error),
                "last": {"verdict": DIVERGED},
                "seconds": _seconds(folder / "run"),
            }
        else:
            rows, figures = run.metrics(), run.results().get("figures", {})
            last = rows[-1] | {"loss": mean_loss(rows)}
            kept = {
                "figures": figures.get("this encoder", {}),
                "last": last,
                "seconds": last.get("seconds", 0.0),
            }
            if last.get("finite") is False:
                kept |= {
                    "diverged": "Its embeddings are not finite numbers.",
                    "last": last | {"verdict": DIVERGED},
                }
        if (folder / "run" / "run.json").exists():
            settings = Run.open(folder / "run").settings
            kept |= {name: settings.get(name) for name in RECORD}
        if afresh:  # what it took beside its steps; of a run that was cut short nobody knows
            took = 0.0 if began is None else time.monotonic() - began
            kept["beside"] = max(0.0, took - kept["seconds"])
        kept["measured"] = {}
        write_json(folder / "figures.json", kept)
        return kept

    def _before(self, trial: Trial) -> dict[str, Path]:
        """The folders of the runs that this one needs, trained where they have not been."""
        found = {}
        for name, other in trial.before.items():
            with _alone(self.folder(other)):
                found[name] = self._whole(other).path
        return found

    def _whole(self, trial: Trial) -> Run:
        """The run with its encoder, trained again where only its figures were kept (``--lean``)."""
        kept, folder = self.kept(trial) or self._run(trial), self.folder(trial) / "run"
        if kept.get("diverged"):
            raise Diverged(f"{trial} has no encoder to go on with: {kept['diverged']}")
        if not self.whole(trial):
            return self.train(trial, folder, self._before(trial))
        return Run.open(folder)

    def _measured(self, trial: Trial, measure: Measure) -> float | None:
        """What figures lack: a protocol that was not run yet, or a function of the run; None where a probe diverged."""
        try:
            return self._measure(trial, measure)
        except Diverged:
            return None

    def _measure(self, trial: Trial, measure: Measure) -> float:
        if not isinstance(measure, str):
            return float(measure(self._whole(trial)))
        protocol, _, key = measure.partition(".")
        if protocol not in PROTOCOLS:
            kept = self.kept(trial) or {}
            there = ", ".join(
                [*PROTOCOLS, *(name for name, value in kept["last"].items() if _is_number(value))]
            )
            raise ManyviewsError(f"A run of {trial.method} has no figure '{measure}'; it has {there}.")
        from manyviews.worth import evaluate

        figures = evaluate(self._whole(trial), protocol=(protocol,), seed=trial.seed)["figures"]
        return float(figures[protocol][key or "top1"])

    def lean(self, digest: str) -> None:
        """Drop all of a finished run but its figures."""
        with _alone(folder := self.path / digest):
            if (folder / "figures.json").exists():
                shutil.rmtree(folder / "run", ignore_errors=True)


def _seconds(run: Path) -> float:
    """How long a run has trained that did not come to its end."""
    rows = Run.open(run).metrics() if (run / "run.json").exists() else []
    return float(rows[-1].get("seconds", 0.0)) if rows else 0.0


def _told(kept: dict[str, Any], measure: Measure) -> tuple[float | None, str | None] | None:
    """A figure and the monitor's word, where what is kept of a run has them; None where it has to be measured."""
    if kept.get("diverged"):
        return None, DIVERGED
    name, state = name_of(measure), kept["last"].get("verdict")
    if name in kept["measured"]:
        return kept["measured"][name], state
    value = _looked_up(kept, measure)
    return None if value is None else (value, state)


def _looked_up(kept: dict[str, Any], measure: Measure) -> float | None:
    """A key of the run's last moment; of a protocol, whatever the monitor logs by its name, what a run that was judged has."""
    if not isinstance(measure, str):
        return None
    name, _, key = measure.partition(".")
    if name in PROTOCOLS:
        value = kept["figures"].get(name, {}).get(key or "top1")
    else:
        value = kept["last"].get("spread" if measure == "verdict" else measure)
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def name_of(measure: Measure) -> str:
    """A measure by name; of a function with the digest of its source and of what its file does, so that another one is
    not taken for it, nor one whose helpers have changed."""
    if isinstance(measure, str):
        return measure
    code = inspect.getsource(measure) + syntax_of(measure.__module__)
    source = hashlib.blake2b(code.encode(), digest_size=6).hexdigest()
    return f"{measure.__module__}.{measure.__name__}-{source}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time in a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").touch()
    with alone(folder / "lock"):
        yield
