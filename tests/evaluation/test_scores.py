"""Figures against scikit-learn's, and against what can be counted by hand."""

import json
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation import mean_std, scores
from manyviews.evaluation.scores import MOST


@given(st.integers(2, 9), st.integers(1, 60), st.integers(0, 1000))
def test_agrees_with_sklearn(classes, n, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    labels = torch.randint(0, classes, (n,), generator=generator)
    figures = scores(logits, labels, classes)
    said, every = logits.argmax(1), list(range(classes))
    assert figures.top1 == pytest.approx(metrics.accuracy_score(labels, said))
    assert [list(row) for row in figures.confusion] == metrics.confusion_matrix(
        labels, said, labels=every
    ).tolist()
    recall = metrics.recall_score(labels, said, labels=every, average=None, zero_division=float("nan"))
    for ours, theirs, count in zip(
        figures.per_class, recall, labels.bincount(minlength=classes), strict=True
    ):
        assert (ours is None) if count == 0 else (ours == pytest.approx(theirs))
    if classes > 5:
        expected = metrics.top_k_accuracy_score(labels, logits, k=5, labels=every)
        assert figures.top5 == pytest.approx(expected)
    else:
        assert figures.top5 is None
    assert figures.n == n and sum(map(sum, figures.confusion)) == n


def test_classes_without_a_vote_are_not_among_the_five():
    votes = torch.zeros(7, 7)
    votes[:, 2], votes[:, 5] = 0.7, 0.3
    assert scores(votes, torch.arange(7), 7).top5 == pytest.approx(2 / 7)
    assert scores(torch.zeros(7, 7), torch.arange(7), 7).top5 == pytest.approx(5 / 7)  # a guess


def test_survives_json():
    figures = scores(torch.eye(3), torch.tensor([0, 1, 1]), 3)
    assert json.loads(json.dumps(figures.as_dict()))["per_class"] == [1.0, 0.5, None]


def test_bad_input_is_said():
    with pytest.raises(ManyviewsError, match="no labelled test images"):
        scores(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 3)
    with pytest.raises(Diverged, match="not finite"):
        scores(torch.tensor([[0.0, torch.nan]]), torch.tensor([0]), 2)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_mean_and_sample_deviation(figures):
    result = mean_std(figures)
    assert result.mean == pytest.approx(statistics.fmean(figures))
    assert result.std == pytest.approx(statistics.stdev(figures), abs=1e-12)
    assert result.n == len(figures)


def test_one_seed_has_no_deviation():
    assert mean_std([0.5]).std is None
    assert str(mean_std([0.5])) == "0.5000"
    assert str(mean_std([0.5, 0.7])) == "0.6000 ± 0.1414 (n=2)"
    with pytest.raises(ValueError, match="no figures"):
        mean_std([])


def test_of_very_many_classes_not_each_is_counted_against_each() -> None:
    logits = torch.eye(MOST + 1)
    found = scores(logits, torch.arange(MOST + 1), MOST + 1)
    assert found.confusion is None and found.top1 == 1 and found.per_class == (1.0,) * (MOST + 1)
    assert scores(logits[:MOST, :MOST], torch.arange(MOST), MOST).confusion is not None
