"""CPC (van den Oord, Li & Vinyals 2018, arXiv:1807.03748)."""

import math

import torch
from torch.nn.functional import cross_entropy

from manyviews.claims import Claim, Found, Order

NATS, WIDTH, QUERIES, SEEDS = 5.0, 8, 4096, 5
SAMPLES = (8, 64, 512)


def _estimate(samples: int, seed: int) -> float:
    """log N - InfoNCE, in nats, by the critic that knows how two Gaussian vectors depend on each other."""
    rho = math.sqrt(1 - math.exp(-2 * NATS / WIDTH))
    draw = torch.Generator().manual_seed(seed)
    sets = QUERIES // samples
    x_SND, noise_SND = (
        torch.randn(sets, samples, WIDTH, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    y_SND = rho * x_SND + math.sqrt(1 - rho**2) * noise_SND
    away_SNN = (y_SND[:, None] - rho * x_SND[:, :, None]).square().sum(-1) / (1 - rho**2)
    log_ratio_SNN = (
        y_SND.square().sum(-1)[:, None] - away_SNN
    ) / 2  # log p(y | x) / p(y), but for a constant
    own = torch.arange(samples).expand(sets, -1)
    return math.log(samples) - float(cross_entropy(log_ratio_SNN.flatten(0, 1), own.flatten()))


def estimates() -> Found:
    figures = {f"N = {samples}": [_estimate(samples, seed) for seed in range(SEEDS)] for samples in SAMPLES}
    return Found(figures | {"log 8": [math.log(8)] * SEEDS, "true": [NATS] * SEEDS})


CLAIMS = {
    "cpc-bound": Claim(
        sentence="InfoNCE's estimate of mutual information lies below the true value and below log N; more samples bring it closer to the truth.",
        source="section 2.3, appendix A.1",
        exact=estimates,
        predicts=(Order("true", "N = 512", "N = 64", "N = 8"), Order("log 8", "N = 8")),
        unit="mutual information, nats",
        paper="Exact: I >= log N - L, and the bound becomes tighter as N grows.",
    ),
}
