"""What a feature map knows of each place: a linear classifier of its cells (`segment`, frozen) says which creature is where.

The claim of DenseCL (Wang et al., CVPR 2021): contrasting places as well as images makes better maps.

python benchmarks/dense.py                                       # MoCo v2 and DenseCL, by their recipes for the world
python benchmarks/dense.py densecl --set dense=0.0 --budget 4ep  # another lambda, another length
"""

import argparse
import ast
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from manyviews import plan
from manyviews.data import ItemSet, summary
from manyviews.data.world import world
from manyviews.evaluation import segment
from manyviews.method import find
from manyviews.nets import Encoder
from manyviews.runs import Run

EPOCHS = 2  # of the classifier


def mean_iou(encoder: Encoder, train: ItemSet, test: ItemSet) -> float:
    """Percent, over background and ten species and the pixels of the test set."""
    assert train.values is not None
    size = train.values.shape[-1]
    found = segment(encoder, train, test, size=size, frozen=True, lr=1e-2, epochs=EPOCHS, batch=128)
    return 100 * found.overlap.miou


def judged(name: str, changes: dict[str, Any], train: ItemSet, test: ItemSet) -> dict[str, Any]:
    paper = find(name)
    config, recipe = plan.changed(paper, *plan.base(paper, "world"), changes)
    about = {
        "method": name,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "data": summary(train),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", about)
        start = mean_iou(run.build(train).encoder, train, test)
        began = time.monotonic()
        run.train(train, quiet=True)
        seconds = time.monotonic() - began
        end = mean_iou(run.encoder, train, test)
    return {"method": name, **changes, "mean IoU, random start": start, "mean IoU": end, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", default=["mocov2", "densecl"])
    parser.add_argument("--budget", default="8ep")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    pairs = (pair.partition("=") for pair in args.set)
    changes = {name: ast.literal_eval(value) for name, _, value in pairs} | {"budget": args.budget}
    train, test = world(senses=True), world("test", items=2000, senses=True)
    for seed in range(args.seeds):
        for name in args.methods:
            print(json.dumps(judged(name, changes | {"seed": seed}, train, test)), flush=True)


if __name__ == "__main__":
    main()
