"""SwAV: predict the cluster code of one view from another; the codes share the batch evenly among prototypes.

Paper    Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, NeurIPS 2020 (arXiv:2006.09882). Loss eq. 1 and 2, codes eq. 3
         to 5, multi-crop eq. 6, order of a step as in the pseudo-code of appendix A.
Differs  The start of the queue and the end of the prototypes' freeze are shares of the run here, numbers of epochs and
         steps in the authors' code. The queue fills from the first step on here, so that it is full when it is first
         used. LARS neither decays nor rescales biases and norms here; in the authors' code it does both. The learning
         rate rises from 0 and ends at 0 here; in the authors' code it rises from 0.3 and ends at 0.0048. The small
         recipes use SGD or AdamW.
Shapes   B images, D embedding, K prototypes, V views, of which the first two are of full size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, one_hot

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.memory import Queue
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.heads import mlp
from manyviews.nets.multicrop import by_size, local_side
from manyviews.objectives import sinkhorn, soft_cross_entropy
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe
from manyviews.views import View, Views, colour_jitter, large_and_small


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding (appendix A)
    hidden: int = 2048  # width of the projector's hidden layer (authors' code)
    prototypes: int = 3000  # K, three times ImageNet's classes (appendix C; 512 in our CIFAR-10 recipe)
    temperature: float = 0.1  # tau, divides the cosine in the prediction (eq. 2)
    epsilon: float = 0.05  # smoothness of the codes: the smaller, the nearer to one prototype each (eq. 3)
    iterations: int = 3  # iterations of the Sinkhorn-Knopp normalisation (section 3.1)
    sinkhorn: bool = True  # True: evenly spread codes (section 3.1); False: codes by softmax, which collapse
    hard: bool = False  # True: round codes to the nearest prototype, which does worse (section 3.1)
    global_area: tuple[float, float] = (0.14, 1.0)  # share of the area in a full-size crop (appendix A)
    local_crops: int = 6  # number of small crops (V of section 3.2, V - 2 here); 0 turns multi-crop off
    local_area: tuple[float, float] = (0.05, 0.14)  # share of the image's area in a small crop (appendix A)
    local_share: float = 3 / 7  # a small crop's side as a share of a full-size one's: 96 of 224 (appendix A)
    strength: float = 1.0  # s, strength of the colour jitter (appendix A; 0.5 in our CIFAR-10 recipe)
    blur: float = 0.5  # probability of Gaussian blur (appendix A; 0 in our CIFAR-10 recipe)
    queue: int = 0  # past embeddings per view added when codes are computed (3.1; 3,840 at a batch of 256)
    queue_from: float = 0.075  # share of the run before the queue is used (authors' code: epoch 15 of 200)
    freeze: float = 0.00125  # share of the run before prototypes are trained (authors' code: an epoch of 800)


SERVES = {"queue_from": ("queue", ()), **dict.fromkeys(("iterations", "queue"), ("sinkhorn", (True,)))}
ANATOMY = Anatomy(
    pretext="clustering",
    positives="another view of the image",
    negatives="other prototypes",
    target="balanced code of the other view, stop-gradient",
    objective="cross entropy with soft codes",
)


class SwAV(Method):
    pushed: Tensor

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.prototypes < 2:
            raise ManyviewsError(
                f"With {config.prototypes} prototypes every view has the same code; choose --prototypes 2 or more."
            )
        self.encoder = net()
        self.projector = mlp(self.encoder.width, config.hidden, config.dim)
        self.prototypes = nn.Linear(config.dim, config.prototypes, bias=False)  # C
        self.local = local_side(self.encoder, spec.size, config.local_crops, config.local_share)  # pixels
        # Past embeddings of both full-size views, side by side.
        self.queue = Queue(config.queue, 2 * config.dim) if config.queue else None
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))  # into the queue so far
        self.unit_prototypes()

    def views(self) -> Views:
        c = self.config
        t = View(
            size=self.spec.size, crop=c.global_area, jitter=colour_jitter(c.strength), grey=0.2, blur=c.blur
        )
        return large_and_small(t, c.local_crops, self.local, c.local_area)

    def loss(self, batch: Batch, progress: float) -> Out:
        h = by_size(self.encoder, batch.views)
        z_VBD = normalize(precise(self.projector(torch.cat(h))), dim=1).chunk(len(h))
        score_VBK = [self.scores(z_BD) for z_BD in z_VBD]
        loss = torch.zeros_like(score_VBK[0][0, 0])
        for s in (0, 1):  # codes come from the full-size crops alone (section 3.2)
            q_BK = self.codes(score_VBK[s].detach(), s, progress)
            others = score_VBK[:s] + score_VBK[s + 1 :]
            swapped = [soft_cross_entropy(score_BK / self.config.temperature, q_BK) for score_BK in others]
            loss = loss + torch.stack(swapped).mean() / 2  # eq. 6
        # What collapses is what is predicted: embeddings may differ and yet all belong to one prototype.
        p_BK = (score_VBK[0] / self.config.temperature).softmax(1)
        return Out(loss, carry=torch.cat(z_VBD[:2], 1).detach(), z=p_BK)

    def scores(self, z_BD: Tensor) -> Tensor:
        """z . c for all prototypes, in full precision: codes divide it by a small epsilon."""
        with torch.autocast(z_BD.device.type, enabled=False):
            return linear(z_BD, self.prototypes.weight)

    @torch.no_grad()
    def codes(self, score_BK: Tensor, view: int, progress: float) -> Tensor:
        """Q of eq. 3: what each item's other views have to predict."""
        c, rows = self.config, len(score_BK)
        if self.queue is not None and progress >= c.queue_from:
            share = distributed.local_rows(c.queue)  # each rank brings its own
            past_BK = self.scores(self.queue.keys_KD[share].chunk(2, 1)[view])
            score_BK = torch.cat([score_BK, past_BK.masked_fill(self.pushed < c.queue, -torch.inf)])
        if c.sinkhorn:
            q_BK = sinkhorn(score_BK, c.epsilon, c.iterations)[:rows]
        else:
            q_BK = (score_BK[:rows] / c.epsilon).softmax(1)
        return one_hot(q_BK.argmax(1), c.prototypes).to(q_BK) if c.hard else q_BK

    def before_step(self, progress: float) -> None:
        if progress < self.config.freeze:
            self.prototypes.weight.grad = None

    def after_step(self, out: Out, progress: float) -> None:
        if self.queue is not None:
            self.queue.push(out.carry)
        self.pushed += len(out.carry) * distributed.world_size()
        self.unit_prototypes()

    @torch.no_grad()
    def unit_prototypes(self) -> None:
        """Before each forward pass the prototypes are of length 1 (appendix A)."""
        self.prototypes.weight.copy_(normalize(self.prototypes.weight, dim=1))


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=4096, budget="800ep",
            optimiser="lars", lr=4.8, weight_decay=1e-6, warmup=0.0125,
        ),
    ),
    "cifar10": (
        Config(prototypes=512, local_crops=0, strength=0.5, blur=0.0, queue=3840, freeze=0.005),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.6, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(
            prototypes=100, hidden=256, temperature=0.2, epsilon=0.03, local_crops=0, global_area=(0.2, 1.0),
            strength=0.5, blur=0.0, freeze=0.01,
        ),
        Recipe(data="world", batch=128, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
