"""Positions against their closed forms, plain loops and timm's interpolation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.positions import (
    Learned,
    Learned2D,
    OnGrid,
    Relative,
    interpolate,
    sinusoidal,
    sinusoidal_2d,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- sinusoids -------------------------------------------------------------------------------------


@given(st.integers(0, 5000), st.integers(0, 31))
def test_sinusoids_are_those_of_section_3_5(place: int, i: int):
    width = 64
    row = sinusoidal(place + 1, width)[place]
    angle = place / 10_000 ** (2 * i / width)
    assert row[2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
    assert row[2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 10))
def test_the_product_of_two_places_depends_on_their_offset_alone(a: int, b: int, shift: int):
    rows = sinusoidal(64, 32)
    assert float(rows[a] @ rows[b]) == pytest.approx(float(rows[a + shift] @ rows[b + shift]), abs=1e-4)
    assert float(rows[a] @ rows[a]) == pytest.approx(16, abs=1e-5)  # 32 / 2 pairs of sine and cosine


def test_two_dimensions_are_laid_out_as_moco_v3_does():
    # Its grid counts x before y, and joins sin x, cos x, sin y, cos y, each for a quarter of the width.
    h, w, width = 3, 5, 16
    quarter = width // 4
    wanted = torch.zeros(h * w, width, dtype=torch.float64)
    for y in range(h):
        for x in range(w):
            for k in range(quarter):
                omega = 1 / 10_000 ** (k / quarter)
                fourths = (math.sin(x * omega), math.cos(x * omega), math.sin(y * omega), math.cos(y * omega))
                for part, value in enumerate(fourths):
                    wanted[y * w + x, part * quarter + k] = value
    torch.testing.assert_close(sinusoidal_2d(h, w, width), wanted.float(), rtol=0, atol=1e-6)


def test_widths_that_cannot_be_halved_are_refused():
    with pytest.raises(ManyviewsError, match="2 divides, not 7"):
        sinusoidal(4, 7)
    with pytest.raises(ManyviewsError, match="4 divides, not 6"):
        sinusoidal_2d(2, 2, 6)
    with pytest.raises(ManyviewsError, match="2 divides, not 5"):
        Learned2D(2, 2, 5)


# --- learned ---------------------------------------------------------------------------------------


def test_learned_places_are_rows():
    positions = Learned(10, 4)
    assert torch.equal(positions(3, start=5), positions.weight[5:8])
    assert torch.equal(positions(10), positions.weight)
    with pytest.raises(ManyviewsError, match="11 tokens is longer than the 10 positions"):
        positions(4, start=7)


def test_learned_in_two_dimensions_joins_column_and_row():
    positions = Learned2D(2, 3, 8)
    table = positions().unflatten(0, (2, 3))
    for y in range(2):
        for x in range(3):
            assert torch.equal(table[y, x], torch.cat([positions.x[x], positions.y[y]]))


@pytest.mark.parametrize("answering", [4, 6])
def test_relative_logits_are_a_double_loop(answering: int):
    B, H, T, d, length = 2, 3, 4, 5, 6
    relative, q = Relative(length, d), drawn(B, H, T, d)
    wanted = torch.zeros(B, H, T, answering)
    for t in range(T):  # the last T of the tokens ask
        for s in range(answering):
            offset = answering - T + t - s
            wanted[:, :, t, s] = q[:, :, t] @ relative.weight[offset + length - 1]
    torch.testing.assert_close(relative(q, answering), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ManyviewsError, match="7 tokens is longer than the 6 positions"):
        relative(q, 7)


# --- other grids -----------------------------------------------------------------------------------

GRIDS = [((4, 4), (7, 7)), ((7, 7), (3, 3)), ((3, 5), (6, 4)), ((14, 14), (24, 24))]


@pytest.mark.against("timm", "positions")
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_interpolation_is_timms(old: tuple[int, int], new: tuple[int, int]):
    from timm.layers import resample_abs_pos_embed

    position = drawn(1 + old[0] * old[1], 8)
    theirs = resample_abs_pos_embed(position[None], list(new), list(old), num_prefix_tokens=1)[0]
    torch.testing.assert_close(interpolate(position[1:], old, new), theirs[1:], rtol=1e-5, atol=1e-6)
    on_grid = OnGrid("1d", old, 8, first=1)
    on_grid.weight.data = position
    torch.testing.assert_close(on_grid(new), theirs, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 8), st.integers(1, 8))
def test_interpolation_keeps_what_is_the_same_everywhere(h: int, w: int, new_h: int, new_w: int):
    row = drawn(1, 4).expand(h * w, 4)
    made = interpolate(row, (h, w), (new_h, new_w))
    torch.testing.assert_close(made, row[:1].expand(new_h * new_w, 4), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_rows_and_columns_are_interpolated_by_themselves(h: int, w: int, new_h: int, new_w: int):
    # A grid whose columns are all alike, one cell wide or many, keeps columns that are all alike; rows likewise.
    column, row = drawn(h, 2), drawn(w, 2)
    thin = interpolate(column, (h, 1), (new_h, 1))
    wide = interpolate(column.repeat_interleave(3, dim=0), (h, 3), (new_h, new_w))
    torch.testing.assert_close(wide, thin.repeat_interleave(new_w, dim=0), rtol=1e-5, atol=1e-5)
    flat = interpolate(row, (1, w), (1, new_w))
    high = interpolate(row.repeat(3, 1), (3, w), (new_h, new_w))
    torch.testing.assert_close(high, flat.repeat(new_h, 1), rtol=1e-5, atol=1e-5)


def test_the_same_grid_is_left_alone_and_half_precision_stays():
    position = drawn(12, 4).bfloat16()
    assert interpolate(position, (3, 4), (3, 4)) is position
    assert interpolate(position, (3, 4), (4, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["1d", "2d", "sincos2d"])
@pytest.mark.parametrize("first", [0, 1])
def test_resizing_for_good_is_interpolating_every_time(kind, first: int):
    positions = OnGrid(kind, (3, 4), 8, first)
    assert positions((3, 4)).shape == (first + 12, 8)
    made = positions((5, 6))
    trained = [name for name, _ in positions.named_parameters()]
    positions.resize((5, 6))
    torch.testing.assert_close(positions((5, 6)), made, rtol=1e-5, atol=1e-6)
    assert [name for name, _ in positions.named_parameters()] == trained
    assert bool(trained) == (kind != "sincos2d")


def test_only_learned_places_move_the_tokens_before_the_patches():
    assert not OnGrid("2d", (2, 2), 8, first=1)((2, 2))[0].any()
    fixed = OnGrid("sincos2d", (2, 2), 8, first=1)
    assert not fixed((2, 2))[0].any()
    assert torch.equal(fixed((2, 2))[1:], sinusoidal_2d(2, 2, 8))
    learned = OnGrid("1d", (2, 2), 8, first=1)
    assert torch.equal(learned((3, 3))[0], learned.weight[0])
