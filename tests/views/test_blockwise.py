"""Blocks of hidden patches: the same as the authors' code from the same numbers, and within what was asked whatever is drawn."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.rng import generator
from manyviews.views.blockwise import blocks


class Source:
    """Uniform numbers for a batch, and those of one image again, one after the other."""

    def __init__(self, images: int, seed: int) -> None:
        self.images, self.seed, self.source = images, seed, generator("blocks", seed)

    def __call__(self) -> Tensor:
        return torch.rand(self.images, 4, generator=self.source)

    def of(self, image: int) -> Iterator[list[float]]:
        again = Source(self.images, self.seed)
        while True:
            yield again()[image].double().tolist()


def plainly(
    numbers: Iterator[list[float]], h: int, w: int, budget: int, least: int, aspect: float
) -> list[list[bool]]:
    """The authors' masking generator, line by line, with the numbers that it would draw."""
    mask = [[False] * w for _ in range(h)]
    count = 0
    while count < budget:
        delta = 0
        for _ in range(10):
            u = next(numbers)
            area = least + (budget - count - least) * u[0]
            low, high = math.log(aspect), math.log(1 / aspect)
            ratio = math.exp(low + (high - low) * u[1])
            tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if wide < w and tall < h:
                top, left = math.floor(u[2] * (h - tall + 1)), math.floor(u[3] * (w - wide + 1))
                inside = [(i, j) for i in range(top, top + tall) for j in range(left, left + wide)]
                new = [(i, j) for i, j in inside if not mask[i][j]]
                if 0 < len(new) <= budget - count:
                    for i, j in new:
                        mask[i][j] = True
                    delta = len(new)
                    break
        if delta == 0:
            break
        count += delta
    return mask


@pytest.mark.parametrize(
    ("cells", "budget", "least", "aspect"),
    [((14, 14), 75, 16, 0.3), ((8, 8), 26, 5, 0.3), ((6, 10), 24, 4, 0.5), ((4, 4), 6, 6, 0.3)],
)
def test_it_hides_what_the_authors_code_hides(
    cells: tuple[int, int], budget: int, least: int, aspect: float
) -> None:
    source = Source(24, 0)
    found = blocks(source, cells, budget, least, aspect)
    assert found.shape == (24, *cells)
    for image, mask in enumerate(found):
        assert mask.tolist() == plainly(source.of(image), *cells, budget, least, aspect)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000), h=st.integers(2, 12), w=st.integers(2, 12), share=st.floats(0.1, 0.9),
    least=st.integers(1, 20), aspect=st.floats(0.1, 1.0),
)  # fmt: skip
def test_never_above_the_budget_and_the_same_again(
    seed: int, h: int, w: int, share: float, least: int, aspect: float
) -> None:
    budget = max(1, round(share * h * w))
    found = blocks(Source(5, seed), (h, w), budget, min(least, budget), aspect)
    assert found.dtype == torch.bool and (found.sum((1, 2)) <= budget).all()
    assert torch.equal(found, blocks(Source(5, seed), (h, w), budget, min(least, budget), aspect))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_an_image_does_not_depend_on_those_beside_it(seed: int) -> None:
    """So that a rank which draws for all, and keeps its own rows, hides what one process would."""
    source = Source(6, seed)
    alone = blocks(lambda: source()[2:4], (8, 8), 26, 5)
    assert torch.equal(alone, blocks(Source(6, seed), (8, 8), 26, 5)[2:4])


def test_a_single_block_has_the_size_and_the_shape_that_were_asked() -> None:
    """With room for one block only, what is hidden is a rectangle within the bounds, up to rounding of its sides."""
    found = blocks(Source(300, 1), (20, 20), 30, 30, 0.4)
    shapes = []
    for mask in found:
        rows, columns = mask.any(1).sum().item(), mask.any(0).sum().item()
        if mask.sum() == rows * columns:  # a second, smaller block may have found room beside the first
            shapes.append((rows, columns))
    assert len(shapes) > 50
    assert all(0.4 / 1.5 < a / b < 1.5 / 0.4 for a, b in shapes)
    flat = sum(a < b for a, b in shapes) / sum(a != b for a, b in shapes)
    assert 0.35 < flat < 0.65


def test_at_the_papers_setting_about_three_eighths_are_hidden() -> None:
    count = blocks(Source(200, 2), (14, 14), 75).sum((1, 2))
    assert count.max() == 75 and count.float().mean() > 70
