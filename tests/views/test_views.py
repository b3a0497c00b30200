"""Views against torchvision v2: the same distributions, the same arithmetic, and draws that any process repeats."""

import math
from itertools import permutations

import pytest
import torch
import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest
from torch import Tensor

from manyviews.views import MEAN, STD, Draws, View, Views, large_and_small, picture, plain
from manyviews.views.blur import blur_
from manyviews.views.colour import (
    ORDERS,
    brightness_,
    contrast_,
    grey,
    hue_,
    jitter_by_orders,
    jitter_by_rounds,
    jitter_factors,
    jitter_orders,
    saturation_,
    solarise,
)
from manyviews.views.geometry import crop_boxes, crop_by_matrices
from manyviews.views.pipeline import Look

SIMCLR = View(size=32, jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5)
EVERYTHING = View(size=32, jitter=(0.4, 0.4, 0.2, 0.1), grey=0.3, blur=0.6, solarise=0.4)
SURE_OF = (
    1e-4  # a test of a distribution fails by chance about this often over all seeds; the seeds are fixed
)


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- distributions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (120, 60), (40, 300)])
def test_crops_are_distributed_as_torchvisions(height: int, width: int) -> None:
    number = 3000
    uniforms = Views(SIMCLR).draw(number, "crops", height).uniforms[0]
    ours = crop_boxes(SIMCLR, uniforms, height, width).double()
    torch.manual_seed(0)
    transform, image = T.RandomResizedCrop(32), torch.empty(3, height, width)
    params = [transform.make_params([image]) for _ in range(number)]
    theirs = torch.tensor([[p[k] for k in ("top", "left", "height", "width")] for p in params]).double()
    for quantity in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0] / (height - box[:, 2] + 1),
        lambda box: box[:, 1] / (width - box[:, 3] + 1),
    ):
        assert ks_2samp(quantity(ours), quantity(theirs)).pvalue > SURE_OF  # pyright: ignore


def test_crops_that_never_fit_fall_back_to_torchvisions_central_crop() -> None:
    view = View(size=8, crop=(0.9, 1.0))
    for height, width in ((10, 200), (200, 10)):
        box = crop_boxes(view, floats(50, 36), height, width)
        params = T.RandomResizedCrop(8, scale=(0.9, 1.0)).make_params([torch.empty(3, height, width)])
        assert (box == torch.tensor([params[k] for k in ("top", "left", "height", "width")])).all()


def test_the_shares_of_flip_jitter_grey_blur_and_solarise_are_the_recipes() -> None:
    number = 20_000
    uniforms = Views(EVERYTHING).draw(number, "shares").uniforms[0]
    look = Look.of(EVERYTHING, uniforms)
    image = pixels(1, 3, 4, 4).expand(number, -1, -1, -1)
    flipped = Views(View(size=4, crop=None))(image, Draws((uniforms,)))[0]
    shares = {
        0.5: (flipped[:, 0, 0, 0] != flipped[0, 0, 0, 0]).double().mean(),
        0.8: (look.orders >= 0).double().mean(),
        0.3: look.grey.double().mean(),
        0.6: look.blur.double().mean(),
        0.4: look.solarise.double().mean(),
    }
    for expected, share in shares.items():
        assert float(share) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / number))


def test_jitter_factors_and_sigma_are_uniform_over_torchvisions_ranges() -> None:
    view = View(size=32, jitter=(0.4, 1.5, 0.8, 0.2), blur=1.0, sigma=(0.3, 1.7))
    uniforms = Views(view).draw(5000, "factors").uniforms[0]
    transform = T.ColorJitter(0.4, 1.5, 0.8, 0.2)
    ranges = [getattr(transform, name) for name in ("brightness", "contrast", "saturation", "hue")]
    for factor, (low, high) in zip(jitter_factors(view, uniforms).T, ranges, strict=True):
        assert kstest(factor, "uniform", args=(low, high - low))[1] > SURE_OF
    assert kstest(Look.of(view, uniforms).sigma, "uniform", args=(0.3, 1.4))[1] > SURE_OF


def test_all_24_orders_of_operations_are_equally_likely() -> None:
    uniforms = Views(SIMCLR).draw(24_000, "orders").uniforms[0]
    orders = jitter_orders(SIMCLR, uniforms)
    assert set(permutations(range(4))) == set(ORDERS)
    assert chisquare(torch.bincount(orders[orders >= 0], minlength=24))[1] > SURE_OF


