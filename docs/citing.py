"""Where in a file the places of its paper are: a table from the paper to the line, and the file with its lines to link to."""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pages import code, table

PLACE = re.compile(  # where in a paper something stands
    r"\b(?:eq(?:uations?|s?\.)|sections?|tables?|figures?|algorithms?|alg\.|appendix)\s+"
    r"[A-Z]?\d*(?:\.\d+)*(?:(?:-|,\s|\sand\s)(?:\d|[A-Z]\.)\d*(?:\.\d+)*)*"
    r"|\(\d\.\d(?:\.\d)*\)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Cited:
    """A line that says where in the paper it comes from."""

    line: int
    places: str  # "eq. 1, section 3.3"
    where: str  # the function or class that it stands in
    said: str  # its sentence


def from_paper_to_line(cited: Iterable[Cited]) -> list[str]:
    """The section of a page that leads from a paper's places to the lines of its file; nothing where none are named."""
    rows = [[f'<a href="#line-{c.line}">{c.line}</a>', c.places, code(c.where), c.said] for c in cited]
    if not rows:
        return []
    return [
        "## From the paper to the line",
        table(["Line", "Paper", "Where", "What it says"], rows, figures=(0,)),
    ]


def citations(path: Path) -> Iterator[Cited]:
    """The comments and docstrings below the file's own that name a place in a paper, from top to bottom."""
    text = path.read_text()
    tree = ast.parse(text)
    found: dict[tuple[int, str], Cited] = {}
    for line, words in sorted([*_docstrings(tree), *_comments(text)]):
        for match in PLACE.finditer(words):
            at = line + words[: match.start()].count("\n")
            said = _sentence(words, match)
            place = " ".join(match[0].strip("()").split())
            before = found.get((line, said))
            places = f"{before.places}, {place}" if before else place
            found[line, said] = Cited(before.line if before else at, places, _where(tree, at), said)
    yield from sorted(found.values(), key=lambda cited: cited.line)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            own = node.body[0]
            assert isinstance(own, ast.Expr) and isinstance(own.value, ast.Constant)
            yield own.lineno, str(own.value.value)


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments, those on lines of their own that follow each other as one."""
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, words = token.start[0], token.string.lstrip("# ")
        alone = token.line.lstrip().startswith("#")
        if block and alone and line == last + 1:
            block.append(words)
        else:
            if block:
                yield start, "\n".join(block)
            block, start = [words], line
        last = line if alone else 0
    if block:
        yield start, "\n".join(block)


def _sentence(words: str, match: re.Match[str]) -> str:
    """The sentence around a match; an argument's description is one, too."""
    ends = [
        end.end()
        for end in re.finditer(r"(?<!eq)(?<!alg)(?<!al)[.;]\s+(?=[A-Z`])|\n\s*\n|\n\s*(?=\w+: )", words)
    ]
    start = max((end for end in ends if end <= match.start()), default=0)
    stop = min((end for end in ends if end >= match.end()), default=len(words))
    return escape(" ".join(words[start:stop].split()), quote=False).replace("*", "\\*")


def _where(tree: ast.Module, line: int) -> str:
    """The innermost function or class around a line, with what it stands in."""
    names: list[str] = []
    body: list[ast.stmt] = tree.body
    while True:
        inner = next((node for node in body if node.lineno <= line <= (node.end_lineno or 0)), None)
        if not isinstance(inner, ast.FunctionDef | ast.ClassDef):
            return ".".join(names)
        names.append(inner.name)
        body = inner.body


def listing(path: Path) -> str:
    """The file, coloured, with numbers and a place to link to at every line."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    form = HtmlFormatter(linenos="inline", lineanchors="line", anchorlinenos=True, cssclass="highlight")
    return f"```{{raw}} html\n{highlight(path.read_text(), PythonLexer(), form)}```"
