"""A class of every pixel, cropped where the view looks: never mixed with its neighbours, always under the same picture."""

import pytest
import torch
import torch.nn.functional as F

from manyviews.rng import generator
from manyviews.views import View, Views
from manyviews.views.geometry import crop_boxes
from manyviews.views.view import FLIP

HEIGHT, WIDTH = 48, 72


def ids(items: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (items, HEIGHT, WIDTH), generator=generator("ids"), dtype=torch.uint8)


def test_ids_are_those_of_the_nearest_pixels():
    view = View(size=20, crop=(0.05, 1.0))
    views, given = Views(view), ids()
    draws = views.draw(8, "nearest")
    boxes = crop_boxes(view, draws.uniforms[0], HEIGHT, WIDTH).tolist()
    flips = (draws.uniforms[0][:, FLIP] < view.flip).tolist()
    assert set(flips) == {False, True}
    (found,) = views.cropped_ids(given, draws)
    for k, ((top, left, h, w), flip) in enumerate(zip(boxes, flips, strict=True)):
        part = given[k : k + 1, None, top : top + h, left : left + w].double()
        due = F.interpolate(part, (20, 20), mode="nearest-exact")[0, 0].to(torch.uint8)
        assert torch.equal(found[k], due.flip(-1) if flip else due)


@pytest.mark.parametrize(
    "view",
    [View(size=24, crop=(0.1, 0.6)), View(size=24, crop=None, scale=(1, 2)), View(size=24, crop=None)],
    ids=["crop", "scale", "centre"],
)
def test_they_follow_the_image(view: View):
    """Two classes painted black and white: where the picture is clearly one of them, the id says which."""
    wave = torch.sin(torch.arange(HEIGHT)[:, None] / 9.0) + torch.cos(torch.arange(WIDTH) / 11.0)
    given = (wave > 0.3).to(torch.uint8).expand(8, HEIGHT, WIDTH).clone()
    images = (given * 255)[:, None].expand(-1, 3, -1, -1).contiguous()
    views = Views(view)
    draws = views.draw(8, "painted")
    seen = views.cropped(images, draws)[0][:, 0]
    said = views.cropped_ids(given, draws)[0].float()
    sure = (seen < 0.05) | (seen > 0.95)
    assert sure.float().mean() > 0.7 and 0.05 < said.mean() < 0.95
    assert torch.equal(said[sure], seen[sure].round())
    assert (
        (said - seen).abs() > 0.51
    ).float().mean() < 0.03  # a border lies in a pixel, and here or there of it


def test_padding_is_void_and_void_stays_void():
    views = Views(View(size=24, crop=None, scale=(1, 1), pad=6, flip=0))
    draws = views.draw(8, "padded")
    (found,) = views.cropped_ids(torch.full((8, HEIGHT, WIDTH), 7, dtype=torch.uint8), draws, outside=255)
    assert found.unique().tolist() == [7, 255]
    white = torch.full((8, 1, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    inside = views.cropped(white, draws)[0][:, 0]
    assert torch.equal(found[inside > 0.99].unique(), torch.tensor([7], dtype=torch.uint8))
    assert torch.equal(found[inside == 0].unique(), torch.tensor([255], dtype=torch.uint8))


def test_what_does_not_fit_is_said():
    views = Views(View(size=8))
    draws = views.draw(8, "odd")
    with pytest.raises(ValueError, match=r"Ids must be uint8 \[B, H, W\]"):
        views.cropped_ids(ids().long(), draws)
    with pytest.raises(ValueError, match="draws are for 8 images, not 4"):
        views.cropped_ids(ids(4), draws)
