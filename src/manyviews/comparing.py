"""Several methods on the same data, network and budget: one honest table."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manyviews import plan
from manyviews.data import open_data
from manyviews.data.corpus import open_corpus
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation import mean_std
from manyviews.files import write_json
from manyviews.folders import free_folder
from manyviews.learn import judge_beside, pretrain, resume
from manyviews.method import Paper, Spec, find, names
from manyviews.nets import net_factory
from manyviews.recipe import record
from manyviews.report import Comparison, Contender, write
from manyviews.runs import Run
from manyviews.side import positive, side_by_side

MANY = 10_000  # items of a set that nobody looks at: does the net suit the method?
FIGURES = {"knn": "kNN top-1", "linear": "linear top-1"}
OURS, START = "this encoder", "random encoder"
UNTRAINED = ", untrained"  # what follows the name of a figure


def compare(
    methods: Sequence[str] = (),
    data: Any = "world",
    *,
    budget: str | None = None,
    seeds: int = 3,
    net: str | None = None,
    size: int | None = None,
    batch: int | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    jobs: int = 1,
    quiet: bool = False,
    say: Callable[[str], None] | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Train every method with every seed and tell what each encoder is worth.

    All methods get the same data, net, size, budget and seeds; batch, optimiser, schedule and hyper-parameters are
    those of each method's own recipe for this data. A method that cannot use the net has its own recipe's, and the table
    says so; of texts, unless told, every method has, for it is told from another by what its net may look at. A
    comparison that was cut short goes on where it stopped.

    Args:
        methods: names; empty: all that learn without labels, and without what another run has learned.
        data: as in ``pretrain``; it needs labels, which only the judging sees.
        budget: the length of each run; None: the first method's recipe.
        seeds: runs a method.
        net, size: the same for all; None: those of most of their recipes (of texts each method's own).
        batch: the same for all; None: each method's own.
        recipe: the recipe that every method starts from, such as "world", which suits a short budget; None: the one for
            this data.
        out: the folder of the comparison; None: the next free one under ``runs/``.
        data_root: where named sets are.
        jobs: runs side by side, each with its share of the cores; where the budget is a time, each then learns less in it.
        quiet: no progress bars.
        say: takes a sentence as each run ends, where ``jobs`` are more than one.
        command: what the user typed, for the record.

    Returns:
        ``{"methods": {name: {figure: {"mean", "std", "n"}}}, "baselines": {...}, "out": folder}``

    Raises:
        ManyviewsError: a method, the data or a setting is not there, or one of the runs cannot be.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    positive(jobs)
    if seeds < 1:
        raise ManyviewsError(f"--seeds is {seeds}; it must be at least 1.")
    chosen = list(methods) or _all_for(data, data_root, recipe)
    if not chosen:
        having = f" and has a recipe '{recipe}'" if recipe else ""
        raise ManyviewsError(f"There is no method that learns from {data} without labels{having}.")
    same, own = _alike(chosen, data, recipe, {"budget": budget, "net": net, "size": size, "batch": batch})
    called = str(data) if isinstance(data, str) else "data"
    folder = Path(out) if out is not None else free_folder("compare", called)

    def run(name: str, seed: int) -> partial[Run]:
        beside = () if seed else ("random",) if name != chosen[0] else ("pixels", "random")
        return partial(_one, name, data, seed, recipe, beside, same | own.get(name, {}), folder, data_root)

    if jobs > 1:
        _side_by_side(
            {f"{name}, seed {seed}": run(name, seed) for seed in range(seeds) for name in chosen}, jobs, say
        )
    runs = {name: [run(name, seed)(quiet) for seed in range(seeds)] for name in chosen}
    table = {name: _figures(of) for name, of in runs.items()}
    beside = _judged(run for of in runs.values() for run in of)
    asked = {"budget": budget, "seeds": seeds, "net": net, "size": size, "batch": batch, "recipe": recipe}
    result = {
        "data": called,
        "recipe": recipe,
        **same,
        "own_nets": {name: changed["net"] for name, changed in own.items() if changed},
        "seeds": seeds,
        "command": command or _as_typed(chosen, data, asked),
        "methods": {name: {label: _mean_std(v) for label, v in row.items()} for name, row in table.items()},
        "states": {name: [_state(run) for run in of] for name, of in runs.items()},
        "baselines": {name: _top1(row) for name, row in beside.items() if name not in (OURS, START)},
        "out": str(folder),
    }
    write_json(folder / "comparison.json", result)
    write(_page(table, same, result), folder / "report.html")
    return result


def _alike(
    chosen: Sequence[str], data: Any, recipe: str | None, asked: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """What all runs share, and by method the net of its own where it cannot use theirs."""
    recipes = [plan.base(find(name), data, recipe)[1] for name in chosen]
    # What reads texts both ways does not write, and tokens differ in size.
    usual = {} if find(chosen[0]).method.sees == "texts" else {
        "net": _most([recipe.net for recipe in recipes]), "size": _most([recipe.size for recipe in recipes]),
    }  # fmt: skip
    given = {name: value for name, value in asked.items() if value is not None}
    same = {"budget": recipes[0].budget, **usual, **given}
    return same, {name: _own_net(find(name), data, recipe, same) for name in chosen} if usual else {}


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


def _own_net(paper: Paper, data: Any, wanted: str | None, same: dict[str, Any]) -> dict[str, str]:
    """The net of the method's own recipe, where it cannot use the one of all the others; else nothing."""
    config, recipe = plan.base(paper, data, wanted)
    with torch.random.fork_rng(devices=[]):
        try:
            paper.method(config, net_factory(same["net"], same["size"]), _any_data(same["size"]))  # pyright: ignore[reportCallIssue]
        except ManyviewsError:
            return {"net": recipe.net}
    return {}


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
                f"{path} is a run of other settings than are asked for now: choose another --out, or compare as before."
            )
        done = run.judged or "diverged" in run.results()
        return run if done else resume(path, data, data_root=root, quiet=quiet)
    except Diverged as error:
        run = Run.open(path)
        if baselines:
            judge_beside(run, data, quiet, data_root=root)
        run.add_results(diverged=str(error))
        return run


