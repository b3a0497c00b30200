"""A training step of each method against the same made of lightly's modules, as its examples put them together.

Both sides have the same net, heads of the same widths, the same batch of views, and SGD; views are made beforehand, for
they have a benchmark of their own. Ours is laid out channels last, as our loop does; theirs is as its examples are, or
with `--channels-last` likewise. How they are timed, `duel` says.

    python benchmarks/steps.py
    python benchmarks/steps.py --only simclr mocov2 --net resnet18/cifar --batch 64 --json
"""

import argparse
import copy
import dataclasses
import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from duel import Duel, Step, fight, told
from lightly import loss as losses
from lightly.models.modules import heads
from lightly.models.utils import deactivate_requires_grad, select_most_similar, update_momentum
from torch import Tensor, nn

from manyviews import nets, plan
from manyviews.method import Batch, Spec, find
from manyviews.runs import net_factory

SIZE = 32
Theirs = Callable[[Any, nn.Module], "Peer"]


class Peer(nn.Module):
    """A method as lightly's example writes it: `loss` of a batch of views, and `after` the step."""

    def loss(self, views: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def after(self) -> None:
        pass


class SimCLR(Peer):
    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = heads.SimCLRProjectionHead(backbone.width, c.hidden, c.dim)
        self.criterion = losses.NTXentLoss(c.temperature)

    def loss(self, views: list[Tensor]) -> Tensor:
        return self.criterion(*(self.head(self.backbone(x)) for x in views))


class MoCoV2(Peer):
    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone, self.momentum = backbone, c.momentum
        self.head = heads.MoCoProjectionHead(backbone.width, c.hidden, c.dim)
        self.backbone_m, self.head_m = copy.deepcopy(self.backbone), copy.deepcopy(self.head)
        deactivate_requires_grad(self.backbone_m)
        deactivate_requires_grad(self.head_m)
        self.criterion = losses.NTXentLoss(c.temperature, memory_bank_size=(c.queue, c.dim))

    def loss(self, views: list[Tensor]) -> Tensor:
        update_momentum(self.backbone, self.backbone_m, self.momentum)
        update_momentum(self.head, self.head_m, self.momentum)
        query = self.head(self.backbone(views[0]))
        with torch.no_grad():
            key = self.head_m(self.backbone_m(views[1]))
        return self.criterion(query, key)


class DenseCL(Peer):
    """The dense memory holds every place of every key, where ours holds a mean of each key's (section 3.3)."""

    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone, self.momentum, self.dense = backbone, c.momentum, c.dense
        widths = backbone.width, c.hidden, c.dim
        self.whole, self.local = (heads.DenseCLProjectionHead(*widths) for _ in range(2))
        self.backbone_m, self.whole_m, self.local_m = map(copy.deepcopy, (backbone, self.whole, self.local))
        for module in (self.backbone_m, self.whole_m, self.local_m):
            deactivate_requires_grad(module)
        self.criterion, self.local_criterion = (
            losses.NTXentLoss(c.temperature, memory_bank_size=(c.queue, c.dim)) for _ in range(2)
        )

    def loss(self, views: list[Tensor]) -> Tensor:
        update_momentum(self.backbone, self.backbone_m, self.momentum)
        update_momentum(self.whole, self.whole_m, self.momentum)
        update_momentum(self.local, self.local_m, self.momentum)
        f, q, r = looked(views[0], self.backbone, self.whole, self.local)
        with torch.no_grad():
            f_k, k, t = looked(views[1], self.backbone_m, self.whole_m, self.local_m)
        t = select_most_similar(f, f_k, t)
        whole, local = self.criterion(q, k), self.local_criterion(r.flatten(end_dim=1), t.flatten(end_dim=1))
        return (1 - self.dense) * whole + self.dense * local


def looked(x: Tensor, backbone: Any, whole: nn.Module, local: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The map ``[B, S, C]``, the image's projection ``[B, D]`` and that of each place ``[B, S, D]``."""
    f = backbone.grid(x)
    places = f.flatten(2).permute(0, 2, 1)
    return places, whole(f.mean((2, 3))), local(places)


class BYOL(Peer):
    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone, self.momentum = backbone, c.momentum
        self.head = heads.BYOLProjectionHead(backbone.width, c.hidden, c.dim)
        self.predict = heads.BYOLPredictionHead(c.dim, c.hidden, c.dim)
        self.backbone_m, self.head_m = copy.deepcopy(self.backbone), copy.deepcopy(self.head)
        deactivate_requires_grad(self.backbone_m)
        deactivate_requires_grad(self.head_m)
        self.criterion = losses.NegativeCosineSimilarity()

    def loss(self, views: list[Tensor]) -> Tensor:
        update_momentum(self.backbone, self.backbone_m, self.momentum)
        update_momentum(self.head, self.head_m, self.momentum)
        p0, p1 = (self.predict(self.head(self.backbone(x))) for x in views)
        with torch.no_grad():
            z0, z1 = (self.head_m(self.backbone_m(x)) for x in views)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


class SimSiam(Peer):
    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = heads.SimSiamProjectionHead(backbone.width, c.dim, c.dim)
        self.predict = heads.SimSiamPredictionHead(c.dim, c.bottleneck, c.dim)
        self.criterion = losses.NegativeCosineSimilarity()

    def loss(self, views: list[Tensor]) -> Tensor:
        z0, z1 = (self.head(self.backbone(x)) for x in views)
        p0, p1 = self.predict(z0), self.predict(z1)
        return 0.5 * (self.criterion(p0, z1.detach()) + self.criterion(p1, z0.detach()))


class SwAV(Peer):
    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.head = heads.SwaVProjectionHead(backbone.width, c.hidden, c.dim)
        self.prototypes = heads.SwaVPrototypes(c.dim, n_prototypes=c.prototypes)
        self.criterion = losses.SwaVLoss(temperature=c.temperature, sinkhorn_epsilon=c.epsilon)

    def loss(self, views: list[Tensor]) -> Tensor:
        self.prototypes.normalize()
        z = [F.normalize(self.head(self.backbone(x)), dim=1) for x in views]
        scores = [self.prototypes(each) for each in z]
        return self.criterion(scores[:2], scores[2:])


class DINO(Peer):
    def __init__(self, c: Any, backbone: nn.Module):
        super().__init__()
        self.backbone, self.momentum = backbone, c.momentum
        widths = backbone.width, c.hidden, c.bottleneck, c.prototypes
        self.head, self.head_m = (heads.DINOProjectionHead(*widths, batch_norm=c.head_norm) for _ in range(2))
        self.head_m.load_state_dict(self.head.state_dict())  # weight norm refuses to be copied
        self.backbone_m = copy.deepcopy(self.backbone)
        deactivate_requires_grad(self.backbone_m)
        deactivate_requires_grad(self.head_m)
        self.criterion = losses.DINOLoss(output_dim=c.prototypes)

    def loss(self, views: list[Tensor]) -> Tensor:
        update_momentum(self.backbone, self.backbone_m, self.momentum)
        update_momentum(self.head, self.head_m, self.momentum)
        with torch.no_grad():
            teacher = [self.head_m(self.backbone_m(x)) for x in views[:2]]
        student = [self.head(self.backbone(x)) for x in views]
        return self.criterion(teacher, student, epoch=10)


class Row(NamedTuple):
    """A method and its peer; `settings` are those in which lightly's modules leave no choice, or that the row is about."""

    method: str
    peer: Theirs
    settings: dict[str, Any]


ROWS = {  # lightly's heads have the paper's layers, and no splits of the batch
    "simclr": Row("simclr", SimCLR, {}),
    "mocov2": Row("mocov2", MoCoV2, {"splits": 1}),
    "densecl": Row("densecl", DenseCL, {"splits": 1}),
    "byol": Row("byol", BYOL, {}),
    "simsiam": Row("simsiam", SimSiam, {"layers": 3}),
    "swav": Row("swav", SwAV, {"queue": 0}),
    "swav-crops": Row("swav", SwAV, {"local_crops": 6, "queue": 0}),
    "dino": Row("dino", DINO, {"layers": 3}),
    "dino-crops": Row("dino", DINO, {"layers": 3, "local_crops": 8}),
}


def duel(name: str, net: str, batch: int, channels_last: bool) -> Duel:
    """One step of the method's own recipe for CIFAR-10, at a queue of 4,096; small crops are the paper's."""
    row = ROWS[name]
    paper = find(row.method)
    config, _ = plan.base(paper, "cifar10")
    config = dataclasses.replace(config, **row.settings)
    torch.manual_seed(0)
    method = paper.method(config, net_factory(net, SIZE), Spec(items=50_000, size=SIZE))
    peer = row.peer(config, nets.build(net, size=SIZE))
    views = [torch.randn(batch, 3, view.size, view.size) for view in method.views().views]
    index = torch.arange(batch)
    their_views, last = views, torch.channels_last
    method.to(memory_format=last)  # pyright: ignore[reportCallIssue]
    views = [view.contiguous(memory_format=last) for view in views]
    if channels_last:
        peer.to(memory_format=last)  # pyright: ignore[reportCallIssue]
        their_views = views

    def ours() -> None:
        optimise[0].zero_grad()
        out = method.loss(Batch(views, index), 0.5)
        out.loss.backward()
        method.before_step(0.5)
        optimise[0].step()
        method.after_step(out, 0.5)

    def theirs() -> None:
        optimise[1].zero_grad()
        peer.loss(their_views).backward()
        optimise[1].step()
        peer.after()

    optimise = [
        torch.optim.SGD([w for w in side.parameters() if w.requires_grad], lr=1e-3, momentum=0.9, fused=True)
        for side in (method, peer)
    ]
    method.train(), peer.train()
    steps: list[Step] = [ours, theirs]
    return Duel(*steps, f"{net}, {batch} items, views of {', '.join(str(v.shape[-1]) for v in views)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--net", default="cifar_resnet20/B")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--channels-last", action="store_true", help="lay out theirs as ours")
    parser.add_argument("--seconds", type=float, default=40, help="at most, for the turns of one pair")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")  # of the peer
    found: dict[str, dict[str, object]] = {}
    if not args.json:
        print(f"{torch.get_num_threads()} threads; a ratio above 1 is lightly taking longer")
    for name in args.only:
        found[name] = fight(duel(name, args.net, args.batch, args.channels_last), args.seconds)
        if not args.json:
            print(told(name, found[name]), flush=True)
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), **found}))


if __name__ == "__main__":
    main()
