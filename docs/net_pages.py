"""A page a network's file: its legend, its figure, where its equations are, what it was compared with, its counts.

The networks are built for it, on torch's meta device, so that no figure on a page is typed by hand.
"""

import ast
import re
from collections.abc import Iterator, Mapping
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
REFERENCES = {  # what a test compares with -> how its source says so
    "torchvision": r"\btorchvision\b",
    "timm": r"\btimm\b",
    "transformers": r"\btransformers\b",
    "torchdiffeq": r"\btorchdiffeq\b",
    "torch.nn": r"\bnn\.(?:RNN|GRU|LSTM|Transformer|TransformerEncoderLayer|MultiheadAttention|LocalResponseNorm)\b",
    "autograd": r"\bautograd\b",
}


Definition = ast.FunctionDef | ast.ClassDef | ast.Assign


@dataclass(frozen=True)
class Test:
    """A test of a file's networks."""

    path: Path
    line: int
    name: str
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
    return {name: path for name, path in papers.items() if nets_of(name) or _has_paper(path)}


def _has_paper(path: Path) -> bool:
    _, facts = legend(ast.get_docstring(parse(path)) or "")
    return not facts.keys().isdisjoint({"Paper", "Papers"})


def nets_of(file: str) -> list[Network]:
    """The networks of a file, counted."""
    here = [name for name, (_, module) in catalogue().items() if module.__name__.endswith(f".{file}")]
    return [counted()[name] for name in here]


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
        "A paper, a file, a page. Beside each count stands what the paper says. Parameters are counted with the "
        "paper's classifier where a net sees images; so are the multiply-adds of one input. `manyviews nets` prints "
        "the same.",
    ]
    for name, path in names.items():
        if nets := nets_of(name):
            rows = [[code(net.name), *figures_of(net, names=False)] for net in nets]
            sections += [
                f"## {title(path)}",
                f"[Its page]({name}.md): figure, equations, parity.",
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
    sections += from_paper_to_line(citations(path))
    sections += [*tested(path), f"## The file\n\n`src/manyviews/nets/{path.name}`", listing(path)]
    return "\n\n".join(sections) + "\n"


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
    return bool(net.known_as) + bool(net.paper_parameters)


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
        caption = f"{net.name}{f'; like it, but for their sizes: {others}' if others else ''}"
        drawing = net_figure.figure(network(net.name, flow=True))
        drawn.append(
            f"```{{raw}} html\n<details{' open' if net is first else ''}><summary>{escape(caption)}</summary>\n"
            f"{drawing}\n</details>\n```"
        )
    said = (
        "Drawn from the module tree: parts in the order in which they run, each with what it gives. Bars compare the "
        "costs; a circle is where what several parts made comes together, with a plus where it is added."
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
    said = "A word after the name changes the net; counted here for one net of each kind."
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
    """What the file's networks are compared with, test by test."""
    found = tests(path)
    compared = [test for test in found if test.against]
    if not found:
        return []
    rows = [
        [
            test.sentence,
            ", ".join(test.against),
            code(f"{test.path.relative_to(ROOT).as_posix()}:{test.line}"),
        ]
        for test in compared
    ]
    rest = len(found) - len(compared)
    where = sorted({code(test.path.relative_to(ROOT).as_posix()) for test in found})
    more = (
        f"{rest} more {'tests hold' if rest > 1 else 'test holds'} it to known answers: {', '.join(where)}."
    )
    parity = [table(["The same as the reference", "Which", "Test"], rows)] if rows else []
    return ["## Parity", *parity, *([more] if rest else [])]


def tests(path: Path) -> list[Test]:
    """The tests of a file: those of its own test file, and those elsewhere that use what it defines."""
    own = {node.name for node in parse(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {name for name in _names(path) if not name.startswith("_")}
    possible = _references(path)
    found = []
    for file in sorted(TESTS.glob("test_*.py")):
        tree, text = parse(file), file.read_text()
        defined = dict(_defined(tree))
        for name, node in defined.items():
            if not (name.startswith("test_") and isinstance(node, ast.FunctionDef)):
                continue
            source = _with_helpers(name, defined, text)
            uses = file.stem == f"test_{path.stem}" or (
                f"nets.{path.stem} import" in text and any(re.search(rf"\b{word}\b", source) for word in own)
            )
            if uses:
                against = tuple(what for what in possible if re.search(REFERENCES[what], source))
                found.append(Test(file, node.lineno, name, against))
    return found


def _references(path: Path) -> list[str]:
    """Those that can have a file's networks: of the libraries, where some are named, no others."""
    nets = [net for net, module in catalogue().values() if module.__name__.endswith(f".{path.stem}")]
    named = {library.partition("/")[0] for net in nets for library in net.known_as}
    others = {
        library.partition("/")[0] for net, _ in catalogue().values() for library in net.known_as
    } - named
    return [what for what in REFERENCES if not (named and what in others)]


def _names(path: Path) -> set[str]:
    """What a file assigns at its top."""
    return {name for name, node in _defined(parse(path)) if isinstance(node, ast.Assign)} - {"NETS", "NAMES"}


def _defined(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))


def _with_helpers(name: str, defined: Mapping[str, Definition], text: str) -> str:
    """A test's source, with that of what its file defines for it: what it calls, is given or compares with."""
    seen: dict[str, str] = {}
    waiting = [name]
    lines = text.splitlines()
    while waiting:
        node = defined[one := waiting.pop()]
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        seen[one] = "\n".join(lines[first - 1 : node.end_lineno])
        words = set(re.findall(r"\w+", seen[one])) & defined.keys()
        waiting += [word for word in words if word not in seen]
    return "\n".join(seen.values())
