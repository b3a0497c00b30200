"""SimCLR: two views of one image attract; all other images of the batch repel.

Paper    Chen, Kornblith, Norouzi, Hinton, ICML 2020 (arXiv:2002.05709). Loss eq. 1, views appendix A, CIFAR B.9. Small
         crops as an option: SwAV (Caron et al., NeurIPS 2020), section 3.2.
Differs  The projector has batch norm on its hidden layer and a bias in its last one here; the paper mentions neither,
         and the authors' code has batch norm on the output too, and no bias. Crops are resampled bilinearly here,
         bicubically in the authors' code. The small recipes use SGD or AdamW here, where the authors use LARS at any
         batch size.
Shapes   B images, C H W pixels, D embedding; N = 2B anchors, each against the 2B - 1 others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.encoder import Encoder
from manyviews.nets.heads import mlp
from manyviews.nets.multicrop import by_size, local_side
from manyviews.objectives import nt_xent
from manyviews.recipe import Recipe
from manyviews.views import View, Views, colour_jitter, large_and_small


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding that the loss compares (section 4.2)
    hidden: int = 2048  # width of the projector's hidden layer (section 4.2)
    layers: int = 2  # layers of the projector: 1 is linear, 0 none (section 4.2, figure 8)
    temperature: float = 0.1  # divides the cosine (table 5; 0.5 on CIFAR-10, B.9)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (appendix A)
    strength: float = 1.0  # s, strength of the colour jitter (appendix A; 0.5 on CIFAR-10, B.9)
    grey: float = 0.2  # probability of greying (appendix A)
    blur: float = 0.5  # probability of Gaussian blur (appendix A; 0 on CIFAR-10, B.9)
    local_crops: int = 0  # small crops beside both views (multi-crop: SwAV, section 3.2); 0 as in the paper
    local_share: float = 3 / 7  # side of a small crop over that of a view (96 of 224 pixels)
    local_area: tuple[float, float] = (0.05, 0.14)  # a small crop's share of the area (SwAV, appendix A)


ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="the rest of the batch",
    target="the same network",
    objective="NT-Xent",
)


class SimCLR(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder, self.projector = self.networks(net)  # f and g
        self.local = local_side(self.encoder, spec.size, config.local_crops, config.local_share)  # pixels

    def networks(self, net: NetFactory) -> tuple[Encoder, nn.Module]:
        f = net()
        hidden = [self.config.hidden] * (self.config.layers - 1)
        return f, mlp(f.width, *hidden, self.config.dim) if self.config.layers else nn.Identity()

    def views(self) -> Views:
        c = self.config
        t = View(
            size=self.spec.size,
            crop=(c.min_area, 1.0),
            jitter=colour_jitter(c.strength),
            grey=c.grey,
            blur=c.blur,
        )
        return large_and_small(t, c.local_crops, self.local, c.local_area)

    def loss(self, batch: Batch, progress: float) -> Out:
        z = self.embedded(batch.views)
        return Out(multicrop(partial(nt_xent, temperature=self.config.temperature), z), z=z[0])  # eq. 1

    def embedded(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """g(f(x)) of every view, `[B, D]` each."""
        # Both views in one pass share their batch statistics, as in the authors' code.
        h = by_size(self.encoder, views)
        return self.projector(torch.cat(h)).chunk(len(h))


def multicrop(loss: Callable[[Tensor, Tensor], Tensor], z: Sequence[Tensor]) -> Tensor:
    """`loss` of two views' embeddings `[B, D]`, of which the first two are large: they meet each other, and each small one
    meets both of them, all of the same weight (SwAV, section 3.2). Of two views it is their loss."""
    z_i, z_j, *small = z
    terms = [loss(z_i, z_j)] + [(loss(z_i, z_s) + loss(z_j, z_s)) / 2 for z_s in small]
    return torch.stack(terms).mean()


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50/zero_init", size=224, batch=4096, budget="100ep",
            optimiser="lars", lr=4.8, weight_decay=1e-6, warmup=0.1,
        ),
    ),
    "cifar10": (
        Config(temperature=0.5, strength=0.5, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.6, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(temperature=0.2, strength=0.5, blur=0.0, min_area=0.2, hidden=256),
        Recipe(data="world", batch=128, budget="10ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
