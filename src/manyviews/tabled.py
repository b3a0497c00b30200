"""What the runs of a comparison come to: the figures of each method over seeds, and the page and tables that show them."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from manyviews import plan
from manyviews.evaluation import mean_std
from manyviews.evaluation.paired import interval
from manyviews.method import find
from manyviews.report import Comparison, Contender
from manyviews.runs import Run

FIGURES = {"knn": "kNN top-1", "linear": "linear top-1"}
OURS, START = "this encoder", "random encoder"
UNTRAINED = ", untrained"  # what follows the name of a figure


def judged(runs: Iterable[Run]) -> dict[str, Any]:
    """The figures of whatever any of the runs has judged, by its name; the first run that has it says."""
    found: dict[str, Any] = {}
    for run in runs:
        found = run.results().get("figures", {}) | found
    return found


def figures_of(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """Each figure's value for every seed, None where a run has diverged; of random starts those that were judged."""
    ours = [top1(run.results().get("figures", {}).get(OURS, {})) for run in runs]
    last = [{} if "diverged" in run.results() else run.metrics()[-1] for run in runs]
    values: dict[str, list[float | None]] = {
        label: [row.get(label) for row in ours]
        for label in FIGURES.values()
        if any(label in row for row in ours)
    }
    starts = [top1(run.results().get("figures", {}).get(START, {})) for run in runs]
    for label in FIGURES.values():
        values[label + UNTRAINED] = [row[label] for row in starts if label in row]
    values["RankMe"] = [row.get("rankme") for row in last]
    values["passes"] = [row.get("epoch") for row in last]
    values["items/s"] = [row["items"] / row["seconds"] if row else None for row in last]
    values["MiB"] = [row.get("memory_mib") for row in last]
    return {label: of for label, of in values.items() if any(value is not None for value in of)}


def top1(figures: dict[str, Any]) -> dict[str, float]:
    return {label: figures[key]["top1"] for key, label in FIGURES.items() if key in figures}


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """``{"mean", "std", "n", "values"}``: a value a seed, None where there is none, which the other three leave out."""
    return mean_std([value for value in values if value is not None]).as_dict() | {"values": list(values)}


def best_first(table: dict[str, dict[str, list[float | None]]]) -> dict[str, dict[str, list[float | None]]]:
    """The methods by the mean of the first figure that is judged; behind them those that lack it under some seed, or all."""

    def place(row: dict[str, list[float | None]]) -> tuple[bool, float]:
        values = next((row[label] for label in FIGURES.values() if label in row), [None])
        return None in values, -over_seeds(values)["mean"] if any(v is not None for v in values) else 1.0

    return dict(sorted(table.items(), key=lambda item: place(item[1])))


def told_apart(table: dict[str, dict[str, list[float | None]]]) -> dict[str, Any] | None:
    """``{"figure", "best", "not from": names, "without": names}``: the best by the first figure, those whose difference from it
    may be none (95%, the seeds that both have, each pair by itself), and those without a figure; None where one seed is all."""
    figure = next((label for label in FIGURES.values() if any(label in row for row in table.values())), "")
    best, *others = [name for name, row in table.items() if figure in row] or [""]
    if not others or len(table[best][figure]) < 2:
        return None
    near = []
    for name in others:
        pairs = zip(table[best][figure], table[name][figure], strict=True)
        ahead = [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]
        if len(ahead) < 2 or interval(ahead).low <= 0:
            near.append(name)
    without = [name for name, row in table.items() if figure not in row]
    return {"figure": figure, "best": best, "not from": near, "without": without}


def said(apart: dict[str, Any]) -> str:
    """What ``told_apart`` found, in a sentence."""
    best = f"Best by {apart['figure'].removesuffix(' top-1')}: {apart['best']}"
    near, without = (", ".join(apart[key]) for key in ("not from", "without"))
    told = (
        f"these seeds do not tell it from {near}" if near else "these seeds tell it from each of the others"
    )
    return f"{best}; {told}{f'; none of {without}' if without else ''}."


def state_of(run: Run) -> str:
    if "diverged" in run.results():
        return "diverged"
    said = run.verdict()
    return "too early" if said is None else said.state


def page(
    table: dict[str, dict[str, list[float | None]]], same: dict[str, Any], result: dict[str, Any]
) -> Comparison:
    apart = result["told_apart"]
    alike, own = ["data", "budget"], ["batch", "optimiser"]
    (alike if "net" in same else own).insert(1, "network")

    def note(name: str) -> str:
        ill = [state for state in result["states"][name] if state not in ("healthy", "too early")]
        return ", ".join([result["own_nets"].get(name, ""), *ill]).strip(", ")

    return Comparison(
        title=f"{len(table)} methods on {result['data']}",
        subtitle=f"The same {', '.join(alike)} and seeds; each method's own {', '.join(own)} and hyper-parameters."
        + (f" {said(apart)}" if apart else ""),
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


def markdown(result: dict[str, Any]) -> Iterator[str]:
    """What ``compare`` found as a Markdown table: a line a method, the best first, then what they are measured by."""
    columns = columns_of(result)
    heads = [key.removesuffix(" top-1") for key in columns]
    judged_by = [head for key, head in zip(columns, heads, strict=True) if "top-1" in key]
    yield f"| method | {' | '.join([*heads, 'untrained: ' + ', '.join(judged_by), 'state'])} |"
    yield "| --- |" + " ---: |" * (len(heads) + 1) + " --- |"
    for name, row in result["methods"].items():
        called = f"{name} ({result['own_nets'][name]})" if name in result["own_nets"] else name
        starts = (told(key, row.get(key + UNTRAINED)) for key in columns)
        cells = [*(told(key, row.get(key)) for key in columns), ", ".join(filter(None, starts))]
        yield f"| {' | '.join([called, *cells, states_of(result, name)])} |"
    for name, row in result["baselines"].items():
        yield f"| {' | '.join([name, *(f'{row[key]:.1%}' if key in row else '' for key in columns), '', ''])} |"
    if result["told_apart"]:
        yield ""
        yield said(result["told_apart"])


def columns_of(result: dict[str, Any]) -> list[str]:
    """The figures that any of the methods has, but for those of their random starts."""
    every = dict.fromkeys(key for row in result["methods"].values() for key in row)
    return [key for key in every if UNTRAINED not in key]


def states_of(result: dict[str, Any], name: str) -> str:
    """Every state that a method's runs ended in, once."""
    return ", ".join(dict.fromkeys(result["states"][name]))


def told(name: str, value: dict[str, Any] | None) -> str:
    """Mean and, of several seeds, deviation: ``53.1% ± 1.2``."""
    if value is None:
        return ""
    form = "{:.1%}" if "top-1" in name else "{:.2f}" if name == "passes" else "{:,.0f}"
    parts = (form.format(value[key]) for key in ("mean", "std") if value[key] is not None)
    return " ± ".join(parts)
