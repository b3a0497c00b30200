"""How supervised nets are shown their images: scale jitter, padded crops and AlexNet's colours, against plain formulas."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from scipy.stats import kstest, norm
from torch import Tensor

from manyviews.data.loader import enough
from manyviews.views import MEAN, STD, View, Views
from manyviews.views.colour import axes, pca_shifts
from manyviews.views.geometry import crop_boxes
from manyviews.views.view import ALPHAS, FLIP, Draws

VGG = View(size=224, crop=None, scale=(256 / 224, 512 / 224))
CIFAR = View(size=32, crop=None, scale=(1, 1), pad=4)
RGB = ((0.07, 0.06, 0.05), (0.06, 0.08, 0.06), (0.05, 0.06, 0.09))
SURE_OF = 1e-4  # the chance that a test of a distribution fails, over all seeds; the seeds are fixed


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def normalised(image: Tensor) -> Tensor:
    return TF.normalize(image.float() / 255, list(MEAN), list(STD))


# --- scale jitter ---------------------------------------------------------------------------------------------------


def test_the_short_side_is_uniform_between_256_and_512_and_so_is_the_place() -> None:
    short, long = 100_000, 130_000  # so many that rounding to whole pixels does not show
    boxes = crop_boxes(VGG, Views(VGG).draw(4000, "scale").uniforms[0], short, long).double()
    assert torch.equal(boxes[:, 2], boxes[:, 3])
    S = 224 * short / boxes[:, 2]  # the short side of the image when the crop has 224 pixels
    assert kstest(S, "uniform", args=(256, 512 - 256))[1] > SURE_OF
    assert kstest(boxes[:, 0] / (short - boxes[:, 2] + 1), "uniform")[1] > SURE_OF
    assert kstest(boxes[:, 1] / (long - boxes[:, 3] + 1), "uniform")[1] > SURE_OF


@pytest.mark.parametrize(("height", "width"), [(64, 90), (200, 150)])
def test_a_scaled_crop_is_torchvisions_resized_crop_of_the_same_square(height: int, width: int) -> None:
    view = View(size=40, crop=None, scale=(1.2, 2.5))
    views, image = Views(view), pixels(12, 3, height, width)
    draws = views.draw(12, "squares")
    boxes = crop_boxes(view, draws.uniforms[0], height, width)
    assert (boxes[:, 2] >= min(height, width) / 2.5 - 1).all()
    for row, ours in enumerate(views(image, draws)[0]):
        crop = TF.resized_crop(image[row], *boxes[row].tolist(), size=[40, 40], antialias=True)
        crop = crop.flip(-1) if draws.uniforms[0][row, FLIP] < 0.5 else crop
        torch.testing.assert_close(ours, normalised(crop), atol=0.5 / 255 / min(STD) + 1e-5, rtol=0)


def test_one_resampling_shows_what_resizing_and_then_cropping_shows() -> None:
    view = View(size=32, crop=None, scale=(2, 2), flip=0)
    views, image, compared = Views(view), pixels(1, 3, 128, 192) // 8 + 100, 0
    for seed in range(20):
        draws = views.draw(1, "twice", seed)
        top, left, side, _ = crop_boxes(view, draws.uniforms[0], 128, 192)[0].tolist()
        assert side == 64
        if top % 2 or left % 2:  # resized by half, the crop would begin between two pixels
            continue
        rescaled = TF.resize(image.float() / 255, [64, 96], antialias=True)  # S = 2 x 32
        theirs = rescaled[0, :, top // 2 : top // 2 + 32, left // 2 : left // 2 + 32]
        (ours,) = views(image, draws)
        # A resize knows what lies beyond the crop's border, a crop does not.
        ours, theirs = ours[0, :, 1:-1, 1:-1], normalised(255 * theirs)[:, 1:-1, 1:-1]
        torch.testing.assert_close(
            ours, theirs, atol=1 / 255 / min(STD) + 1e-5, rtol=0
        )  # a grey level of 255
        compared += 1
    assert compared >= 3


def test_workers_decode_as_much_as_the_largest_scale_needs() -> None:
    assert enough(Views(VGG)) == 512
    assert enough(Views(CIFAR)) == 32


# --- padded crops ---------------------------------------------------------------------------------------------------


def test_padded_crops_are_those_of_the_normalised_image_in_a_frame_of_zeros() -> None:
    views, image = Views(CIFAR), pixels(64, 3, 32, 32)
    draws = views.draw(64, "pad")
    framed = torch.nn.functional.pad(normalised(image), (4, 4, 4, 4))
    places = crop_boxes(CIFAR, draws.uniforms[0], 32, 32)
    for row, ours in enumerate(views(image, draws)[0]):
        top, left, side, _ = places[row].tolist()
        assert side == 32
        crop = framed[row, :, top : top + 32, left : left + 32]
        crop = crop.flip(-1) if draws.uniforms[0][row, FLIP] < 0.5 else crop
        torch.testing.assert_close(ours, crop, atol=0.5 / 255 / min(STD) + 1e-4, rtol=0)
    many = crop_boxes(CIFAR, views.draw(5000, "places").uniforms[0], 32, 32)
    for corner in (many[:, 0], many[:, 1]):
        assert torch.equal(corner.unique(), torch.arange(9))  # 40 - 32 + 1 places, all of them


def test_padding_can_be_a_mirror() -> None:
    mirrored = dataclasses.replace(CIFAR, mirror=True)
    views, image = Views(mirrored, CIFAR), pixels(64, 3, 32, 32)
    draws = views.draw(64, "mirror")
    framed = torch.nn.functional.pad(normalised(image), (4, 4, 4, 4), mode="reflect")
    places = crop_boxes(mirrored, draws.uniforms[0], 32, 32)
    for row, ours in enumerate(views(image, draws)[0]):
        top, left, *_ = places[row].tolist()
        crop = framed[row, :, top : top + 32, left : left + 32]
        crop = crop.flip(-1) if draws.uniforms[0][row, FLIP] < 0.5 else crop
        torch.testing.assert_close(ours, crop, atol=0.5 / 255 / min(STD) + 1e-4, rtol=0)
    alone = Views(CIFAR)(image, Draws(draws.uniforms[1:], None))[0]
    assert torch.equal(views(image, draws)[1], alone)  # beside it, a frame stays a frame


def test_padding_is_in_pixels_of_the_view() -> None:
    views, image = Views(View(size=32, crop=None, scale=(1, 1), pad=4)), pixels(200, 3, 64, 64)
    boxes = crop_boxes(views.views[0], views.draw(200, "large").uniforms[0], 64, 64)
    assert (boxes[:, 2] == 64).all() and boxes[:, 0].min() >= 0 and 12 < boxes[:, 0].max() <= 16
    assert views(image, views.draw(200, "large"))[0].shape == (200, 3, 32, 32)


# --- colours --------------------------------------------------------------------------------------------------------


def test_the_shift_is_the_papers_formula_in_numpy() -> None:
    view = View(size=8, pca=0.1, rgb=RGB)
    uniforms = Views(view).draw(500, "alphas").uniforms[0]
    values, p = np.linalg.eigh(np.array(RGB))
    alphas = (
        0.1 * norm.ppf(uniforms[:, ALPHAS].double().numpy() + 2**-25)[:, ::-1]
    )  # eigh has the longest last
    ours = pca_shifts(view, uniforms).double().numpy()
    for axis in range(3):  # an eigenvector's sign is arbitrary, its length along it is not
        np.testing.assert_allclose(
            np.abs(ours @ p[:, axis]), np.abs(alphas[:, axis] * values[axis]), atol=1e-8, rtol=1e-4
        )


def test_shifts_vary_as_the_paper_says_and_once_for_each_image() -> None:
    view = View(size=6, crop=None, flip=0, pca=0.1, rgb=RGB)
    views = Views(view)
    draws = views.draw(20_000, "shifts")
    shifts = pca_shifts(view, draws.uniforms[0]).double().numpy()
    values, p = np.linalg.eigh(np.array(RGB))
    expected = p @ np.diag((0.1 * values) ** 2) @ p.T  # eigenvalues, not their roots
    np.testing.assert_allclose(np.cov(shifts.T), expected, atol=0.03 * expected.max())
    image = pixels(5, 3, 6, 6)
    bare = Views(View(size=6, crop=None, flip=0))
    (plain,) = bare(image, draws.rows(0, 5))
    difference = views(image, draws.rows(0, 5))[0] - plain
    same = torch.tensor(shifts[:5]).float()[:, :, None, None] / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(difference, same.expand_as(difference), atol=1e-5, rtol=0)


def test_axes_are_the_eigenvectors_with_a_settled_sign() -> None:
    found = axes(RGB)
    lengths = found.norm(dim=0)
    assert (lengths.diff() < 0).all()
    covariance = torch.tensor(RGB, dtype=torch.float64)
    torch.testing.assert_close(covariance @ found, found * lengths, atol=1e-12, rtol=0)
    assert (found.gather(0, found.abs().argmax(0, keepdim=True)) > 0).all()


# --- draws, workers, words, errors ----------------------------------------------------------------------------------


def test_what_was_drawn_before_the_colours_came_is_drawn_as_it_was() -> None:
    from manyviews.rng import generator

    draws = Views(CIFAR, VGG).draw(7, 3, "views", 11)
    stream = generator(3, "views", 11)
    for uniforms in draws.uniforms:
        assert torch.equal(uniforms[:, :36], torch.rand(7, 36, generator=stream))


@pytest.mark.parametrize("side", [32, 120])
def test_workers_and_ranks_see_the_same(side: int) -> None:
    views = Views(
        View(size=32, crop=None, scale=(1, 2), pad=4, pca=0.1, rgb=RGB),
        View(size=32, crop=None, scale=(1, 3)),
    )
    image = pixels(16, 3, side, side)
    draws = views.draw(16, "workers")
    whole = views(image, draws)
    crops = [views.crop(one, draws, row) for row, one in enumerate(image)]
    for ours, all_rows in zip(
        views.finish([torch.stack(column) for column in zip(*crops, strict=True)], draws), whole, strict=True
    ):
        # A worker resizes in bytes, rounding rows and then columns: a level at most, half of one on average.
        torch.testing.assert_close(ours, all_rows, atol=1 / 255 / min(STD) + 1e-5, rtol=0)
        assert (ours - all_rows).abs().mean() < 0.5 / 255 / min(STD)
    for ours, all_rows in zip(views(image[5:9], draws.rows(5, 9)), whole, strict=True):
        torch.testing.assert_close(ours, all_rows[5:9], atol=2e-6, rtol=0)


def test_recipes_are_told_in_words() -> None:
    assert VGG.describe() == (
        "the short side scaled to 256 to 512 pixels, then a random square of 224x224; flipped left to right (50%)"
    )
    assert View(size=32, crop=None, scale=(1, 1), pad=4, flip=0, pca=0.1, rgb=RGB).describe() == (
        "the short side scaled to 32 pixels, padded by 4 of them, then a random square of 32x32; "
        "colours shifted along their principal axes (deviation 0.1)"
    )


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"scale": (1, 2)}, "either a crop"),
        ({"crop": None, "scale": (0.5, 2)}, "scale"),
        ({"crop": None, "scale": (2, 1)}, "scale"),
        ({"crop": None, "pad": 4}, "with a scale"),
        ({"crop": None, "scale": (1, 1), "pad": -1}, "pad"),
        ({"pca": -0.1, "rgb": RGB}, "pca"),
        ({"pca": 0.1}, "covariance"),
        ({"pca": 0.1, "rgb": ((1.0, 0.0), (0.0, 1.0))}, "covariance"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        View(**{"size": 32, **setting})
