"""Weights from files of other libraries: whichever of their models they were saved from, and from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from PIL import Image
from torch import Tensor, nn

import manyviews
from commands import refused
from manyviews.cli import main
from manyviews.errors import ManyviewsError
from manyviews.nets import build, make, net_factory
from manyviews.nets.bert import Pretraining
from manyviews.nets.interop import export, known, load_encoder, load_from, save_encoder
from manyviews.nets.names import to_theirs
from manyviews.nets.reader import Reader

transformers.logging.set_verbosity_error()


def stirred(net: Any) -> Any:
    """Every tensor with values that matter, norms and biases too."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.randn_like(p) * 0.1 + (p.ndim == 1 and name.endswith("weight")))
    return net.eval()


# --- whichever of transformers' models ------------------------------------------------------------

SMALL = {"vocabulary": 50, "width": 16, "depth": 2, "heads": 4, "length": 24}
GPT = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 24, "pad_token_id": 0}
BERT = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 24,
}  # fmt: skip
VIT = {
    "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512, "image_size": 16,
    "patch_size": 4, "layer_norm_eps": 1e-6, "encoder_stride": 4,
}  # fmt: skip
MODELS = {
    "gpt": ("OpenAIGPTModel", "OpenAIGPTLMHeadModel", "OpenAIGPTDoubleHeadsModel", "OpenAIGPTForSequenceClassification"),
    "gpt2": (
        "GPT2Model", "GPT2LMHeadModel", "GPT2DoubleHeadsModel", "GPT2ForSequenceClassification",
        "GPT2ForTokenClassification", "GPT2ForQuestionAnswering",
    ),
    "bert_tiny": (
        "BertModel", "BertForPreTraining", "BertForMaskedLM", "BertLMHeadModel", "BertForNextSentencePrediction",
        "BertForSequenceClassification", "BertForMultipleChoice", "BertForTokenClassification",
        "BertForQuestionAnswering",
    ),
    "small_vit": ("ViTModel", "ViTForImageClassification", "ViTForMaskedImageModeling"),
}  # fmt: skip


def theirs_of(kind: str) -> Any:
    model: Any = getattr(transformers, kind)
    config = model.config_class
    sizes = {"OpenAIGPTConfig": GPT, "GPT2Config": GPT, "BertConfig": BERT, "ViTConfig": VIT}[config.__name__]
    return stirred(model(config(**sizes)))


def ours_of(name: str) -> Any:
    return stirred(build(name, size=16) if name == "small_vit" else make(name, **SMALL))


def states(net: Any, x: Tensor) -> Tensor:
    """What stands at each token after the last block."""
    with torch.no_grad():
        return net.tokens(x) if x.ndim == 4 else net.states(x) if hasattr(net, "states") else net(x)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in MODELS.items() for kind in kinds])
def test_files_of_all_models_of_a_family_load(name: str, kind: str, tmp_path: Path):
    theirs, x = theirs_of(kind), torch.randint(50, (2, 9))
    if name == "small_vit":
        x = torch.randn(2, 3, 16, 16)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs.base_model(x)[0]
    for weights in (tmp_path, theirs.state_dict()):
        ours = ours_of(name)
        load_from(ours, weights, "transformers")
        torch.testing.assert_close(states(ours, x), expected, rtol=1e-5, atol=1e-5)


def test_a_folder_of_a_net_that_computes_otherwise_is_refused(tmp_path: Path):
    sizes = BERT | {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512}  # of bert_tiny
    for folder, changes in {
        "same": {},
        "heads": {"num_attention_heads": 4},
        "relu": {"hidden_act": "relu"},
    }.items():
        model = transformers.BertModel(transformers.BertConfig(**(sizes | changes)))
        model.save_pretrained(tmp_path / folder)
    assert isinstance(make("bert_tiny", pretrained=f"transformers:{tmp_path / 'same'}"), nn.Module)
    with pytest.raises(ManyviewsError, match=r"heads is of another net: num_attention_heads 4, not 2\.$"):
        make("bert_tiny", pretrained=f"transformers:{tmp_path / 'heads'}")
    with pytest.raises(ManyviewsError, match="num_attention_heads 4, not 2"):
        load_from(make("bert_tiny", vocabulary=50, length=24), tmp_path / "heads", "transformers")
    with pytest.raises(ManyviewsError, match="hidden_act relu, not gelu"):
        make("bert_tiny", pretrained=f"transformers:{tmp_path / 'relu'}")
    with pytest.raises(ManyviewsError, match="num_attention_heads 4, not 2"):  # the file beside its config
        make("bert_tiny", pretrained=f"transformers:{tmp_path / 'heads' / 'model.safetensors'}")
    (tmp_path / "same" / "config.json").write_text("{")
    with pytest.raises(ManyviewsError, match=r"config\.json is damaged"):
        make("bert_tiny", pretrained=f"transformers:{tmp_path / 'same'}")
    with pytest.raises(ManyviewsError, match=r"torch\.nn"):  # has the net, and no weights of it
        make("char_lstm", pretrained="torch.nn")


