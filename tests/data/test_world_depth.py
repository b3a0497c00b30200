"""How far things are in the world, and how depth and mask travel with the images."""

import pytest
import torch
import torch.nn.functional as F

from manyviews.data import ItemSet, in_memory, open_data, require, summary
from manyviews.data.items import Rows
from manyviews.data.loader import batches
from manyviews.data.world import depth, latents, render, scene, world
from manyviews.errors import ManyviewsError
from manyviews.rng import generator
from manyviews.views import View, Views

ITEMS = 60


@pytest.fixture(scope="module")
def seen() -> ItemSet:
    return world("test", items=ITEMS, senses=True)


def test_senses_leave_the_world_as_it_was(seen):
    plain = world("test", items=ITEMS)
    assert plain.senses == {} and plain.values is not None and seen.values is not None
    assert torch.equal(plain.values, seen.values)
    shapes = {name: (sense.dtype, tuple(sense.shape)) for name, sense in seen.senses.items()}
    assert shapes == dict.fromkeys(("depth", "mask", "classes"), (torch.uint8, (ITEMS, 1, 32, 32)))
    assert torch.equal(seen.senses["mask"][:, 0], scene("test", range(ITEMS), 32).mask * 255)


def test_an_item_is_as_deep_in_any_company(seen):
    assert torch.equal(depth(latents("test", [50, 3]), 32), seen.senses["depth"][[50, 3]])


def test_nearest_is_the_blade_then_the_creature_then_the_ground():
    z = latents("test", range(ITEMS))
    far, mask = depth(z, 64)[:, 0].float(), render(z, 64)[1]
    z.blade[:, 2], z.pebble[..., 2] = 0, 0
    without = depth(z, 64)[:, 0].float()
    z.place.fill_(9)  # out of the frame
    ground = depth(z, 64)[:, 0].float()
    body = mask & (without < ground)
    assert (body.sum((1, 2)) > 0.95 * mask.sum((1, 2))).all(), (
        "the creature is nearer than the ground behind it"
    )
    assert (ground - without)[
        mask
    ].min() >= 0.03 * 255  # half of a body's least height: an edge pixel shows half of it
    assert (without <= ground + 1).all(), "and nothing else is there"
    blade = far < 0.16 * 255
    assert blade.any() and (far[blade] < without[blade]).all()
    assert far[mask & ~blade].min() > far[blade].max()


def test_the_ground_slopes_towards_the_eye_and_is_not_flat():
    z = latents("test", range(ITEMS))
    z.place.fill_(9)
    z.blade[:, 2], z.pebble[..., 2] = 0, 0
    ground = depth(z, 32)[:, 0].float()
    assert (ground[:, :8].mean((1, 2)) > ground[:, -8:].mean((1, 2)) + 30).all()
    across = ground.std(2).mean(1)
    assert (across > 0.5).all() and across.std() > 0.1


def test_a_body_is_thickest_inside():
    z = latents("test", range(ITEMS))
    z.blade[:, 2], z.pebble[..., 2] = 0, 0
    mask = render(z, 64)[1]
    far = depth(z, 64)[:, 0].float()
    z.place.fill_(9)
    high = depth(z, 64)[:, 0].float() - far
    inner = -F.max_pool2d(-mask[:, None].float(), 7, 1, 3)[:, 0] > 0  # three pixels and more from the outline
    outer = mask & ~inner
    whole = inner.any(1).any(1)
    assert whole.float().mean() > 0.9
    for item in whole.nonzero()[:, 0].tolist():
        assert high[item][inner[item]].mean() > high[item][outer[item]].mean() + 3


def test_half_the_size_is_the_same_depth():
    z = latents("test", range(40))
    halved = F.avg_pool2d(depth(z, 64).float(), 2)
    assert (halved - depth(z, 32).float()).abs().mean() < 2


# -- how they travel -----------------------------------------------------------------------------------------------


def numbered(items: int = 6, side: int = 8) -> ItemSet:
    pixels = torch.randint(0, 256, (items, 3, side, side), generator=generator("senses"), dtype=torch.uint8)
    return in_memory(
        "numbered", pixels, None, None, {"grey": pixels[:, :1].clone(), "pair": pixels[:, 1:].clone()}
    )


def test_a_subset_and_a_smaller_canvas_take_them_along():
    data = numbered()
    some = data.subset([4, 1])
    assert torch.equal(some.senses["pair"], data.senses["pair"][[4, 1]])
    small = data.resident(4)
    assert small.values is not None and small.senses["pair"].shape == (6, 2, 4, 4)
    assert torch.equal(small.senses["grey"], small.values[:, :1])
    assert data.to("cpu").senses.keys() == data.senses.keys()


def test_a_summary_counts_their_channels_and_no_digest_changes():
    data = numbered()
    bare = in_memory("numbered", data.read.values, None, None)  # pyright: ignore[reportFunctionMemberAccess]
    assert summary(data)["senses"] == {"grey": 1, "pair": 2} and summary(bare)["senses"] == {}
    assert summary(data)["digest"] == summary(bare)["digest"]


def test_batches_carry_what_is_asked_for():
    data = numbered()
    drawn = next(batches(data, batch=4, seed=0, senses=("grey",)))
    assert drawn.image is not None and list(drawn.senses) == ["grey"]
    assert torch.equal(drawn.senses["grey"], drawn.image[:, :1])
    assert next(batches(data, batch=4, seed=0)).senses == {}


@pytest.mark.parametrize("side", [16, 80])  # resampled by matrices, and one image at a time
def test_a_sense_is_cropped_where_the_view_is(side):
    data = numbered(side=side)
    assert data.values is not None
    views = Views(View(size=12, crop=(0.1, 0.5)), View(size=8, crop=None, scale=(1, 1), pad=2))
    draws = views.draw(6, "senses")
    images, pairs = views(data.values, draws), views.cropped(data.senses["pair"], draws)
    mean, std = torch.tensor([0.456, 0.406])[:, None, None], torch.tensor([0.224, 0.225])[:, None, None]
    torch.testing.assert_close(pairs[0], images[0][:, 1:] * std + mean, atol=1e-5, rtol=0)
    inside = pairs[1] > 0  # what is padded is 0 in a sense, and the mean colour in an image
    assert 0 < inside.float().mean() < 1
    assert (
        (pairs[1] - images[1][:, 1:] * std - mean).abs()[inside] < 0.01
    ).float().mean() > 0.6  # all but what touches the padding
    with pytest.raises(ValueError, match="must be uint8"):
        views.cropped(data.senses["pair"].float(), draws)
    with pytest.raises(ValueError, match="draws are for 6 images, not 4"):
        views.cropped(data.senses["pair"][:4], draws)


def test_what_is_missing_or_does_not_fit_is_said():
    data = numbered()
    assert data.values is not None
    with pytest.raises(ManyviewsError, match=r"numbered has no depth that .* it has grey, pair"):
        require(data, ("grey", "depth"))
    with pytest.raises(ManyviewsError, match="has no depth and no mask"):
        open_data(data.values, senses=("depth", "mask"))
    with pytest.raises(ManyviewsError, match=r"world.* has no sound that"):
        open_data("world", size=8, senses=("depth", "sound"))
    with pytest.raises(ManyviewsError, match=r"must be uint8 \[6, c, 8, 8\]"):
        in_memory("odd", data.values, None, None, {"depth": torch.zeros(6, 1, 8, 4, dtype=torch.uint8)})
    with pytest.raises(ManyviewsError, match="on disk"):
        ItemSet("far", ["a"], None, None, None, Rows(data.values), senses={"depth": data.senses["grey"]})
