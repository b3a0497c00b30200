"""Heads as each paper builds its own, and batch norm in slices."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, mlp, split_batch_norm
from manyviews.nets.norms import SplitBatchNorm, in_pieces, statistics_kept


def kinds(head: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in head.children()]


def test_mlp_is_the_papers_heads():
    assert kinds(mlp(512, 128)) == ["Linear"]
    assert kinds(mlp(512, 512, 128, batch_norm=False)) == ["Linear", "ReLU", "Linear"]  # MoCo v2
    assert kinds(mlp(512, 4096, 256)) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]  # BYOL
    simsiam = mlp(512, 2048, 2048, 2048, out_norm="plain")
    assert kinds(simsiam) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    last = simsiam[-1]
    assert isinstance(last, nn.BatchNorm1d) and not last.affine
    assert mlp(8, 4, out_norm="affine")[-1].get_parameter("weight").shape == (4,)


@given(
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    batch_norm=st.booleans(),
    out_norm=st.sampled_from([None, "affine", "plain"]),
    out_bias=st.booleans(),
)
def test_mlp_maps_widths_and_has_a_bias_only_where_no_norm_follows(widths, batch_norm, out_norm, out_bias):
    head = mlp(*widths, batch_norm=batch_norm, out_norm=out_norm, out_bias=out_bias)
    assert head(torch.randn(3, widths[0])).shape == (3, widths[-1])
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == widths[1:]
    assert [layer.bias is not None for layer in linears[:-1]] == [not batch_norm] * (len(widths) - 2)
    assert (linears[-1].bias is not None) == (out_bias and out_norm is None)


def test_mlp_needs_two_widths():
    with pytest.raises(ValueError, match="width"):
        mlp(512)


@given(batch=st.integers(2, 9), splits=st.integers(1, 4))
def test_split_batch_norm_is_batch_norm_of_each_slice(batch: int, splits: int):
    norm = SplitBatchNorm(3, splits)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = torch.randn(batch, 3, 2, 2)
    copies = [copy.deepcopy(nn.BatchNorm2d(3)) for _ in range(min(splits, batch))]
    slices = x.tensor_split(len(copies))
    expected = [
        F.batch_norm(part, c.running_mean, c.running_var, norm.weight, norm.bias, training=True, momentum=0.1)
        for part, c in zip(slices, copies, strict=True)
    ]
    torch.testing.assert_close(norm(x), torch.cat(expected))
    torch.testing.assert_close(norm.running_mean, torch.stack([c.running_mean for c in copies]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([c.running_var for c in copies]).mean(0))
    assert norm.num_batches_tracked == 1


def test_a_split_net_keeps_its_tensors_and_judges_as_before():
    net = build("cifar_resnet8")
    split = split_batch_norm(copy.deepcopy(net), 4)
    assert not [m for m in split.modules() if type(m) is nn.BatchNorm2d]
    assert list(split.state_dict()) == list(net.state_dict())
    x = torch.randn(8, 3, 32, 32)
    assert torch.equal(split.eval()(x), net.eval()(x))
    # In training, a slice sees nothing of the others; an unsplit batch does.
    both, alone = split.train()(x)[:2], split(x[:2].repeat(4, 1, 1, 1))[:2]
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(net.train()(x)[:2], both, atol=1e-3)
    split_batch_norm(split, 2)
    assert {m.splits for m in split.modules() if isinstance(m, SplitBatchNorm)} == {2}


def test_slices_are_as_large_where_the_batch_comes_in_pieces():
    norm, x = SplitBatchNorm(3, 4), torch.randn(16, 3, 2, 2)
    whole = norm(x)
    in_pieces(norm, 2)
    torch.testing.assert_close(torch.cat([norm(x[:8]), norm(x[8:])]), whole)
    in_pieces(norm, 8)  # a piece is smaller than a slice was
    alone = nn.BatchNorm2d(3)
    torch.testing.assert_close(norm(x[:2]), alone(x[:2]))


def test_the_parameters_that_an_optimiser_holds_stay_in_the_net():
    net = build("cifar_resnet8")
    before = {id(p) for p in net.parameters()}
    assert {id(p) for p in split_batch_norm(net, 2).parameters()} == before


def test_batch_norms_that_cannot_be_split_are_refused():
    class NormWithMore(nn.BatchNorm2d):
        pass

    with pytest.raises(ManyviewsError, match="NormWithMore"):
        split_batch_norm(nn.Sequential(NormWithMore(3)), 2)
    with pytest.raises(ValueError, match="splits must be"):
        SplitBatchNorm(3, 0)
    group = build("small_resnet+group")
    assert split_batch_norm(group, 2) is group


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(
    "kind", [nn.BatchNorm2d, lambda C, momentum: SplitBatchNorm(C, 2, momentum=momentum)]
)
def test_what_is_only_passed_through_leaves_no_trace_in_the_statistics(kind, momentum: float | None):
    norm, x = kind(3, momentum=momentum), torch.randn(8, 3, 4, 4) * 5 + 2
    norm(x)
    before, expected = norm.running_mean.clone(), copy.deepcopy(norm)(x + 1)
    with statistics_kept(nn.Sequential(norm)):
        assert torch.equal(norm(x + 1), expected)
    assert torch.equal(norm.running_mean, before) and norm.momentum == momentum
    norm(x + 1)
    assert not torch.equal(norm.running_mean, before)


def test_splits_that_cannot_be_are_refused():
    net = nn.Sequential(nn.BatchNorm2d(3))
    for splits in (0, -2):
        with pytest.raises(ManyviewsError, match=f"--splits is {splits}"):
            split_batch_norm(net, splits)
    with pytest.raises(ManyviewsError, match="4 splits of 7 images leave no more"):
        split_batch_norm(net, 4)(torch.randn(7, 3, 1, 1))
    assert split_batch_norm(net, 3)(torch.randn(7, 3, 1, 1)).isfinite().all()
