"""Nets that were made for images normalised in another way: what they see of ours is what they were made for."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, hub
from manyviews.nets.interop import export, load_encoder, save_encoder
from manyviews.nets.pixels import change, changed, take_in
from manyviews.views import MEAN, STD, normalise, plain

HALF = (0.5, 0.5, 0.5)
VIT = "timm/vit_tiny_patch16_224"


def half(p_BCHW: Tensor) -> Tensor:
    return (p_BCHW - 0.5) / 0.5


def of(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(x)


def test_ours_needs_no_change_and_theirs_is_made_of_ours():
    p = torch.rand(2, 3, 4, 4)
    assert change(MEAN, STD) is None and change(list(MEAN), list(STD)) is None
    theirs = change(HALF, HALF)
    assert theirs is not None
    torch.testing.assert_close(changed(normalise(p), theirs), half(p), rtol=1e-5, atol=1e-6)


def test_a_net_of_timm_sees_what_it_was_made_for(tmp_path: Path):
    net = build(VIT, size=32)
    p = torch.rand(2, 3, 32, 32)
    model = net.model
    torch.testing.assert_close(of(net, normalise(p)), of(model, half(p)), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        features = model.forward_features(half(p))[:, 1:]
        torch.testing.assert_close(
            net.grid(normalise(p)).flatten(2).transpose(1, 2), features, rtol=1e-4, atol=1e-5
        )
    save_encoder(tmp_path, net, {})
    assert torch.equal(of(load_encoder(tmp_path)[0], normalise(p)), of(net, normalise(p)))
    assert not {"a_C11", "c_C11"} & net.state_dict().keys()
    for same in (build("timm/resnet18", size=32), build(VIT, size=32, in_channels=1)):
        x = torch.randn(2, same.in_channels, 32, 32)
        assert torch.equal(of(same, x), of(same.model, x))


def test_the_libraries_say_what_their_models_expect():
    for name in ("torchvision/resnet18", "timm/resnet18", "timm/deit_tiny_patch16_224"):
        assert hub.expects(name) is None and hub.side_of(name) == 224
    for name in (VIT, "torchvision/efficientnet_v2_l"):
        assert hub.expects(name) is not None
    assert hub.side_of("timm/vit_base_patch16_384") == 384


def test_the_first_layer_takes_the_change_in():
    theirs = change(HALF, (0.25, 0.5, 0.75))
    assert theirs is not None
    net = nn.Sequential(nn.Conv2d(3, 5, 4, stride=4), nn.GELU())
    x = torch.randn(2, 3, 8, 8)
    expected = of(net, changed(x, theirs))
    take_in(net, theirs)
    torch.testing.assert_close(of(net, x), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ManyviewsError, match="first layer pads"):
        take_in(nn.Conv2d(3, 5, 3, padding=1), theirs)


@pytest.mark.against("timm", "vit")
def test_a_net_of_timm_goes_to_torchvision_with_our_images(tmp_path: Path):
    import torchvision

    net = build("timm/vit_base_patch32_224", size=32)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    made = export(net, tmp_path / "vit.safetensors", "torchvision")
    world = {"torchvision": torchvision}
    exec(made.how, world)
    p = torch.rand(2, 3, 32, 32)
    theirs: nn.Module = world["model"]  # pyright: ignore[reportAssignmentType]
    torch.testing.assert_close(of(theirs, normalise(p)), of(net, normalise(p)), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.against("transformers", "vit")
def test_a_preprocessor_beside_the_weights_says_what_they_expect(tmp_path: Path):
    net = build("small_vit", size=32)
    folder, _ = export(net, tmp_path / "vit", "transformers")
    file = folder / "preprocessor_config.json"
    p = torch.rand(2, 3, 32, 32)
    again = build("small_vit", size=32, pretrained=f"transformers:{folder}")
    assert torch.equal(of(again, normalise(p)), of(net, normalise(p)))

    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": HALF, "image_std": HALF}))
    other = build("small_vit", size=32, pretrained=f"transformers:{folder}")
    torch.testing.assert_close(of(other, normalise(p)), of(net, half(p)), rtol=1e-4, atol=1e-5)

    file.write_text("{")
    with pytest.raises(ManyviewsError, match=r"preprocessor_config.json is damaged"):
        build("small_vit", size=32, pretrained=f"transformers:{folder}")
    file.unlink()
    assert torch.equal(of(build("small_vit", size=32, pretrained=f"transformers:{folder}"), p), of(net, p))


@pytest.fixture
def photo() -> Tensor:
    """``[1, 3, 60, 80]`` uint8, smooth, so that libraries may differ in how they round and not in what they show."""
    drawn = nn.functional.interpolate(torch.rand(1, 3, 6, 8), (60, 80), mode="bicubic").clamp(0, 1)
    return (255 * drawn).round().to(torch.uint8)


def opened(photo_1CHW: Tensor) -> Image.Image:
    return Image.fromarray(np.asarray(photo_1CHW[0].permute(1, 2, 0)))


@pytest.mark.against("transformers", "vit")
def test_transformers_shows_an_exported_net_what_we_show_it(photo: Tensor, tmp_path: Path):
    import transformers

    folder, _ = export(build("small_vit", size=32), tmp_path / "vit", "transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    shown = processor(opened(photo), return_tensors="pt").pixel_values
    torch.testing.assert_close(shown, plain(photo, 32), rtol=0, atol=0.03)  # of 256 values one is 0.02


@pytest.mark.against("timm", "resnet", "vit")
@pytest.mark.parametrize(("name", "size"), [("vit_ti16", 48), (VIT, 32), ("resnet18/imagenet", 40)])
def test_timm_shows_an_exported_net_what_we_show_it(name: str, size: int, photo: Tensor, tmp_path: Path):
    import timm

    net = build(name, size=size)
    world: dict[str, object] = {}
    exec(export(net, tmp_path / "net.safetensors", "timm").how, world)
    model: nn.Module = world["model"]  # pyright: ignore[reportAssignmentType]
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    shown = transform(opened(photo))[None]
    theirs = getattr(net, "change", None)
    ours = plain(photo, size)
    ours = ours if theirs is None else changed(ours, theirs)
    torch.testing.assert_close(shown, ours, rtol=0, atol=0.03)
    torch.testing.assert_close(of(model, shown), of(net, plain(photo, size)), rtol=0, atol=0.1)
