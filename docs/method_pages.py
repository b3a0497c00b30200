"""A page a method, made from its file, which is read: comments are part of it."""

import ast
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from citing import citations, from_paper_to_line, listing
from pages import ROOT, SRC, code, opening, parse, table, title, top_level, write

from manyviews.claims import store
from manyviews.claims.claim import page as claims_of
from manyviews.claims.claim import papers
from manyviews.claims.stale import stale
from manyviews.claims.words import is_share, mean_of, standing, values
from manyviews.plan import RUNS
from manyviews.report.markup import capital

METHODS = SRC / "methods"
CROPS = SRC / "views" / "contrastive_crop.py"  # a paper that is views for any method
FIGURES = ROOT / "docs" / "figures"  # what papers say, and what we measured
RESULTS = ROOT / "docs" / "claims"
NEEDED = ("Config", "ANATOMY", "RECIPES")


@dataclass(frozen=True)
class Setting:
    """One field of a dataclass: its name, its default as written, and the comment beside it."""

    name: str
    default: str
    help: str


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: the pages are written before Sphinx looks for any."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "methods", all_pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def files() -> dict[str, Path]:
    """Every method's file by its name."""
    return {path.stem: path for path in sorted(METHODS.rglob("*.py")) if path.stem != "__init__"}


def all_pages() -> dict[str, str]:
    """All pages by name, and their index."""
    made = {name: page(path) for name, path in files().items()}
    return made | {CROPS.stem: crops_page(), "index": index(made)}


def index(names: Iterable[str]) -> str:
    """The list of methods, with their anatomy side by side."""
    rows = []
    for name in names:
        anatomy = keywords(top_level(parse(files()[name]))["ANATOMY"])
        rows.append([f"[{title(files()[name])}]({name}.md)", *map(literal, anatomy.values())])
    header = ["Method", "Pretext", "Positives", "Negatives", "Target", "Objective"]
    crops = f"Not a method, but views for any of them: [{title(CROPS)}]({CROPS.stem}.md)."
    toc = "\n".join(["```{toctree}", ":hidden:", *names, CROPS.stem, "```"])
    return f"# Methods\n\nOne paper, one file, one page.\n\n{table(header, rows)}\n\n{crops}\n\n{toc}\n"


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
    fields = settings(path, "Config")
    needed = "".join(f" --{s.name} RUN" for s in fields if s.name in RUNS and s.default == "''")
    sections = [
        *opening(ast.get_docstring(tree, clean=True) or ""),
        f"```sh\nmanyviews pretrain {name}{needed}\nmanyviews pretrain {name} --help\n```",
        "## Anatomy",
        table(["", ""], [[f"**{key}**", literal(value)] for key, value in keywords(top["ANATOMY"]).items()]),
        "## Hyper-parameters",
        meanings(fields),
        "## Recipes",
        "The settings in which a recipe differs from the defaults of the method and of a run. An empty cell means the default.",
        recipes(top["RECIPES"]),
        *figures(name),
        *from_paper_to_line(c for c in citations(path) if c.where != "Config"),  # its comments stand above
        f"## The file\n\n`src/manyviews/{path.relative_to(SRC).as_posix()}`",
        listing(path),
    ]
    return "\n\n".join(sections) + "\n"


def crops_page() -> str:
    """The page of ContrastiveCrop, which changes where the crops of any method lie."""
    fields = [setting for setting in settings(SRC / "recipe.py", "Recipe") if setting.name.startswith("crop")]
    sections = [
        *opening(ast.get_docstring(parse(CROPS), clean=True) or ""),
        "```sh\nmanyviews pretrain moco --crops contrastive\n```",
        "`manyviews methods` does not list it: a method says what is learned from views, and ContrastiveCrop says where the "
        "crops of any method lie. It has no loss and no recipe of its own.",
        "## Settings",
        "The settings are shares of the run where the paper counts epochs: 100 of 500 on the small sets, 20 of 100 on ImageNet.",
        meanings(fields),
        "## Limits",
        "- It works for methods whose views are random crops of images. CRD's views are not: they shift the image. Sounds and texts have no crops.\n"
        "- The data has to lie in memory, because the boxes of all images are computed at once; a set that is read from disk is refused.\n"
        "- The net has to be convolutional, with a feature grid of more than one cell at the size of the views; a ViT is refused.\n"
        "- A pass over the data has to begin after the share `crop_first` of the run, because boxes are computed when a pass begins.",
        *figures(CROPS.stem),
        *from_paper_to_line(citations(CROPS)),
        f"## The file\n\n`src/manyviews/{CROPS.relative_to(SRC).as_posix()}`",
        listing(CROPS),
    ]
    return "\n\n".join(sections) + "\n"


