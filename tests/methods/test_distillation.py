"""Distillation: the teacher's loss is Hinton's, the labels' share counts only known labels, and teachers that will not do are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import manyviews
from manyviews import learn, nets
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.distillation import Config, Distillation
from manyviews.nets.classifier import load_classifier, save_classifier
from manyviews.nets.interop import save_encoder
from manyviews.objectives import softened_kl
from manyviews.rng import generator
from manyviews.runs import net_factory
from shrink import teacher

SIZE = 16
SPEC: dict[str, Any] = {"items": 48, "size": SIZE, "classes": 4}


def built(spec: dict[str, Any] | None = None, **settings: Any) -> Distillation:
    torch.manual_seed(0)
    config = Config(**{"teacher": teacher(), **settings})
    return Distillation(config, net_factory("cifar_resnet8", SIZE), Spec(**(SPEC | (spec or {}))))


def batch(*label: int) -> Batch:
    x = torch.randn(len(label), 3, SIZE, SIZE, generator=generator("x"))
    return Batch([x], torch.arange(len(label)), torch.tensor(label))


def scores(method: Distillation, some: Batch) -> tuple[Tensor, Tensor]:
    """What student and teacher make of a batch."""
    (x,) = some.views
    return method.classifier(method.encoder(x)), method.teacher(x)[1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_softened_divergence_is_torchs(temperature: float) -> None:
    student, other = torch.randn(2, 9, 5, generator=generator("logits"), dtype=torch.float64) * 5
    student.requires_grad_()
    ours = softened_kl(student, other, temperature)
    log_q, p = F.log_softmax(student / temperature, 1), F.softmax(other / temperature, 1)
    plain = F.kl_div(log_q, p, reduction="batchmean") * temperature**2
    torch.testing.assert_close(ours, plain)
    (own,), (theirs,) = torch.autograd.grad(ours, student), torch.autograd.grad(plain, student)
    torch.testing.assert_close(own, theirs)


def test_at_temperature_one_its_gradient_is_that_of_eq_2() -> None:
    student, other = torch.randn(2, 9, 5, generator=generator("logits"), dtype=torch.float64)
    student.requires_grad_()
    eq_2 = -(other.softmax(1) * student.log_softmax(1)).sum(1).mean()
    (own,) = torch.autograd.grad(softened_kl(student, other, 1.0), student)
    torch.testing.assert_close(own, torch.autograd.grad(eq_2, student)[0])


def test_a_divergence_needs_a_temperature_and_survives_extreme_scores() -> None:
    with pytest.raises(ValueError, match="above zero"):
        softened_kl(torch.ones(1, 2), torch.ones(1, 2), 0.0)
    far = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = softened_kl(far, -far.detach(), 1.0)
    loss.backward()
    assert (
        float(loss.detach()) == pytest.approx(2e4) and far.grad is not None and torch.isfinite(far.grad).all()
    )


def test_the_loss_weighs_teacher_and_known_labels() -> None:
    method, some = built(alpha=0.3), batch(2, -1, 0, -1)
    student, other = scores(method, some)
    known = F.cross_entropy(student[[0, 2]], torch.tensor([2, 0]), reduction="sum") / 4
    torch.testing.assert_close(
        method.loss(some, 0.0).loss, 0.7 * softened_kl(student, other, 4.0) + 0.3 * known
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_hidden_labels_teach_nothing_and_break_nothing(alpha: float) -> None:
    method, hidden = built(alpha=alpha), batch(-1, -1, -1, -1)
    student, other = scores(method, hidden)
    torch.testing.assert_close(method.loss(hidden, 0.0).loss, (1 - alpha) * softened_kl(student, other, 4.0))


def test_without_a_share_no_label_reaches_the_loss() -> None:
    method = built()
    known, unlabelled = batch(0, 1, 2, 3), batch(0, 1, 2, 3)
    unlabelled.label = None
    torch.testing.assert_close(method.loss(known, 0.0).loss, method.loss(unlabelled, 0.0).loss)


def test_the_teacher_is_frozen_whatever_happens_to_the_student() -> None:
    method, some = built(), batch(0, 1, 2, 3)
    before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    method.train()
    assert not any(module.training for module in method.teacher.modules())
    assert method.encoder.training
    method.loss(some, 0.0).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in method.teacher.state_dict().items())


def test_a_student_learns_from_unlabelled_images_and_keeps_the_teachers_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "judge", lambda *_: None)
    images = np.random.default_rng(0).integers(0, 256, (48, 3, SIZE, SIZE), dtype=np.uint8)
    run = manyviews.pretrain(
        "distillation", images, out=tmp_path / "student", teacher=teacher(), net="cifar_resnet8", size=SIZE,
        batch=16, budget="12steps", quiet=True,
    )  # fmt: skip
    assert load_classifier(run.path / "classifier.safetensors").classes == tuple("abcd")
    last, first = run.metrics()[-1], run.metrics()[0]
    assert last["loss"] < first["loss"]


# -- what cannot be -----------------------------------------------------------------------------------------------


def folder_with(path: Path, width: int | None = None, classes: str | None = None) -> str:
    """A run's folder with an encoder, and a classifier where there is a width for it."""
    encoder = nets.build("cifar_resnet8", size=SIZE)
    save_encoder(path, encoder, {})
    if classes is not None:
        save_classifier(
            path / "classifier.safetensors", nn.Linear(width or encoder.width, len(classes)), classes
        )
    return str(path)


def test_a_student_without_a_teacher_is_told_how_to_make_one() -> None:
    with pytest.raises(ManyviewsError, match=r"say --teacher RUN.*`manyviews pretrain supervised --out RUN`"):
        built(teacher="")


def test_a_teacher_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"no finished run at .*nowhere \(--teacher\)"):
        built(teacher=str(tmp_path / "nowhere"))


def test_a_teacher_without_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"learned no classifier, and a teacher needs one"):
        built(teacher=folder_with(tmp_path))


def test_a_classifier_that_does_not_fit_its_encoder(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"gives 64 numbers and its classifier takes 7"):
        built(teacher=folder_with(tmp_path, 7, "abcd"))


def test_a_teacher_of_another_number_of_classes(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"tells 3 classes apart, but the data has 4"):
        built(teacher=folder_with(tmp_path, classes="abc"))


def test_a_teacher_of_classes_with_other_names(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r'knows a class as "c" which is "d" in the data'):
        built({"class_names": ("a", "b", "d", "c")})


@pytest.mark.parametrize(
    ("settings", "spec", "sentence"),
    [
        ({"alpha": 1.5}, {}, r"--alpha is 1\.5; the labels' share of the loss lies between 0 and 1"),
        ({"temperature": 0.0}, {}, r"--temperature is 0\.0; it divides class scores"),
        ({"alpha": 0.5}, {"classes": None}, r"the data has no labels; say --alpha 0"),
    ],
)
def test_settings_that_contradict(settings: dict[str, Any], spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        built(spec, **settings)


def test_nothing_is_written_where_there_is_no_teacher(tmp_path: Path) -> None:
    images = np.zeros((16, 3, SIZE, SIZE), dtype=np.uint8)
    with pytest.raises(ManyviewsError, match="say --teacher RUN"):
        manyviews.pretrain("distillation", images, out=tmp_path / "student", batch=8, size=SIZE)
    assert not (tmp_path / "student").exists()


def test_views_are_crops_and_flips_alone() -> None:
    (view,) = built(min_area=0.3).views().views
    assert (view.crop, view.flip, view.jitter, view.grey) == ((0.3, 1.0), 0.5, None, 0.0)
