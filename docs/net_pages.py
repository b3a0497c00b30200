"""A page a network's file: its legend, its figure, where its equations are, what it was compared with, its counts.

The networks are built for it, on torch's meta device, so that no figure on a page is typed by hand.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import net_figure
from citing import citations, from_paper_to_line, listing
from pages import ROOT, SRC, code, legend, opening, parse, table, title, write

from manyviews.cli.nets import row, short
from manyviews.nets.counting import Network, network, networks
from manyviews.nets.net import catalogue

NETS = SRC / "nets"
TESTS = ROOT / "tests" / "nets"


@dataclass(frozen=True)
class Test:
    """A test that compares the networks of a file with what others compute."""

    path: Path
    line: int
    name: str
    net: str  # the file of `nets/`
    against: tuple[str, ...]  # the references that it compares with

    @property
    def sentence(self) -> str:
        words = self.name.removeprefix("test_").replace("_", " ")
        return words[:1].upper() + words[1:]


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: the pages are written before Sphinx looks for any."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "nets", all_pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


@cache
def counted() -> Mapping[str, Network]:
    return networks()


def files() -> dict[str, Path]:
    """Every file with networks, or with a paper's part of them, by its name."""
    papers = {path.stem: path for path in sorted(NETS.glob("*.py")) if path.stem != "__init__"}
    return {name: path for name, path in papers.items() if _names(name) or _has_paper(path)}


def _has_paper(path: Path) -> bool:
    _, facts = legend(ast.get_docstring(parse(path)) or "")
    return not facts.keys().isdisjoint({"Paper", "Papers"})


def nets_of(file: str) -> list[Network]:
    """The networks of a file, counted."""
    return [counted()[name] for name in _names(file)]


def _names(file: str) -> list[str]:
    return [name for name, (_, module) in catalogue().items() if module.__name__.endswith(f".{file}")]


def all_pages() -> dict[str, str]:
    """All pages by name, and their index."""
    made = {name: page(path) for name, path in files().items()}
    return made | {"index": index()}


def index() -> str:
    """All networks, a table a file, each leading to its page."""
    names = files()
    shared = [f"- [{title(path)}]({name}.md)" for name, path in names.items() if not nets_of(name)]
    sections = [
        "# Networks",
        "One paper, one file, one page. Beside each count stands the paper's own. Where a net sees images, its parameters "
        "and the multiply-adds of one input are counted with the paper's classifier. `manyviews nets` prints "
        "the same.",
    ]
    for name, path in names.items():
        if nets := nets_of(name):
            rows = [[code(net.name), *figures_of(net, names=False)] for net in nets]
            sections += [
                f"## {title(path)}",
                f"[Its page]({name}.md) has its figure, its equations and what it was compared with.",
                counts(rows),
            ]
    sections += [
        "## What they share",
        "\n".join(shared),
        "\n".join(["```{toctree}", ":hidden:", *names, "```"]),
    ]
    return "\n\n".join(sections) + "\n"


def figures_of(net: Network, *, names: bool = True) -> list[str]:
    """A net's row without its name; a figure and its unit stay together."""
    *figures, elsewhere = row(net, names=names)[1:]
    return [*(figure.replace(" ", "\u00a0") for figure in figures), elsewhere]


def counts(rows: list[list[str]]) -> str:
    header = ["Network", "Parameters", "Paper", "Multiply-adds", "Paper", "Features", "Elsewhere"]
    return table(header, rows, figures=range(1, 6))


def page(path: Path) -> str:
    """One file's page in MyST Markdown."""
    nets = nets_of(path.stem)
    sections = opening(ast.get_docstring(parse(path), clean=True) or "")
    if nets:
        sections += [f"```sh\n{_commands(nets)}\n```", *figures(nets), "## Counts"]
        for paper in dict.fromkeys(net.paper for net in nets):
            rows = [[code(net.name), *figures_of(net)] for net in nets if net.paper == paper]
            sections += [f"From {paper}:", counts(rows)]
        sections += variants(nets)
    else:
        sections += used_by(path)
    sections += from_paper_to_line(citations(path))
    sections += [*tested(path), f"## The file\n\n`src/manyviews/nets/{path.name}`", listing(path)]
    return "\n\n".join(sections) + "\n"


def used_by(path: Path) -> list[str]:
    """Where a part that networks share is drawn and counted."""
    own = f"manyviews.nets.{path.stem}"
    users = [name for name, file in files().items() if nets_of(name) and own in _imports(file)]
    links = ", ".join(f"[{title(files()[name])}]({name}.md)" for name in users)
    return [f"It is drawn and counted with the networks that use it: {links}."] if users else []


def _commands(nets: list[Network]) -> str:
    shown = shown_of(nets)
    lines = [f"manyviews nets {shown.name}"]
    if shown.sees == "images":
        lines.append(f"manyviews pretrain simclr --net {shown.name} --size {shown.input}")
    return "\n".join(lines)