def figures(name: str) -> list[str]:
    """What the paper leads with, and what we measured; nothing where neither is known.

    Ours are those of ``docs/results.md``, where it is said how and on which machine they were measured, and those of the
    experiments about the paper's claims.
    """
    rows = []
    if paper := _figures("papers").get(name):
        rows.append(["the paper", paper["says"], ""])
    rows += [
        ["[ours](../results.md)", one["says"], code(one["command"])] for one in _figures("ours").get(name, [])
    ]
    rows += claimed(name)
    return ["## Figures", table(["Whose", "Figure", "Command"], rows)] if rows else []


def claimed(method: str) -> list[list[str]]:
    """What the arms of the claims of a method's paper came to, or of those called like the method, a row a claim that was run."""
    paper, own = method.replace("_", ""), ""
    if paper not in papers():
        paper, own = method.partition("_")[0], method.replace("_", "-")
    if paper not in papers():
        return []
    rows = []
    for name, claim in claims_of(paper).claims.items():
        if not name.startswith(own):
            continue
        for result in store.stored(name, RESULTS):
            percent, found = is_share(result), values(result)
            arms = "; ".join(f"{arm}: {mean_of(row, percent)}" for arm, row in found.items())
            verdict = standing(result | {"stale": stale(claim, result)})
            at = "" if result["scale"] == "laptop" else f" --scale {result['scale']}"
            says = f"{claim.sentence} **{capital(verdict)}**, {result['measure']}: {arms}"
            rows.append([f"[ours](../claims/{paper}.md#{name})", says, code(f"manyviews claim {name}{at}")])
    return rows


def _figures(whose: str) -> dict[str, Any]:
    return tomllib.loads((FIGURES / f"{whose}.toml").read_text())


def meanings(fields: Iterable[Setting]) -> str:
    """Settings as a table."""
    return table(["Setting", "Default", "Meaning"], [[code(s.name), code(s.default), s.help] for s in fields])


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
            if isinstance(node.value, ast.Name):  # a number that has a name in the file
                default = constant(tree, default)
            found[ast.unparse(node.target)] = Setting(ast.unparse(node.target), default, comment)
    return list(found.values())


def constant(tree: ast.Module, name: str) -> str:
    """What a file, or the one that it has the name from, gives it as its value."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return ast.unparse(node.value)
        if isinstance(node, ast.ImportFrom) and name in (alias.name for alias in node.names):
            return repr(getattr(import_module(node.module or ""), name))
    return name


def recipes(value: ast.expr) -> str:
    """``RECIPES`` as a table: a row a setting, a column a recipe."""
    assert isinstance(value, ast.Dict)
    columns: dict[str, dict[str, str]] = {}
    for key, pair in zip(value.keys, value.values, strict=True):
        assert isinstance(pair, ast.Tuple), "a recipe is a pair of Config and Recipe"
        columns[literal(key)] = {
            name: ast.unparse(setting) for part in pair.elts for name, setting in keywords(part).items()
        }
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [[code(name), *(code(column.get(name, "")) for column in columns.values())] for name in names]
    return table(["Setting", *columns], rows)


def keywords(call: ast.expr) -> dict[str, ast.expr]:
    assert isinstance(call, ast.Call)
    return {word.arg: word.value for word in call.keywords if word.arg}


def literal(node: ast.expr | None) -> str:
    return str(ast.literal_eval(node)) if node else ""
