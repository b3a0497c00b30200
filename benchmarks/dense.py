"""What a feature map knows of each place: a linear classifier on its cells says which creature is where, if any.

The claim of DenseCL (Wang et al., CVPR 2021): contrasting places as well as images makes better maps.

python benchmarks/dense.py                                       # MoCo v2 and DenseCL, by their recipes for the world
python benchmarks/dense.py densecl --set dense=0.0 --budget 4ep  # another lambda, another length
"""

import argparse
import ast
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import plan
from manyviews.data import ImageSet, summary
from manyviews.data.world import world
from manyviews.method import find
from manyviews.nets import Encoder
from manyviews.nets.encoder import judging
from manyviews.runs import Run
from manyviews.views import plain

STEPS = 300
CLASSES = 11  # background and ten species


def seen(encoder: Encoder, data: ImageSet) -> tuple[Tensor, Tensor]:
    """The map of every image, standardised later, and what each pixel shows: ``[N, C, h, w]`` and int64 ``[N, S, S]``."""
    assert data.pixels is not None and data.labels is not None
    size = data.pixels.shape[-1]
    with judging(encoder):
        grids = torch.cat([encoder.grid(plain(some, size)) for some in data.pixels.split(512)])
    inside = data.senses["mask"][:, 0] > 127
    return grids, torch.where(inside, 1 + data.labels[:, None, None], 0)


def mean_iou(encoder: Encoder, train: ImageSet, test: ImageSet) -> float:
    """Percent, over all classes and the pixels of the test set; the classifier is trained on cells, and upsampled."""
    (x, y), (x_test, y_test) = seen(encoder, train), seen(encoder, test)
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True) + 1e-6
    x, x_test = (x - mean) / std, (x_test - mean) / std
    share = F.adaptive_avg_pool2d(F.one_hot(y, CLASSES).permute(0, 3, 1, 2).float(), x.shape[2:])
    cells, target = x.permute(0, 2, 3, 1).flatten(0, 2), share.permute(0, 2, 3, 1).flatten(0, 2)
    torch.manual_seed(0)
    probe = torch.nn.Linear(x.shape[1], CLASSES)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(cells), (4096,))
        loss = F.cross_entropy(probe(cells[some]), target[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        logits = probe(x_test.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        said = F.interpolate(logits, y_test.shape[1:], mode="bilinear").argmax(1)
    pairs = (CLASSES * y_test + said).flatten().bincount(minlength=CLASSES**2).view(CLASSES, CLASSES).double()
    hit = pairs.diagonal()
    return float(100 * (hit / (pairs.sum(0) + pairs.sum(1) - hit).clamp(min=1)).mean())


def judged(name: str, changes: dict[str, Any], train: ImageSet, test: ImageSet) -> dict[str, Any]:
    paper = find(name)
    config, recipe = plan.changed(paper, *plan.base(paper, "world"), changes)
    about = {
        "method": name,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "data": summary(train),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", about)
        start = mean_iou(run.build(train).encoder, train, test)
        began = time.monotonic()
        run.train(train, quiet=True)
        seconds = time.monotonic() - began
        end = mean_iou(run.encoder, train, test)
    return {"method": name, **changes, "mean IoU, random start": start, "mean IoU": end, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("methods", nargs="*", default=["mocov2", "densecl"])
    parser.add_argument("--budget", default="8ep")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    pairs = (pair.partition("=") for pair in args.set)
    changes = {name: ast.literal_eval(value) for name, _, value in pairs} | {"budget": args.budget}
    train, test = world(senses=True), world("test", items=2000, senses=True)
    for seed in range(args.seeds):
        for name in args.methods:
            print(json.dumps(judged(name, changes | {"seed": seed}, train, test)), flush=True)


if __name__ == "__main__":
    main()
