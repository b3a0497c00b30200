"""The sweet spot of InfoMin: how much two views share (I_NCE) beside what the encoder learned from them is worth.

    python benchmarks/infomin.py                                      # colour jitter from none to strong, on the world
    python benchmarks/infomin.py --sweep min_area --budget 2ep
    python benchmarks/infomin.py --sweep space --data cifar10 --seeds 3 --json
    python benchmarks/infomin.py --values 0 0.5 1 --set jigsaw=0.0    # other values, other settings throughout

I_NCE = log (K + 1) - loss in nats, the mean over the last quarter of the run: comparable among runs with one K and one
temperature. Sweeps of how an image is parted (space, distance, frequency) leave out all changes of colour. Figures are means
over seeds; a best inside the sweep is a sweet spot only where it beats both ends by more than the seeds differ.
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
from manyviews.data import ItemSet, open_data, summary
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


def linear(embedder: EncoderEmbedder, train: ItemSet, test: ItemSet) -> float:
    return 100 * evaluate(embedder, train, test, protocols=("linear",))["linear"]["top1"]


def over_seeds(changes: dict[str, Any], seeds: range, data: str, root: str | None) -> dict[str, Any]:
    """`learned` with each seed: means, and `spread`, the deviation of top-1 over seeds; None of a single one."""
    found = [learned({**changes, "seed": seed}, data, root) for seed in seeds]
    means = {name: statistics.fmean(each[name] for each in found) for name in found[0]}
    top1 = [each["linear"] for each in found]
    return {**means, "spread": statistics.stdev(top1) if len(top1) > 1 else None, "linear by seed": top1}


def verdict(rows: list[dict[str, Any]], sweep: str) -> str:
    """Where along the shared information the best encoder lies, and whether that is more than chance."""
    along = sorted(rows, key=lambda row: row["I_NCE"])
    best = max(along, key=lambda row: row["linear"])
    where = f"The best encoder ({best['linear']:.1f}%) is that of {sweep} {best[sweep]}, at {best['I_NCE']:.2f} nats"
    if best is along[0]:
        return f"{where}: where the views share least. No sweet spot lies inside this sweep."
    if best is along[-1]:
        return f"{where}: where the views share most. No sweet spot lies inside this sweep."
    where = f"{where}, between those that share less and those that share more"
    if best["spread"] is None:
        return f"{where}. Whether that is chance a single seed does not say: repeat it with --seeds 3."
    ends = along[0], along[-1]
    if all(best["linear"] - end["linear"] > best["spread"] + end["spread"] for end in ends):
        return f"{where}: a sweet spot, above both ends by more than the spread over seeds."
    return f"{where}, but above an end by no more than the spread over seeds: it may be chance."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", choices=SWEEPS, default="strength")
    parser.add_argument("--values", nargs="*", default=None, help="instead of the sweep's own")
    parser.add_argument("--data", default="world")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--budget", default="2ep")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many, of each value")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings to change")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("--seeds is at least 1")

    values, settings = SWEEPS[args.sweep]
    if args.values:
        values = tuple(value if args.sweep == "space" else float(value) for value in args.values)
    settings, seeds = {**settings, "budget": args.budget}, range(args.seed, args.seed + args.seeds)
    settings |= {name: ast.literal_eval(value) for name, value in (each.split("=", 1) for each in args.set)}
    rows = []
    if not args.json:
        print(f"{args.sweep:>10}   I_NCE (nats)   at most   linear (%)   spread   random start (%)   seconds")
    for value in values:
        changes = {**settings, args.sweep: value}
        row = {args.sweep: value, **over_seeds(changes, seeds, args.data, args.data_root)}
        rows.append(row)
        if not args.json:
            spread = "" if row["spread"] is None else f"{row['spread']:.1f}"
            print(
                f"{value:>10}   {row['I_NCE']:12.2f}   {row['bound']:7.2f}   {row['linear']:10.1f}   "
                f"{spread:>6}   {row['random start']:16.1f}   {row['seconds']:7.0f}",
                flush=True,
            )
    words = verdict(rows, args.sweep)
    about = {"data": args.data, "budget": args.budget, "seeds": [*seeds], "threads": torch.get_num_threads()}
    print(json.dumps({**about, "sweep": args.sweep, "rows": rows, "verdict": words}) if args.json else words)


if __name__ == "__main__":
    main()
