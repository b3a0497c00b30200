"""CMC: what is true of a scene is what all its senses agree on.

Paper    Tian, Krishnan, Isola, ECCV 2020 (arXiv:1906.05849). Section 3: the contrast of two views, of more than two
         (the core view, the full graph), and NCE over memory banks. Section 4.1: L and ab as the views.
Differs  Each view has a whole net of the name given, as the paper's ResNets do; the paper's AlexNet is cut in halves.
         Contrast within the batch, a later habit that needs no bank, is added here, and both small recipes use it. The
         data set `world` has depth as a sense but no surface normals, since these follow from depth. Here log Z comes
         from the noise alone, as in InstDisc's eq. 8; the authors' code counts the positive too.
Shapes   B items, M views (senses) each, C H W pixels, D embedding, N items of the data set, m noise samples per item.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from manyviews.errors import ManyviewsError
from manyviews.memory import Bank, Once
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.split import Split
from manyviews.objectives import in_batch, log_normaliser, nce, scores
from manyviews.recipe import Recipe
from manyviews.views import View, Views
from manyviews.views.spaces import LIGHT_AND_COLOUR

Contrast = Literal["nce", "softmax", "batch"]


@dataclass(frozen=True, kw_only=True)
class Config:
    modalities: tuple[str, ...] = ("lab",)  # first image, or lab, ydbdr, ycbcr (2 views); then senses: depth
    graph: Literal["core", "full"] = "full"  # "core": pairs with first view; "full": all pairs (section 3)
    contrast: Contrast = "nce"  # NCE or softmax over m bank samples (section 3); "batch": over the batch
    noise: int = 16_384  # m, noise samples per item (authors' train_CMC.py; 4,096 in their published weights)
    bank_momentum: float = 0.5  # share of the stored embedding that is kept (the authors' code)
    temperature: float = 0.07  # tau, divides the cosine (section 4.1; 0.1 on STL-10)
    dim: int = 128  # D, width of the embedding (section 4.1)
    two_crops: bool = False  # True: anchor and positive are of two different crops (the authors' PyContrast)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (the authors' code)


SERVES = dict.fromkeys(("noise", "bank_momentum"), ("contrast", ("nce", "softmax")))

ANATOMY = Anatomy(
    pretext="instance discrimination across senses",
    positives="another sense of the same crop",
    negatives="a memory bank for each sense",
    target="past embeddings of the other sense",
    objective="NCE, or softmax",
)


class CMC(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config, spec)
        first, *senses = config.modalities
        self.encoder = net() if first == "image" else net(within=f"{first}({{}})")
        self.others = nn.ModuleList(net(in_channels=spec.senses[sense]) for sense in senses)
        seen = self.encoder.widths if isinstance(self.encoder, Split) else (self.encoder.width,)
        self.widths = [*seen, *(f.width for f in self.others)]
        M = len(self.widths)
        if M < 2:
            raise ManyviewsError(
                f"One view, {first}, has nothing to agree with: write --modalities lab, or add a sense (image depth)."
            )
        self.heads = nn.ModuleList(nn.Linear(width, config.dim) for width in self.widths)
        pairs = [(i, j) for i, j in combinations(range(M), 2) if config.graph == "full" or i == 0]
        self.ways = [*pairs, *((j, i) for i, j in pairs)]  # L(V_i, V_j) has both directions (section 3)
        if config.contrast != "batch":
            self.banks = nn.ModuleList(Bank(spec.items, config.dim, f"view {i}") for i in range(M))
        if config.contrast == "nce":
            self.log_z = nn.ModuleDict({f"{i} to {j}": Once() for i, j in self.ways})  # of the first batch

    @classmethod
    def senses(cls, config: Config) -> tuple[str, ...]:
        return config.modalities[1:]

    def views(self) -> Views:  # all senses share a crop; colours stay, for grey would empty ab
        t = View(size=self.spec.size, crop=(self.config.min_area, 1.0))
        return Views(t, t) if self.config.two_crops else Views(t)

    def loss(self, batch: Batch, progress: float) -> Out:
        index_B = batch.index.to(batch.views[0].device)
        item_Bk = index_B[:, None]  # k = m + 1: each item itself, then noise
        if self.config.contrast != "batch":
            item_Bk = torch.cat([item_Bk, self.bank(0).noise(len(index_B), self.config.noise)], 1)
        z = self.embedded(batch)
        losses = [self.one_way(z, i, j, item_Bk) for i, j in self.ways]
        return Out(torch.stack(losses).sum(), carry=(index_B, *(v.detach() for v in z)), z=z[0])

    def embedded(self, batch: Batch) -> list[Tensor]:
        """Each view's unit embedding: M of ``[B, D]``, or of ``[2 B, D]``, one crop after the other."""
        seen = [2 * torch.cat(batch.senses[sense]) - 1 for sense in self.senses(self.config)]
        h = torch.cat(
            [self.encoder(torch.cat(batch.views)), *(f(v) for f, v in zip(self.others, seen, strict=True))], 1
        )
        return [normalize(g(h_i)) for g, h_i in zip(self.heads, h.split(self.widths, 1), strict=True)]

    def one_way(self, z: list[Tensor], i: int, j: int, item_Bk: Tensor) -> Tensor:
        """L^{V_i, V_j}: view i of an item is the anchor that picks its view j from those of others (section 3)."""
        tau = self.config.temperature
        if self.config.contrast == "batch":
            rows = len(item_Bk)
            return in_batch(z[i][:rows], z[j][-rows:], tau)
        log_h_Bk = scores(z[i], self.bank(j).rows_ND, item_Bk, tau)
        if self.config.contrast == "softmax":
            return -log_h_Bk.log_softmax(1)[:, 0].mean()
        data_B, noise_Bm = log_h_Bk[:, 0], log_h_Bk[:, 1:]
        log_z = self.log_z[f"{i} to {j}"](lambda: log_normaliser(noise_Bm, self.spec.items))
        return nce(data_B, noise_Bm, log_z, self.spec.items)

    def after_step(self, out: Out, progress: float) -> None:
        if self.config.contrast == "batch":
            return
        index_B, *z = out.carry
        for i, z_BD in enumerate(z):
            self.bank(i).update(index_B, z_BD, self.config.bank_momentum)

    def bank(self, i: int) -> Bank:
        """What is remembered of view i of every item (the memory banks of section 3)."""
        return cast(Bank, self.banks[i])


