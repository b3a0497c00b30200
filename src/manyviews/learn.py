"""Learn an encoder from images without labels, judge it, and write its report."""

import dataclasses
import gc
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from manyviews import beginning, distributed, launching, plan
from manyviews.data import ItemSet, open_data, summary
from manyviews.data.tokeniser import Tokeniser, require_size
from manyviews.errors import ManyviewsError
from manyviews.files import alone
from manyviews.folders import free_folder
from manyviews.judging import canvas, judge, judge_baselines, require_suits, share_held_out
from manyviews.machine import about_machine
from manyviews.method import find
from manyviews.runs import Run

BASELINES = ("pixels", "random", "supervised")


def pretrain(
    method: str | Path,
    data: Any = None,
    *,
    out: str | Path | None = None,
    recipe: str | None = None,
    data_root: str | Path | None = None,
    baselines: Sequence[str] = ("pixels", "random"),
    devices: int = 1,
    workers: int = 2,
    overwrite: bool = False,
    quiet: bool = False,
    save_every: float = 30.0,
    judged: bool = True,
    init_from: str | Path | None = None,
    command: str | None = None,
    **changes: Any,
) -> Run:
    """Learn an encoder from images without labels, judge it and write the report.

    Args:
        method: the name of a file under ``methods/``; ``manyviews.anatomy()`` lists them. Or the path of a file of your own.
        data: None for the recipe's own (the world, unless told), ``"world"``, a named set, a folder, ``"hf:name"``, an array, a torch Dataset or an ``ItemSet``.
        out: the run's folder; None: the next free one under ``runs/``.
        recipe: the recipe to start from; None: the one for this data.
        data_root: where named sets are; None: ``MANYVIEWS_DATA``.
        baselines: what to judge beside the encoder: pixels, random, supervised.
        devices: processes to train with, one a GPU (or one a share of the CPU).
        workers: processes that decode images which do not fit into memory.
        overwrite: replace a run that is there.
        quiet: no progress bar.
        save_every: seconds between checkpoints.
        judged: False: it ends with the encoder, without figures, baselines and report; a later ``resume`` adds them, to
            which an array has to be given again.
        init_from: a run, or an ``encoder.safetensors``, whose encoder this run's begins as. Its net and size are taken over,
            unless a net is named that can start from it (a deeper VGG), or a size; of texts, the tokens are those of its
            tokeniser. A classifier goes on as the one that was learned on top of it, where the classes are the same.
        command: what the user typed, for the record.
        **changes: any field of the method's ``Config`` or of ``Recipe``, and ``epochs``.

    Raises:
        ManyviewsError: something about the request cannot work; said before the first step where it can be known.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    asked = {
        "out": out, "recipe": recipe, "data_root": data_root, "baselines": tuple(baselines), "devices": devices,
        "workers": workers, "save_every": save_every, "judged": judged, "init_from": init_from, **changes,
    }  # fmt: skip
    paper = find(str(method))
    data = plan.default_data(paper, recipe) if data is None else data
    if init_from is not None:
        changes = {**beginning.taken_over(init_from, paper.method.sees), **changes}
    words = beginning.words_of(init_from) if init_from is not None and paper.method.sees == "texts" else None
    if words is not None:
        changes = {"tokens": str(words), **changes}
    config, settings = plan.changed(paper, *plan.base(paper, data, recipe), changes)
    data = settings.data if isinstance(data, str) else data
    if unknown := set(baselines) - set(BASELINES):
        raise ManyviewsError(f"There is no baseline '{unknown.pop()}'; there are {', '.join(BASELINES)}.")
    launching.require_shares(devices, data, settings)
    launching.require_workers(workers)
    reading = paper.method.reading(config)
    side = canvas(data, settings.size, reading)
    senses = paper.method.senses(config)
    images = open_data(data, root=data_root, size=side, senses=senses, reading=reading)
    if words is not None and images.tokeniser is not None:
        _same_words(words, images.tokeniser)
    if out is None and launching.launched():
        raise ManyviewsError("Under torchrun all processes must agree on the folder: name it with --out.")
    path = Path(out) if out is not None else None
    about = {
        "method": paper.address,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(settings),
        "data": summary(images) | {"root": data_root and str(Path(data_root).expanduser().resolve())},
        "baselines": list(baselines),
        "init_from": init_from and str(Path(init_from).resolve()),
        "held_out": share_held_out(paper, images, data, side, data_root),
        "command": command or _as_python(str(method), settings.data, asked),
        **about_machine(),
    }
    run = Run(path or Path(), about)
    seen = run.seen(images)
    plan.check_data(settings, len(seen))
    require_suits(baselines, images)
    about["cost"] = _rehearse(run, seen)
    if overwrite and path is not None:
        place = settings.data.rpartition("#")[0] or settings.data
        there = place if Path(place).expanduser().exists() else None
        others = [getattr(config, name, None) for name in plan.RUNS]
        _require_spare(path, [init_from, *others, settings.pretrained, data_root, there])
    how = {"workers": workers, "quiet": quiet, "save_every": save_every, "judged": judged}

    def create() -> None:
        run.path = path or free_folder(paper.name, images.name)
        with _held(run.path):
            Run.create(run.path, about, overwrite)

    return _train(create, run, images, data, devices, how)


def resume(
    path: str | Path,
    data: Any = None,
    *,
    data_root: str | Path | None = None,
    devices: int = 1,
    workers: int = 2,
    quiet: bool = False,
    save_every: float = 30.0,
    judged: bool = True,
) -> Run:
    """Continue a run from its newest whole checkpoint, to the end that it was started for.

    Args:
        path: the run's folder.
        data: needed where the data moved, or where the run learned from an array or a Dataset, which no file remembers.
        data_root: where named sets are now; None: where they were.
        devices, workers, quiet, save_every, judged: as in ``pretrain``.

    Raises:
        ManyviewsError: there is no run, no whole checkpoint, or the data is not what it was.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    run = Run.open(path)
    source = data if data is not None else run.recipe.data
    if isinstance(source, str) and not source:
        raise ManyviewsError(
            f"{path} learned from an array; give it again: manyviews.resume({str(path)!r}, data=...)."
        )
    launching.require_shares(devices, source, run.recipe)
    launching.require_workers(workers)
    _look_in(run, data_root)
    images = _learned_from(run, source)
    was, now = run.settings["data"], summary(images)
    if images.tokeniser is not None:
        require_size(images.tokeniser, was["vocabulary"], f"the run {path}")
    if (was["items"], was["digest"]) != (now["items"], now["digest"]):
        raise ManyviewsError(
            f"The data is not what the run began with: {was['items']} items then, {now['items']} now "
            f"(digests {was['digest'][:8]} and {str(now['digest'])[:8]}); restore it, or start a new run."
        )
    how = {"workers": workers, "quiet": quiet, "save_every": save_every, "judged": judged}
    return _train(lambda: None, run, images, source, devices, how)


