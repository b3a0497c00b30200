"""DeepCluster v2: SwAV's recipe with clusters found offline, by spherical k-means over last epoch's embeddings.

Paper    Caron, Misra, Mairal, Goyal, Bojanowski, Joulin, NeurIPS 2020 (arXiv:2006.09882), the improved
         DeepCluster of its experiments and appendix; loss, memory and k-means as in the authors' code.
Differs  The first memory is filled here from the centre of each image, seen once by encoder and projector; the authors'
         code fills it from two random crops. For this pass the encoder's norms use their initial statistics here, the
         batch's in the authors' code. An empty cluster takes over a part of another one here; the authors' code leaves
         it empty. Here prototypes are moved to their clusters once more after the last assignment. Images that an epoch
         left out keep their rows in the memories here, and the net still learns from them. LARS treats biases and norms
         as in `swav`.
Shapes   N images in the data set, B in the batch, D embedding, H heads of K prototypes, V views, of which the first two
         are of full size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.kmeans import kmeans
from manyviews.memory import Bank
from manyviews.method import Anatomy, Batch, EmbedAll, Method, NetFactory, Out, Spec
from manyviews.nets.heads import mlp
from manyviews.nets.multicrop import by_size, local_side
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.views import View, Views, colour_jitter, large_and_small

PASS = 4096  # embeddings whose batch statistics the first pass takes at a time


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding (as SwAV)
    hidden: int = 2048  # width of the projector's hidden layer (as SwAV)
    heads: int = 3  # H, clusterings that are predicted at once (authors' code)
    prototypes: int = 3000  # K, clusters per head (authors' code; 512 in our CIFAR-10 recipe)
    iterations: int = 10  # iterations of spherical k-means (authors' code)
    temperature: float = 0.1  # tau, divides the cosine (authors' code)
    global_area: tuple[float, float] = (0.14, 1.0)  # share of the image's area in a full-size crop (as SwAV)
    local_crops: int = 6  # V - 2, number of small crops; 0 turns multi-crop off (as SwAV)
    local_area: tuple[float, float] = (0.05, 0.14)  # share of the image's area in a small crop (as SwAV)
    local_share: float = 3 / 7  # a small crop's side as a share of a full-size one's (as SwAV)
    strength: float = 1.0  # s, strength of the colour jitter (as SwAV; 0.5 in our CIFAR-10 recipe)
    blur: float = 0.5  # probability of Gaussian blur (as SwAV; 0 in our CIFAR-10 recipe)


ANATOMY = Anatomy(
    pretext="clustering",
    positives="all views of images of the same cluster",
    negatives="other clusters",
    target="spherical k-means over all images, once an epoch",
    objective="cross entropy",
)


class DeepClusterV2(Method):
    prototypes_HKD: Tensor
    label_HN: Tensor

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config, spec.items)
        self.encoder = net()
        self.projector = self.head()
        self.local = local_side(self.encoder, spec.size, config.local_crops, config.local_share)  # pixels
        # What each image looked like when last seen, once for either full-size view.
        self.bank_1 = Bank(spec.items, config.dim, "view 1")
        self.bank_2 = Bank(spec.items, config.dim, "view 2")
        draw = generator("deepclusterv2", config.heads, config.prototypes, spec.items)
        shape = (config.heads, config.prototypes)
        self.register_buffer(
            "prototypes_HKD", normalize(torch.randn(*shape, config.dim, generator=draw), dim=2)
        )
        self.register_buffer(
            "label_HN", torch.randint(shape[1], (shape[0], spec.items), generator=draw)
        )  # random until the first clustering

    def head(self) -> nn.Sequential:
        return mlp(self.encoder.width, self.config.hidden, self.config.dim)

    def views(self) -> Views:
        c = self.config
        t = View(
            size=self.spec.size, crop=c.global_area, jitter=colour_jitter(c.strength), grey=0.2, blur=c.blur
        )
        return large_and_small(t, c.local_crops, self.local, c.local_area)

    def before_epoch(self, epoch: int, embed: EmbedAll) -> None:
        if epoch == 0:
            z_ND = self.seen_once(embed().to(self.label_HN.device))
            self.bank_1.rows_ND.copy_(z_ND)
            self.bank_2.rows_ND.copy_(z_ND)
        for h in range(self.config.heads):
            z_ND = (self.bank_1, self.bank_2)[h % 2].rows_ND  # the heads take turns with the memories
            found = kmeans(z_ND, self.config.prototypes, self.config.iterations, spherical=True)
            self.prototypes_HKD[h] = distributed.broadcast_(found.centroids_KD)
            self.label_HN[h] = distributed.broadcast_(found.label_N)

    @torch.no_grad()
    def seen_once(self, h_ND: Tensor) -> Tensor:
        """What the projector in training would make of these features: `[N, D]`, unit rows. Its statistics stay."""
        projector = self.head().to(h_ND)
        projector.load_state_dict(
            {name: distributed.whole(x) for name, x in self.projector.state_dict().items()}
        )
        z_ND = h_ND.new_empty(len(h_ND), self.config.dim)
        for rows in torch.randperm(len(h_ND)).to(h_ND.device).tensor_split(-(-len(h_ND) // PASS)):
            z_ND[rows] = normalize(projector(h_ND[rows]), dim=1)
        return z_ND

    def loss(self, batch: Batch, progress: float) -> Out:
        h = by_size(self.encoder, batch.views)
        z_VBD = normalize(precise(self.projector(torch.cat(h))), dim=1).chunk(len(h))
        index_B = batch.index.to(self.label_HN.device)
        losses = []
        for c_KD, label_N in zip(self.prototypes_HKD, self.label_HN, strict=True):
            y_B = label_N[index_B]
            # Small views are told the cluster too, and make none: multi-crop (section 3.2).
            with torch.autocast(h[0].device.type, enabled=False):
                losses += [cross_entropy(z_BD @ c_KD.T / self.config.temperature, y_B) for z_BD in z_VBD]
        carry = (index_B, torch.stack(z_VBD[:2], 1).detach())
        return Out(torch.stack(losses).mean(), carry=carry, z=z_VBD[0])

    def after_step(self, out: Out, progress: float) -> None:
        index_B, z_BVD = out.carry
        self.bank_1.update(index_B, z_BVD[:, 0], 0.0)
        self.bank_2.update(index_B, z_BVD[:, 1], 0.0)


def check(config: Config, items: int) -> None:
    if not 2 <= config.prototypes <= items:
        raise ManyviewsError(
            f"{items} images cannot be told apart by {config.prototypes} prototypes; choose --prototypes 2 to {items}."
        )
    if config.heads < 1:
        raise ManyviewsError(
            f"With {config.heads} heads there is nothing to predict; choose --heads 1 or more."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=4096, budget="800ep",
            optimiser="lars", lr=4.8, weight_decay=1e-6, warmup=0.0125,
        ),
    ),
    "cifar10": (
        Config(prototypes=512, local_crops=0, strength=0.5, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.6, weight_decay=1e-4, warmup=0.05,
        ),
    ),
    "world": (
        Config(prototypes=100, hidden=256, local_crops=2, local_share=0.5, global_area=(0.2, 1.0),
               local_area=(0.1, 0.3), strength=0.5, blur=0.0),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
