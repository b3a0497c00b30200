"""The dVAE's networks: layers, sizes and first weights as the authors' code has them, and a tokeniser that stays frozen."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.nets.dvae import Codes, Residual, TokenDecoder, TokenEncoder, conv
from manyviews.nets.interop import load_encoder, save_encoder
from manyviews.nets.tokens import Tokeniser, in_use, load_tokeniser, random_tokeniser


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def counted(c_in: int, c_out: int, kernels: tuple[int, ...]) -> int:
    """Weights and biases of one of the authors' blocks."""
    hid = c_out // 4
    pairs = [(c_in, hid), (hid, hid), (hid, hid), (hid, c_out)]
    total = sum(a * b * k * k + b for (a, b), k in zip(pairs, kernels, strict=True))
    return total + (c_in * c_out + c_out if c_in != c_out else 0)


def test_the_papers_networks_have_the_authors_layers() -> None:
    with torch.device("meta"):
        encoder = nets.build("codes(dvae8, 8192)", size=256)
        decoder = TokenDecoder(8192, 6)
    assert isinstance(encoder, Codes) and encoder.width == 2048
    widths = [256, 256, 256, 512, 512, 1024, 1024, 2048, 2048]
    blocks = sum(counted(a, b, (3, 3, 3, 1)) for a, b in itertools.pairwise(widths))
    assert parameters(encoder) == 3 * 256 * 49 + 256 + blocks + 2048 * 8192 + 8192
    widths = [128, 2048, 2048, 1024, 1024, 512, 512, 256, 256]
    blocks = sum(counted(a, b, (1, 3, 3, 3)) for a, b in itertools.pairwise(widths))
    assert parameters(decoder) == 8192 * 128 + 128 + blocks + 256 * 6 + 6


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_code_stands_for_as_many_pixels_as_there_are_halvings(groups: int) -> None:
    encoder, x = TokenEncoder(8, groups, 1), torch.randn(2, 3, 16, 16)
    side = 16 // 2 ** (groups - 1)
    assert encoder.grid(x).shape == (2, encoder.width, side, side) and encoder.width == 8 * 2 ** (groups - 1)
    torch.testing.assert_close(encoder(x), encoder.grid(x).mean((2, 3)))
    decoder = TokenDecoder(5, 6, 8, groups, 1, 4)
    assert decoder(torch.randn(2, 5, side, side)).shape == (2, 6, 16, 16)


def test_a_residual_path_is_scaled_by_the_square_of_all_layers() -> None:
    encoder = TokenEncoder(8, 3, 2)
    for block in (m for m in encoder.modules() if isinstance(m, Residual)):
        assert block.gain == 1 / 36
    block, x = Residual(8, 8, (3, 3, 3, 1), 1 / 36), torch.randn(2, 8, 5, 5)
    y = x
    for layer in block.residual:
        y = F.relu(y) if isinstance(layer, nn.ReLU) else layer(y)
    torch.testing.assert_close(block(x), x + y / 36)


def test_first_weights_keep_the_variance() -> None:
    layer = conv(32, 64, 3)
    assert layer.weight.std().item() == pytest.approx(1 / math.sqrt(32 * 9), rel=0.05)
    assert layer.bias is not None and (layer.bias == 0).all()


def test_one_code_at_each_place_is_decoded_as_its_share_of_one() -> None:
    decoder, z = TokenDecoder(5, 3, 8, 2, 1, 4), torch.randint(5, (2, 4, 4))
    nn.init.normal_(decoder.input.bias)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(decoder.of_tokens(z), decoder(F.one_hot(z, 5).movedim(3, 1).float()))


def test_codes_stand_around_any_net_and_are_built_again(tmp_path: Path) -> None:
    encoder, x = nets.build("codes(cifar_resnet8, 6)", size=16), torch.randn(2, 3, 16, 16)
    assert isinstance(encoder, Codes)
    save_encoder(tmp_path, encoder.eval(), {"size": 16})
    again, _ = load_encoder(tmp_path)
    assert isinstance(again, Codes) and again.codes == 6
    assert torch.equal(encoder.logits(x), again.logits(x)) and torch.equal(encoder(x), encoder.inner(x))
    assert torch.equal(encoder.tokens(x), encoder.logits(x).argmax(1))


def test_names_that_say_no_codes() -> None:
    with pytest.raises(ManyviewsError, match=r"codes\(small_dvae, 128\)"):
        nets.build("codes(small_dvae)", size=32)
    with pytest.raises(ManyviewsError, match=r"1 code\(s\) says nothing"):
        nets.build("codes(small_dvae, 1)", size=32)


def test_images_that_codes_do_not_divide() -> None:
    with pytest.raises(ManyviewsError, match=r"do not divide images of 30 x 32; take a multiple of 4"):
        nets.build("small_dvae", size=32)(torch.zeros(1, 3, 30, 32))


# -- tokenisers ---------------------------------------------------------------------------------------------------


def test_a_tokeniser_remembers_the_size_that_it_learned_from(tmp_path: Path) -> None:
    save_encoder(tmp_path, nets.build("codes(small_dvae, 6)", size=32), {"size": 24})
    assert load_tokeniser(str(tmp_path)).size == 24
    told = load_tokeniser(str(tmp_path), 16)
    assert told.size == 16 and told.cells() == (4, 4)
    assert told(torch.randn(2, 3, 40, 40)).shape == (2, 16)


def test_a_tokeniser_is_frozen() -> None:
    made = Tokeniser(Codes(nets.build("cifar_resnet8", size=16), 6), 16)
    made.train()
    assert not any(module.training for module in made.modules())
    assert not any(p.requires_grad for p in made.parameters())
    assert not made(torch.randn(2, 3, 16, 16, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("patch", "cells", "size"), [(16, 14, 112), (4, 8, 32), (14, 16, 32), (8, 4, 32), (5, 3, 3)]
)
def test_a_random_one_fits_any_patches(patch: int, cells: int, size: int) -> None:
    made = random_tokeniser(9, patch, cells)
    assert made.size == size and made.cells() == (cells, cells)


def test_codes_in_use_are_the_perplexity_of_their_shares() -> None:
    assert in_use(torch.tensor([[0, 1], [2, 3]]), 8).item() == pytest.approx(4.0)
    assert in_use(torch.full((3, 3), 5), 8).item() == pytest.approx(1.0)
    share = torch.tensor([0.5, 0.25, 0.25])
    plain = math.exp(-(share * share.log()).sum().item())
    assert in_use(torch.tensor([0, 0, 1, 2]), 3).item() == pytest.approx(plain)


def test_both_networks_are_their_layers_one_after_the_other() -> None:
    encoder, decoder = TokenEncoder(8, 3, 1), TokenDecoder(5, 6, 8, 3, 1, 4)
    x, z = torch.randn(2, 3, 16, 16), torch.randn(2, 5, 4, 4).softmax(1)
    h = encoder.groups[0](encoder.input(x))
    for later in encoder.groups[1:]:
        h = later(F.max_pool2d(h, 2))
    assert (h < 0).any()
    torch.testing.assert_close(encoder.grid(x), h.clamp(min=0))
    y = decoder.groups[0](decoder.input(z))
    for later in decoder.groups[1:]:
        y = later(y.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(decoder(z), decoder.output[-1](y.clamp(min=0)))
    assert {part.gain for part in decoder.modules() if isinstance(part, Residual)} == {3**-2}


def test_half_precision_around_a_tokeniser_changes_no_code() -> None:
    made, x = random_tokeniser(512, 4, 4), torch.randn(16, 3, 16, 16)
    expected = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made(x), expected)
