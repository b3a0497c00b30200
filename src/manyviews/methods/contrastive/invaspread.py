"""InvaSpread: an image and its augmented twin fall together, all other images of the batch spread out; no bank.

Paper    Ye, Zhang, Yuen, Chang, CVPR 2019 (arXiv:1904.03436). Probabilities and loss section 3.
Differs  The loss is the mean over images here, the sum in the paper. The gradient flows through both factors of a
         product here, as in the paper's equations; the authors' code detaches the second factor, takes all 2B views as
         anchors, and leaves the anchor itself out of the denominator. Both views are augmented, as in the authors'
         code. The spreading term needs each of the B x B probabilities and computes them all at once: at the paper's
         128 images they take 64 KiB. The learning rate falls tenfold at epochs 120 and 160, as the paper says; in the
         authors' code it falls at 120, 160 and 200 of 301.
Shapes   B images, C H W pixels, D embedding; f_i of an image, f'_i of its augmented twin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from manyviews import distributed
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.objectives import in_batch
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding (section 4)
    temperature: float = 0.1  # tau, divides the cosine (section 4)
    min_area: float = 0.2  # smallest crop, as a share of the image's area (authors' code)
    augmentation: bool = True  # True: random views; False: the image twice, uncropped (section 4, "No DA")
    spreading: bool = True  # True: drive different images apart (the second sum of J); False: no such term


SERVES = {"min_area": ("augmentation", (True,))}
ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="another view of the image",
    negatives="the rest of the batch",
    target="the same network",
    objective="softmax over the batch, and log(1 - P) of the others",
)


class InvaSpread(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net()
        self.f = nn.Sequential(self.encoder, nn.Linear(self.encoder.width, config.dim))

    def views(self) -> Views:
        size, area = self.spec.size, self.config.min_area
        t = View(size=size, crop=(area, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0, grey=0.2)
        plain = View(size=size, crop=None, flip=0.0)
        return Views(t, t) if self.config.augmentation else Views(plain, plain)

    def loss(self, batch: Batch, progress: float) -> Out:
        # Both views in one pass share their batch statistics, as in the authors' code.
        f_BD, f_hat_BD = normalize(self.f(torch.cat(batch.views))).chunk(2)
        invariant = in_batch(f_hat_BD, f_BD, self.config.temperature)  # -log P(i | x'_i) (section 3)
        if not self.config.spreading:
            return Out(invariant, z=f_BD)
        apart = spreading(f_BD, self.config.temperature)
        return Out(invariant + apart, log={"spreading": apart}, z=f_BD)


def spreading(f_BD: Tensor, temperature: float) -> Tensor:
    """-sum_{i != j} log(1 - P(i | x_j)), where image j is taken for another image i, mean over images j
    (the second sum of J, section 3).

    Unit rows. P(i | x_j) is a softmax over all images k of f_k . f_j / temperature, k = j among them. No i has a larger
    product than j has with itself, so P is at most 1/2 and its complement never near 0. Images i are those of all ranks.
    """
    f_BD = precise(f_BD)
    everyone_ND = distributed.gather_with_grad(f_BD)
    with torch.autocast(f_BD.device.type, enabled=False):  # half precision could take an image for another
        p_BN = (f_BD @ everyone_ND.T / temperature).softmax(dim=1)
    own = distributed.rank() * len(f_BD)
    others = torch.ones_like(p_BN, dtype=torch.bool)
    others.diagonal(own).fill_(False)
    return -torch.log1p(-p_BN.where(others, 0.0)).sum(1).mean()


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="200ep", optimiser="sgd", lr=0.03,
            weight_decay=5e-4, decay_all=True, schedule="step", milestones=(0.6, 0.8),
        ),
    ),
    "cifar10": (
        Config(),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="200ep", optimiser="sgd", lr=0.03,
            weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(temperature=0.2),
        Recipe(data="world", batch=128, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