def shown_of(nets: list[Network]) -> Network:
    """The one to show of several: the first that both its paper and other libraries know."""
    return max(nets, key=_known)


def _known(net: Network) -> int:
    return bool(net.known_as) + bool(net.paper_parameters or net.paper_multiply_adds)


# -- figures and variants --------------------------------------------------------------------------------------------


def figures(nets: list[Network]) -> list[str]:
    """A drawing of each architecture; nets that differ in depth and width alone share one."""
    groups: dict[str, list[Network]] = {}
    for net in nets:
        if net.part:
            groups.setdefault(net_figure.skeleton(net.part), []).append(net)
    drawn = []
    shown = [shown_of(some) for some in groups.values()]
    first = max(shown, key=lambda net: (_known(net), net.parameters or 0), default=None)
    for net, some in zip(shown, groups.values(), strict=True):
        others = ", ".join(other.name for other in some if other is not net)
        caption = f"{net.name}{f'; the same but for their sizes: {others}' if others else ''}"
        drawing = net_figure.figure(network(net.name, flow=True))
        drawn.append(
            f"```{{raw}} html\n<details{' open' if net is first else ''}><summary>{escape(caption)}</summary>\n"
            f"{drawing}\n</details>\n```"
        )
    said = (
        "Drawn from the module tree: the parts in the order in which they run, each with the shape of its output. Bars compare "
        "the costs. Outputs of several parts meet in a circle, which has a plus where they are added."
    )
    return ["## Architecture", said, *drawn] if drawn else []


def variants(nets: list[Network]) -> list[str]:
    """What a word after the name changes; nets with the same words share their rows."""
    groups: dict[str, list[Network]] = {}
    for net in nets:
        if net.variants:
            groups.setdefault(str(net.variants), []).append(net)
    rows = []
    for some in groups.values():
        shown = shown_of(some)
        for word, changes in shown.variants.items():
            net = network(f"{shown.name}/{word}")
            costs = [net.problem or short(net.parameters), short(net.multiply_adds, "KMGT")]
            rows.append([code(net.name), code(changes), *costs])
    said = (
        "A word after a net's name selects a variant. The table counts the variants of one net of each kind."
    )
    return (
        [
            "## Variants",
            said,
            table(["Variant", "Changes", "Parameters", "Multiply-adds"], rows, figures=(2, 3)),
        ]
        if rows
        else []
    )


# -- parity ----------------------------------------------------------------------------------------------------------


def tested(path: Path) -> list[str]:
    """What the file's networks are compared with, test by test, and where they are tested."""
    rows = [
        [
            test.sentence,
            ", ".join(test.against),
            code(f"{test.path.relative_to(ROOT).as_posix()}:{test.line}"),
        ]
        for test in comparisons(path)
    ]
    parity = [table(["Agrees with the reference", "Reference", "Test"], rows)] if rows else []
    where = [code(file.relative_to(ROOT).as_posix()) for file in test_files(path)]
    every = [f"All its tests: {', '.join(where)}."] if where else []
    return ["## Parity", *parity, *every] if parity or every else []


def comparisons(path: Path) -> list[Test]:
    """The tests that say that they compare the file's networks with a reference (`pytest.mark.against`)."""
    return [test for test in marked() if path.stem == test.net]


def test_files(path: Path) -> list[Path]:
    """The files of tests that are named after the file, take something from it, or compare it."""
    own = f"manyviews.nets.{path.stem}"
    named = TESTS / f"test_{path.stem}.py"
    compared = {test.path for test in comparisons(path)}
    return [file for file in _test_files() if file == named or file in compared or own in _imports(file)]


@cache
def marked() -> list[Test]:
    """Every test that has the mark, in the order of the files."""
    found = []
    for file in _test_files():
        for node in parse(file).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found += _by_nets(file, node)
    return found


def _by_nets(file: Path, node: ast.FunctionDef) -> list[Test]:
    """A test once for each of the files that it compares, for not all have the same references."""
    against: dict[str, list[str]] = {}
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.against":
            library, *nets = map(ast.literal_eval, mark.args)
            for net in nets:
                against.setdefault(net, []).append(library)
    return [Test(file, node.lineno, node.name, net, tuple(libraries)) for net, libraries in against.items()]


@cache
def _test_files() -> list[Path]:
    return sorted(TESTS.glob("test_*.py"))


@cache
def _imports(file: Path) -> set[str]:
    """The modules that a file takes something from, or that it may take whole."""
    taken = [node for node in parse(file).body if isinstance(node, ast.ImportFrom) and node.module]
    whole = {f"{node.module}.{name.name}" for node in taken for name in node.names}
    return whole | {str(node.module) for node in taken}
