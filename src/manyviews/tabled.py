"""What the runs of a comparison come to: the figures of each method over seeds, and the page that shows them."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from manyviews import plan
from manyviews.evaluation import mean_std
from manyviews.method import find
from manyviews.report import Comparison, Contender
from manyviews.runs import Run

FIGURES = {"knn": "kNN top-1", "linear": "linear top-1"}
OURS, START = "this encoder", "random encoder"
UNTRAINED = ", untrained"  # what follows the name of a figure


def judged(runs: Iterable[Run]) -> dict[str, Any]:
    """The figures of whatever any of the runs has judged, by its name."""
    return {name: row for run in runs for name, row in run.results().get("figures", {}).items()}


def figures_of(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """Each figure's value for every seed, None where a run has diverged; of the random start there is one."""
    ours = [top1(run.results().get("figures", {}).get(OURS, {})) for run in runs]
    last = [{} if "diverged" in run.results() else run.metrics()[-1] for run in runs]
    values: dict[str, list[float | None]] = {
        label: [row.get(label) for row in ours]
        for label in FIGURES.values()
        if any(label in row for row in ours)
    }
    start = top1(judged(runs).get(START, {}))
    values |= {label + UNTRAINED: [top1] for label, top1 in start.items()}
    values["RankMe"] = [row.get("rankme") for row in last]
    values["passes"] = [row.get("epoch") for row in last]
    values["items/s"] = [row["items"] / row["seconds"] if row else None for row in last]
    values["MiB"] = [row.get("memory_mib") for row in last]
    return {label: of for label, of in values.items() if any(value is not None for value in of)}


def top1(figures: dict[str, Any]) -> dict[str, float]:
    return {label: figures[key]["top1"] for key, label in FIGURES.items() if key in figures}


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    return mean_std([value for value in values if value is not None]).as_dict()


def state_of(run: Run) -> str:
    if "diverged" in run.results():
        return "diverged"
    said = run.verdict()
    return "too early" if said is None else said.state


def page(
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
