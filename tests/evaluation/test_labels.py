"""Few labels: balanced, at least one a class, and the same for the same seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manyviews.evaluation import label_subset
from manyviews.evaluation.labels import folds

labels_of = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(torch.tensor)


@given(labels_of, st.sampled_from([0.01, 0.1, 0.37, 1.0]), st.integers(0, 5))
def test_each_class_gives_its_share_and_at_least_one(labels, fraction, seed):
    chosen = label_subset(labels, fraction, seed)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    for label, size in zip(*labels.unique(return_counts=True), strict=True):
        share = torch.tensor(fraction * size.item()).round().int().item()
        assert (labels[chosen] == label).sum() == max(1, share)


def test_a_function_of_the_seed():
    labels = torch.arange(500) % 5
    assert torch.equal(label_subset(labels, 0.1, 3), label_subset(labels, 0.1, 3))
    assert not torch.equal(label_subset(labels, 0.1, 3), label_subset(labels, 0.1, 4))


@given(labels_of, st.integers(0, 5))
def test_one_per_cent_lies_within_ten(labels, seed):
    assert set(label_subset(labels, 0.01, seed).tolist()) <= set(label_subset(labels, 0.1, seed).tolist())


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_a_fraction_must_be_one(fraction):
    with pytest.raises(ValueError, match="fraction of labels"):
        label_subset(torch.tensor([0, 1]), fraction, 0)


@given(labels_of, st.integers(2, 5), st.integers(0, 5))
def test_folds_spread_every_class_evenly(labels, k, seed):
    fold = folds(labels, k, seed)
    for label in labels.unique():
        counts = fold[labels == label].bincount(minlength=k)
        assert counts.max() - counts.min() <= 1
