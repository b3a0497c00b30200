"""InfoMin, learned views: a flow parts an image's colours, so that both parts tell the class and little else of each other.

Paper    Tian, Sun, Poole, Krishnan, Schmid, Isola, NeurIPS 2020 (arXiv:2005.10243). Section 4: views from a generator g
         against two encoders, without labels and with few.
Differs  Here g and the encoders are updated in the same step, through a reversed gradient (Ganin, Lempitsky 2015), and
         I_NCE takes its negatives from the batch. A step has one batch here, which mixes images with and without
         labels; in the paper it has one batch of each kind. Here most labels of one data set are hidden (--labels 0.1);
         the paper joins STL-10's 5,000 labelled images and its 100,000 unlabelled ones. The recipe `paper` uses the
         5,000 alone, with all their labels. Depth and width of g are our own choice. A run is judged here by the
         encoders that played against g; the paper trains new encoders on the finished views, as a second run with
         `generator` does. The untrained net that such a second run is compared with has the learned g too.
Shapes   B images, C H W pixels, D embedding, K classes; X [B, 3, H, W], v_1 [B, 1, H, W], v_2 [B, 2, H, W].
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.flow import BLOCKS, HIDDEN, Parted, load_flow
from manyviews.objectives import in_batch
from manyviews.objectives.adversary import reversed_gradient
from manyviews.recipe import Recipe
from manyviews.views import View, Views, picture, plain

UNKNOWN = -1  # the label of an image without one


@dataclass(frozen=True, kw_only=True)
class Config:
    adversary: float = 1.0  # weight with which g lowers what both views share (section 4); 0: labels alone
    task: float = 1.0  # weight of the loss that predicts labels from each view (section 4); 0: no labels used
    generator: str | None = None  # folder of a run whose g, frozen, makes the views; no labels are used
    space: Literal["rgb", "ydbdr"] = "rgb"  # colour space of X (section 4); a generator keeps its own
    volume: bool = True  # True: g preserves volume (NICE); False: it need not (Real NVP; section 4)
    blocks: int = BLOCKS  # coupling layers of g (ours)
    hidden: int = HIDDEN  # channels of the hidden layers in g's couplings (ours)
    temperature: float = 0.07  # tau, divides the cosine (as CMC)
    dim: int = 128  # D, width of the embedding (as CMC)
    two_crops: bool = False  # True: v_1 and v_2 are of two different crops (the authors' PyContrast)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (as CMC)


SERVES = dict.fromkeys(("adversary", "task", "space", "volume", "blocks", "hidden"), ("generator", (None,)))
ANATOMY = Anatomy(
    pretext="instance discrimination across learned colours; the labels",
    positives="the other part of the image's colours",
    negatives="the rest of the batch",
    target="the same network",
    objective="InfoNCE, which the views' generator climbs; cross entropy",
)


class InfoMinLearned(Method):
    supervised = True
    unlabelled = True

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        self.task = 0.0 if config.generator else config.task
        if self.task and (spec.classes is None or spec.labels is None):
            raise ManyviewsError(
                "Views that tell the class are learned from labels, and the data has none; say --task 0 to learn them without."
            )
        g, within = load_flow(config.generator) if config.generator else (None, named(config))
        self.encoder = net(within=within)
        if g is not None:
            self.parted.g.load_state_dict(g.state_dict())
            self.parted.g.requires_grad_(False)
        self.heads = nn.ModuleList(nn.Linear(width, config.dim) for width in self.parted.widths)
        if self.task:
            towers = [net(in_channels=channels) for channels in (1, 2)]
            self.c = nn.ModuleList(
                nn.Sequential(f, nn.Linear(f.width, spec.classes or 0)) for f in towers
            )  # c_1, c_2

    @property
    def parted(self) -> Parted:
        """g, f_1 and f_2: what is kept."""
        return cast(Parted, self.encoder)

    def views(self) -> Views:  # colours stay: they are what g parts
        t = View(size=self.spec.size, crop=(self.config.min_area, 1.0))
        return Views(t, t) if self.config.two_crops else Views(t)

    def loss(self, batch: Batch, progress: float) -> Out:
        v_1, v_2 = self.parted.views(batch.views[0])
        if self.config.two_crops:
            _, v_2 = self.parted.views(batch.views[1])
        # min over g, max over f_1 and f_2 of I_NCE(f_1(v_1); f_2(v_2)): what f_i lower, g raises.
        f_1, f_2 = self.parted.f
        z_1 = self.heads[0](f_1(reversed_gradient(v_1, self.config.adversary)))
        z_2 = self.heads[1](f_2(reversed_gradient(v_2, self.config.adversary)))
        tau = self.config.temperature
        l_nce = (in_batch(z_1, z_2, tau) + in_batch(z_2, z_1, tau)) / 2
        # I_NCE = log B - L_NCE, from below, in nats (section 3).
        log = {"mutual_information": math.log(len(z_1) * distributed.world_size()) - l_nce.detach()}
        if not self.task:
            return Out(l_nce, log, z=z_1)
        assert batch.label is not None
        said = [c(v) for c, v in zip(self.c, (v_1, v_2), strict=True)]
        l_ce = torch.stack([of_known(logits_BK, batch.label) for logits_BK in said]).sum()
        log |= {"label_loss": l_ce.detach()}
        return Out(l_nce + self.task * l_ce, log, z=z_1)

    def pictures(self, image_B3HW: Tensor) -> dict[str, Tensor]:
        """X, and in grey what g makes of it: v_1, and both channels of v_2, each from its darkest to its lightest."""
        x = plain(image_B3HW, self.spec.size)
        parts_B3HW = torch.cat(self.parted.views(x), 1)
        low, high = (
            edge(parts_B3HW.transpose(0, 1).flatten(1), 1)[:, None, None] for edge in (torch.amin, torch.amax)
        )
        grey_B3HW = ((parts_B3HW - low) / (high - low).clamp(min=1e-6) * 255).round().to(torch.uint8)
        shown = torch.cat([picture(x)[:, None], grey_B3HW[:, :, None].expand(-1, -1, 3, -1, -1)], 1)
        return {"image, first view, both channels of the second": shown}


def of_known(logits_BK: Tensor, label_B: Tensor) -> Tensor:
    """Cross entropy, the mean over all devices' images of a batch, or of a piece of it, whose label is known; 0 where none is."""
    summed = cross_entropy(logits_BK, label_B, ignore_index=UNKNOWN, reduction="sum")
    known = distributed.all_reduce_mean((label_B != UNKNOWN).sum().to(summed))
    return summed / known.clamp(min=1 / distributed.world_size())


def named(config: Config) -> str:
    """What is around each net: g, and a net of its own for each view."""
    return f"{'vp' if config.volume else 'nvp'}_{config.space}({{}}, {config.blocks}, {config.hidden})"


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="stl10", net="resnet18", size=64, batch=256, budget="200ep", optimiser="sgd", lr=0.03, weight_decay=1e-4,
            decay_all=True,
        ),
    ),
    "cifar10": (
        Config(temperature=0.1, min_area=0.2),
        Recipe(
            data="cifar10", net="resnet18", batch=512, budget="200ep", labels=0.1,
            optimiser="sgd", lr=0.06, weight_decay=5e-4, decay_all=True,
        ),
    ),
    "world": (
        Config(two_crops=True, temperature=0.2, min_area=0.2),
        Recipe(data="world", batch=128, budget="16ep", labels=0.1, optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
