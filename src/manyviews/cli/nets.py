"""The command that says what networks there are: a table of all, or one part by part."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from manyviews.cli.shared import parse, positional, print_json
from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    from manyviews.nets.counting import Network
    from manyviews.nets.parts import Part

WIDE = 200  # columns of a line that no terminal shows
HEADER = ("network", "parameters", "paper", "multiply-adds", "paper", "features", "elsewhere")
ABOUT = (
    "Beside each count stands what the paper says, where it does. Parameters are counted with the paper's classifier where a net sees "
    "images; so are the multiply-adds of one input. Elsewhere: the libraries that have the same network, or, where a variant stands beside "
    "one, that variant of it; torch.nn has its layers. "
    "`manyviews nets NAME` shows one part by part."
)


def nets_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Nets:
        """List all networks, how large they are and what they cost, beside what their papers say; or show one part by part."""

        names: positional(tuple[str, ...], "NAME[/VARIANT]; none: list all; one: show its parts") = ()  # pyright: ignore[reportInvalidTypeForm]
        depth: int = 2  # levels of parts to show, for a single network
        markdown: bool = False  # print the table as Markdown
        json: bool = False  # print one JSON object

    ask = parse(Nets, words, "nets")
    if ask.depth < 1:
        raise ManyviewsError(f"--depth is {ask.depth}; it must be at least 1, which shows a net's own parts.")
    from manyviews.api import network, networks

    nets = {name: network(name) for name in ask.names} or networks()
    one = nets[ask.names[0]] if len(nets) == 1 and not ask.markdown else None
    if ask.json:
        print_json(_whole(one) if one else {name: _plain(net) for name, net in nets.items()})
    elif ask.markdown:
        print("\n".join(markdown(nets)))
    else:
        print("\n".join(_sheet(one, ask.depth) if one else _table(nets, _width())))


def _plain(net: "Network") -> dict[str, Any]:
    return {name: value for name, value in asdict(net).items() if name != "part"}


def _whole(net: "Network") -> dict[str, Any]:
    variants = {name: _plain(variant) for name, variant in _variants(net).items()}
    return _plain(net) | {"parts": asdict(net.part)["parts"] if net.part else None, "variants": variants}


def _variants(net: "Network") -> dict[str, "Network"]:
    from manyviews.api import network

    return {variant: network(f"{net.name}/{variant}") for variant in net.variants}


def _width() -> int:
    shown = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if shown else WIDE


# -- all of them -----------------------------------------------------------------------------------------------------


def row(net: "Network", *, names: bool = True) -> list[str]:
    """A net under `HEADER`; with `names`, also what other libraries call it where they call it otherwise."""
    return [
        net.name,
        short(net.parameters),
        short(net.paper_parameters),
        short(net.multiply_adds, "KMGT"),
        short(net.paper_multiply_adds, "KMGT"),
        f"{net.width:,}" if net.width else "",
        elsewhere(net) if names else ", ".join(_libraries(net)),
    ]


def _libraries(net: "Network") -> Iterator[str]:
    """The libraries that have the same net; "(/2014)": that variant alone."""
    variants: dict[str, list[str]] = {}
    for key in net.known_as:
        library, _, variant = key.partition("/")
        variants.setdefault(library, []).append(variant)
    for library, theirs in variants.items():
        yield library if "" in theirs else f"{library} ({', '.join(f'/{variant}' for variant in theirs)})"


def elsewhere(net: "Network") -> str:
    """The libraries that have the same net, and its name there where that is another; "/bn": of that variant."""
    said = []
    for key, name in net.known_as.items():
        library, _, variant = key.partition("/")
        said.append(
            f"/{variant}: {library} {name}"
            if variant
            else library
            if name == net.name
            else f"{library} {name}"
        )
    return ", ".join(said)


def _table(nets: Mapping[str, "Network"], width: int) -> Iterator[str]:
    """A line a net, under its paper; the last column says less, or nothing, where `width` is too little for it."""
    for names, columns in ((True, len(HEADER)), (False, len(HEADER)), (False, len(HEADER) - 1)):
        rows = [HEADER, *(row(net, names=names) for net in nets.values())]
        lines = ["  " + line for line in aligned([r[:columns] for r in rows])]
        if max(map(len, lines)) <= width:
            break
    yield lines[0]
    for paper, group in groupby(zip(nets.values(), lines[1:], strict=True), key=lambda pair: pair[0].paper):
        yield paper
        yield from (line for _, line in group)
    yield ""
    yield from textwrap.wrap(ABOUT, min(width, 110))
    for net in nets.values():
        if net.problem:
            yield f"{net.name} could not be counted: {net.problem}"


def markdown(nets: Mapping[str, "Network"]) -> Iterator[str]:
    """The same as a Markdown table, the paper in a column of its own, without the names elsewhere."""
    yield f"| {' | '.join([HEADER[0], 'of', *HEADER[1:]])} |"
    yield "| --- | --- |" + " ---: |" * 5 + " --- |"
    for net in nets.values():
        first, *rest = row(net, names=False)
        yield f"| {' | '.join([f'`{first}`', net.paper, *rest])} |"


# -- one of them -----------------------------------------------------------------------------------------------------


def _sheet(net: "Network", depth: int) -> Iterator[str]:
    facts = {
        "paper": net.paper,
        "sees": f"{net.sees}, counted at {net.input}"
        + {"images": " pixels a side", "sounds": " samples"}.get(net.sees, " tokens"),
        "parameters": _beside(net.parameters, net.paper_parameters),
        "multiply-adds": _beside(net.multiply_adds, net.paper_multiply_adds, "KMGT"),
        "features": f"{net.width:,}" if net.width else "",
        "elsewhere": elsewhere(net),
        "not counted": net.problem or "",
    }
    yield net.name
    yield from (f"  {name:<13}  {fact}" for name, fact in facts.items() if fact)
    if net.part:
        rows = [("part", "what it is", "gives", "parameters", "multiply-adds"), *_rows(net.part, depth, "")]
        if net.head:
            rows.append(_line(net.head.name, f"{net.head.kind}; for the counts alone", net.head))
        yield ""
        yield from aligned(rows, left=3)
    if net.variants:
        yield ""
        rows = [
            (
                f"{net.name}/{name}",
                net.variants[name],
                variant.problem or "",
                short(variant.parameters),
                short(variant.multiply_adds, "KMGT"),
            )
            for name, variant in _variants(net).items()
        ]
        yield from aligned([("variant", "changes", "", "parameters", "multiply-adds"), *rows], left=3)


def _beside(counted: float | None, paper: float | None, units: str = "KMBT") -> str:
    """A count in full, and what the paper says where it does."""
    if counted is None:
        return ""
    return f"{counted:,}" + (f" (the paper: {short(paper, units)})" if paper is not None else "")


def _rows(part: "Part", depth: int, indent: str) -> Iterator[tuple[str, ...]]:
    for child in part.parts:
        times = f" × {child.times}" if child.times > 1 else ""
        yield _line(f"{indent}{child.name}{times}", child.kind, child)
        if depth > 1:
            yield from _rows(child, depth - 1, indent + "  ")


def _line(name: str, kind: str, part: "Part") -> tuple[str, ...]:
    costs = (short(part.parameters or None), short(part.multiply_adds or None, "KMGT"))
    return (name, kind, shape(part.out), *costs)


# -- figures as text -------------------------------------------------------------------------------------------------


def short(number: float | None, units: str = "KMBT") -> str:
    """At most four digits and a unit: 25.56 M; nothing for None."""
    if number is None:
        return ""
    scale = min((len(str(int(number))) - 1) // 3, len(units))
    digits = f"{number / 1000**scale:.4g}"
    if float(digits) >= 1000 and scale < len(units):  # 999.99 K is 1 M
        return short(float(digits) * 1000**scale, units)
    return f"{digits} {units[scale - 1]}" if scale else digits


def shape(out: Sequence[int]) -> str:
    """A shape as figures write it: 64 × 56 × 56."""
    return " × ".join(map(str, out))


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows as lines of columns; the first `left` and a seventh are words, set flush left, the others figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if i < left or i == len(HEADER) - 1 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in rows
    ]
