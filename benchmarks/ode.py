"""The neural ODE's two ways back: what the forward pass keeps for the backward pass, and how long a training step takes.

By the adjoint a second solve, backwards, yields the gradient, and memory does not grow with the steps; through the solver
all of its steps are kept. The state is that of `ode_net` on images of 28 pixels, rk4 its solver. A step is forward,
backward and AdamW; how the two are timed, `duel` says. A ratio above 1 is the solver's way taking longer.

    python benchmarks/ode.py
    python benchmarks/ode.py --steps 4 64 --batch 32 --seconds 60 --json
"""

import argparse
import json
from typing import Any

import torch
from duel import Duel, fight
from torch import Tensor

from manyviews.nets.counting import kept
from manyviews.nets.ode import Change, ODEBlock, Solver
from nets import training

WIDTH, SIDE = 64, 6


def both_ways(steps: int, z: Tensor, seconds: float) -> dict[str, Any]:
    ways = [ODEBlock(Change(WIDTH), Solver("rk4", steps=steps), adjoint=adjoint) for adjoint in (True, False)]
    adjoint, solver = (kept(way, z) for way in ways)
    steps_taken = [training(way, lambda net: net(z).square().mean()) for way in ways]
    duel = Duel(*steps_taken, str(list(z.shape)), sides=("adjoint", "solver"))
    return {"adjoint bytes": adjoint, "solver bytes": solver, **fight(duel, seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 16, 64], help="of rk4")
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--seconds", type=float, default=40, help="at most, for the turns of one pair")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    torch.manual_seed(0)
    z = torch.randn(args.batch, WIDTH, SIDE, SIDE, requires_grad=True)
    found: dict[int, dict[str, Any]] = {}
    if not args.json:
        print(f"{torch.get_num_threads()} threads, states {list(z.shape)}; kept in KiB, a step in ms")
        print(
            "steps  kept by the adjoint  through the solver  step by the adjoint  through the solver  ratio"
        )
    for steps in args.steps:
        found[steps] = row = both_ways(steps, z, args.seconds)
        if not args.json:
            print(
                f"{steps:5}  {row['adjoint bytes'] / 1024:19,.1f}  {row['solver bytes'] / 1024:18,.1f}  "
                f"{row['adjoint ms']:19,.0f}  {row['solver ms']:18,.0f}  "
                f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
                flush=True,
            )
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), **found}))


if __name__ == "__main__":
    main()
