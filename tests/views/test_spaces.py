"""Colour spaces against formulas written plainly, one pixel at a time, and against what is known of single colours."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from manyviews.rng import generator
from manyviews.views import normalise, spaces

SHARE = st.floats(0, 1)


def one(r: float, g: float, b: float) -> Tensor:
    return torch.tensor([r, g, b], dtype=torch.float64)[None, :, None, None]


def cube(steps: int = 17) -> Tensor:
    """Every colour on a lattice over RGB, corners and all: [1, 3, steps^2, steps]."""
    axis = torch.linspace(0, 1, steps, dtype=torch.float64)
    colours = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    return colours.reshape(1, 3, steps**2, steps)


def lab_of(r: float, g: float, b: float) -> tuple[float, float, float]:
    """CIE 1976 by way of sRGB and XYZ, as its definition goes."""
    r, g, b = (((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in (r, g, b))
    x = (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ydbdr_of(r: float, g: float, b: float) -> tuple[float, float, float]:
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return y, 1.505 * (b - y), -1.902 * (r - y)


def ycbcr_of(r: float, g: float, b: float) -> tuple[float, float, float]:
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return 16 + 219 * y, 128 + 112 / 0.886 * (b - y), 128 + 112 / 0.701 * (r - y)


@pytest.mark.parametrize(
    ("space", "formula", "tolerance"),
    [("lab", lab_of, 1e-9), ("ydbdr", ydbdr_of, 2e-3), ("ycbcr", ycbcr_of, 2e-3)],
)
@given(SHARE, SHARE, SHARE)
def test_a_space_is_its_formula(space, formula, tolerance, r, g, b):
    found = spaces.convert(one(r, g, b), space).flatten().tolist()
    assert found == pytest.approx(formula(r, g, b), abs=tolerance)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),  # of red, green and blue as colour tables print them
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    assert spaces.convert(one(*rgb), "lab").flatten().tolist() == pytest.approx(lab, abs=0.02)


@pytest.mark.parametrize("space", spaces.RANGES)
def test_ranges_are_reached_and_never_left(space):
    found = spaces.convert(cube(), space)
    low, high = torch.tensor(spaces.RANGES[space], dtype=torch.float64).T
    torch.testing.assert_close(found.amin((0, 2, 3)), low, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.amax((0, 2, 3)), high, atol=1e-3, rtol=0)
    balanced = spaces.balanced(cube(), space)
    torch.testing.assert_close(
        balanced.amin((0, 2, 3)), -torch.ones(3, dtype=torch.float64), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        balanced.amax((0, 2, 3)), torch.ones(3, dtype=torch.float64), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("space", spaces.LIGHT_AND_COLOUR)
def test_grey_has_light_and_no_colour(space):
    grey = torch.linspace(0, 1, 11)[None, None, None].expand(1, 3, 1, 11)
    light, *colour = spaces.convert(grey, space).unbind(1)
    assert (light.diff() > 0).all()
    for channel in colour:
        torch.testing.assert_close(
            channel, torch.full_like(channel, 128.0 if space == "ycbcr" else 0.0), atol=0.02, rtol=0
        )


def test_rows_do_not_meet_and_a_view_comes_back():
    x = torch.rand(3, 3, 5, 4, generator=generator("spaces"))
    whole = spaces.convert(x, "lab")
    assert whole.shape == x.shape and whole.dtype == torch.float32
    # Rows at other places in memory may meet other vector instructions.
    torch.testing.assert_close(whole[1:2], spaces.convert(x[1:2], "lab"), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(spaces.unit_rgb(normalise(x)), x)
    assert spaces.unit_rgb(torch.tensor([-9.0, 0.0, 9.0])[:, None, None]).flatten().tolist() == pytest.approx(
        [0, 0.456, 1]
    )


def test_half_precision_around_it_changes_nothing():
    x = torch.rand(2, 3, 4, 4, generator=generator("spaces"))
    with torch.autocast("cpu", torch.bfloat16):
        inside = spaces.convert(x, "lab")
    assert torch.equal(inside, spaces.convert(x, "lab"))


def test_what_is_no_colour_is_refused():
    with pytest.raises(ValueError, match="no colour space 'hsv'; there are lab, ydbdr, ycbcr, rgb"):
        spaces.convert(torch.rand(1, 3, 2, 2), "hsv")
    with pytest.raises(ValueError, match="no colour space 'hsv'"):
        spaces.balanced(torch.rand(1, 3, 2, 2), "hsv")
    for wrong in (torch.rand(1, 1, 2, 2), torch.rand(3, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"needs floating point \[B, 3, H, W\]"):
            spaces.convert(wrong, "lab")
