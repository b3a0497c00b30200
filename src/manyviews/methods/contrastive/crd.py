"""CRD: teacher and student are two views of an image; the student learns to tell the teacher's embedding of it from others.

Paper    Tian, Krishnan, Isola, ICLR 2020 (arXiv:1910.10699). Critic, objective and implementation section 3.1,
         distillation 3.2, settings section 4.
Differs  Negatives are drawn with replacement here; the authors' code draws them without replacement where enough images
         lie outside the class. Each Z is estimated here from the negatives alone, in the authors' code from the
         positive too. Images are padded in the mean colour here, in black in the authors' code.
Shapes   B images, C H W pixels, D embedding, K classes, N items of the data set, m negatives per image; S student, T
         teacher.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.memory import Bank, Once
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.teacher import load_teacher
from manyviews.objectives import log_normaliser, nce, scores, softened_kl
from manyviews.recipe import Recipe
from manyviews.views import View, Views


@dataclass(frozen=True, kw_only=True)
class Config:
    teacher: str = ""  # folder of a finished run with a classifier: the teacher
    dim: int = 128  # D, width that both embeddings are mapped to (section 3.1; authors' code)
    noise: int = 16384  # m, negatives per image (N in the paper; section 4)
    temperature: float = 0.07  # tau, divides the cosine (authors' code)
    bank_momentum: float = 0.5  # share of the stored embedding that is kept (authors' code)
    positives: Literal["exact", "relax"] = "exact"  # same image; "relax": any of its class (authors' code)
    gamma: float = 1.0  # weight of the cross entropy with the labels (authors' code)
    alpha: float = 0.0  # weight of the loss on the teacher's softened classes; 1 in CRD+KD (authors' code)
    beta: float = 0.8  # weight of the contrastive loss (authors' code)
    kd_temperature: float = 4.0  # T, divides the class scores in the loss weighted by alpha (authors' code)
    pad: int = 4  # pixels added on each side before a square of the image's size is cut out (authors' code)


SERVES = {"kd_temperature": ("alpha", ())}
ANATOMY = Anatomy(
    pretext="match the teacher's embedding",
    positives="the image as the other network sees it",
    negatives="images of other classes, from two banks",
    target="a trained network, frozen",
    objective="NCE in both directions, and the labels",
)


class CRD(Method):
    supervised = True

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config, spec)
        self.encoder = net()  # f^S
        self.teacher = load_teacher(config.teacher, spec.classes, spec.class_names)  # f^T
        self.classifier = nn.Linear(self.encoder.width, len(self.teacher.classes))
        self.g_s = nn.Linear(self.encoder.width, config.dim)
        self.g_t = nn.Linear(self.teacher.width, config.dim)  # trained too, on what the teacher gives
        self.bank_s, self.bank_t = (Bank(spec.items, config.dim, name) for name in ("student", "teacher"))
        self.log_z_s, self.log_z_t = Once(), Once()
        self.others = OtherClasses(spec)

    def views(self) -> Views:
        return Views(View(size=self.spec.size, crop=None, scale=(1.0, 1.0), pad=self.config.pad))

    def classifier_head(self) -> nn.Linear:
        return self.classifier

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        assert batch.label is not None
        c, index_B = self.config, batch.index.to(x.device)
        # Drawn before anything else, so that no other draw of the step can tell one rank from several.
        pairs_BM = self.others.draw(index_B, batch.label, c.noise, c.positives)
        h_T, logits_T = self.teacher(x)
        h_S = self.encoder(x)
        logits_S = self.classifier(h_S)
        t_BD, s_BD = normalize(self.g_t(h_T)), normalize(self.g_s(h_S))
        contrast = self.contrast(
            s_BD, self.bank_t, pairs_BM, self.log_z_t
        )  # the student's, among the teacher's
        contrast = contrast + self.contrast(
            t_BD, self.bank_s, pairs_BM, self.log_z_s
        )  # and the other way round
        labels = cross_entropy(logits_S, batch.label)
        loss = c.gamma * labels + c.beta * contrast
        if c.alpha:
            loss = loss + c.alpha * softened_kl(logits_S, logits_T, c.kd_temperature)
        log = {"contrast": contrast, "accuracy": (logits_S.argmax(1) == batch.label).float().mean()}
        return Out(loss, log, carry=(index_B, s_BD.detach(), t_BD.detach()), z=s_BD)

    def contrast(self, v_BD: Tensor, bank: Bank, pairs_BM: Tensor, log_z: Once) -> Tensor:
        """-log h of the pair, -log(1 - h) of the others: h(T, S) = e^(t.s / tau) / (e^(t.s / tau) + m / N), over Z.

        The critic and the bound of section 3.1; the buffer at the section's end.
        """
        score_BM = scores(v_BD, bank.rows_ND, pairs_BM, self.config.temperature)
        pair_B, other_Bm = score_BM[:, 0], score_BM[:, 1:]
        z = log_z(lambda: log_normaliser(other_Bm, len(bank)))
        return nce(pair_B, other_Bm, z, len(bank))

    def after_step(self, out: Out, progress: float) -> None:
        index_B, s_BD, t_BD = out.carry
        self.bank_s.update(index_B, s_BD, self.config.bank_momentum)
        self.bank_t.update(index_B, t_BD, self.config.bank_momentum)


class OtherClasses(nn.Module):
    """For each image one of its own class, or itself, and m of other classes (authors' code)."""

    order_N: Tensor
    start_K: Tensor
    count_K: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        assert spec.labels is not None and spec.classes is not None
        label_N = spec.labels.cpu()
        count_K = torch.bincount(label_N, minlength=spec.classes)
        tables = {
            "order_N": label_N.argsort(stable=True),
            "start_K": count_K.cumsum(0) - count_K,
            "count_K": count_K,
        }
        for (
            name,
            table,
        ) in tables.items():  # items class by class; made from the data again, so no checkpoint holds them
            self.register_buffer(name, table, persistent=False)

    def draw(self, index_B: Tensor, label_B: Tensor, m: int, positives: Literal["exact", "relax"]) -> Tensor:
        """Items ``[B, 1 + m]``, the positive first; from torch's global generator, by rank 0 for all."""
        every = len(index_B) * distributed.world_size()
        u = torch.rand(
            every, 1 + m, dtype=torch.float64, device=index_B.device
        )  # times N, and never N itself
        u_BM = distributed.rows_from_main(u)
        start_B, count_B = self.start_K[label_B, None], self.count_K[label_B, None]
        place_Bm = (u_BM[:, 1:] * (len(self.order_N) - count_B)).long()
        place_Bm = place_Bm + count_B * (place_Bm >= start_B)  # past the image's own class
        own_B = index_B[:, None]
        if positives == "relax":
            own_B = self.order_N[start_B + (u_BM[:, :1] * count_B).long()]
        return torch.cat([own_B, self.order_N[place_Bm]], dim=1)


def check(config: Config, spec: Spec) -> None:
    """Raises `ManyviewsError` where there are no labels, or none of another class, or nothing trains the classifier."""
    if spec.classes is None or spec.labels is None:
        raise ManyviewsError(
            "CRD takes its negatives from other classes, but the data has no labels; give class folders or a CSV."
        )
    if len(spec.labels.unique()) < 2:
        raise ManyviewsError("CRD takes its negatives from other classes, but all images are of one class.")
    if config.noise < 1:
        raise ManyviewsError(f"CRD needs negatives, but --noise is {config.noise}; give at least 1.")
    if not (config.gamma > 0 or config.alpha > 0):
        raise ManyviewsError(
            "With --gamma 0 and --alpha 0 nothing trains the student's classifier; give one of them a weight."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="cifar100", net="cifar_resnet20/B", batch=64, budget="240ep", optimiser="sgd", lr=0.05,
            weight_decay=5e-4, decay_all=True, schedule="step", milestones=(0.625, 0.75, 0.875),
        ),
    ),
    "cifar10": (
        Config(noise=4096),
        Recipe(
            data="cifar10", net="resnet18", batch=128, budget="100ep", optimiser="sgd", lr=0.1, weight_decay=5e-4,
            warmup=0.05,
        ),
    ),
    "world": (
        Config(noise=1024),
        Recipe(data="world", batch=128, budget="12ep", optimiser="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.1),
    ),
}  # fmt: skip
