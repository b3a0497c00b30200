"""Attention watched: known cases, closed forms and plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, small_resnet
from manyviews.nets.attention import Attention, Cache
from manyviews.nets.transformer import NormPlace, Transformer
from manyviews.nets.vit import ViT, resnet50_stage
from manyviews.nets.watching import (
    attention_distance,
    cross_attention,
    filters,
    position_similarity,
    reads_patches,
    rollout,
    rollout_maps,
    watch,
    watching,
)


def small(**options) -> ViT:
    return ViT(8, 24, 2, 3, **{"size": 32, **options}).eval()


def images(batch: int = 2, size: int = 32) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def uniform(tokens: int, heads: int = 2, batch: int = 1) -> Tensor:
    return torch.full((batch, heads, tokens, tokens), 1 / tokens)


@pytest.mark.parametrize("pool", ["class", "average"])
def test_every_layer_is_seen_and_each_row_is_a_distribution(pool):
    net = small(pool=pool)
    tokens = 17 if pool == "class" else 16
    seen = watch(net, images())
    assert [tuple(layer.shape) for layer in seen] == [(2, 3, tokens, tokens)] * 2
    for layer in seen:
        torch.testing.assert_close(layer.sum(3), torch.ones(2, 3, tokens))
        assert not layer.requires_grad
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_what_is_seen_is_what_attention_does():
    net = small()
    block = net.blocks[0]
    with torch.no_grad():
        x = net.patches(images())
        x = torch.cat([net.class_token.expand(2, 1, -1), x], dim=1) + net.positions[0]((4, 4))
        wanted = block.attention.weights(block.norm1(x))
    torch.testing.assert_close(watch(net, images())[0], wanted)


def test_watching_changes_nothing_and_ends_with_its_block():
    net = small().train()
    before = net(images())
    with watching(net) as seen:
        during = net(images())
    net(images())
    assert len(seen) == 2 and torch.equal(before, during) and during.requires_grad
    with pytest.raises(RuntimeError), watching(net):
        raise RuntimeError
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_masks_are_seen_and_caches_refused():
    layer = Attention(12, 3)
    x = torch.randn(2, 5, 12)
    with watching(nn.Sequential(layer)) as seen:
        layer(x, causal=True)
        with pytest.raises(ManyviewsError, match="whole sequence at once"):
            layer(x, causal=True, cache=Cache(5))
    assert len(seen) == 1 and not seen[0].triu(1).any()


@pytest.mark.parametrize(("w", "patch"), [(2, 4), (5, 16), (14, 16)])
def test_uniform_attention_in_a_row_has_a_closed_distance(w: int, patch: int):
    # The mean of |i - j| over i and j in 0 ... w - 1 is (w^2 - 1) / 3w.
    found = attention_distance(uniform(w), (1, w), patch, first=0)
    torch.testing.assert_close(found, torch.full((2,), patch * (w * w - 1) / (3 * w)))
    torch.testing.assert_close(attention_distance(uniform(w), (w, 1), patch, first=0), found)


@pytest.mark.parametrize("first", [0, 1])
def test_distance_is_a_double_loop(first: int):
    h, w, patch = 2, 3, 8
    looks = torch.rand(
        2, 3, first + h * w, first + h * w, generator=torch.Generator().manual_seed(0)
    ).softmax(3)
    wanted = torch.zeros(3)
    for head in range(3):
        for image in range(2):
            for q in range(h * w):
                row = looks[image, head, first + q, first:]
                for k in range(h * w):
                    far = math.dist(divmod(q, w), divmod(k, w)) * patch
                    wanted[head] += row[k] / row.sum() * far / (2 * h * w)
    torch.testing.assert_close(attention_distance(looks, (h, w), patch, first), wanted)


def test_who_looks_at_itself_looks_nowhere_far():
    itself = torch.eye(10).expand(1, 2, 10, 10)
    assert not attention_distance(itself, (3, 3), 16).any()
    nobody = torch.zeros(1, 2, 10, 10)
    nobody[..., 0] = 1  # all look at the class token
    assert not attention_distance(nobody, (3, 3), 16).any()


def test_distance_is_in_pixels():
    looks = uniform(17)
    far = attention_distance(looks, (4, 4), 8)
    torch.testing.assert_close(attention_distance(looks, (4, 4), 16), 2 * far)
    # The same image in patches half as large: nearly the same distance, though there are four times as many.
    assert attention_distance(uniform(65), (8, 8), 4)[0].item() == pytest.approx(far[0].item(), rel=0.05)


def test_rolling_out_the_identity_is_the_identity():
    same = torch.eye(5).expand(2, 3, 5, 5)
    torch.testing.assert_close(rollout([same] * 4), torch.eye(5).expand(2, 5, 5))


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_rows_of_a_rollout_sum_to_one(seed: int, layers: int):
    drawn = torch.randn(layers, 2, 3, 6, 6, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(4)
    whole = rollout(list(drawn))
    assert (whole >= 0).all()
    torch.testing.assert_close(whole.sum(2), torch.ones(2, 6))


def test_a_rollout_follows_the_layers_in_order():
    # In the first layer token 1 takes from 2 alone, in the second token 0 from 1 alone: a quarter of 2 reaches 0.
    first, second = torch.eye(3).repeat(1, 1, 1, 1), torch.eye(3).repeat(1, 1, 1, 1)
    first[0, 0, 1] = torch.tensor([0.0, 0, 1])
    second[0, 0, 0] = torch.tensor([0.0, 1, 0])
    torch.testing.assert_close(rollout([first, second])[0, 0], torch.tensor([0.5, 0.25, 0.25]))
    torch.testing.assert_close(rollout([second, first])[0, 0], torch.tensor([0.5, 0.5, 0.0]))
    with pytest.raises(ValueError, match="at least one layer"):
        rollout([])


def test_maps_are_of_the_class_token_or_of_all():
    looks = uniform(7)
    assert torch.allclose(rollout_maps([looks], (2, 3)), torch.tensor(0.5 / 7))
    torch.testing.assert_close(rollout_maps([uniform(6)], (2, 3), first=0), torch.full((1, 2, 3), 1 / 6))


def test_filters_are_principal_components():
    from sklearn.decomposition import PCA

    net = small()
    found = filters(net, 5)
    assert found is not None and found.shape == (5, 3, 8, 8)
    flat = found.flatten(1)
    wanted = PCA(5, svd_solver="full").fit(net.patch.weight.detach().flatten(1).numpy()).components_
    torch.testing.assert_close((flat @ torch.from_numpy(wanted).T).abs(), torch.eye(5), rtol=1e-3, atol=1e-3)
    assert (flat.gather(1, flat.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_a_hybrids_filters_are_no_pictures():
    with torch.device("meta"):
        net = ViT(16, 24, 1, 3, size=32, backbone=resnet50_stage)
    assert filters(net) is None


def test_similarity_of_positions_is_the_cosine():
    net = small()
    found = position_similarity(net)
    assert found is not None and found.shape == (4, 4, 4, 4)
    table = net.positions[0].weight[1:].detach()
    cosine = torch.cosine_similarity(table[1 * 4 + 2], table[3 * 4 + 0], dim=0)
    torch.testing.assert_close(found[1, 2, 3, 0], cosine)
    torch.testing.assert_close(found[2, 3, 2, 3], torch.tensor(1.0))
    # Sinusoids of MoCo v3: half of the width is x, half y, so the cosine is the mean of the two in one dimension.
    waves = position_similarity(small(positions="sincos2d"))
    assert waves is not None
    torch.testing.assert_close(waves[0, 0, 2, 3], (waves[0, 0, 0, 3] + waves[0, 0, 2, 0]) - 1)
    assert position_similarity(small(positions="relative")) is None
    assert position_similarity(small(positions="none")) is None


def test_what_can_be_watched_is_told_by_what_it_can_do():
    assert reads_patches(build("small_vit"))
    assert not reads_patches(small_resnet())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_a_translation_looks_at_is_what_its_decoder_mixes(norm: NormPlace):
    torch.manual_seed(0)
    net = Transformer(20, 16, 3, 4, 32, norm=norm).train()
    source, target = torch.randint(1, 20, (6,)), torch.randint(1, 20, (4,))
    seen: list[tuple[Tensor, Tensor]] = []

    def watch_values(module: nn.Module, args: tuple[Tensor, Tensor], options: object, out: Tensor) -> None:
        assert isinstance(module, Attention)
        _, _, v = module.project(*args, None)
        seen.append((v, out))

    crosses = [block.cross for block in net.decoder]
    hooks = [cross.register_forward_hook(watch_values, with_kwargs=True) for cross in crosses]
    looks = cross_attention(net, source, target)
    assert looks.shape == (3, 4, 4, 6) and net.training and not looks.requires_grad
    torch.testing.assert_close(looks.sum(3), torch.ones(3, 4, 4))
    for cross, look, (v, out) in zip(crosses, looks, seen, strict=True):
        mixed = (look @ v[0]).transpose(0, 1).flatten(1)  # [T, H d]
        torch.testing.assert_close(cross.out(mixed), out[0], rtol=1e-4, atol=1e-5)
    for hook in hooks:
        hook.remove()
    shorter = cross_attention(net, source, target[:2])
    torch.testing.assert_close(shorter, looks[:, :, :2])  # a row knows nothing of what is written later
