"""Several methods on the same data, network and budget: one honest table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manyviews import plan
from manyviews.data import open_data
from manyviews.evaluation import mean_std
from manyviews.files import write_json
from manyviews.learn import free_folder, pretrain
from manyviews.method import find, names
from manyviews.report import Comparison, Contender, write
from manyviews.runs import Run

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
    quiet: bool = False,
    command: str | None = None,
) -> dict[str, Any]:
    """Train every method with every seed and tell what each encoder is worth.

    All methods get the same data, net, size, budget and seeds; batch, optimiser, schedule and hyper-parameters are
    those of each method's own recipe for this data. A comparison that was cut short goes on where it stopped.

    Args:
        methods: names; empty: all that learn without labels.
        data: as in ``pretrain``; it needs labels, which only the judging sees.
        budget: the length of each run; None: the first method's recipe.
        seeds: runs a method.
        net, size: the same for all; None: the first method's recipe.
        batch: the same for all; None: each method's own.
        out: the folder of the comparison; None: the next free one under ``runs/``.
        data_root: where named sets are.
        quiet: no progress bars.
        command: what the user typed, for the record.

    Returns:
        ``{"methods": {name: {figure: {"mean", "std", "seeds"}}}, "baselines": {...}, "out": folder}``
    """
    chosen = list(methods) or _all_for(data, data_root)
    _, recipe = plan.base(find(chosen[0]), data)
    same: dict[str, Any] = {
        "budget": budget or recipe.budget,
        "net": net or recipe.net,
        "size": size or recipe.size,
    }
    if batch is not None:
        same["batch"] = batch
    folder = (
        Path(out)
        if out is not None
        else free_folder("compare", str(data) if isinstance(data, str) else "data")
    )
    runs = {
        name: [_one(name, data, seed, same, folder, data_root, quiet) for seed in range(seeds)]
        for name in chosen
    }
    table = {name: _figures(of) for name, of in runs.items()}
    baselines = {
        name: {FIGURES[key]: row[key]["top1"] for key in FIGURES if key in row}
        for name, row in runs[chosen[0]][0].results()["figures"].items()
        if name != "this encoder"
    }
    result = {
        "data": data if isinstance(data, str) else "data",
        **same,
        "seeds": seeds,
        "command": command or f"manyviews.compare({list(table)!r}, data={data!r})",
        "methods": {name: {k: mean_std(v).as_dict() for k, v in row.items()} for name, row in table.items()},
        "baselines": baselines,
        "out": str(folder),
    }
    write_json(folder / "comparison.json", result)
    write(_page(table, baselines, same, result["data"], command), folder / "report.html")
    return result


def _all_for(data: Any, root: str | Path | None) -> list[str]:
    """Every method that learns from such data without labels."""
    kind = open_data(data, root=root).kind
    return [name for name in names() if not (of := find(name).method).supervised and of.sees == kind]


def _one(name: str, data: Any, seed: int, same: dict[str, Any], folder: Path, root: Any, quiet: bool) -> Run:
    from manyviews.learn import resume

    path = folder / f"{name}-{seed}"
    if not (path / "run.json").exists():
        first = seed == 0
        return pretrain(
            name, data, out=path, seed=seed, data_root=root, quiet=quiet,
            baselines=("pixels", "random") if first else (), **same,
        )  # fmt: skip
    run = Run.open(path)
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
) -> Comparison:
    return Comparison(
        title=f"{len(table)} methods on {data}",
        subtitle="The same data, network, budget and seeds; each method's own batch, optimiser and hyper-parameters.",
        command=command or f"manyviews.compare({list(table)!r}, data={data!r})",
        budget=same["budget"],
        contenders=[Contender(name, values) for name, values in table.items()],
        references=baselines,
        settings={
            "The same for all": same,
            **{name: dataclasses.asdict(plan.base(find(name), data)[0]) for name in table},
        },
        plain=("RankMe", "items/s", "MiB"),
    )
