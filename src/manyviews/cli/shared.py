"""What the commands share: reading flags, printing figures."""

import json
import shlex
import sys
from typing import Annotated, Any


def parse(kind: Any, words: list[str], command: str, default: Any = None) -> Any:
    import tyro

    given = {} if default is None else {"default": default}
    return tyro.cli(
        kind, prog=f"manyviews {command}", args=words, config=(tyro.conf.ConsolidateSubcommandArgs,), **given
    )


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def positional(kind: Any, help: str) -> Any:
    import tyro

    return Annotated[kind, tyro.conf.Positional, tyro.conf.arg(help=help)]


def tell(sentence: str) -> None:
    """Say something to the person rather than to a pipe."""
    print(f"manyviews: {sentence}", file=sys.stderr)


def said(sentence: str, status: int) -> int:
    """``tell``, and give back ``status``."""
    tell(sentence)
    return status


def typed(command: str, words: list[str]) -> str:
    """The line that the user typed, to be repeated."""
    return shlex.join(["manyviews", command, *words])


def figures_table(figures: dict[str, Any]) -> Any:
    """A row an encoder, a column a figure."""
    from rich.table import Table

    shown = {
        "top1": "{:.1%}",
        "pretrained": "{:.1%}",
        "top5": "{:.1%}",
        "top1_mean": "{:.1%}",
        "top1_std": "{:.1%}",
        "miou": "{:.1%}",
        "miou_mean": "{:.1%}",
        "miou_std": "{:.1%}",
        "pixel_accuracy": "{:.1%}",
        **dict.fromkeys(("f1", "f1_mean", "f1_std", "precision", "recall"), "{:.1%}"),
        **dict.fromkeys(("exact", "exact_mean", "exact_std", "f1_answered"), "{:.1%}"),
        "spread": "{:.2f}",
        "rankme": "{:.0f}",
        "alignment": "{:.2f}",
        "uniformity": "{:.2f}",
    }
    rows = {
        name: {
            f"{protocol} {key}": form.format(value[key])
            for protocol, value in row.items()
            for key, form in shown.items()
            if value.get(key) is not None
        }
        for name, row in figures.items()
    }
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    table = Table("", *columns)
    for name, row in rows.items():
        table.add_row(name, *(row.get(column, "") for column in columns))
    return table
