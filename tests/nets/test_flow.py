"""A flow is undone exactly, looks at one pixel at a time, and preserves volume where it says so."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.evaluation.descent import layers
from manyviews.nets import interop
from manyviews.nets.flow import SPACES, Flow, Parted, load_flow
from manyviews.rng import generator
from manyviews.views import normalise, spaces

SIZE = 16


def stirred(volume: bool, blocks: int = 3, seed: int = 0) -> Flow:
    """A flow that is not the identity it begins as."""
    torch.manual_seed(seed)
    g = Flow(blocks, 8, volume).double()
    for weight in g.parameters():
        nn.init.normal_(weight, std=0.5)
    return g


def colours(items: int = 2) -> Tensor:
    return torch.rand(items, 3, 4, 5, generator=generator("colours"), dtype=torch.float64) * 2 - 1


@given(volume=st.booleans(), blocks=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_what_comes_out_can_be_undone(volume: bool, blocks: int, seed: int) -> None:
    g, x = stirred(volume, blocks, seed), colours()
    y = g(x)
    assert (y - x).abs().max() > 1e-3
    torch.testing.assert_close(g.inverse(y), x, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("volume", [True, False])
def test_volume_is_preserved_where_it_is_to_be(volume: bool) -> None:
    g, pixel = stirred(volume), torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: g(x[None, :, None, None]).flatten(), pixel)
    assert isinstance(jacobian, Tensor)
    determinant = float(torch.linalg.det(jacobian))
    assert (determinant == pytest.approx(1, abs=1e-9)) == volume and determinant > 0


@pytest.mark.parametrize("volume", [True, False])
def test_no_pixel_sees_another(volume: bool) -> None:
    g, x = stirred(volume), colours()
    other = x.clone()
    other[0, :, 2, 3] += 0.1
    changed = (g(other) != g(x)).any(1)
    assert changed[0, 2, 3] and changed.sum() == 1


@pytest.mark.parametrize("name", ["vp_rgb(cifar_resnet8, 2, 8)", "nvp_ydbdr(cifar_resnet8, 2, 8)"])
def test_it_begins_as_the_channels_and_each_net_sees_its_own(name: str) -> None:
    torch.manual_seed(0)
    encoder = nets.build(name, size=SIZE).eval()
    assert isinstance(encoder, Parted)
    x = torch.rand(3, 3, SIZE, SIZE, generator=generator("flow"))
    channels = spaces.balanced(x, "ydbdr" if "ydbdr" in name else "rgb")
    h_1, h_2 = encoder(normalise(x)).split(encoder.widths, 1)
    torch.testing.assert_close(h_1, encoder.light(channels[:, :1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(h_2, encoder.colour(channels[:, 1:]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.grid(normalise(x)).mean((2, 3)), encoder(normalise(x)))


@pytest.mark.parametrize("space", SPACES)
def test_its_views_are_taken_from_the_run_that_learned_them(space: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = nets.build(f"nvp_{space}(cifar_resnet8, 2, 8)", size=SIZE)
    assert isinstance(encoder, Parted)
    nn.init.normal_(next(encoder.g.parameters()))
    interop.save_encoder(tmp_path, encoder, {})
    g, within = load_flow(str(tmp_path))
    assert within == f"nvp_{space}({{}}, 2, 8)"
    assert all(torch.equal(g.state_dict()[key], value) for key, value in encoder.g.state_dict().items())


def test_its_layers_lie_side_by_side_and_the_flow_learns_with_the_first() -> None:
    encoder = nets.build("vp_rgb(cifar_resnet8, 2, 8)", size=SIZE)
    assert isinstance(encoder, Parted)
    found, alone = layers(encoder), layers(encoder.light)
    assert len(found) == len(alone)
    ids = [{id(p) for p in layer} for layer in found]
    assert {id(p) for p in encoder.g.parameters()} < ids[0]
    assert {id(p) for p in encoder.parameters()} == set().union(*ids) and sum(map(len, found)) == len(
        set().union(*ids)
    )


def test_what_is_no_flow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"no finished run at .*none.*infomin_learned --out RUN"):
        load_flow(str(tmp_path / "none"))
    interop.save_encoder(tmp_path / "plain", nets.build("cifar_resnet8", size=SIZE), {})
    with pytest.raises(ManyviewsError, match="learned no views"):
        load_flow(str(tmp_path / "plain"))


@pytest.mark.parametrize(
    ("name", "channels", "says"),
    [
        ("vp_rgb(cifar_resnet8)", 3, "two numbers of at least 1"),
        ("vp_rgb(cifar_resnet8, 4)", 3, "two numbers of at least 1"),
        ("vp_rgb(cifar_resnet8, 0, 8)", 3, "two numbers of at least 1"),
        ("vp_rgb(cifar_resnet8, 4, 8)", 1, "3 channels, not 1"),
    ],
)
def test_a_flow_that_cannot_be_says_what_it_takes(name: str, channels: int, says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        nets.build(name, in_channels=channels, size=SIZE)
