"""Ten crops against torchvision's, dense testing against a plain formula and where it has to change nothing."""

import itertools
import math
from typing import Any

import pytest
import torch
import torchvision.transforms.v2 as T
from torch import Tensor, nn

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.evaluation import evaluate
from manyviews.evaluation.crops import (
    SCALES,
    dense,
    grid_of_crops,
    mean_of_places,
    multi_crop,
    multi_scale,
    single,
    ten_crop,
    ten_crops,
)
from manyviews.evaluation.scores import Scores, scores
from manyviews.nets.classifier import Classifier
from manyviews.nets.encoder import Encoder, judging
from manyviews.rng import generator
from manyviews.views import MEAN, STD, normalise, plain
from manyviews.views.geometry import scaled

CLASSES = {"classes": 3, "size": 16}


class Unpadded(Encoder):
    """Convolutions without borders: a constant image is the same at every place, at every size."""

    def __init__(self) -> None:
        super().__init__(width=6)
        self.conv = nn.Conv2d(3, 6, 5, stride=2)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(x_BCHW).relu()


class Connected(Encoder):
    """A net whose last layer sees a whole 16-pixel window, and which can be slid over a larger image as a convolution."""

    def __init__(self) -> None:
        super().__init__(width=5)
        self.conv, self.fc = nn.Conv2d(3, 4, 4, stride=4), nn.Linear(4 * 4 * 4, 5)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.fc(self.conv(x_BCHW).relu().flatten(1)).relu()

    def dense(self, x_BCHW: Tensor) -> Tensor:
        weight = self.fc.weight.unflatten(1, (4, 4, 4))
        return nn.functional.conv2d(self.conv(x_BCHW).relu(), weight, self.fc.bias).relu()


@pytest.fixture
def head() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator("picture", seed))


@pytest.mark.parametrize(("height", "width", "size"), [(300, 260, 224), (64, 91, 56), (50, 50, 21)])
def test_ten_crops_are_torchvisions(height: int, width: int, size: int) -> None:
    image, short = picture(2, 3, height, width), round(size * 8 / 7)
    theirs = T.Compose([T.Resize(short, antialias=True), T.CenterCrop(short), T.TenCrop(size)])(image)
    ours = list(ten_crops(image, size))
    assert len(ours) == len(theirs) == 10
    for one, other in zip(ours, theirs, strict=True):
        expected = T.Normalize(MEAN, STD)(other.float() / 255)
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


def test_ten_crop_averages_the_softmax_of_ten(blobs, head) -> None:
    encoder, data = Unpadded(), blobs(30, seed=0, size=20)
    with judging(encoder):
        votes = torch.stack([head(encoder(crop)).softmax(1) for crop in ten_crops(data.values, 16)]).mean(0)
    right = (votes.argmax(1) == data.labels).double().mean().item()
    assert ten_crop(encoder, head, data, **CLASSES).top1 == pytest.approx(right)


def test_single_is_the_centre_of_each_image(blobs, head) -> None:
    encoder, data = Unpadded(), blobs(30, seed=0, size=20)
    with torch.no_grad():
        said = head(encoder(plain(data.values, 16))).argmax(1)
    assert single(encoder, head, data, **CLASSES).top1 == (said == data.labels).double().mean().item()


def test_dense_on_a_constant_image_is_its_single_crop() -> None:
    encoder = Unpadded()
    for scale in SCALES:
        image = torch.full((1, 3, 40, 52), 77, dtype=torch.uint8)
        x = normalise(scaled(image, round(16 * scale)).float() / 255)
        with torch.no_grad():
            once, everywhere = encoder(plain(image, 16)), mean_of_places(encoder, x)
        torch.testing.assert_close(everywhere, once, atol=1e-5, rtol=0)


def test_dense_is_the_mean_of_the_scores_of_every_window() -> None:
    torch.manual_seed(1)
    encoder, head, x = Connected(), nn.Linear(5, 3), torch.randn(2, 3, 24, 32)
    with torch.no_grad():
        windows = [
            head(encoder(x[:, :, y : y + 16, z : z + 16])) for y in range(0, 9, 4) for z in range(0, 17, 4)
        ]
        torch.testing.assert_close(head(mean_of_places(encoder, x)), torch.stack(windows).mean(0))


