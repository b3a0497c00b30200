"""The linear probes: parity with scikit-learn, honest choices, last epochs, frozen encoders."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from manyviews.errors import ManyviewsError
from manyviews.evaluation import (
    EncoderEmbedder,
    Features,
    NotFrozen,
    RawPixels,
    embed_all,
    linear,
    probe_lbfgs,
    probe_sgd,
)
from manyviews.evaluation.schedules import share_of_peak
from manyviews.views import plain


def clouds(n, seed, *, classes=4, dim=12, apart=1.0):
    """Features of Gaussian classes around fixed centres, channels of very different scale."""
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=generator)
    h = apart * centres[labels] + torch.randn(n, dim, generator=generator)
    return Features(h * torch.logspace(-2, 2, dim), labels)


@pytest.mark.parametrize("decay", [1e-1, 1e-2, 1e-3])
def test_the_fit_is_sklearns(decay):
    data = clouds(400, 0)
    x = ((data.h_ND - data.h_ND.mean(0)) / data.h_ND.std(0)).double()
    ours = linear.fit(x, data.labels, 4, decay, steps=1000, tolerance=1e-9)
    theirs = LogisticRegression(C=1 / (400 * decay), max_iter=5000, tol=1e-10).fit(
        x.numpy(), data.labels.numpy()
    )
    np.testing.assert_allclose(ours.weight_CD.numpy(), theirs.coef_, atol=1e-4)
    # a constant may be added to all biases without changing a probability: sklearn's and ours differ by one
    np.testing.assert_allclose(
        (ours.bias_C - ours.bias_C.mean()).numpy(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-4
    )


def test_a_warm_start_ends_where_a_cold_one_does():
    data = clouds(300, 1)
    x = ((data.h_ND - data.h_ND.mean(0)) / data.h_ND.std(0)).double()
    strong = linear.fit(x, data.labels, 4, 0.1)
    warm = linear.fit(x, data.labels, 4, 0.01, start=strong, steps=1000, tolerance=1e-9)
    cold = linear.fit(x, data.labels, 4, 0.01, steps=1000, tolerance=1e-9)
    torch.testing.assert_close(warm.weight_CD, cold.weight_CD, atol=1e-5, rtol=0)


def test_figures_agree_with_sklearn_at_the_chosen_decay():
    train, test = clouds(1000, 0), clouds(500, 1)
    probe = probe_lbfgs(train, test, classes=4)
    mean, std = train.h_ND.mean(0), train.h_ND.std(0, correction=0)
    model = LogisticRegression(C=1 / (1000 * probe.weight_decay), max_iter=5000)
    model.fit(((train.h_ND - mean) / std).numpy(), train.labels.numpy())
    theirs = model.score(((test.h_ND - mean) / std).numpy(), test.labels.numpy())
    assert probe.scores.top1 == pytest.approx(theirs, abs=0.005)
    assert probe.labels == 1000 and probe.validation is not None
    assert probe.as_dict()["weight_decay"] == probe.weight_decay


def test_deterministic_and_draws_nothing():
    train, test = clouds(200, 0), clouds(100, 1)
    state = torch.get_rng_state()
    assert probe_lbfgs(train, test, classes=4, seed=2) == probe_lbfgs(train, test, classes=4, seed=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_decay_is_chosen_without_the_test_set():
    train, test = clouds(300, 0), clouds(100, 1)
    wrong = Features(test.h_ND, (test.labels + 1) % 4)
    honest, fooled = probe_lbfgs(train, test, classes=4), probe_lbfgs(train, wrong, classes=4)
    assert (honest.weight_decay, honest.validation) == (fooled.weight_decay, fooled.validation)
    assert fooled.scores.top1 < 0.25 < honest.scores.top1


def test_noise_wants_a_strong_decay():
    labels = torch.arange(200) % 2
    noise = Features(torch.randn(200, 150, generator=torch.Generator().manual_seed(0)), labels)
    noise.h_ND[:, 0] += 3 * (labels * 2 - 1)
    assert probe_lbfgs(noise, noise, classes=2).weight_decay >= 1e-2


@pytest.mark.parametrize(("fraction", "labels"), [(0.1, 40), (0.01, 4)])
def test_few_labels(fraction, labels):
    train = clouds(400, 0, apart=3.0)
    train = Features(
        train.h_ND, train.labels.sort().values
    )  # whatever the features: it is the count that matters
    probe = probe_lbfgs(train, train, classes=4, label_fraction=fraction)
    assert abs(probe.labels - labels) <= 2
    assert (probe.validation is None) == (labels == 4)  # with one label a class nothing can be held out


def test_channels_that_never_move_do_no_harm():
    train, test = clouds(200, 0), clouds(100, 1)
    dead = [Features(torch.cat([f.h_ND, torch.full((len(f), 3), 7.3)], 1), f.labels) for f in (train, test)]
    assert probe_lbfgs(*dead, classes=4).scores.top1 == probe_lbfgs(train, test, classes=4).scores.top1


def test_sgd_learns_what_the_features_hold(blobs, net):
    train, test = blobs(240, seed=0), blobs(90, seed=1)
    probe = probe_sgd(net, train, test, classes=3, size=16, epochs=8, batch=60, lr=4.0)
    assert probe.scores.top1 > 0.8
    assert probe.labels == 240 and len(probe.history) == 8


def test_batch_norm_makes_the_scale_of_features_no_matter(blobs, net):
    class Scaled(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.net, self.scale = net, scale

        def forward(self, x):
            return self.scale * self.net(x)

    train, test = blobs(240, seed=0), blobs(90, seed=1)
    settings = {"classes": 3, "size": 16, "epochs": 8, "batch": 20, "lr": 1.0}
    normed = [probe_sgd(Scaled(s), train, test, **settings, batch_norm=True) for s in (0.2, 5.0)]
    assert [probe.scores.top1 for probe in normed] == pytest.approx([0.95, 0.95], abs=0.06)
    assert probe_sgd(Scaled(0.2), train, test, **settings).scores.top1 < 0.7  # too small to be learned from


def test_batch_norm_judges_by_what_it_has_seen_and_not_by_the_test_set(blobs, net):
    train, settings = blobs(120, seed=0), {"classes": 3, "size": 16, "epochs": 6, "batch": 60, "lr": 4.0}
    whole, first = blobs(90, seed=1), blobs(90, seed=1).subset(range(0, 90, 3))  # one class of three alone
    both = [probe_sgd(net, train, test, **settings, batch_norm=True).scores for test in (whole, first)]
    assert both[0].per_class[0] == both[1].per_class[0] == both[1].top1


def test_sgd_reports_the_last_epoch_and_not_the_best(blobs, net):
    train, test = blobs(120, seed=0, noise=90.0), blobs(90, seed=1, noise=90.0)
    probe = probe_sgd(
        net, train, test, classes=3, size=16, epochs=12, batch=30, lr=3000.0, schedule="constant"
    )
    assert probe.history[-1] < max(probe.history)  # far too high a rate: accuracy jumps about
    assert probe.scores.top1 == probe.history[-1]


def test_sgd_repeats_itself_and_leaves_no_trace(blobs, net):
    train, test = blobs(60, seed=0), blobs(30, seed=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    first = probe_sgd(net, train, test, classes=3, size=16, epochs=2, batch=20, lr=1.0)
    torch.randn(7)
    assert probe_sgd(net, train, test, classes=3, size=16, epochs=2, batch=20, lr=1.0) == first
    torch.set_rng_state(state)
    probe_sgd(net, train, test, classes=3, size=16, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.training and all(parameter.grad is None for parameter in net.parameters())


def test_sgd_refuses_an_encoder_that_changes(blobs):
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x.flatten(1)

    with pytest.raises(NotFrozen, match="calls"):
        probe_sgd(Counting(), blobs(12, seed=0), blobs(6, seed=1), classes=3, size=16, epochs=1)


def test_sgd_sees_images_on_disk_as_those_in_memory(blobs, streamed, net):
    train, test = blobs(240, seed=0), blobs(60, seed=1)
    settings = {"classes": 3, "size": 16, "epochs": 4, "batch": 60, "lr": 4.0}
    resident = probe_sgd(net, train, test, **settings)
    read = probe_sgd(net, streamed(train), streamed(test), **settings)
    assert read.scores.top1 == pytest.approx(resident.scores.top1, abs=0.1)


def test_a_diverging_classifier_is_said(blobs):
    class Huge(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) * 1e30

    with pytest.raises(ManyviewsError, match="learning rate"):
        probe_sgd(Huge(), blobs(30, seed=0), blobs(6, seed=1), classes=3, size=16, epochs=3, lr=1e9)


def test_the_two_protocols_agree_on_easy_features(blobs, net):
    train, test = blobs(240, seed=0, noise=10.0), blobs(90, seed=1, noise=10.0)
    stored = [embed_all(EncoderEmbedder(net, 16), data) for data in (train, test)]
    at_once = probe_lbfgs(*stored, classes=3).scores.top1
    by_steps = probe_sgd(net, train, test, classes=3, size=16, epochs=10, batch=60, lr=4.0).scores.top1
    assert min(at_once, by_steps) > 0.9 and at_once == pytest.approx(by_steps, abs=0.08)


def test_raw_pixels_can_be_probed(blobs):
    train, test = blobs(60, seed=0), blobs(30, seed=1)
    raw = [embed_all(RawPixels(16), data) for data in (train, test)]
    assert torch.equal(raw[1].h_ND, plain(test.values, 16).flatten(1))
    assert probe_lbfgs(*raw, classes=3).scores.top1 > 0.9


def test_schedules():
    steps = [share_of_peak(k / 100, "step") for k in range(100)]
    assert steps[59] == 1 and steps[60] == pytest.approx(0.1) and steps[80] == pytest.approx(0.01)
    cosine = [share_of_peak(k / 100, "cosine", warmup=0.1) for k in range(101)]
    assert cosine[0] == 0 and cosine[5] == pytest.approx(0.5) and cosine[10] == 1
    assert cosine[55] == pytest.approx(0.5) and cosine[100] == pytest.approx(0)
    assert all(before >= after for before, after in pairwise(cosine[10:]))
    assert share_of_peak(0.25, "cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert share_of_peak(0.55, "linear", 0.1) == pytest.approx(0.5)
    assert share_of_peak(0.55, "poly", 0.1) == pytest.approx(0.5**0.9)
    assert {share_of_peak(k / 10, "constant") for k in range(10)} == {1.0}


def test_no_epochs_is_refused(blobs, net):
    with pytest.raises(ManyviewsError, match="at least one epoch"):
        probe_sgd(net, blobs(12, seed=0), blobs(6, seed=1), classes=3, size=16, epochs=0)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"lr": 0.0}, {"momentum": 1.0}, {"weight_decay": -1e-4}])
def test_settings_of_a_probe_that_cannot_be(wrong, blobs, net):
    with pytest.raises(ManyviewsError, match="A probe's lr is above 0"):
        probe_sgd(net, blobs(30, seed=0), blobs(6, seed=1), classes=3, size=16, epochs=1, **wrong)
