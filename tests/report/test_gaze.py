"""Where a net looks: true to its numbers, part of the page wherever the encoder can, absent elsewhere."""

import base64
import io
import re

import pytest
import torch
from PIL import Image
from torch import Tensor

from manyviews.nets import build, make
from manyviews.nets.watching import attention_distance, watch
from manyviews.report import Gaze, Story, page
from manyviews.report.gaze import as_pictures, gaze_pictures, heat, lit
from manyviews.report.run_page import gaze
from manyviews.views import plain


def images(count: int = 3, size: int = 40) -> Tensor:
    drawn = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=drawn)


def found(name: str = "small_vit", count: int = 3) -> Gaze:
    torch.manual_seed(0)
    seen = gaze(build(name), images(count), 32)
    assert seen is not None
    return seen


def test_distances_are_the_mean_over_images_whatever_the_batch(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    net, x = build("small_vit"), images(5)
    looks = watch(net, plain(x, 32))
    wanted = torch.stack([attention_distance(layer, (8, 8), 4) for layer in looks])
    monkeypatch.setattr("manyviews.report.run_page.AT_ONCE", 2)
    monkeypatch.setattr("manyviews.report.run_page.ROLLED", 3)
    seen = gaze(net, x, 32)
    assert seen is not None and seen.distance.shape == (6, 4)
    torch.testing.assert_close(seen.distance, wanted)
    assert seen.images.shape == (3, 3, 32, 32) and seen.rollout.shape == (3, 8, 8)


def test_an_encoder_that_reads_no_patches_has_no_gaze():
    assert gaze(build("small_resnet"), images(), 32) is None
    assert gaze(build("small_vit"), images(0), 32) is None


@pytest.mark.parametrize("variant", ["average", "2d", "sincos2d", "relative", "none", "layers", "hybrid"])
def test_every_variant_has_what_it_can_have(variant: str):
    seen = found(f"small_vit/{variant}", 2)
    assert (seen.filters is None) == (variant == "hybrid")
    assert (seen.heads is None) == (variant == "average")  # no class token that looks
    assert (seen.similarity is None) == (variant in ("relative", "none"))
    said = page(Story("t", "", "", gaze=seen))
    assert ("What the heads look at" in said) == (variant != "average")
    assert ("Patch embedding" in said) == (variant != "hybrid")
    assert ("Similarity of positions" in said) == (variant not in ("relative", "none"))


def test_the_page_shows_it_and_leaves_no_trace_without():
    said = page(Story("t", "", "", gaze=found()))
    for words in ("Where it looks", "Attention distance, pixels", "What the embedding comes from"):
        assert words in said
    assert said.count('alt="Item ') == 2 * 3 and said == page(Story("t", "", "", gaze=found()))
    assert "Where it looks" not in page(Story("t", "", ""))


def test_a_dot_a_head_lies_where_its_distance_is():
    distance = torch.tensor([[10.0, 30.0], [20.0, 40.0], [0.0, 20.0]])
    drawn = str(gaze_pictures(Gaze(distance, images(1), torch.rand(1, 2, 2)))[0])
    dots = [re.findall(r"M([\d.]+) ([\d.]+)h0", d) for d in re.findall(r'class="dot" d="([^"]*)"', drawn)]
    assert [len(layer) for layer in dots] == [2, 2, 2]
    top = 1.05 * 40
    for layer, row in zip(dots, distance.tolist(), strict=True):
        assert [float(y) for _, y in layer] == pytest.approx(
            [1000 * (1 - far / top) for far in row], abs=0.06
        )
    assert [float(layer[0][0]) for layer in dots] == pytest.approx([1000 / 6, 500, 5000 / 6], abs=0.06)
    assert "Mean of layer 1: 20 pixels; of layer 3: 10." in drawn


def test_a_picture_is_lit_where_the_map_is_high():
    grey = torch.full((3, 8, 8), 200, dtype=torch.uint8)
    shown = lit(grey, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert shown[0, 0, 0] == 200 and shown[0, 7, 7] == 30
    assert torch.equal(lit(grey, torch.full((2, 2), 0.3)), grey)


def test_each_head_s_map_is_the_class_token_s_row_of_the_last_layer(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    net, x = build("small_vit"), images(3)
    last = watch(net, plain(x, 32))[-1]
    monkeypatch.setattr("manyviews.report.run_page.AT_ONCE", 2)
    seen = gaze(net, x, 32)
    assert seen is not None and seen.heads is not None and seen.heads.shape == (3, 4, 8, 8)
    torch.testing.assert_close(seen.heads, last[:, :, 0, 1:].reshape(3, 4, 8, 8))
    rest = 1 - last[:, :, 0, 0]  # what the class token leaves to patches
    torch.testing.assert_close(seen.heads.sum((2, 3)), rest)


def test_heads_are_drawn_in_a_row_beside_their_image():
    image = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    corners = torch.zeros(1, 2, 2, 2)
    corners[0, 0, 0, 0] = corners[0, 1, 1, 1] = 1.0
    drawn = str(gaze_pictures(Gaze(torch.rand(3, 2), image, torch.rand(1, 2, 2), heads=corners))[2])
    data = re.search(r'src="data:image/(?:png|webp|jpeg);base64,([^"]+)"', drawn)
    assert data is not None and "each of 2 heads of the last layer" in drawn
    sheet = Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("L")
    assert sheet.size == (3 * 67 + 3, 70)
    lights = [[sheet.getpixel((left + x, 3 + x)) for x in (2, 61)] for left in (3, 70, 137)]
    assert lights[0] == pytest.approx([200, 200], abs=8)
    assert lights[1] == pytest.approx([200, 30], abs=8) and lights[2] == pytest.approx([30, 200], abs=8)


def test_heat_runs_from_minus_one_to_one():
    shown = heat(torch.tensor([[[-1.0, 0.0, 1.0, 2.0]]]))
    assert shown.shape == (1, 3, 1, 4)
    assert shown[0, :, 0].T.tolist() == [[29, 37, 80], [76, 111, 200], [253, 243, 196], [253, 243, 196]]


def test_filters_are_grey_where_they_are_zero():
    shown = as_pictures(torch.tensor([-2.0, 0.0, 2.0]).reshape(1, 1, 1, 3))
    assert shown.shape == (1, 3, 1, 3) and shown[0, 0, 0].tolist() == [0, 128, 255]


def test_wrong_shapes_are_refused_by_name():
    one, map_ = images(1), torch.rand(1, 2, 2)
    with pytest.raises(ValueError, match=r"gaze.distance is \[3\]"):
        Gaze(torch.rand(3), one, map_)
    with pytest.raises(ValueError, match=r"gaze.rollout is \[1, 2, 2\] for 2 images"):
        Gaze(torch.rand(3, 2), images(2), map_)
    with pytest.raises(ValueError, match=r"gaze.heads is \[2, 2, 2, 2\] for 1 images"):
        Gaze(torch.rand(3, 2), one, map_, heads=torch.rand(2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"gaze.similarity is \[2, 3, 3, 2\]"):
        Gaze(torch.rand(3, 2), one, map_, similarity=torch.rand(2, 3, 3, 2))
    with pytest.raises(ValueError, match=r"gaze.images is torch.float32"):
        Gaze(torch.rand(3, 2), one.float(), map_)


def test_large_grids_leave_places_out_and_say_so():
    similarity = torch.rand(14, 14, 14, 14)
    drawn = "".join(
        str(part)
        for part in gaze_pictures(
            Gaze(torch.rand(2, 2), images(1), torch.rand(1, 14, 14), similarity=similarity)
        )
    )
    assert "Some places are left out" in drawn
    assert "Some places are left out" not in page(Story("t", "", "", gaze=found()))


def test_a_net_of_another_size_than_it_was_made_for_can_be_watched():
    net = make("small_vit", size=16)
    seen = gaze(net, images(2), 32)
    assert seen is not None and seen.rollout.shape == (2, 8, 8)
    assert seen.similarity is not None and seen.similarity.shape == (4, 4, 4, 4)
