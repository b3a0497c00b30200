"""One run that a claim needs, and the digest of everything that decides how it ends.

The digest covers the method, every setting of its ``Config`` and ``Recipe`` with the seed (but for ``YOUNGER``), the data by
name (and the version of the world), where it begins, and the code of the paper: the syntax of the method's file and of whatever it
imports from ``methods``, ``objectives``, ``memory``, ``kmeans``, ``nets`` and ``views``, and of its net's file. So a commit
elsewhere keeps the cache, and so do new comments, docstrings, layout, recipes and anatomies, and what is ``REWRITTEN``. Not covered, because
nearly every commit would count as a change: training, data and evaluation; whoever changes what these give raises
``GENERATION``. A budget in seconds means another length on another machine, so there the machine counts too.
"""

import ast
import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from manyviews import plan
from manyviews.claims.claim import Arm, Claim, Scale
from manyviews.data.world import WORLD_VERSION
from manyviews.machine import about_machine
from manyviews.method import Paper, find
from manyviews.nets import around
from manyviews.nets.net import find as find_net
from manyviews.recipe import Budget

GENERATION = 3  # of training, data and evaluation: raise it where a change there changes what runs end as
ROOT = Path(__file__).parents[1]
DECIDES = (
    "methods",
    "objectives",
    "memory",
    "kmeans",
    "nets",
    "views",
)  # parts whose code a paper consists of
TOLD_ELSEWHERE = (
    "RECIPES",
    "ANATOMY",
    "SERVES",
    "LAPTOP",
    "GPU",
    "CLAIMS",
)  # of the file of a method or of claims: settings are in the digest as they are, words are words

YOUNGER = {
    "eps": 1e-8,  # before, torch's own
    "layer_decay": 1.0,  # before, one rate for all layers
    "upright": True,  # before, views were not turned
    "mirror": True,  # before, they were flipped as each method says
    "colour": 1.0,  # before, always all of the method's own changes
}
"""Settings of ``Recipe`` that came after runs were kept, and what these runs were trained with. At that value a setting is
left out of the digest, so that a new option makes no run another. The value stands here and is not looked up: were the
default changed, runs under the new one would be others, as they must."""


REWRITTEN = {
    "ecd728ec9c2afc88ae36c62b": "8d2aa50187aa9b6810329253",  # views.blur: copies to a GPU that nobody waits for
    "bcac4578b3af45bd6c4fc0b6": "cb55a8e8ea81e4a4965c987d",  # views.colour: likewise
    "1c8c61572368718d772baa63": "6c2a19c78727f56a239f42a0",  # views.randaugment: likewise
    "c79aeb6637df169997e84084": "6abcf99b7e3498b0853c2905",  # views.pipeline: likewise; mean and deviation kept
    "cd4401882c59619992680b87": "736b32f12b0dc536065b6753",  # views.geometry: likewise
    "3d9d414430bd662cb4f5300a": "bf8826ea10c85154730fdf11",  # nets.gpt: another size stands beside the others
    "d26fa1de2a3cc6143fc29aab": "7a552581a5151f8c00ffa1de",  # nets.palette: where its colours are made is said
    "a2b460ae790001f0cd0a3707": "c86fc6c962984dd28bb36dc4",  # nets.vit: the hybrid of ResNet-50, which no claim has
    "36f44757877d981a34a5351e": "87c74c01b860be2be1389024",  # nets.alexnet: another variant stands beside the others
    "f8ada7090708ef0aefa3eae3": "04f0d7c7ed9ab9a12915f258",  # methods dino: small crops, which no claim has
    "8f42871e811bd6418b6fc8ce": "3223c5924145de2935928a97",  # views.suited: what has no mirror image, which no claim says
}
"""Syntax of a module of today -> that which it computes the same as, bit for bit on a CPU, for which it counts. Whoever rewrites
a module so has seen the bits; the next one to change it drops its row."""


