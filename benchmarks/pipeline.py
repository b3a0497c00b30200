"""The whole SimCLR pipeline, images in memory to updated weights, against lightly's example on the same net.

Both sides take turns of a few steps on this machine; medians of items a second, their ratio, and the share of the
machine's matrix-product rate that our steps reach. Pictures are random: only the work counts.

    python benchmarks/pipeline.py --net cifar_resnet20/B --batch 256
    python benchmarks/pipeline.py --net resnet18/cifar --batch 128
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from manyviews import nets
from manyviews.data import in_memory
from manyviews.method import Spec, find
from manyviews.nets import describe
from manyviews.recipe import Recipe
from manyviews.runs import net_factory
from manyviews.training.loop import Loop

ITEMS, SIZE = 4096, 32


def pictures() -> Tensor:
    """Smooth random images, uint8 ``[N, 3, 32, 32]``: not pure noise, so that decoding-free peers do ordinary work."""
    coarse = torch.rand(ITEMS, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def ours(net: str, batch: int, pixels: Tensor) -> Callable[[int], None]:
    """A function that takes so many steps."""
    data = in_memory("pictures", pixels, None, None)
    paper = find("simclr")
    config, _ = paper.recipes["cifar10"]
    method = paper.method(config, net_factory(net, SIZE), Spec(items=ITEMS, size=SIZE))

    def steps(count: int) -> None:
        recipe = Recipe(batch=batch, budget=f"{count}steps", lr=0.06)
        Loop(method, data, recipe).run()

    return steps


def theirs(net: str, batch: int, pixels: Tensor, workers: int) -> Callable[[int], None]:
    """lightly's SimCLR example: its transform in worker processes, its head and loss."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms.simclr_transform import SimCLRTransform
    from PIL import Image

    transform = SimCLRTransform(input_size=SIZE, gaussian_blur=0.0, cj_strength=0.5)
    arrays = pixels.permute(0, 2, 3, 1).numpy()

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return ITEMS

        def __getitem__(self, item: int) -> list[Tensor]:
            return transform(Image.fromarray(arrays[item]))

    encoder = nets.build(net, size=SIZE)
    head, criterion = SimCLRProjectionHead(encoder.width, encoder.width, 128), NTXentLoss(0.5)
    optimiser = torch.optim.SGD(
        [*encoder.parameters(), *head.parameters()], lr=0.06, momentum=0.9, weight_decay=5e-4
    )
    loader = torch.utils.data.DataLoader(
        Pairs(), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )

    def forever() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    batches = forever()

    def steps(count: int) -> None:
        for _ in range(count):
            a, b = next(batches)
            loss = criterion(head(encoder(a)), head(encoder(b)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return steps


def matmul_rate() -> float:
    """FLOP/s of a float32 matrix product with the same threads: the best of three sizes, each at its quickest."""
    best = 0.0
    for side in (512, 1024, 2048):
        a = torch.randn(side, side)
        for _ in range(10):
            start = time.perf_counter()
            a @ a
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


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
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    pixels = pictures()
    sides = {
        "manyviews": ours(args.net, args.batch, pixels),
        "lightly": theirs(args.net, args.batch, pixels, args.workers),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    flops: list[float] = []
    for turn in range(args.rounds + 1):
        flops.append(matmul_rate())
        for name, steps in sides.items():
            start = time.perf_counter()
            steps(args.steps)
            if turn:  # the first turn warms up
                rates[name].append(args.steps * args.batch / (time.perf_counter() - start))
    middle = {name: statistics.median(found) for name, found in rates.items()}
    work = (
        2 * 3 * describe(nets.build(args.net, size=SIZE), SIZE)["flops"]
    )  # two views; backward costs two forwards
    result = {
        "net": args.net,
        "batch": args.batch,
        "threads": torch.get_num_threads(),
        "items a second": middle,
        "ratio, turn by turn": statistics.median(a / b for a, b in zip(*rates.values(), strict=True)),
        "matrix products, GFLOP/s": max(flops) / 1e9,
        "share of matrix-product rate": middle["manyviews"] * work / max(flops),
    }
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
