"""The k nearest rows of a bank: ours against faiss's flat index, interleaved, on one and on two threads.

    python benchmarks/knn.py [--json] [--bank 50000] [--queries 10000] [--dim 512] [--k 200] [--threads 1 2]

The ratio is faiss's time over ours: above 1 ours is faster. ``cpu`` is the same ratio in processor time, which other
programs on the machine disturb less. The first result is checked against faiss before anything is timed.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.evaluation.knn import neighbours


def features(rows: int, dim: int, seed: int) -> Tensor:
    """Ten loose clusters, so that similarities are not all alike."""
    centres = torch.randn(10, dim, generator=torch.Generator().manual_seed(0))
    make = torch.Generator().manual_seed(seed)
    own = centres[torch.randint(10, (rows,), generator=make)]
    return F.normalize(own + 2 * torch.randn(rows, dim, generator=make), dim=1)


def timed(run: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(bank: Tensor, query: Tensor, k: int, threads: int, repeats: int) -> dict[str, float]:
    import faiss

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(bank.shape[1])
    index.add(bank.numpy())
    theirs, _ = index.search(query[:256].numpy(), k)
    ours, _ = neighbours(bank, query[:256], k)
    worst = float((ours - torch.from_numpy(theirs)).abs().max())
    if worst > 1e-5:
        raise SystemExit(f"Similarities differ from faiss's by up to {worst}: there is nothing to compare.")
    candidates = {"ours": lambda: neighbours(bank, query, k), "faiss": lambda: index.search(query.numpy(), k)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            times[name].append(timed(run))
    pairs = list(zip(times["ours"], times["faiss"], strict=True))
    return {
        "threads": threads,
        "ours_s": statistics.median(wall for wall, _ in times["ours"]),
        "faiss_s": statistics.median(wall for wall, _ in times["faiss"]),
        "of_faiss": statistics.median(theirs[0] / ours[0] for ours, theirs in pairs),
        "of_faiss_cpu": statistics.median(theirs[1] / ours[1] for ours, theirs in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    args = parser.parse_args()
    bank, query = features(args.bank, args.dim, seed=1), features(args.queries, args.dim, seed=2)
    rows = [compare(bank, query, args.k, threads, args.repeats) for threads in args.threads]
    if args.json:
        setting = {name: getattr(args, name) for name in ("bank", "queries", "dim", "k")}
        print(json.dumps({"benchmark": "knn", **setting, "rows": rows}))
        return
    print(f"{args.queries} queries against {args.bank} x {args.dim}, k = {args.k}")
    print(f"{'threads':>7} {'ours s':>8} {'faiss s':>8} {'of faiss':>9} {'cpu':>6}")
    for row in rows:
        print(
            "{threads:>7} {ours_s:>8.2f} {faiss_s:>8.2f} {of_faiss:>9.2f} {of_faiss_cpu:>6.2f}".format(**row)
        )


if __name__ == "__main__":
    main()
