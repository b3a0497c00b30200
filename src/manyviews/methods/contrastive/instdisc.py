"""InstDisc: every image is a class of its own, and a memory bank holds what a softmax over all of them compares with.

Paper    Wu, Xiong, Yu, Lin, CVPR 2018 (arXiv:1805.01978). Softmax eq. 2, NCE eq. 4 to 8, proximal term eq. 9 and 10.
Differs  Each row of the bank moves halfway to its new embedding, and rows start uniform, as in the authors' code; the
         paper stores the new embedding itself and starts from unit vectors. The authors' code has no proximal term,
         since the slow bank does its work, and the recipes here have none either (--proximal 0). Images turn grey after
         the other changes of colour here, before them in the authors' code for ImageNet.
Shapes   B images, C H W pixels, D embedding, N items of the data set, m noise samples per query.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import normalize

from manyviews.errors import ManyviewsError
from manyviews.memory import Bank, Once
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.objectives import instance_softmax, log_normaliser, nce, scores
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    dim: int = 128  # D, width of the embedding (section 4.1; table 4 compares widths)
    temperature: float = 0.07  # tau, divides the cosine (section 4.2; 0.1 in the authors' code for CIFAR-10)
    noise: int = 4096  # m, noise samples per query (section 4.2)
    softmax: bool = False  # True: compare with all N items, not m of them (eq. 2; CIFAR-10 in section 4.1)
    proximal: float = 0.0  # lambda, weight of the squared distance to the last pass's embedding (eq. 9)
    bank_momentum: float = 0.5  # share of the stored embedding that is kept (authors' code; 0 in section 3.1)
    flip: float = 0.5  # probability of a horizontal flip (authors' code; 0 in their code for CIFAR-10)
    min_area: float = 0.2  # smallest crop, as a share of the image's area (authors' code)


SERVES = {"noise": ("softmax", (False,)), "flip": ("mirror", (True,))}

ANATOMY = Anatomy(
    pretext="instance discrimination",
    positives="the image as the bank remembers it",
    negatives="a bank with every image",
    target="past embeddings, a moving average",
    objective="NCE, or softmax over all images",
)


class InstDisc(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.noise < 1:
            raise ManyviewsError(
                f"NCE needs noise to tell the data from, but --noise is {config.noise}; give at least 1."
            )
        self.encoder = net()
        self.f = nn.Sequential(self.encoder, nn.Linear(self.encoder.width, config.dim))
        self.bank = Bank(spec.items, config.dim, "instances")  # V
        self.log_z = Once()  # of eq. 8, estimated from the first batch

    def views(self) -> Views:
        size, area = self.spec.size, self.config.min_area
        colours = {"jitter": (0.4, 0.4, 0.4, 0.4), "jitter_p": 1.0, "grey": 0.2}
        return Views(View(size=size, crop=(area, 1.0), flip=self.config.flip, **colours))

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        index_B, bank_ND, tau = batch.index.to(x.device), self.bank.rows_ND, self.config.temperature
        # Drawn before anything else, so that no other draw of the step can tell one rank from several.
        noise_Bm = None if self.config.softmax else self.bank.noise(len(x), self.config.noise)
        v_BD = normalize(self.f(x))
        if noise_Bm is None:
            loss = instance_softmax(v_BD, bank_ND, index_B, tau)  # eq. 2
        else:
            score = scores(v_BD, bank_ND, torch.cat([index_B[:, None], noise_Bm], dim=1), tau)
            data_B, noise_Bm = score[:, 0], score[:, 1:]
            log_z = self.log_z(lambda: log_normaliser(noise_Bm, len(bank_ND)))
            loss = nce(data_B, noise_Bm, log_z, len(bank_ND))  # eq. 7
        moved_B = (v_BD - bank_ND[index_B]).square().sum(1)
        moved = (moved_B * self.bank.seen_N[index_B]).mean()  # since the item was last seen, where it was
        loss = loss + self.config.proximal * moved  # eq. 10
        return Out(loss, log={"moved": moved}, carry=(index_B, v_BD.detach()), z=v_BD)

    def after_step(self, out: Out, progress: float) -> None:
        index_B, v_BD = out.carry
        self.bank.update(index_B, v_BD, self.config.bank_momentum)


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="resnet50", size=224, batch=256, budget="200ep", optimiser="sgd", lr=0.03,
            weight_decay=1e-4, decay_all=True, schedule="step", milestones=(0.6, 0.8),
        ),
    ),
    "cifar10": (
        Config(softmax=True, temperature=0.1, flip=0.0),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="200ep", optimiser="sgd", lr=0.03,
            weight_decay=5e-4, decay_all=True, schedule="step", milestones=(0.6, 0.8),
        ),
    ),
    "world": (
        Config(softmax=True, temperature=0.1),
        Recipe(data="world", batch=64, budget="16ep", optimiser="adamw", lr=2e-3, weight_decay=1e-2, warmup=0.05),
    ),
}  # fmt: skip
