"""Transformer (Vaswani et al. 2017, arXiv:1706.03762)."""

import torch
from torch import Tensor

from manyviews.claims import Arm, Claim, Equal, Found, Order, Scale
from manyviews.nets.attention import spread

WIDTHS = (4, 64, 1024)  # d_k
KEYS, QUERIES, SEEDS = 64, 256, 5


def _slope(p_QK: Tensor) -> float:
    """The Frobenius norm of the softmax's Jacobian diag(p) - p p', the mean over queries, as a power of ten."""
    square = p_QK.square().sum(1)
    norm = (square - 2 * p_QK.pow(3).sum(1) + square.square()).clamp_min(0).sqrt()
    return float(norm.mean().log10())


def saturation() -> Found:
    figures: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        for d in WIDTHS:
            q, k = (
                torch.randn(1, 1, rows, d, generator=generator, dtype=torch.float64)
                for rows in (QUERIES, KEYS)
            )
            for name, query in (("scaled", q), ("plain", q * d**0.5)):  # `spread` divides by the root of d
                p_QK = spread(query, k, None)[0, 0]
                figures.setdefault(f"{name}, d = {d}", []).append(_slope(p_QK))
    return Found(figures)


LAPTOP = Scale(data="world-translation", size=48, batch=64, budget="200steps")
GPU = Scale(data="world-translation", size=48, batch=128, budget="20ep")

CLAIMS = {
    "transformer-positions": Claim(
        sentence="Learned positions are as good as sinusoidal ones.",
        source="section 6.2, table 3, row E",
        arms={
            "sinusoidal": Arm("translation", net="small_transformer"),
            "learned": Arm("translation", net="small_transformer/learned"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="loss",
        best="low",
        predicts=Equal("sinusoidal", "learned", within=0.1),
        unit="loss, nats a token",
        paper="newstest2013: perplexity 4.92 and 25.8 BLEU with sinusoids, 4.92 and 25.7 with learned positions.",
    ),
    "transformer-scale": Claim(
        sentence="Without 1/sqrt(d) the softmax of attention saturates as d grows: its gradient vanishes.",
        source="section 3.2.1, footnote 4",
        exact=saturation,
        predicts=(
            Order("plain, d = 4", "plain, d = 64", "plain, d = 1024"),
            Equal("scaled, d = 64", "scaled, d = 1024", within=0.1),
            Order("scaled, d = 1024", "plain, d = 1024"),
        ),
        unit="norm of the softmax's Jacobian, log10",
        paper="No figure: q and k of independent components with variance 1 have a product of variance d, suspected to push the softmax "
        "to where gradients are extremely small.",
    ),
}
