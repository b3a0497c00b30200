"""RandAugment's operations against torchvision's float kernels, and the draws behind them."""

import math
from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as TF
from scipy.stats import chisquare
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode

from manyviews.rng import generator
from manyviews.views import MEAN, STD, Draws, View, Views
from manyviews.views import randaugment as ra
from manyviews.views.randaugment import OPERATIONS, augment_, chosen
from manyviews.views.view import FLIP, draw_uniforms

BILINEAR = InterpolationMode.BILINEAR
STRONG = View(size=32, randaugment=(2, 30))


def floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def shear(axis: int) -> Callable[[Tensor, float], Tensor]:
    def theirs(x: Tensor, slope: float) -> Tensor:
        angles = [0.0, 0.0]
        angles[axis] = math.degrees(math.atan(slope))
        return TF.affine(x, 0.0, [0, 0], 1.0, angles, interpolation=BILINEAR, center=[0, 0])

    return theirs


def moved(axis: int) -> Callable[[Tensor, float], Tensor]:
    def theirs(x: Tensor, pixels: float) -> Tensor:
        by = [0, 0]
        by[axis] = int(pixels)
        return TF.affine(x, 0.0, by, 1.0, [0.0, 0.0], interpolation=BILINEAR)

    return theirs


THEIRS: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "identity": (lambda x, _: x, (0.0,)),
    "shear_x": (shear(0), (-0.3, 0.0, 0.1, 0.29)),
    "shear_y": (shear(1), (-0.3, 0.0, 0.1, 0.29)),
    "translate_x": (moved(0), (-9, 0, 3, 40)),
    "translate_y": (moved(1), (-9, 0, 3, 40)),
    "rotate": (lambda x, a: TF.rotate(x, a, interpolation=BILINEAR), (-30.0, -7.5, 0.0, 12.0)),
    "brightness": (lambda x, a: TF.adjust_brightness(x, 1 + a), (-0.9, 0.0, 0.4, 0.9)),
    "saturation": (lambda x, a: TF.adjust_saturation(x, 1 + a), (-0.9, 0.0, 0.4, 0.9)),
    "contrast": (lambda x, a: TF.adjust_contrast(x, 1 + a), (-0.9, 0.0, 0.4, 0.9)),
    "sharpness": (lambda x, a: TF.adjust_sharpness(x, 1 + a), (-0.9, 0.0, 0.4, 0.9)),
    "posterise": (lambda x, a: TF.posterize(x, int(a)), (0, 1, 4, 6, 8)),
    "solarise": (lambda x, a: TF.solarize(x, a), (0.0, 0.25, 0.9, 1.0)),
    "autocontrast": (lambda x, _: TF.autocontrast(x), (0.0, 0.0)),
    "equalise": (lambda x, _: TF.equalize(x), (0.0, 0.0)),
}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_each_operation_is_torchvisions(operation: ra.Operation) -> None:
    theirs, amounts = THEIRS[operation.name]
    noise = floats(3, 20, 24)
    images = (
        noise,
        0.3 + 0.2 * noise,
        (noise * 4).round() / 4,
        torch.zeros(3, 5, 4),
        torch.full((3, 5, 5), 0.4),
        floats(3, 2, 2),
        torch.cat([noise[:2], torch.full((1, 20, 24), 0.7)]),
    )
    for image in images:
        x = image.repeat(len(amounts), 1, 1, 1)
        before = x.clone()
        ours = operation.op(x, torch.tensor(amounts, dtype=torch.float32))
        assert torch.equal(x, before), "an operation leaves its input as it was"
        for result, amount in zip(ours, amounts, strict=True):
            torch.testing.assert_close(result, theirs(image, amount), atol=2e-5, rtol=0)


def test_the_list_is_torchvisions_with_its_ranges() -> None:
    """The same fourteen, at three magnitudes, for two sides."""
    names = {"color": "saturation", "posterize": "posterise", "solarize": "solarise", "equalize": "equalise"}
    ours = {each.name.replace("_", ""): each for each in OPERATIONS}
    space = T.RandAugment._AUGMENTATION_SPACE
    assert {names.get(name.lower(), name.lower()) for name in space} == set(ours) and len(ours) == 14
    for name, (magnitudes, signed) in space.items():
        mine = ours[names.get(name.lower(), name.lower())]
        assert mine.signed == signed
        for side, m in ((32, 0), (32, 9), (224, 17), (224, 30)):
            levels = magnitudes(31, side, side)
            theirs = 0.0 if levels is None else float(levels[m])
            theirs = float(int(theirs)) if name.startswith("Translate") else theirs
            assert mine.amount(m / 30, side) == pytest.approx(theirs, abs=1e-5), (name, side, m)