def test_a_bert_without_a_pooler_leaves_ours_as_it_is_and_part_of_one_is_refused():
    ours, theirs = ours_of("bert_tiny"), theirs_of("BertForMaskedLM").state_dict()
    before = ours.pooler.weight.clone()
    load_from(ours, theirs, "transformers")
    assert torch.equal(ours.pooler.weight, before)
    with pytest.raises(ManyviewsError, match=r"1 missing: pooler\.dense\.weight$"):
        load_from(ours, theirs | {"bert.pooler.dense.bias": torch.zeros(16)}, "transformers")
    with pytest.raises(ManyviewsError, match=r"4 missing: bert\.pooler\.dense\.weight, .*seq_relationship"):
        load_from(Pretraining(ours), theirs, "transformers")


@pytest.mark.parametrize(
    ("name", "kind", "embedding"),
    [
        ("gpt", "OpenAIGPTLMHeadModel", "transformer.tokens_embed.weight"),
        ("gpt2", "GPT2LMHeadModel", "transformer.wte.weight"),
        ("bert_tiny", "BertForPreTraining", "bert.embeddings.word_embeddings.weight"),
    ],
)
def test_a_file_may_hold_the_embedding_as_its_last_matrix_alone(name: str, kind: str, embedding: str):
    theirs = theirs_of(kind).state_dict()
    ours, words = ours_of(name), theirs.pop(embedding)
    load_from(ours, theirs, "transformers")
    assert torch.equal(ours.tokens.weight, words)
    load_from(ours, theirs | {embedding: words + 1}, "transformers")  # the embedding goes before the head
    assert torch.equal(ours.tokens.weight, words + 1)


def test_old_files_of_gpt_2_hold_masks_too():
    theirs = theirs_of("GPT2Model").state_dict()
    mask = {f"h.{layer}.attn.bias": torch.ones(1, 1, 24, 24) for layer in range(2)}
    mask |= {f"h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(2)}
    one, other = ours_of("gpt2"), ours_of("gpt2")
    load_from(one, theirs, "transformers")
    load_from(other, theirs | mask, "transformers")
    assert all(torch.equal(tensor, one.state_dict()[name]) for name, tensor in other.state_dict().items())
    with pytest.raises(ManyviewsError, match=r"1 surplus: h\.2\.ln_1\.weight$"):
        load_from(one, theirs | {"h.2.ln_1.weight": torch.ones(16)}, "transformers")


@pytest.mark.parametrize("whole", [True, False])
def test_old_files_of_bert_call_scale_and_shift_of_a_norm_otherwise(whole: bool):
    theirs = theirs_of("BertForPreTraining").state_dict()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in theirs.items()
        if not name.startswith("cls.predictions.decoder.")
    } | {"bert.embeddings.position_ids": torch.arange(24)[None]}
    assert sum(name.endswith((".gamma", ".beta")) for name in old) == 2 * (1 + 2 * 2 + 1)
    one, other = (Pretraining(ours_of("bert_tiny")) if whole else ours_of("bert_tiny") for _ in range(2))
    load_from(one, theirs, "transformers")
    load_from(other, old, "transformers")
    assert all(torch.equal(tensor, one.state_dict()[name]) for name, tensor in other.state_dict().items())


# --- from a file ----------------------------------------------------------------------------------


def file_of(net: nn.Module, name: str, library: str, path: Path) -> str:
    """The source of the weights of one of our nets, as that library would have saved them."""
    weights = to_theirs(known.tables(name)[library], net.state_dict())
    safetensors.torch.save_file({key: t.contiguous() for key, t in weights.items()}, path)
    return f"{library}:{path}"


