"""What the repository says about itself is true: commands, versions, pages, links."""

import ast
import contextlib
import importlib
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import get_args
from unittest import mock

import pytest

import manyviews
from manyviews import nets
from manyviews.claims import store
from manyviews.claims.claim import everything
from manyviews.cli import COMMANDS, main
from manyviews.evaluation import PROTOCOLS
from manyviews.evaluation.options import check_options
from manyviews.method import find, names
from manyviews.nets import sees
from manyviews.recipe import Budget, Optimiser

ROOT = Path(__file__).parents[1]
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GENERATED = re.compile(r"<!-- methods: .*? -->\n(.*?)<!-- /methods -->", re.DOTALL)
MACHINE_PATHS = re.compile(r"(?<![\w.~])/(?:work|tmp|home|root|Users)/[\w.]")


@cache
def manyviews_says(*arguments: str) -> str:
    """What the command line prints, on lines wide enough to wrap no option."""
    said = io.StringIO()
    wide = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    with mock.patch.dict(os.environ, wide), contextlib.redirect_stdout(said):
        try:
            main(list(arguments))
        except SystemExit as ended:
            assert not ended.code, f"manyviews {shlex.join(arguments)} failed"
    return said.getvalue()


def shell_commands(path: Path) -> list[list[str]]:
    """The commands in a page's ``sh`` blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    return [
        words
        for block in blocks
        for line in block.splitlines()
        if (words := shlex.split(line, comments=True))
    ]


SHOWN = sorted({tuple(words) for path in MARKDOWN for words in shell_commands(path)})


def plain(requirement: str) -> str:
    """A package's name as the index normalises it."""
    return re.split(r"[^\w.-]", requirement)[0].replace("_", "-").lower()


