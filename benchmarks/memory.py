"""How far an RNN, a GRU and an LSTM remember: accuracy against the gap between a symbol and the question for it.

One of eight symbols, a gap, a question: which symbol was it? In the gap stand blanks, or with `--distract` other symbols
(as the noise of Hochreiter & Schmidhuber 1997, section 5.3). One layer read by a linear one, Adam with clipped gradients;
chance is 12.5%. What is printed is the accuracy on fresh sequences, mean and standard deviation over seeds.

    python benchmarks/memory.py
    python benchmarks/memory.py --net rnn lstm --gap 100 200 --batches 400 --seeds 5
    python benchmarks/memory.py --distract --forget-bias 1 --json
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean, stdev

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from manyviews.nets.char import CharModel
from manyviews.nets.recurrent import GRU, LSTM, RNN, Recurrent

SYMBOLS, BLANK, ASKED = 8, 8, 9  # the vocabulary: eight symbols, what fills the gap, the question
WIDTH, BATCH, JUDGED = 64, 64, 1024
NETS = ("rnn", "gru", "lstm")


def sequences(rows: int, gap: int, distract: bool, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens `[rows, gap + 2]`, and the symbol that each begins with, `[rows]`."""
    symbol_B = torch.randint(SYMBOLS, (rows,), generator=draw)
    fill_BG = torch.full((rows, gap), BLANK)
    if distract:
        fill_BG = torch.randint(SYMBOLS, (rows, gap), generator=draw)
    return torch.cat([symbol_B[:, None], fill_BG, torch.full((rows, 1), ASKED)], 1), symbol_B


def remembered(
    kind: Callable[..., Recurrent], gap: int, seed: int, *, batches: int, lr: float, distract: bool
) -> float:
    """The share of fresh sequences whose first symbol a net tells after so many batches."""
    torch.manual_seed(seed)
    net, draw = CharModel(kind, SYMBOLS + 2, WIDTH, 1), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(batches):
        token_BT, symbol_B = sequences(BATCH, gap, distract, draw)
        adam.zero_grad()
        cross_entropy(net(token_BT)[:, -1], symbol_B).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    token_BT, symbol_B = sequences(JUDGED, gap, distract, draw)
    with torch.no_grad():
        return float((net(token_BT)[:, -1].argmax(1) == symbol_B).float().mean())


def percent(shares: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{100 * fmean(shares):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--gap", nargs="+", type=int, default=[10, 50, 100, 200], metavar="TOKENS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=300, help=f"of {BATCH} sequences")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument(
        "--forget-bias", type=float, default=1.0, help="of the LSTM; 20: no forget gate (1997)"
    )
    parser.add_argument("--distract", action="store_true", help="fill the gap with symbols, not blanks")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    kinds = {"rnn": RNN, "gru": GRU, "lstm": partial(LSTM, forget_bias=args.forget_bias)}
    how = {"batches": args.batches, "lr": args.lr, "distract": args.distract}
    found: dict[str, dict[int, list[float]]] = {}
    if not args.json:
        print("".join(["net ", *(f"{f'gap {gap}':>14}" for gap in args.gap)]))
    for name in args.net:
        found[name] = {}
        for gap in args.gap:
            found[name][gap] = [remembered(kinds[name], gap, seed, **how) for seed in range(args.seeds)]
        if not args.json:
            print(
                "".join([f"{name:4}", *(f"{percent(found[name][gap]):>14}" for gap in args.gap)]), flush=True
            )
    if args.json:
        print(json.dumps(vars(args) | {"accuracy": found}))


if __name__ == "__main__":
    main()
