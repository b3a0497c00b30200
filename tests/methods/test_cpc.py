"""CPC: the loss is eq. 4 written plainly, and no context has seen what it predicts."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec, find
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.views.patchwise import moved, one_channel

SIZE, B = 28, 3  # patches of 8, every 4 pixels: 6 x 6
CONFIG: dict[str, Any] = {
    "patch": 8,
    "stride": 4,
    "steps": 3,
    "margin": 0,
    "hidden": 16,
    "blocks": 3,
    "grey": 0.0,
}


def build(net: str = "cifar_resnet8", size: int = SIZE, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = dataclasses.replace(find("cpc").config(**CONFIG), **changes)
    return find("cpc").method(config, net_factory(net, size), Spec(items=10, size=size))


def image(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(B, 3, SIZE, SIZE, generator=generator("cpc"), dtype=dtype)


@pytest.mark.parametrize("negatives", ["batch", "own"])
def test_loss_is_equation_4(negatives: str) -> None:
    method = build(negatives=negatives).double()
    x = image(torch.float64)
    z = method.encoder.grid(x)
    c = method.context(z)
    losses, right = [], []
    for k, W_k in zip((2, 3, 4), method.W, strict=True):
        each = []
        for b in range(B):
            for i in range(6 - k):
                for j in range(6):
                    candidates = (
                        z[b].flatten(1).T if negatives == "own" else z.permute(0, 2, 3, 1).reshape(-1, 64)
                    )
                    own = (i + k) * 6 + j + (0 if negatives == "own" else b * 36)
                    f = candidates @ W_k.weight @ c[b, :, i, j]
                    each.append(F.cross_entropy(f[None], torch.tensor([own])))
                    right.append(float(f.argmax() == own))
        losses.append(torch.stack(each).mean())
    out = method.loss(Batch([x], torch.arange(B)), 0.0)
    torch.testing.assert_close(out.loss, torch.stack(losses).mean())
    assert out.log["accuracy"].item() == pytest.approx(sum(right) / len(right))
    weight = next(method.encoder.parameters())
    ours, plain = (torch.autograd.grad(x, weight)[0] for x in (out.loss, torch.stack(losses).mean()))
    torch.testing.assert_close(ours, plain)


def dependence(method: Any, k: int) -> float:
    """The largest gradient of any context by a pixel of the patch that it predicts k rows below."""
    x = image(torch.float64).requires_grad_()
    c = method.double().context(method.encoder.grid(x))
    largest = 0.0
    for i in range(method.g - k):
        for j in range(method.g):
            (grad,) = torch.autograd.grad(c[0, :, i, j].sum(), x, retain_graph=True)
            target = grad[0, :, (i + k) * 4 : (i + k) * 4 + 8, j * 4 : j * 4 + 8]
            assert grad.any(), "the context sees something"
            largest = max(largest, float(target.abs().max()))
    return largest


def test_no_context_depends_on_a_pixel_of_its_targets() -> None:
    method = build()
    assert list(method.k) == [2, 3, 4]
    assert all(dependence(method, k) == 0.0 for k in method.k)


def test_overlapping_rows_are_predicted_only_where_asked_for() -> None:
    """The pitfall that `skip` is there for: the next row shares half of its pixels with the context."""
    method = build(skip=False)
    assert list(method.k) == [1, 2, 3]
    assert dependence(method, 1) > 0.0


def test_batch_norm_lets_patches_see_each_other() -> None:
    method = build(batch_norm=True)
    assert any(isinstance(module, nn.BatchNorm2d) for module in method.modules())
    assert dependence(method, 2) > 0.0
    assert not any(isinstance(module, nn.BatchNorm2d) for module in build().modules())


def test_the_paper_predicts_five_rows_of_its_grid() -> None:
    config, recipe = find("cpc").recipes["paper"]
    method = find("cpc").method(
        config, net_factory("small_resnet", recipe.size), Spec(items=10, size=recipe.size)
    )
    assert method.g == 7 and list(method.k) == [2, 3, 4, 5, 6]


def test_fewer_steps_are_fewer_matrices() -> None:
    assert [len(build(steps=steps).W) for steps in (1, 4)] == [1, 4]


def test_patches_move_on_their_own() -> None:
    x = torch.arange(1.0, 65.0).view(1, 1, 8, 8).repeat(4, 1, 1, 1)
    corner_N2 = torch.tensor([[0.0, 0.0], [0.99, 0.0], [0.0, 0.99], [0.5, 0.5]])
    out = moved(x, corner_N2, 3)
    for n, (top, left) in enumerate([(0, 0), (3, 0), (0, 3), (2, 2)]):
        expected = torch.zeros(8, 8)
        expected[1:6, 1:6] = x[n, 0, top : top + 5, left : left + 5]
        assert torch.equal(out[n, 0], expected)
    assert torch.equal(moved(x, corner_N2, 0), x)
    with pytest.raises(ValueError, match="8 pixels smaller"):
        moved(x, corner_N2, 8)


def test_one_channel_of_three_is_kept() -> None:
    u_N2 = torch.rand(3000, 2, generator=generator("drop"))
    left_NC = one_channel(torch.ones(3000, 3, 2, 2), u_N2, 0.4).amax((2, 3))
    assert set(left_NC.sum(1).tolist()) == {1.0, 3.0}
    dropped = left_NC[left_NC.sum(1) == 1]
    assert len(dropped) / 3000 == pytest.approx(0.4, abs=0.04)
    torch.testing.assert_close(dropped.mean(0), torch.full((3,), 1 / 3), atol=0.05, rtol=0)


def test_what_patches_draw_is_theirs_alone() -> None:
    method = build(margin=2, drop=0.5)
    x = torch.ones(64, 3, 8, 8)
    torch.manual_seed(0)
    first = method.augmented(x)
    torch.manual_seed(0)
    assert torch.equal(first, method.augmented(x))
    assert len(first.flatten(1).unique(dim=0)) > 3


@pytest.mark.parametrize(
    ("changes", "size", "says"),
    [
        ({"patch": 32}, 28, "An image of 28 pixels holds no patch of 32"),
        ({"steps": 5}, 28, "takes a grid of 7 rows or more, but an image of 28 pixels has 6"),
        ({"steps": 0}, 28, "Predicting 0 rows"),
        ({"stride": 8}, 16, "grid"),
        ({"negatives": "none"}, 28, '"batch" or "own"'),
    ],
)
def test_what_cannot_be_predicted_is_refused(changes: dict[str, Any], size: int, says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        build(size=size, **changes)


def test_a_net_that_cannot_see_patches_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="63 pixels a side, not 8"):
        build(net="alexnet")
