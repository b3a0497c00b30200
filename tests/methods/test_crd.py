"""CRD: the loss is the official formula, negatives come from other classes alone, and both banks follow."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.memory import UNKNOWN
from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.crd import CRD, Config, OtherClasses
from manyviews.rng import generator
from manyviews.runs import net_factory
from shrink import teacher

ITEMS, SIZE, TAU, M = 30, 16, 0.3, 11
LABELS = torch.tensor([0, 3, 1, 2, 1, 0, 1, 1, 3, 2] * 3)  # classes of unequal size, in no order


def built(spec: dict[str, Any] | None = None, **settings: Any) -> CRD:
    torch.manual_seed(0)
    config = Config(**{"teacher": teacher(), "dim": 8, "noise": M, "temperature": TAU, **settings})
    known = {"items": ITEMS, "size": SIZE, "classes": 4, "labels": LABELS}
    return CRD(config, net_factory("cifar_resnet8", SIZE), Spec(**(known | (spec or {}))))


def batch(*index: int) -> Batch:
    x = torch.randn(len(index), 3, SIZE, SIZE, generator=generator("x"))
    return Batch([x], torch.tensor(index), LABELS[list(index)])


def official(v: Tensor, bank: Tensor, pairs: Tensor) -> Tensor:
    """`ContrastMemory` and `ContrastLoss` of the authors' code, but for the positive, which their Z takes in."""
    out = torch.einsum("bd,bmd->bm", v, bank[pairs]).div(TAU).exp()
    out = out / (out[:, 1:].mean() * len(bank)).detach()
    m_pn = M / len(bank)
    positive, negative = out[:, 0], out[:, 1:]
    log_d1 = (positive / (positive + m_pn + 1e-7)).log()
    log_d0 = (m_pn / (negative + m_pn + 1e-7)).log()
    return -(log_d1.sum() + log_d0.sum()) / len(v)


