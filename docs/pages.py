"""What the pages that are made from the code share: reading a file without importing it, and writing Markdown."""

import ast
import re
from collections.abc import Collection, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "manyviews"


def write(folder: Path, pages: Mapping[str, str]) -> None:
    """Make ``folder`` hold these pages and no others, touching only what changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        target = folder / f"{name}.md"
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def legend(docstring: str) -> tuple[str, dict[str, str]]:
    """A file's docstring as its first line and the facts under it (``Paper``, ``Differs``, ``Shapes``)."""
    first, _, rest = docstring.partition("\n")
    facts: dict[str, str] = {}
    for line in rest.strip().splitlines():
        if match := re.match(r"(\w+) {2,}(.+)", line):
            facts[match[1]] = match[2]
        elif facts and line.strip():
            facts[list(facts)[-1]] += " " + line.strip()
    return first, facts


def opening(docstring: str) -> list[str]:
    """A page's title, its idea, and its legend as a table."""
    first, facts = legend(docstring)
    heading, _, idea = first.partition(": ")
    return [
        f"# {heading.rstrip('.')}",
        idea[:1].upper() + idea[1:],
        table(["", ""], [[f"**{key}**", linked(value)] for key, value in facts.items()]),
    ]


def title(path: Path) -> str:
    """What a file is about, as its paper writes it."""
    first = (ast.get_docstring(parse(path)) or path.stem).splitlines()[0]
    return first.partition(": ")[0].rstrip(".")


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


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def linked(text: str) -> str:
    """Text with its arXiv numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def table(header: list[str], rows: list[list[str]], figures: Collection[int] = ()) -> str:
    """A Markdown table; the columns at ``figures`` are set flush right."""
    lines = [header, ["---:" if i in figures else "---" for i in range(len(header))], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