def test_what_comes_in_has_the_colour_of_the_fill() -> None:
    x, slope = floats(2, 3, 16, 16), torch.tensor([0.3, -0.2])
    shifted = x - torch.tensor(MEAN)[:, None, None]
    ours = ra.shear_x(x, slope, MEAN)
    for result, image, a in zip(ours, shifted, slope.tolist(), strict=True):
        torch.testing.assert_close(
            result, shear(0)(image, a) + torch.tensor(MEAN)[:, None, None], atol=1e-5, rtol=0
        )
    gone = ra.translate_y(x, torch.tensor([16.0, -16.0]), MEAN)
    torch.testing.assert_close(gone, torch.tensor(MEAN)[:, None, None].expand_as(gone))


def test_operations_come_equally_often_and_half_of_what_has_a_sign_is_negative() -> None:
    uniforms = Views(STRONG).draw(20_000, "which").uniforms[0]
    which, amount = chosen(STRONG, uniforms)
    assert chisquare(torch.bincount(which.flatten(), minlength=14)).pvalue > 1e-4
    for number, each in enumerate(OPERATIONS):
        values = amount[which == number]
        whole = torch.tensor(each.amount(1.0, 32))
        assert torch.equal(values.abs().unique(), whole[None])
        negative = float((values < 0).double().mean())
        assert negative == pytest.approx(0.5, abs=0.05) if each.signed else negative == 0


def test_half_of_the_operations_happen_where_that_is_asked_and_colours_can_be_left_out() -> None:
    view = View(size=32, randaugment=(3, 30), randaugment_p=0.5, randaugment_colours=False)
    which, _ = chosen(view, Views(view).draw(10_000, "half").uniforms[0])
    assert float((which >= 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    names = {OPERATIONS[number].name for number in which.unique().tolist() if number >= 0}
    moves = {"shear_x", "shear_y", "translate_x", "translate_y", "rotate"}
    assert names == moves | {"identity", "autocontrast", "sharpness"}


def test_rounds_are_the_operations_one_after_the_other() -> None:
    x = floats(60, 3, 16, 16)
    which, amount = chosen(STRONG, Views(STRONG).draw(60, "rounds").uniforms[0])
    which[::7, 0] = -1
    ours = x.clone()
    augment_(ours, which, amount, MEAN)
    for image, result, numbers, amounts in zip(x, ours, which.tolist(), amount, strict=True):
        expected = image[None]
        for number, a in zip(numbers, amounts, strict=True):
            if number >= 0:
                more = {"fill": MEAN} if OPERATIONS[number].moves else {}
                expected = OPERATIONS[number].op(expected, a[None], **more)
        torch.testing.assert_close(result, expected[0], atol=1e-5, rtol=0)


def test_a_view_is_cropped_augmented_greyed_and_normalised_in_this_order() -> None:
    view = View(size=24, randaugment=(2, 20), grey=0.5)
    image = torch.randint(
        0, 256, (40, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    views = Views(view, View(size=24))
    draws = views.draw(40, "order")
    uniforms = draws.uniforms[0]
    plain = Views(View(size=24))(image, Draws((uniforms[:, :39],)))[0]
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    x = plain * std + mean
    augment_(x, *chosen(view, uniforms), MEAN)
    grey = uniforms[:, 32] < 0.5
    assert 0 < int(grey.sum()) < 40 and 0 < int((uniforms[:, FLIP] < 0.5).sum()) < 40
    x[grey] = TF.rgb_to_grayscale(x[grey], 3)
    torch.testing.assert_close(views(image, draws)[0], (x - mean) / std, atol=1e-4, rtol=0)


def test_what_was_drawn_without_it_is_drawn_as_it_was() -> None:
    old = draw_uniforms(2, 7, generator(3, "views", 11))
    new = Views(View(size=8, randaugment=(3, 9)), View(size=8)).draw(7, 3, "views", 11)
    assert [u.shape[1] for u in old.uniforms] == [39, 39] and [u.shape[1] for u in new.uniforms] == [48, 39]
    for before, after in zip(old.uniforms, new.uniforms, strict=True):
        assert torch.equal(before, after[:, :39])


def test_ranks_and_chunks_see_the_same() -> None:
    views = Views(View(size=16, randaugment=(2, 30)), View(size=16, jitter=(0.4, 0.4, 0.4, 0.1), blur=0.5))
    image = torch.randint(
        0, 256, (12, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    draws = views.draw(12, "ranks")
    for whole, part in zip(views(image, draws), views(image[5:9], draws.rows(5, 9)), strict=True):
        torch.testing.assert_close(part, whole[5:9], atol=1e-5, rtol=0)


def test_it_is_told_in_words() -> None:
    words = View(size=32, randaugment=(2, 9), randaugment_p=0.5).describe()
    assert "RandAugment (2 operations of magnitude 9, 50%)" in words


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"randaugment": (-1, 9)}, "a number of operations"),
        ({"randaugment": (1.5, 9)}, "a number of operations"),
        ({"randaugment": (2, 31)}, "magnitude"),
        ({"randaugment": (2, -1)}, "magnitude"),
        ({"randaugment": (2, 9), "randaugment_p": 1.5}, "randaugment_p"),
    ],
)
def test_what_makes_no_sense_is_refused(setting: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        View(**{"size": 32, **setting})
