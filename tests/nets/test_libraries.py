"""Whole networks to and from torchvision, timm and transformers: every one that they have, by one way for all."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, catalogue, hub, make
from manyviews.nets.bert import Pretraining
from manyviews.nets.interop import export, inward, known, load_from, outward, to_timm, to_torchvision
from manyviews.recipe import Recipe
from manyviews.runs import Run
from manyviews.use import export as export_run
from manyviews.views import normalise

OF_HUB = [
    ("/".join([name, *variants]), library, there)
    for name, (net, _) in catalogue().items()
    for at, there in net.known_as.items()
    for library, *variants in [at.split("/")]
    if library in ("timm", "torchvision")
]


@pytest.mark.against("torchvision", "alexnet", "resnet", "vgg", "vit")
@pytest.mark.against("timm", "resnet", "vit")
@pytest.mark.parametrize(("name", "library", "there"), OF_HUB)
def test_every_net_they_have_goes_there_without_a_change(name: str, library: str, there: str):
    with torch.device("meta"):
        net = make(name, in_channels=3, size=224)
        model = hub.make(f"{library}/{there}", in_channels=3, size=224).model
    weights, construct = outward._for_hub(net, library, None)
    assert {key: t.shape for key, t in weights.items()} == {k: t.shape for k, t in model.state_dict().items()}
    assert "torch.nn.Conv2d" not in construct and "MaxPool" not in construct  # nothing of theirs is replaced


# --- transformers ---------------------------------------------------------------------------------

SMALL = {"vocabulary": 50, "width": 32, "depth": 2, "heads": 4, "length": 24}


def stirred(net: nn.Module) -> nn.Module:
    """Weights away from where they start, so that a tensor in the wrong place shows."""
    with torch.no_grad():
        for tensor in net.parameters():
            tensor.copy_(
                torch.randn_like(tensor) / max(1, tensor[0].numel()) ** 0.5
                if tensor.ndim > 1
                else tensor + torch.randn_like(tensor) / 4
            )
    return net.eval()


def pretraining() -> nn.Module:
    net = make("bert_tiny", **SMALL)
    return Pretraining(net)  # pyright: ignore[reportArgumentType]


NETS = {
    "BertModel": (lambda: make("bert_tiny", **SMALL, segments=3), "last_hidden_state"),
    "BertForPreTraining": (pretraining, "prediction_logits"),
    "OpenAIGPTLMHeadModel": (lambda: make("gpt", **SMALL), "logits"),
    "GPT2LMHeadModel": (lambda: make("gpt2", **SMALL), "logits"),
    "ViTModel": (lambda: build("small_vit", in_channels=1, size=16), "last_hidden_state"),
}


def seen_by(kind: str) -> Tensor:
    return torch.randn(3, 1, 16, 16) if kind == "ViTModel" else torch.randint(50, (3, 20))


def ours_of(net: nn.Module, kind: str, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = net.tokens(x) if kind == "ViTModel" else net(x)  # pyright: ignore[reportCallIssue]
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.against("transformers", "bert", "gpt", "gpt2", "vit")
@pytest.mark.parametrize("kind", NETS)
def test_transformers_loads_the_folder_and_computes_the_same(kind: str, tmp_path: Path):
    import transformers

    transformers.logging.set_verbosity_error()
    maker, output = NETS[kind]
    net = stirred(maker())
    folder, how = export(net, tmp_path / "model", "transformers")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]  # and of 3 channels a third
    assert f"transformers.{kind}.from_pretrained" in how
    world = {"transformers": transformers}
    exec(how, world)
    x = seen_by(kind)
    with torch.no_grad():
        theirs = world["model"].eval()(x)
        auto = transformers.AutoModel.from_pretrained(folder).eval()(x)
    torch.testing.assert_close(theirs[output], ours_of(net, kind, x), rtol=1e-5, atol=1e-5)
    if kind in ("BertModel", "ViTModel"):
        torch.testing.assert_close(auto[0], ours_of(net, kind, x), rtol=1e-5, atol=1e-5)
    if kind == "BertModel":
        torch.testing.assert_close(theirs.pooler_output, net.pool(net(x)), rtol=1e-5, atol=1e-5)

    # And back: from the folder, from what they save themselves, in shards too, and from their state dict.
    world["model"].save_pretrained(tmp_path / "whole")
    world["model"].save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    for weights in (folder, tmp_path / "whole", tmp_path / "shards", world["model"].state_dict()):
        again = maker().eval()
        load_from(again, weights, "transformers")
        assert torch.equal(ours_of(again, kind, x), ours_of(net, kind, x))


def test_their_config_says_no_more_than_they_know(tmp_path: Path):
    import transformers

    for kind, (maker, _) in NETS.items():
        config = json.loads(
            (export(maker(), tmp_path / kind, "transformers").path / "config.json").read_text()
        )
        plain = getattr(transformers, kind).config_class().to_dict()
        assert config.keys() <= plain.keys() | {"architectures", "afn"}, kind


@pytest.mark.parametrize(
    ("name", "options", "library"),
    [
        ("gpt2", {**SMALL, "band": 4}, "transformers"),
        ("gpt2", {**SMALL, "head_width": 16}, "transformers"),
        ("gpt3_125m", SMALL, "transformers"),
        ("transformer_base", {"vocabulary": 50, "width": 32, "depth": 1, "heads": 2}, "transformers"),
        ("small_vit/average", {"size": 16}, "transformers"),
        ("small_vit/layers_shared", {"size": 16}, "transformers"),
        ("vit_ti16", {"size": 32, "depth": 2}, "timm"),
        ("vit_ti16", {"size": 32}, "torchvision"),
        ("vit_ti16/layers_shared", {"size": 32}, "timm"),
        ("alexnet", {}, "torchvision"),
        ("alexnet/2014+tanh", {}, "torchvision"),
        ("vgg_c", {}, "torchvision"),
        ("vgg_a", {"size": 32}, "torchvision"),
        ("vgg_a/group", {}, "torchvision"),
        ("bert_tiny", SMALL, "timm"),
    ],
)  # fmt: skip
def test_a_net_that_a_library_has_not_stays_here(name: str, options: dict, library, tmp_path: Path):
    if catalogue()[name.split("/")[0]][0].sees == "images":
        options = {"in_channels": 3, "size": 224} | options
    with torch.device("meta"):
        net = make(name, **options)
    with pytest.raises(
        ManyviewsError, match=rf"^{library} has no net like \"{name.replace('+', '.')}\"; export"
    ):
        export(net, tmp_path / "x", library)
    assert not list(tmp_path.iterdir())


# --- variants of what a library has ---------------------------------------------------------------


def undrawn(name: str, **options: Any) -> nn.Module:
    """A net without numbers, for images of 224 pixels or of few tokens."""
    images = {"in_channels": 3, "size": 224} if catalogue()[name.split("/")[0]][0].sees == "images" else {}
    with torch.device("meta"):
        return make(name, **images, **options)


def theirs_of(net: nn.Module, library: str) -> dict[str, Tensor]:
    by = known.made(net)
    assert by is not None
    return outward.to_theirs(known.tables(by.name)[library], net.state_dict())


@pytest.mark.parametrize(
    ("name", "library", "theirs"),
    [
        ("resnet50/v1", "torchvision", "resnet50"),
        ("resnet50/v1+cifar", "timm", "resnet50/cifar"),
        ("resnet101/group/v1", "timm", "resnet101/group"),
        ("alexnet/2014/tanh", "torchvision", "alexnet/2014"),
        ("alexnet/no_overlap/tanh/2014", "torchvision", "alexnet/2014"),
        ("vit_ti16/layers_shared", "timm", "vit_ti16"),
        ("small_vit/layers_shared", "transformers", "small_vit"),
        ("char_gru/3x512/before", "torch.nn", "char_gru/3x512"),
    ],
)
def test_weights_do_not_load_into_a_variant_that_no_tensor_tells_from_theirs(
    name: str, library: str, theirs: str
):
    net = undrawn(name)
    weights = theirs_of(net, library)
    with pytest.raises(
        ManyviewsError,
        match=f'^{library} has no net like "{re.escape(name)}": .* of "{theirs}", which .* net\\.$',
    ):
        load_from(net, weights, library)
    load_from(undrawn(theirs), weights, library)


def test_a_variant_may_be_said_as_an_option():
    net = undrawn("resnet50", v1=True)
    with pytest.raises(ManyviewsError, match=r'no net like "resnet50/v1": .* "resnet50", which'):
        load_from(net, theirs_of(net, "timm"), "timm")


def test_weights_from_a_file_are_refused_alike(tmp_path: Path):
    folder = export(build("small_vit", size=16), tmp_path / "vit", "transformers").path
    with pytest.raises(ManyviewsError, match=r'no net like "small_vit/layers_shared": .* "small_vit"'):
        build("small_vit/layers_shared", size=16, pretrained=f"transformers:{folder}")


@pytest.mark.parametrize(
    ("name", "library", "options"),
    [
        ("resnet50/zero_init", "torchvision", {}),
        ("resnet18/cifar", "timm", {}),
        ("resnet50/group", "timm", {}),
        ("vgg_a/cifar", "torchvision", {}),
        ("vgg_a/bn", "torchvision", {}),
        ("vit_ti16/sincos2d", "timm", {}),
        ("vit_ti16/average", "timm", {}),
        ("vit_ti16", "timm", {"depth": 2}),
        ("small_vit/sincos2d", "transformers", {}),
        ("small_gpt/nodrop", "transformers", {"vocabulary": 50}),
        ("char_gru/3x512", "torch.nn", {"vocabulary": 50}),
        ("small_transformer/nodrop", "torch.nn", {"vocabulary": 50}),
        ("small_transformer/pre", "torch.nn", {"vocabulary": 50}),
    ],
)
def test_weights_load_into_a_variant_that_tensors_tell_or_that_computes_the_same(
    name: str, library: str, options: dict[str, Any]
):
    net = undrawn(name, **options)
    load_from(net, theirs_of(net, library), library)


def test_a_net_that_only_starts_otherwise_goes_where_the_plain_one_goes():
    net = undrawn("resnet50/zero_init")
    assert known.libraries(net) == known.libraries(undrawn("resnet50")) == ["timm", "torchvision"]
    assert outward._for_hub(net, "torchvision", None)[0].keys() == theirs_of(net, "torchvision").keys()


def test_fixed_positions_are_a_tensor_in_transformers(tmp_path: Path):
    import transformers

    transformers.logging.set_verbosity_error()
    net = stirred(build("small_vit/sincos2d", size=16))
    _, how = export(net, tmp_path / "vit", "transformers")
    world: dict[str, Any] = {"transformers": transformers}
    exec(how, world)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(world["model"].eval()(x)[0], net.tokens(x), rtol=1e-5, atol=1e-5)  # pyright: ignore[reportCallIssue]


def test_what_a_net_can_go_to_is_said(tmp_path: Path):
    with pytest.raises(ManyviewsError, match="export it to timm, transformers, onnx or safetensors"):
        export(build("vit_ti16", size=32), tmp_path / "x", "torchvision")
    with pytest.raises(ManyviewsError, match="was not made by a name"):
        export(nn.Linear(2, 2), tmp_path / "x", "timm")
    with pytest.raises(ManyviewsError, match="was not made by a name"):
        load_from(nn.Linear(2, 2), {}, "timm")
    with pytest.raises(ManyviewsError, match="sees images, which BERT does not"):
        export(make("bert_tiny", **SMALL), tmp_path / "x", "onnx")
    (tmp_path / "file").touch()
    with pytest.raises(ManyviewsError, match="is a file"):
        export(make("bert_tiny", **SMALL), tmp_path / "file", "transformers")


def test_a_net_inside_another_module_has_tensors_that_nobody_knows():
    wrapped = nn.Sequential(build("vit_ti16", size=32), nn.Linear(192, 2))
    with pytest.raises(ManyviewsError, match="no net like"):
        to_timm(wrapped)


def test_token_nets_are_written_in_our_names_too(tmp_path: Path):
    net = make("gpt", **SMALL)
    path, how = export(net, tmp_path / "gpt.safetensors", "safetensors")
    world = {"safetensors": safetensors}
    exec(how, world)
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in world["weights"].items())
    with safetensors.safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["manyviews"])["made"] == ["gpt", SMALL]


def test_all_that_does_not_fit_is_listed_and_nothing_changes(tmp_path: Path):
    net = make("gpt2", **SMALL)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folder = export(make("gpt2", **SMALL | {"length": 12}), tmp_path / "short", "transformers").path
    with pytest.raises(
        ManyviewsError,
        match=r"^These weights are of another net. 1 misshapen: positions.weight \[12, 32\], not",
    ):
        load_from(net, folder, "transformers")
    with pytest.raises(
        ManyviewsError, match=r"^These weights are of another net. 28 missing: .*; 28 surplus: "
    ):
        load_from(net, dict(before), "transformers")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    with pytest.raises(ManyviewsError, match="no weights at"):
        load_from(net, tmp_path, "transformers")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ManyviewsError, match=r"index\.json is damaged"):
        load_from(net, tmp_path, "transformers")
    torch.save(before, tmp_path / "weights.bin")
    with pytest.raises(ManyviewsError, match="is a pickle"):
        load_from(net, tmp_path / "weights.bin", "transformers")


# --- from the hub, by name ------------------------------------------------------------------------


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torchvision's downloads, empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.against("torchvision", "resnet")
def test_torchvisions_weights_by_name(checkpoints: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision import models

    theirs = models.resnet18().eval()
    file = checkpoints / models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(theirs.state_dict(), file)
    ours = build("resnet18", size=96, pretrained="torchvision").eval()
    theirs.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert (
        ours.built
        and ours.built.name == "resnet18"
        and to_torchvision(ours).keys() == theirs.state_dict().keys()
    )
    with pytest.raises(
        ManyviewsError,
        match=r'resnet18 does not fit "resnet18" .* 1 misshapen: conv1.weight .* They fit "resnet18/imagenet": take',
    ):
        build("resnet18", size=32, pretrained="torchvision")  # whose stem is another

    settings = {"recipe": dataclasses.asdict(Recipe(net="resnet18", size=96, pretrained="torchvision"))}
    start = Run(checkpoints, settings).start()
    assert start is not None and torch.equal(start(x), ours.train()(x))
    with pytest.raises(ManyviewsError, match="--init-from or --pretrained"):
        Run(checkpoints, settings | {"init_from": "other"}).start()


@pytest.mark.against("timm", "vit")
def test_timms_weights_by_name_fit_any_size(monkeypatch: pytest.MonkeyPatch):
    import timm
    from timm.models import _builder

    theirs = timm.create_model("vit_tiny_patch16_224").eval()
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", lambda *_, **__: theirs.state_dict())
    ours = build("vit_ti16", size=224, pretrained="timm").eval()
    pixels = torch.rand(1, 3, 224, 224)
    y = (pixels - 0.5) / 0.5  # as its weights were learned
    with torch.no_grad():
        torch.testing.assert_close(
            ours(normalise(pixels)),
            theirs.forward_head(theirs.forward_features(y), pre_logits=True),
            rtol=1e-4,
            atol=1e-5,
        )
    smaller = build("vit_ti16", size=64, pretrained="timm")
    assert smaller.get_parameter("positions.0.weight").shape == (17, 192)
    assert torch.equal(smaller.get_parameter("norm.weight"), theirs.norm.weight)


@pytest.mark.against("transformers", "bert")
def test_transformers_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import transformers

    config = transformers.BertConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, hidden_act="gelu"
    )
    theirs = transformers.BertModel(config).eval()
    asked: list[str] = []
    monkeypatch.setattr(transformers.BertModel, "from_pretrained", lambda name: asked.append(name) or theirs)
    ours = make("bert_tiny", pretrained="transformers").eval()
    assert asked == ["google/bert_uncased_L-2_H-128_A-2"]
    x = torch.randint(30_000, (2, 12))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-5, atol=1e-5)


def test_weights_of_another_size_are_made_to_fit(monkeypatch: pytest.MonkeyPatch):
    learned = build("small_vit", size=32)
    weights = outward.to_theirs(known.tables("small_vit")["transformers"], learned.state_dict())
    monkeypatch.setattr(known, "name_at", lambda *_: "some/small-vit")
    monkeypatch.setattr(inward, "_fetch", lambda *_: weights)
    monkeypatch.setattr(inward, "_preprocessor", lambda *_: None)
    same = build("small_vit", size=32, pretrained="transformers")
    assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in learned.state_dict().items())
    larger = build("small_vit", size=64, pretrained="transformers")
    assert larger.built and larger.built.size == 64
    resized = learned.resized(64)  # pyright: ignore[reportCallIssue]
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(larger(x), resized(x))


def test_a_download_that_fails_is_a_sentence(checkpoints: Path, monkeypatch: pytest.MonkeyPatch):
    import timm
    import transformers

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network.\nMore about it")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(transformers.BertModel, "from_pretrained", offline)
    with pytest.raises(
        ManyviewsError, match=r'of "torchvision/resnet18" could not be loaded \(no network\); retry'
    ):
        build("resnet18", size=96, pretrained="torchvision")
    with pytest.raises(ManyviewsError, match=r'of "timm/resnet18" could not be loaded \(no network\); retry'):
        build("resnet18", size=96, pretrained="timm")
    with pytest.raises(
        ManyviewsError, match=r'bert_uncased_L-2_H-128_A-2" could not be loaded \(no network\); retry'
    ):
        make("bert_tiny", pretrained="transformers")


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        ("resnet18", True, "say which: torchvision, timm or transformers"),
        ("resnet18", "keras", 'come from timm, torchvision, transformers, not from "keras"'),
        (
            "resnet18",
            "transformers",
            "transformers has no pretrained weights .*; timm and torchvision may have some",
        ),
        ("small_resnet", "torchvision", "comes without pretrained weights"),
        ("resnet50/v1", "torchvision", "comes without pretrained weights"),
        ("vit_ti16/2d", "timm", "comes without pretrained weights"),
        ("timm/resnet18", "torchvision", "has the weights of timm, not of torchvision"),
    ],
)
def test_weights_that_nobody_has_are_a_sentence(name: str, pretrained: bool | str, words: str):
    with pytest.raises(ManyviewsError, match=words):
        build(name, size=32, pretrained=pretrained)


def test_a_missing_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ManyviewsError, match=r'pip install "manyviews\[hub\]"'):
        make("bert_tiny", pretrained="transformers")


def test_a_run_is_exported_to_a_folder_beside_its_encoder(tmp_path: Path):
    run = Run(tmp_path, {"recipe": dataclasses.asdict(Recipe(net="small_vit", size=16))})
    run.__dict__["encoder"] = build("small_vit", size=16)
    path, how = export_run(run, to="transformers")
    assert path == tmp_path / "encoder-transformers" and (path / "config.json").is_file() and str(path) in how
    shutil.rmtree(path)
    assert export_run(run, to="safetensors").path == tmp_path / "encoder-safetensors.safetensors"
