"""Commands that use what was learned: evaluate, embed, classify, search, export; and what there is: methods."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manyviews.cli.shared import figures_table, parse, positional, print_json, said
from manyviews.errors import ManyviewsError

RUN = "the run's folder; or a pretrained net: timm/NAME, torchvision/NAME; or an encoder.safetensors"


def evaluate_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Evaluate:
        """Measure how good an encoder is: with labels, with few, or with none."""

        run: positional(Path, RUN)  # pyright: ignore[reportInvalidTypeForm]
        data: str | None = None  # with or without labels; if not given, what the run learned from
        protocol: tuple[str, ...] = ()  # linear, finetune ...; if not given, knn, or labelfree without labels
        option: tuple[str, ...] = ()  # settings of protocols: finetune.lr=1e-4 finetune.layer_decay=0.65
        seeds: int = 1  # how often to judge, each time with another seed; several give mean and deviation
        seed: int = 0  # the first seed
        data_root: Path | None = None  # folder of the named sets
        json: bool = False  # print one JSON object

    ask = parse(Evaluate, words, "evaluate")
    from manyviews.worth import evaluate

    asked = {"protocol": ask.protocol, "options": _options(ask.option), "seeds": ask.seeds, "seed": ask.seed}
    result = evaluate(ask.run, ask.data, data_root=ask.data_root, **asked)
    if ask.json:
        print_json(result)
        return
    from rich.console import Console

    Console().print(figures_table({result["data"]: result["figures"]}))
    for name, figures in result["figures"].items():
        if "sentence" in figures:
            print(f"{name}: {figures['state']}. {figures['sentence']}")
        if "by_layer" in figures:
            by_layer = [f"{layer}: {top1:.1%}" for layer, top1 in enumerate(figures["by_layer"])]
            print(f"{name}: top-1 by layer", *by_layer)


def _options(words: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """``("finetune.lr=1e-4",)`` as ``{"finetune": {"lr": 1e-4}}``; values are JSON, or else text."""
    found: dict[str, dict[str, Any]] = {}
    for word in words:
        left, _, text = word.partition("=")
        protocol, _, name = left.rpartition(".")
        if not (protocol and name and text):
            raise ManyviewsError(f"--option {word} is not PROTOCOL.NAME=VALUE, such as finetune.lr=1e-4.")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found.setdefault(protocol, {})[name] = value
    return found


def embed_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Embed:
        """Turn every image, sound or text into a vector."""

        run: positional(Path, RUN)  # pyright: ignore[reportInvalidTypeForm]
        data: positional(str, "a folder, a file, or the name of a set")  # pyright: ignore[reportInvalidTypeForm]
        out: Path = Path("vectors.parquet")  # file to write: .parquet, .npz or .csv
        data_root: Path | None = None  # folder of the named sets
        json: bool = False  # print one JSON object

    ask = parse(Embed, words, "embed")
    from manyviews.given import load
    from manyviews.use import embed, every_item

    run = load(ask.run)
    images = every_item(run, ask.data, ask.data_root)
    features = embed(run, images, out=ask.out)
    count, width = features.h_ND.shape
    if images.skipped.files:
        said(str(images.skipped), 0)
    if ask.json:
        left_out = images.skipped.as_dict()
        print_json({"out": str(ask.out), "items": count, "width": width, "skipped": left_out})
        return
    print(f"{count} vectors of {width} numbers in {ask.out}")


def classify_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Classify:
        """Predict the class of every image, with the classifier that a run learned."""

        run: positional(Path, "the folder of a run that learned classes")  # pyright: ignore[reportInvalidTypeForm]
        data: positional(str, "a folder, a file, or the name of a set")  # pyright: ignore[reportInvalidTypeForm]
        out: Path = Path("classes.csv")  # file to write: .csv or .parquet
        data_root: Path | None = None  # folder of the named sets
        json: bool = False  # print one JSON object

    ask = parse(Classify, words, "classify")
    from manyviews.given import load
    from manyviews.use import classify, every_item

    run = load(ask.run)
    images = every_item(run, ask.data, ask.data_root)
    told = classify(run, images, out=ask.out)
    counts = Counter(one.label for one in told)
    if images.skipped.files:
        said(str(images.skipped), 0)
    if ask.json:
        left_out = images.skipped.as_dict()
        print_json({"out": str(ask.out), "items": len(told), "labels": counts, "skipped": left_out})
        return
    print(
        f"{len(told)} items in {ask.out}: "
        + ", ".join(f"{count} {label}" for label, count in counts.most_common())
    )


def search_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Search:
        """Find the images, sounds or texts that are nearest to a given one."""

        run: positional(Path, RUN)  # pyright: ignore[reportInvalidTypeForm]
        data: positional(str, "what to search: a folder, a file, or a set's name")  # pyright: ignore[reportInvalidTypeForm]
        query: str  # an image or sound file, or the text itself
        k: int = 10  # how many to find
        sheet: Path = Path("search.png")  # picture of what was found, except for texts
        data_root: Path | None = None  # folder of the named sets
        json: bool = False  # print one JSON object

    ask = parse(Search, words, "search")
    from manyviews.given import load
    from manyviews.use import search

    run = load(ask.run)
    sheet = ask.sheet if run.reading is None else None
    found = search(run, ask.data, query=ask.query, k=ask.k, sheet=sheet, data_root=ask.data_root)
    if ask.json:
        print_json(
            {"query": str(ask.query), "found": [asdict(one) for one in found], "sheet": sheet and str(sheet)}
        )
        return
    for one in found:
        says = "" if one.text is None else f"  {' '.join(one.text.split()):.200}"
        print(f"{one.distance:.4f}  {one.path}{says}")
    if sheet is not None:
        print(f"sheet    {sheet}")


def export_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Export:
        """Hand the encoder over to timm, torchvision, transformers, ONNX or safetensors."""

        run: positional(Path, RUN)  # pyright: ignore[reportInvalidTypeForm]
        to: str  # timm, torchvision, transformers, onnx or safetensors
        out: Path | None = None  # file, for transformers a folder; if not given, beside the run's encoder
        json: bool = False  # print one JSON object

    ask = parse(Export, words, "export")
    from manyviews.use import export

    made = export(ask.run, to=ask.to, out=ask.out)
    if ask.json:
        print_json({"path": str(made.path), "how": made.how})
        return
    print(f"{made.path}\nload it: {made.how}")


def methods_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Methods:
        """List all methods and what tells them apart, one row each."""

        markdown: bool = False  # print the table as Markdown
        json: bool = False  # print one JSON object

    ask = parse(Methods, words, "methods")
    from manyviews.api import anatomy

    rows = {name: asdict(row) for name, row in anatomy().items()}
    if ask.json:
        print_json(rows)
        return
    columns = list(next(iter(rows.values())))
    if ask.markdown:
        lines = [
            ["method", *columns],
            ["---"] * (len(columns) + 1),
            *([name, *row.values()] for name, row in rows.items()),
        ]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("method", no_wrap=True), *columns)
    for name, row in rows.items():
        table.add_row(name, *row.values())
    Console().print(table)