def judge_beside(run: Run, data: Any, quiet: bool = False, *, data_root: str | Path | None = None) -> None:
    """Enter what the baselines of a run that diverged are worth.

    Args:
        data: what it learned from.
        data_root: where named sets are now; None: where they were.
    """
    _look_in(run, data_root)
    images = _learned_from(run, data)
    judge_baselines(run, images, data, quiet)


def _look_in(run: Run, data_root: str | Path | None) -> None:
    """From now on the run's data is looked for there, whatever asks for it."""
    if data_root is not None:
        run.settings["data"]["root"] = str(Path(data_root).expanduser().resolve())


def _train(
    create: Callable[[], None], run: Run, images: ItemSet, data: Any, devices: int, how: dict[str, Any]
) -> Run:
    """Make the folder (one process does), train on all devices, judge where asked to (one process does)."""
    judged = how["judged"]
    if devices > 1 and not launching.launched():
        create()
        gc.collect()  # of what was rehearsed, where a process of the run is to learn
        torch.cuda.empty_cache()
        again = ["resume", str(run.path), "--data", str(data), "--workers", str(how["workers"])]
        again += ["--save-every", str(how["save_every"]), *(["--quiet"] if how["quiet"] else [])]
        again += [] if judged else ["--no-judged"]
        if root := run.settings["data"]["root"]:
            again += ["--data-root", root]
        launching.launch(devices, ["-m", "manyviews", *again])
        return run
    with launching.group():
        launching.require_same(run.settings["data"]["digest"], run.settings["data"]["name"])
        if distributed.is_main():
            create()
            run.keep(images.tokeniser)
        distributed.barrier()
        with _held(run.path):
            ends = run.train(images, **{name: value for name, value in how.items() if name != "judged"})
    if ends == "interrupted":
        with _told_how_to_go_on("saved", run, data, judged):
            raise KeyboardInterrupt
    if judged and distributed.is_main():
        with _held(run.path), _told_how_to_go_on("learned, and not judged yet", run, data):
            judge(run, images, data, how["quiet"])
    return run