def tracked_text() -> list[Path]:
    """Every text file that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def of_the_docs(name: str) -> ModuleType:
    """A module of the folder ``docs``."""
    if (folder := str(ROOT / "docs")) not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


PAGES = of_the_docs("method_pages")
CROPS_PAGE = PAGES.CROPS.stem


@pytest.mark.parametrize("words", [words for words in SHOWN if words[0] == "manyviews"], ids=shlex.join)
def test_every_command_shown_exists(words: tuple[str, ...]):
    command, *rest = words[1:]
    assert re.search(rf"(?<![\w-]){command}(?![\w-])", manyviews_says("--help"))
    if rest and rest[0].endswith(".py"):  # a file of the reader's, which tests/test_own.py has
        rest[0] = "simclr"
    method = rest[:1] if command == "pretrain" else []
    options = manyviews_says(command, *method, "--help")
    unknown = [word for word in rest if word.startswith("--") and not re.search(rf"{word}(?![\w-])", options)]
    assert not unknown


def given(words: tuple[str, ...], flag: str) -> list[str]:
    """What follows a flag."""
    rest = words[words.index(flag) + 1 :] if flag in words else ()
    return list(itertools.takewhile(lambda word: not word.startswith("--"), rest))


@pytest.mark.parametrize("words", [words for words in SHOWN if words[0] == "manyviews"], ids=shlex.join)
def test_the_values_that_commands_are_shown_with_exist(words: tuple[str, ...]):
    command, *rest = words[1:]
    methods = (
        rest[:1]
        if command == "pretrain"
        else [w for w in rest if w in names()]
        if command == "compare"
        else []
    )
    papers = [find(name) for name in methods if not name.startswith("-") and not name.endswith(".py")]
    for recipe in given(words, "--recipe"):
        assert all(recipe in paper.recipes for paper in papers), recipe
    for net in given(words, "--net"):
        if net.partition("/")[0] == "strided":  # the reader's own, of docs/own.md
            continue
        assert sees(net)
        if not net.startswith(("timm/", "torchvision/")) and "(" not in net:
            nets.find(net)
    for length in given(words, "--budget"):
        Budget.parse(length)
    for protocol in given(words, "--protocol"):
        assert protocol in PROTOCOLS, protocol
    for option in given(words, "--option"):
        left, value = option.split("=", 1)
        protocol, name = left.rsplit(".", 1)
        with contextlib.suppress(ValueError):
            value = json.loads(value)
        check_options(protocol, PROTOCOLS[protocol].behind, {name: value})
    for optimiser in given(words, "--optimiser"):
        assert optimiser in get_args(Optimiser)
    if command == "claim" and rest and not rest[0].startswith("-") and rest[0] != "NAME":
        assert rest[0] in everything(), rest[0]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_imports_of_ours_is_there(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "manyviews":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


ASKED = [["pretrain", "simclr"], *([command.name] for command in COMMANDS if command.name != "pretrain")]


@pytest.mark.parametrize("words", ASKED, ids=shlex.join)
def test_every_flag_says_what_it_is(words: list[str]):
    flags = re.split(r"\n  (?=--?[a-z])", manyviews_says(*words, "--help"))[1:]
    told = {name: about for name, *about in (re.split(r"\s{2,}", flag.strip(), maxsplit=1) for flag in flags)}
    assert len(told) > 1
    assert not [name for name, about in told.items() if not about or about[0].startswith("(default: ")]


@pytest.mark.parametrize("words", [words for words in SHOWN if words[0] == "make"], ids=shlex.join)
def test_every_make_target_shown_exists(words: tuple[str, ...]):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)


def test_only_our_own_commands_are_shown():
    assert {words[0] for words in SHOWN} == {"manyviews", "make"}


def test_readme_holds_the_table_of_methods():
    kept = GENERATED.search((ROOT / "README.md").read_text())
    assert kept, "README.md has lost the markers around the table of methods"
    assert kept[1].strip() == manyviews_says("methods", "--markdown").strip(), "copy it from the command"


def test_readme_shows_verdicts_as_they_are_stored():
    pages, readme = of_the_docs("claim_pages"), (ROOT / "README.md").read_text()
    assert len(pages.FEATURED) == 3
    assert pages.shown(readme) == readme, "run make claims"
    for path, picture in pages.pictures().items():
        assert (ROOT / path).read_text() == picture, f"{path} is not the stored result: run make claims"


@pytest.mark.parametrize(("age", "stands"), [("of older code", ", of older code**"), (None, "**")])
def test_readme_says_where_a_verdict_is_of_older_code(
    age: str | None, stands: str, monkeypatch: pytest.MonkeyPatch
):
    pages = of_the_docs("claim_pages")
    monkeypatch.setattr(pages, "stale", lambda claim, result: age)
    states = [store.stored(name, pages.RESULTS)[0]["verdict"]["state"] for name in pages.FEATURED]
    for line, state in zip(pages.verdicts().split("\n\n")[::2], states, strict=True):
        assert f"` **{state}{stands}, by " in line


def test_versions_agree():
    assert version("manyviews") == manyviews.__version__, "install again: make install"
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## [{manyviews.__version__}]" in changelog
    assert f"version = {{{manyviews.__version__}}}" in (ROOT / "README.md").read_text()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    pinned = {plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {plain(need) for need in needed} - {"manyviews"} <= pinned


@pytest.mark.parametrize("name", PAGES.files())
def test_every_method_has_a_whole_page(name: str):
    page = PAGES.page(PAGES.files()[name])
    for heading in (
        "## Anatomy",
        "## Hyper-parameters",
        "## Recipes",
        "**Paper**",
        "**Differs**",
        "**Shapes**",
        "## From the paper to the line",
    ):
        assert heading in page
    assert "arxiv.org/abs/" in page


def test_our_figures_stand_beside_the_papers():
    page = PAGES.page(PAGES.files()["simclr"])
    whose = {name: tomllib.loads((PAGES.FIGURES / f"{name}.toml").read_text()) for name in ("papers", "ours")}
    ours = whose["ours"]["simclr"][0]["says"]
    assert "| the paper | 69.3% top-1" in page and "kNN" in ours and ours in page and "`make demo`" in page
    assert PAGES.figures("no such method") == []
    for figures in whose.values():
        assert figures.keys() <= PAGES.files().keys() | {CROPS_PAGE}
    assert {"gpt", "translation", "char_rnn", "dvae"} <= whose["papers"].keys()


def test_our_figures_are_those_of_the_results():
    lines = (ROOT / "docs" / "results.md").read_text().splitlines()
    ours = tomllib.loads((PAGES.FIGURES / "ours.toml").read_text())
    for figure in itertools.chain(*ours.values()):
        at = [i for i, line in enumerate(lines) if f"`{figure['command']}" in line]
        assert at, figure["command"]
        own = figure["says"].partition("(")[0]  # in brackets stand those of others
        numbers = re.findall(r"\d+\.\d+", own)
        places = ["\n".join(lines[max(0, i - 1) : i + 1]) for i in at]
        places += [row for i in at for row in table_above(lines, i)]
        assert any(all(number in place for number in numbers) for place in places), figure["says"]


def table_above(lines: list[str], at: int) -> list[str]:
    """The rows of the table whose command stands below it, a blank line between them."""
    above = itertools.takewhile(lambda line: line.startswith("|"), reversed(lines[: max(0, at - 1)]))
    return list(above)


def test_contrastive_crops_have_a_page_without_being_a_method():
    page = PAGES.crops_page()
    for said in ("## Settings", "`crop_alpha`", "`crop_every`", "## Limits", "## From the paper to the line"):
        assert said in page
    assert CROPS_PAGE in PAGES.index(PAGES.files()) and CROPS_PAGE not in manyviews_says("methods")


@pytest.mark.parametrize("name", PAGES.files())
def test_every_hyper_parameter_says_what_it_is(name: str):
    silent = [setting.name for setting in PAGES.settings(PAGES.files()[name], "Config") if not setting.help]
    assert not silent


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(path: Path):
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", path.read_text())
    # By docs/method_pages.py, docs/net_pages.py and docs/claim_pages.py.
    made = {
        "methods/index.md",
        "nets/index.md",
        "claims/index.md",
        *(f"methods/{name}.md" for name in [*PAGES.files(), CROPS_PAGE]),
    }
    missing = [target for target in targets if target not in made and not (path.parent / target).exists()]
    assert not missing


def test_nothing_names_a_path_of_one_machine():
    wrong = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in tracked_text()
        for found in MACHINE_PATHS.finditer(path.read_text(errors="replace"))
        if not (
            path.is_relative_to(ROOT / "tests") and found[0].startswith("/tmp")
        )  # hostile archives name it
    ]
    assert not wrong


def test_importing_it_costs_nothing_and_the_public_names_are_those_of_the_api():
    code = "import manyviews, sys; assert not {'torch', 'numpy'} & sys.modules.keys(), 'imported at once'"
    subprocess.run([sys.executable, "-c", code], check=True)
    import manyviews
    from manyviews import api

    assert set(manyviews.__all__) == set(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)
