"""Several methods on the same data, network and budget: one honest table."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manyviews import plan
from manyviews.data import open_data
from manyviews.data.corpus import open_corpus
from manyviews.errors import Diverged, ManyviewsError
from manyviews.files import write_json
from manyviews.folders import free_folder
from manyviews.learn import judge_beside, pretrain, resume
from manyviews.method import Method, Paper, Spec, find, names
from manyviews.nets import net_factory
from manyviews.recipe import record
from manyviews.report import write
from manyviews.runs import Run
from manyviews.side import positive, side_by_side
from manyviews.tabled import (
    OURS,
    START,
    best_first,
    figures_of,
    judged,
    over_seeds,
    page,
    state_of,
    told_apart,
    top1,
)

MANY = 10_000  # items of a set that nobody looks at: does the net suit the method?


def compare(
    methods: Sequence[str] = (),
    data: Any = "world",
    *,
    budget: str | None = None,
    seeds: int = 3,
    first_seed: int = 0,
    net: str | None = None,
    size: int | None = None,
    batch: int | None = None,
    recipe: str | None = None,
    upright: bool = True,
    mirror: bool = True,
    colour: float = 1.0,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    jobs: int = 1,
    quiet: bool = False,
    say: Callable[[str], None] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Train every method with every seed and tell what each encoder is worth.

    All methods get the same data, net, size, budget and seeds; batch, optimiser, schedule and hyper-parameters are
    those of each method's own recipe for this data. Views that change no colours stay as they are, whatever ``colour``
    says. A method that cannot use the net keeps its own recipe's, and the table says so; on texts every method does,
    unless ``net`` is given, for what its net may look at is what tells it from the others. A comparison that was cut
    short goes on where it stopped.

    Args:
        methods: names; empty: all that learn without labels, and without what another run has learned.
        data: as in ``pretrain``; it needs labels, which only the judging sees.
        budget: the length of each run; None: the first method's recipe.
        seeds: runs a method.
        first_seed: the seed of the first of them. Machines can share a comparison, each with seeds of its own: where their
            runs' folders lie in one, the whole comparison is read from there.
        net, size: the same for all; None: those of most of their recipes (of texts each method's own).
        batch: the same for all; None: each method's own.
        recipe: the recipe that every method starts from, such as "world", which suits a short budget; None: the one for
            this data.
        upright, mirror, colour: the same for all, as in ``Recipe``: for images without up and down, whose left and right
            differ, or whose colours carry meaning.
        out: the folder of the comparison; None: the next free one under ``runs/``.
        data_root: where named sets are.
        jobs: runs side by side, each with its share of the cores; where the budget is a time, each then learns less in it.
        quiet: no progress bars.
        say: takes a sentence as each run ends, where ``jobs`` are more than one.
        command: what the user typed, for the record.

    Returns:
        ``{"methods": {name: {figure: {"mean", "std", "n", "values"}}}, "baselines": {...}, "told_apart": {...}, "out":
        folder}``, the best method first

    Raises:
        ManyviewsError: a method, the data or a setting is not there, or one of the runs cannot be.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    positive(jobs)
    if seeds < 1:
        raise ManyviewsError(f"--seeds is {seeds}; it must be at least 1.")
    if first_seed < 0:
        raise ManyviewsError(f"--first-seed is {first_seed}; it must be at least 0.")
    of_each = range(first_seed, first_seed + seeds)
    chosen = list(methods) or _all_for(data, data_root, recipe)
    if not chosen:
        having = f" and has a recipe '{recipe}'" if recipe else ""
        raise ManyviewsError(f"There is no method that learns from {data} without labels{having}.")
    usual = {"upright": True, "mirror": True, "colour": 1.0}
    told = {"upright": upright, "mirror": mirror, "colour": colour}
    suited = {name: value for name, value in told.items() if value != usual[name]}
    asked = {"budget": budget, "net": net, "size": size, "batch": batch, **suited}
    same, own = _alike(chosen, data, recipe, asked)
    called = str(data) if isinstance(data, str) else "data"
    folder = Path(out) if out is not None else free_folder("compare", called)

    def run(name: str, seed: int) -> partial[Run]:
        beside = () if seed > first_seed else ("random",) if name != chosen[0] else ("pixels", "random")
        return partial(_one, name, data, seed, recipe, beside, same | own.get(name, {}), folder, data_root)

    try:
        if jobs > 1:
            _side_by_side(
                {f"{name}, seed {seed}": run(name, seed) for seed in of_each for name in chosen},
                jobs,
                say,
            )
        runs = {name: [run(name, seed)(quiet) for seed in of_each] for name in chosen}
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # where nothing was begun
        raise
    table = best_first({name: figures_of(of) for name, of in runs.items()})
    beside = judged(run for of in runs.values() for run in of)
    asked |= {"seeds": seeds, "first_seed": first_seed or None, "recipe": recipe}
    result = {
        "data": called,
        "recipe": recipe,
        **same,
        "own_nets": {name: changed["net"] for name, changed in own.items() if "net" in changed},
        "seeds": list(of_each),
        "command": command or _as_typed(chosen, data, asked),
        "methods": {name: {label: over_seeds(v) for label, v in row.items()} for name, row in table.items()},
        "states": {name: [state_of(run) for run in runs[name]] for name in table},
        "told_apart": told_apart(table),
        "baselines": {name: top1(row) for name, row in beside.items() if name not in (OURS, START)},
        "out": str(folder),
    }
    write_json(folder / "comparison.json", result)
    write(page(table, same, result), folder / "report.html")
    return result


def _alike(
    chosen: Sequence[str], data: Any, recipe: str | None, asked: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What all runs share, and by method what cannot be as theirs."""
    recipes = [plan.base(find(name), data, recipe)[1] for name in chosen]
    # What reads texts both ways does not write, and tokens differ in size.
    usual = {} if find(chosen[0]).method.sees == "texts" else {
        "net": _most([recipe.net for recipe in recipes]), "size": _most([recipe.size for recipe in recipes]),
    }  # fmt: skip
    given = {name: value for name, value in asked.items() if value is not None}
    same = {"budget": recipes[0].budget, **usual, **given}
    own = {name: _own(find(name), data, recipe, same) for name in chosen} if usual else {}
    if own and all("colour" in of for of in own.values()):
        raise ManyviewsError(
            "--colour is a share of the changes of colour, and none of these methods makes any; leave it out."
        )
    return same, own


