"""InstDisc: both losses are the paper's, Z stays what it was at first, and the bank follows."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.memory import UNKNOWN
from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.instdisc import RECIPES, Config, InstDisc
from manyviews.runs import net_factory

ITEMS, SIZE = 24, 16


def built(**settings: Any) -> InstDisc:
    torch.manual_seed(0)
    config = Config(**{"dim": 8, "noise": 12, "temperature": 0.2, **settings})
    return InstDisc(config, net_factory("cifar_resnet8", SIZE), Spec(items=ITEMS, size=SIZE))


def batch(*index: int) -> Batch:
    make = torch.Generator().manual_seed(1)
    return Batch([torch.randn(len(index), 3, SIZE, SIZE, generator=make)], torch.tensor(index))


def test_the_softmax_is_cross_entropy_over_the_bank() -> None:
    method, some = built(softmax=True), batch(3, 9, 17, 20)
    out = method.loss(some, 0.0)
    assert out.z is not None
    logits = out.z @ method.bank.rows_ND.T / 0.2
    torch.testing.assert_close(out.loss, F.cross_entropy(logits, some.index))


def test_nce_is_the_plain_formula_over_noise_from_the_bank() -> None:
    method, some = built(), batch(3, 9, 17, 20)
    torch.manual_seed(5)
    out = method.loss(some, 0.0)
    torch.manual_seed(5)
    noise = torch.randint(ITEMS, (4, 12))
    assert out.z is not None
    bank = method.bank.rows_ND
    data = (out.z * bank[some.index]).sum(1).div(0.2).exp()
    others = torch.einsum("bd,bmd->bm", out.z, bank[noise]).div(0.2).exp()
    z = ITEMS * others.mean()  # eq. 8
    h_data, h_noise = (p / z / (p / z + 12 / ITEMS) for p in (data, others))  # eq. 5
    torch.testing.assert_close(out.loss, -(h_data.log() + (1 - h_noise).log().sum(1)).mean())
    torch.testing.assert_close(method.log_z.value, z.detach().log())


def test_z_stays_and_a_resumed_run_has_it() -> None:
    method = built()
    method.loss(batch(0, 1, 2, 3), 0.0)
    first = method.log_z.value.clone()
    with torch.no_grad():
        method.bank.rows_ND.mul_(5.0)  # now it would be another
    method.loss(batch(4, 5, 6, 7), 0.1)
    resumed = built()
    resumed.load_state_dict(method.state_dict())
    resumed.loss(batch(4, 5, 6, 7), 0.1)
    assert first < UNKNOWN / 2 and first == method.log_z.value == resumed.log_z.value


@pytest.mark.parametrize("softmax", [False, True])
def test_the_proximal_term_is_the_squared_way_from_the_bank(softmax: bool) -> None:
    losses = []
    for proximal in (0.0, 3.0):
        method = built(softmax=softmax, proximal=proximal)
        method.bank.seen_N[[1, 2, 3]] = True  # what was drawn for item 4 is no embedding to stay near
        torch.manual_seed(2)
        losses.append(method.loss(batch(1, 2, 3, 4), 0.0))
    plain, held = losses
    way = (plain.z - built().bank.rows_ND[1:5]).square().sum(1)[:3].sum() / 4
    torch.testing.assert_close(held.loss - plain.loss, 3.0 * way, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(held.log["moved"], way)


@pytest.mark.parametrize("momentum", [0.5, 0.8])
def test_only_the_batch_is_stored_between_old_and_new(momentum: float) -> None:
    method, some = built(bank_momentum=momentum), batch(11, 2)
    before = method.bank.rows_ND.clone()
    out = method.loss(some, 0.0)
    assert torch.equal(method.bank.rows_ND, before)  # a loss changes nothing that it reads
    method.after_step(out, 0.0)
    assert out.z is not None
    between = F.normalize(momentum * before[some.index] + (1 - momentum) * out.z.detach(), dim=1)
    torch.testing.assert_close(method.bank.rows_ND[some.index], between)
    still = [i for i in range(ITEMS) if i not in (11, 2)]
    assert torch.equal(method.bank.rows_ND[still], before[still])


def test_nce_without_noise_is_refused() -> None:
    with pytest.raises(ManyviewsError, match=r"--noise is 0; give at least 1\."):
        built(noise=0)


def test_images_of_cifars_recipe_are_not_mirrored() -> None:
    for name, flip in (("cifar10", 0.0), ("paper", 0.5)):
        config, _ = RECIPES[name]
        (view,) = InstDisc(config, net_factory("cifar_resnet8", 16), Spec(items=64, size=16)).views().views
        assert view.flip == flip
