"""DeepCluster: cluster what the network sees in all images, learn to tell the clusters apart, and begin again.

Paper    Caron, Bojanowski, Joulin, Douze, ECCV 2018 (arXiv:1807.05520). Loss eq. 1, k-means eq. 2, empty clusters and
         uniform sampling section 3.3, Sobel filters, whitening and views section 3.4, NMI section 4.1.
Differs  The loss weights each image by the inverse of its cluster's size here; the paper draws images by it, which
         section 3.3 calls equivalent. The top layer starts anew with every clustering; the optimiser keeps its momentum
         for that layer here, while the authors' code gives the layer an optimiser without momentum. The layer's
         learning rate is constant, as in that code. The encoder's output is clustered as it is here; the authors' code
         removes a last ReLU first. Labels are random until the first clustering. The recipe `world` uses AdamW and
         jitters colours (`strength`); the paper leaves colours unchanged (or removes them, by Sobel). The paper's nets,
         VGG-16 and AlexNet with batch norm, apply dropout after both fully connected layers here; the authors' code
         applies it before them (in VGG, before the second alone). Their weights start as in He et al. 2015 here; in the
         authors' code the fully connected ones have a deviation of 0.01. K-means is our own, tested against
         scikit-learn's; the authors use that of faiss.
Shapes   N images in the data set, B in the batch, K clusters.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.kmeans import kmeans, whitened
from manyviews.method import Anatomy, Batch, EmbedAll, Method, NetFactory, Out, Spec
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.views import View, Views, colour_jitter


@dataclass(frozen=True, kw_only=True)
class Config:
    clusters: int = 10_000  # K, clusters, about ten times the expected classes (section 4.1; 100 on CIFAR-10)
    pca: int = 256  # principal axes that are kept and whitened before clustering (section 3.4)
    iterations: int = 20  # iterations of k-means (the authors' code)
    sobel: bool = True  # True: a fixed Sobel filter shows the network edges, not colours (section 3.4)
    uniform: bool = True  # True: all clusters weigh the same; False: one cluster may take all (section 3.3)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (authors' code)
    strength: float = 0.0  # s, strength of a colour jitter like SimCLR's, plus greying; 0: none (the paper)


ANATOMY = Anatomy(
    pretext="clustering",
    positives="images of the same cluster",
    negatives="other clusters",
    target="k-means over all images, once an epoch",
    objective="cross entropy",
)


class DeepCluster(Method):
    label_N: torch.Tensor
    weight_K: torch.Tensor
    nmi: torch.Tensor

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = net(within="sobel({})") if config.sobel else net()  # f_theta
        check(config, spec.items, self.encoder.width)
        self.top = nn.Linear(self.encoder.width, config.clusters)  # g_W
        label_N = torch.randint(
            config.clusters, (spec.items,), generator=generator("deepcluster", spec.items)
        )
        self.register_buffer("label_N", label_N)  # y
        self.register_buffer("weight_K", torch.ones(config.clusters))
        self.register_buffer("nmi", torch.zeros(()))  # between the last two clusterings

    def views(self) -> Views:
        s = self.config.strength
        jitter = colour_jitter(s) if s else None
        return Views(
            View(size=self.spec.size, crop=(self.config.min_area, 1.0), jitter=jitter, grey=0.2 if s else 0)
        )

    def before_epoch(self, epoch: int, embed: EmbedAll) -> None:
        x_ND = whitened(embed().to(self.label_N.device), self.config.pca)
        found = kmeans(x_ND, self.config.clusters, self.config.iterations)  # eq. 2
        label_N = distributed.broadcast_(found.label_N)
        self.nmi.fill_(agreement(label_N, self.label_N))
        self.label_N.copy_(label_N)
        size_K = torch.bincount(label_N, minlength=self.config.clusters)
        if self.config.uniform:  # a mean of 1 over all images, so that the learning rate means what it did
            self.weight_K.copy_(len(label_N) / (size_K.clamp(min=1) * (size_K > 0).sum()))
        # Clusters have no order, so what the top layer knew of the last ones is worth nothing.
        W_KD = (torch.randn(self.top.weight.shape) * 0.01).to(self.label_N.device)
        distributed.overwrite_(self.top.weight, distributed.broadcast_(W_KD))
        distributed.overwrite_(self.top.bias, torch.zeros(self.config.clusters))

    def constant_rate(self) -> list[nn.Parameter]:
        return list(self.top.parameters())  # begun anew when little of a rate is left, it would not learn

    def loss(self, batch: Batch, progress: float) -> Out:
        h_BD = self.encoder(batch.views[0])
        y_B = self.label_N[batch.index.to(self.label_N.device)]
        loss_B = cross_entropy(self.top(h_BD), y_B, reduction="none")
        return Out((self.weight_K[y_B] * loss_B).mean(), log={"nmi": self.nmi}, z=h_BD)  # eq. 1


def agreement(a_N: torch.Tensor, b_N: torch.Tensor) -> float:
    """Normalised mutual information I(A; B) / sqrt(H(A) H(B)) of two clusterings (section 4.1), in [0, 1]."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(
        normalized_mutual_info_score(a_N.cpu().numpy(), b_N.cpu().numpy(), average_method="geometric")
    )


def check(config: Config, items: int, width: int) -> None:
    if not 2 <= config.clusters <= items:
        raise ManyviewsError(
            f"{items} images cannot be told apart by {config.clusters} clusters; choose --clusters 2 to {items}."
        )
    if not 1 <= config.pca <= width:
        raise ManyviewsError(
            f"The net's {width} features have no {config.pca} principal axes; choose --pca 1 to {width}."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="vgg_d/bn", size=224, batch=256, budget="500ep",
            optimiser="sgd", lr=0.05, weight_decay=1e-5, decay_all=True, schedule="constant",
        ),
    ),
    "paper_alexnet": (
        Config(),
        Recipe(
            data="imagenet", net="alexnet/bn", size=224, batch=256, budget="500ep",
            optimiser="sgd", lr=0.05, weight_decay=1e-5, decay_all=True, schedule="constant",
        ),
    ),
    "cifar10": (
        Config(clusters=100, sobel=False),
        Recipe(
            data="cifar10", net="resnet18", batch=256, budget="200ep",
            optimiser="sgd", lr=0.05, weight_decay=1e-5, decay_all=True, schedule="constant",
        ),
    ),
    "world": (
        Config(clusters=50, pca=64, sobel=False, min_area=0.2, strength=0.5),
        Recipe(data="world", batch=32, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
