"""CIFAR-10 in a fixed wall clock on a CPU: kNN accuracy of our SimCLR and of lightly's, on the same ResNet-20.

Each side runs alone in its own process with the same threads, lightly's by the settings of its example, ours by some that suit so
short a budget (`SHORT`): both the speed and the recipe are ours. Both encoders, a random one and raw pixels are judged by
the same weighted kNN (k = 200, T = 0.1) on the test images.

    python benchmarks/cifar10.py ours --minutes 20 --seed 0
    python benchmarks/cifar10.py lightly --minutes 20 --seed 0
    python benchmarks/cifar10.py references
"""

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import manyviews
from manyviews import nets
from manyviews.data import ItemSet, open_data
from manyviews.evaluation import EncoderEmbedder, RawPixels, evaluate

NET = "cifar_resnet20/B"
SHORT = {  # what suits a short budget on a CPU: AdamW, a sharper loss, milder crops
    "net": NET, "batch": 128, "optimiser": "adamw", "lr": 2e-3, "weight_decay": 1e-2, "warmup": 0.05,
    "temperature": 0.2, "min_area": 0.2, "hidden": 256,
}  # fmt: skip


def judged(embedder: Any, train: ItemSet, test: ItemSet) -> float:
    return evaluate(embedder, train, test, protocols=("knn",))["knn"]["top1"]


def ours(minutes: float, seed: int, root: str | None, train: ItemSet, test: ItemSet) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run = manyviews.pretrain(
            "simclr", "cifar10", out=Path(folder) / "run", data_root=root, recipe="cifar10", baselines=(),
            budget=f"{60 * minutes}s", seed=seed, **SHORT,
        )  # fmt: skip
        last = run.metrics()[-1]
        return {
            "kNN top-1": judged(run.embedder, train, test),
            "items": last["items"],
            "items a second": last["items"] / last["seconds"],
        }


def lightly(minutes: float, seed: int, train: ItemSet, test: ItemSet) -> dict[str, Any]:
    """lightly's example: its transform in a worker, its head and loss, its learning rate for this batch."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms.simclr_transform import SimCLRTransform
    from PIL import Image

    assert train.values is not None
    torch.manual_seed(seed)
    transform, batch = SimCLRTransform(input_size=32, gaussian_blur=0.0), 256
    arrays = train.values.permute(0, 2, 3, 1).numpy()

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(arrays)

        def __getitem__(self, item: int) -> list[Tensor]:
            return transform(Image.fromarray(arrays[item]))

    encoder = nets.build(NET)
    head, criterion = SimCLRProjectionHead(encoder.width, encoder.width, 128), NTXentLoss(0.5)
    peak = 0.06 * batch / 128
    weights = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.SGD(weights, lr=peak, momentum=0.9, weight_decay=5e-4)
    loader = torch.utils.data.DataLoader(Pairs(), batch, shuffle=True, drop_last=True, num_workers=1)
    start, items, length = time.monotonic(), 0, 60 * minutes
    while time.monotonic() - start < length:
        for a, b in loader:
            gone = min(1.0, (time.monotonic() - start) / length)
            if gone >= 1.0:
                break
            optimiser.param_groups[0]["lr"] = peak * 0.5 * (1 + math.cos(math.pi * gone))
            loss = criterion(head(encoder(a)), head(encoder(b)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            items += batch
    speed = items / (time.monotonic() - start)
    embedder = EncoderEmbedder(encoder, 32)
    return {"kNN top-1": judged(embedder, train, test), "items": items, "items a second": speed}


def references(seed: int, train: ItemSet, test: ItemSet) -> dict[str, Any]:
    torch.manual_seed(seed)
    random: nn.Module = nets.build(NET)
    return {
        "random net, kNN top-1": judged(EncoderEmbedder(random, 32), train, test),
        "raw pixels, kNN top-1": judged(RawPixels(32), train, test),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=["ours", "lightly", "references"])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None, help="of torch; unless told, its own choice")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    train, test = (open_data("cifar10", split=split, root=args.data_root) for split in ("train", "test"))
    result: dict[str, Any] = {"side": args.side, "minutes": args.minutes, "seed": args.seed, "net": NET}
    if args.side == "ours":
        result |= ours(args.minutes, args.seed, args.data_root, train, test)
    elif args.side == "lightly":
        result |= lightly(args.minutes, args.seed, train, test)
    else:
        result |= references(args.seed, train, test)
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
