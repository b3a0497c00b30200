"""A probe at every layer is the linear probe on each, and the best layer is chosen without the test set."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation import EncoderEmbedder, LayerProbes, embed_all, evaluate, finetune, probe_lbfgs
from manyviews.evaluation.layers import _last
from manyviews.nets import build
from manyviews.nets.encoder import Layered
from manyviews.report.page import page
from manyviews.report.run_page import _curves
from manyviews.report.story import Story


class Deep(nn.Module):
    """Three layers: noise, the image's mean colour, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def by_layer(self, x_BCHW: Tensor) -> Tensor:
        mean_B3 = x_BCHW.mean((2, 3)) * self.scale
        return torch.stack([(1e5 * mean_B3).sin(), mean_B3, 0 * mean_B3 + 1])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.by_layer(x_BCHW)[-1]


def test_each_layer_is_probed_by_itself(blobs: Callable[..., ItemSet]) -> None:
    train, test = blobs(60, seed=0), blobs(90, seed=1)
    figures = evaluate(Deep(), train, test, protocols=("layers", "linear"), size=16)
    found = figures["layers"]
    assert len(found["by_layer"]) == 3 and found["layer"] == 1
    assert found["by_layer"][1] > 0.9 > 0.6 > found["by_layer"][0] and found["top1"] == found["by_layer"][1]
    assert found["by_layer"][2] == pytest.approx(figures["linear"]["top1"]) == pytest.approx(1 / 3)

    class Middle(Deep):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            return self.by_layer(x_BCHW)[1]

    h = [embed_all(EncoderEmbedder(Middle(), 16), data) for data in (train, test)]
    assert probe_lbfgs(h[0], h[1], classes=3).scores.top1 == found["by_layer"][1]


def test_the_layer_is_chosen_by_what_was_held_out_of_the_training_set(blobs: Callable[..., ItemSet]) -> None:
    train, test = blobs(60, seed=0), blobs(90, seed=1)
    probe = probe_lbfgs(*(embed_all(EncoderEmbedder(Deep(), 16), data) for data in (train, test)), classes=3)
    held = [replace(probe, validation=share) for share in (0.2, 0.7, 0.7, 0.1)]
    assert LayerProbes(tuple(held)).layer == 1
    assert LayerProbes((replace(probe, validation=None),) * 5).layer == 2


def test_an_encoder_that_has_no_layers_to_show(blobs: Callable[..., ItemSet]) -> None:
    with pytest.raises(ManyviewsError, match=r'"layers" looks into an encoder layer by layer.*take "linear"'):
        evaluate(build("cifar_resnet8"), blobs(30, seed=0), None, protocols=("layers",), size=16)


@pytest.mark.parametrize("name", ["small_vit", "small_vit/average"])
def test_a_vits_last_layer_is_its_embedding(name: str) -> None:
    vit = build(name, size=16)
    assert isinstance(vit, Layered)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        f_LBD = vit.by_layer(x)
        torch.testing.assert_close(f_LBD[-1], vit(x))
        shallow = build(name, size=16)
        shallow.load_state_dict(vit.state_dict())
        shallow.blocks = nn.ModuleList(list(shallow.blocks)[:2])  # pyright: ignore
        shallow.norm = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        torch.testing.assert_close(f_LBD[1], shallow(x))
    assert f_LBD.shape == (6, 2, 128) and not any(block._forward_hooks for block in vit.blocks)  # pyright: ignore


def test_the_report_draws_the_curve() -> None:
    figures = {
        "this encoder": {"linear": {"top1": 0.5}, "layers": {"by_layer": [0.2, 0.6, 0.4]}},
        "raw pixels": {"linear": {"top1": 0.3}},
    }
    curve = _curves([], figures)[-1]
    assert curve.title == "Linear top-1 by layer" and curve.baselines == {"raw pixels": 0.3}
    assert [list(part) for part in curve.series["this encoder"]] == [[0, 1, 2], [0.2, 0.6, 0.4]]
    assert "Linear top-1 by layer" in page(Story("a", "b", "c", curves=[curve]))


# -- fine-tuning with the encoder's own loss beside --------------------------------------------------------------------


