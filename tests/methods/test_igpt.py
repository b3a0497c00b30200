"""iGPT: its two losses written plainly, a palette of the training pixels alone, what it shows, what cannot be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import manyviews
from manyviews import learn
from manyviews.data import ItemSet, colour_sample, in_memory
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.masked.igpt import IGPT, Config
from manyviews.nets.igpt import ImageGPT
from manyviews.nets.interop import load_encoder
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.views import plain

SIZE, V, NET = 12, 9, "small_igpt/8px/2x32"


def data(items: int = 24, low: int = 0, high: int = 256) -> ItemSet:
    pixels = torch.randint(low, high, (items, 3, SIZE, SIZE), generator=generator("igpt"), dtype=torch.uint8)
    return in_memory("pixels", pixels, None, None)


def built(net: str = NET, images: ItemSet | None = None, seed: int = 0, **settings: Any) -> IGPT:
    some = images or data()
    spec = Spec(items=len(some), size=SIZE, colours=lambda: colour_sample(some))
    torch.manual_seed(seed)
    method = IGPT(Config(**({"colours": V} | settings)), net_factory(net, SIZE), spec)
    with torch.no_grad():
        method.net.out.weight.normal_(std=0.3)  # it starts at zero, where all colours are as likely
    return method


def batch(B: int = 4) -> Batch:
    return Batch([torch.randn(B, 3, SIZE, SIZE, generator=generator("x"))], torch.arange(B))


# -- objectives --------------------------------------------------------------------------------------------------------


def test_the_next_pixels_loss_is_minus_log_p_of_every_pixel() -> None:
    method, some = built(), batch()
    out = method.loss(some, 0.5)
    net = method.net
    x_BN = net.quantised(some.views[0])
    total = 0.0
    for i in range(64):  # p(x_i | x_1 ... x_i-1): what stands at i and after it is left out
        told_BV = net.out(net.encode(torch.cat([x_BN[:, :i], torch.zeros_like(x_BN[:, i:])], 1))[:, i])
        total = total - told_BV.log_softmax(1).gather(1, x_BN[:, i : i + 1]).mean()
    torch.testing.assert_close(out.loss, total / 64)
    torch.testing.assert_close(out.log["perplexity"], out.loss.exp())


def test_the_masked_loss_is_the_mean_over_what_is_hidden_by_image() -> None:
    method, some = built(objective="masked", ratio=0.2), batch(6)
    torch.manual_seed(3)
    out = method.loss(some, 0.5)
    torch.manual_seed(3)
    M_BN = method.hidden(6, torch.device("cpu"))
    net = method.net
    assert M_BN is not None and not net.causal and 0 < M_BN.sum(1).min() < M_BN.sum(1).max()
    x_BN = net.quantised(some.views[0])
    h_BND = net.tokens(x_BN)
    h_BND = (
        torch.where(M_BN[:, :, None], 0, h_BND) + net.positions.weight
    )  # the place is kept, the colour is not
    for block in net.blocks:
        h_BND = block(h_BND)
    log_p = net.out(net.norm(h_BND)).log_softmax(2).gather(2, x_BN[:, :, None])[:, :, 0]
    expected = torch.stack([-log_p[b][M_BN[b]].mean() for b in range(6)]).mean()
    torch.testing.assert_close(out.loss, expected)


def test_pixels_are_hidden_with_the_probability_of_the_ratio() -> None:
    method = built(objective="masked")
    torch.manual_seed(0)
    M_BN = method.hidden(500, torch.device("cpu"))
    assert M_BN is not None and M_BN.float().mean().item() == pytest.approx(0.15, abs=0.006)
    assert len(M_BN.sum(1).unique()) > 10  # each by itself: how many differs by image
    assert built().hidden(3, torch.device("cpu")) is None


def test_every_parameter_learns_either_way() -> None:
    for objective in ("next", "masked"):
        method = built(objective=objective)
        method.loss(batch(), 0.0).loss.backward()
        for name, parameter in method.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, (objective, name)


# -- the palette -------------------------------------------------------------------------------------------------------


def test_the_palette_is_of_the_training_pixels_and_the_seeds() -> None:
    dark = data(high=60)
    palette_V3 = built(images=dark).net.get_buffer("palette")
    assert palette_V3.shape == (V, 3) and palette_V3.max() < 60 / 127.5 - 1 and palette_V3.min() > -1
    assert torch.equal(palette_V3, built(images=dark).net.get_buffer("palette"))
    assert not torch.equal(palette_V3, built(images=dark, seed=1).net.get_buffer("palette"))
    assert len(palette_V3.unique(dim=0)) == V


def test_few_colours_are_found_as_they_are() -> None:
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [10, 20, 200], [90, 90, 90]], dtype=torch.uint8)
    picks = torch.randint(4, (10, SIZE, SIZE), generator=generator("few"))
    method = built(images=in_memory("few", colours[picks].movedim(3, 1), None, None), colours=4)
    found = (127.5 * (method.net.get_buffer("palette") + 1)).round()
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in colours.float().tolist()}


def test_a_net_that_has_learned_keeps_its_palette() -> None:
    first = built()
    other = data(high=30)
    spec = Spec(items=24, size=SIZE, colours=lambda: colour_sample(other))
    second = IGPT(Config(colours=V), net_factory(NET, SIZE, first.encoder), spec)
    assert torch.equal(second.net.get_buffer("palette"), first.net.get_buffer("palette"))


# -- what it shows -----------------------------------------------------------------------------------------------------


def test_it_shows_completions_and_samples_in_its_own_colours() -> None:
    method = built().eval()
    image = data(5).values
    assert image is not None
    with torch.no_grad():
        shown = method.pictures(image)
    sheet, samples = shown["image, upper half, how it may go on"], shown["samples"]
    assert sheet.shape == (5, 5, 3, 8, 8) and samples.shape == (2, 8, 3, 8, 8) and sheet.dtype == torch.uint8
    assert torch.equal(sheet[:, 0], method.net.drawn(method.net.quantised(plain(image, SIZE))))
    assert all(torch.equal(column[:, :, :4], sheet[:, 0, :, :4]) for column in sheet.unbind(1))
    assert (sheet[:, 1, :, 4:] == 128).all() and not torch.equal(sheet[:, 2], sheet[:, 3])
    known = method.net.drawn(torch.arange(V).repeat(8)[None, :64])[0].flatten(1).T.unique(dim=0)
    assert len(torch.cat([known, samples.movedim(2, -1).reshape(-1, 3)]).unique(dim=0)) == len(known)


def test_it_shows_what_it_tells_of_hidden_pixels() -> None:
    method = built(objective="masked", ratio=0.5).eval()
    image = data(3).values
    assert image is not None
    with torch.no_grad():
        (sheet,) = method.pictures(image).values()
    assert sheet.shape == (3, 3, 3, 8, 8)
    hidden = (sheet[:, 1] == 128).all(1, keepdim=True).expand(3, 3, 8, 8)
    assert 0.3 < hidden.float().mean() < 0.7
    assert torch.equal(sheet[:, 2][~hidden], sheet[:, 0][~hidden])
    assert not torch.equal(sheet[:, 2][hidden], sheet[:, 0][hidden])


def test_it_learns_what_comes_next_and_its_palette_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "judge", lambda *_: None)
    stripes = np.zeros((32, 3, SIZE, SIZE), np.uint8)
    stripes[:, :, :, ::3] = 250  # after every bright column two dark ones
    run = manyviews.pretrain(
        "igpt", stripes, out=tmp_path / "run", net=NET, size=SIZE, batch=16, budget="30steps", quiet=True, lr=1e-2,
        colours=4, scale=(1.0, 1.0), flip=0.0,
    )  # fmt: skip
    first, last = run.metrics()[0], run.metrics()[-1]
    assert last["loss"] < 0.3 * first["loss"] and first["loss"] == pytest.approx(np.log(4), abs=1e-3)
    encoder, _ = load_encoder(run.path)
    assert isinstance(encoder, ImageGPT) and encoder.layer == 1
    assert encoder.built is not None and encoder.built.name == f"colours({NET}, 4)"
    assert sorted(file.stem for file in (run.path / "pictures").iterdir()) == [
        "image, upper half, how it may go on",
        "samples",
    ]


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"colours": 1}, "--colours is 1; a palette needs 2 or more"),
        ({"colours": 99_999}, "points cannot make 99999 clusters"),
        ({"ratio": 0.0}, r"--ratio is 0\.0; some pixels have to be hidden and some seen"),
        ({"ratio": 1.0}, r"--ratio is 1\.0; some pixels have to be hidden and some seen"),
        ({"objective": "previous"}, 'Objective is "next" or "masked", not "previous"'),
        ({"scale": (0.5, 1.0)}, r"--scale is 0\.5 1\.0.*scale rises from 1 or more"),
        ({"layer": 3}, "no layer 3 to embed at; the net has layers 0 to 2"),
        ({"net": "cifar_resnet8"}, '"cifar_resnet8" does not read; take --net small_igpt or igpt_s'),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        built(**settings)


def test_data_without_colours() -> None:
    with pytest.raises(ManyviewsError, match="no colours to make a palette of: give images"):
        IGPT(Config(colours=V), net_factory(NET, SIZE), Spec(items=4, size=SIZE))


def test_views_are_squares_from_anywhere_in_a_mirror() -> None:
    (view,) = built(scale=(1.0, 1.25), pad=4, flip=0.5).views().views
    assert (view.crop, view.scale, view.pad, view.mirror, view.flip) == (None, (1.0, 1.25), 4, True, 0.5)
    assert built().views().views[0].flip == 0.0