def features(method: CRD, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The student's embedding, the teacher's, and the class scores of both."""
    h_s, (h_t, logits_t) = method.encoder(x), method.teacher(x)
    s, t = F.normalize(method.g_s(h_s), dim=1), F.normalize(method.g_t(h_t), dim=1)
    return s, t, method.classifier(h_s), logits_t


@pytest.mark.parametrize("positives", ["exact", "relax"])
@pytest.mark.parametrize(("gamma", "alpha", "beta"), [(1.0, 0.0, 0.8), (0.5, 1.0, 0.8), (1.0, 0.7, 0.0)])
def test_the_loss_is_the_official_formula(positives: Any, gamma: float, alpha: float, beta: float) -> None:
    method = built(positives=positives, gamma=gamma, alpha=alpha, beta=beta)
    some = batch(4, 8, 15, 16, 23)
    assert some.label is not None
    torch.manual_seed(3)
    out = method.loss(some, 0.0)
    torch.manual_seed(3)
    pairs = method.others.draw(some.index, some.label, M, positives)
    s, t, logits_s, logits_t = features(method, some.views[0])
    contrast = official(s, method.bank_t.rows_ND, pairs) + official(t, method.bank_s.rows_ND, pairs)
    labels = F.cross_entropy(logits_s, some.label)
    kd = F.kl_div(F.log_softmax(logits_s / 4, 1), F.softmax(logits_t / 4, 1), reduction="batchmean") * 16
    torch.testing.assert_close(out.loss, gamma * labels + alpha * kd + beta * contrast, rtol=1e-5, atol=1e-5)


def test_negatives_are_of_other_classes_and_every_one_of_them_may_come() -> None:
    others, index = OtherClasses(Spec(items=ITEMS, size=SIZE, classes=4, labels=LABELS)), torch.arange(ITEMS)
    torch.manual_seed(0)
    pairs = others.draw(index, LABELS, 4000, "exact")
    assert torch.equal(pairs[:, 0], index)
    assert (LABELS[pairs[:, 1:]] != LABELS[:, None]).all()
    for item in (0, 1, 2, 3):  # one of each class
        counts = torch.bincount(pairs[item, 1:], minlength=ITEMS).double()
        allowed = LABELS[item] != LABELS
        expected = 4000 / int(allowed.sum())
        assert ((counts[allowed] - expected).square() / expected).sum() < 2.5 * int(
            allowed.sum()
        )  # chi squared
        assert counts[~allowed].sum() == 0


def test_relaxed_positives_are_any_image_of_the_class() -> None:
    others, index = OtherClasses(Spec(items=ITEMS, size=SIZE, classes=4, labels=LABELS)), torch.arange(ITEMS)
    torch.manual_seed(0)
    drawn = torch.stack([others.draw(index, LABELS, 1, "relax")[:, 0] for _ in range(200)])
    assert (LABELS[drawn] == LABELS).all()
    for item in range(4):
        assert set(drawn[:, item].tolist()) == set((LABELS[item] == LABELS).nonzero().flatten().tolist())


def test_each_bank_follows_its_own_network_and_only_where_the_batch_was() -> None:
    method, some = built(bank_momentum=0.8), batch(21, 7)
    before_s, before_t = method.bank_s.rows_ND.clone(), method.bank_t.rows_ND.clone()
    s, t, *_ = (f.detach() for f in features(method, some.views[0]))
    method.after_step(method.loss(some, 0.0), 0.0)
    for bank, before, v in ((method.bank_s, before_s, s), (method.bank_t, before_t, t)):
        moved = F.normalize(0.8 * before[some.index] + 0.2 * v, dim=1)
        torch.testing.assert_close(bank.rows_ND[some.index], moved)
        still = [i for i in range(ITEMS) if i not in (21, 7)]
        assert torch.equal(bank.rows_ND[still], before[still])
    assert not torch.equal(before_s, before_t)


def test_the_teacher_is_frozen_but_its_embedding_is_trained() -> None:
    method = built()
    method.train()
    before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    method.loss(batch(1, 2, 3, 4), 0.0).loss.backward()
    assert not any(module.training for module in method.teacher.modules())
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in method.teacher.state_dict().items())
    assert method.g_t.weight.grad is not None and method.g_t.weight.grad.abs().sum() > 0


def test_what_a_checkpoint_holds_is_no_label() -> None:
    assert not [name for name in built().state_dict() if name.startswith("others.")]


@pytest.mark.parametrize(
    ("spec", "settings", "sentence"),
    [
        ({"classes": None, "labels": None}, {}, r"the data has no labels; give class folders or a CSV"),
        ({"labels": torch.zeros(ITEMS, dtype=torch.long)}, {}, r"all images are of one class"),
        ({}, {"noise": 0}, r"--noise is 0; give at least 1"),
        ({}, {"gamma": 0.0}, r"nothing trains the student's classifier"),
        ({}, {"teacher": ""}, r"say --teacher RUN"),
        ({"classes": 5}, {}, r"tells 4 classes apart, but the data has 5"),
    ],
)
def test_what_cannot_be_is_said(spec: dict[str, Any], settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        built(spec, **settings)


def test_each_z_is_that_of_the_first_batch_and_stays() -> None:
    method = built()
    method.loss(batch(1, 2, 3, 4), 0.0)
    first = [once.value.clone() for once in (method.log_z_s, method.log_z_t)]
    assert max(first) < UNKNOWN / 2 and first[0] != first[1]
    with torch.no_grad():
        for bank in (method.bank_s, method.bank_t):
            bank.rows_ND.mul_(3)  # now both would be others
    method.loss(batch(5, 6, 7, 8), 0.1)
    assert [method.log_z_s.value, method.log_z_t.value] == first


def test_views_are_padded_crops() -> None:
    (view,) = built(pad=2).views().views
    assert (view.crop, view.scale, view.pad, view.flip, view.jitter) == (None, (1.0, 1.0), 2, 0.5, None)
