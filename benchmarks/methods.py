"""What every method makes of the embedded world by its own recipe, beside the encoder that it started from.

python benchmarks/methods.py                             # all of images and sounds that need no other run; minutes each
python benchmarks/methods.py moco byol --budget 8ep      # some, at another length
python benchmarks/methods.py moco --set momentum=0.9     # with other settings, of method or recipe
"""

import argparse
import ast
import dataclasses
import json
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from manyviews import plan
from manyviews.data import ItemSet, open_data, summary
from manyviews.evaluation import EncoderEmbedder, evaluate
from manyviews.method import find, names
from manyviews.runs import Run


def judged(embedder: EncoderEmbedder, train: ItemSet, test: ItemSet) -> dict[str, float]:
    figures = evaluate(embedder, train, test, protocols=("knn", "linear"))
    return {name: 100 * figures[name]["top1"] for name in ("knn", "linear")}


@cache
def opened(data: str, split: str, size: int, senses: tuple[str, ...] = ()) -> ItemSet:
    return open_data(data, split=split, size=size, senses=senses)


def learned(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Top-1 in percent before and after, and the seconds between."""
    paper = find(name)
    config, recipe = plan.changed(paper, *plan.base(paper, "world"), changes)
    train = opened(recipe.data, "train", recipe.size, paper.method.senses(config))
    test = opened(recipe.data, "test", recipe.size)
    about = {
        "method": name,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "data": summary(train),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", about)
        start = judged(EncoderEmbedder(run.build(train).encoder, recipe.size), train, test)
        began = time.monotonic()
        run.train(train, quiet=True)
        seconds = time.monotonic() - began
        end = judged(run.embedder, train, test)
    return {
        "method": name,
        **changes,
        **{f"{k}, random start": v for k, v in start.items()},
        **end,
        "seconds": seconds,
    }


def alone() -> list[str]:
    """The methods of images and sounds that need no other run; the others are asked for with --set teacher='"RUN"'."""
    found = {name: plan.base(find(name), "world")[0] for name in names() if find(name).method.sees != "texts"}
    return [name for name, config in found.items() if not plan.needs(config)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", default=alone())
    parser.add_argument("--budget", default=None, help="instead of the recipe's")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings to change")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    changes = {name: ast.literal_eval(value) for name, value in (each.split("=", 1) for each in args.set)}
    if args.budget:
        changes["budget"] = args.budget
    rows = []
    for name in args.methods:
        rows.append(learned(name, changes))
        if not args.json:
            shown = (f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items())
            print("   ".join(shown), flush=True)
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