@dataclass(frozen=True)
class Trial:
    """A method under settings and a seed."""

    method: str
    data: str
    settings: tuple[
        tuple[str, Any], ...
    ]  # what differs from the method's recipe for this data; trials stand for runs
    seed: int
    start: "Trial | None" = None  # whose encoder this one's begins as

    @classmethod
    def of(cls, arm: Arm, scale: Scale, seed: int) -> "Trial":
        """An arm at a scale."""
        settings: dict[str, Any] = {**scale.same, **arm.settings}
        data = settings.pop("data", None) or plan.default_data(find(arm.method), None)
        whole = {
            name: cls.of(value, scale, seed) if isinstance(value, Arm) else value
            for name, value in settings.items()
        }
        start = None if arm.start is None else cls.of(arm.start, scale, seed)
        return cls(arm.method, data, tuple(whole.items()), seed, start)

    @property
    def before(self) -> dict[str, "Trial"]:
        """The runs that must be there first, by the setting of ``pretrain`` that names them."""
        start = {} if self.start is None else {"init_from": self.start}
        return start | {name: value for name, value in self.settings if isinstance(value, Trial)}

    @property
    def changes(self) -> dict[str, Any]:
        """What ``pretrain`` is told beside method and data; runs by their digests."""
        told = {name: value.digest if isinstance(value, Trial) else value for name, value in self.settings}
        return told | {"seed": self.seed}

    def planned(self) -> tuple[Paper, Any, Any]:
        """The paper with its whole ``Config`` and ``Recipe``; a setting that nobody knows is a ``ManyviewsError``."""
        paper = find(self.method)
        changes = self.changes
        recipe = changes.pop("recipe", None)
        return paper, *plan.changed(paper, *plan.base(paper, self.data, recipe), changes)

    def facts(self) -> dict[str, Any]:
        """Everything that decides how it ends, for JSON."""
        paper, config, recipe = self.planned()
        facts = {
            "generation": GENERATION,
            "method": self.method,
            "config": dataclasses.asdict(config),
            "recipe": {
                name: value
                for name, value in dataclasses.asdict(recipe).items()
                if name not in YOUNGER or value != YOUNGER[name]
            },
            "data": f"{self.data} {WORLD_VERSION}" if self.data.startswith("world") else self.data,
            "code": code_of(paper.module.__name__, recipe.net),
            "start": None if self.start is None else self.start.digest,
        }
        if Budget.parse(recipe.budget).unit == "seconds":
            facts["machine"] = about_machine()["machine"]
            del facts["machine"]["threads"]  # --jobs shares them
        return facts

    @property
    def digest(self) -> str:
        """The name of its folder in the cache."""
        return _digest(json.dumps(self.facts(), sort_keys=True, default=str))

    def __str__(self) -> str:
        return f"{self.method} on {self.data}, seed {self.seed}"


def trials(claim: Claim, scale: Scale, seeds: Sequence[int]) -> Iterator[tuple[str, Trial]]:
    """All runs of a claim with their arms, seed by seed: cut short, it has whole pairs."""
    for seed in seeds:
        for name, arm in claim.arms.items():
            yield name, Trial.of(arm, scale, seed)


# -- code ------------------------------------------------------------------------------------------------------


@cache
def code_of(module: str, net: str) -> str:
    """A digest of the code of a method and of its net."""
    found: set[str] = set()
    due = [module, *_net_files(net)]
    while due:
        if (name := due.pop()) not in found:
            found.add(name)
            due += [each for each in _imports(name) if each.split(".")[1] in DECIDES]
            due += _put_around(name)
    syntax = {name: syntax_of(name) for name in sorted(found)}
    return _digest("\n".join(f"{name} {REWRITTEN.get(each, each)}" for name, each in syntax.items()))


def _net_files(net: str) -> list[str]:
    if (composed := around.parsed(net)) is not None:
        maker, inner, _ = composed
        return [_made_in(maker), *_net_files(inner)]
    if net.partition("/")[0] in ("timm", "torchvision"):
        return ["manyviews.nets.hub"]
    found = find_net(net)
    return (
        [found.file.__name__, "manyviews.nets.reader"]
        if found.net.sees == "tokens"
        else [found.file.__name__]
    )


def _put_around(module: str) -> list[str]:
    """Where the nets are made that a module puts around others by name: ``net(within="neck({}, 2)")``."""
    constants = [node.value for node in ast.walk(_tree(module)) if isinstance(node, ast.Constant)]
    texts = [value for value in constants if isinstance(value, str)]
    return [
        _made_in(maker)
        for word, maker in around.wrappers().items()
        if any(f"{word}(" in text for text in texts)
    ]


def _made_in(maker: Any) -> str:
    return getattr(maker, "func", maker).__module__


def _file(module: str) -> Path | None:
    if module.startswith("manyviews.nets.own."):
        return Path(str(sys.modules[module].__file__))
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    return ast.Module([], []) if file is None else ast.parse(file.read_text(encoding="utf-8"))


def _imports(module: str) -> set[str]:
    """Our own modules that a module uses; what a package merely passes on is looked for where it was written."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("manyviews.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("manyviews"):
            found |= {_written(node.module or "", alias.name) for alias in node.names}
    return found - {"manyviews"}


def _written(module: str, name: str) -> str:
    """The module in which ``from module import name`` finds the name."""
    if _file(f"{module}.{name}"):
        return f"{module}.{name}"
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            source = node.module or ""
            return _written(source, name) if source.startswith("manyviews.") else module
    return module


@cache
def syntax_of(module: str) -> str:
    """What a module does: its syntax tree without docstrings and without what the digest knows otherwise."""
    tree = ast.parse(ast.unparse(_tree(module)))
    tree.body = [node for node in tree.body if not _told_elsewhere(node)]
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]
    return _digest(ast.unparse(tree))


def _told_elsewhere(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id in TOLD_ELSEWHERE for target in node.targets
    )


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