@pytest.mark.parametrize("library", ["timm", "torchvision", "transformers"])
def test_a_vits_file_fits_images_of_any_size(library: str, tmp_path: Path):
    theirs = stirred(build("small_vit", size=32))
    source = file_of(theirs, "small_vit", library, tmp_path / "vit.safetensors")
    x = torch.randn(2, 3, 48, 48)
    for size in (32, 48):
        ours: Any = build("small_vit", size=size, pretrained=source).eval()
        assert (
            ours.built.size == ours.made.options["size"] == size
            and len(ours.positions[0].weight) == (size // 4) ** 2 + 1
        )
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    unsized: Any = make("small_vit", pretrained=source, in_channels=3)
    assert unsized.cells == (8, 8)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("small_bert", "is_decoder", True),
        ("small_gpt", "scale_attn_by_inverse_layer_idx", True),
        ("small_gpt", "scale_attn_weights", False),
        ("small_gpt", "tie_word_embeddings", False),
    ],
)
def test_a_config_that_says_that_the_net_computes_otherwise_is_refused(
    name: str, key: str, value: bool, tmp_path: Path
):
    folder = export(make(name, vocabulary=70, length=24), tmp_path / "it", "transformers").path
    assert isinstance(make(name, pretrained=f"transformers:{folder}"), nn.Module)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {key: value}))
    with pytest.raises(ManyviewsError, match=f"{key} {value}, not {not value}"):
        make(name, pretrained=f"transformers:{folder}")


def test_a_reader_takes_and_keeps_what_its_weights_are(tmp_path: Path):
    theirs = stirred(make("small_bert", vocabulary=70, length=40))
    folder = export(theirs, tmp_path / "bert", "transformers").path
    ours = build("small_bert", in_channels=70, size=40)
    load_from(ours, folder, "transformers")
    pretrained = build("small_bert", in_channels=70, size=32, pretrained=f"transformers:{folder}")
    save_encoder(tmp_path, pretrained, {})
    again = load_encoder(tmp_path)[0]
    for encoder in (ours, pretrained, again):
        assert isinstance(encoder, Reader)
        for key, tensor in theirs.state_dict().items():
            assert torch.equal(tensor, encoder.net.state_dict()[key]), key


def test_a_net_of_tokens_has_those_of_its_file_and_their_number(tmp_path: Path):
    theirs = stirred(make("small_bert", vocabulary=70, length=40, segments=3))
    folder = export(theirs, tmp_path / "bert", "transformers").path
    ours: Any = build("small_bert", in_channels=70, size=32, pretrained=f"transformers:{folder}")
    assert isinstance(ours, Reader) and ours.net.state_dict().keys() == theirs.state_dict().keys()
    assert all(
        torch.equal(tensor, ours.net.state_dict()[name]) for name, tensor in theirs.state_dict().items()
    )
    with pytest.raises(
        ManyviewsError, match=r"knows 70 tokens as transformers:.* has it, and these texts have 60"
    ):
        build("small_bert", in_channels=60, size=32, pretrained=f"transformers:{folder}")
    with pytest.raises(
        ManyviewsError, match=r"2 misshapen: tokens.weight .*, positions.weight \[40, 128\], not \[8"
    ):
        make("small_bert", pretrained=f"transformers:{folder}", vocabulary=60, length=8)