def _side_by_side(due: dict[str, partial[Run]], jobs: int, say: Callable[[str], None] | None) -> None:
    ahead = {name: partial(_ahead, run) for name, run in due.items()}
    for number, (done, _) in enumerate(side_by_side(ahead, jobs), start=1):
        if say:
            say(f"run {number} of {len(due)} is done: {done}")


def _as_typed(chosen: Sequence[str], data: Any, asked: dict[str, Any]) -> str:
    """The call in Python that makes this comparison."""
    told = {name: value for name, value in asked.items() if value is not None}
    shown = repr(str(data)) if isinstance(data, (str, Path)) else "data"
    settings = [f"data={shown}", *(f"{name}={value!r}" for name, value in told.items())]
    return f"manyviews.compare({list(chosen)!r}, {', '.join(settings)})"


def _all_for(data: Any, root: str | Path | None, recipe: str | None = None) -> list[str]:
    """Every method that learns from such data without labels, and has the recipe if one is named."""
    try:
        kind, texts = open_data(data, root=root).kind, 0
    except ManyviewsError as no_images:
        try:
            kind, texts = "texts", len(open_corpus(data, root=root).texts[0])
        except ManyviewsError:
            raise no_images from None
    fit = [find(name) for name in names() if find(name).method.sees == kind]
    return [
        paper.name
        for paper in fit
        if not paper.method.supervised
        and (recipe is None or recipe in paper.recipes)
        and not plan.needs(plan.base(paper, data)[0])
        and _texts(paper, data) in (0, texts)
    ]


def _most(values: Sequence[Any]) -> Any:
    """The value that is there most often, the first of several."""
    return max(values, key=values.count)


def _own(paper: Paper, data: Any, wanted: str | None, same: dict[str, Any]) -> dict[str, Any]:
    """The net of the method's own recipe, where it cannot use the one of all the others; all its colours, where none change."""
    config, recipe = plan.base(paper, data, wanted)
    suited = {name: same[name] for name in ("upright", "mirror", "colour") if name in same}
    spec = replace(_any_data(same["size"]), **suited)
    for net in dict.fromkeys((same["net"], recipe.net)):
        with torch.random.fork_rng(devices=[]), suppress(ManyviewsError):
            method = paper.method(config, net_factory(net, same["size"]), spec)  # pyright: ignore[reportCallIssue]
            break
    else:  # the run will say why
        return {"net": recipe.net}
    own: dict[str, Any] = {} if net == same["net"] else {"net": net}
    try:
        method.suited_views()
    except ManyviewsError as error:
        if not _fits_in_all_its_colours(method):
            raise ManyviewsError(f"{paper.name} cannot be compared with these settings: {error}") from error
        own["colour"] = 1.0
    return own


def _fits_in_all_its_colours(method: Method) -> bool:
    method.spec = replace(method.spec, colour=1.0)
    try:
        method.suited_views()
    except ManyviewsError:
        return False
    return method.sees == "images"


def _any_data(size: int) -> Spec:
    """What any method may ask of images before it is built: no refusal is for want of labels or of colours."""
    levels = torch.arange(0, 256, 32, dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels)
    return Spec(items=MANY, size=size, classes=2, labels=torch.arange(MANY) % 2, colours=lambda: colours)


def _texts(paper: Paper, data: Any) -> int:
    """How many texts an item has that the method learns from; 0 of one that learns from no texts."""
    reading = paper.method.reading(plan.base(paper, data)[0])
    return 0 if reading is None else reading.texts


def _ahead(run: partial[Run]) -> None:
    """A run in a process of its own: it is found in its folder, and nothing travels back."""
    run(quiet=True)


def _one(
    name: str,
    data: Any,
    seed: int,
    recipe: str | None,
    baselines: Sequence[str],
    same: dict[str, Any],
    folder: Path,
    root: Any,
    quiet: bool,
) -> Run:
    """The run, which goes on where it stopped; one that diverges is a result, and stays as it is beside its baselines."""
    path, data = folder / f"{find(name).name}-{seed}", plan.sensed(find(name), data)
    try:
        if not (path / "run.json").exists():
            return pretrain(
                name, data, recipe=recipe, out=path, seed=seed, data_root=root, quiet=quiet, baselines=baselines, **same,
            )  # fmt: skip
        run = Run.open(path)
        asked = plan.changed(find(name), *plan.base(find(name), data, recipe), same | {"seed": seed})
        same_file = run.settings["method"] == find(name).address  # two files of one's own may have one name
        if not same_file or (record(type(asked[0]), run.settings["config"]), run.recipe) != asked:
            raise ManyviewsError(
                f"{path} is a run of other settings than are asked for now: choose another --out, or give the same settings as before."
            )
        done = run.judged or "diverged" in run.results()
        return run if done else resume(path, data, data_root=root, quiet=quiet)
    except Diverged as error:
        run = Run.open(path)
        if baselines:
            judge_beside(run, data, quiet, data_root=root)
        run.add_results(diverged=str(error))
        return run
