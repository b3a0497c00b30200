"""NT-Xent, forward and backward: ours against lightly's, time interleaved, peak memory in a process of its own each.

    python benchmarks/ntxent.py [--json] [--pairs 512 2048 8192] [--temperatures 0.5 0.005] [--threads 1]

Ratios are lightly's figure over ours: above 1 ours is faster or smaller. lightly at 8,192 pairs needs 4.3 GiB.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

DIM = 128
Loss = Callable[[Tensor, Tensor], Tensor]


def loss_of(name: str, temperature: float) -> Loss:
    if name == "lightly":
        from lightly.loss import NTXentLoss

        return NTXentLoss(temperature)
    from manyviews.objectives import nt_xent

    return lambda a, b: nt_xent(a, b, temperature)


def inputs(pairs: int) -> tuple[Tensor, Tensor]:
    make = torch.Generator().manual_seed(0)
    a, b = (torch.randn(pairs, DIM, generator=make) for _ in "ab")
    return a.requires_grad_(), (a.detach() + b).requires_grad_()


def seconds(loss: Loss, a: Tensor, b: Tensor) -> float:
    start = time.perf_counter()
    torch.autograd.grad(loss(a, b), (a, b))
    return time.perf_counter() - start


def peak_kib() -> int:
    """The most memory this process has held at once; Linux only."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def print_memory(name: str, pairs: int, temperature: float, threads: int) -> None:
    torch.set_num_threads(threads)
    loss = loss_of(name, temperature)
    seconds(loss, *inputs(64))  # libraries and thread pools are up before the measurement starts
    a, b = inputs(pairs)
    before = peak_kib()
    seconds(loss, a, b)
    print((peak_kib() - before) / 1024)


def memory(name: str, pairs: int, temperature: float, threads: int) -> float:
    """Extra peak memory of one forward and backward, MiB."""
    command = [sys.executable, __file__, "--memory-of", name, "--pairs", str(pairs)]
    command += ["--temperatures", str(temperature), "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(pairs: int, temperature: float, repeats: int, threads: int) -> dict[str, float]:
    a, b = inputs(pairs)
    losses = {name: loss_of(name, temperature) for name in ("ours", "lightly")}
    times: dict[str, list[float]] = {name: [] for name in losses}
    for loss in losses.values():
        seconds(loss, *inputs(64))
    for _ in range(repeats):
        for name, loss in losses.items():
            times[name].append(seconds(loss, a, b))
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["lightly"], strict=True)]
    mib = {name: memory(name, pairs, temperature, threads) for name in losses}
    return {
        "pairs": pairs,
        "temperature": temperature,
        "ours_ms": 1e3 * statistics.median(times["ours"]),
        "lightly_ms": 1e3 * statistics.median(times["lightly"]),
        "faster": statistics.median(ratios),
        "ours_mib": mib["ours"],
        "lightly_mib": mib["lightly"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="+", default=[512, 2048, 8192])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.5, 0.005])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--memory-of", choices=["ours", "lightly"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print_memory(args.memory_of, args.pairs[0], args.temperatures[0], args.threads)
        return
    rows = [compare(n, t, args.repeats, args.threads) for n in args.pairs for t in args.temperatures]
    if args.json:
        print(json.dumps({"benchmark": "ntxent", "dim": DIM, "threads": args.threads, "rows": rows}))
        return
    print(
        f"{'pairs':>6} {'temp':>6} {'ours ms':>9} {'lightly ms':>11} {'faster':>7} {'ours MiB':>9} {'lightly MiB':>12}"
    )
    for row in rows:
        print("{pairs:>6} {temperature:>6} {ours_ms:>9.1f} {lightly_ms:>11.1f}".format(**row), end=" ")
        print("{faster:>6.1f}x {ours_mib:>9.1f} {lightly_mib:>12.1f}".format(**row))


if __name__ == "__main__":
    main()
