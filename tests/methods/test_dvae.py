"""dVAE: its terms are the formulas written plainly, its schedules those of the appendix, its pictures drawn from hard codes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    Laplace,
    RelaxedOneHotCategorical,
    SigmoidTransform,
    TransformedDistribution,
    kl_divergence,
)

import manyviews
from manyviews import learn
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.masked.dvae import (
    DVAE,
    RECIPES,
    Config,
    kl_to_uniform,
    logit_laplace,
    phi,
    relaxed,
)
from manyviews.nets.interop import load_encoder
from manyviews.nets.tokens import in_use
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.views import normalise, plain
from manyviews.views.spaces import unit_rgb

SIZE, V = 16, 7
SMALL: dict[str, Any] = {"codes": V, "width": 8, "init": 6, "blocks": 1}


def built(net: str = "small_dvae", size: int = SIZE, **settings: Any) -> Any:
    torch.manual_seed(0)
    return DVAE(Config(**(SMALL | settings)), net_factory(net, size), Spec(items=48, size=size))


def batch(B: int = 4) -> Batch:
    return Batch([torch.randn(B, 3, SIZE, SIZE, generator=generator("x"))], torch.arange(B))


def logits(B: int = 3) -> Tensor:
    return 3 * torch.randn(B, V, 4, 4, generator=generator("logits"), dtype=torch.float64)


# -- the terms ----------------------------------------------------------------------------------------------------


def test_the_divergence_is_torchs() -> None:
    q = Categorical(logits=logits().movedim(1, -1))
    uniform = Categorical(logits=torch.zeros(V, dtype=torch.float64))
    torch.testing.assert_close(kl_to_uniform(logits()), kl_divergence(q, uniform).sum((1, 2)))


def test_a_sure_code_costs_ln_v_and_a_uniform_one_nothing() -> None:
    sure = torch.nn.functional.one_hot(torch.full((2, 4, 4), 3), V).movedim(-1, 1) * 1e4
    torch.testing.assert_close(kl_to_uniform(sure.double()), torch.full((2,), 16 * math.log(V)).double())
    assert kl_to_uniform(torch.zeros(2, V, 4, 4)).abs().max() < 1e-5


def test_the_likelihood_is_that_of_a_laplace_through_a_sigmoid() -> None:
    x = 0.02 + 0.96 * torch.rand(50, generator=generator("p"), dtype=torch.float64)
    mu, ln_b = torch.randn(2, 50, generator=generator("mu"), dtype=torch.float64)
    theirs = TransformedDistribution(Laplace(mu, ln_b.exp()), [SigmoidTransform()]).log_prob(x)
    torch.testing.assert_close(logit_laplace(x, mu, ln_b), theirs)
    plain = 1 / (2 * ln_b.exp() * x * (1 - x)) * (-(x.logit() - mu).abs() / ln_b.exp()).exp()  # eq. 2
    torch.testing.assert_close(logit_laplace(x, mu, ln_b).exp(), plain)


def test_it_is_a_density() -> None:
    x = torch.linspace(1e-6, 1 - 1e-6, 200_001, dtype=torch.float64)
    density = logit_laplace(x, torch.tensor(0.4), torch.tensor(-0.5)).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1.0, abs=1e-4)


def test_phi_keeps_pixels_away_from_both_ends() -> None:
    torch.testing.assert_close(phi(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0.1, 0.5, 0.9]))


def test_relaxed_codes_are_gumbel_softmax() -> None:
    """Its largest entry is distributed as q is, and its density is torch's: both have the same mean of ln z."""
    q = torch.tensor([0.1, 0.2, 0.4, 0.3]).log()
    torch.manual_seed(0)
    z = relaxed(q[None, :, None, None].expand(40, -1, 50, 50), 0.7).movedim(1, -1).reshape(-1, 4)
    torch.testing.assert_close(z.sum(1), torch.ones(len(z)))
    counts = z.argmax(1).bincount(minlength=4) / len(z)
    torch.testing.assert_close(counts, q.exp(), atol=0.006, rtol=0)
    theirs = RelaxedOneHotCategorical(torch.tensor(0.7), logits=q).sample((100_000,))
    torch.testing.assert_close(z.log().mean(0), theirs.log().mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(z.var(0), theirs.var(0), atol=0.003, rtol=0)


def test_relaxed_codes_harden_as_tau_falls_and_carry_gradients() -> None:
    def drawn(tau: float) -> Tensor:
        torch.manual_seed(1)
        return relaxed(logits(), tau)

    sure = [drawn(tau).amax(1).mean().item() for tau in (1.0, 1 / 4, 1 / 16)]
    assert sure[0] < sure[1] < sure[2] and sure[2] > 0.97
    asks = logits().requires_grad_()
    torch.manual_seed(1)
    (relaxed(asks, 1.0) ** 2).sum().backward()
    assert asks.grad is not None and asks.grad.abs().min() > 0


def test_each_image_has_noise_of_its_own() -> None:
    same = torch.zeros(2, V, 4, 4)
    assert not torch.equal(*relaxed(same, 1.0))


@pytest.mark.parametrize("likelihood", ["logit-laplace", "squared"])
def test_the_loss_is_the_lower_bound_over_the_number_of_values(likelihood: str) -> None:
    method, some = built(likelihood=likelihood, beta=2.0, beta_warmup=0.0), batch()
    (x,) = some.views
    torch.manual_seed(5)
    out = method.loss(some, 0.3)
    torch.manual_seed(5)
    z = relaxed(method.online.encoder.logits(x), method.tau(0.3))
    told = method.online.decoder(z)
    if likelihood == "squared":
        nll = ((x - told) ** 2).sum() / 2
    else:
        laplace = Laplace(told[:, :3], told[:, 3:].exp())
        pixels = TransformedDistribution(laplace, [SigmoidTransform(), AffineTransform(-0.125, 1.25)])
        nll = -pixels.log_prob(unit_rgb(x)).sum() - x.numel() * math.log(1.25)  # of phi(x), not of x
    q = Categorical(logits=method.online.encoder.logits(x).movedim(1, -1))
    kl = kl_divergence(q, Categorical(logits=torch.zeros(V))).sum()
    torch.testing.assert_close(out.loss, (nll + 2.0 * kl) / x.numel())
    torch.testing.assert_close(out.log["kl"], kl / (len(x) * 16))


# -- schedules ----------------------------------------------------------------------------------------------------


def test_schedules_are_cosines_over_shares_of_the_run() -> None:
    method = built(annealing=0.5, beta_warmup=0.2)
    assert [method.tau(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 1 / 16, 1 / 16])
    assert method.tau(0.25) == pytest.approx((1 + 1 / 16) / 2)
    assert [method.beta(p) for p in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0.0, 3.3, 6.6, 6.6])


