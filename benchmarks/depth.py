"""Plain against residual nets at several depths, and a small ViT: the same labels, optimiser and number of items.

He et al. 2016 (arXiv:1512.03385), figure 6 at laptop scale: what counts is the *training* error, read in eval mode
without augmentation. All nets see the same items in the same order under the same seed.

    python benchmarks/depth.py --data world --budget 5ep
    python benchmarks/depth.py --data cifar10 --budget 2ep --depths 8 20 32
    python benchmarks/depth.py --data world --nets vit_ti4 --optimiser adamw --lr 1e-3
"""

import argparse
import dataclasses
import json
import time
from typing import Any

import torch
from torch import nn

from manyviews import plan
from manyviews.data import ItemSet, open_data
from manyviews.evaluation import EncoderEmbedder, embed_all
from manyviews.method import Spec, find
from manyviews.recipe import Recipe
from manyviews.rng import generator, seed_of
from manyviews.runs import net_factory
from manyviews.training.loop import Loop

JUDGED = 5000  # training images whose error is read


def error(classifier: nn.Module, size: int, images: ItemSet) -> float:
    logits = embed_all(EncoderEmbedder(classifier, size), images)
    assert logits.labels is not None
    return 100 * (logits.h_ND.argmax(1) != logits.labels).float().mean().item()


def trained(net: str, recipe: Recipe, train: ItemSet, test: ItemSet) -> dict[str, Any]:
    """Errors in percent after the budget, and what it cost."""
    assert train.classes is not None
    paper = find("supervised")
    config, _ = plan.base(paper, "world")
    torch.manual_seed(seed_of(recipe.seed, "weights"))
    spec = Spec(items=len(train), size=recipe.size, classes=len(train.classes))
    method = paper.method(config, net_factory(net, recipe.size), spec)  # pyright: ignore[reportCallIssue]
    losses: list[float] = []
    loop = Loop(method, train, recipe, hooks=[lambda moment: losses.append(float(moment.loss))])
    started = time.monotonic()
    loop.run()
    seconds = time.monotonic() - started
    classifier = nn.Sequential(method.encoder, method.get_submodule("classifier")).eval()
    some = torch.randperm(len(train), generator=generator("depth"))[:JUDGED]
    last = losses[-max(1, len(losses) // 10) :]
    return {
        "net": net,
        "seed": recipe.seed,
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "items": recipe.batch * len(losses),
        "training error": error(classifier, recipe.size, train.subset(some)),
        "test error": error(classifier, recipe.size, test),
        "loss, last tenth": sum(last) / len(last),
        "items a second": recipe.batch * len(losses) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="world")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--depths", type=int, nargs="*", default=[8, 20, 32])
    parser.add_argument("--nets", nargs="*", default=None, help="these instead of the pairs at --depths")
    parser.add_argument("--budget", default="5ep")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--optimiser", default="sgd")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    train, test = (open_data(args.data, split=split, root=args.data_root) for split in ("train", "test"))
    pairs = [f"cifar_resnet{depth}{kind}" for depth in args.depths for kind in ("/plain", "")]
    rows = []
    for seed in range(args.seeds):
        recipe = Recipe(
            data=args.data, batch=args.batch, budget=args.budget, optimiser=args.optimiser, lr=args.lr,
            weight_decay=1e-4 if args.optimiser == "sgd" else 0.05, decay_all=args.optimiser == "sgd",
            warmup=0.05, seed=seed,
        )  # fmt: skip
        for net in args.nets or pairs:
            rows.append(trained(net, dataclasses.replace(recipe, net=net), train, test))
            if not args.json:
                print("   ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()), flush=True)  # fmt: skip
    if args.json:
        print(
            json.dumps(
                {"data": args.data, "budget": args.budget, "threads": torch.get_num_threads(), "rows": rows}
            )
        )


if __name__ == "__main__":
    main()
