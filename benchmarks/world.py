"""The embedded world: how fast it is drawn, and how hard it is.

    python benchmarks/world.py                  # items a minute on one thread, raw-pixel kNN
    python benchmarks/world.py --supervised     # and what a small net reaches with labels (minutes)

kNN on normalised pixels (what `manyviews evaluate` compares with) has to stay below 40% and the supervised net above
95%. Pixels from 0 to 1, not centred, are shown too: by them the few nearest neighbours do somewhat better.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from manyviews.data.world import SPECIES, WORLD_VERSION, latents, render, world
from manyviews.evaluation.knn import knn_accuracy
from manyviews.views import plain

NEIGHBOURS = (5, 20, 50, 200)


def items_per_minute(size: int, items: int, repeats: int) -> float:
    """Items drawn a minute on one thread, from numbers to pixels: the median of several rounds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = []
    for again in range(repeats):
        start = time.perf_counter()
        render(latents("train", range(again * items, (again + 1) * items)), size)
        rates.append(60 * items / (time.perf_counter() - start))
    torch.set_num_threads(threads)
    return statistics.median(rates)


def raw_knn() -> dict[str, float]:
    """Top-1 (percent) of the default test items by their pixels alone, for several k; temperature 0.1."""
    train, test = world("train"), world("test")
    sees = {"normalised": lambda x: plain(x, 32).flatten(1), "0 to 1": lambda x: x.flatten(1) / 255}
    return {
        f"raw-pixel kNN, {name}, k = {k}": 100
        * knn_accuracy(
            see(train.values), train.labels, see(test.values), test.labels, classes=len(SPECIES), k=k
        )
        for name, see in sees.items()
        for k in NEIGHBOURS
    }


def supervised() -> float:
    """Top-1 (percent) on the test items of `manyviews pretrain supervised` by its own recipe for the world."""
    import manyviews

    with tempfile.TemporaryDirectory() as folder:
        run = manyviews.pretrain("supervised", data="world", out=Path(folder) / "run", quiet=True)
        judged = manyviews.evaluate(run, data="world", protocol=("linear",))["figures"]
        return 100 * judged["linear"]["top1"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=4000, help="items drawn in a round")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--supervised", action="store_true", help="also train with labels")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    figures: dict[str, float] = {"version": WORLD_VERSION}
    for size in (32, 64):
        figures[f"items a minute at {size} px, one thread"] = items_per_minute(size, args.items, args.repeats)
    figures |= raw_knn()
    if args.supervised:
        figures["supervised top-1"] = supervised()
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:40} {value:12,.1f}")


if __name__ == "__main__":
    main()
