"""MAE: loss and gradients equal transformers', what is hidden stays unseen, masks hide what the paper says."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from manyviews import distributed
from manyviews.data import in_memory
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec, find
from manyviews.nets.names import from_theirs
from manyviews.nets.pixel_decoder import PixelDecoder
from manyviews.nets.vit import NAMES, ViT
from manyviews.recipe import Recipe
from manyviews.runs import net_factory
from manyviews.training.loop import Loop
from manyviews.views import picture, plain
from manyviews.views.blockwise import blocks
from manyviews.views.patches import patchify, unpatchify

B, P, SIZE, N = 3, 8, 32, 16


def tiny(**options: Any) -> ViT:
    return ViT(P, 24, 2, 3, **{"size": SIZE, "positions": "sincos2d", **options})


def mae(net: Any = tiny, size: int = SIZE, **settings: Any) -> Any:
    torch.manual_seed(0)
    small = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
    factory = net_factory(net, size) if isinstance(net, str) else net
    config = replace(find("mae").config(), **(small | settings))
    return find("mae").method(config, factory, Spec(items=8, size=size))  # pyright: ignore[reportCallIssue]


def images(seed: int = 0) -> Tensor:
    return torch.randn(B, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def batch() -> Batch:
    return Batch([images()], torch.arange(B))


# -- transformers' ---------------------------------------------------------------------------------------------

BLOCK = {
    "norm1": "layernorm_before", "attention.out": "attention.o_proj", "norm2": "layernorm_after",
    "mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2",
}  # fmt: skip


def theirs(normalise: bool, ratio: float) -> Any:
    torch.manual_seed(1)
    net = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=SIZE,
            patch_size=P, decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
            decoder_intermediate_size=64, mask_ratio=ratio, norm_pix_loss=normalise, layer_norm_eps=1e-6,
        )
    )  # fmt: skip
    embeddings: Any = net.vit.embeddings
    embeddings.patch_embeddings.projection._is_hf_initialized = False
    embeddings.initialize_weights()  # its constructor undoes both: positions would be zero
    net.decoder.initialize_weights(N)
    for weight in net.parameters():
        if weight.requires_grad:  # positions stay; the rest moves, so that a tensor in the wrong place shows
            weight.data += 0.1 * torch.randn(weight.shape)
    return net.eval()


def decoder_of(net: Any) -> dict[str, Tensor]:
    given = {name.removeprefix("decoder."): t for name, t in net.state_dict().items()}
    found = {"mask_token": given["mask_token"][0, 0], "place.weight": given["decoder_pos_embed"][0]}
    for kind in ("weight", "bias"):
        for ours, name in {
            "embed": "decoder_embed",
            "norm": "decoder_norm",
            "predict": "decoder_pred",
        }.items():
            found[f"{ours}.{kind}"] = given[f"{name}.{kind}"]
        for ours, name in BLOCK.items():
            found[f"blocks.0.{ours}.{kind}"] = given[f"decoder_layers.0.{name}.{kind}"]
        qkv = [given[f"decoder_layers.0.attention.{part}_proj.{kind}"] for part in "qkv"]
        found[f"blocks.0.attention.qkv.{kind}"] = torch.cat(qkv)
    return found


@pytest.mark.parametrize("ratio", [0.75, 0.4])
@pytest.mark.parametrize("normalise", [True, False])
def test_loss_and_gradients_are_those_of_transformers(normalise: bool, ratio: float) -> None:
    net, method = theirs(normalise, ratio), mae(normalise=normalise, ratio=ratio)
    place = method.decoder.place.weight.clone(), method.encoder.positions[0].weight.clone()
    vit = {name.removeprefix("vit."): t for name, t in net.state_dict().items() if name.startswith("vit.")}
    method.encoder.load_state_dict(from_theirs(NAMES["transformers"], vit, method.encoder.state_dict()))
    method.decoder.load_state_dict(decoder_of(net))
    torch.testing.assert_close(method.decoder.place.weight, place[0])  # the sinusoids are the same
    torch.testing.assert_close(method.encoder.positions[0].weight, place[1])

    noise = torch.rand(B, N)
    method.shuffled = lambda B, K: noise.argsort(1)
    loss, told = method.loss(batch(), 0.0).loss, net(images(), noise=noise)
    torch.testing.assert_close(loss, told.loss, rtol=1e-5, atol=1e-6)
    assert int(told.mask[0].sum()) == N - method.K
    loss.backward()
    told.loss.backward()
    torch.testing.assert_close(
        method.encoder.patch.weight.grad, net.vit.embeddings.patch_embeddings.projection.weight.grad,
        rtol=1e-3, atol=1e-6,
    )  # fmt: skip
    torch.testing.assert_close(method.decoder.mask_token.grad, net.decoder.mask_token.grad[0, 0], rtol=1e-3, atol=1e-6)  # fmt: skip


# -- what is hidden --------------------------------------------------------------------------------------------


def hidden(order_BN: Tensor, K: int, cells: tuple[int, int]) -> Tensor:
    return (order_BN.argsort(1) >= K).unflatten(1, cells)


@pytest.mark.parametrize(
    ("masking", "ratio"), [("random", 0.75), ("random", 0.9), ("block", 0.5), ("block", 0.75), ("grid", 0.75)]
)
def test_every_image_hides_as_many_patches_in_an_order_of_all(masking: str, ratio: float) -> None:
    method = mae("small_vit/sincos2d", masking=masking, ratio=ratio)
    order_BN = method.shuffled(20, method.K)
    assert int(64 * (1 - ratio)) == method.K
    assert torch.equal(order_BN.sort(1).values, torch.arange(64).expand(20, -1))
    rows = {tuple(row) for row in hidden(order_BN, method.K, (8, 8)).flatten(1).tolist()}
    assert len(rows) == (1 if masking == "grid" else 20)


def test_a_grid_shows_one_of_every_four() -> None:
    method = mae("small_vit/sincos2d", masking="grid")
    seen = ~hidden(method.shuffled(2, method.K), method.K, (8, 8))
    assert seen[:, ::2, ::2].all() and int(seen.sum()) == 2 * 16


def test_blocks_hide_neighbours_more_often_than_chance() -> None:
    def together(masking: str) -> float:
        method = mae("small_vit/sincos2d", masking=masking, ratio=0.5)
        mask = hidden(method.shuffled(50, method.K), method.K, (8, 8))
        return float((mask[:, 1:] == mask[:, :-1]).float().mean())

    assert together("block") > 0.65 > 0.55 > together("random")


@pytest.mark.parametrize("mask_in_encoder", [False, True])
def test_what_is_hidden_has_no_part_in_what_is_painted(mask_in_encoder: bool) -> None:
    method = mae(mask_in_encoder=mask_in_encoder).eval()
    x, other = images(), images(1)
    order_BN = method.shuffled(B, method.K)
    patch, new = patchify(x, P), patchify(other, P)
    index = order_BN[:, :, None].expand(-1, -1, patch.shape[2])
    for rows, same in ((slice(method.K, None), True), (slice(0, 1), False)):
        changed = patch.scatter(1, index[:, rows], new.gather(1, index[:, rows]))
        painted = [
            method.painted(image, order_BN, method.K, 0) for image in (x, unpatchify(changed, P, SIZE // P))
        ]
        assert torch.equal(*painted) == same


@pytest.mark.parametrize(("mask_in_encoder", "tokens"), [(False, 1 + 4), (True, 1 + 16)])
def test_only_visible_patches_enter_the_encoder_but_in_the_ablation(
    mask_in_encoder: bool, tokens: int
) -> None:
    method, seen = mae(mask_in_encoder=mask_in_encoder), []
    method.encoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    method.decoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    method.loss(batch(), 0.0)
    assert seen == [tokens, 17]


@pytest.mark.parametrize("mask_in_encoder", [False, True])
@pytest.mark.parametrize("pool", ["class", "average"])
def test_the_order_of_patches_is_no_news(pool: str, mask_in_encoder: bool) -> None:
    method = mae(lambda: tiny(pool=pool), mask_in_encoder=mask_in_encoder)
    x, order_BN, K = images(), method.shuffled(B, method.K), method.K
    turned = torch.cat([order_BN[:, :K].flip(1), order_BN[:, K:].flip(1)], 1)
    straight, flipped = method.painted(x, order_BN, K, K), method.painted(x, turned, K, K)
    torch.testing.assert_close(straight, flipped.flip(1), rtol=1e-4, atol=1e-5)


def test_the_ablation_in_the_encoder_is_its_formula() -> None:
    method = mae(mask_in_encoder=True)
    x, order_BN, K, vit = images(), method.shuffled(B, method.K), method.K, method.encoder
    patches = vit.patches(x)
    for b in range(B):
        patches[b, order_BN[b, K:]] = method.mask_token
    reading = torch.arange(N).expand(B, -1)
    expected = method.decoder(vit.encode(patches, (4, 4)), reading)
    painted = method.painted(x, order_BN, K, 0)
    torch.testing.assert_close(
        painted, expected.take_along_dim(order_BN[:, :, None], 1), rtol=1e-4, atol=1e-5
    )
    assert method.decoder.mask_token is None


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("everywhere", [True, False])
def test_the_loss_counts_hidden_patches_or_all(everywhere: bool, normalise: bool) -> None:
    method = mae(everywhere=everywhere, normalise=normalise)
    order_BN, terms = method.shuffled(B, method.K), []
    method.shuffled = lambda B, K: order_BN
    painted = method.painted(images(), order_BN, method.K, 0)
    for image, order, row in zip(images(), order_BN, painted, strict=True):
        for rank in range(0 if everywhere else method.K, N):
            y, x = divmod(int(order[rank]), SIZE // P)
            target = image[:, P * y : P * y + P, P * x : P * x + P].permute(1, 2, 0).flatten()
            if normalise:
                target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
            terms.append((row[rank] - target).square().mean())
    torch.testing.assert_close(method.loss(batch(), 0.0).loss, torch.stack(terms).mean())


# -- what is shown ---------------------------------------------------------------------------------------------


def pixels() -> Tensor:
    make = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (B, 3, 40, 40), generator=make, dtype=torch.uint8)


@pytest.mark.parametrize("normalise", [True, False])
def test_pictures_are_masked_painted_and_whole(normalise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    method = mae("small_vit/sincos2d", normalise=normalise, ratio=0.6).eval()
    monkeypatch.setattr(method, "painted", lambda x, order, K, first: method.target(x, order[:, first:]))
    sheets = method.pictures(pixels())
    assert list(sheets) == ["50% hidden", "60% hidden", "75% hidden", "90% hidden"]
    for sheet, K in zip(sheets.values(), (32, 25, 16, 6), strict=True):
        assert sheet.shape == (B, 3, 3, SIZE, SIZE) and sheet.dtype == torch.uint8
        masked, painted, whole = sheet.unbind(1)
        assert torch.equal(whole, picture(plain(pixels(), SIZE)))
        assert (painted.int() - whole.int()).abs().max() <= 1  # who paints what is asked for paints the image
        grey = picture(torch.zeros(1, 3, 1, 1))
        assert (patchify(masked, 4) == patchify(grey.expand_as(masked), 4)).all(2).sum(1).tolist() == [
            64 - K
        ] * B


def test_a_grid_is_shown_at_its_own_ratio() -> None:
    assert list(mae("small_vit/sincos2d", masking="grid").pictures(pixels())) == ["75% hidden"]


def test_ratios_that_would_hide_everything_are_not_shown() -> None:
    assert list(mae(lambda: tiny(size=16), 16, ratio=0.5).pictures(pixels())) == ["50% hidden", "75% hidden"]


# -- how it is trained -----------------------------------------------------------------------------------------


def test_views_are_crops_and_flips_but_in_the_ablations() -> None:
    (view,) = mae().views().views
    assert (view.crop, view.flip, view.jitter, view.grey, view.blur, view.solarise) == ((0.2, 1.0), 0.5, None, 0.0, 0.0, 0.0)  # fmt: skip
    (none,), (fixed,), (jitter,) = (mae(augment=kind).views().views for kind in ("none", "fixed", "jitter"))
    assert (none.crop, none.scale, none.flip) == (None, None, 0.0)
    assert (fixed.crop, fixed.scale, fixed.flip) == (None, (8 / 7, 8 / 7), 0.5)
    assert jitter.crop == (0.2, 1.0) and jitter.jitter is not None


def test_the_papers_rate_is_its_base_rate_times_its_batch() -> None:
    _, recipe = find("mae").recipes["paper"]
    assert recipe.lr == pytest.approx(1.5e-4 * recipe.batch / 256)
    assert (recipe.inertia, recipe.beta2, recipe.weight_decay) == (0.9, 0.95, 0.05)


def test_it_paints_better_than_the_mean_of_a_patch() -> None:
    across = torch.arange(SIZE).expand(48, 3, SIZE, SIZE)
    shift = torch.randint(0, 16, (48, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    stripes = (((across + shift) // 4 % 2) * 200).to(torch.uint8)  # any one visible patch tells all others
    recipe = Recipe(size=SIZE, batch=24, budget="60steps", optimiser="adamw", lr=3e-3, beta2=0.95)
    method, losses = mae(augment="none"), []
    Loop(
        method, in_memory("stripes", stripes, None, None), recipe, [lambda m: losses.append(float(m.loss))]
    ).run()
    assert min(losses[:3]) > 0.95 and max(losses[-3:]) < 0.3  # 1 is what a flat patch costs


# -- what cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masking", ["random", "block"])
@pytest.mark.parametrize(("ratio", "seen"), [(0.0, 16), (1.0, 0), (0.99, 0), (1.5, -8)])
def test_a_ratio_that_shows_or_hides_nothing_is_refused(ratio: float, seen: int, masking: str) -> None:
    with pytest.raises(ManyviewsError, match=f"ratio of {ratio} leaves {seen} of 16 patches visible, but"):
        mae(ratio=ratio, masking=masking)


def test_an_image_of_one_patch_is_refused() -> None:
    for masking in ("random", "grid"):
        with pytest.raises(
            ManyviewsError, match=r"of 1 patches visible, but .* larger images or smaller patches"
        ):
            mae(lambda: tiny(size=P), P, masking=masking)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="Patches of 16 pixels do not divide images of 8 x 8"):
        mae("vit_ti16/sincos2d", 8)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (
            "cifar_resnet8",
            'MAE needs a net that reads patches, which "cifar_resnet8" does not: --net small_vit',
        ),
        (
            "small_vit/hybrid",
            'MAE hides patches, but "small_vit/hybrid" needs all of them: its convolutions mix',
        ),
        ("small_vit/relative", "needs all of them: its positions are relative"),
    ],
)
def test_a_net_that_cannot_leave_out_patches_is_refused(net: str, sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        mae(net)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"masking": "grid", "ratio": 0.5}, "A grid hides three patches of four: set ratio to 0.75, not 0.5"),
        ({"masking": "blocks"}, 'Masking is "random", "block" or "grid", not "blocks"'),
        ({"augment": "flip"}, 'Augment is "none", "fixed", "crop" or "jitter", not "flip"'),
        ({"decoder_heads": 3}, "3 heads do not divide a width of 16"),
        ({"decoder_width": 18}, "Sinusoidal positions need a width that 4 divides, not 18"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        mae(**settings)


def test_blocks_are_of_as_many_patches_as_are_hidden() -> None:
    method = mae("small_vit/sincos2d", masking="block", ratio=0.75)
    torch.manual_seed(3)
    mask = hidden(method.shuffled(50, method.K), method.K, (8, 8))
    torch.manual_seed(3)
    distributed.rand(50, 64)  # what else is hidden
    blocked = blocks(distributed.rands(50, 4), (8, 8), 48, 5)
    assert blocked.sum((1, 2)).float().mean() > 24 and mask[blocked].all()


def test_the_decoder_starts_by_glorot_and_its_mask_token_small() -> None:
    decoder = PixelDecoder(64, 48, (4, 4), width=32, depth=1, heads=2)
    for layer in (part for part in decoder.modules() if isinstance(part, nn.Linear)):
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
    assert decoder.mask_token is not None and 0.01 < decoder.mask_token.std() < 0.03
