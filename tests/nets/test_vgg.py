"""VGG against torchvision's, the counts of its paper, and itself as convolutions alone."""

import pytest
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, catalogue, make, resnet
from manyviews.nets.names import from_theirs, to_theirs
from manyviews.nets.vgg import NAMES, NETS, TABLE_1, VGG, vgg, warm_start

THIN = (4, 4, 6, 8, 8)  # channels that make the same nets quick


def images(batch: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def stir(net: nn.Module) -> nn.Module:
    """Weights of He's variance, and norms away from where they start: a tensor in the wrong place shows."""
    noise = torch.rand(999_983, generator=torch.Generator().manual_seed(1)) * 2 - 1  # repeated: much faster
    start = 0
    for name, tensor in net.state_dict().items():
        values = noise.roll(start).repeat(-(-tensor.numel() // len(noise)))[: tensor.numel()].view_as(tensor)
        start += 7919
        if name.endswith("num_batches_tracked"):
            tensor.fill_(3)
        elif tensor.ndim > 1:
            torch.mul(values, (6 / tensor[0].numel()) ** 0.5, out=tensor)
        else:
            tensor.copy_(1 + values / 2 if "running" in name else values / 3)
    return net.eval()


PAIRS = [
    (f"{name}/{variant}" if variant else name, theirs)
    for name, net in NETS.items()
    for library, theirs in net.known_as.items()
    for variant in [library.partition("/")[2]]
]


@pytest.mark.against("torchvision", "vgg")
@pytest.mark.parametrize(("name", "theirs"), PAIRS)
def test_torchvision_weights_give_torchvision_features_and_come_back(name: str, theirs: str):
    from torchvision import models

    with torch.device("meta"):
        reference = models.get_model(theirs)
        ours = make(f"{name}/imagenet", in_channels=3, size=64)
    assert isinstance(ours, VGG)
    reference = stir(reference.to_empty(device="cpu"))
    weights = reference.state_dict()
    ours.load_state_dict(from_theirs(NAMES["torchvision"], weights, ours.state_dict()), assign=True)
    back = to_theirs(NAMES["torchvision"], ours.state_dict())
    assert back.keys() == {name for name in weights if not name.startswith("classifier.6.")}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in back.items())
    reference.get_submodule("classifier").set_submodule("6", nn.Identity())
    ours.eval()
    with torch.no_grad():
        x = images(size=64)
        torch.testing.assert_close(ours(x), reference(x), rtol=1e-5, atol=1e-5)


def test_every_net_that_torchvision_has_is_compared():
    from torchvision import models

    assert {theirs for _, theirs in PAIRS} == {
        name for name in models.list_models() if name.startswith("vgg")
    }


# Table 2 of the paper, in millions; layers with weights from table 1.
PAPER = {"a": (11, 133), "a_lrn": (11, 133), "b": (13, 133), "c": (16, 134), "d": (16, 138), "e": (19, 144)}


@pytest.mark.parametrize("name", PAPER)
def test_layers_and_parameters_are_the_papers(name: str):
    layers, millions = PAPER[name]
    with torch.device("meta"):
        net = make(f"vgg_{name}", in_channels=3, size=224)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) + 1 == layers
    count = (sum(p.numel() for p in net.parameters()) + 4097 * 1000) / 1e6
    assert count == pytest.approx(millions, abs=0.5)
    assert catalogue()[f"vgg_{name}"][0].parameters == millions


def test_the_normalisation_of_a_lrn_works_on_normalised_images():
    """Strong places are held back: with the constants of pixels from 0 to 255 as they are, it would only scale."""
    net = make("vgg_a_lrn/cifar", size=32).eval()
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net.features[:2](image)
        ratio = (net.features[2](before) / before)[before > 0.1]
    assert ratio.amax() > 1.1 * ratio.amin()


def test_c_has_its_1x1_layers_and_a_lrn_its_normalisation():
    with torch.device("meta"):
        c, d, lrn = vgg("C"), vgg("D"), make("vgg_a_lrn", size=224)
    assert c.places == d.places
    for net, kernel in ((c, 1), (d, 3)):
        kernels = [net.features.get_submodule(str(net.places[g, 2])).kernel_size for g in (2, 3, 4)]
        assert kernels == [(kernel, kernel)] * 3
    names = [type(layer).__name__ for layer in lrn.get_submodule("features").children()]
    assert names[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert names.count("LocalResponseNorm") == 1


@pytest.mark.parametrize(("stack", "kernel"), [((3, 3, 3), 7), ((3, 3), 5)])
def test_a_stack_of_3x3_sees_as_much_as_one_large_kernel_with_fewer_weights(
    stack: tuple[int, ...], kernel: int
):
    """Section 2.3: 27 C^2 weights instead of 49 C^2."""
    C = 8
    seen, weights = {}, {}
    for kernels in (stack, (kernel,)):
        net = VGG((kernels,), channels=(C,), in_channels=C, head="mean").double()
        weights[kernels] = sum(p.numel() for p in net.parameters() if p.ndim > 1)
        x = torch.zeros(1, C, 15, 15, dtype=torch.float64, requires_grad=True)
        convolutions = [net.get_submodule(f"features.{index}") for index in net.places.values()]
        y = x
        for convolution in convolutions:
            y = convolution(y)
        y[0, :, 7, 7].sum().backward()
        assert x.grad is not None
        seen[kernels] = x.grad[0].abs().sum(dim=0) > 0
    assert torch.equal(seen[stack], seen[kernel,]) and int(seen[stack].sum()) == kernel**2
    assert weights[stack] * kernel**2 == weights[kernel,] * 9 * len(stack)


def test_dense_evaluation_is_the_net_at_its_own_size_and_slides_beyond():
    torch.manual_seed(0)
    net = VGG(TABLE_1["A"], channels=THIN).eval()
    with torch.no_grad():
        x = images(batch=1, size=224)
        torch.testing.assert_close(net.dense(x), net(x)[:, :, None, None], rtol=1e-5, atol=1e-5)
        wide = torch.cat([images(batch=1, size=256), images(batch=1, size=256)], dim=3)[..., :320]
        grid, dense = net.grid(wide), net.dense(wide)
        assert grid.shape == (1, 8, 8, 10) and dense.shape == (1, 4096, 2, 4)
        for i in range(2):
            for j in range(4):
                window = grid[:, :, i : i + 7, j : j + 7].flatten(1)
                expected = net.fc7(net.fc6(window).relu()).relu()
                torch.testing.assert_close(dense[:, :, i, j], expected, rtol=1e-5, atol=1e-5)


def test_dense_evaluation_of_the_small_head_is_its_grid():
    net = build("vgg_a/cifar").eval()
    assert isinstance(net, VGG)
    assert torch.equal(net.dense(images(size=64)), net.grid(images(size=64)))


def places_of(net: VGG) -> dict[tuple[int, int], Tensor]:
    return {place: net.features.get_parameter(f"{index}.weight") for place, index in net.places.items()}


@pytest.mark.parametrize("deep", ["b", "c", "d", "e"])
@pytest.mark.parametrize("variant", ["cifar", "cifar/bn"])
def test_a_deep_net_starts_with_the_first_four_convolutions_of_net_a(deep: str, variant: str):
    # Thin, with the options of the variant, so that every pair is quick.
    norm = "batch" if "bn" in variant else None
    torch.manual_seed(0)
    a = VGG(TABLE_1["A"], channels=THIN, head="mean", norm=norm)
    net = VGG(TABLE_1[deep.upper()], channels=THIN, head="mean", norm=norm)
    stir(a)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    warm_start(net, a)
    copied = {(0, 0), (1, 0), (2, 0), (2, 1)}  # the four of net A, where they stand in their groups
    source = places_of(a)
    for place, weight in places_of(net).items():
        index = net.places[place]
        if place in copied:
            assert torch.equal(weight, source[place])
            for name, tensor in (
                net.features.get_submodule(str(index + 1)).state_dict().items()
            ):  # its norm, if any
                assert torch.equal(tensor, a.state_dict()[f"features.{a.places[place] + 1}.{name}"])
        else:
            assert torch.equal(weight, before[f"features.{index}.weight"])
    changed = [name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(changed) == 4 * (7 if norm else 2)


def test_a_deep_net_starts_with_the_fully_connected_layers_too():
    torch.manual_seed(0)
    shallow, deep = (VGG(TABLE_1[name], channels=THIN) for name in "AB")
    stir(shallow)
    deep.warm_start_from(shallow)
    for name in ("fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias"):
        assert torch.equal(deep.get_parameter(name), shallow.get_parameter(name))
    shallow.fc6.weight.data.zero_()
    assert deep.fc6.weight.any()  # copied, not shared


def test_a_start_that_does_not_fit_is_refused():
    a, d = (VGG(TABLE_1[name], channels=THIN, head="mean") for name in "AD")
    before = {name: tensor.clone() for name, tensor in a.state_dict().items()}
    with pytest.raises(ManyviewsError, match="only start from a shallower"):
        warm_start(a, d)
    for other in (
        VGG(TABLE_1["A"], channels=THIN, head="mean", norm="batch"),
        VGG(TABLE_1["A"], channels=(2, 4, 6, 8, 8), head="mean"),
        VGG(TABLE_1["A"], channels=THIN, head="mean", in_channels=1),
    ):
        with pytest.raises(ManyviewsError, match="more than their depth"):
            warm_start(d, other)
    with pytest.raises(ManyviewsError, match="not from ResNet"):
        d.warm_start_from(resnet(18, stem="cifar"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in a.state_dict().items())


def test_weights_start_as_asked():
    for start, std in {"he": (2 / (512 * 9)) ** 0.5, "paper": 0.1}.items():
        net = vgg("A", size=32, start=start)
        last = net.features.get_submodule(str(net.places[4, 1]))
        assert last.get_parameter("weight").std().item() == pytest.approx(std, rel=0.01)
        assert not last.get_parameter("bias").any()


def test_with_hes_start_the_deepest_net_passes_its_signal_on():
    torch.manual_seed(0)
    with torch.no_grad():
        grid = build("vgg_e").grid(images())
    assert 0.1 < grid.square().mean().sqrt().item() < 10


@pytest.mark.parametrize("name", ["vgg_a", "vgg_a/bn", "vgg_c/group", "vgg_a_lrn/cifar"])
def test_the_small_heads_embedding_is_the_grids_mean(name: str):
    net = build(name, in_channels=1, size=48).eval()
    x = images(size=48, channels=1)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net.grid(x).mean(dim=(2, 3)))
    assert net.width == 512
    net.train()(x).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_the_head_follows_the_size():
    def head(name: str, size: int) -> str:
        with torch.device("meta"):
            net = build(name, size=size)
        assert isinstance(net, VGG)
        return net.head

    assert head("vgg_a", 64) == "mean" and head("vgg_a", 65) == "fc"
    assert head("vgg_a/imagenet", 32) == "fc" and head("vgg_a/cifar", 224) == "mean"


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ManyviewsError, match="at least 32 pixels a side, not 31"):
        build("vgg_a", size=31)
    net = VGG(TABLE_1["A"], channels=THIN).eval()
    with pytest.raises(ManyviewsError, match="at least 32 pixels a side, not 16"):
        net(images(size=16))
    with pytest.raises(ManyviewsError, match="at least 224 pixels a side, not 200"):
        net.dense(images(size=200))


def test_contradicting_variants_are_refused():
    with pytest.raises(ManyviewsError, match="says twice what its norm is"):
        build("vgg_a/bn/group")
