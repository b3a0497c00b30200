"""CPC v2: four contexts, each blind to what it predicts; patches changed one by one; ablations of section 3.1."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec, find
from manyviews.nets.masked_conv import DIRECTIONS
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.views import View, normalise, picture
from manyviews.views.patchwise import elastic, needs, seen

SIZE, B, G = 20, 2, 4  # patches of 8, every 4 pixels: 4 x 4
CONFIG: dict[str, Any] = {"patch": 8, "stride": 4, "steps": 2, "hidden": 16, "blocks": 2, "dim": 12}
OFF: dict[str, Any] = {"drop": 0.0, "randaugment": 0, "elastic": 0.0, "jitter": 0.0, "grey": 0.0}
STEP = {"down": (1, 0), "up": (-1, 0), "right": (0, 1), "left": (0, -1)}


def build(net: str = "cifar_resnet8", size: int = SIZE, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = dataclasses.replace(find("cpcv2").config(**CONFIG), **changes)
    return find("cpcv2").method(config, net_factory(net, size), Spec(items=10, size=size))


def image(dtype: torch.dtype = torch.float32) -> Tensor:
    pixels = torch.randint(0, 256, (B, 3, SIZE, SIZE), generator=generator("cpcv2"))
    return normalise(pixels.float() / 255).to(dtype)


def unturned(method: Any, z: Tensor, to: str) -> Tensor:
    """The context of one direction, with rows and columns as in the image; by transposing and flipping."""
    context = method.context[to]
    match to:
        case "down":
            return context(z)
        case "up":  # half a turn
            return context(z.flip(2, 3)).flip(2, 3)
        case "right":  # a quarter turn clockwise and back
            return context(z.mT.flip(3)).flip(3).mT
        case _:
            return context(z.mT.flip(2)).flip(2).mT


@pytest.mark.parametrize("directions", [DIRECTIONS, ("down",), ("left", "up")])
def test_loss_is_equation_1_in_every_direction(directions: tuple[str, ...]) -> None:
    method = build(directions=directions, **OFF).double()
    x = image(torch.float64)
    z = method.encoder.grid(normalise(picture(x).double() / 255))
    keys = method.target(z.permute(0, 2, 3, 1).reshape(-1, 64))
    losses = []
    for to in directions:
        c, (down, across) = unturned(method, z, to), STEP[to]
        for k, W_k in zip((2, 3), method.W[to], strict=True):
            each = []
            for b in range(B):
                for i in range(G):
                    for j in range(G):
                        row, column = i + k * down, j + k * across
                        if 0 <= row < G and 0 <= column < G:
                            f = keys @ W_k(c[b, :, i, j]) * 0.1
                            own = torch.tensor([b * G * G + row * G + column])
                            each.append(F.cross_entropy(f[None], own))
            losses.append(torch.stack(each).mean())
    out = method.loss(Batch([x], torch.arange(B)), 0.0)
    torch.testing.assert_close(out.loss, torch.stack(losses).mean(), rtol=1e-6, atol=1e-6)
    weight = next(method.encoder.parameters())
    ours, plain = (torch.autograd.grad(x, weight)[0] for x in (out.loss, torch.stack(losses).mean()))
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("to", DIRECTIONS)
def test_no_context_depends_on_a_pixel_of_its_targets(to: str) -> None:
    method = build().double()
    x = image(torch.float64).requires_grad_()
    c, (down, across) = unturned(method, method.encoder.grid(x), to), STEP[to]
    for k in method.k:
        for i in range(G):
            for j in range(G):
                row, column = i + k * down, j + k * across
                if 0 <= row < G and 0 <= column < G:
                    (grad,) = torch.autograd.grad(c[0, :, i, j].sum(), x, retain_graph=True)
                    assert grad.any()
                    assert not grad[0, :, 4 * row : 4 * row + 8, 4 * column : 4 * column + 8].any()


def test_each_direction_has_a_context_of_its_own() -> None:
    one, four = build(directions=("down",)), build()
    assert set(four.context) == set(DIRECTIONS) and set(one.context) == {"down"}
    per_context = sum(p.numel() for p in one.context.parameters())
    assert sum(p.numel() for p in four.context.parameters()) == 4 * per_context


def test_batch_norm_stays_only_where_asked_for() -> None:
    def batch_norms(method: nn.Module) -> int:
        return sum(isinstance(module, nn.BatchNorm2d) for module in method.modules())

    assert batch_norms(build()) == 0 and batch_norms(build(layer_norm=False)) > 0


def test_the_papers_grid_and_step() -> None:
    """80 pixels, every 36, of 260: the third row is the first that shares no pixel (appendix A ignores two)."""
    config, recipe = find("cpcv2").recipes["paper"]
    method = find("cpcv2").method(
        config, net_factory("small_resnet", recipe.size), Spec(items=10, size=recipe.size)
    )
    assert method.g == 6 and list(method.k) == [3]


# -- patches -----------------------------------------------------------------------------------------------------


def test_every_patch_is_changed_on_its_own_and_only_as_asked() -> None:
    x = image()[:1, :, :8, :8].repeat(32, 1, 1, 1)
    torch.manual_seed(0)
    torch.testing.assert_close(build(**OFF).augmented(x), x, rtol=1e-5, atol=1e-5)
    for changed in ({"drop": 0.5}, {"randaugment": 2}, {"elastic": 0.5}, {"jitter": 1.0}, {"grey": 0.5}):
        torch.manual_seed(0)
        out = build(**OFF | changed).augmented(x)
        assert len(out.flatten(1).unique(dim=0)) > 1, changed


def test_a_patch_is_seen_as_a_view_of_it_would_be() -> None:
    x = image()[:, :, :8, :8]
    grey = seen(x, torch.zeros(B, needs(view := View(size=8, grey=1.0))), view)
    shown = picture(grey).float()
    assert torch.equal(shown[:, 0], shown[:, 1]) and torch.equal(shown[:, 0], shown[:, 2])
    assert not torch.equal(grey, x)


def test_elastic_moves_pixels_no_further_than_it_may() -> None:
    """Of a picture that shows each pixel's own place, the result shows where each pixel came from."""
    place = torch.arange(16.0).expand(64, 1, 16, 16)
    u = torch.rand(64, 33, generator=generator("elastic"))
    moved = (elastic(place, u, 0.5, 0.1) - place).abs().flatten(1).amax(1)
    assert moved.max() <= 0.1 * 16 + 1e-4 and moved.max() > 0.05 * 16
    still = u[:, 0] >= 0.5
    assert moved[still].max() < 1e-4 < moved[~still].min()


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"directions": ()}, "not nowhere"),
        ({"directions": ("down", "inwards")}, "not down, inwards"),
        ({"steps": 3}, "takes a grid of 5 rows or more, but an image of 20 pixels has 4"),
        ({"patch": 24}, "An image of 20 pixels holds no patch of 24"),
    ],
)
def test_what_cannot_be_predicted_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        build(**changes)


def test_a_net_that_cannot_see_patches_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="63 pixels a side, not 8"):
        build(net="alexnet")


def test_half_precision_moves_no_pixel() -> None:
    method, x, shown = build(), image(), list[Tensor]()
    latents = method.encoder.latents
    method.encoder.latents = lambda x_NCPP, *cells: shown.append(x_NCPP) or latents(x_NCPP, *cells)
    for half in (True, False):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            method.loss(Batch([x], torch.arange(B)), 0.0)
    assert torch.equal(*shown)
