"""AlexNet against torchvision's, the paper's table of layers and its formulas written out."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import alexnet as file
from manyviews.nets import build, make
from manyviews.nets.alexnet import NAMES, PIXELS, AlexNet, AlexNetCIFAR, Local
from manyviews.nets.names import from_theirs, to_theirs
from manyviews.nets.norms import response_norm


def images(batch: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def papers() -> AlexNet:
    torch.manual_seed(0)
    return AlexNet().eval()


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.against("torchvision", "alexnet")
def test_torchvision_weights_give_torchvision_features_and_come_back():
    from torchvision import models

    theirs = models.alexnet().eval()
    with torch.device("meta"):
        ours = build("alexnet/2014", size=96).eval()
    ours.load_state_dict(
        from_theirs(NAMES["torchvision"], theirs.state_dict(), ours.state_dict()), assign=True
    )
    back = to_theirs(NAMES["torchvision"], ours.state_dict())
    assert all(torch.equal(back.pop(f"{name}"), tensor) for name, tensor in theirs.state_dict().items()
               if not name.startswith("classifier.6."))  # fmt: skip
    assert not back
    theirs.classifier[6] = nn.Identity()
    with torch.no_grad():
        for size in (96, 224):
            x = images(size=size)
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(ours.grid(x), theirs.features(x), rtol=1e-5, atol=1e-5)


def test_with_batch_norm_it_is_the_net_of_deepcluster():
    torch.manual_seed(0)
    ours = build("alexnet/bn", size=96)
    assert isinstance(ours, AlexNet) and isinstance(ours.norms, nn.ModuleList)
    for norm in ours.norms:
        nn.init.normal_(norm.weight)  # pyright: ignore[reportArgumentType]
    layers: list[nn.Module] = []
    for i, norm in enumerate(ours.norms, start=1):
        layers += [getattr(ours, f"conv{i}"), norm, nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2)] if i in (1, 2, 5) else []
    assert [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)] == [
        96,
        256,
        384,
        384,
        256,
    ]
    assert all(layer.groups == 1 for layer in layers if isinstance(layer, nn.Conv2d))
    x = images(batch=4, size=96)
    torch.testing.assert_close(ours.grid(x), copy.deepcopy(nn.Sequential(*layers))(x))
    assert not any(isinstance(part, nn.LocalResponseNorm) for part in ours.modules())


def test_other_weights_are_refused_by_name():
    with torch.device("meta"):
        papers, later = make("alexnet"), make("alexnet/2014")
    theirs = to_theirs(NAMES["torchvision"], later.state_dict())
    with pytest.raises(ManyviewsError, match=r"conv1\.weight \[64, 3, 11, 11\], not \[96, 3, 11, 11\]"):
        from_theirs(NAMES["torchvision"], theirs, papers.state_dict())


def test_the_papers_net_has_60_97_million_parameters():
    # A layer at a time, with fc8: 48 and 192 are the channels that one GPU's filters see.
    kernels = [(96, 3, 11), (256, 48, 5), (384, 256, 3), (384, 192, 3), (256, 192, 3)]
    convolutions = sum(c_out * (c_in * k * k + 1) for c_out, c_in, k in kernels)
    connected = 4096 * (256 * 36 + 1) + 4096 * 4097
    with torch.device("meta"):
        net = make("alexnet")
        assert parameters(net) == convolutions + connected
        assert parameters(net) + 4097 * 1000 == 60_965_224
        assert parameters(make("alexnet/2014")) + 4097 * 1000 == 61_100_840  # torchvision documents 61100840


def test_the_maps_have_the_papers_sides():
    net, sides = copy.copy(make_on_meta("alexnet")), {}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        net.get_submodule(name).register_forward_hook(
            lambda _, __, y, name=name: sides.update({name: (y.shape[1], y.shape[2])})
        )
    assert net.grid(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 256, 6, 6)
    assert sides == {
        "conv1": (96, 55),
        "conv2": (256, 27),
        "conv3": (384, 13),
        "conv4": (384, 13),
        "conv5": (256, 13),
    }


def make_on_meta(name: str) -> AlexNet:
    with torch.device("meta"):
        net = make(name)
    assert isinstance(net, AlexNet)
    return net


def papers_lrn(a_BCHW: Tensor, k: float, n: int, alpha: float, beta: float) -> Tensor:
    """Section 3.3, b^i = a^i / (k + alpha * sum over j of (a^j)^2) ^ beta, a channel at a time."""
    N = a_BCHW.shape[1]
    out = torch.empty_like(a_BCHW)
    for i in range(N):
        near = range(max(0, i - n // 2), min(N - 1, i + n // 2) + 1)
        energy = torch.stack([a_BCHW[:, j] ** 2 for j in near]).sum(dim=0)
        out[:, i] = a_BCHW[:, i] / (k + alpha * energy) ** beta
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.floats(0.1, 300), st.integers(0, 9))
def test_response_normalisation_is_the_papers_formula(channels: int, scale: float, seed: int):
    a = (
        torch.randn(2, channels, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        * scale
    )
    torch.testing.assert_close(response_norm()(a), papers_lrn(a, k=2, n=5, alpha=1e-4, beta=0.75))
    whole = papers_lrn(PIXELS * a, k=2, n=5, alpha=1e-4, beta=0.75)  # the same activations in steps of 256
    torch.testing.assert_close(PIXELS * response_norm(PIXELS)(a), whole)


def test_the_net_is_the_papers_layer_by_layer(papers: AlexNet):
    """Two GPUs, as the paper draws them: each has half of the channels, and they meet at the third convolution."""
    conv, pool = nn.functional.conv2d, nn.functional.max_pool2d

    def halves(x: Tensor, layer: nn.Conv2d, padding: int) -> Tensor:
        assert layer.bias is not None
        gpus = zip(x.chunk(2, 1), layer.weight.chunk(2), layer.bias.chunk(2), strict=True)
        return torch.cat([conv(*gpu, padding=padding) for gpu in gpus], dim=1)

    with torch.no_grad():
        x = images(size=224, batch=1)
        y = conv(x * PIXELS, papers.conv1.weight, papers.conv1.bias, stride=4, padding=2).relu()
        y = pool(papers_lrn(y, k=2, n=5, alpha=1e-4, beta=0.75), 3, 2)
        y = halves(y, papers.conv2, 2).relu()
        y = pool(papers_lrn(y, k=2, n=5, alpha=1e-4, beta=0.75), 3, 2)
        y = conv(y, papers.conv3.weight, papers.conv3.bias, padding=1).relu()
        y = halves(halves(y, papers.conv4, 1).relu(), papers.conv5, 1).relu()
        y = pool(y, 3, 2)
        torch.testing.assert_close(papers.grid(x), y, rtol=1e-4, atol=1e-4)
        for fc in (papers.fc6, papers.fc7):
            y = (y.flatten(1) @ fc.weight.T + fc.bias).relu()
        torch.testing.assert_close(papers(x), y, rtol=1e-4, atol=1e-4)


def test_it_starts_as_the_paper_says(papers: AlexNet):
    for name, layer in papers.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02), name
            one = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            assert layer.bias is not None and (layer.bias == (1.0 if one else 0.0)).all(), name


def test_dropout_halves_fc6_and_fc7_in_training_alone(papers: AlexNet):
    net, x = copy.deepcopy(papers), images(size=64)
    net.fc6.weight.data.zero_()
    net.fc7.weight.data.zero_()  # all that is left of both are their biases, which are 1
    seen: list[Tensor] = []
    net.fc7.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        torch.manual_seed(0)
        seen.append(net.train()(x))
        for outputs in seen:
            assert set(outputs.flatten().tolist()) == {0.0, 2.0}
            assert (outputs == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
        assert (net.eval()(x) == 1).all()


def test_variants_change_what_they_say():
    torch.manual_seed(0)
    nets = {name: AlexNetCIFAR(**options) for name, options in {"": {}, **file.VARIANTS}.items()}
    state = nets[""].state_dict()
    out = {}
    for name, net in nets.items():
        net.load_state_dict(state)  # no variant of the same size has other tensors
        out[name] = net(images() * 100)
        assert isinstance(net.lrn, nn.Identity) == (name == "no_lrn")
        assert net.pool.kernel_size == (2 if name == "no_overlap" else 3)
        assert (out[name] < 0).any() == (name == "tanh")
    assert all(not torch.equal(out[""], out[name]) for name in file.VARIANTS)


def test_the_cifar_nets_normalisation_has_the_codes_numbers():
    net, a = AlexNetCIFAR(), images(size=3, channels=64) * 100
    torch.testing.assert_close(net.lrn(a), papers_lrn(a, k=1, n=9, alpha=1e-3 / 9, beta=0.75))


@pytest.mark.parametrize("size", [32, 62])
def test_small_images_are_refused_with_what_to_take(size: int):
    with torch.device("meta"), pytest.raises(ManyviewsError, match=r"at least 63 pixels.*alexnet_cifar"):
        build("alexnet", size=size)


def test_63_pixels_are_the_least(papers: AlexNet, monkeypatch: pytest.MonkeyPatch):
    with torch.no_grad():
        assert papers(images(size=63)).shape == (2, 4096)
        with pytest.raises(ManyviewsError, match="not 62"):
            papers(images(size=62))
        monkeypatch.setattr(file, "SMALLEST", 1)
        with pytest.raises(RuntimeError, match="too small"):
            papers(images(size=62))


# --- the CIFAR-10 net -----------------------------------------------------------------------------


def test_a_local_layer_is_a_convolution_with_weights_of_its_own_in_each_cell():
    torch.manual_seed(0)
    layer, x = Local(3, 4, 5, 6).double(), torch.randn(2, 3, 5, 6, dtype=torch.float64)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    out, around = layer(x), nn.functional.pad(x, (1, 1, 1, 1))
    for i in range(5):
        for j in range(6):
            seen = around[:, :, i : i + 3, j : j + 3].reshape(2, -1)
            torch.testing.assert_close(out[:, :, i, j], seen @ layer.weight[i * 6 + j] + layer.bias[:, i, j])


def test_a_local_layer_with_equal_weights_is_a_convolution():
    torch.manual_seed(0)
    layer, conv = Local(3, 4, 5, 5), nn.Conv2d(3, 4, 3, padding=1, bias=False)
    layer.weight.data.copy_(conv.weight.flatten(1).T.expand(25, -1, -1))
    x = images(size=5)
    torch.testing.assert_close(layer(x), conv(x), rtol=1e-5, atol=1e-5)


def test_the_cifar_net_has_the_codes_layers():
    net = build("alexnet_cifar")
    cells = 8 * 8
    local = cells * (64 * 9 * 64 + 64) + cells * (64 * 9 * 32 + 32)
    assert parameters(net) == (75 + 1) * 64 + (64 * 25 + 1) * 64 + local
    assert net.width == 32 * cells
    assert net(images()).shape == (2, 2048) and net.grid(images()).shape == (2, 32, 8, 8)
    net(images()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 40), st.booleans())
def test_the_cifar_net_fits_every_size(size: int, overlap: bool):
    net = AlexNetCIFAR(size=size, overlap=overlap, in_channels=1)
    assert net(images(size=size, channels=1)).shape == (2, net.width)


def test_the_cifar_net_says_which_size_it_sees():
    with pytest.raises(ManyviewsError, match="built for images of 32 pixels a side, not 40x40"):
        build("alexnet_cifar")(images(size=40))
    with pytest.raises(ManyviewsError, match="at least 4 pixels a side, not 3"):
        build("alexnet_cifar", size=3)
