"""Things that have no up and down: views turned by quarters, the same way wherever they are made, and colours changed less."""

import pytest
import torch

from manyviews.errors import ManyviewsError
from manyviews.rng import generator
from manyviews.views import Texts, View, Views, Wave, Waves, suited
from manyviews.views.geometry import MATRIX_SIDE, flips_and_turns
from manyviews.views.texts import Text
from manyviews.views.view import draw_uniforms

SMALL, LARGE = 24, 2 * MATRIX_SIDE  # resampled by matrices, and one by one
BATCH = 16


def pixels(side: int, channels: int = 3) -> torch.Tensor:
    return torch.randint(
        0, 256, (BATCH, channels, side, side + 8), generator=generator("turns"), dtype=torch.uint8
    )


def pair(turn: bool) -> Views:
    """A crop, and a square from a padded image that is never flipped."""
    return Views(
        View(size=16, crop=(0.2, 1.0), turn=turn), View(size=16, crop=None, scale=(1, 2), pad=2, flip=0, turn=turn)
    )  # fmt: skip


@pytest.mark.parametrize("flip", [0.0, 0.3, 0.5, 1.0])
def test_all_quarters_are_alike_and_do_not_depend_on_the_flip(flip: float) -> None:
    (uniforms,) = draw_uniforms(1, 40_000, generator("quarters")).uniforms
    flips, turns = flips_and_turns(View(size=8, flip=flip, turn=True), uniforms)
    upright, none = flips_and_turns(View(size=8, flip=flip), uniforms)
    assert torch.equal(flips, upright) and not none.any()
    for some in (flips, ~flips):
        if some.any():
            shares = turns[some].bincount(minlength=4) / some.sum()
            assert ((shares - 0.25).abs() < 0.02).all()


@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_a_view_is_the_upright_one_turned(side: int) -> None:
    image = pixels(side)
    draws = pair(True).draw(BATCH, "turned")
    turned, upright = pair(True)(image, draws), pair(False)(image, draws)
    for number, view in enumerate(pair(True).views):
        _, turns = flips_and_turns(view, draws.uniforms[number])
        assert set(turns.tolist()) == {0, 1, 2, 3}
        for row, quarters in enumerate(turns.tolist()):
            torch.testing.assert_close(turned[number][row], upright[number][row].rot90(quarters, (1, 2)))


def test_workers_turn_as_the_batch_does() -> None:
    image, views = pixels(LARGE), pair(True)
    draws = views.draw(BATCH, "workers")
    crops = [
        torch.stack(each)
        for each in zip(*(views.crop(one, draws, k) for k, one in enumerate(image)), strict=True)
    ]
    for worker, batch in zip(views.finish(crops, draws), views(image, draws), strict=True):
        torch.testing.assert_close(worker, batch, atol=0.02, rtol=0)


def test_senses_and_ids_turn_with_their_image() -> None:
    """Two classes painted black and white: where the picture is clearly one of them, the id says which."""
    wave = torch.sin(torch.arange(48)[:, None] / 9.0) + torch.cos(torch.arange(56) / 11.0)
    ids = (wave > 0.3).to(torch.uint8).expand(BATCH, 48, 56).clone()
    views = pair(True)
    draws = views.draw(BATCH, "painted")
    for seen, said, upright in zip(
        views.cropped(ids[:, None] * 255, draws), views.cropped_ids(ids, draws), pair(False).cropped_ids(ids, draws),
        strict=True,
    ):  # fmt: skip
        sure = (seen[:, 0] < 0.05) | (seen[:, 0] > 0.95)
        inside = (said != 255) & sure
        assert torch.equal(said[inside].float(), seen[:, 0][inside].round())
        assert not torch.equal(said, upright)


def test_it_is_told() -> None:
    assert "turned by 0 to 3 quarters" in pair(True).describe() and "turned" not in pair(False).describe()


def test_colours_change_less() -> None:
    strong = View(size=8, jitter=(0.8, 0.4, 0.2, 0.1), grey=0.2, blur=0.5, solarise=0.4)
    looks = Views(strong, View(size=8, jitter=None, flip=0.0))
    assert suited(looks) is looks
    half = suited(looks, colour=0.5)
    assert isinstance(half, Views)
    first, second = half.views
    assert first.jitter == (0.4, 0.2, 0.1, 0.05) and (first.grey, first.solarise, first.blur) == (
        0.1,
        0.2,
        0.5,
    )
    assert second == looks.views[1]
    none = suited(looks, upright=False, colour=0.0)
    assert isinstance(none, Views) and none.views[0].jitter is None and none.views[0].grey == 0
    assert [view.turn for view in none.views] == [True, True]


@pytest.mark.parametrize("looks", [Waves(Wave(size=64)), Texts(Text(size=8))])
def test_sounds_and_texts_are_neither_turned_nor_coloured(looks: Waves | Texts) -> None:
    for said in ({"upright": False}, {"mirror": False}, {"colour": 0.5}):
        with pytest.raises(ManyviewsError, match="are of images"):
            suited(looks, **said)


def test_what_has_no_mirror_image_is_never_flipped() -> None:
    looks = suited(Views(View(size=8, flip=0.3), View(size=8, flip=0.0, blur=0.5)), mirror=False)
    assert isinstance(looks, Views)
    assert looks.views == (View(size=8, flip=0.0), View(size=8, flip=0.0, blur=0.5))
    turned = suited(Views(View(size=8)), upright=False, mirror=False)
    assert isinstance(turned, Views) and turned.views == (View(size=8, turn=True, flip=0.0),)
    always = suited(Views(View(size=8, turn=True)), mirror=False)
    assert isinstance(always, Views) and always.views[0].turn  # of a method whose own views turn
    assert "flipped" not in turned.describe() and "flipped" in Views(View(size=8)).describe()


def test_what_changes_no_colours_cannot_change_them_less() -> None:
    with pytest.raises(ManyviewsError, match="views of this method have none"):
        suited(Views(View(size=8)), upright=False, colour=0.5)
    (view,) = suited(Views(View(size=8)), colour=0.5, elsewhere=True).views
    assert view == View(size=8)


def test_shifts_and_randaugments_colours_go_with_the_colours() -> None:
    grey = ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (0.0, 0.0, 0.1))
    strong = Views(View(size=8, pca=0.1, rgb=grey, randaugment=(2, 9)))
    for colour, pca, kept in ((0.5, 0.05, True), (0.0, 0.0, False)):
        looks = suited(strong, colour=colour)
        assert isinstance(looks, Views)
        (view,) = looks.views
        assert (view.pca, view.randaugment_colours) == (pca, kept)