def test_multi_scale_averages_over_scales_and_mirror_images(blobs, head) -> None:
    encoder, data = Unpadded(), blobs(24, seed=0, size=20)
    votes = []
    with judging(encoder):
        for short in (16, 18, 27, 34, 46):  # 224, 256, 384, 480, 640, for a net of 16 pixels
            resized = T.Resize([short, short], antialias=True)(data.values)
            x = T.Normalize(MEAN, STD)(resized.float() / 255)
            votes += [head(encoder(each)).softmax(1) for each in (x, x.flip(-1))]
    right = (torch.stack(votes).mean(0).argmax(1) == data.labels).double().mean().item()
    assert multi_scale(encoder, head, data, **CLASSES).top1 == pytest.approx(right)
    assert [round(16 * scale) for scale in SCALES] == [16, 18, 27, 34, 46]
    one = dense(encoder, head, data, **CLASSES)
    assert one == multi_scale(encoder, head, data, scales=(8 / 7,), **CLASSES)
    with pytest.raises(ManyviewsError, match="at least 1"):
        multi_scale(encoder, head, data, scales=(0.5, 1), **CLASSES)


def test_images_on_disk_of_any_shape_are_judged_as_they_are(blobs, streamed, head) -> None:
    encoder, data = Unpadded(), blobs(30, seed=0, size=20)
    for look in (single, ten_crop, multi_crop, dense, multi_scale):
        assert look(encoder, head, streamed(data), **CLASSES) == look(encoder, head, data, **CLASSES)

    def wide(item: int) -> Tensor:
        return data.values[item] if item % 2 else data.values[item].repeat(1, 1, 2)

    assert multi_scale(encoder, head, streamed(data, wide), **CLASSES).n == 30


def test_nets_that_are_no_mean_over_places_are_refused(blobs, net, head) -> None:
    class Token(Unpadded):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            return self.grid(x_BCHW).amax((2, 3))

    data = blobs(9, seed=0)
    for encoder in (Token(), net):
        with pytest.raises(ManyviewsError, match='take "single", "ten-crop", or "multi-crop" without dense'):
            dense(encoder, head, data, **CLASSES)


def test_residual_nets_can_be_applied_everywhere(blobs) -> None:
    encoder = nets.build("cifar_resnet8", size=16).eval()
    torch.manual_seed(0)
    figures = multi_scale(encoder, nn.Linear(64, 3), blobs(12, seed=0), **CLASSES)
    assert figures.n == 12 and math.isclose(sum(map(sum, figures.confusion)), 12)


def test_figures_stand_side_by_side_by_name(blobs) -> None:
    encoder = nets.build("cifar_resnet8", size=16)
    torch.manual_seed(0)
    train, test = blobs(30, seed=0), blobs(15, seed=1)
    names = ["single", "ten-crop", "multi-crop", "dense", "multi-scale"]
    known = Classifier(nn.Linear(64, 3), train.classes)
    figures = evaluate(encoder, train, test, protocols=names, size=16, classifier=known)
    assert list(figures) == names and all(figures[name]["n"] == 15 for name in names)
    with pytest.raises(ManyviewsError, match='"single" judges the classifier that a run learned'):
        evaluate(encoder, train, test, protocols=["single"], size=16)
    others = Classifier(nn.Linear(64, 3), ("cat", "dog", "owl"))
    with pytest.raises(ManyviewsError, match=r"3 classes \(cat, dog, owl"):
        evaluate(encoder, train, test, protocols=["ten-crop"], size=16, classifier=others)


