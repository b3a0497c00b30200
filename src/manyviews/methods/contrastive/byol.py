"""BYOL: predict what a slow copy of yourself makes of another view; no negatives at all.

Paper    Grill, Strub, Altché et al., NeurIPS 2020 (arXiv:2006.07733). Loss eq. 2, twin eq. 1, momentum section 3.2.
Differs  The last layers of projector and predictor have a bias here, none in the authors' code. Brightness and contrast
         change as in torchvision here; the authors' code adds to the brightness and changes contrast about each
         channel's mean. Crops are resampled bilinearly here, bicubically in the authors' code. The target starts as a
         copy of the online net here, with weights of its own in the authors' code. The small recipes use AdamW or SGD
         in place of LARS.
Shapes   B images, C H W pixels, D embedding.
"""

from dataclasses import dataclass

from torch import nn

from manyviews.memory import Twin, cosine_momentum
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.heads import mlp
from manyviews.objectives import byol_loss
from manyviews.recipe import Recipe
from manyviews.views import Views, unlike_pair


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 256  # D, width of projection and prediction (section 3.2)
    hidden: int = 4096  # width of the hidden layer of projector and predictor (section 3.2)
    momentum: float = 0.996  # tau, EMA momentum, rising to 1 by a cosine (3.2); 0: target is the online net
    min_area: float = 0.08  # smallest crop, as a share of the image's area (appendix B)
    predictor: bool = True  # True: a predictor follows the projector; False: none, which collapses (table 5b)
    blur: tuple[float, float] = (1.0, 0.1)  # probability of Gaussian blur, first and second view (table 6)
    solarise: tuple[float, float] = (0.0, 0.2)  # probability of solarisation, first and second view (table 6)


ANATOMY = Anatomy(
    pretext="predict the other view",
    positives="another view of the image",
    negatives="none",
    target="momentum twin, stop-gradient",
    objective="squared error of unit vectors",
)


class BYOL(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net()  # f
        self.online = nn.Sequential(
            self.encoder, mlp(self.encoder.width, config.hidden, config.dim)
        )  # g after f
        self.target = Twin(self.online)  # xi
        self.predictor = (
            mlp(config.dim, config.hidden, config.dim) if config.predictor else nn.Identity()
        )  # q

    def views(self) -> Views:
        c = self.config
        return unlike_pair(self.spec.size, c.min_area, c.blur, c.solarise)

    def loss(self, batch: Batch, progress: float) -> Out:
        v, v_prime = batch.views
        z, z_prime = self.online(v), self.online(v_prime)
        one_way = byol_loss(self.predictor(z), self.target(v_prime))  # eq. 2
        and_back = byol_loss(self.predictor(z_prime), self.target(v))
        return Out(one_way + and_back, z=z)

    def after_step(self, out: Out, progress: float) -> None:
        self.target.follow(self.online, cosine_momentum(self.config.momentum, progress))  # eq. 1


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=4096, budget="1000ep",
            optimiser="lars", lr=3.2, weight_decay=1.5e-6, warmup=0.01,
        ),
    ),
    "cifar10": (
        Config(momentum=0.99, hidden=2048, blur=(0.0, 0.0)),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.2, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(momentum=0.9, hidden=512, dim=128, min_area=0.2, blur=(0.0, 0.0), solarise=(0.0, 0.0)),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
