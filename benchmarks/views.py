"""How fast are views made? SimCLR's full pipeline, on one core, beside the peers that are installed.

    python benchmarks/views.py --size 32        # 256 images of 32x32
    python benchmarks/views.py --size 224       # 32 images of 256x256

Candidates take turns, `--rounds` times, each in its own process, so that nothing that one sets (an allocator's
threshold, say) helps or hurts another. Figures are medians of views per second of CPU time (one thread, so one core;
a busy machine moves them less), with wall time beside. All peers work on the same images with the same
settings, except where their blur is another: "PIL" and lightly blur with Pillow, which approximates the Gaussian.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from manyviews.views import MEAN, STD, View, Views

STRENGTHS = (0.8, 0.8, 0.8, 0.2)
Candidate = tuple[Callable[[], object], int]  # what to run, and how many views one run makes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, choices=(32, 224), default=32, help="side of a view, pixels")
    parser.add_argument("--batch", type=int, help="images in a batch (default: 256 at 32, 32 at 224)")
    parser.add_argument("--rounds", type=int, default=9, help="turns that every candidate gets")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    batch = options.batch or (256 if options.size == 32 else 32)

    packages = {"torchvision": "torchvision", "PIL": "torchvision", "lightly": "lightly", "kornia": "kornia"}
    missing = [name for name, package in packages.items() if find_spec(package) is None]
    names = ["manyviews", *(name for name in packages if name not in missing)]
    speeds = interleaved(names, options.size, batch, options.rounds)
    result = {
        "size": options.size,
        "image": side_of(options.size),
        "batch": batch,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "versions": {name: version(name) for name in ("torchvision", "lightly", "kornia") if name in names},
        "missing": missing,
        "views_per_second": speeds,
        "ratio": {name: speeds["manyviews"]["cpu"] / speeds[name]["cpu"] for name in names[1:]},
    }
    print(json.dumps(result) if options.json else table(result))


def side_of(size: int) -> int:
    return 32 if size == 32 else 256


def smooth_images(batch: int, side: int) -> Tensor:
    """Random but smooth images: uint8 ``[B, 3, side, side]``."""
    coarse = torch.rand(batch, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return fine.clamp_(0, 1).mul_(255).to(torch.uint8)


def interleaved(names: list[str], size: int, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median views per second of CPU and of wall time of every candidate, which run in turn."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, name, size, batch), daemon=True).start()
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            speed = pipe.recv()
            if turn > 0:  # the first turn warms up
                speeds[name].append(speed)
    for pipe in pipes.values():
        pipe.send(False)
    return {
        name: {kind: statistics.median(turn[i] for turn in turns) for i, kind in enumerate(("cpu", "wall"))}
        for name, turns in speeds.items()
    }


def serve(pipe: Connection, name: str, size: int, batch: int) -> None:
    """One candidate's process: at every ``True``, make views and send how many a second."""
    torch.set_num_threads(1)
    build = {
        "manyviews": manyviews,
        "torchvision": torchvision_v2,
        "PIL": pil,
        "lightly": lightly,
        "kornia": kornia,
    }
    run, views = build[name](smooth_images(batch, side_of(size)), size)
    while pipe.recv():
        cpu, wall = time.process_time(), time.perf_counter()
        run()
        pipe.send((views / (time.process_time() - cpu), views / (time.perf_counter() - wall)))


def table(result: dict) -> str:
    lines = [
        f"SimCLR views {result['size']}x{result['size']} from {result['image']}x{result['image']}, "
        f"batch {result['batch']}, one thread, median of {result['rounds']} rounds",
        f"{'':14s}{'views/s (CPU)':>15s}{'views/s (wall)':>16s}{'manyviews is':>15s}",
    ]
    for name, speed in result["views_per_second"].items():
        ratio = f"{result['ratio'][name]:.1f}x" if name in result["ratio"] else ""
        lines.append(f"{name:14s}{speed['cpu']:15,.0f}{speed['wall']:16,.0f}{ratio:>15s}")
    lines += [f"{name}: not installed, skipped" for name in result["missing"]]
    return "\n".join(lines)


def kernel_of(size: int) -> int:
    return View(size=size).blur_kernel


def manyviews(image: Tensor, size: int) -> Candidate:
    views = Views(*[View(size=size, jitter=STRENGTHS, grey=0.2, blur=0.5)] * 2)
    step = iter(range(1_000_000))
    return lambda: views(image, views.draw(len(image), "benchmark", next(step))), 2 * len(image)


def torchvision_v2(image: Tensor, size: int) -> Candidate:
    import torchvision.transforms.v2 as T

    transform = T.Compose(
        [
            T.RandomResizedCrop(size, antialias=True),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(*STRENGTHS)], 0.8),
            T.RandomGrayscale(0.2),
            T.RandomApply([T.GaussianBlur(kernel_of(size), (0.1, 2.0))], 0.5),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize(MEAN, STD),
        ]
    )
    items = list(image[:32])
    return lambda: torch.stack([transform(item) for item in items]), len(items)


def as_pil(image: Tensor) -> list:
    from PIL import Image

    return [Image.fromarray(item.permute(1, 2, 0).contiguous().numpy()) for item in image]


def pil(image: Tensor, size: int) -> Candidate:
    import torchvision.transforms as T
    from PIL import ImageFilter

    def blur(item):
        return item.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))

    transform = T.Compose(
        [
            T.RandomResizedCrop(size),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(*STRENGTHS)], 0.8),
            T.RandomGrayscale(0.2),
            T.RandomApply([T.Lambda(blur)], 0.5),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    items = as_pil(image[:32])
    return lambda: torch.stack([transform(item) for item in items]), len(items)


def lightly(image: Tensor, size: int) -> Candidate:
    from lightly.transforms.simclr_transform import SimCLRTransform

    transform, items = SimCLRTransform(input_size=size), as_pil(image[:16])

    def run() -> list[Tensor]:
        pairs = [transform(item) for item in items]
        return [torch.stack(list(column)) for column in zip(*pairs, strict=True)]

    return run, 2 * len(items)


def kornia(image: Tensor, size: int) -> Candidate:
    import kornia.augmentation as K
    from kornia.augmentation.container.image import ImageSequential

    kernel = kernel_of(size)
    transform = ImageSequential(
        K.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(*STRENGTHS, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=0.5),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    )

    @torch.no_grad()
    def run() -> Tensor:
        return transform(image.float().div_(255))

    return run, len(image)


if __name__ == "__main__":
    main()
