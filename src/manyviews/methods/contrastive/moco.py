"""MoCo: look your own key up in a large, consistent dictionary of keys.

Paper    He, Fan, Wu, Xie, Girshick, CVPR 2020 (arXiv:1911.05722). Loss eq. 1, twin eq. 2, order algorithm 1.
Differs  Batch statistics are those of `splits` slices of the batch here, on any number of devices; in the paper they
         are those of each device's share, with eight devices (section 3.3). Images turn grey after the other changes of
         colour here, before them in the authors' code. The recipe `cifar10` has the settings of the authors' demo but
         the views of the paper; the demo's crops begin at 8% of the area, and its jitter changes the hue by 0.1 and
         meets four images in five.
Shapes   B images, C H W pixels, D embedding, K queued keys.
"""

from dataclasses import dataclass

from torch import nn
from torch.nn.functional import normalize

from manyviews.memory import Queue, Twin
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.norms import split_batch_norm
from manyviews.objectives import info_nce
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding (section 3.3)
    queue: int = 65_536  # K, keys in the dictionary (section 4.1; 4,096 in the authors' CIFAR-10 demo)
    momentum: float = 0.999  # m, share of the old key encoder kept at each step (eq. 2; 0.99 on CIFAR-10)
    temperature: float = 0.07  # divides the cosine (section 3.3; 0.1 on CIFAR-10)
    splits: int = 8  # slices of the whole batch, each with its own batch statistics (3.3: of 8 devices)
    min_area: float = 0.2  # smallest crop, as a share of the image's area (authors' code)


ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="a queue of past keys",
    target="momentum twin",
    objective="InfoNCE",
)


class MoCo(Method):
    learned_views = 1  # the keys are the twin's

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net()
        self.query = split_batch_norm(self.network(), config.splits)  # f_q
        self.key = Twin(self.query)  # f_k, equal to f_q at the first step
        self.queue = Queue(config.queue, config.dim)

    def network(self) -> nn.Module:
        return nn.Sequential(self.encoder, self.head())

    def head(self) -> nn.Module:
        return nn.Linear(self.encoder.width, self.config.dim)

    def views(self) -> Views:
        t = View(
            size=self.spec.size,
            crop=(self.config.min_area, 1.0),
            jitter=(0.4, 0.4, 0.4, 0.4),
            jitter_p=1.0,
            grey=0.2,
        )
        return Views(t, t)

    def loss(self, batch: Batch, progress: float) -> Out:
        x_q, x_k = batch.views
        q_BD = normalize(self.query(x_q))
        k_BD = normalize(self.key.shuffled(x_k))  # section 3.3
        loss = info_nce(q_BD, k_BD, self.queue.keys_KD, self.config.temperature)  # eq. 1
        return Out(loss, carry=k_BD, z=q_BD)

    def after_step(self, out: Out, progress: float) -> None:
        self.key.follow(self.query, self.config.momentum)  # eq. 2
        self.queue.push(out.carry)  # algorithm 1: the twin first, then the keys


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=256, budget="200ep", optimiser="sgd", lr=0.03,
            weight_decay=1e-4, decay_all=True, schedule="step", milestones=(0.6, 0.8),
        ),
    ),
    "cifar10": (
        Config(queue=4096, momentum=0.99, temperature=0.1),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.06, weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(queue=4096, momentum=0.99, temperature=0.2, splits=2),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
