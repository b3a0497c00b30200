"""The covariance of a set's colours, against NumPy's over every pixel, and samples of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from manyviews.data import Skipped, Unreadable, colour_sample, in_memory, rgb_covariance
from manyviews.errors import ManyviewsError
from manyviews.rng import generator


def photos(items: int = 40):
    """Images whose colours go together."""
    noise = torch.rand(items, 3, 9, 7, generator=generator("colours"))
    mixed = torch.einsum(
        "ij,njhw->nihw", torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.5, 0.1], [0.2, 0.3, 0.5]]), noise
    )
    return in_memory("photos", (mixed * 255).to(torch.uint8), None, None)


def test_the_covariance_is_numpys_over_all_pixels() -> None:
    data = photos()
    assert data.values is not None
    flat = data.values.permute(1, 0, 2, 3).reshape(3, -1).double().numpy() / 255
    np.testing.assert_allclose(np.array(rgb_covariance(data)), np.cov(flat, bias=True), atol=1e-12)


def test_a_sample_is_chosen_by_the_seed_alone() -> None:
    data = photos()
    some = rgb_covariance(data, sample=10)
    torch.rand(3)
    assert some == rgb_covariance(data, sample=10) != rgb_covariance(data, sample=10, seed=1)


def test_images_on_disk_count_alike_and_what_cannot_be_read_is_passed_over() -> None:
    data = photos(12)
    pixels = data.values
    assert pixels is not None

    def read(item: int) -> torch.Tensor:
        if item == 5:
            raise Unreadable("5 is broken")
        return pixels[item]

    streamed = replace(data, values=None, read=read, skipped=Skipped())
    rest = data.subset([item for item in range(12) if item != 5])
    np.testing.assert_allclose(rgb_covariance(streamed), rgb_covariance(rest), atol=1e-12)
    with pytest.raises(ManyviewsError, match="no image that can be read"):
        rgb_covariance(streamed.subset([5]))


def test_a_sample_has_as_many_colours_of_every_image() -> None:
    shades = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 9, 7)
    found = colour_sample(in_memory("shades", shades.clone(), None, None), pixels=80)
    assert found.shape == (80, 3) and found.dtype == torch.uint8
    assert found[:, 0].long().bincount().tolist() == [10] * 8


def test_sampled_colours_are_pixels_drawn_by_the_seed_without_repeats() -> None:
    data = photos(3)
    assert data.values is not None
    every = data.values.movedim(1, 3).reshape(-1, 3)
    found = colour_sample(data)
    assert sorted(found.tolist()) == sorted(every.tolist())  # there are fewer than asked for: each once
    some = colour_sample(data, pixels=30)
    torch.rand(3)
    assert torch.equal(some, colour_sample(data, pixels=30))
    assert not torch.equal(some, colour_sample(data, pixels=30, seed=1))


def test_colours_of_what_cannot_be_read() -> None:
    def read(item: int) -> torch.Tensor:
        raise Unreadable(f"{item} is broken")

    streamed = replace(photos(3), values=None, read=read, skipped=Skipped())
    with pytest.raises(ManyviewsError, match="no image that can be read"):
        colour_sample(streamed)
