"""DINO: a student learns from crops to say what its slow teacher says of the whole image; no labels, no negatives.

Paper    Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin, ICCV 2021 (arXiv:2104.14294). Student eq. 1, loss eq.
         2 and 3, centre eq. 4, order algorithm 1, collapse section 5.3 and figure 7.
Differs  The encoder that is kept, and evaluated during training, is the teacher's, which is the better one throughout
         (figure 6). Crops are resampled bilinearly here, bicubically in the authors' code. `clip` bounds the norm of
         all gradients together here, that of each tensor in the authors' code. The learning rate ends at 0 here, at
         1e-6 in the authors' code. The head's layers start with torch's defaults here, and a ViT's as in the code of
         the ViT paper (Glorot); the authors draw all weights with a deviation of 0.02. A ViT's class token has no
         weight decay here, and its positions are resized with antialiasing for small crops, which have fewer. The
         freeze of the prototypes and the warm-up of the temperatures last for shares of the run here, for numbers of
         epochs in the authors' code.
Shapes   B images, C H W pixels, K prototypes; V crops, of which the first two are global.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softmax

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.memory import Twin, cosine_momentum
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.encoder import Encoder
from manyviews.nets.heads import Prototypes, mlp
from manyviews.nets.multicrop import by_size, local_side
from manyviews.nets.transformer import stochastic_depth
from manyviews.objectives import soft_cross_entropy
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    prototypes: int = 65_536  # K, prototypes: the head's outputs (appendix C; 4,096 or fewer on small data)
    hidden: int = 2048  # width of the head's hidden layers (section 3.1)
    bottleneck: int = 256  # width of the unit vectors before the prototypes (appendix C)
    layers: int = 3  # layers of the head before the prototypes (section 3.1)
    head_norm: bool = False  # True: batch norm in the head (section 3.1: none, so that a ViT has none at all)
    fixed_lengths: bool = True  # True: prototypes of length 1; False: learnt lengths, maybe better, unstable
    momentum: float = 0.996  # lambda, EMA momentum, rising to 1 by a cosine (3.1); 0: teacher is the student
    temperature: float = 0.1  # tau_s, temperature of the student (section 3.2)
    teacher_temperature: tuple[float, float] = (0.04, 0.07)  # tau_t at the start and after the warm-up (3.2)
    teacher_warmup: float = 0.1  # share of the run over which tau_t rises (section 3.2: 30 of 300 epochs)
    centre_momentum: float = 0.9  # m, share of the old centre kept at each step (eq. 4)
    centring: bool = True  # True: centre teacher; False: heads without norms collapse to one prototype (5.3)
    sharpen: bool = True  # True: use tau_t; False: use tau_s (heads without norms collapse to uniform, 5.3)
    freeze: float = 1 / 300  # share of the run before prototypes are trained (one epoch in the authors' code)
    drop_path: float = 0.1  # chance that the student skips its last block (authors' code); acts on ViTs only
    local_crops: int = 8  # V - 2, number of local crops (section 3.1; authors' code, 10 in table 8)
    local_share: float = 3 / 7  # local crop's side over that of a global one (section 3.1: 96 of 224 pixels)
    global_area: tuple[float, float] = (0.4, 1.0)  # global crop's area share (code; 0.14, 1 for ResNet-50)
    local_area: tuple[float, float] = (0.05, 0.4)  # local crop's area share (code; 0.05, 0.14 for ResNet-50)
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)  # probability of blur: global 1, global 2, local crops
    solarise: tuple[float, float] = (0.0, 0.2)  # probability for the two global crops (BYOL's views, 3.2)


SERVES = {
    **dict.fromkeys(("teacher_temperature", "teacher_warmup"), ("sharpen", (True,))),
    "centre_momentum": ("centring", (True,)),
}
ANATOMY = Anatomy(
    pretext="self-distillation from crops",
    positives="two global crops of the image, for every other crop",
    negatives="none",
    target="momentum twin with its head, centred and sharpened",
    objective="cross entropy over prototypes",
)


class DINO(Method):
    centre_K: Tensor

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config)
        encoder = net()
        widths = [encoder.width] + [config.hidden] * (config.layers - 1) + [config.bottleneck]
        head = mlp(*widths, batch_norm=config.head_norm, activation="gelu")
        prototypes = Prototypes(config.bottleneck, config.prototypes, config.fixed_lengths)
        self.student = nn.Sequential(encoder, head, prototypes)  # g_theta_s
        self.teacher = Twin(self.student)  # g_theta_t
        self.encoder: Encoder = self.teacher.module[0]  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
        stochastic_depth(encoder, config.drop_path)  # the teacher, copied before, skips nothing
        self.local = local_side(encoder, spec.size, config.local_crops, config.local_share)  # pixels
        self.register_buffer("centre_K", torch.zeros(config.prototypes))  # c

    def views(self) -> Views:
        config, size = self.config, self.spec.size
        looks = {"jitter": (0.4, 0.4, 0.2, 0.1), "grey": 0.2}
        wide = [
            View(size=size, crop=config.global_area, blur=blur, solarise=solarise, **looks)
            for blur, solarise in zip(config.blur[:2], config.solarise, strict=True)
        ]
        kernel = min(wide[0].blur_kernel, 2 * self.local - 1)  # theirs has no end
        local = [
            View(size=self.local, crop=config.local_area, blur=config.blur[2], kernel=kernel, **looks)
            for _ in range(config.local_crops)
        ]
        return Views(*wide, *local)

    def loss(self, batch: Batch, progress: float) -> Out:
        g_t = [precise(g) for g in by_size(self.teacher, batch.views[:2])]
        # Crops share the statistics of their size in the encoder, and all of them those of the head (authors' code).
        h = by_size(self.student[0], batch.views)
        g_s = [precise(g) for g in self.student[1:](torch.cat(h)).chunk(len(h))]
        p_1, p_2 = (softmax((g - self.centre_K) / self.tau_t(progress), dim=1) for g in g_t)
        # Cross entropy is linear in its target: a local crop meets the sum of both, a global crop never itself.
        targets = [p_2, p_1] + [p_1 + p_2] * (len(g_s) - 2)
        terms = [
            soft_cross_entropy(g / self.config.temperature, p) for g, p in zip(g_s, targets, strict=True)
        ]
        loss = torch.stack(terms).sum() / (2 * (len(g_s) - 1))  # eq. 3, as a mean over its pairs
        entropy = torch.special.entr(torch.cat([p_1, p_2])).sum(1).mean()
        log = {"teacher_entropy": entropy, "kl": loss.detach() - entropy}  # figure 7
        return Out(loss, log, carry=torch.stack(g_t).mean(0), z=p_1)

    def tau_t(self, progress: float) -> float:
        if not self.config.sharpen:
            return self.config.temperature
        start, end = self.config.teacher_temperature
        warm = min(1.0, progress / self.config.teacher_warmup) if self.config.teacher_warmup else 1.0
        return start + (end - start) * warm

    def before_step(self, progress: float) -> None:
        if progress < self.config.freeze:
            for parameter in self.student[2].parameters():
                parameter.grad = None

    @torch.no_grad()
    def after_step(self, out: Out, progress: float) -> None:
        self.teacher.follow(self.student, cosine_momentum(self.config.momentum, progress))  # lambda
        if self.config.centring:
            mean_K = distributed.all_reduce_mean(out.carry.mean(0))
            self.centre_K.lerp_(mean_K.to(self.centre_K.dtype), 1 - self.config.centre_momentum)  # eq. 4


def check(config: Config) -> None:
    temperatures = (config.temperature, *config.teacher_temperature)
    if min(temperatures) <= 0:
        raise ManyviewsError(f"Temperatures divide and must be above zero, but one is {min(temperatures)}.")
    if not 0 <= config.drop_path < 1:
        raise ManyviewsError(f"drop_path is {config.drop_path}, a chance: set it to 0 or more, and below 1.")


RECIPES = {
    "paper": (
        Config(fixed_lengths=False),
        Recipe(
            data="imagenet", net="vit_s16", size=224, batch=1024, budget="300ep", optimiser="adamw", lr=2e-3,
            weight_decay=0.04, weight_decay_end=0.4, warmup=10 / 300, clip=3.0,
        ),
    ),
    "paper_resnet": (
        Config(
            global_area=(0.14, 1.0), local_area=(0.05, 0.14), teacher_temperature=(0.04, 0.04), freeze=0.01,
        ),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=512, budget="100ep", optimiser="sgd", lr=0.06,
            weight_decay=1e-4, warmup=0.1, clip=3.0,
        ),
    ),
    "cifar10": (
        Config(
            prototypes=2048, layers=2, head_norm=True, momentum=0.99, local_crops=0, global_area=(0.2, 1.0),
            teacher_temperature=(0.04, 0.04), freeze=0.005, blur=(0.0, 0.0, 0.0),
        ),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.24, weight_decay=5e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(
            prototypes=512, hidden=256, bottleneck=64, layers=2, head_norm=True, momentum=0.98,
            teacher_temperature=(0.04, 0.04), local_crops=0, global_area=(0.2, 1.0),
            blur=(0.0, 0.0, 0.0), solarise=(0.0, 0.0),
        ),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=1e-3, weight_decay=1e-2, warmup=0.05),
    ),
    "world_vit": (
        Config(
            prototypes=512, hidden=256, bottleneck=64, momentum=0.95, teacher_temperature=(0.04, 0.04), local_crops=2,
            local_share=0.5, local_area=(0.1, 0.4), blur=(0.0, 0.0, 0.0), solarise=(0.0, 0.0),
        ),
        Recipe(
            data="world", net="small_vit", batch=64, budget="16ep", optimiser="adamw", lr=1e-3,
            weight_decay=0.04, weight_decay_end=0.4, warmup=0.1, clip=3.0,
        ),
    ),
}  # fmt: skip