def test_the_papers_shares_are_its_updates() -> None:
    config, recipe = RECIPES["paper"]
    updates = int(recipe.budget.removesuffix("steps"))
    assert config.annealing * updates == pytest.approx(150_000)
    assert config.beta_warmup * updates == pytest.approx(5_000)


# -- what is kept -------------------------------------------------------------------------------------------------


def test_weights_are_averaged_and_statistics_followed() -> None:
    method, some = built("cifar_resnet8", average=0.9), batch()
    before = [p.clone() for p in method.mean.parameters()]
    out = method.loss(some, 0.5)
    with torch.no_grad():
        for p in method.online.parameters():
            p.add_(1.0)
    method.after_step(out, 0.5)
    for old, now in zip(before, method.mean.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.1)
    buffers = dict(method.online.named_buffers())
    assert buffers and all(torch.equal(b, buffers[k]) for k, b in method.mean.module.named_buffers())


def test_figures_of_a_step() -> None:
    method, some = built(beta_warmup=0.0), batch(40)
    out = method.loss(some, 1.0)
    (x,) = some.views
    hard = method.online.encoder.tokens(x)
    torch.testing.assert_close(out.log["codes_in_use"], in_use(hard, V))
    drawn = method.drawn(method.online.decoder.of_tokens(hard[:32]))
    torch.testing.assert_close(out.log["hard_error"], (unit_rgb(x[:32]) - drawn).square().mean())


