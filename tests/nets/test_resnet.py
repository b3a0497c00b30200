"""The ResNets against torchvision's, timm's and the paper's own numbers."""

import copy

import pytest
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import ResNet, build, cifar_resnet, describe, find, names, resnet, small_resnet
from manyviews.nets.encoder import judging
from manyviews.nets.interop import load_backbone, to_torchvision
from manyviews.nets.resnet import BasicBlock, Bottleneck, ZeroPad


def images(batch: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(0))


def stir(net: nn.Module) -> nn.Module:
    """Move the norms away from where they start, so that a tensor in the wrong place shows."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(len(tensor), generator=generator) + 0.5)
    return net


@pytest.mark.against("torchvision", "resnet")
@pytest.mark.parametrize("depth", [18, 34, 50])
def test_torchvision_weights_give_torchvision_features(depth: int):
    from torchvision import models

    theirs = stir(models.get_model(f"resnet{depth}")).eval()
    ours = build(f"resnet{depth}/imagenet").eval()
    load_backbone(ours, theirs.state_dict())
    theirs.fc = nn.Identity()
    x = images(size=64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.against("torchvision", "resnet")
def test_a_step_of_training_is_torchvisions():
    from torchvision import models

    theirs = models.resnet18()
    ours = resnet(18)
    load_backbone(ours, theirs.state_dict())
    theirs.fc = nn.Identity()
    for net in (ours, theirs):
        net(images(size=64)).square().mean().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.bn1.running_mean, theirs.bn1.running_mean)


@pytest.mark.against("torchvision", "resnet")
@pytest.mark.against("timm", "resnet")
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_names_and_shapes_are_those_of_torchvision_and_timm(depth: int):
    import timm
    from torchvision import models

    with torch.device("meta"):
        ours = {name: tensor.shape for name, tensor in resnet(depth).state_dict().items()}
        theirs = models.get_model(f"resnet{depth}").state_dict()
        timms = timm.create_model(f"resnet{depth}", num_classes=0).state_dict()
    assert ours == {name: t.shape for name, t in theirs.items() if not name.startswith("fc.")}
    assert ours == {name: tensor.shape for name, tensor in timms.items()}


def test_channels_last_gives_the_same_features():
    net = stir(build("resnet18/cifar")).eval()
    with torch.no_grad():
        plain = net(images())
        net.to(memory_format=torch.channels_last)
        last = net(images().to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-4)


# The last layer, a linear classifier of 64 channels into 10 classes, is counted in the paper's table 6.
PAPER = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7, 1202: 19.4}


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 44, 56, 110, 1202])
def test_cifar_resnet_has_the_papers_layers_and_parameters(depth: int):
    with torch.device("meta"):
        net = cifar_resnet(depth)
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) + 1 == depth
    millions = (sum(p.numel() for p in net.parameters()) + 64 * 10 + 10) / 1e6
    if depth in PAPER:
        assert millions == pytest.approx(PAPER[depth], abs=0.005 if depth < 110 else 0.05)


# Table 1 of the paper: thousand million multiply-adds; the parameters, in millions, were counted later.
TABLE_1 = {
    "18": (11.7, 1.8),
    "34": (21.8, 3.6),
    "50/v1": (25.6, 3.8),
    "101/v1": (44.5, 7.6),
    "152/v1": (60.2, 11.3),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_imagenet_resnets_have_the_papers_cost_and_parameters(name: str):
    millions, billions = TABLE_1[name]
    with torch.device("meta"):
        told = describe(build(f"resnet{name}", size=224), 224)
    assert (told["parameters"] + (told["width"] + 1) * 1000) / 1e6 == pytest.approx(millions, abs=0.05)
    assert told["multiply_adds"] == pytest.approx(billions * 1e9, rel=0.02)


@pytest.mark.parametrize(
    ("name", "millions"), [("50/2x", 94), ("50/4x", 375), ("101/2x", 170), ("152/2x", 233)]
)
def test_wide_resnets_have_the_parameters_of_simclr_and_simclr_v2(name: str, millions: int):
    with torch.device("meta"):
        told = describe(build(f"resnet{name}", size=224), 224)
    assert told["parameters"] / 1e6 == pytest.approx(
        millions, abs=1.0
    )  # table 1 of both, without a classifier
    assert build("cifar_resnet8/3x", size=32).width == 3 * 64


def test_striding_in_the_3x3_convolution_costs_more():
    with torch.device("meta"):
        told = describe(build("resnet50", size=224), 224)
    assert told["multiply_adds"] == pytest.approx(4.1e9, rel=0.02)  # torchvision documents 4.09


@pytest.mark.against("torchvision", "resnet")
def test_v1_is_torchvisions_net_with_the_strides_of_the_paper():
    from torchvision import models

    theirs = stir(models.resnet50()).eval()
    ours = build("resnet50/v1+imagenet").eval()
    load_backbone(ours, theirs.state_dict())
    theirs.fc = nn.Identity()
    x = images(size=64)
    with torch.no_grad():
        assert not torch.allclose(ours(x), theirs(x), rtol=1e-2, atol=1e-2)
        for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
            block = stage.get_submodule("0")
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(ManyviewsError, match="no net like"):  # the weights fit there, but mean another net
        to_torchvision(ours)
    with pytest.raises(ValueError, match="no bottlenecks"):
        resnet(18, v1=True)


def test_describe_leaves_the_net_as_it_was():
    net = build("cifar_resnet8")
    net.layer1.eval()
    before = copy.deepcopy(net.state_dict())
    told = describe(net, 32)
    assert told["parameters"] == sum(p.numel() for p in net.parameters())
    assert told["width"] == 64 and told["flops"] == 2 * told["multiply_adds"] > 0
    assert net.training and net.layer2.training and not net.layer1.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_shortcut_a_has_no_parameters_and_b_does():
    a, b = cifar_resnet(20), cifar_resnet(20, shortcut="B")
    assert not [name for name, _ in a.named_parameters() if "downsample" in name]
    assert len([name for name, _ in b.named_parameters() if "downsample" in name]) == 2 * 3


def test_shortcut_c_projects_in_every_block():
    for net in (cifar_resnet(20, shortcut="C"), resnet(18, shortcut="C")):
        blocks = [module for module in net.modules() if isinstance(module, BasicBlock)]
        assert blocks and all(isinstance(block.downsample, nn.Sequential) for block in blocks)


def branch(block: nn.Module, x: Tensor) -> Tensor:
    """The layers of a block, of either kind, one after the other and without what stands beside them."""
    for number in range(1, 4 if isinstance(block, Bottleneck) else 3):
        x = x.relu() if number > 1 else x
        x = block.get_submodule(f"bn{number}")(block.get_submodule(f"conv{number}")(x))
    return x


@pytest.mark.parametrize("name", ["cifar_resnet14", "resnet18/cifar", "resnet50/cifar"])
def test_plain_and_residual_nets_differ_by_the_shortcuts_alone(name: str):
    plain, residual = build(f"{name}/plain"), build(f"{name}/A")
    assert isinstance(plain, ResNet) and isinstance(residual, ResNet)
    shapes = [{key: tensor.shape for key, tensor in net.state_dict().items()} for net in (plain, residual)]
    assert shapes[0] == shapes[1]  # shortcuts A have no parameters
    stir(plain).eval()
    residual.load_state_dict(plain.state_dict())
    residual.eval()
    x = y = images()
    with torch.no_grad():
        x = y = plain.maxpool(plain.bn1(plain.conv1(x)).relu())
        for stage in plain.stages:
            for one, other in zip(plain.get_submodule(stage), residual.get_submodule(stage), strict=True):
                x = (branch(one, x) + (x if other.downsample is None else other.downsample(x))).relu()
                y = branch(one, y).relu()
        torch.testing.assert_close(residual.grid(images()), x, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(plain.grid(images()), y, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(x, y)


def test_shortcut_a_skips_cells_and_pads_new_channels_with_zeros():
    x = images(size=4)
    out = ZeroPad(3, 5, stride=2)(x)
    assert torch.equal(out[:, :3], x[:, :, ::2, ::2])
    assert out.shape == (2, 5, 2, 2) and not out[:, 3:].any()


def test_zero_init_makes_every_block_start_as_its_shortcut():
    block = next(m for m in resnet(18, zero_init=True).modules() if isinstance(m, BasicBlock))
    x = images(channels=64, size=8).relu()
    assert torch.equal(block(x), x)
    assert not torch.equal(next(m for m in resnet(18).modules() if isinstance(m, BasicBlock))(x), x)
    with pytest.raises(ManyviewsError, match="yields nothing; leave out plain or zero_init"):
        build("resnet18/plain/zero_init")


def test_convolutions_start_with_he_variance():
    weight = resnet(18).get_parameter("layer4.1.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)


@pytest.mark.parametrize(
    "name", ["small_resnet", "cifar_resnet8", "cifar_resnet8/B", "resnet18/cifar", "resnet18"]
)
@pytest.mark.parametrize("norm", ["", "+group"])
def test_the_embedding_is_the_grids_mean(name: str, norm: str):
    net = build(name + norm, in_channels=1, size=48).eval()
    x = images(size=48, channels=1)
    with torch.no_grad():
        grid, h = net.grid(x), net(x)
    assert h.shape == (2, net.width) and grid.shape[:2] == (2, net.width) and net.in_channels == 1
    torch.testing.assert_close(grid.mean(dim=(2, 3)), h)


def test_group_norm_sees_each_image_alone():
    net, x = build("small_resnet+group"), images(batch=4)
    torch.testing.assert_close(net(x)[:1], net(x[:1]), rtol=1e-4, atol=1e-5)
    assert not list(net.buffers())


def test_small_resnet_is_shaped_by_data():
    net = small_resnet(widths=(8, 16), depths=(2, 1), strides=(1, 2), stem_stride=2)
    assert net.grid(images()).shape == (2, 16, 8, 8)
    with pytest.raises(ValueError, match="differ in length"):
        small_resnet(widths=(8, 16))


def test_every_parameter_is_trained():
    for name in ("small_resnet", "cifar_resnet8", "resnet50/cifar", "cifar_resnet8/plain", "cifar_resnet8/C"):
        net = build(name)
        net(images()).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in net.parameters()), name


def test_the_stem_follows_the_size():
    def stem(name: str, size: int) -> str:
        net = build(name, size=size)
        assert isinstance(net, ResNet)
        return net.stem

    assert stem("resnet18", 64) == "cifar" and stem("resnet18", 65) == "imagenet"
    assert stem("resnet18/imagenet", 32) == "imagenet" and stem("resnet18/cifar", 224) == "cifar"


def test_build_says_what_it_built():
    with torch.device("meta"):
        for name in names():
            size = find(name).net.size
            channels = 3 if "igpt" in name else 1  # colours are of three
            built = build(name, in_channels=channels, size=size).built
            assert built is not None and (built.name, built.in_channels, built.size) == (name, channels, size)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet19", "did you mean.*resnet18"),
        ("ResNet18", "resnet18"),
        ("", "There is no net"),
        ("resnet18/big", "resnet18/cifar or resnet18/imagenet"),
        ("small_resnet/cifar", "no variant"),
        (
            "cifar_resnet20/D",
            "cifar_resnet20/plain or cifar_resnet20/zero_init or cifar_resnet20/A or cifar_resnet20/B or cifar_resnet20/C",
        ),
        ("resnet18+layer", 'no variant "layer"'),
        ("resnet18/v1", 'no variant "v1"'),
        ("resnet18/plain/B", "says twice what its shortcut is"),
    ],
)
def test_unknown_nets_are_refused_with_what_there_is(name: str, words: str):
    with pytest.raises(ManyviewsError, match=words):
        build(name)


def test_combinations_that_cannot_be_are_refused():
    with pytest.raises(ManyviewsError, match="pretrained"):
        build("resnet18", pretrained=True)
    with pytest.raises(ManyviewsError, match="start at 1"):
        build("resnet18", size=0)
    with pytest.raises(ValueError, match="6n"):
        cifar_resnet(21)


def test_judging_comes_back_after_an_error():
    net = build("small_resnet")
    with pytest.raises(RuntimeError), judging(net):
        assert not net.training and not torch.is_grad_enabled()
        raise RuntimeError
    assert net.training and torch.is_grad_enabled()
