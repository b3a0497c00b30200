"""How far an RNN, a GRU and an LSTM remember: accuracy against the gap between a symbol and the question for it.

The sequences are those of `recall-50` (`manyviews.data.recall`): one of eight letters, a gap, a question: which letter was
it? In the gap stand dots and commas by chance, or with `--distract` letters too. The net learns the answer alone, as in the
claim `lstm-memory`. One layer read by a linear one, Adam with clipped gradients; chance is 12.5%. What is printed is the
accuracy on fresh sequences, mean and standard deviation over seeds.

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
from torch import nn
from torch.nn.functional import cross_entropy

from manyviews.data.recall import ALPHABET, sequences
from manyviews.nets.char import CharModel
from manyviews.nets.recurrent import GRU, LSTM, RNN, Recurrent

WIDTH, BATCH, JUDGED = 64, 64, 1024
NETS = ("rnn", "gru", "lstm")


def remembered(
    kind: Callable[..., Recurrent], gap: int, seed: int, *, batches: int, lr: float, distract: bool
) -> float:
    """The share of fresh sequences whose first letter a net tells after so many batches."""
    torch.manual_seed(seed)
    net, draw = CharModel(kind, len(ALPHABET), WIDTH, 1), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(batches):
        token_BT = sequences(BATCH, gap, draw, distract=distract)
        adam.zero_grad()
        cross_entropy(net(token_BT[:, :-1])[:, -1], token_BT[:, -1]).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    token_BT = sequences(JUDGED, gap, draw, distract=distract)
    with torch.no_grad():
        return float((net(token_BT[:, :-1])[:, -1].argmax(1) == token_BT[:, -1]).float().mean())


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
    parser.add_argument("--distract", action="store_true", help="fill the gap with letters too")
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
