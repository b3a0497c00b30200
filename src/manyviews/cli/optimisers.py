"""The command that draws optimisers side by side."""

from dataclasses import dataclass
from pathlib import Path

from manyviews.cli.shared import parse, print_json, tell, typed


def optimisers_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Optimisers:
        """Draw ten optimisers, each at its own rate: their paths on one surface and their learning curves on one task."""

        out: Path = Path("optimisers.png")  # picture: .png, .svg (light or dark) or .html (for a phone too)
        seed: int = 0  # of nets, order of items and noise
        seeds: int = 3  # runs of each on the task, at its best rate
        items: int = 1000  # images of the task
        epochs: int = 8  # epochs on the task
        steps: int = 60  # steps on the surface
        json: bool = False  # print one JSON object

    ask = parse(Optimisers, words, "optimisers")
    from manyviews.tuning import Task, optimisers

    task = Task(items=ask.items, epochs=ask.epochs, seeds=ask.seeds)
    result = optimisers(
        ask.out,
        seed=ask.seed,
        steps=ask.steps,
        task=task,
        command=typed("optimisers", words),
        said=tell,
    )
    if ask.json:
        print_json(result)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "rate on the surface", "mean loss", "rate on the task", "training loss", "test top-1")
    for name, row in result["task"].items():
        surface = result["surface"][name]
        table.add_row(
            name,
            f"{surface['rate']:g}",
            f"{surface['loss']:.4f}",
            f"{row['rate']:g}",
            _mean_std(row["loss"], "{:.3f}"),
            _mean_std(row["top1"], "{:.1%}"),
        )
    Console().print(table)
    print(f"picture  {result['out']}")


def _mean_std(value: dict[str, float | None], form: str) -> str:
    if value["std"] is None:
        return form.format(value["mean"])
    return f"{form.format(value['mean'])} ± {form.format(value['std'])}"
