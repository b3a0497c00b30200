"""Weights travel: out, back, and into the hands of other libraries."""

import io
import json
import pickle
import shutil

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import Encoder, build, cifar_resnet, small_resnet, split_batch_norm
from manyviews.nets.interop import (
    export,
    load_backbone,
    load_encoder,
    read_weights,
    save_encoder,
    to_timm,
    to_torchvision,
)


def features(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(x)


def images(encoder: Encoder, size: int = 32) -> Tensor:
    return torch.randn(3, encoder.in_channels, size, size)


@pytest.mark.parametrize("name", ["small_resnet", "cifar_resnet8/B+group", "timm/vit_tiny_patch16_224"])
def test_saved_and_loaded_is_the_same_encoder(name: str, tmp_path):
    encoder = build(name, in_channels=1).to(memory_format=torch.channels_last)
    file = save_encoder(tmp_path / "run", encoder, {"method": "some", "epochs": 3})
    assert sorted(path.name for path in file.parent.iterdir()) == ["encoder.json", "encoder.safetensors"]
    assert json.loads((file.parent / "encoder.json").read_text())["encoder"]["name"] == name

    x = images(encoder)
    for place in (file.parent, file, shutil.copy(file, tmp_path / "alone.safetensors")):
        again, config = load_encoder(place)
        assert config == {"method": "some", "epochs": 3} and not again.training
        assert all(torch.equal(t, encoder.state_dict()[name]) for name, t in again.state_dict().items())
        torch.testing.assert_close(features(again, x), features(encoder, x), rtol=1e-4, atol=1e-5)


def test_a_split_nets_weights_load_into_a_plain_one(tmp_path):
    encoder = split_batch_norm(build("cifar_resnet8"), 4)
    encoder.train()(torch.randn(8, 3, 32, 32))
    again, _ = load_encoder(save_encoder(tmp_path / "e.safetensors", encoder, {}))
    x = images(encoder)
    assert torch.equal(features(again, x), features(encoder, x))
    assert (tmp_path / "e.json").is_file()


def test_saving_that_fails_leaves_what_was_there(tmp_path):
    encoder = build("small_resnet")
    save_encoder(tmp_path, encoder, {"run": 1})
    with pytest.raises(TypeError):
        save_encoder(tmp_path, encoder, {"run": object()})
    assert load_encoder(tmp_path)[1] == {"run": 1}
    assert len(list(tmp_path.iterdir())) == 2


def test_missing_damaged_and_nameless_weights_are_refused(tmp_path):
    with pytest.raises(ManyviewsError, match="no weights at"):
        load_encoder(tmp_path)
    file = save_encoder(tmp_path, build("cifar_resnet8"), {})
    whole = file.read_bytes()
    for damaged in (whole[:-100], whole[:40], b"", b"\xff" * 200):
        file.write_bytes(damaged)
        with pytest.raises(ManyviewsError, match=r"encoder\.safetensors is damaged"):
            load_encoder(tmp_path)
    save_encoder(tmp_path, cifar_resnet(8), {})  # not made by name
    with pytest.raises(ManyviewsError, match="does not say which net"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("protocol", ["zip", "legacy", 2, 5])
def test_pickles_are_refused_unopened(protocol: str | int, tmp_path):
    file, stream = tmp_path / "weights.pt", io.BytesIO()
    if isinstance(protocol, int):
        pickle.dump({"a": 1}, stream, protocol=protocol)
    else:
        torch.save({"a": torch.ones(1)}, stream, _use_new_zipfile_serialization=protocol == "zip")
    file.write_bytes(stream.getvalue())
    with pytest.raises(ManyviewsError, match="is a pickle"):
        load_encoder(file)


def test_a_safetensors_header_that_looks_like_a_pickle_is_read(tmp_path):
    tensors, file = {"a": torch.ones(1)}, tmp_path / "a.safetensors"
    for length in range(300, 640):  # a header of 640 = 0x280 bytes starts the file with 0x80 0x02
        content = safetensors.torch.save(tensors, {"pad": "x" * length})
        if content[:2] == b"\x80\x02":
            break
    file.write_bytes(content)
    assert file.read_bytes().startswith(b"\x80\x02")
    assert torch.equal(read_weights(file)[0]["a"], tensors["a"])


def test_every_wrong_tensor_is_named_at_once_and_nothing_changes():
    encoder, given = build("cifar_resnet8"), build("cifar_resnet8").state_dict()
    given["layer9.weight"] = given.pop("conv1.weight")
    given["bn1.weight"] = torch.ones(7)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(ManyviewsError) as error:
        load_backbone(encoder, given)
    for words in (
        "1 missing: conv1.weight",
        "1 surplus: layer9.weight",
        r"1 misshapen: bn1.weight [7], not [16]",
    ):
        assert words in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.against("timm", "resnet")
def test_timms_resnet_goes_both_ways():
    import timm

    ours, theirs = build("resnet18/imagenet"), timm.create_model("resnet18", num_classes=0)
    x = torch.randn(2, 3, 64, 64)
    load_backbone(ours, theirs.state_dict())
    torch.testing.assert_close(features(ours, x), features(theirs, x), rtol=1e-5, atol=1e-5)
    ours = build("resnet18/imagenet")
    theirs.load_state_dict(to_timm(ours))
    torch.testing.assert_close(features(ours, x), features(theirs, x), rtol=1e-5, atol=1e-5)
    wrapped = build("timm/resnet18")
    load_backbone(wrapped, to_torchvision(ours))
    torch.testing.assert_close(features(ours, x), features(wrapped, x), rtol=1e-5, atol=1e-5)


@pytest.mark.against("torchvision", "alexnet", "resnet")
@pytest.mark.against("timm", "resnet", "vit")
@pytest.mark.parametrize(
    ("name", "in_channels", "size", "to"),
    [
        ("resnet18/cifar", 3, 32, "torchvision"),
        ("resnet18/cifar", 1, 32, "timm"),
        ("resnet18/imagenet", 1, 64, "torchvision"),
        ("resnet50/imagenet", 3, 64, "timm"),
        ("timm/resnet18.a1_in1k", 1, 64, "torchvision"),
        ("torchvision/resnet18", 3, 64, "timm"),
        ("torchvision/mobilenet_v2", 1, 64, "torchvision"),
        ("timm/vit_tiny_patch16_224", 1, 64, "timm"),
        ("vit_ti16", 1, 64, "timm"),
        ("timm/vit_base_patch32_224", 3, 64, "torchvision"),
        ("alexnet/2014", 1, 64, "torchvision"),
    ],
)
def test_the_line_that_export_gives_loads_the_encoder_there(name, in_channels, size, to, tmp_path):
    import timm
    import torchvision

    encoder = build(name, in_channels=in_channels, size=size)
    path, how = export(encoder, tmp_path / "backbone.safetensors", to)
    assert path.is_file()
    world = {"torch": torch, "timm": timm, "torchvision": torchvision, "safetensors": safetensors}
    exec(how, world)
    x = images(encoder, size)
    torch.testing.assert_close(features(world["model"], x), features(encoder, x), rtol=1e-5, atol=1e-5)


def test_export_in_our_names_loads_by_name(tmp_path):
    encoder = build("small_resnet")
    path, how = export(encoder, tmp_path / "small.safetensors", "safetensors")
    world = {"safetensors": safetensors}
    exec(how, world)
    assert world["weights"].keys() == encoder.state_dict().keys()
    again, _ = load_encoder(path)
    x = images(encoder)
    assert torch.equal(features(again, x), features(encoder, x))


@pytest.mark.parametrize(
    "name",
    [
        "small_resnet", "cifar_resnet8", "resnet18+group", "resnet18/plain", "resnet50/v1", "resnet18/C",
        "timm/vit_tiny_patch16_224", "vit_ti4", "small_vit/layers_shared", "vit_s16/2d",
    ],
)  # fmt: skip
def test_nets_that_others_do_not_have_say_where_they_can_go(name: str, tmp_path):
    with pytest.raises(ManyviewsError, match="onnx or safetensors"):
        export(build(name), tmp_path / "x", "torchvision")
    with pytest.raises(ManyviewsError, match="choose one of"):
        export(build("small_resnet"), tmp_path / "x", "keras")  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["small_resnet", "small_vit", "small_vit/relative", "small_igpt/2x32"])
def test_onnx_gives_the_same_embeddings_for_any_batch(name, tmp_path):
    import onnxruntime

    encoder = build(name, in_channels=1) if name == "small_resnet" else build(name)
    path, how = export(encoder, tmp_path / "encoder.onnx", "onnx")
    assert encoder.training and [file.name for file in tmp_path.iterdir()] == ["encoder.onnx"]
    world = {"onnxruntime": onnxruntime}
    exec(how, world)
    for batch in (1, 5):
        x = torch.randn(batch, encoder.in_channels, 32, 32)
        (h,) = world["session"].run(["embedding"], {"image": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(h), features(encoder, x), rtol=1e-4, atol=1e-4)
    assert path.is_file()


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [("small_waveform", 2048, "is of a net that sees images, which"), ("ode_net", 32, "torch cannot write")],
)
def test_what_no_graph_can_hold_is_one_sentence(name, size, says, tmp_path):
    with pytest.raises(ManyviewsError, match=says):
        export(build(name, size=size), tmp_path / "x.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_a_net_that_is_too_heavy_for_a_graph_is_said(tmp_path, monkeypatch):
    net = build("cifar_resnet8", size=16)
    monkeypatch.setattr("manyviews.nets.interop.outward.ONNX_HOLDS", 10_000)
    with pytest.raises(ManyviewsError, match=r"weighs 0\.0 GiB, and an ONNX file holds less than 2"):
        export(net, tmp_path / "x.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_needs_a_size_where_none_is_known(tmp_path):
    with pytest.raises(ManyviewsError, match="size"):
        export(small_resnet(), tmp_path / "x.onnx", "onnx")
