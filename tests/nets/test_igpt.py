"""iGPT's net: transformers' ImageGPT under the same weights, what each position may see, palette, features, drawing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._device import _device_constructors

from manyviews.errors import ManyviewsError
from manyviews.nets import build, make
from manyviews.nets.encoder import Encoder, Generative, Midway
from manyviews.nets.igpt import NETS, ImageGPT, nats, reads_pixels
from manyviews.nets.interop import load_encoder, save_encoder
from manyviews.nets.palette import lattice, nearest
from manyviews.rng import generator
from manyviews.views import plain

SIDE, V, WIDTH, DEPTH = 4, 11, 32, 3
N = SIDE * SIDE


def net(**options: Any) -> ImageGPT:
    """A small one, its weights away from where they start."""
    torch.manual_seed(0)
    made = ImageGPT(WIDTH, DEPTH, 4, side=SIDE, codes=V, **options)
    with torch.no_grad():
        for tensor in made.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return made.eval()


def codes(B: int = 3) -> Tensor:
    return torch.randint(V, (B, N), generator=generator("codes"))


def images(B: int = 3, side: int = 8) -> Tensor:
    return plain(torch.randint(0, 256, (B, 3, side, side), generator=generator("x"), dtype=torch.uint8), side)


# -- the same as the reference -----------------------------------------------------------------------------------------


def theirs_of(ours: ImageGPT) -> Any:
    """transformers' model with our weights; its last token starts a sequence."""
    import transformers

    config = transformers.ImageGPTConfig(
        vocab_size=V + 1, n_positions=N, n_embd=WIDTH, n_layer=DEPTH, n_head=4, activation_function="quick_gelu",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, layer_norm_epsilon=1e-5, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.ImageGPTForCausalImageModeling(config).eval()
    assert ours.start is not None
    state = {
        "transformer.wte.weight": torch.cat([ours.tokens.weight, ours.start[None]]),
        "transformer.wpe.weight": ours.positions.weight,
        "transformer.ln_f.weight": ours.norm.weight,
        "lm_head.weight": ours.out.weight,
    }
    for number, block in enumerate(ours.blocks):
        own = block.state_dict()
        there = {
            "ln_1.weight": own["norm1.weight"],
            "attn.c_attn.weight": own["attention.qkv.weight"].T,
            "attn.c_proj.weight": own["attention.out.weight"].T,
            "ln_2.weight": own["norm2.weight"],
            "mlp.c_fc.weight": own["mlp.up.weight"].T,
            "mlp.c_proj.weight": own["mlp.down.weight"].T,
        }
        state |= {f"transformer.h.{number}.{name}": tensor for name, tensor in there.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # theirs has biases too, which stay at zero
            parameter.copy_(state.pop(name)) if name in state else parameter.zero_()
    assert not state
    return model


@pytest.mark.against("transformers", "igpt")
def test_logits_loss_and_features_are_transformers() -> None:
    ours, x_BN = net(), codes()
    model = theirs_of(ours)
    started = torch.cat([torch.full((3, 1), V), x_BN[:, :-1]], 1)
    with torch.no_grad():
        theirs = model(input_ids=started, output_hidden_states=True)
        logits = ours.out(ours.encode(x_BN))
        torch.testing.assert_close(logits, theirs.logits, rtol=1e-5, atol=1e-5)
        loss = F.cross_entropy(theirs.logits.flatten(0, 1), x_BN.flatten())
        torch.testing.assert_close(nats(logits, x_BN), loss)
        for layer, block in enumerate(model.transformer.h):  # n^l is what its first norm makes of h^l
            n_BND = block.ln_1(theirs.hidden_states[layer])
            torch.testing.assert_close(ours.encode(x_BN, layer), n_BND, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_parameters_are_the_papers(name: str) -> None:
    with torch.device("meta"):
        made = make(name, in_channels=3, size=32)
    stated = NETS[name].parameters
    count = sum(parameter.numel() for parameter in made.parameters())
    assert stated is None or count / 1e6 == pytest.approx(stated, abs=0.6)
    assert not any(key.endswith("bias") for key in made.state_dict())


def test_it_starts_as_in_the_authors_code() -> None:
    torch.manual_seed(0)
    made = ImageGPT(256, 4, 4, side=16, codes=64)
    assert made.out.weight.count_nonzero() == 0 and made.start is not None
    stds = {
        "blocks.0.attention.qkv.weight": 256**-0.5,
        "blocks.3.attention.out.weight": (256 * 4) ** -0.5,
        "blocks.1.mlp.up.weight": 0.02,
        "blocks.1.mlp.down.weight": 0.02,
        "tokens.weight": 0.02,
        "positions.weight": 0.01,
        "start": 0.02,
    }
    own = dict(made.named_parameters())
    for name, std in stds.items():
        assert own[name].std().item() == pytest.approx(std, rel=0.15 if name == "start" else 0.05), name


# -- what each position may see ----------------------------------------------------------------------------------------


def test_a_pixel_changes_nothing_at_or_before_its_place() -> None:
    made, x_BN = net(), codes(1)
    before = made.encode(x_BN)
    for j in (0, 5, N - 1):
        other = x_BN.clone()
        other[0, j] = (other[0, j] + 1) % V
        changed = (made.encode(other) - before)[0].abs().amax(1) > 1e-6
        assert not changed[: j + 1].any() and changed[j + 1 :].all()


def test_without_the_mask_all_that_is_not_hidden_is_seen() -> None:
    made, x_BN = net(causal=False), codes(1)
    hidden_BN = torch.zeros(1, N, dtype=torch.bool)
    hidden_BN[0, 3] = True
    before = made.encode(x_BN, hidden_BN=hidden_BN)
    other = x_BN.clone()
    other[0, 3] = (other[0, 3] + 1) % V
    assert torch.equal(made.encode(other, hidden_BN=hidden_BN), before)  # its colour is hidden ...
    moved = made.encode(x_BN.roll(1, 1), hidden_BN=hidden_BN)
    assert ((moved - before)[0].abs().amax(1) > 1e-6).all()
    h_BND = made.inputs(x_BN, hidden_BN)
    torch.testing.assert_close(h_BND[0, 3], made.positions.weight[3])  # ... and its place is not
    assert made.start is None


# -- colours -----------------------------------------------------------------------------------------------------------


def test_codes_are_the_nearest_colours() -> None:
    x_P3, palette_V3 = torch.rand(2, 50, 3, generator=generator("p")) * 2 - 1
    assert torch.equal(nearest(x_P3, palette_V3[:9]), torch.cdist(x_P3, palette_V3[:9]).argmin(1))


def test_a_lattice_lies_on_the_device_that_is_asked_for_whatever_other_libraries_put_in_torchs_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rest = _device_constructors() - {torch.linspace}  # as transformers leaves it
    monkeypatch.setattr("torch.utils._device._device_constructors", lambda: rest)
    with torch.device("meta"):
        assert lattice(7).is_meta


def test_nine_bits_of_a_lattice_are_three_a_channel() -> None:
    assert len(lattice(512).unique(dim=0)) == 512
    for channel in lattice(512).unbind(1):
        torch.testing.assert_close(channel.unique(), torch.linspace(-1, 1, 8))
    assert len(lattice(7).unique(dim=0)) == 7


def test_pictures_in_the_palettes_own_colours_come_back_as_they_are() -> None:
    made = ImageGPT(8, 1, 1, side=SIDE, codes=27)
    x_BN = torch.randint(27, (2, N), generator=generator("own"))
    drawn = made.drawn(x_BN)
    expected = (127.5 * (lattice(27)[x_BN] + 1)).round().mT.reshape(2, 3, SIDE, SIDE)
    assert torch.equal(drawn, expected.to(torch.uint8))
    assert torch.equal(made.quantised(plain(drawn, SIDE)), x_BN)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.quantised(plain(drawn, SIDE)), x_BN)


@pytest.mark.parametrize("side", [2, 3, 4, 9])
def test_images_of_any_size_are_resized_to_what_the_net_sees(side: int) -> None:
    made = net()
    x = images(2, side)
    square = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True) if side != SIDE else x
    assert torch.equal(made.quantised(x), made.quantised(square))
    assert made(x).shape == (2, WIDTH) and made.grid(x).shape == (2, WIDTH, SIDE, SIDE)


# -- features ----------------------------------------------------------------------------------------------------------


def test_features_are_means_of_each_layers_normalised_input() -> None:
    made, x = net(), images()
    assert isinstance(made, Midway) and isinstance(made, Generative)
    f_LBD = made.by_layer(x)
    assert f_LBD.shape == (DEPTH + 1, 3, WIDTH)
    for layer in (0, 2, DEPTH):
        made.embed_at(layer)
        torch.testing.assert_close(made(x), f_LBD[layer])
        torch.testing.assert_close(made.encode(made.quantised(x), layer).mean(1), f_LBD[layer])
    h_BND = made.blocks[0](made.inputs(made.quantised(x)), causal=True)
    plain_norm = h_BND / (h_BND.square().mean(2, keepdim=True) + 1e-5).sqrt() * made.blocks[1].norm1.weight
    torch.testing.assert_close(f_LBD[1], plain_norm.mean(1))


@pytest.mark.parametrize("causal", [True, False])
def test_its_own_loss_comes_with_the_last_layer(causal: bool) -> None:
    made, x = net(causal=causal), images()
    torch.manual_seed(4)
    f_BD, loss = made.with_loss(x)
    x_BN = made.quantised(x)
    torch.manual_seed(4)
    M_BN = None if causal else torch.rand(3, N) < 0.15
    torch.testing.assert_close(f_BD, made.encode(x_BN, hidden_BN=M_BN).mean(1))
    torch.testing.assert_close(loss, nats(made.out(made.encode(x_BN, hidden_BN=M_BN)), x_BN, M_BN))


def test_masked_nats_are_means_by_image() -> None:
    logits, x_BN = torch.randn(3, N, V, generator=generator("l")), codes()
    hidden_BN = torch.zeros(3, N, dtype=torch.bool)
    hidden_BN[0, [1, 5]] = hidden_BN[1, 7] = True
    log_p = logits.log_softmax(2).gather(2, x_BN[:, :, None])[:, :, 0]
    expected = -((log_p[0, 1] + log_p[0, 5]) / 2 + log_p[1, 7] + 0) / 3
    torch.testing.assert_close(nats(logits, x_BN, hidden_BN), expected)


def test_layers_hold_every_parameter_but_the_start() -> None:
    made = net()
    held = {id(p) for layer in made.layers() for p in layer.parameters()}
    assert {name for name, p in made.named_parameters() if id(p) not in held} == {"start"}
    assert len(made.layers()) == DEPTH + 1


@pytest.mark.parametrize(
    "name", ["colours(small_igpt/8px/2x32, 16)", "masked_colours(small_igpt/8px/2x32, 9, 2)"]
)
def test_palette_and_layer_are_saved_with_it(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = build(name, size=12)
    assert isinstance(made, ImageGPT)
    made.get_buffer("palette").copy_(torch.rand_like(made.get_buffer("palette")))
    assert made.causal == name.startswith("colours") and made.layer == (1 if made.causal else 2)
    save_encoder(tmp_path, made, {})
    again, _ = load_encoder(tmp_path)
    x = images(2, 12)
    with torch.no_grad():
        assert torch.equal(again(x), made.eval()(x))


# -- drawing -----------------------------------------------------------------------------------------------------------


def test_with_a_cache_the_same_is_drawn() -> None:
    made, x_BN = net(), codes()
    for given in (0, 1, 6):
        drawn = [
            made.complete(
                x_BN[:, :given], cached=cached, temperature=2.0, generator=torch.Generator().manual_seed(1)
            )
            for cached in (True, False)
        ]
        assert torch.equal(*drawn) and torch.equal(drawn[0][:, :given], x_BN[:, :given])
        assert drawn[0].shape == x_BN.shape and len(drawn[0][:, given:].unique()) > 2


def test_samples_are_distributed_as_the_net_says() -> None:
    made = net()
    torch.manual_seed(0)
    first = made.sample(4000)[:, 0].bincount(minlength=V) / 4000
    with torch.no_grad():
        p_V = made.out(made.encode(codes(1)))[0, 0].softmax(0)
    torch.testing.assert_close(first, p_V, atol=0.03, rtol=0)


def test_at_temperature_0_each_pixel_is_the_likeliest() -> None:
    made = net()
    x_BN = made.sample(2, temperature=0.0)
    with torch.no_grad():
        assert torch.equal(made.out(made.encode(x_BN)).argmax(2), x_BN)


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels", "sentence"),
    [
        ("small_igpt", 1, "3 channels, but these images have 1"),
        ("colours(small_igpt, 1)", 3, r"A palette of 1 colour\(s\) shows nothing"),
        ("colours(small_igpt, 64, 9)", 3, "no layer 9 to embed at; the net has layers 0 to 6"),
        ("colours(small_igpt)", 3, "needs the size of the palette"),
        ("colours(cifar_resnet8, 64)", 3, '"cifar_resnet8" does not read; take --net small_igpt'),
    ],
)
def test_nets_that_cannot_be(name: str, channels: int, sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        build(name, in_channels=channels)


def test_what_looks_both_ways_does_not_draw() -> None:
    with pytest.raises(ManyviewsError, match="looks both ways"):
        net(causal=False).sample(1)
    with pytest.raises(ManyviewsError, match="17 tokens is longer than the 16 positions"):
        net().complete(torch.zeros(1, 17, dtype=torch.int64))
    with pytest.raises(ManyviewsError, match="Encoder does not read"):
        reads_pixels(Encoder(1))


def test_pixels_a_few_at_a_time_are_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x_P3, palette_V3 = torch.rand(2, 50, 3, generator=generator("few")) * 2 - 1
    expected = nearest(x_P3, palette_V3[:9])
    monkeypatch.setattr("manyviews.nets.palette.DISTANCES", 9 * 8)  # 8 pixels, and 2 at the end
    assert torch.equal(nearest(x_P3, palette_V3[:9]), expected)
