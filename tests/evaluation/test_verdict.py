"""The verdict on cases whose answer is known, untrained networks among them."""

import dataclasses

import pytest
import torch

from manyviews import nets
from manyviews.evaluation import EncoderEmbedder, LabelFree, RawPixels, embed_all, labelfree, verdict
from manyviews.views import plain


def gauss(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def look(**figures: float) -> LabelFree:
    healthy = labelfree(gauss(200, 32))
    return dataclasses.replace(healthy, **figures)


def of(h):
    return verdict([labelfree(h)], finished=True)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 1e-2])
@pytest.mark.parametrize("constant", [1.0, 50.0])
def test_a_constant_with_noise_has_collapsed(noise, constant):
    found = of(constant * (torch.ones(300, 64) + noise * gauss(300, 64)))
    assert found.state == "collapsed" and "nearly the same embedding" in found.sentence


def test_dead_units_have_collapsed():
    assert of(torch.zeros(100, 16)).state == "collapsed"


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("rank", [1, 2])
def test_a_line_or_a_plane_has_collapsed_and_is_said_to_be_one(rank, noise):
    found = of(gauss(300, rank) @ gauss(rank, 64, 1) + noise * gauss(300, 64, 2))
    assert found.state == "collapsed" and "only one or two directions of 64" in found.sentence


def test_a_line_bent_by_a_relu_has_collapsed():
    assert of((gauss(300, 1) @ gauss(1, 64, 1)).relu()).state == "collapsed"


@pytest.mark.parametrize("n", [2, 3])
def test_so_few_points_lie_in_a_plane_anyway(n):
    assert of(gauss(n, 64)).state == "healthy"
    assert of(gauss(1, 64).expand(n, 64)).state == "collapsed"


def test_a_gaussian_is_healthy():
    found = of(gauss(500, 128))
    assert found.state == "healthy" and "Spread 1.00" in found.sentence


def test_a_gaussian_cut_by_a_relu_is_healthy():
    assert of(gauss(500, 128).relu()).state == "healthy"


