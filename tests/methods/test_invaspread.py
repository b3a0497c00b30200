"""InvaSpread: the loss is the paper's sum, stays finite where features agree, and its two ablations are what they say."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.invaspread import Config, InvaSpread, spreading
from manyviews.rng import generator
from manyviews.runs import net_factory

SIZE = 16


def built(**settings: Any) -> InvaSpread:
    torch.manual_seed(0)
    config = Config(**{"dim": 8, **settings})
    return InvaSpread(config, net_factory("cifar_resnet8", SIZE), Spec(items=48, size=SIZE))


def plain(f: Tensor, f_hat: Tensor, tau: float) -> tuple[float, float]:
    """The two sums of J, divided by the number of images, one probability at a time."""
    m = len(f)

    def p(i: int, query: Tensor) -> float:
        return math.exp(f[i] @ query / tau) / sum(math.exp(f[k] @ query / tau) for k in range(m))

    invariant = -sum(math.log(p(i, f_hat[i])) for i in range(m)) / m
    spread = -sum(math.log(1 - p(i, f[j])) for i in range(m) for j in range(m) if j != i) / m
    return invariant, spread


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_the_loss_is_the_papers_sum(tau: float) -> None:
    method = built(temperature=tau)
    views = list(torch.randn(2, 6, 3, SIZE, SIZE, generator=generator("views")))
    out = method.loss(Batch(views, torch.arange(6)), 0.0)
    with torch.no_grad():
        f, f_hat = F.normalize(method.f(torch.cat(views)), dim=1).double().chunk(2)
    invariant, spread = plain(f, f_hat, tau)
    assert float(out.loss.detach()) == pytest.approx(invariant + spread, rel=1e-5)
    assert float(out.log["spreading"].detach()) == pytest.approx(spread, rel=1e-5)


def test_both_sums_pull_by_both_of_their_factors() -> None:
    method, views = built(), list(torch.randn(2, 6, 3, SIZE, SIZE, generator=generator("views")))
    f, f_hat = F.normalize(method.f(torch.cat(views)), dim=1).chunk(2)
    p = (f @ f.T / 0.1).softmax(1).masked_fill(torch.eye(6, dtype=torch.bool), 0.0)
    written_out = F.cross_entropy(f_hat @ f.T / 0.1, torch.arange(6)) - (1 - p).log().sum(1).mean()
    loss = method.loss(Batch(views, torch.arange(6)), 0.0).loss
    ours, theirs = (torch.autograd.grad(x, method.f[1].weight)[0] for x in (loss, written_out))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tau", [0.01, 0.1])
def test_spreading_is_finite_where_all_images_agree(tau: float) -> None:
    f = F.normalize(torch.ones(32, 4), dim=1).requires_grad_()
    loss = spreading(f, tau)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(-31 * math.log(1 - 1 / 32), rel=1e-4)  # every P is 1 / 32
    assert f.grad is not None and torch.isfinite(f.grad).all()


def test_spreading_drives_images_apart_by_both_of_their_gradients() -> None:
    f = F.normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2]]), dim=1).requires_grad_()
    spreading(f, 0.1).backward()
    assert f.grad is not None
    moved = F.normalize(f.detach() - 0.01 * f.grad, dim=1)
    assert moved[0] @ moved[1] < f.detach()[0] @ f.detach()[1]
    exact = F.normalize(torch.randn(5, 4, dtype=torch.float64, generator=generator("f")), dim=1)
    assert torch.autograd.gradcheck(lambda x: spreading(x, 0.3), exact.requires_grad_())


def test_without_spreading_the_first_sum_is_left() -> None:
    views = list(torch.randn(2, 6, 3, SIZE, SIZE, generator=generator("views")))
    both, one = (built(spreading=s).loss(Batch(views, torch.arange(6)), 0.0) for s in (True, False))
    torch.testing.assert_close(both.loss - both.log["spreading"], one.loss)


def test_without_augmentation_the_twin_is_the_image() -> None:
    image = torch.randint(0, 256, (4, 3, 24, 24), generator=generator("image"), dtype=torch.uint8)
    for augmentation in (True, False):
        views = built(augmentation=augmentation).views()
        a, b = views(image, views.draw(4, "seed"))
        assert torch.equal(a, b) is not augmentation
