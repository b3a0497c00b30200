"""A page a method, made from its file. The file is read, not imported, so that the site needs no torch."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SRC = Path(__file__).resolve().parents[1] / "src" / "manyviews"
METHODS = SRC / "methods"
NEEDED = ("Config", "ANATOMY", "RECIPES")


@dataclass(frozen=True)
class Setting:
    """One field of a dataclass: its name, its default as written, and the comment beside it."""

    name: str
    default: str
    help: str


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: the pages are written before Sphinx looks for any."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "methods"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def files() -> dict[str, Path]:
    """Every method's file by its name."""
    return {path.stem: path for path in sorted(METHODS.rglob("*.py")) if path.stem != "__init__"}


def write(folder: Path) -> None:
    """Write all pages and their index into ``folder``, touching only what changed."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {name: page(path) for name, path in files().items()}
    pages["index"] = index(pages)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        target = folder / f"{name}.md"
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def index(names: Iterable[str]) -> str:
    """The list of methods, with their anatomy side by side."""
    rows = []
    for name in names:
        anatomy = keywords(top_level(parse(files()[name]))["ANATOMY"])
        rows.append([f"[{title(files()[name])}]({name}.md)", *map(literal, anatomy.values())])
    header = ["Method", "Pretext", "Positives", "Negatives", "Target", "Objective"]
    toc = "\n".join(["```{toctree}", ":hidden:", *names, "```"])
    return f"# Methods\n\nA paper, a file, a page.\n\n{table(header, rows)}\n\n{toc}\n"


def page(path: Path) -> str:
    """One method's page in MyST Markdown.

    Raises:
        ValueError: the file lacks a docstring, or one of ``Config``, ``ANATOMY`` and ``RECIPES``.
    """
    tree, name = parse(path), path.stem
    top = top_level(tree)
    if missing := [part for part in NEEDED if part not in top]:
        raise ValueError(
            f"{path} has no {', '.join(missing)}; a method's file needs all of {', '.join(NEEDED)}"
        )
    first, facts = legend(ast.get_docstring(tree, clean=True) or "")
    heading, _, idea = first.partition(": ")
    fields = settings(path, "Config")
    sections = [
        f"# {heading}",
        idea[:1].upper() + idea[1:],
        table(["", ""], [[f"**{key}**", linked(value)] for key, value in facts.items()]),
        f"```sh\nmanyviews pretrain {name}\nmanyviews pretrain {name} --help\n```",
        "## Anatomy",
        table(["", ""], [[f"**{key}**", literal(value)] for key, value in keywords(top["ANATOMY"]).items()]),
        "## Hyper-parameters",
        table(["Setting", "Default", "Meaning"], [[code(s.name), code(s.default), s.help] for s in fields]),
        "## Recipes",
        "What differs from the defaults of the method and of a run, by recipe; empty: the default.",
        recipes(top["RECIPES"]),
        "## The file",
        f"```{{literalinclude}} ../../src/manyviews/{path.relative_to(SRC).as_posix()}\n:language: python\n```",
    ]
    return "\n\n".join(sections) + "\n"


def legend(docstring: str) -> tuple[str, dict[str, str]]:
    """A method's docstring as its first line and the facts under it (``Paper``, ``Differs``, ``Shapes``)."""
    first, _, rest = docstring.partition("\n")
    facts: dict[str, str] = {}
    for line in rest.strip().splitlines():
        if match := re.match(r"(\w+) {2,}(.+)", line):
            facts[match[1]] = match[2]
        elif facts and line.strip():
            facts[list(facts)[-1]] += " " + line.strip()
    return first, facts


def settings(path: Path, name: str) -> list[Setting]:
    """The fields of the dataclass ``name``, those of its base class in another method's file first."""
    text = path.read_text()
    tree = ast.parse(text)
    kind = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found: dict[str, Setting] = {}
    for base in kind.bases:
        module, _, base_name = ast.unparse(base).partition(".")
        found |= {field.name: field for field in settings(files()[module], base_name)}
    lines = text.splitlines()
    for node in kind.body:
        if isinstance(node, ast.AnnAssign):
            comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")[2].strip()
            default = ast.unparse(node.value) if node.value else ""
            found[ast.unparse(node.target)] = Setting(ast.unparse(node.target), default, comment)
    return list(found.values())


def recipes(value: ast.expr) -> str:
    """``RECIPES`` as a table: a row a setting, a column a recipe."""
    assert isinstance(value, ast.Dict)
    columns: dict[str, dict[str, str]] = {}
    for key, pair in zip(value.keys, value.values, strict=True):
        assert isinstance(pair, ast.Tuple), "a recipe is a pair of Config and Recipe"
        columns[literal(key)] = {
            name: ast.unparse(setting) for part in pair.elts for name, setting in keywords(part).items()
        }
    results = {recipe: column.pop("result") for recipe, column in columns.items() if "result" in column}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [[code(name), *(code(column.get(name, "")) for column in columns.values())] for name in names]
    measured = "".join(
        f"\n\n**Measured, {name}.** {ast.literal_eval(text)}" for name, text in results.items()
    )
    return table(["Setting", *columns], rows) + measured


def title(path: Path) -> str:
    """A method's name as its paper writes it."""
    return (ast.get_docstring(parse(path)) or path.stem).partition(":")[0]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def top_level(tree: ast.Module) -> dict[str, ast.expr]:
    """What a module assigns by name (a class counts as its own name)."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.ClassDef):
            found[node.name] = ast.Name(node.name)
    return found


def keywords(call: ast.expr) -> dict[str, ast.expr]:
    assert isinstance(call, ast.Call)
    return {word.arg: word.value for word in call.keywords if word.arg}


def literal(node: ast.expr | None) -> str:
    return str(ast.literal_eval(node)) if node else ""


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def linked(text: str) -> str:
    """Text with its arXiv numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