@pytest.mark.parametrize("name", ["small_resnet", "cifar_resnet20", "resnet18/imagenet", "resnet50/imagenet"])
def test_an_untrained_network_has_not_collapsed(blobs, name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nets.build(name, size=32)
    data = blobs(128, seed=0, size=32, classes=6)
    features = embed_all(EncoderEmbedder(encoder, 32), data, batch=64)
    assert of(features.h_ND).state == "healthy"


def test_a_network_that_gives_one_answer_has_collapsed(blobs, net):
    net.eval()
    with torch.no_grad():
        net.bn2.weight.fill_(1e-4)
        net.bn2.bias.fill_(1.0)  # what batch norm learns when the loss is least for a constant
    features = embed_all(EncoderEmbedder(net, 16), blobs(128, seed=0))
    assert of(features.h_ND).state == "collapsed"


def test_raw_pixels_are_healthy(blobs):
    assert of(embed_all(RawPixels(16), blobs(128, seed=0, classes=6)).h_ND).state == "healthy"


def test_nan_is_said():
    found = of(torch.full((9, 4), torch.nan))
    assert found.state == "collapsed" and "not finite" in found.sentence


def test_too_early():
    assert verdict([]).state == "too early"
    assert verdict([look()] * 2).state == "too early"
    assert verdict([look()] * 3).state == "healthy"
    assert verdict([look()], finished=True).state == "healthy"


@pytest.mark.parametrize("figure", ["spread", "rank"])
def test_a_falling_figure_is_collapsing(figure):
    falling = [look(**{figure: 20 * 0.6**k}) for k in range(9)]
    found = verdict(falling)
    assert found.state == "collapsing" and "is still falling" in found.sentence


def test_collapsing_comes_before_collapsed_in_a_run_that_collapses():
    noise = [0.5 * 0.5**k for k in range(9)]
    looks = [labelfree(torch.ones(200, 32) + level * gauss(200, 32)) for level in noise]
    states = [verdict(looks[: k + 1]).state for k in range(9)]
    assert states[0] == "too early" and states[-1] == "collapsed"
    assert states.index("collapsing") < states.index("collapsed")


def test_a_figure_that_fell_and_recovers_is_not_collapsing():
    figures = [0.8, 0.5, 0.3, 0.2, 0.25, 0.3, 0.35, 0.38]
    assert verdict([look(spread=value) for value in figures]).state == "healthy"


def test_a_wavering_figure_is_healthy():
    figures = [0.5, 0.56, 0.6, 0.57, 0.66, 0.63, 0.71, 0.75]
    assert verdict([look(spread=value) for value in figures]).state == "healthy"


def test_a_long_flat_run_has_plateaued():
    looks = [look(spread=0.5 + 0.001 * (-1) ** k, alignment=0.3) for k in range(12)]
    found = verdict(looks)
    assert found.state == "plateaued" and "over the last 6 looks" in found.sentence
    assert verdict(looks, patience=20).state == "healthy"


def test_one_figure_that_moves_is_enough_to_go_on():
    looks = [look(alignment=0.9 - 0.05 * k) for k in range(12)]
    assert verdict(looks).state == "healthy"


def test_a_collapsed_encoder_that_stays_so_has_not_plateaued():
    assert verdict([look(spread=0.001)] * 12).state == "collapsed"


def test_views_are_put_into_words():
    h = gauss(100, 32)
    found = verdict([labelfree(h, h, h + 0.3 * gauss(100, 32, 1))], finished=True)
    assert "times closer than two images" in found.sentence


def test_words_for_the_screen_and_for_json():
    assert str(verdict([look()], finished=True)).startswith("healthy: ")
    assert verdict([look()], finished=True).as_dict()["state"] == "healthy"


def test_a_collapse_of_the_output_is_seen_behind_a_healthy_encoder():
    levels = [3 * 0.75**k for k in range(12)]
    points = [torch.ones(200, 16) + level * gauss(200, 16, 1) for level in levels]
    looks = [labelfree(gauss(200, 32), z_ND=point) for point in points]
    states = [verdict(looks[: k + 1]).state for k in range(12)]
    assert "collapsing" in states and states[-1] == "collapsed"
    assert "own output" in verdict(looks).sentence
    assert verdict([labelfree(gauss(200, 32))] * 4).state == "healthy"


def test_agreement_alone_is_caught_on_a_real_network(blobs, net):
    """What SimSiam is without its stop-gradient (its section 4.1): the encoder hides it, its output shows it."""
    data = blobs(96, seed=0)
    x = plain(data.values, 16)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = torch.nn.Linear(16, 8)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-3)
    history = []
    for _ in range(10):
        for _ in range(20):
            a, b = (head(net(x + 0.5 * torch.randn(x.shape, generator=generator))) for _ in range(2))
            optimiser.zero_grad()
            (-torch.nn.functional.cosine_similarity(a, b)).mean().backward()
            optimiser.step()
        h = embed_all(EncoderEmbedder(net, 16), data).h_ND
        history.append(labelfree(h, z_ND=head(h).detach()))
    assert verdict(history).state in ("collapsing", "collapsed")
    assert history[-1].spread > 0.1  # the encoder alone would have passed


@pytest.mark.parametrize("figure", ["spread", "rank", "uniformity", "spread_projected", "alignment"])
def test_whichever_figure_moves_the_run_goes_on_and_a_finished_one_may_be_flat(figure):
    still = [look(alignment=0.3, spread_projected=0.5)] * 6
    assert verdict(still).state == "plateaued" and verdict(still, finished=True).state == "healthy"
    moving = [
        dataclasses.replace(one, **{figure: getattr(one, figure) * (1 + 0.02 * k)})
        for k, one in enumerate(still)
    ]
    assert verdict(moving).state == "healthy"
