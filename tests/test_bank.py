"""A bank holds one row for every item: which rows move, how far, and what is drawn from it."""

import math

import pytest
import torch
from torch.nn import functional as F

from manyviews.memory import Bank, Once


def test_a_bank_starts_uniform_and_about_unit_and_the_same_everywhere() -> None:
    bank = Bank(500, 128, "a")
    assert bank.rows_ND.shape == (500, 128) and len(bank) == 500
    assert bank.rows_ND.abs().max() <= math.sqrt(3 / 128)
    assert bank.rows_ND.norm(dim=1).mean() == pytest.approx(1.0, abs=0.02)
    torch.manual_seed(1)
    assert torch.equal(bank.rows_ND, Bank(500, 128, "a").rows_ND)
    assert not torch.equal(bank.rows_ND, Bank(500, 128, "b").rows_ND)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_rows_of_the_batch_move_to_unit_length_and_no_others(momentum: float) -> None:
    bank = Bank(10, 4)
    before, index = bank.rows_ND.clone(), torch.tensor([7, 2, 5])
    v = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    bank.update(index, v, momentum)
    for row, item in zip(v, index, strict=True):
        moved = momentum * before[item] + (1 - momentum) * row
        torch.testing.assert_close(bank.rows_ND[item], moved / moved.norm())
    still = [i for i in range(10) if i not in index]
    assert torch.equal(bank.rows_ND[still], before[still])
    assert not bank.rows_ND.requires_grad
    assert bank.seen_N.nonzero().flatten().tolist() == [2, 5, 7]


def test_a_bank_takes_half_precision_and_carries_no_gradient() -> None:
    bank, v = Bank(4, 3), torch.ones(1, 3, dtype=torch.bfloat16, requires_grad=True)
    bank.update(torch.tensor([1]), v, 0.0)
    assert bank.rows_ND.dtype == torch.float32 and not bank.rows_ND.requires_grad
    torch.testing.assert_close(bank.rows_ND[1], torch.full((3,), 3**-0.5))


def test_its_rows_are_state() -> None:
    first, second = Bank(6, 3, "a"), Bank(6, 3, "b")
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.rows_ND, second.rows_ND)


def test_noise_is_uniform_with_replacement_and_follows_the_seed() -> None:
    bank = Bank(20, 3)
    torch.manual_seed(0)
    drawn = bank.noise(50, 400)
    torch.manual_seed(0)
    assert torch.equal(drawn, bank.noise(50, 400)) and not torch.equal(drawn, bank.noise(50, 400))
    assert drawn.shape == (50, 400)  # more than there are items: with replacement
    counts = torch.bincount(drawn.flatten(), minlength=20).double()
    expected = drawn.numel() / 20
    assert (
        (counts - expected).square() / expected
    ).sum() < 43.8  # chi squared, 19 degrees of freedom, 1 in 1,000


@pytest.mark.parametrize(("items", "dim"), [(0, 8), (8, 0), (-1, 8)])
def test_an_empty_bank_is_refused(items: int, dim: int) -> None:
    with pytest.raises(ValueError, match=r"A bank needs at least one item of one dimension"):
        Bank(items, dim)


def test_a_number_is_estimated_once_and_a_checkpoint_keeps_it() -> None:
    once = Once()
    assert float(once(lambda: torch.tensor(3.5))) == 3.5
    assert float(once(lambda: torch.tensor(9.0))) == 3.5
    resumed = Once()
    resumed.load_state_dict(once.state_dict())

    def again() -> torch.Tensor:
        raise AssertionError("a resumed run estimates nothing")

    assert float(resumed(again)) == 3.5
