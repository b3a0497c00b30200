"""The whole SimCLR pipeline, images in memory to updated weights, against lightly's example on the same net.

Both sides take turns of a few steps on this machine; medians of items a second, their ratio, and the share of the
machine's matrix-product rate that our steps reach. Pictures are random: only the work counts. Each side is as it comes: ours lies
channels last and steps by a fused SGD, lightly's example does neither (`steps.py --channels-last` tells what that is worth).

In one more turn of each side, which counts for no rate, the device is waited for before and after every batch of views: the
share of that turn that goes by until they are there is what a step waits for its input.

    python benchmarks/pipeline.py --net cifar_resnet20/B --batch 256
    python benchmarks/pipeline.py --net resnet18/cifar --batch 128
    python benchmarks/pipeline.py --net resnet18/cifar --batch 512 --device cuda --precision bf16 --steps 50 --workers 8
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from manyviews import nets
from manyviews.data import Drawn, in_memory
from manyviews.method import Batch, Spec, find
from manyviews.nets import describe
from manyviews.recipe import Recipe
from manyviews.runs import net_factory
from manyviews.training.loop import Loop

ITEMS, SIZE = 4096, 32


def pictures() -> Tensor:
    """Smooth random images, uint8 ``[N, 3, 32, 32]``: not pure noise, so that decoding-free peers do ordinary work."""
    coarse = torch.rand(ITEMS, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def done(device: torch.device) -> None:
    """Returns when the device has done all that it was given, which a clock has to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Input:
    """How long a side waits for its views, in turns that ask for it; in others nothing is waited for."""

    def __init__(self, device: torch.device):
        self.device, self.timed, self.seconds = device, False, 0.0

    @contextmanager
    def wait(self) -> Iterator[None]:
        if not self.timed:
            yield
            return
        done(self.device)
        start = time.perf_counter()
        yield
        done(self.device)
        self.seconds += time.perf_counter() - start


class Watched(Loop):
    """Our loop, that says when it is given a batch and makes views of it."""

    clock: Input

    def _drawn(self) -> Iterator[Drawn]:
        drawn = super()._drawn()
        while True:
            with self.clock.wait():
                batch = next(drawn)
            yield batch

    def _seen(self, drawn: Drawn) -> Batch:
        with self.clock.wait():
            return super()._seen(drawn)


def ours(
    net: str, batch: int, pixels: Tensor, clock: Input, precision: Literal["float32", "bf16"]
) -> Callable[[int], None]:
    """A function that takes so many steps."""
    data = in_memory("pictures", pixels.to(clock.device), None, None)
    paper = find("simclr")
    config, _ = paper.recipes["cifar10"]
    method = paper.method(config, net_factory(net, SIZE), Spec(items=ITEMS, size=SIZE)).to(clock.device)

    def steps(count: int) -> None:
        recipe = Recipe(batch=batch, budget=f"{count}steps", lr=0.06, precision=precision)
        loop = Watched(method, data, recipe)
        loop.clock = clock
        loop.run()

    return steps


def theirs(
    net: str, batch: int, pixels: Tensor, clock: Input, precision: str, workers: int
) -> Callable[[int], None]:
    """lightly's SimCLR example: its transform in worker processes, its head and loss."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms.simclr_transform import SimCLRTransform
    from PIL import Image

    transform = SimCLRTransform(input_size=SIZE, gaussian_blur=0.0, cj_strength=0.5)
    arrays, device = pixels.permute(0, 2, 3, 1).numpy(), clock.device

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return ITEMS

        def __getitem__(self, item: int) -> list[Tensor]:
            return transform(Image.fromarray(arrays[item]))

    encoder = nets.build(net, size=SIZE)
    head, criterion = SimCLRProjectionHead(encoder.width, encoder.width, 128), NTXentLoss(0.5)
    encoder.to(device), head.to(device)
    optimiser = torch.optim.SGD(
        [*encoder.parameters(), *head.parameters()], lr=0.06, momentum=0.9, weight_decay=5e-4
    )
    loader = torch.utils.data.DataLoader(
        Pairs(), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )  # fmt: skip

    def forever() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    batches = forever()

    def steps(count: int) -> None:
        for _ in range(count):
            with clock.wait():
                a, b = (view.to(device, non_blocking=True) for view in next(batches))
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = criterion(head(encoder(a)), head(encoder(b)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return steps


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a matrix product on the same device, or with the same threads: the best of all sizes, each at its quickest."""
    best = 0.0
    for side in (512, 1024, 2048, *((4096, 8192) if device.type == "cuda" else ())):
        a = torch.randn(side, side, device=device, dtype=dtype)
        for _ in range(10):
            done(device)
            start = time.perf_counter()
            a @ a
            done(device)
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def turn_of(steps: Callable[[int], None], count: int, device: torch.device) -> float:
    """Seconds that so many steps take until the device is done with them."""
    done(device)
    start = time.perf_counter()
    steps(count)
    done(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", default="cifar_resnet20/B")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=6, help="steps in a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns each; medians count")
    parser.add_argument(
        "--workers", type=int, default=1, help="of the peer's loader, beside its main process"
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="of both sides")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    pixels, clock = pictures(), Input(args.device)
    work = args.net, args.batch, pixels, clock, args.precision
    sides = {"manyviews": ours(*work), "lightly": theirs(*work, args.workers)}
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    rates: dict[str, list[float]] = {name: [] for name in sides}
    flops: list[float] = []
    for turn in range(args.rounds + 1):
        flops.append(matmul_rate(args.device, dtype))
        for name, steps in sides.items():
            seconds = turn_of(steps, args.steps, args.device)
            if turn:  # the first turn warms up
                rates[name].append(args.steps * args.batch / seconds)
    waiting = {}
    clock.timed = True
    for name, steps in sides.items():
        clock.seconds = 0.0
        seconds = turn_of(steps, args.steps, args.device)
        waiting[name] = clock.seconds / seconds
    middle = {name: statistics.median(found) for name, found in rates.items()}
    flop = (
        2 * 3 * describe(nets.build(args.net, size=SIZE), SIZE)["flops"]
    )  # two views; backward costs two forwards
    result = {
        "net": args.net,
        "batch": args.batch,
        "device": str(args.device),
        "precision": args.precision,
        "threads": torch.get_num_threads(),
        "items a second": middle,
        "ratio, turn by turn": statistics.median(a / b for a, b in zip(*rates.values(), strict=True)),
        "share of a step spent waiting for input": waiting,
        "matrix products, GFLOP/s": max(flops) / 1e9,
        "share of matrix-product rate": middle["manyviews"] * flop / max(flops),
    }
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:40} {value}")


if __name__ == "__main__":
    main()
