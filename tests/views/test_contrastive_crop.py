"""ContrastiveCrop: boxes around what is bright, centres by a Beta distribution, and a loop that any method can use."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import beta, kstest
from torch import Tensor

from manyviews import plan
from manyviews.data import ItemSet, in_memory
from manyviews.errors import ManyviewsError
from manyviews.method import Spec, find
from manyviews.nets import Encoder
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.training import checkpoint
from manyviews.training.loop import Loop
from manyviews.views import View, Views
from manyviews.views.contrastive_crop import Focus, beta_quantile, boxes_of
from manyviews.views.geometry import crop_boxes
from shrink import shrunk

SIZE, ITEMS = 16, 48
VIEW = View(size=SIZE, crop=(0.04, 0.09))


def uniforms(count: int, *name: str) -> Tensor:
    return Views(VIEW).draw(count, "crop", *name).uniforms[0]


# -- where crops are cut ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.6, 1.0, 2.0])
def test_uniform_draws_become_those_of_beta(alpha: float) -> None:
    u = torch.rand(4000, generator=generator("u"))
    assert kstest(beta_quantile(u, alpha).numpy(), beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("alpha", [0.1, 0.6, 1.0])
def test_centres_lie_in_the_box_by_a_beta_distribution(alpha: float) -> None:
    side, box = 1000, torch.tensor([0.3, 0.4, 0.7, 0.6])
    focus = Focus(box.expand(3000, 4), alpha)
    top, left, h, w = crop_boxes(VIEW, uniforms(3000, "beta"), side, side, focus).double().unbind(1)
    for start, length, low, high in ((top, h, 300, 700), (left, w, 400, 600)):
        pixel = start + (length / 2).floor() - low  # of the box, in which the centre lies
        pixels = high - low + 1
        assert pixel.min() >= 0 and pixel.max() < pixels
        up_to = pixel.long().bincount(minlength=pixels).cumsum(0) / len(pixel)
        expected = beta(alpha, alpha).cdf((torch.arange(pixels) + 1).numpy() / pixels)
        assert (up_to - torch.from_numpy(expected)).abs().max() < 0.03


def test_the_whole_image_and_alpha_1_are_plain_crops() -> None:
    for view in (
        VIEW,
        View(size=SIZE, crop=(0.08, 1.0)),
        View(size=SIZE, crop=(0.5, 1.0), ratio=(0.1, 10.0)),
    ):
        focus = Focus(torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(500, 4), 1.0)
        for height, width in ((32, 32), (31, 57), (100, 64)):
            u = uniforms(500, "plain")
            assert torch.equal(crop_boxes(view, u, height, width, focus), crop_boxes(view, u, height, width))


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.05, 0.05), (0.95, 0.9, 1.0, 1.0), (0.0, 0.5, 1.0, 0.55)])
def test_crops_never_leave_the_image_and_keep_their_shape(box: tuple[float, ...]) -> None:
    view, u = View(size=SIZE, crop=(0.08, 1.0)), uniforms(2000, "edges")
    focus = Focus(torch.tensor(box).expand(2000, 4), 0.1)
    top, left, h, w = crop_boxes(view, u, 40, 60, focus).unbind(1)
    assert top.min() >= 0 and left.min() >= 0
    assert (top + h).max() <= 40 and (left + w).max() <= 60
    plain = crop_boxes(view, u, 40, 60)
    assert torch.equal(torch.stack([h, w], 1), plain[:, 2:])


def test_only_the_place_of_a_view_changes_and_each_image_has_its_own_box() -> None:
    image = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    image[0, :, :20], image[1, :, 20:] = 255, 255  # bright above; bright below
    views = Views(View(size=8, crop=(0.04, 0.06), flip=0.0))
    draws = views.draw(2, "own")
    box = torch.tensor([[0.2, 0.2, 0.3, 0.8], [0.7, 0.2, 0.8, 0.8]])
    (bright,) = views(image, dataclasses.replace(draws, focus=Focus(box, 0.5)))
    assert bright.min() > 2  # both look where their own image is bright
    (dark,) = views(image, dataclasses.replace(draws, focus=Focus(box.flip(0), 0.5)))
    assert dark.max() < -1.5
    two = dataclasses.replace(draws, focus=Focus(box, 0.5)).rows(1, 2)
    torch.testing.assert_close(views(image[1:], two)[0], bright[1:])


# -- where the boxes are ---------------------------------------------------------------------------------------


def test_the_box_of_a_planted_square() -> None:
    grid = torch.zeros(3, 5, 8, 8)
    grid[0, :, 2:5, 3:7] = 1.0
    grid[1, 0, 7, 0] = 0.3  # its brightest place counts, not how bright that is
    box = boxes_of(grid, 8, 0.5)
    torch.testing.assert_close(box[0], torch.tensor([2, 3, 5, 7]) / 8)
    torch.testing.assert_close(box[1], torch.tensor([7, 0, 8, 1]) / 8)
    torch.testing.assert_close(box[2], torch.tensor([0.0, 0, 1, 1]))  # nothing stands out: the whole image
    fine = boxes_of(grid, 64, 0.5)
    assert (fine[0] - box[0]).abs().max() <= 0.5 / 8


def test_a_higher_threshold_is_a_tighter_box_and_never_an_empty_one() -> None:
    grid = torch.rand(20, 4, 5, 5, generator=generator("tight"))
    areas = []
    for threshold in (0.0, 0.1, 0.5, 0.9, 1.0):
        top, left, bottom, right = boxes_of(grid, 40, threshold).unbind(1)
        areas.append((bottom - top) * (right - left))
        assert (areas[-1] > 0).all()
    assert (areas[0] == 1).all()  # the paper's ablation: Beta alone
    assert all((tight <= wide).all() for wide, tight in pairwise(areas))


# -- in the loop -----------------------------------------------------------------------------------------------


def squares(items: int = ITEMS) -> ItemSet:
    """Grey noise with one bright square each, at a place of its own."""
    pixels = torch.randint(0, 40, (items, 3, SIZE, SIZE), generator=generator("square"), dtype=torch.uint8)
    for item in range(items):
        top, left = item % 10, item // 10
        pixels[item, :, top : top + 6, left : left + 6] = 255
    return in_memory("squares", pixels, torch.arange(items) % 4, tuple("abcd"))


def loop_of(name: str, data: ItemSet | None = None, net: Any = "cifar_resnet8", **changes: Any) -> Loop:
    config, recipe = plan.base(find(name), "world")
    given = {
        "size": SIZE,
        "batch": 16,
        "budget": "15steps",
        "crops": "contrastive",
        **changes,
    }
    if given["crops"] == "contrastive":
        given["crop_alpha"] = 0.3
    config, recipe = plan.changed(find(name), shrunk(config), recipe, given)
    torch.manual_seed(0)
    factory = net_factory(net, SIZE) if isinstance(net, str) else net
    data = squares() if data is None else data
    return Loop(find(name).method(config, factory, Spec(items=len(data), size=SIZE)), data, recipe)


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_any_method_crops_plainly_first_and_then_in_boxes_that_are_found_anew(name: str) -> None:
    loop = loop_of(name)  # an epoch has 3 steps, a fifth of the run
    found: list[tuple[int, Tensor | None]] = []
    loop.hooks = [lambda moment: found.append((loop.boxes.found, loop.boxes.box_N4))]  # pyright: ignore[reportOptionalMemberAccess]
    assert loop.run() == "finished"
    assert [times for times, _ in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert found[2][1] is None
    first, last = found[3][1], found[-1][1]
    assert first is not None and last is not None and first.shape == (ITEMS, 4)
    assert not torch.equal(first, last)

    plain, at_12 = loop_of(name, crops="random"), {}
    plain.hooks = [lambda moment: at_12.update(_weights(plain)) if moment.step == 12 else None]
    plain.run()
    assert any(
        not torch.equal(a, b) for a, b in zip(_weights(loop).values(), _weights(plain).values(), strict=True)
    )
    late = loop_of(name, crop_first=0.8)  # what comes before the boxes is as without them
    late.interrupted = lambda: late.step == 12
    assert late.run() == "interrupted"
    for key, value in _weights(late).items():
        assert torch.equal(value, at_12[key]), key


def _weights(loop: Loop) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in loop.method.state_dict().items()}


@pytest.mark.parametrize("stop", [6, 8])  # where boxes are due next, and between
def test_stopped_and_resumed_equals_unbroken_with_boxes(stop: int, tmp_path: Path) -> None:
    unbroken = loop_of("moco")
    unbroken.run()
    first = loop_of("moco")
    first.interrupted = lambda: first.step == stop
    assert first.run() == "interrupted"
    checkpoint.save(tmp_path, first.step, first.state())
    second = loop_of("moco")
    state, _ = checkpoint.newest(tmp_path)
    assert state is not None
    second.restore(state)
    assert second.run() == "finished"
    for (key, a), b in zip(
        unbroken.method.state_dict().items(), second.method.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), key
    assert unbroken.boxes and second.boxes and unbroken.boxes.box_N4 is not None
    assert torch.equal(unbroken.boxes.box_N4, second.boxes.box_N4)  # pyright: ignore[reportArgumentType]


class Brightness(Encoder):
    """A net that looks where it is bright: its grid are means of patches."""

    def __init__(self, cells: int = 8) -> None:
        super().__init__(3)
        self.scale, self.cells = torch.nn.Parameter(torch.ones(())), cells

    def grid(self, x_BCHW: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x_BCHW, self.cells) * self.scale


class NoGrid(Brightness):
    def grid(self, x_BCHW: Tensor) -> Tensor:
        return Encoder.grid(self, x_BCHW)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean((2, 3)) * self.scale


def test_boxes_of_a_net_that_sees_the_square_lie_around_it() -> None:
    loop = loop_of("simclr", net=Brightness, crop_threshold=0.5)
    assert loop.boxes
    loop.boxes.find(loop.method.encoder, 1)
    assert loop.boxes.box_N4 is not None
    item = torch.arange(ITEMS)
    top, left = item % 10, item // 10
    expected = torch.stack([top, left, top + 6, left + 6], 1)
    assert (loop.boxes.box_N4 * SIZE - expected).abs().max() <= 2  # a cell is two pixels
    assert loop.method.training


def test_what_cannot_work_is_said_before_the_first_step() -> None:
    with pytest.raises(
        ManyviewsError, match="--crops contrastive needs a net with a feature grid, and NoGrid has"
    ):
        loop_of("simclr", net=NoGrid)
    with pytest.raises(ManyviewsError, match="a single cell for views of 16 pixels"):
        loop_of("simclr", net=lambda: Brightness(1))
    with pytest.raises(ManyviewsError, match="squares is read from disk"):
        loop_of("simclr", dataclasses.replace(squares(), values=None))
    with pytest.raises(ManyviewsError, match="normalised to add up to nothing"):
        loop_of("simclr", net="small_vit")
    with pytest.raises(ManyviewsError, match="would never look for boxes"):
        loop_of("simclr", budget="3steps")


def test_views_without_random_crops_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find("simclr").method, "views", lambda self: Views(View(size=SIZE, crop=None)))
    with pytest.raises(ManyviewsError, match="this method's views have none"):
        loop_of("simclr")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"crop_alpha": 0.0}, "--crop-alpha is 0.0"),
        ({"crop_threshold": 1.5}, "--crop-threshold is 1.5"),
        ({"crop_first": 1.0}, "--crop-first is 1.0"),
        ({"crop_every": 0.0}, "--crop-every 0.0"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        plan.check(dataclasses.replace(Recipe(), **change))  # pyright: ignore[reportArgumentType]
