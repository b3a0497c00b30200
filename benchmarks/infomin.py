"""The sweet spot of InfoMin: how much two views share (I_NCE) beside what the encoder learned from them is worth.

    python benchmarks/infomin.py                                      # colour jitter from none to strong, on the world
    python benchmarks/infomin.py --sweep min_area --budget 2ep
    python benchmarks/infomin.py --sweep space --data cifar10 --json
    python benchmarks/infomin.py --values 0 0.5 1 --set jigsaw=0.0    # other values, other settings throughout

I_NCE = log (K + 1) - loss in nats, the mean over the last quarter of the run: comparable among runs with one K and one
temperature. Sweeps of how an image is parted (space, distance, frequency) leave out all changes of colour.
"""

import argparse
import ast
import dataclasses
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from manyviews import plan
from manyviews.data import ImageSet, open_data, summary
from manyviews.evaluation import EncoderEmbedder, evaluate
from manyviews.method import find
from manyviews.runs import Run

PARTED: dict[str, Any] = {"jigsaw": 0.0, "strength": 0.0, "randaugment": 0, "grey": 0.0, "blur": 0.0}
SWEEPS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "strength": ((0.0, 0.25, 0.5, 1.0, 2.0), {}),
    "magnitude": ((0.0, 9.0, 18.0, 30.0), {}),
    "min_area": ((0.05, 0.2, 0.4, 0.6, 0.9), {}),
    "space": (("rgb", "ycbcr", "ydbdr", "lab"), PARTED),
    "distance": ((0.0, 0.25, 0.5, 1.0, 2.0, 3.0), PARTED),
    "frequency": ((0.5, 1.0, 2.0, 4.0), PARTED),
}


def learned(changes: dict[str, Any], data: str, root: str | None) -> dict[str, Any]:
    """Information in nats and top-1 in percent of one run with these settings."""
    paper = find("infomin")
    config, recipe = plan.changed(paper, *plan.base(paper, data), changes)
    train, test = (open_data(data, split=split, root=root) for split in ("train", "test"))
    about = {
        "method": paper.name,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "data": summary(train),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", about)
        start = linear(EncoderEmbedder(run.build(train).encoder, recipe.size), train, test)
        began = time.monotonic()
        run.train(train, quiet=True)
        seconds = time.monotonic() - began
        shared = [row["mutual_information"] for row in run.metrics() if row["progress"] > 0.75]
        return {
            "I_NCE": statistics.fmean(shared),
            "bound": math.log(config.queue + 1),
            "linear": linear(run.embedder, train, test),
            "random start": start,
            "seconds": seconds,
        }


def linear(embedder: EncoderEmbedder, train: ImageSet, test: ImageSet) -> float:
    return 100 * evaluate(embedder, train, test, protocols=("linear",))["linear"]["top1"]


def verdict(rows: list[dict[str, Any]], sweep: str) -> str:
    """Where along the shared information the best encoder lies."""
    along = sorted(rows, key=lambda row: row["I_NCE"])
    best = max(along, key=lambda row: row["linear"])
    where = f"The best encoder ({best['linear']:.1f}%) is that of {sweep} {best[sweep]}, at {best['I_NCE']:.2f} nats"
    if best is along[0]:
        return f"{where}: where the views share least. No sweet spot lies inside this sweep."
    if best is along[-1]:
        return f"{where}: where the views share most. No sweet spot lies inside this sweep."
    return f"{where}: between those that share less and those that share more."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", choices=SWEEPS, default="strength")
    parser.add_argument("--values", nargs="*", default=None, help="instead of the sweep's own")
    parser.add_argument("--data", default="world")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--budget", default="2ep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings to change")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    values, settings = SWEEPS[args.sweep]
    if args.values:
        values = tuple(value if args.sweep == "space" else float(value) for value in args.values)
    settings = {**settings, "budget": args.budget, "seed": args.seed}
    settings |= {name: ast.literal_eval(value) for name, value in (each.split("=", 1) for each in args.set)}
    rows = []
    if not args.json:
        print(f"{args.sweep:>10}   I_NCE (nats)   at most   linear (%)   random start (%)   seconds")
    for value in values:
        rows.append(
            {args.sweep: value, **learned({**settings, args.sweep: value}, args.data, args.data_root)}
        )
        if not args.json:
            row = rows[-1]
            print(
                f"{value:>10}   {row['I_NCE']:12.2f}   {row['bound']:7.2f}   {row['linear']:10.1f}   "
                f"{row['random start']:16.1f}   {row['seconds']:7.0f}",
                flush=True,
            )
    words = verdict(rows, args.sweep)
    about = {"data": args.data, "budget": args.budget, "seed": args.seed, "threads": torch.get_num_threads()}
    print(json.dumps({**about, "sweep": args.sweep, "rows": rows, "verdict": words}) if args.json else words)


if __name__ == "__main__":
    main()