# --- arithmetic ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "values"),
    [
        (brightness_, TF.adjust_brightness, (0.0, 0.2, 1.0, 1.8)),
        (contrast_, TF.adjust_contrast, (0.0, 0.2, 1.0, 1.8)),
        (saturation_, TF.adjust_saturation, (0.0, 0.2, 1.0, 1.8)),
        (hue_, TF.adjust_hue, (-0.5, -0.2, 0.0, 0.1, 0.5)),
    ],
)
def test_colour_operations_equal_torchvisions(ours, theirs, values: tuple[float, ...]) -> None:
    noise = floats(3, 16, 16)
    coarse = (noise * 2).round() / 2  # ties between channels, greys, black and white: where hue is delicate
    for image in (noise, coarse, torch.zeros(3, 2, 2), torch.ones(3, 2, 2)):
        x = image.repeat(len(values), 1, 1, 1)
        ours(x, torch.tensor(values))
        for result, value in zip(x, values, strict=True):
            torch.testing.assert_close(result, theirs(image, value), atol=1e-5, rtol=0)


def test_grey_and_solarise_equal_torchvisions() -> None:
    x = pixels(4, 3, 9, 9).float() / 255
    torch.testing.assert_close(grey(x), TF.rgb_to_grayscale(x, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(solarise(x), TF.solarize(x, 128 / 255), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("side", "kernel"), [(3, 5), (32, 3), (33, 5), (40, 9), (96, 9), (224, 23), (70, 139)]
)
def test_blur_equals_torchvisions(side: int, kernel: int) -> None:
    x, sigma = floats(4, 3, side, side), torch.tensor([0.1, 0.6, 1.3, 2.0])
    blurred = torch.cat([floats(1, 3, side, side, seed=1), x])
    untouched = blurred[0].clone()
    blur_(blurred, torch.arange(1, 5), sigma, kernel)
    assert torch.equal(blurred[0], untouched)
    for ours, image, s in zip(blurred[1:], x, sigma.tolist(), strict=True):
        torch.testing.assert_close(ours, TF.gaussian_blur(image, [kernel] * 2, [s, s]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 32), (50, 41, 24), (12, 60, 32)])
def test_crop_by_matrices_equals_torchs_antialiased_resize(height: int, width: int, size: int) -> None:
    image, flip = pixels(40, 3, height, width), torch.arange(40) % 2 == 0
    boxes = crop_boxes(SIMCLR, floats(40, 36), height, width)
    crops = crop_by_matrices(image.float() / 255, boxes, flip, size)
    for crop, source, box, flipped in zip(crops, image.float() / 255, boxes.tolist(), flip, strict=True):
        expected = TF.resized_crop(source, *box, size=[size, size], antialias=True)
        torch.testing.assert_close(crop, expected.flip(-1) if flipped else expected, atol=1e-4, rtol=0)


def test_the_two_ways_to_jitter_agree() -> None:
    uniforms = Views(SIMCLR).draw(60, "two ways").uniforms[0]
    orders = jitter_orders(SIMCLR, uniforms).sort().values
    by_orders, by_rounds = (floats(60, 3, 8, 8) for _ in range(2))
    jitter_by_orders(by_orders, jitter_factors(SIMCLR, uniforms), orders)
    jitter_by_rounds(by_rounds, jitter_factors(SIMCLR, uniforms), orders)
    assert not torch.equal(by_orders, floats(60, 3, 8, 8))
    torch.testing.assert_close(by_orders, by_rounds, atol=1e-6, rtol=0)


def by_torchvision(view: View, uniform: Tensor, image: Tensor, *, rounded: bool) -> Tensor:
    """One view of one image, step by step with torchvision's functions."""
    look = Look.of(view, uniform[None])
    box = crop_boxes(view, uniform[None], *image.shape[1:])[0].tolist()
    x = image if rounded else image.float() / 255
    x = TF.resized_crop(x, *box, size=[view.size, view.size], antialias=True)
    x = x.float() / 255 if rounded else x
    x = x.flip(-1) if uniform[22] < view.flip else x
    operations = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    if look.orders >= 0:
        for operation in ORDERS[int(look.orders)]:
            x = operations[operation](x, float(look.factors[0, operation]))
    x = TF.rgb_to_grayscale(x, 3) if look.grey else x
    if look.blur:
        x = TF.gaussian_blur(x, [view.blur_kernel] * 2, [float(look.sigma)] * 2)
    x = TF.solarize(x, 128 / 255) if look.solarise else x
    return TF.normalize(x, list(MEAN), list(STD))


@pytest.mark.parametrize(("side", "size", "rounded"), [(32, 32, False), (100, 80, True)])
def test_the_whole_pipeline_equals_torchvisions_step_by_step(side: int, size: int, rounded: bool) -> None:
    # Two recipes of one size: they share a batch, and must not share parameters.
    recipes = [
        View(size=size, jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5),
        View(
            size=size,
            crop=None,
            jitter=(0.1, 0, 0.3, 0.5),
            jitter_p=0.5,
            blur=0.9,
            kernel=size // 10 // 2 * 2 + 1,
        ),
        View(size=16, crop=(0.05, 0.2), solarise=0.5),
    ]
    views, image = Views(*recipes), pixels(20, 3, side, side)
    draws = views.draw(20, "pipeline")
    for view, batch, uniforms in zip(recipes, views(image, draws), draws.uniforms, strict=True):
        for ours, source, uniform in zip(batch, image, uniforms, strict=True):
            expected = by_torchvision(view, uniform, source, rounded=rounded)
            # Solarising inverts at a threshold: a value that a rounding error carries over it differs by much.
            off = (ours - expected).abs() > 5e-4
            assert off.float().mean() <= (0.01 if view.solarise else 0)


# --- draws, workers, ranks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 80])
def test_a_ranks_rows_give_the_same_views_as_the_whole_batch(side: int) -> None:
    views, image = Views(EVERYTHING, SIMCLR, View(size=20)), pixels(24, 3, side, side)
    draws = views.draw(24, 0, "views", 7)
    whole = views(image, draws)
    for start, stop in ((0, 12), (12, 24), (5, 6)):
        part = views(image[start:stop], draws.rows(start, stop))
        for mine, all_rows in zip(part, whole, strict=True):
            torch.testing.assert_close(mine, all_rows[start:stop], atol=2e-6, rtol=0)


def test_draws_are_a_function_of_their_parts_alone() -> None:
    views, image = Views(EVERYTHING, EVERYTHING), pixels(6, 3, 32, 32)
    first = views(image, views.draw(6, 1, "views", 3))
    torch.rand(100)
    again = views(image, views.draw(6, 1, "views", 3))
    other = views(image, views.draw(6, 1, "views", 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("side", [32, 120])
def test_a_workers_crop_and_the_batched_finish_equal_the_call(side: int) -> None:
    views = Views(View(size=32, jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2, blur=0.5), View(size=16))
    image = pixels(16, 3, side, side)
    draws = views.draw(16, "workers")
    crops = [views.crop(one, draws, row) for row, one in enumerate(image)]
    finished = views.finish([torch.stack(column) for column in zip(*crops, strict=True)], draws)
    # Small images are cropped in floats by the call: half a level of rounding, times what jitter can make of it.
    half_a_level = 0 if side > 64 else 0.5 / 255 / min(STD)
    for ours, whole in zip(finished, views(image, draws), strict=True):
        torch.testing.assert_close(ours, whole, atol=10 * half_a_level + 1e-5, rtol=0)
        assert (ours - whole).abs().mean() <= half_a_level + 1e-5


def test_images_and_draws_are_left_as_they_were() -> None:
    views, image = Views(EVERYTHING), pixels(8, 3, 32, 32)
    draws = views.draw(8, 0)
    before = image.clone(), draws.uniforms[0].clone()
    views(image, draws)
    assert torch.equal(image, before[0])
    assert torch.equal(draws.uniforms[0], before[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_any_image_gives_finite_views_in_range(
    height: int, width: int, size: int, batch: int, seed: int
) -> None:
    views = Views(
        View(size=size, jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5, solarise=0.2),
        View(size=size, crop=None),
    )
    image = pixels(batch, 3, height, width, seed=seed)
    draws = views.draw(batch, seed)
    for view in views(image, draws):
        assert view.shape == (batch, 3, size, size)
        shown = view * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
        assert shown.min() >= -1e-5
        assert shown.max() <= 1 + 1e-5
    assert [crop.shape for crop in views.crop(image[0], draws, 0)] == [(3, size, size)] * 2
    assert plain(image, size).shape == (batch, 3, size, size)


# --- plain, picture, words, errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "size"), [(300, 200, 112), (64, 91, 64), (20, 30, 56)])
def test_plain_is_torchvisions_resize_and_centre_crop(height: int, width: int, size: int) -> None:
    image = pixels(2, 3, height, width)
    steps = [
        T.Resize(round(size * 8 / 7), antialias=True),
        T.CenterCrop(size),
        T.ToDtype(torch.float32, scale=True),
    ]
    expected = T.Compose([*steps, T.Normalize(MEAN, STD)])(image)
    torch.testing.assert_close(plain(image, size), expected, atol=1e-5, rtol=0)


def test_plain_only_normalises_what_has_its_size_and_picture_undoes_it() -> None:
    image = pixels(3, 3, 32, 32)
    expected = TF.normalize(image.float() / 255, list(MEAN), list(STD))
    torch.testing.assert_close(plain(image, 32), expected, atol=1e-6, rtol=0)
    assert torch.equal(picture(plain(image, 32)), image)


def test_describe_tells_the_recipe_in_words_and_equal_recipes_once() -> None:
    text = Views(SIMCLR, SIMCLR, View(size=16, crop=None, flip=0)).describe()
    assert text.splitlines() == [
        "2 x a crop of 8% to 100% of the area, resized to 32x32; flipped left to right (50%); colours jittered in "
        "random order (80%: brightness 0.8, contrast 0.8, saturation 0.8, hue 0.2); turned grey (20%); "
        "blurred (50%: sigma 0.1 to 2 pixels, kernel 3)",
        "1 x the central square, resized to 16x16",
    ]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"flip": 1.5}, "flip"),
        ({"grey": -0.1}, "grey"),
        ({"blur": float("nan")}, "blur"),
        ({"crop": (0.5, 0.1)}, "crop"),
        ({"crop": (0.0, 1.0)}, "crop"),
        ({"crop": (0.5, 1.5)}, "crop"),
        ({"ratio": (4 / 3, 3 / 4)}, "ratio"),
        ({"sigma": (0.0, 1.0)}, "sigma"),
        ({"kernel": 4}, "odd"),
        ({"blur": 0.5, "kernel": 65}, "too wide"),
        ({"jitter": (0.4, 0.4, 0.4)}, "four"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "hue"),
        ({"jitter": (-0.4, 0.4, 0.4, 0.1)}, "jitter"),
        ({"size": 0}, "size"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(setting: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        View(**{"size": 32, **setting})


def test_images_and_draws_that_do_not_fit_are_refused() -> None:
    views = Views(SIMCLR, SIMCLR)
    draws = views.draw(4, 0)
    for image in (torch.rand(4, 3, 8, 8), pixels(4, 1, 8, 8), pixels(3, 8, 8), pixels(4, 3, 0, 8)):
        with pytest.raises(ValueError, match="image"):
            views(image, draws)
    with pytest.raises(ValueError, match="for 4 images, not 5"):
        views(pixels(5, 3, 8, 8), draws)
    with pytest.raises(ValueError, match="for 2 views, not 1"):
        Views(SIMCLR)(pixels(4, 3, 8, 8), draws)
    with pytest.raises(ValueError, match="one for each"):
        views.finish([pixels(4, 3, 32, 32)], draws)
    with pytest.raises(ValueError, match="view of 32 pixels"):
        views.finish([pixels(4, 3, 32, 32), pixels(4, 3, 16, 16)], draws)
    with pytest.raises(ValueError, match="at least one"):
        Views()


def test_small_crops_are_blurred_by_the_kernel_of_the_large_ones() -> None:
    """SwAV's code has one of 23 pixels for crops of 224 and of 96."""
    views = large_and_small(View(size=224, blur=0.5), 2, 96, (0.05, 0.14)).views
    assert [view.blur_kernel for view in views] == [23] * 4
    assert [view.size for view in views] == [224, 224, 96, 96]
    tiny = large_and_small(View(size=224, blur=0.5), 1, 8, (0.05, 0.14)).views[-1]
    assert tiny.blur_kernel == 15  # as far as it fits