@contextmanager
def _told_how_to_go_on(done: str, run: Run, data: Any, judged: bool = True) -> Iterator[None]:
    """Whoever interrupts the block is told how far the run has come, and the command that goes on with it."""
    try:
        yield
    except KeyboardInterrupt:
        named = isinstance(data, (str, Path)) and str(data) != run.recipe.data
        moved = f" --data {shlex.quote(str(data))}" if named else ""
        if (root := run.settings["data"]["root"]) != Run.open(run.path).settings["data"]["root"]:
            moved += f" --data-root {shlex.quote(str(root))}"
        moved += "" if judged else " --no-judged"
        if distributed.is_main():
            print(
                f"{done}; continue with: manyviews resume {shlex.quote(str(run.path))}{moved}",
                file=sys.stderr,
            )
        raise


def _held(path: Path) -> AbstractContextManager[None]:
    """Raises ``ManyviewsError`` where another command has the run: both would write the same files."""
    sentence = f"Another process is at work on {path}: wait for it, or stop it."
    return alone(path / "run.json", sentence) if distributed.is_main() else nullcontext()


def _rehearse(run: Run, seen: ItemSet) -> float:
    """Say what the run cannot do, or not as was asked, before anything is written.

    Returns how many images of the run's size an item costs: its views that are learned from, each by its pixels.
    """
    method, begins_as = run.loop(seen, run.start(seen)).method, run.settings["init_from"]
    if begins_as is not None and (said := beginning.drawn_anew(method, begins_as)):
        print(f"manyviews: {said}", file=sys.stderr)
    return sum(view.size**2 for view in method.views().views[: method.learned_views]) / run.size**2


def _require_spare(path: Path, needed: Sequence[str | Path | None]) -> None:
    """Raises ``ManyviewsError`` where what is to be overwritten is what this run begins as or learns from, or where it runs."""
    folder = path.resolve()
    if folder in (Path.cwd(), *Path.cwd().parents):
        raise ManyviewsError(
            f"{folder} is where this command runs; change to another folder to replace it with --overwrite."
        )
    places = [Path(str(one).rpartition(":")[2]).expanduser().resolve() for one in needed if one]
    if any(place.is_relative_to(folder) for place in places):
        raise ManyviewsError(
            f"{path} is what this run begins as or learns from, so --overwrite leaves it alone; choose another --out."
        )


def _same_words(words: Path, tokeniser: Tokeniser) -> None:
    if Tokeniser.load(words).to_json() != tokeniser.to_json():
        raise ManyviewsError(
            f"The vocabulary does not match the weights of --init-from, which were trained with {words}: leave out --tokens, or --init-from."
        )


# -- data ----------------------------------------------------------------------------------------------------------


def _learned_from(run: Run, data: Any) -> ItemSet:
    """What a run learns from, with what its method asks for beside images: in memory where it fits, on disk otherwise."""
    side, root = canvas(data, run.size, run.reading), run.settings["data"]["root"]
    return open_data(data, root=root, size=side, senses=run.senses, reading=run.reading)


def _as_python(method: str, data: str, asked: dict[str, Any]) -> str:
    usual = {name: parameter.default for name, parameter in signature(pretrain).parameters.items()}
    said = {name: value for name, value in asked.items() if name not in usual or value != usual[name]}
    words = {name: str(value) if isinstance(value, Path) else value for name, value in said.items()}
    more = "".join(f", {name}={value!r}" for name, value in words.items())
    return f"manyviews.pretrain({method!r}, data={data or '...'!r}{more})"
