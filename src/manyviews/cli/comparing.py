"""The command compare, and its table."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyviews.cli.shared import parse, positional, print_json, tell, typed
from manyviews.errors import ManyviewsError


def compare_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Compare:
        """Train several methods on the same data, net, budget and seeds, and print one honest table."""

        methods: positional(tuple[str, ...], "names of methods; none: the same as --all") = ()  # pyright: ignore[reportInvalidTypeForm]
        all: bool = False  # every method that learns from such data without labels and without another run
        data: str = "world"  # images, sounds or texts with labels; the labels are used for judging only
        budget: str | None = None  # length of each run: 10m, 20ep ...; if not given, the first method's own
        seeds: int = 3  # runs per method
        first_seed: int = 0  # seed of each method's first run, so that machines can share a comparison
        net: str | None = None  # for all; if not given, that of most recipes (for texts, each method's own)
        size: int | None = None  # for all: side of a view in pixels, or tokens of a text
        batch: int | None = None  # for all; if not given, each method's own
        recipe: str | None = None  # for all; if not given, the one for the data; world suits short budgets
        upright: bool = True  # --no-upright: nothing is up or down, so views are rotated too
        mirror: bool = True  # --no-mirror: left and right differ, so no view is flipped
        colour: float = 1.0  # share of the colour augmentation to keep: 0 where colours carry meaning
        out: Path | None = None  # folder of the comparison; one that was stopped continues there
        data_root: Path | None = None  # folder of the named sets
        jobs: int = 1  # runs to train side by side, each with its share of the cores
        markdown: bool = False  # print the table as Markdown
        json: bool = False  # print one JSON object

    ask = parse(Compare, words, "compare")
    from manyviews.comparing import compare
    from manyviews.method import find
    from manyviews.tabled import markdown, said

    if ask.all and ask.methods:
        raise ManyviewsError(
            f"Compare either all methods or {', '.join(ask.methods)}: leave out one of the two."
        )
    asked = {
        name: value
        for name, value in vars(ask).items()
        if name not in ("methods", "all", "data", "markdown", "json")
    }
    result = compare(ask.methods, ask.data, say=tell, command=typed("compare", words), **asked)
    if ask.json:
        print_json(result)
        return
    if ask.markdown:
        print("\n".join(markdown(result)))
        return
    _print_table(result)
    if result["told_apart"]:
        print(said(result["told_apart"]))
    print(f"report   {Path(result['out']) / 'report.html'}")
    rows: dict[str, dict[str, Any]] = result["methods"]
    passes = [row["passes"]["mean"] for row in rows.values() if "passes" in row]
    images = find(next(iter(rows))).method.sees == "images"
    if passes and max(passes) < 1 and ask.recipe is None and images and ask.data != "world":
        tell(
            f"no method saw more than {max(passes):.0%} of the data: without a GPU, --recipe world and --net "
            "cifar_resnet20 suit so short a budget"
        )


def _print_table(result: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from manyviews.tabled import UNTRAINED, columns_of, states_of, told

    columns = columns_of(result)
    heads = (key.removesuffix(" top-1") for key in columns)
    table = Table(Column("", no_wrap=True), *heads, "state", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, row in result["methods"].items():
        starts = (told(key, row.get(key + UNTRAINED)) for key in columns)
        cells = (
            f"{told(key, row.get(key))}\nfrom {start}" if start else told(key, row.get(key))
            for key, start in zip(columns, starts, strict=True)
        )
        table.add_row(name, *cells, states_of(result, name))
    for name, row in result["baselines"].items():
        table.add_row(name, *(f"{row[key]:.1%}" if key in row else "" for key in columns))
    Console().print(table)
