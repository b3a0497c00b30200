"""LSTM (Hochreiter & Schmidhuber 1997; forget gate of Gers, Schmidhuber & Cummins 2000)."""

import torch

from manyviews.claims import Claim, Found, Order
from manyviews.nets.recurrent import LSTM, RNN

WIDTH, SEQUENCES, SEEDS = 64, 8, 5
AWAY = 50  # tokens between what is asked and what should have taught it
OPEN = 20.0  # bias of a forget gate that never closes: the cell of 1997, which has none
NETS = {
    "LSTM, no forget gate": lambda: LSTM(WIDTH, WIDTH, forget_bias=OPEN),
    "LSTM, bias 1": lambda: LSTM(WIDTH, WIDTH, forget_bias=1.0),
    "LSTM, bias 0": lambda: LSTM(WIDTH, WIDTH),
    "RNN": lambda: RNN(WIDTH, WIDTH),
}


def _kept(net: RNN | LSTM, seed: int) -> float:
    """The gradient that reaches a token ``AWAY`` before the last, as a share of the last one's own, as a power of ten."""
    x_BTD = torch.randn(
        SEQUENCES, 2 * AWAY, WIDTH, generator=torch.Generator().manual_seed(seed), requires_grad=True
    )
    y_BTH, _ = net(x_BTD)
    (gradient,) = torch.autograd.grad(y_BTH[:, -1].sum(), x_BTD)
    norm_T = gradient.norm(dim=(0, 2))
    return float((norm_T[-1 - AWAY] / norm_T[-1]).log10())


def gradients() -> Found:
    figures: dict[str, list[float]] = {name: [] for name in NETS}
    for seed in range(SEEDS):
        for name, make in NETS.items():
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                net = make()
            figures[name].append(_kept(net, seed))
    return Found(figures)


UNIT = f"gradient over {AWAY} tokens, log10"
CLAIMS = {
    "lstm-gradient": Claim(
        sentence="An LSTM carries the error back over long distances, where that of a plain recurrent net vanishes.",
        source="sections 3 and 4 (constant error carousel)",
        exact=gradients,
        predicts=Order("LSTM, no forget gate", "RNN", margin=3.0),
        unit=UNIT,
        paper="No figure: the error that flows through the cell is constant, that of a plain net falls exponentially.",
        remark="At the start of training, before anything is learnt. The gradient that is left is a share of the last token's own.",
    ),
    "lstm-forget-bias": Claim(
        sentence="A forget gate that starts open keeps the gradient that one starting half closed loses.",
        source="Gers, Schmidhuber & Cummins 2000; Jozefowicz et al. 2015",
        exact=gradients,
        predicts=Order("LSTM, bias 1", "LSTM, bias 0", margin=1.0),
        unit=UNIT,
        paper="No figure of the gradient: a bias of 1 is advised, so that the cell remembers to begin with.",
        remark="With a bias of 0 every gate halves what the cell holds at each token, and the LSTM forgets as fast as a plain net.",
    ),
}
