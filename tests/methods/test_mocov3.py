"""MoCo v3: its loss equals the authors' formula, its heads are theirs for each family of nets, and patches stay as drawn."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.data import in_memory
from manyviews.errors import ManyviewsError
from manyviews.memory import cosine_momentum
from manyviews.method import Batch, Out, Spec, find
from manyviews.nets.vit import ViT
from manyviews.recipe import Recipe
from manyviews.runs import net_factory
from manyviews.training.loop import Loop

B = 8
VIT, RESNET = "small_vit/sincos2d", "cifar_resnet8"


def mocov3(net: str = RESNET, size: int = 16, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = replace(find("mocov3").config(), **({"dim": 12, "hidden": 24} | settings))
    return find("mocov3").method(config, net_factory(net, size), Spec(items=32, size=size))  # pyright: ignore[reportCallIssue]


def batch() -> Batch:
    make = torch.Generator().manual_seed(0)
    return Batch([torch.randn(B, 3, 16, 16, generator=make) for _ in range(2)], torch.arange(B))


def authors_loss(q: Tensor, k: Tensor, tau: float) -> Tensor:
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / tau
    return F.cross_entropy(logits, torch.arange(len(q))) * 2 * tau


@pytest.mark.parametrize("tau", [0.2, 1.0])
@pytest.mark.parametrize("net", [VIT, RESNET])
def test_loss_is_the_authors_both_ways_times_two_tau(net: str, tau: float) -> None:
    method = mocov3(net, temperature=tau)
    for p in method.twin.parameters():
        p.data.add_(0.05 * torch.randn_like(p))  # a twin that is behind, so that keys are not queries
    x1, x2 = batch().views
    q1, q2 = (method.predictor(method.base(x)) for x in (x1, x2))
    k1, k2 = method.twin(x1), method.twin(x2)
    expected = authors_loss(q1, k2, tau) + authors_loss(q2, k1, tau)
    torch.testing.assert_close(method.loss(batch(), 0.0).loss, expected)
    assert expected != authors_loss(q2, k2, tau) + authors_loss(q1, k1, tau)


# -- heads -----------------------------------------------------------------------------------------------------


def told(head: nn.Module) -> list[tuple[Any, ...]]:
    """Layers as (in, out, bias) and norms as (channels, learnt)."""
    return [
        (m.in_features, m.out_features, m.bias is not None)
        if isinstance(m, nn.Linear)
        else (m.num_features, m.affine)
        for m in head.modules()
        if isinstance(m, nn.Linear | nn.BatchNorm1d)
    ]


def test_a_vit_has_three_layers_and_norms_everywhere() -> None:
    method = mocov3(VIT)
    assert told(method.base[1]) == [
        (128, 24, False), (24, True), (24, 24, False), (24, True), (24, 12, False), (12, False),
    ]  # fmt: skip
    assert told(method.predictor) == [(12, 24, False), (24, True), (24, 12, False), (12, False)]


@pytest.mark.parametrize("net", ["timm/vit_tiny_patch16_224", "torchvision/vit_b_32"])
def test_a_vit_of_another_library_is_one_too(net: str) -> None:
    method = mocov3(net, size=32)
    assert len(told(method.base[1])) == 6 and told(method.predictor)[-1] == (12, False)
    held = {name for name, weight in method.encoder.named_parameters() if not weight.requires_grad}
    place = "model.patch_embed.proj" if "timm" in net else "model.conv_proj"
    assert held == {f"{place}.weight", f"{place}.bias"}
    assert not any(not w.requires_grad for w in mocov3(net, size=32, freeze_patch=False).encoder.parameters())


def test_a_resnet_has_no_patches_to_learn() -> None:
    with pytest.raises(ManyviewsError, match="has no patch projection that could be learned"):
        mocov3("cifar_resnet8", size=32, freeze_patch=False)


def test_a_resnet_has_two_layers_and_a_predictor_that_ends_bare() -> None:
    method = mocov3(RESNET)
    width = method.encoder.width
    assert told(method.base[1]) == [(width, 24, False), (24, True), (24, 12, False), (12, False)]
    assert told(method.predictor) == [(12, 24, False), (24, True), (24, 12, False)]


def test_without_a_predictor_queries_are_projections() -> None:
    method = mocov3(predictor=False)
    assert isinstance(method.predictor, nn.Identity)
    assert not any(name.startswith("predictor") for name, _ in method.named_parameters())


# -- what moves, and what does not -----------------------------------------------------------------------------


def trained(method: Any) -> Any:
    pixels = torch.randint(
        0, 256, (32, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    recipe = Recipe(size=16, batch=B, budget="2steps", optimiser="adamw", lr=1e-2, weight_decay=0.1)
    Loop(method, in_memory("noise", pixels, None, None), recipe).run()
    return method


@pytest.mark.parametrize("freeze", [True, False])
def test_a_vit_s_patch_projection_stays_as_drawn_where_it_is_frozen(freeze: bool) -> None:
    method = mocov3(VIT, freeze_patch=freeze)
    assert isinstance(method.encoder, ViT)
    patches = [method.encoder.patch, method.twin.module[0].patch]
    before = [patch.weight.detach().clone() for patch in patches]
    rest = method.encoder.blocks[0].mlp.up.weight.detach().clone()
    trained(method)
    assert [torch.equal(a, patch.weight) for a, patch in zip(before, patches, strict=True)] == [freeze] * 2
    assert not torch.equal(rest, method.encoder.blocks[0].mlp.up.weight)
    assert method.encoder.patch.weight.requires_grad != freeze


def test_fixed_sinusoids_are_no_parameters_and_do_not_move() -> None:
    method = mocov3(VIT)
    before = method.encoder.positions[0].weight.clone()
    assert not any("positions" in name for name, _ in method.named_parameters())
    assert torch.equal(before, trained(method).encoder.positions[0].weight)


def test_the_twin_follows_base_and_projector_at_a_rising_momentum() -> None:
    method = mocov3(momentum=0.9)
    for p in method.base.parameters():
        p.data.add_(1.0)
    for progress in (0.0, 0.5, 1.0):
        old = [p.clone() for p in method.twin.parameters()]
        method.after_step(Out(torch.zeros(())), progress)
        m = cosine_momentum(0.9, progress)
        assert m == pytest.approx({0.0: 0.9, 0.5: 0.95, 1.0: 1.0}[progress])
        for was, now, base in zip(old, method.twin.parameters(), method.base.parameters(), strict=True):
            torch.testing.assert_close(now, m * was + (1 - m) * base)


def test_views_are_byol_s() -> None:
    first, second = mocov3(size=32).views().views
    assert (first.blur, second.blur) == (1.0, 0.1) and (first.solarise, second.solarise) == (0.0, 0.2)
    assert first.jitter == second.jitter == (0.4, 0.4, 0.2, 0.1) and first.crop == second.crop == (0.08, 1.0)
