"""MoCo v3: contrast with a twin's keys of the same batch, no queue; it trains vision transformers too.

Paper    Chen, Xie, He, ICCV 2021 (arXiv:2104.02057). Loss eq. 1, order algorithm 1, heads and views section 3 and 5,
         frozen patch projection section 4.2.
Differs  The small ViT has six heads here and twelve in the paper, so the recipe `paper` trains the base ViT. The twin
         is updated right after each step here, with that step's momentum; the authors' code updates it before the next
         forward pass.
Shapes   B images, C H W pixels, D embedding; each query against the keys of the batches of all devices.
"""

from dataclasses import dataclass

from torch import nn

from manyviews.errors import ManyviewsError
from manyviews.memory import Twin, cosine_momentum
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.encoder import called
from manyviews.nets.heads import mlp
from manyviews.nets.watching import patch_projection
from manyviews.objectives import in_batch
from manyviews.recipe import Recipe
from manyviews.views import Views, unlike_pair


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 256  # D, width of projection and prediction (section 5)
    hidden: int = 4096  # width of the hidden layers of projector and predictor (section 5)
    momentum: float = 0.99  # m, EMA momentum at the start, rising to 1 by a cosine (section 5)
    temperature: float = 0.2  # tau, divides the cosine (section 5; 1.0 for ResNet-50 in the authors' code)
    freeze_patch: bool = True  # True: a ViT's patch projection stays random (section 4.2); False: it learns
    predictor: bool = True  # True: a predictor follows the projector; False: none, a point worse (section 6)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (section 5; 0.2 for ResNet-50)
    blur: tuple[float, float] = (1.0, 0.1)  # probability of Gaussian blur, first and second view (section 5)
    solarise: tuple[float, float] = (0.0, 0.2)  # probability of solarisation, views 1 and 2 (section 5)


ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="the twin's keys of the rest of the batch",
    target="momentum twin",
    objective="InfoNCE both ways, times 2 tau",
)


class MoCoV3(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net()
        patch, D, hidden = patch_projection(self.encoder), config.dim, config.hidden
        vit = patch is not None
        if not vit and not config.freeze_patch:
            raise ManyviewsError(
                f"{called(self.encoder)} has no patch projection that could be learned or not; leave --no-freeze-patch to ViTs."
            )
        if vit and config.freeze_patch:
            patch.requires_grad_(False)
        # Every layer of a ViT's heads is normalised; a ResNet has a shallower projector and a predictor that ends bare.
        widths = [self.encoder.width] + [hidden] * (2 if vit else 1) + [D]
        self.base = nn.Sequential(self.encoder, mlp(*widths, out_norm="plain"))
        end = mlp(D, hidden, D, out_norm="plain" if vit else None, out_bias=False)
        self.predictor = end if config.predictor else nn.Identity()
        self.twin = Twin(self.base)  # f_k; f_q is the predictor after the base

    def views(self) -> Views:
        c = self.config
        return unlike_pair(self.spec.size, c.min_area, c.blur, c.solarise)

    def loss(self, batch: Batch, progress: float) -> Out:
        x1, x2 = batch.views
        q1, q2 = self.predictor(self.base(x1)), self.predictor(self.base(x2))
        k1, k2 = self.twin(x1), self.twin(x2)
        tau = self.config.temperature
        ctr = in_batch(q1, k2, tau) + in_batch(q2, k1, tau)  # eq. 1, symmetrised
        return Out(2 * tau * ctr, z=q1)  # algorithm 1

    def after_step(self, out: Out, progress: float) -> None:
        self.twin.follow(self.base, cosine_momentum(self.config.momentum, progress))


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="vit_b16/sincos2d", size=224, batch=4096, budget="300ep",
            optimiser="adamw", lr=2.4e-3, weight_decay=0.1, decay_all=True, warmup=40 / 300,
        ),
    ),
    "paper_resnet": (
        Config(temperature=1.0, min_area=0.2),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=4096, budget="100ep",
            optimiser="lars", lr=9.6, weight_decay=1e-6, warmup=0.1,
        ),
    ),
    "cifar10": (
        Config(blur=(0.0, 0.0), hidden=2048),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.2, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(dim=128, hidden=256, momentum=0.95, min_area=0.2, blur=(0.0, 0.0), solarise=(0.0, 0.0)),
        Recipe(data="world", batch=128, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
    "world_vit": (
        Config(dim=128, hidden=256, momentum=0.95, min_area=0.2, blur=(0.0, 0.0), solarise=(0.0, 0.0)),
        Recipe(
            data="world", net="small_vit/sincos2d", batch=128, budget="16ep",
            optimiser="adamw", lr=1e-3, weight_decay=0.1, warmup=0.1,
        ),
    ),
}  # fmt: skip
