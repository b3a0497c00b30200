"""Transformer (Vaswani et al. 2017, arXiv:1706.03762)."""

import torch
from torch import Tensor, nn

from manyviews.claims import Arm, Claim, Equal, Found, Order, Scale
from manyviews.nets.attention import spread
from manyviews.nets.transformer import Blocks

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


class _BatchNorm(nn.BatchNorm1d):
    """Batch norm where a Transformer has layer norm: over all tokens of the batch, those that fill up included."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1)).unflatten(0, input.shape[:2])


def _changes(norm: type[nn.Module], seed: int) -> float:
    """How much a sentence's outcome changes, relative to itself, as those beside it become four times as long."""
    short, long, width, sentences = 8, 32, 64, 16
    torch.manual_seed(seed)
    blocks = Blocks(2, width, 4, norm="post").double().train()
    for block in blocks:
        block.norm1, block.norm2 = (norm(width, dtype=torch.float64) for _ in range(2))
    x_BTD = torch.randn(sentences, long, width, dtype=torch.float64)
    outcomes = []
    for beside in (short, long):
        length_B = torch.tensor([short] + [beside] * (sentences - 1))
        here_BT = torch.arange(long) < length_B[:, None]
        y_BTD = blocks(x_BTD * here_BT[:, :, None], padding_BS=here_BT)
        outcomes.append(y_BTD[0, :short].detach())
    return float((outcomes[1] - outcomes[0]).norm() / outcomes[0].norm())


def lengths() -> Found:
    with torch.random.fork_rng(devices=[]):
        return Found(
            {
                name: [_changes(norm, seed) for seed in range(SEEDS)]
                for name, norm in (("batch norm", _BatchNorm), ("layer norm", nn.LayerNorm))
            }
            | {"none": [0.0] * SEEDS}
        )


LAPTOP = Scale(data="world-translation", size=48, batch=64, budget="380steps")
GPU = Scale(data="world-translation", size=48, batch=128, budget="20ep")

CLAIMS = {
    "transformer-norm": Claim(
        sentence="With batch norm the outcome of a sentence depends on the lengths of the other sentences in the batch; with layer norm it does not.",
        source="section 3.1, for layer norm; the paper does not say why not batch norm",
        exact=lengths,
        predicts=(Order("batch norm", "layer norm", margin=0.05), Equal("layer norm", "none", within=1e-9)),
        unit="change of a sentence's outcome, relative",
        paper="No figure: the paper uses layer norm, whose statistics are those of a single token.",
        remark="Sentences are padded with zeros, which the statistics of a batch include; how many there are depends on the lengths.",
    ),
    "transformer-positions": Claim(
        sentence="Learned positions are as good as sinusoidal ones.",
        source="section 6.2, table 3, row E",
        arms={
            "sinusoidal": Arm("translation", net="small_transformer"),
            "learned": Arm("translation", net="small_transformer/learned"),
            "none": Arm("translation", net="small_transformer/unplaced"),
        },
        laptop=LAPTOP,
        gpu=GPU,
        measure="loss",
        best="low",
        predicts=(Equal("sinusoidal", "learned", within=0.1), Order(("sinusoidal", "learned"), "none")),
        unit="training loss, labels smoothed, nats a token",
        paper="newstest2013: perplexity 4.92 and 25.8 BLEU with sinusoids, 4.92 and 25.7 with learned positions.",
        remark="A net without positions is trained beside them, to show that positions matter here.",
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
        paper="No figure: where q and k have independent components with variance 1, their product has variance d, which is suspected to push the softmax "
        "to where gradients are extremely small.",
    ),
}
