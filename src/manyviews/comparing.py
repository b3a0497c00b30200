"""Several methods on the same data, network and budget: one honest table."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manyviews import plan
from manyviews.data import open_data
from manyviews.data.corpus import open_corpus
from manyviews.errors import ManyviewsError
from manyviews.evaluation import mean_std
from manyviews.files import write_json
from manyviews.learn import free_folder, pretrain, resume
from manyviews.method import Paper, Spec, find, names
from manyviews.nets import net_factory
from manyviews.recipe import record
from manyviews.report import Comparison, Contender, write
from manyviews.runs import Run
from manyviews.side import positive, side_by_side

MANY = 10_000  # items of a set that nobody looks at: does the net suit the method?
FIGURES = {"knn": "kNN top-1", "linear": "linear top-1"}


def compare(
    methods: Sequence[str] = (),
    data: Any = "world",
    *,
    budget: str | None = None,
    seeds: int = 3,
    net: str | None = None,
    size: int | None = None,
    batch: int | None = None,
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
        out: the folder of the comparison; None: the next free one under ``runs/``.
        data_root: where named sets are.
        jobs: runs side by side, each with its share of the cores; where the budget is a time, each then learns less in it.
        quiet: no progress bars.
        say: takes a sentence as each run ends, where ``jobs`` are more than one.
        command: what the user typed, for the record.

    Returns:
        ``{"methods": {name: {figure: {"mean", "std", "seeds"}}}, "baselines": {...}, "out": folder}``

    Raises:
        ManyviewsError: a method, the data or a setting is not there, or one of the runs cannot be.
        KeyboardInterrupt: Ctrl-C, after the state was saved.
    """
    positive(jobs)
    if seeds < 1:
        raise ManyviewsError(f"--seeds is {seeds}; it must be at least 1.")
    chosen = list(methods) or _all_for(data, data_root)
    recipes = [plan.base(find(name), data)[1] for name in chosen]
    shared = (
        find(chosen[0]).method.sees != "texts"
    )  # what reads both ways does not write, and tokens differ in size
    settings = {
        "budget": budget or recipes[0].budget,
        "net": net or (_most([recipe.net for recipe in recipes]) if shared else None),
        "size": size or (_most([recipe.size for recipe in recipes]) if shared else None),
        "batch": batch,
    }
    same: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    own = {name: _own_net(find(name), data, same) for name in chosen} if shared else {}
    folder = (
        Path(out)
        if out is not None
        else free_folder("compare", str(data) if isinstance(data, str) else "data")
    )

    def run(name: str, seed: int) -> partial[Run]:
        return partial(_one, name, data, seed, same | own.get(name, {}), folder, data_root)

    if jobs > 1:
        due = {
            f"{name}, seed {seed}": partial(_ahead, run(name, seed))
            for seed in range(seeds)
            for name in chosen
        }
        for number, (done, _) in enumerate(side_by_side(due, jobs), start=1):
            if say:
                say(f"run {number} of {len(due)} is done: {done}")
    runs = {name: [run(name, seed)(quiet) for seed in range(seeds)] for name in chosen}
    table = {name: _figures(of) for name, of in runs.items()}
    baselines = {
        name: {FIGURES[key]: row[key]["top1"] for key in FIGURES if key in row}
        for name, row in runs[chosen[0]][0].results()["figures"].items()
        if name != "this encoder"
    }
    result = {
        "data": data if isinstance(data, str) else "data",
        **same,
        "own_nets": {name: changed["net"] for name, changed in own.items() if changed},
        "seeds": seeds,
        "command": command or f"manyviews.compare({list(table)!r}, data={data!r})",
        "methods": {name: {k: mean_std(v).as_dict() for k, v in row.items()} for name, row in table.items()},
        "baselines": baselines,
        "out": str(folder),
    }
    write_json(folder / "comparison.json", result)
    write(_page(table, baselines, same, result["data"], command, result["own_nets"]), folder / "report.html")
    return result


def _all_for(data: Any, root: str | Path | None) -> list[str]:
    """Every method that learns from such data without labels."""
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
        and not plan.needs(plan.base(paper, data)[0])
        and _texts(paper, data) in (0, texts)
    ]


def _most(values: Sequence[Any]) -> Any:
    """The value that is there most often, the first of several."""
    return max(values, key=values.count)


def _own_net(paper: Paper, data: Any, same: dict[str, Any]) -> dict[str, str]:
    """The net of the method's own recipe, where it cannot use the one of all the others; else nothing."""
    config, recipe = plan.base(paper, data)
    with torch.random.fork_rng(devices=[]):
        try:
            paper.method(config, net_factory(same["net"], same["size"]), Spec(items=MANY, size=same["size"]))  # pyright: ignore[reportCallIssue]
        except ManyviewsError:
            return {"net": recipe.net}
    return {}


def _texts(paper: Paper, data: Any) -> int:
    """How many texts an item has that the method learns from; 0 of one that learns from no texts."""
    reading = paper.method.reading(plan.base(paper, data)[0])
    return 0 if reading is None else reading.texts


def _ahead(run: partial[Run]) -> None:
    """A run in a process of its own: it is found in its folder, and nothing travels back."""
    run(quiet=True)


def _one(name: str, data: Any, seed: int, same: dict[str, Any], folder: Path, root: Any, quiet: bool) -> Run:
    path = folder / f"{name}-{seed}"
    if not (path / "run.json").exists():
        first = seed == 0
        return pretrain(
            name, data, out=path, seed=seed, data_root=root, quiet=quiet,
            baselines=("pixels", "random") if first else (), **same,
        )  # fmt: skip
    run = Run.open(path)
    asked = plan.changed(find(name), *plan.base(find(name), data), same | {"seed": seed})
    if (record(type(asked[0]), run.settings["config"]), run.recipe) != asked:
        raise ManyviewsError(
            f"{path} is a run of other settings than are asked for now: choose another --out, or compare as before."
        )
    return run if "figures" in run.results() else resume(path, data, quiet=quiet)


def _figures(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Each figure's value for every seed."""
    rows = [run.results()["figures"]["this encoder"] for run in runs]
    values = {label: [row[key]["top1"] for row in rows] for key, label in FIGURES.items() if key in rows[0]}
    last = [run.metrics()[-1] for run in runs]
    values["RankMe"] = [row["rankme"] for row in last if "rankme" in row]
    values["items/s"] = [row["items"] / row["seconds"] for row in last]
    values["MiB"] = [row["memory_mib"] for row in last if row.get("memory_mib") is not None]
    return values


def _page(
    table: dict[str, dict[str, list[float]]],
    baselines: dict[str, dict[str, float]],
    same: dict[str, Any],
    data: str,
    command: str | None,
    nets: dict[str, str],
) -> Comparison:
    alike, own = ["data", "budget"], ["batch", "optimiser"]
    (alike if "net" in same else own).insert(1, "network")
    return Comparison(
        title=f"{len(table)} methods on {data}",
        subtitle=f"The same {', '.join(alike)} and seeds; each method's own {', '.join(own)} and hyper-parameters.",
        command=command or f"manyviews.compare({list(table)!r}, data={data!r})",
        budget=same["budget"],
        contenders=[Contender(name, values, note=nets.get(name, "")) for name, values in table.items()],
        references=baselines,
        settings={
            "The same for all": same,
            **{name: dataclasses.asdict(plan.base(find(name), data)[0]) for name in table},
        },
        plain=("RankMe", "items/s", "MiB"),
    )
