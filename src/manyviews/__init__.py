"""Manyviews: learn from many views of the same thing.

    import manyviews
    run = manyviews.pretrain("byol", data="photos/")
    vectors = manyviews.load(run.path).embed(images)

Everything is imported when it is first used, so that ``import manyviews`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
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

if TYPE_CHECKING:
    from manyviews.api import (
        anatomy,
        bleu_of,
        claim,
        claim_all,
        claimed,
        classify,
        compare,
        embed,
        evaluate,
        export,
        load,
        network,
        networks,
        optimisers,
        pretrain,
        prompt,
        resume,
        search,
        translate,
        write,
    )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'manyviews' has no attribute '{name}'")
    return getattr(import_module("manyviews.api"), name)
