"""BEiT: loss and gradients equal transformers', targets follow the view, ablations differ in what they say, and no more."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BeitConfig, BeitForMaskedImageModeling

import manyviews
from manyviews import learn, nets
from manyviews.data import in_memory
from manyviews.errors import ManyviewsError
from manyviews.evaluation.descent import layers
from manyviews.evaluation.finetune import finetune
from manyviews.method import Batch, Spec, find
from manyviews.methods.masked.beit import BEiT, Config
from manyviews.nets.interop import save_encoder
from manyviews.nets.transformer import Block
from manyviews.nets.vit import ViT
from manyviews.runs import net_factory
from manyviews.views import plain
from manyviews.views.patches import patchify

B, P, SIZE, N, V = 3, 4, 16, 16, 12
SMALL: dict[str, Any] = {"tokeniser": "random", "codes": V, "block": 3, "drop_path": 0.0}


def tiny(**options: Any) -> ViT:
    return ViT(P, 24, 3, 3, **{"size": SIZE, **options})


def beit(net: Any = tiny, size: int = SIZE, seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    factory = net_factory(net, size) if isinstance(net, str) else net
    return BEiT(Config(**(SMALL | settings)), factory, Spec(items=8, size=size))


def images(seed: int = 0) -> Tensor:
    """Patches of different colours, so that even a tokeniser that learned nothing tells some apart."""
    noise = torch.randn(B, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return 2 * F.interpolate(noise[:, :, :4, :4], scale_factor=4.0) + 0.3 * noise


def batch() -> Batch:
    return Batch([images()], torch.arange(B))


def tokens(path: Path, net: str = "codes(small_dvae, 9)", size: int = SIZE) -> str:
    """The folder of a finished run."""
    torch.manual_seed(3)
    save_encoder(path, nets.build(net, size=size), {"net": net, "size": size})
    return str(path)


# -- transformers' ------------------------------------------------------------------------------------------------


def theirs(method: Any) -> BeitForMaskedImageModeling:
    """The same net with the same weights; its keys have no bias, so ours is zero."""
    vit = method.encoder
    assert isinstance(vit, ViT)
    net = BeitForMaskedImageModeling(
        BeitConfig(
            vocab_size=V, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96,
            image_size=SIZE, patch_size=P, use_mask_token=True, use_absolute_position_embeddings=True,
            use_relative_position_bias=False, layer_scale_init_value=0.0, layer_norm_eps=1e-6,
            use_mean_pooling=True,  # else there are two norms after the last block
            drop_path_rate=0.0,
        )
    )  # fmt: skip
    found: dict[str, Tensor] = {
        "beit.embeddings.cls_token": vit.class_token[None, None],
        "beit.embeddings.mask_token": method.mask_D[None, None],
        "beit.embeddings.position_embeddings": vit.positions[0].weight[None],
        "beit.embeddings.patch_embeddings.projection.weight": vit.patch.weight,
        "beit.embeddings.patch_embeddings.projection.bias": vit.patch.bias,
        "layernorm.weight": vit.norm.weight,
        "layernorm.bias": vit.norm.bias,
        "lm_head.weight": method.W_c.weight,
        "lm_head.bias": method.W_c.bias,
    }
    for number, block in enumerate(vit.blocks):
        assert isinstance(block, Block)
        at = f"beit.layers.{number}"
        for name, part in zip("qkv", block.attention.qkv.weight.chunk(3), strict=True):
            found[f"{at}.attention.{name}_proj.weight"] = part
        for name, part in zip("qkv", block.attention.qkv.bias.chunk(3), strict=True):
            if name != "k":
                found[f"{at}.attention.{name}_proj.bias"] = part
        parts = {"attention.o_proj": block.attention.out, "mlp.fc1": block.mlp.up, "mlp.fc2": block.mlp.down}
        for name, layer in (
            parts | {"layernorm_before": block.norm1, "layernorm_after": block.norm2}
        ).items():
            found |= {f"{at}.{name}.weight": layer.weight, f"{at}.{name}.bias": layer.bias}
    net.load_state_dict({name: tensor.detach().clone() for name, tensor in found.items()})
    return net


def test_loss_and_gradients_are_transformers() -> None:
    method, some = beit(), batch()
    with torch.no_grad():
        for parameter in method.parameters():  # nothing stays zero or one but the keys' bias
            parameter.add_(0.1 * torch.randn(parameter.shape))
        for block in method.encoder.blocks:
            block.attention.qkv.bias.view(3, -1)[1] = 0
    other = theirs(method)
    torch.manual_seed(7)
    out = method.loss(some, 0.0)
    torch.manual_seed(7)
    hidden = method.hidden(B)
    (x,) = some.views
    told = other(x, bool_masked_pos=hidden, labels=method.tokeniser(x)[hidden])
    torch.testing.assert_close(out.loss, told.loss)
    out.loss.backward()
    told.loss.backward()
    pairs = [
        (method.mask_D, other.beit.embeddings.mask_token),
        (method.W_c.weight, other.lm_head.weight),
        (method.encoder.patch.weight, other.beit.embeddings.patch_embeddings.projection.weight),
        (method.encoder.positions[0].weight, other.beit.embeddings.position_embeddings),
        (method.encoder.blocks[0].mlp.up.weight, other.beit.layers[0].mlp.fc1.weight),
    ]
    for ours, same in pairs:
        torch.testing.assert_close(ours.grad.view_as(same), same.grad)


# -- targets ------------------------------------------------------------------------------------------------------


def test_the_token_of_a_patch_is_the_code_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    method, x = beit(), images()
    assert method.tokeniser is not None
    bright = lambda x: (F.avg_pool2d(x.mean(1), P) > 0).long()  # noqa: E731
    monkeypatch.setattr(method.tokeniser.encoder, "tokens", bright)
    assert torch.equal(method.target(x).view(B, N), (patchify(x, P).mean(2) > 0).long())


def test_the_tokeniser_sees_the_same_view_resized() -> None:
    whole = beit(net=lambda: ViT(8, 24, 1, 3, size=32), size=32).tokeniser
    assert whole is not None and whole.size == 32  # 8 pixels for a code, as in the paper
    half = beit(net=lambda: ViT(16, 24, 1, 3, size=64), size=64).tokeniser
    assert half is not None and (half.size, half.cells()) == (32, (4, 4))
    x = torch.randn(2, 3, 64, 64)
    smaller = F.interpolate(x, (32, 32), mode="bilinear", antialias=True)
    assert torch.equal(half(x), half.encoder.tokens(smaller).flatten(1))


def test_pixels_instead_of_tokens() -> None:
    method, some = beit(tokeniser="", codes=None, targets="pixels"), batch()
    (x,) = some.views
    torch.manual_seed(7)
    out = method.loss(some, 0.0)
    torch.manual_seed(7)
    hidden = method.hidden(B)
    told = method.W_c(method.read(x, hidden)[:, 1:])
    torch.testing.assert_close(out.loss, F.mse_loss(told[hidden], patchify(x, P)[hidden]))


def test_the_loss_can_count_every_patch() -> None:
    method, some = beit(everywhere=True), batch()
    (x,) = some.views
    torch.manual_seed(7)
    out = method.loss(some, 0.0)
    torch.manual_seed(7)
    told = method.W_c(method.read(x, method.hidden(B))[:, 1:])
    torch.testing.assert_close(out.loss, F.cross_entropy(told.flatten(0, 1), method.target(x)))


def test_what_is_hidden_is_not_seen() -> None:
    method = beit().eval()
    torch.manual_seed(7)
    hidden = method.hidden(B)
    x = images()
    noise = torch.where(hidden[:, :, None], torch.randn(B, N, P * P * 3), patchify(x, P))
    changed = noise.unflatten(2, (P, P, 3)).unflatten(1, (4, 4)).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)
    assert not torch.equal(changed, x)
    torch.testing.assert_close(method.read(changed, hidden), method.read(x, hidden))


def test_images_may_hide_different_numbers_of_patches_and_the_mean_is_over_patches() -> None:
    method, some = beit(), batch()
    hidden = torch.zeros(B, N, dtype=torch.bool)
    hidden[0, 3], hidden[1, :5] = True, True  # none of the third
    method.hidden = lambda B: hidden  # pyright: ignore[reportAttributeAccessIssue]
    (x,) = some.views
    told = method.W_c(method.read(x, hidden)[:, 1:])[hidden]
    plain_mean = F.cross_entropy(told, method.target(x).view(B, N)[hidden])
    torch.testing.assert_close(method.loss(some, 0.0).loss, plain_mean)
    hidden[:] = False
    assert method.loss(some, 0.0).loss == 0


@pytest.mark.parametrize("masking", ["block", "random"])
def test_masks_keep_to_the_ratio_and_repeat(masking: str) -> None:
    method = beit(masking=masking)
    torch.manual_seed(1)
    hidden = method.hidden(200)
    torch.manual_seed(1)
    assert torch.equal(hidden, method.hidden(200)) and not torch.equal(hidden, method.hidden(200))
    count = hidden.sum(1)
    assert count.max() == 6 and (masking == "block" or (count == 6).all())


# -- first weights ------------------------------------------------------------------------------------------------


def test_first_weights_are_small_and_shrink_with_depth() -> None:
    method = beit()
    vit = method.encoder
    for name, parameter in vit.named_parameters():
        if "norm" not in name:
            assert parameter.abs().max() <= 0.02
    assert method.W_c.weight.abs().max() <= 0.02 and not method.W_c.bias.any()
    deviation = vit.blocks[0].mlp.up.weight.std().item()
    assert 0.009 < deviation < 0.012  # of a normal cut at its own deviation: 0.54 * 0.02
    for number, block in enumerate(vit.blocks, start=1):
        for last in (block.attention.out, block.mlp.down):
            assert last.weight.std().item() * math.sqrt(2 * number) == pytest.approx(deviation, rel=0.12)


def test_a_narrow_net_may_keep_the_first_weights_that_it_has_but_for_the_last_of_each_layer() -> None:
    torch.manual_seed(0)
    own, kept = tiny(), beit(init=None).encoder
    for name, parameter in kept.named_parameters():
        last = re.fullmatch(r"blocks\.(\d+)\.(attention\.out|mlp\.down)\.weight", name)
        root = math.sqrt(2 * (int(last[1]) + 1)) if last else 1.0
        torch.testing.assert_close(parameter * root, own.get_parameter(name))
    for init in (0.0, -0.02):
        with pytest.raises(ManyviewsError, match="--init"):
            beit(init=init)


def test_a_net_that_starts_from_another_keeps_its_weights() -> None:
    start = nets.build("small_vit", size=SIZE)
    torch.manual_seed(0)
    method = BEiT(Config(**SMALL), net_factory("small_vit", SIZE, start), Spec(items=8, size=SIZE))
    for own, given in zip(method.encoder.parameters(), start.parameters(), strict=True):
        assert torch.equal(own, given)


def test_later_layers_are_skipped_more_often() -> None:
    rates = [block.drop_path for block in beit(drop_path=0.2).encoder.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


# -- the tokeniser ------------------------------------------------------------------------------------------------


def test_the_control_is_drawn_from_the_seed_after_all_else() -> None:
    once, again, other = beit(), beit(), beit(seed=1)
    pixels = beit(tokeniser="", codes=None, targets="pixels")
    x = images()
    assert len(once.target(x).unique()) > 2
    assert torch.equal(once.target(x), again.target(x)) and not torch.equal(once.target(x), other.target(x))
    assert torch.equal(once.encoder.patch.weight, pixels.encoder.patch.weight)


def test_a_tokeniser_comes_from_its_run_and_stays_as_it_is(tmp_path: Path) -> None:
    method, some = beit(tokeniser=tokens(tmp_path), codes=None), batch()
    assert method.tokeniser is not None and method.tokeniser.codes == method.W_c.out_features == 9
    before = {name: value.clone() for name, value in method.tokeniser.state_dict().items()}
    method.train()
    assert not any(module.training for module in method.tokeniser.modules())
    method.loss(some, 0.0).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in method.tokeniser.parameters())
    assert all(torch.equal(before[name], value) for name, value in method.tokeniser.state_dict().items())


def test_from_the_tokeniser_to_a_finished_run_and_a_fine_tuned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "judge", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    some = np.random.default_rng(0).integers(0, 256, (48, 3, SIZE, SIZE), dtype=np.uint8)
    how: dict[str, Any] = {"size": SIZE, "batch": 16, "quiet": True}
    manyviews.pretrain("dvae", some, out="tokens", net="small_dvae", codes=9, width=8, budget="3steps", **how)
    run = manyviews.pretrain(
        "beit", some, out="run", net="small_vit/average", tokeniser="tokens", block=3, budget="6steps", lr=1e-2, **how
    )  # fmt: skip
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["tokeniser"]
    assert Path(kept) == (tmp_path / "tokens").resolve()  # found again from wherever it is resumed
    assert run.metrics()[-1]["loss"] < run.metrics()[0]["loss"]

    labelled = in_memory("noise", torch.from_numpy(some), torch.arange(48) % 4, tuple("abcd"))
    tuned = finetune(
        run.encoder, labelled, labelled, classes=4, size=SIZE, epochs=1, batch=16, layer_decay=0.65
    )
    assert math.isfinite(tuned.loss)
    patches, *blocks = layers(run.encoder)
    assert [p.shape for p in patches] == [(17 - 1, 128), (128, 3, P, P), (128,)] and len(blocks) == 6


def test_pictures_show_what_is_seen_and_what_is_told() -> None:
    image = torch.randint(0, 256, (B, 3, SIZE, SIZE), dtype=torch.uint8)
    for settings in ({}, {"tokeniser": "", "codes": None, "targets": "pixels"}):
        method = beit(**settings).eval()
        with torch.no_grad():
            torch.manual_seed(7)
            (sheet,) = method.pictures(image).values()
            torch.manual_seed(7)
            hidden = method.hidden(B)
        assert sheet.shape == (B, 3, 3, SIZE, SIZE) and sheet.dtype == torch.uint8
        first, seen, told = (patchify(column, P) for column in sheet.unbind(1))
        assert (seen[hidden] == 128).all() and torch.equal(seen[~hidden], first[~hidden])
        assert torch.equal(told[~hidden], first[~hidden])
        if not settings:
            x = plain(image, SIZE)
            right = method.W_c(method.read(x, hidden)[:, 1:]).argmax(2) == method.target(x).view(B, N)
            tint = told.int() - first.int() // 2
            assert (tint[hidden & right][:, 1] == 80).all() and (tint[hidden & ~right][:, 0] == 100).all()


# -- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.01, -0.5])
def test_a_ratio_that_hides_nothing_or_all(ratio: float) -> None:
    with pytest.raises(ManyviewsError, match=rf"A mask ratio of {ratio} hides -?\d+ of 16 patches"):
        beit(ratio=ratio)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tokeniser": ""}, r"say --tokeniser RUN.*`manyviews pretrain dvae --out RUN` makes one"),
        ({"tokeniser": "nowhere"}, r"no finished run at nowhere \(--tokeniser\)"),
        ({"codes": 1}, r"1 code\(s\) says nothing"),
        ({"targets": "pixels"}, r"--targets pixels need no tokeniser"),
        ({"block": 0}, r"--block is 0"),
        ({"aspect": 0.0}, r"--aspect 0\.0"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0, a chance"),
        ({"token_size": 32}, r"8 x 8 codes for images of 32 pixels, but .* 4 x 4 patches.*--token-size 16"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        beit(**settings)


def test_tokens_that_lie_in_another_grid_and_the_size_that_mends_it(tmp_path: Path) -> None:
    run = tokens(tmp_path, size=32)
    with pytest.raises(
        ManyviewsError, match=r"8 x 8 codes for images of 32 pixels, but .*say --token-size 16"
    ):
        beit(tokeniser=run, codes=None)
    method = beit(tokeniser=run, codes=None, token_size=16)
    assert method.tokeniser is not None and method.tokeniser.cells() == (4, 4)


def test_other_codes_than_asked(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"has 9 codes, not 12"):
        beit(tokeniser=tokens(tmp_path))


def test_a_run_that_learned_no_codes(tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"learned cifar_resnet8, which gives no codes"):
        beit(tokeniser=tokens(tmp_path, "cifar_resnet8"), codes=None)


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ManyviewsError, match=r"There is no finished run at"):
        beit(tokeniser=str(tmp_path), codes=None)


def test_a_tokeniser_whose_file_is_cut_short(tmp_path: Path) -> None:
    file = Path(tokens(tmp_path)) / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ManyviewsError, match=r"encoder\.safetensors is damaged"):
        beit(tokeniser=str(tmp_path), codes=None)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        ("cifar_resnet8", r'"cifar_resnet8" has none; take --net small_vit'),
        ("small_vit/hybrid", r'"small_vit/hybrid" sees them through convolutions'),
    ],
)
def test_a_net_without_patches_to_hide(net: str, sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        beit(net)


def test_nothing_is_written_where_there_is_no_tokeniser(tmp_path: Path) -> None:
    some = np.zeros((16, 3, SIZE, SIZE), dtype=np.uint8)
    with pytest.raises(ManyviewsError, match="say --tokeniser RUN"):
        manyviews.pretrain("beit", some, out=tmp_path / "run", batch=8, size=SIZE, net="small_vit")
    assert not (tmp_path / "run").exists()


def test_every_recipe_can_be_built_but_for_its_tokeniser() -> None:
    for config, recipe in find("beit").recipes.values():
        small = replace(config, tokeniser="random", codes=V, token_size=None)
        with torch.device("meta"):
            vit = nets.build(recipe.net, size=recipe.size)
        assert isinstance(vit, ViT) and small.ratio * vit.cells[0] * vit.cells[1] > small.block


def test_views_are_crops_whose_colours_always_change_but_their_hue() -> None:
    (view,) = beit(jitter=0.3, min_area=0.2).views().views
    assert (view.crop, view.flip, view.jitter, view.jitter_p) == ((0.2, 1.0), 0.5, (0.3, 0.3, 0.3, 0.0), 1.0)
    assert (view.grey, view.blur) == (0.0, 0.0)
