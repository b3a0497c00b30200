"""Learned views: the generator climbs what its adversaries descend, labels reach both parts, and a second run takes the views over."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import manyviews
from manyviews import learn
from manyviews.data import open_data
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.infomin_learned import Config, InfoMinLearned
from manyviews.nets.flow import Parted
from manyviews.objectives import in_batch
from manyviews.objectives.adversary import reversed_gradient
from manyviews.rng import generator
from manyviews.runs import net_factory

SIZE = 16
SPEC: dict[str, Any] = {"items": 48, "size": SIZE, "classes": 4, "labels": torch.arange(48) % 4}


def built(spec: dict[str, Any] | None = None, **settings: Any) -> InfoMinLearned:
    torch.manual_seed(0)
    config = Config(**{"blocks": 2, "hidden": 8, **settings})
    method = InfoMinLearned(config, net_factory("cifar_resnet8", SIZE), Spec(**(SPEC | (spec or {}))))
    for coupling in method.parted.g.couplings:
        for weight in coupling.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return method.double().eval()


def batch(*label: int, views: int = 1) -> Batch:
    x = torch.randn(views, len(label), 3, SIZE, SIZE, generator=generator("x"), dtype=torch.float64)
    return Batch(list(x), torch.arange(len(label)), torch.tensor(label))


def terms(method: InfoMinLearned, some: Batch) -> tuple[Tensor, Tensor]:
    """L_NCE of both directions, and the cross entropies of the known labels, without any reversal."""
    f = method.parted
    v_1, v_2 = f.views(some.views[0])
    z_1, z_2 = method.heads[0](f.light(v_1)), method.heads[1](f.colour(v_2))
    l_nce = (in_batch(z_1, z_2, 0.07) + in_batch(z_2, z_1, 0.07)) / 2
    assert some.label is not None
    known = some.label >= 0
    l_ce = sum(
        F.cross_entropy(c(v)[known], some.label[known]) for c, v in zip(method.c, (v_1, v_2), strict=True)
    )
    assert isinstance(l_ce, Tensor)
    return l_nce, l_ce


def gradients(loss: Tensor, of: torch.nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(of.parameters()), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, of.parameters(), strict=True)]


def test_a_reversed_gradient_is_the_same_number_and_the_opposite_slope() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reversed_gradient(x, 0.5)
    assert torch.equal(y, x)
    assert torch.equal(
        torch.autograd.grad((y * torch.tensor([3.0, 4.0])).sum(), x)[0], torch.tensor([-1.5, -2.0])
    )


@pytest.mark.parametrize(("adversary", "task"), [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_the_generator_climbs_what_the_encoders_descend(adversary: float, task: float) -> None:
    method, some = built(adversary=adversary, task=task), batch(0, 1, -1, 3, 2, -1)
    l_nce, l_ce = terms(method, some)
    loss = method.loss(some, 0.0).loss
    torch.testing.assert_close(loss, l_nce + task * l_ce)
    f = method.parted
    pairs = zip(gradients(loss, f.g), gradients(l_nce, f.g), gradients(l_ce, f.g), strict=True)
    for own, of_nce, of_ce in pairs:
        torch.testing.assert_close(own, task * of_ce - adversary * of_nce)
    for part in (f.light, f.colour, method.heads):
        for own, of_nce in zip(gradients(loss, part), gradients(l_nce, part), strict=True):
            torch.testing.assert_close(own, of_nce)
    for own, of_ce in zip(gradients(loss, method.c), gradients(l_ce, method.c), strict=True):
        torch.testing.assert_close(own, task * of_ce)


def test_the_information_is_what_the_loss_leaves_of_its_bound() -> None:
    method, some = built(), batch(*range(4), *range(4))
    l_nce, _ = terms(method, some)
    told = float(method.loss(some, 0.0).log["mutual_information"])
    assert told == pytest.approx(np.log(8) - float(l_nce.detach())) and told <= np.log(8)


def test_hidden_labels_teach_nothing_and_break_nothing() -> None:
    method, some = built(), batch(-1, -1, -1, -1)
    out = method.loss(some, 0.0)
    v_1, v_2 = method.parted.views(some.views[0])
    z = method.heads[0](method.parted.light(v_1)), method.heads[1](method.parted.colour(v_2))
    torch.testing.assert_close(out.loss, (in_batch(*z, 0.07) + in_batch(*z[::-1], 0.07)) / 2)


def test_without_a_task_no_label_is_looked_at() -> None:
    method = built({"classes": None}, task=0.0)
    assert not hasattr(method, "c")
    known, unknown = batch(0, 1, 2, 3), batch(0, 1, 2, 3)
    unknown.label = None
    torch.testing.assert_close(method.loss(known, 0.0).loss, method.loss(unknown, 0.0).loss)
    for without in ({"classes": None}, {"labels": None}):  # STL-10's unlabelled images have names of classes
        with pytest.raises(ManyviewsError, match="the data has none; say --task 0"):
            built(without)


def test_of_two_crops_each_view_is_of_its_own() -> None:
    method, some = built(task=0.0, two_crops=True), batch(0, 1, 2, 3, views=2)
    assert len(method.views().views) == 2
    f = method.parted
    z_1 = method.heads[0](f.light(f.views(some.views[0])[0]))
    z_2 = method.heads[1](f.colour(f.views(some.views[1])[1]))
    torch.testing.assert_close(
        method.loss(some, 0.0).loss, (in_batch(z_1, z_2, 0.07) + in_batch(z_2, z_1, 0.07)) / 2
    )


def test_pictures_show_the_image_and_its_three_parts() -> None:
    method = built().float()
    image = torch.randint(0, 256, (2, 3, SIZE, SIZE), generator=generator("i"), dtype=torch.uint8)
    (shown,) = method.pictures(image).values()
    assert shown.shape == (2, 4, 3, SIZE, SIZE) and shown.dtype == torch.uint8
    assert (shown[:, 0].int() - image.int()).abs().max() <= 1
    parts = shown[:, 1:]
    assert torch.equal(parts[:, :, 0], parts[:, :, 2])  # grey
    assert all(part.min() == 0 and part.max() == 255 for part in parts.unbind(1))


def test_a_second_run_learns_encoders_on_views_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "judge", lambda *_: None)
    images = np.random.default_rng(0).integers(0, 256, (48, 3, SIZE, SIZE), dtype=np.uint8)
    same: dict[str, Any] = {
        "net": "cifar_resnet8",
        "size": SIZE,
        "batch": 16,
        "budget": "4steps",
        "quiet": True,
    }
    colours = torch.rand(1, 3, 4, 4)
    labelled = (images, np.arange(48) % 4)
    first = manyviews.pretrain(
        "infomin_learned",
        labelled,
        out=tmp_path / "views",
        blocks=2,
        hidden=8,
        volume=False,
        labels=0.5,
        **same,
    )
    assert isinstance(first.encoder, Parted) and first.encoder.built is not None
    assert first.encoder.built.name == "nvp_rgb(cifar_resnet8, 2, 8)"
    second = manyviews.pretrain(
        "infomin_learned", images, out=tmp_path / "again", generator=str(first.path), labels=1.0, **same
    )
    before, after = first.encoder, second.encoder
    assert isinstance(after, Parted) and isinstance(before, Parted)
    assert all(torch.equal(after.g.state_dict()[key], value) for key, value in before.g.state_dict().items())
    start = second.build(second.seen(open_data(images))).encoder
    assert isinstance(start, Parted) and torch.equal(start.g(colours), after.g(colours))
    assert all(not torch.equal(after.light.state_dict()[k], v) for k, v in start.light.named_parameters())
    untouched = manyviews.pretrain(
        "infomin_learned", images, out=tmp_path / "raw", task=0.0, blocks=2, hidden=8, volume=False, **same
    )
    drawn = untouched.build(untouched.seen(open_data(images))).encoder
    assert isinstance(drawn, Parted)  # under one seed encoders begin alike, whoever makes the views
    assert all(torch.equal(drawn.colour.state_dict()[k], v) for k, v in start.colour.named_parameters())
    vectors = second.embed(torch.from_numpy(images[:3]))
    assert vectors.shape == (3, after.width)
    made = manyviews.export(second, to="onnx", out=tmp_path / "flow.onnx")
    assert made.path.stat().st_size > 1000
    with pytest.raises(ManyviewsError, match="--blocks is read only with --generator None"):
        manyviews.pretrain(
            "infomin_learned", images, out=tmp_path / "x", generator=str(first.path), blocks=3, **same
        )
