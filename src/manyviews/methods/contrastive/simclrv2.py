"""SimCLR v2: SimCLR with a deeper projector, part of which is kept: big nets learn much from few labels that way.

Paper    Chen, Kornblith, Swersky, Norouzi, Hinton, NeurIPS 2020 (arXiv:2006.10029). Pre-training, projector and
         fine-tuning from its middle section 2, memory appendix; loss and views as SimCLR (arXiv:2002.05709).
         The paper's three steps are three commands here:
             manyviews pretrain simclrv2 --out runs/a
             manyviews pretrain supervised --recipe finetune --init-from runs/a --labels 0.1 --out runs/b
             manyviews pretrain distillation --teacher runs/b --alpha 0 --out runs/c
         The paper's settings for the second step are --recipe finetune-paper.
Differs  As in SimCLR; besides, the nets have no selective kernels here. Every evaluation here sees what is kept, the
         encoder with `kept` layers of the projector; the authors fine-tune from there but fit the linear probe to the
         encoder alone (--kept 0).
Shapes   B images, C H W pixels, D embedding, K queued keys; N = 2B anchors.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import normalize

from manyviews.errors import ManyviewsError
from manyviews.memory import Queue, Twin
from manyviews.method import Anatomy, Batch, NetFactory, Out, Spec
from manyviews.methods.contrastive import simclr
from manyviews.nets.encoder import Encoder
from manyviews.nets.heads import mlp
from manyviews.objectives import nt_xent
from manyviews.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Config(simclr.Config):
    layers: int = 3  # layers of the projector (section 3.1; 2 in SimCLR)
    kept: int = 1  # projector layers that stay with the encoder: fine-tuning starts there (0 in SimCLR)
    queue: int = 0  # K, further negatives in MoCo's memory (section 3.1: 65,536); 0: none (authors' code)
    momentum: float = 0.999  # share of the old memory network kept at each step, if queue is above 0


SERVES = {"momentum": ("queue", ())}

ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="the rest of the batch, and a queue if asked for",
    target="the same network",
    objective="NT-Xent",
)


class SimCLRv2(simclr.SimCLR):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        if not 0 <= config.kept < config.layers:
            raise ManyviewsError(
                f"--kept is {config.kept}, but a projector of {config.layers} layers can keep 0 to {config.layers - 1}."
            )
        super().__init__(config, net, spec)
        if config.queue:
            self.memory = Twin(nn.Sequential(self.encoder, self.projector))
            self.queue = Queue(config.queue, config.dim)

    def networks(self, net: NetFactory) -> tuple[Encoder, nn.Module]:
        hidden = [self.config.hidden] * (self.config.layers - 1)
        kept, rest = hidden[: self.config.kept], hidden[self.config.kept :]
        f = net(within=f"neck({{}}, {', '.join(map(str, kept))})") if kept else net()
        return f, mlp(f.width, *rest, self.config.dim)

    def loss(self, batch: Batch, progress: float) -> Out:
        z = self.embedded(batch.views)
        keys_KD = self.queue.keys_KD if self.config.queue else None
        loss = partial(nt_xent, temperature=self.config.temperature, memory_KD=keys_KD)
        return Out(simclr.multicrop(loss, z), carry=self._remembered(batch.views[0]), z=z[0])  # eq. 1

    def _remembered(self, x_BCHW: Tensor) -> Tensor | None:
        return normalize(self.memory(x_BCHW)) if self.config.queue else None

    def after_step(self, out: Out, progress: float) -> None:
        if self.config.queue:
            self.memory.follow(nn.Sequential(self.encoder, self.projector), self.config.momentum)
            self.queue.push(out.carry)


RECIPES = {
    "paper": (
        Config(queue=65_536),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=4096, budget="800ep",
            optimiser="lars", lr=6.4, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "cifar10": (
        Config(temperature=0.5, strength=0.5, blur=0.0, hidden=512),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.6, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(temperature=0.2, strength=0.5, blur=0.0, min_area=0.2, hidden=256),
        Recipe(data="world", batch=128, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
