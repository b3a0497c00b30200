"""What the commands share: reading flags, printing figures."""

import json
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import fields
from io import StringIO
from itertools import takewhile
from typing import Annotated, Any

from manyviews.errors import ManyviewsError, nearest


def parse(
    kind: Any,
    words: list[str],
    command: str,
    default: Any = None,
    unknown: Callable[[str], ManyviewsError] | None = None,
) -> Any:
    """What ``words`` ask of a command, as its dataclass ``kind``.

    Args:
        unknown: makes the error for an option that the command does not have, from its name (``weight_decay`` of
            ``--weight-decay``); None: the nearest ones of ``kind`` are suggested.

    Raises:
        ManyviewsError: an option that there is not, a value of another kind, a word that is missing or that nothing asks for.
    """
    import tyro

    given = {} if default is None else {"default": default}
    box = StringIO()
    try:
        with redirect_stderr(box):
            asked, left = tyro.cli(
                kind,
                prog=f"manyviews {command}",
                args=words,
                config=(tyro.conf.ConsolidateSubcommandArgs,),
                return_unknown_args=True,
                **given,
            )
    except SystemExit as stop:
        if not stop.code:  # it was asked for help
            raise
        raise ManyviewsError(f"{_unboxed(box.getvalue())}; see `manyviews {command} --help`.") from None
    if option := next((word for word in left if word.startswith("-")), None):
        name = option.lstrip("-").partition("=")[0].replace("-", "_")
        raise unknown(name) if unknown else _no_option(command, name, kind)
    if left:
        raise ManyviewsError(
            f"'{left[0]}' is one word too many for manyviews {command}; see `manyviews {command} --help`."
        )
    return asked


def _unboxed(box: str) -> str:
    """What a frame of lines says above its first rule, as one line."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    told = takewhile(lambda line: not line.startswith("──"), lines)
    return " ".join(" ".join(told).split()).rstrip(".")


def _no_option(command: str, name: str, kind: Any) -> ManyviewsError:
    import tyro

    options = [
        field.name
        for field in fields(kind)
        if tyro.conf.Positional not in getattr(field.type, "__metadata__", ())
    ]
    hint = nearest(name, options, f"see `manyviews {command} --help`.")
    return ManyviewsError(f"manyviews {command} has no option '{name}'; {hint}")


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
    from rich.markup import escape
    from rich.table import Table

    shown = {
        **dict.fromkeys(("top1", "pretrained", "top5"), "{:.1%}"),
        **dict.fromkeys(("top1_mean", "top1_std", "pretrained_mean", "pretrained_std"), "{:.1%}"),
        "miou": "{:.1%}",
        "miou_mean": "{:.1%}",
        "miou_std": "{:.1%}",
        "pixel_accuracy": "{:.1%}",
        **dict.fromkeys(("f1", "f1_mean", "f1_std", "precision", "recall"), "{:.1%}"),
        **dict.fromkeys(("exact", "exact_mean", "exact_std", "f1_answered"), "{:.1%}"),
        **dict.fromkeys(("spearman", "pearson"), "{:.3f}"),
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
        table.add_row(escape(name), *(row.get(column, "") for column in columns))
    return table
