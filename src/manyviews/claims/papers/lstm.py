"""LSTM (Hochreiter & Schmidhuber 1997; forget gate of Gers, Schmidhuber & Cummins 2000)."""

import torch

from manyviews.claims import Arm, Claim, Found, Order, Scale
from manyviews.data.corpus import open_corpus
from manyviews.data.tokeniser import Tokeniser
from manyviews.distributed import device
from manyviews.nets.char import OPEN
from manyviews.nets.recurrent import LSTM, RNN
from manyviews.nets.writer import require_writer
from manyviews.runs import Run

WIDTH, SEQUENCES, SEEDS = 64, 8, 5
AWAY = 50  # tokens between what is asked and what should have taught it
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


def recalled(run: Run) -> float:
    """The share of test sequences of which it tells, after the question, the letter that they began with."""
    net, words = require_writer(run.encoder), Tokeniser.load(run.words)
    texts = [text for (text,) in open_corpus(run.recipe.data, split="test").texts]
    token_NT = torch.tensor([[words.start, *ids] for ids in words.encode(texts)], device=device())
    with torch.inference_mode():
        told_N = net(token_NT[:, :-1])[:, -1].argmax(1)
    return float((told_N == token_NT[:, -1]).double().mean())


def _learns(net: str, lr: float = 3e-3) -> Arm:
    return Arm("char_rnn", net=net, lr=lr)


GAP = 50
WINDOW = GAP + 5  # a sequence between the tokens that begin and end a text, and nothing of another one
MEMORY = Scale(data=f"recall-{GAP}", after="?", size=WINDOW, truncate=WINDOW, batch=64, budget="200steps")
RNNS = {f"RNN, lr {lr:g}": _learns("char_rnn", lr) for lr in (3e-3, 1e-3, 3e-4)}
UNIT = f"gradient over {AWAY} tokens, log10"
CLAIMS = {
    "lstm-gradient": Claim(
        sentence="An LSTM carries the error back over long distances, over which it vanishes in a plain recurrent net.",
        source="sections 3 and 4 (constant error carousel)",
        exact=gradients,
        predicts=Order("LSTM, no forget gate", "RNN", margin=3.0),
        unit=UNIT,
        paper="No figure: the error that flows through the cell is constant, that of a plain net falls exponentially.",
        remark="Measured at the start of training, before anything is learnt. The gradient that is left is given as a share of the last token's own.",
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
    "lstm-memory": Claim(
        sentence="An LSTM learns to remember over a distance at which a plain recurrent net learns far less.",
        source="section 5.2, tasks 2a to 2c, table 2",
        arms={
            "LSTM, no forget gate": _learns("char_lstm/1997"),
            "GRU": _learns("char_gru"),
            **RNNS,
        },
        laptop=MEMORY,
        measure=recalled,
        predicts=Order("LSTM, no forget gate", tuple(RNNS), margin=0.2),
        unit=f"accuracy after {GAP} tokens of noise",
        paper="With a delay of 100 tokens, all LSTMs predict the last token from the first after 5,040 sequences (5,680 where noise "
        "lies between); no plain net trained by the whole gradient (BPTT) does so within 5,000,000.",
        remark="The answer is one of eight letters, so 12.5% are right by chance; only the answer is learned, as in task 2c. All nets have two "
        "layers of 128 units and read 12,800 sequences, in the same order. The plain net is trained at three learning rates and has to be beaten at "
        "each. A GRU, of which the paper says nothing, is shown beside them.",
    ),
}