def test_multi_crop_averages_a_grid_of_crops_at_each_scale_and_goes_with_dense(
    blobs, head, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, data, seen = Unpadded(), blobs(24, seed=0, size=20), []

    def kept(shares_NK: Tensor, *told: Any) -> Scores:
        seen.append(shares_NK)
        return scores(shares_NK, *told)

    monkeypatch.setattr("manyviews.evaluation.crops.scores", kept)
    crops = []
    for short in (18, 27, 37):  # 256, 384 and 512, for a net of 16 pixels
        resized = T.Resize([short, short], antialias=True)(data.values)
        x = T.Normalize(MEAN, STD)(resized.float() / 255)
        places = [round((short - 16) * i / 4) for i in range(5)]
        assert places[0] == 0 and places[-1] == short - 16
        for cut in (x[:, :, top : top + 16, left : left + 16] for top in places for left in places):
            crops += [cut, cut.flip(-1)]
    assert len(crops) == 150
    with judging(encoder):
        by_crops = torch.stack([head(encoder(cut)).softmax(1) for cut in crops]).mean(0)
        whole = [
            T.Normalize(MEAN, STD)(T.Resize([short, short], antialias=True)(data.values).float() / 255)
            for short in (18, 27, 37)
        ]
        looks = [each for x in whole for each in (x, x.flip(-1))]
        by_dense = torch.stack([head(encoder(x)).softmax(1) for x in looks]).mean(0)
    for shares, options in ((by_crops, {}), ((by_crops + by_dense) / 2, {"with_dense": True})):
        assert multi_crop(encoder, head, data, **CLASSES, **options) == scores(shares, data.labels, 3)
        torch.testing.assert_close(seen[-1], shares)


def test_crops_of_a_wide_image_reach_from_edge_to_edge() -> None:
    image = picture(1, 3, 20, 40)
    crops = list(grid_of_crops(image, 16, 20, 3))
    assert len(crops) == 18 and all(crop.shape == (1, 3, 16, 16) for crop in crops)
    torch.testing.assert_close(crops[0], normalise(image[:, :, :16, :16].float() / 255))
    torch.testing.assert_close(crops[-2], normalise(image[:, :, 4:, 24:].float() / 255))
    torch.testing.assert_close(crops[-1], crops[-2].flip(-1))
    (middle, _) = grid_of_crops(image, 16, 20, 1)
    torch.testing.assert_close(middle, normalise(image[:, :, 2:18, 12:28].float() / 255))


class Counting(Unpadded):
    """Counts how often it looks."""

    looks = 0

    def grid(self, x_BCHW: Tensor) -> Tensor:
        self.looks += 1
        return super().grid(x_BCHW)


def test_where_left_and_right_differ_no_look_is_at_a_mirror_image(blobs, head) -> None:
    image = picture(1, 3, 30, 40)
    for crops, all_ten in (
        (ten_crops(image, 16, mirror=False), list(ten_crops(image, 16))[:5]),
        (grid_of_crops(image, 16, 20, 3, mirror=False), list(grid_of_crops(image, 16, 20, 3))[::2]),
    ):
        torch.testing.assert_close(list(crops), all_ten, rtol=0, atol=0)
    data, names = blobs(30, seed=0, size=20), ("ten-crop", "multi-crop", "dense", "multi-scale")
    looks: dict[bool, list[int]] = {True: [], False: []}
    for mirror, name in itertools.product((True, False), names):
        encoder = Counting()
        classifier = Classifier(head, data.classes)
        evaluate(encoder, data, data, protocols=(name,), classifier=classifier, size=16, mirror=mirror)
        looks[mirror].append(encoder.looks)
    fewer = [both - one for both, one in zip(looks[True], looks[False], strict=True)]
    assert fewer == [5, 3 * 5 * 5, 1, len(SCALES)]


@pytest.mark.parametrize(
    ("options", "says"),
    [({"scales": (0.5,)}, "at least 1"), ({"scales": ()}, "at least one"), ({"across": 0}, "0 crops")],
)
def test_a_grid_that_cannot_be(options, says, blobs, head) -> None:
    with pytest.raises(ManyviewsError, match=says):
        multi_crop(Unpadded(), head, blobs(9, seed=0), **CLASSES, **options)