def test_it_shows_originals_and_what_is_drawn_from_soft_and_hard_codes() -> None:
    method = built().eval()
    image = torch.randint(0, 256, (5, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.no_grad():
        (sheet,) = method.pictures(image).values()
    assert sheet.shape == (3, 5, 3, SIZE, SIZE) and sheet.dtype == torch.uint8
    assert (sheet[0].int() - image.int()).abs().max() <= 1
    with torch.no_grad():
        hard = method.drawn(method.decoder.of_tokens(method.encoder.tokens(plain(image, SIZE))))
    assert torch.equal(sheet[2], (hard * 255).round().to(torch.uint8))


def test_it_learns_to_draw_what_it_sees_and_its_codes_are_kept(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "judge", lambda *_: None)
    colours = np.random.default_rng(0).integers(0, 256, (48, 3, 1, 1), dtype=np.uint8)
    images = np.broadcast_to(colours, (48, 3, SIZE, SIZE)).copy()
    run = manyviews.pretrain(
        "dvae", images, out=tmp_path / "tokens", net="small_dvae", size=SIZE, batch=16, budget="60steps", quiet=True,
        lr=5e-3, beta=0.0, annealing=0.5, average=0.5, **SMALL | {"codes": 32},
    )  # fmt: skip
    first, last = run.metrics()[0], run.metrics()[-1]
    assert last["hard_error"] < 0.5 * first["hard_error"] and last["nll"] < first["nll"]
    encoder, about = load_encoder(run.path)
    assert (
        encoder.built is not None and encoder.built.name == "codes(small_dvae, 32)" and about["size"] == SIZE
    )


# -- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"codes": 1}, r"1 code\(s\) says nothing"),
        ({"temperature": (1.0, 0.0)}, r"--temperature is \(1\.0, 0\.0\); it divides logits"),
        ({"beta": -1.0}, r"--beta is -1\.0; the weight of a divergence"),
        ({"annealing": 1.5}, r"--annealing is 1\.5.*shares"),
        ({"average": 1.0}, r"--average 1\.0; they are shares"),
        ({"width": 3}, r"A decoder of width 3.*cannot be"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManyviewsError, match=sentence):
        built(**settings)


def test_images_that_codes_do_not_divide() -> None:
    with pytest.raises(ManyviewsError, match=r"4 x 4 pixels, which do not divide images of 18 x 18"):
        built(size=18)


def test_a_net_whose_map_cannot_be_doubled_back() -> None:
    with pytest.raises(ManyviewsError, match=r"does not lead from 5 x 5 codes to 18 x 18 pixels"):
        built("cifar_resnet8", size=18)


def test_a_net_that_embeds_by_more_than_its_map_is_refused() -> None:
    with pytest.raises(ManyviewsError, match=r'"vgg_a/thin/imagenet" embeds by layers beyond'):
        built("vgg_a/thin/imagenet", size=32)


# -- what the parts of a step are ----------------------------------------------------------------------------------


def test_the_loss_is_of_where_the_schedules_stand() -> None:
    method, some = built(likelihood="squared", annealing=0.5, beta_warmup=0.5), batch()
    (x,) = some.views
    q = method.online.encoder.logits(x)
    for progress, tau, beta in ((0.0, 1.0, 0.0), (0.25, (1 + 1 / 16) / 2, 3.3), (1.0, 1 / 16, 6.6)):
        torch.manual_seed(5)
        out = method.loss(some, progress)
        torch.manual_seed(5)
        told = method.online.decoder(relaxed(q, tau))
        expected = ((x - told).square().sum() / 2 + beta * kl_to_uniform(q).sum()) / x.numel()
        torch.testing.assert_close(out.loss, expected)
        assert [out.log[name].item() for name in ("tau", "beta")] == pytest.approx([tau, beta])


def test_what_is_kept_are_the_averaged_weights() -> None:
    method = built()
    assert method.encoder is method.mean.module.encoder and method.decoder is method.mean.module.decoder
    assert not any(p.requires_grad for p in method.encoder.parameters())


@pytest.mark.parametrize("likelihood", ["logit-laplace", "squared"])
def test_who_tells_the_pixels_draws_them(likelihood: str) -> None:
    method, p = built(likelihood=likelihood), torch.rand(2, 3, SIZE, SIZE, generator=generator("pixels"))
    x = normalise(p)
    told = x if likelihood == "squared" else torch.cat([phi(p).logit(), torch.randn_like(p)], 1)
    torch.testing.assert_close(method.drawn(told), p, atol=1e-5, rtol=0)
    assert method.error(x, told) < 1e-9


def test_codes_are_told_in_full_precision_under_autocast() -> None:
    method, some = built(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        h_BDhw = method.online.encoder.grid(some.views[0])
        out = method.loss(some, 1.0)
    logits = method.online.encoder.logits_of(h_BDhw.float())
    torch.testing.assert_close(out.log["kl"], kl_to_uniform(logits).mean() / 16)


def test_views_are_squares_from_anywhere() -> None:
    (view,) = built(scale=(1.5, 2.0)).views().views
    assert (view.crop, view.scale, view.flip, view.jitter) == (None, (1.5, 2.0), 0.5, None)