def _judged(runs: Iterable[Run]) -> dict[str, Any]:
    """The figures of whatever any of the runs has judged, by its name."""
    return {name: row for run in runs for name, row in run.results().get("figures", {}).items()}


def _figures(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """Each figure's value for every seed, None where a run has diverged; of the random start there is one."""
    ours = [_top1(run.results().get("figures", {}).get(OURS, {})) for run in runs]
    last = [{} if "diverged" in run.results() else run.metrics()[-1] for run in runs]
    values: dict[str, list[float | None]] = {
        label: [row.get(label) for row in ours]
        for label in FIGURES.values()
        if any(label in row for row in ours)
    }
    start = _top1(_judged(runs).get(START, {}))
    values |= {label + UNTRAINED: [top1] for label, top1 in start.items()}
    values["RankMe"] = [row.get("rankme") for row in last]
    values["passes"] = [row.get("epoch") for row in last]
    values["items/s"] = [row["items"] / row["seconds"] if row else None for row in last]
    values["MiB"] = [row.get("memory_mib") for row in last]
    return {label: of for label, of in values.items() if any(value is not None for value in of)}


def _top1(figures: dict[str, Any]) -> dict[str, float]:
    return {label: figures[key]["top1"] for key, label in FIGURES.items() if key in figures}


def _mean_std(values: Sequence[float | None]) -> dict[str, Any]:
    return mean_std([value for value in values if value is not None]).as_dict()


def _state(run: Run) -> str:
    if "diverged" in run.results():
        return "diverged"
    said = run.verdict()
    return "too early" if said is None else said.state


def _page(
    table: dict[str, dict[str, list[float | None]]], same: dict[str, Any], result: dict[str, Any]
) -> Comparison:
    alike, own = ["data", "budget"], ["batch", "optimiser"]
    (alike if "net" in same else own).insert(1, "network")

    def note(name: str) -> str:
        ill = [state for state in result["states"][name] if state not in ("healthy", "too early")]
        return ", ".join([result["own_nets"].get(name, ""), *ill]).strip(", ")

    return Comparison(
        title=f"{len(table)} methods on {result['data']}",
        subtitle=f"The same {', '.join(alike)} and seeds; each method's own {', '.join(own)} and hyper-parameters.",
        command=result["command"],
        budget=same["budget"],
        contenders=[Contender(name, values, note=note(name)) for name, values in table.items()],
        references=result["baselines"],
        settings={
            "The same for all": same,
            **{
                name: dataclasses.asdict(plan.base(find(name), result["data"], result["recipe"])[0])
                for name in table
            },
        },
        plain=("RankMe", "passes", "items/s", "MiB"),
    )