@pytest.mark.parametrize("kinds", [1, 3])
def test_a_run_starts_from_a_bert_of_other_kinds_of_sentence(kinds: int, tmp_path: Path):
    sizes = BERT | {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 512}  # of small_bert
    theirs = stirred(transformers.BertModel(transformers.BertConfig(**sizes, type_vocab_size=kinds)))
    theirs.save_pretrained(tmp_path)
    start = build("small_bert", in_channels=50, size=12, pretrained=f"transformers:{tmp_path}")
    ours = net_factory("small_bert", 12, start)(in_channels=50).eval()
    tokens_BT, part_BT = torch.randint(50, (2, 12)), torch.tensor([[1] * 5 + [2] * 7, [1] * 12])
    with torch.no_grad():
        expected = theirs(tokens_BT, token_type_ids=(part_BT - 1).clamp(max=kinds - 1))[0]
        found = ours.states(torch.stack([tokens_BT, part_BT], dim=1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/resnet18"])
def test_a_net_of_another_library_loads_its_own_file(name: str, tmp_path: Path):
    library, file = name.split("/")[0], tmp_path / "weights.safetensors"
    theirs = build(name)
    weights = {key.removeprefix("model."): tensor for key, tensor in theirs.state_dict().items()}
    classes = {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    safetensors.torch.save_file(weights | classes, file)
    ours = build(name, pretrained=f"{library}:{file}")
    assert all(torch.equal(tensor, ours.state_dict()[key]) for key, tensor in theirs.state_dict().items())
    safetensors.torch.save_file(weights | {"layer5.weight": torch.zeros(1)}, file)
    with pytest.raises(
        ManyviewsError, match=rf"does not fit \"{name}\"\. .* 1 surplus: model\.layer5\.weight$"
    ):
        build(name, pretrained=f"{library}:{file}")
    with pytest.raises(ManyviewsError, match=f"has the weights of {library}, not of transformers"):
        build(name, pretrained=f"transformers:{file}")


def test_the_stem_that_a_file_fits_is_named(tmp_path: Path):
    source = file_of(build("resnet18/imagenet"), "resnet18", "torchvision", tmp_path / "r.safetensors")
    with pytest.raises(
        ManyviewsError, match=r'r\.safetensors does not .* They fit "resnet18/imagenet": take that'
    ):
        build("resnet18", size=32, pretrained=source)
    with pytest.raises(ManyviewsError, match=r"misshapen: (?!.*They fit)"):
        build("resnet34", size=32, pretrained=source)
    assert build("resnet18/imagenet", size=32, pretrained=source).built


def test_files_that_cannot_be_are_a_sentence(tmp_path: Path):
    for source, words in {
        f"timm:{tmp_path}/none": "There are no weights at",
        f"keras:{tmp_path}": 'not from "keras"; name one',
        f"timm:{tmp_path}": "comes without pretrained weights",
    }.items():
        with pytest.raises(ManyviewsError, match=words):
            build(
                "small_vit/average" if "none" in source else "small_bert", in_channels=50, pretrained=source
            )


def test_a_run_starts_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)).save(
            photos / f"{number}.png"
        )
    theirs: Any = stirred(build("small_vit", size=32))
    right = file_of(theirs, "small_vit", "timm", tmp_path / "vit.safetensors")
    words = [
        "pretrain",
        "simclr",
        "--data",
        str(photos),
        "--net",
        "small_vit",
        "--size",
        "16",
        "--batch",
        "2",
    ]
    words += [
        "--budget",
        "1steps",
        "--lr",
        "1e-12",
        "--weight-decay",
        "0",
        "--baselines",
        "pixels",
        "--quiet",
    ]
    monkeypatch.chdir(tmp_path)
    main([*words, "--pretrained", "timm:vit.safetensors", "--out", "run"])
    run: Any = manyviews.load("run")
    assert run.recipe.pretrained == right  # so that it is found from wherever the run is resumed
    for name, tensor in theirs.resized(16).state_dict().items():
        torch.testing.assert_close(run.encoder.cpu().state_dict()[name], tensor)

    main([*words, "--init-from", "run", "--size", "24", "--out", "next"])  # a run of smaller images
    for name, tensor in run.encoder.cpu().resized(24).state_dict().items():
        torch.testing.assert_close(manyviews.load("next").encoder.cpu().state_dict()[name], tensor)

    file_of(build("vit_ti4", size=32), "vit_ti4", "timm", tmp_path / "other.safetensors")
    said = refused(capsys, *words, "--pretrained", "timm:other.safetensors", "--out", "wrong")
    assert 'other.safetensors does not fit "small_vit" as it is asked for' in said
    assert "72 surplus: blocks." in said and "misshapen: class_token [192], not [128]" in said
    assert not (tmp_path / "wrong").exists()


def test_gpt_2s_own_tokeniser_has_no_padding_and_gets_a_row(tmp_path: Path):
    theirs = stirred(make("small_gpt", vocabulary=70, length=24))
    folder = export(theirs, tmp_path / "gpt", "transformers").path
    ours: Any = build("small_gpt", in_channels=71, size=24, pretrained=f"transformers:{folder}")
    rows_VD = theirs.tokens.weight
    assert torch.equal(ours.net.tokens.weight[:70], rows_VD)
    torch.testing.assert_close(ours.net.tokens.weight[70], rows_VD.mean(0))
    assert ours.net.tokens.weight.requires_grad
    start = net_factory("small_gpt", 24, ours)(in_channels=71)
    assert torch.equal(start.net.tokens.weight, ours.net.tokens.weight)
