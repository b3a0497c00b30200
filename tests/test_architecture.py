"""The arrows between the parts of Manyviews, read from the imports: which part may use which, and no circles."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
FILES = sorted((SRC / "manyviews").rglob("*.py"))

LONGEST_FILE = 300  # lines

LEAVES = "errors rng files distributed recipe"
MAY_USE = {
    "errors": "",
    "rng": "",
    "eager": "",
    "files": "errors",
    "folders": "errors",
    "code": "",
    "distributed": "",
    "machine": "",
    "side": "errors",
    "recipe": "errors",
    "objectives": "errors distributed",
    "memory": "errors rng distributed",
    "kmeans": "errors",
    "nets": "errors files code distributed views",
    "views": "errors rng",
    "data": "errors rng files views",
    "method": f"{LEAVES} code nets views data",
    "methods": f"{LEAVES} objectives memory kmeans nets views data method",
    "evaluation": f"{LEAVES} eager nets views data",
    "training": f"{LEAVES} eager machine nets views data method evaluation",
    "plan": f"{LEAVES} data method",
    "beginning": "nets method",
    "runs": f"{LEAVES} nets views data method evaluation training beginning",
    "report": f"{LEAVES} nets views data evaluation runs",
    "launching": "errors recipe distributed",
    "vectors": "errors files data evaluation",
    "judging": f"{LEAVES} nets data method evaluation plan runs report",
    "learn": f"{LEAVES} data method evaluation plan machine beginning runs launching judging folders",
    "given": f"{LEAVES} nets data method plan runs",
    "use": f"{LEAVES} nets views data evaluation runs given report vectors",
    "worth": f"{LEAVES} data evaluation runs given report judging",
    "writing": f"{LEAVES} nets data evaluation runs report",
    "prompting": f"{LEAVES} nets data evaluation runs writing",
    "tabled": "method evaluation plan runs report",
    "comparing": f"{LEAVES} folders data nets method plan runs report learn side tabled",
    "claims": f"{LEAVES} machine objectives nets views data method evaluation training plan runs report learn worth prompting side",
    "tuning": f"{LEAVES} data evaluation training report",
    "api": "method nets tuning learn given use worth writing prompting comparing claims",
    "cli": f"{LEAVES} nets method plan learn given use worth writing prompting comparing tabled claims tuning api",
    "__init__": "api",
    "__main__": "cli",
}

EXTENDS = {
    ("mocov2", "moco"),
    ("densecl", "mocov2"),
    ("simclrv2", "simclr"),
}  # the first says itself that it is the second with changes
NOT_A_PAPER = {"supervised", "translation"}  # ordinary words as well as methods


def dotted(path: Path) -> str:
    """``manyviews.nets.resnet`` for its file; a package's own name for its ``__init__.py``."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in FILES}


def part(module: str) -> str:
    """The part a module belongs to: ``nets`` for ``manyviews.nets.resnet``."""
    return [*module.split("."), "__init__"][1]


def targets(node: ast.AST, path: Path) -> Iterator[str]:
    """Our own modules that one import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    if not isinstance(node, ast.ImportFrom):
        return
    base = node.module or ""
    if node.level:
        package = path.relative_to(SRC).parts[: -node.level]
        base = ".".join(package + ((base,) if base else ()))
    for alias in node.names:
        if alias.name == "__version__":  # everybody may say which Manyviews this is
            continue
        submodule = f"{base}.{alias.name}"
        if submodule in MODULES:
            yield submodule
        elif base in MODULES:
            yield base


def imports(path: Path) -> set[str]:
    """All of our modules that a file uses, inside functions and for type checking too."""
    tree = ast.parse(path.read_text())
    return {target for node in ast.walk(tree) for target in targets(node, path)} - {dotted(path)}


def imports_at_load(path: Path) -> set[str]:
    """Those that it needs when it is itself imported."""

    def visit(node: ast.AST) -> Iterator[str]:
        yield from targets(node, path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return set(visit(ast.parse(path.read_text()))) - {dotted(path)}


def method_names() -> set[str]:
    return {path.stem for path in FILES if "methods" in path.parts and path.stem != "__init__"}


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that code gives or uses, and every string that is one word, with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case (
                ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) | ast.keyword(arg=str(word))
            ):
                yield word, line
            case ast.FunctionDef(name=word) | ast.ClassDef(name=word) | ast.alias(name=word):
                yield word.rpartition(".")[2], line
            case ast.Constant(value=str(word)):
                yield word, line


def test_every_part_has_its_place_in_the_map():
    parts = {part(module) for module in MODULES} | {"__init__"}
    assert parts <= MAY_USE.keys(), "say in MAY_USE what the new part may use"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_follow_the_arrows(path: Path):
    here = part(dotted(path))
    allowed = {here, *MAY_USE[here].split()}
    wrong = {module for module in imports(path) if part(module) not in allowed}
    assert not wrong, f"{dotted(path)} must not use {sorted(wrong)}"


def test_the_map_itself_has_no_circle():
    TopologicalSorter({name: set(uses.split()) for name, uses in MAY_USE.items()}).prepare()


def test_no_module_needs_itself_to_load():
    try:
        TopologicalSorter({dotted(path): imports_at_load(path) for path in FILES}).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_papers_use_each_other_only_where_the_paper_says_so():
    used = {
        (path.stem, target.rpartition(".")[2])
        for path in FILES
        if part(dotted(path)) == "methods"
        for target in imports(path)
        if part(target) == "methods"
    }
    assert used <= EXTENDS


def test_only_methods_and_claims_name_a_paper():
    nets = {path.stem for path in FILES if part(dotted(path)) == "nets"} | {"char_rnn"}
    papers = (
        method_names() - NOT_A_PAPER - nets
    )  # a paper that proposes a net and how it learns has a file of each
    assert papers, "the methods folder is empty"
    named = [
        f"{path.relative_to(SRC)}:{line} {word}"
        for path in FILES
        if part(dotted(path)) != "methods" and path.parent.name != "papers"
        for word, line in identifiers(ast.parse(path.read_text()))
        if word.lower() in papers
    ]
    assert not named, "the folder is the registry; nothing else knows its names"


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_files_stay_short(path: Path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