def check(config: Config, spec: Spec) -> None:
    first, *senses = config.modalities or ("nothing",)
    if first not in ("image", *LIGHT_AND_COLOUR):
        raise ManyviewsError(
            f"The first of --modalities sees the image: image, {', '.join(LIGHT_AND_COLOUR)}; it cannot be {first}."
        )
    if missing := [sense for sense in senses if sense not in spec.senses]:
        raise ManyviewsError(
            f"The data has no {' and no '.join(missing)} to go with {first} in --modalities; "
            f"beside its images it has {', '.join(spec.senses) or 'nothing'}."
        )
    if config.two_crops and config.contrast != "batch":
        raise ManyviewsError(
            "A bank already holds what other crops looked like: --two-crops goes with --contrast batch alone."
        )
    if config.noise < 1:
        raise ManyviewsError(
            f"A bank needs samples to compare with, but --noise is {config.noise}; give 1 or more."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=128, budget="240ep", optimiser="sgd", lr=0.03,
            weight_decay=1e-4, decay_all=True, schedule="step", milestones=(1 / 2, 2 / 3, 5 / 6),
        ),
    ),
    "cifar10": (
        Config(contrast="batch", temperature=0.1, min_area=0.2),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.06, weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(contrast="batch", two_crops=True, temperature=0.2, min_area=0.2),
        Recipe(data="world", batch=128, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
