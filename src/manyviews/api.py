"""The public face: a function for each thing that a user of the library does; the command line is made of them."""

from manyviews.claims.engine import claim
from manyviews.claims.every import claim_all, claimed
from manyviews.comparing import compare
from manyviews.given import load
from manyviews.learn import pretrain, resume
from manyviews.method import Anatomy, find, names
from manyviews.nets.counting import network, networks
from manyviews.prompting import prompt
from manyviews.tuning import optimisers
from manyviews.use import classify, embed, export, search
from manyviews.worth import evaluate
from manyviews.writing import bleu_of, translate, write

__all__ = [
    "anatomy",
    "bleu_of",
    "claim",
    "claim_all",
    "claimed",
    "classify",
    "compare",
    "embed",
    "evaluate",
    "export",
    "load",
    "network",
    "networks",
    "optimisers",
    "pretrain",
    "prompt",
    "resume",
    "search",
    "translate",
    "write",
]


def anatomy() -> dict[str, Anatomy]:
    """What tells the methods apart: every method's anatomy, by name."""
    return {name: find(name).anatomy for name in names()}
