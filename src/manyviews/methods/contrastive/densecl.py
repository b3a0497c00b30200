"""DenseCL: contrast every place of the feature map with its counterpart in the other view, beside the whole images.

Paper    Wang, Zhang, Shen, Kong, Li, CVPR 2021 (arXiv:2011.09157). Dense loss and total section 3.3, matching 3.4.
Differs  Batch statistics are those of slices of the batch, as in MoCo. The layers of the global head start with torch's
         defaults here; in the authors' code their weights start with He's deviation and their biases at 0.
Shapes   B images, C channels of the backbone's map of S cells, D embedding, K keys in each of two queues.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.memory import Queue
from manyviews.method import Anatomy, Batch, NetFactory, Out, Spec
from manyviews.methods.contrastive import mocov2
from manyviews.nets.encoder import Encoder
from manyviews.nets.grids import grid_of
from manyviews.objectives import info_nce
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Config(mocov2.Config):
    dense: float = 0.5  # lambda, weight of the dense loss; the global loss has 1 - lambda (section 3.3)
    dense_from: float = 0.0  # share of the run in which lambda is still 0 (authors' unused hook: 1,000 steps)
    cells: int | None = None  # side, in cells, to which the feature map is pooled (3.4); None: not pooled
    match: Literal["backbone", "projection", "random"] = "backbone"  # what matches cells across views (3.4)


SERVES = {"blur": mocov2.SERVES["blur"], "dense_from": ("dense", ())}
ANATOMY = Anatomy(
    pretext="instance discrimination, of images and of places in them",
    positives="another view of the image; the most similar place in it",
    negatives="queues of past keys",
    target="momentum twin",
    objective="InfoNCE",
)


class DenseCL(mocov2.MoCoV2):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, net, spec)
        self.dense_queue = Queue(config.queue, config.dim)

    def network(self) -> nn.Module:
        c, grid = self.config, grid_of(self.encoder, self.spec.size, "DenseCL")
        if not grid.pooled:
            raise ManyviewsError(
                "DenseCL needs a net whose embedding is the mean of its feature grid, and this net's is something "
                "else (a class token, a head); take another --net, such as a ResNet."
            )
        width = self.encoder.width
        dense = nn.Sequential(nn.Conv2d(width, c.hidden, 1), nn.ReLU(True), nn.Conv2d(c.hidden, c.dim, 1))
        return TwoHeads(self.encoder, self.head(), dense, c.cells)

    def loss(self, batch: Batch, progress: float) -> Out:
        x_q, x_k = batch.views
        f_BSC, q_BD, r_BSD = self.query(x_q)
        f_k_BSC, k_BD, t_BSD = self.key.shuffled(x_k)
        pooled_BD = normalize(t_BSD.mean(1))  # what the dense queue keeps of a key (section 3.3)
        q_BD, k_BD = normalize(q_BD), normalize(k_BD)
        r_BSD, t_BSD = normalize(r_BSD, dim=2), normalize(t_BSD, dim=2)

        c_BS1 = self.counterparts(f_BSC, f_k_BSC, r_BSD, t_BSD)[:, :, None]
        t_plus_BSD = t_BSD.gather(1, c_BS1.expand_as(t_BSD))
        r, t_plus, t_minus = r_BSD.flatten(0, 1), t_plus_BSD.flatten(0, 1), self.dense_queue.keys_KD
        l_q = info_nce(q_BD, k_BD, self.queue.keys_KD, self.config.temperature)
        l_r = info_nce(r, t_plus, t_minus, self.config.temperature)  # every place of the map (section 3.3)
        lambda_ = self.config.dense if progress >= self.config.dense_from else 0.0
        loss = (1 - lambda_) * l_q + lambda_ * l_r  # section 3.3
        return Out(loss, {"global": l_q, "dense": l_r}, carry=torch.stack([k_BD, pooled_BD], 1), z=q_BD)

    def counterparts(self, f_BSC: Tensor, f_k_BSC: Tensor, r_BSD: Tensor, t_BSD: Tensor) -> Tensor:
        """c_i = argmax_j sim(f_i, f'_j): for each place of the query's map, one of the key's, ``[B, S]`` (section 3.4)."""
        if self.config.match == "random":
            B, S = t_BSD.shape[:2]
            return (distributed.rand(B, S) * S).long().to(t_BSD.device)
        f, f_k = (f_BSC, f_k_BSC) if self.config.match == "backbone" else (r_BSD, t_BSD)
        with torch.autocast(f.device.type, enabled=False):  # half precision would tie places that are alike
            f, f_k = (normalize(precise(x), dim=2) for x in (f.detach(), f_k))
            return (f @ f_k.mT).argmax(2)

    def after_step(self, out: Out, progress: float) -> None:
        self.key.follow(self.query, self.config.momentum)
        self.queue.push(out.carry[:, 0])
        self.dense_queue.push(out.carry[:, 1])


class TwoHeads(nn.Module):
    """The backbone once; on its map the global head, after pooling, and the dense head, cell by cell (section 3.2)."""

    def __init__(self, encoder: Encoder, whole: nn.Module, dense: nn.Module, cells: int | None) -> None:
        super().__init__()
        self.encoder, self.whole, self.dense, self.cells = encoder, whole, dense, cells

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The map `[B, S, C]`, the global projection `[B, D]` and the dense one `[B, S, D]`."""
        f = self.encoder.grid(x_BCHW)
        q_BD = self.whole(f.mean(dim=(2, 3)))
        if self.cells is not None:
            f = adaptive_avg_pool2d(f, self.cells)
        return f.flatten(2).mT, q_BD, self.dense(f).flatten(2).mT


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=256, budget="200ep",
            optimiser="sgd", lr=0.03, weight_decay=1e-4, decay_all=True,
        ),
    ),
    "cifar10": (
        Config(queue=4096, momentum=0.99, blur=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep",
            optimiser="sgd", lr=0.06, weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(queue=4096, momentum=0.99, temperature=0.1, hidden=512, blur=0.0, splits=2),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