class Generating(nn.Module):
    """Embeds the mean colour; its own loss pulls a weight towards 3."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.own = nn.Linear(3, 4), nn.Parameter(torch.zeros(()))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.linear(x_BCHW.mean((2, 3)))

    def with_loss(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return self(x_BCHW), (self.own - 3).square()


def test_the_joint_loss_is_the_sum_of_both(blobs: Callable[..., ItemSet]) -> None:
    train, test = blobs(30, seed=0), blobs(30, seed=1)
    torch.manual_seed(0)
    encoder = Generating()
    how = {"classes": 3, "size": 16, "epochs": 20, "batch": 30, "lr": 0.1, "optimiser": "sgd", "warmup": 0.0}
    alone, joint = (finetune(encoder, train, test, joint=weight, **how) for weight in (0.0, 1.0))  # pyright: ignore
    learned, beside = alone.classifier[0], joint.classifier[0]
    assert isinstance(learned, Generating) and isinstance(beside, Generating)
    assert learned.own.item() == 0 and beside.own.item() > 2
    torch.testing.assert_close(
        learned.linear.weight, beside.linear.weight
    )  # the two losses share no weight here
    assert joint.loss == pytest.approx(alone.loss + (beside.own.item() - 3) ** 2, abs=0.2)
    assert encoder.own.item() == 0


def test_a_net_that_embeds_in_its_middle_is_fine_tuned_as_a_whole(blobs: Callable[..., ItemSet]) -> None:
    train, test = blobs(6, seed=0), blobs(6, seed=1)
    encoder = build("colours(small_igpt/8px/2x32, 8)", size=16)
    done = finetune(encoder, train, test, classes=3, size=16, epochs=2, batch=6, joint=1.0)
    learned = done.classifier[0]
    assert learned.layer == 2 and encoder.layer == 1  # pyright: ignore[reportAttributeAccessIssue]
    before = dict(encoder.named_parameters())
    assert all(not torch.equal(p, before[name]) for name, p in learned.named_parameters())  # pyright: ignore


@pytest.mark.parametrize(
    ("joint", "name"), [(1.0, "cifar_resnet8"), (-1.0, "colours(small_igpt/8px/2x32, 8)")]
)
def test_a_joint_loss_that_cannot_be(joint: float, name: str, blobs: Callable[..., ItemSet]) -> None:
    with pytest.raises(ManyviewsError, match=f"joint is {joint}: it weighs, by 0 or more"):
        finetune(build(name, size=16), blobs(6, seed=0), blobs(6, seed=1), classes=3, size=16, joint=joint)


@pytest.mark.parametrize("net", ["small_vit", "small_vit/average"])
def test_the_last_layers_of_a_vit_lie_side_by_side_each_under_its_norm(
    net: str, blobs: Callable[..., ItemSet]
) -> None:
    train, test = blobs(60, size=16, seed=0), blobs(30, size=16, seed=1)
    vit = build(net, size=16).eval()
    torch.nn.init.normal_(vit.norm.weight)  # so that a norm that is left out is missed
    with torch.no_grad():
        x_BCHW = torch.randn(4, 3, 16, 16)
        tokens_BTD = vit.tokens(x_BCHW)
        first, last = vit.by_layer(x_BCHW)[-2:]
        normed = vit.norm(first) if vit.first else None
        found = _last(vit, 2, patches=bool(vit.first))(x_BCHW)
    width = vit.width
    assert found.shape == (4, (3 if vit.first else 2) * width) and not vit.blocks[-1]._forward_hooks
    if normed is not None:
        torch.testing.assert_close(found[:, :width], normed)
    torch.testing.assert_close(found[:, width : 2 * width], last)
    if vit.first:
        torch.testing.assert_close(found[:, 2 * width :], tokens_BTD[:, 1:].mean(1))
    one = evaluate(
        vit, train, test, protocols=("last-layers", "linear"), size=16, options={"last-layers": {"layers": 1}}
    )
    assert one["last-layers"]["top1"] == one["linear"]["top1"]


@pytest.mark.parametrize(
    ("net", "options", "says"),
    [
        ("small_vit", {"layers": 99}, "The last 99 layers are asked for; the net has"),
        ("small_vit", {"layers": 0}, "The last 0 layers are asked for"),
        ("small_vit/average", {"patches": True}, "it has no class token"),
        ("cifar_resnet8", {"patches": True}, "this net is no ViT of ours"),
        ("cifar_resnet8", {}, "no ViT of ours, and no bert or gpt"),
    ],
)
def test_last_layers_that_there_are_not(
    net: str, options: dict[str, object], says: str, blobs: Callable[..., ItemSet]
) -> None:
    data = blobs(30, size=16, seed=0)
    with pytest.raises(ManyviewsError, match=says):
        evaluate(
            build(net, size=16),
            data,
            data,
            protocols=("last-layers",),
            size=16,
            options={"last-layers": options},
        )
