"""A character model on Tiny Shakespeare for so long: nats a character on text that it never saw.

    python benchmarks/characters.py gpt --net small_gpt --budget 15m --set size=128
    python benchmarks/characters.py char_rnn --net char_lstm --budget 15m

What is judged is the validation split, in windows of the training length, each of which begins without a context: the mean
over all characters but the first of each window. Prints one JSON object.
"""

import argparse
import ast
import json
import tempfile
from pathlib import Path

import torch

from manyviews.judging import held_out
from manyviews.learn import pretrain
from manyviews.machine import about_machine
from manyviews.method import Batch
from manyviews.nets.encoder import judging

AT_ONCE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=("gpt", "char_rnn"))
    parser.add_argument("--net", required=True)
    parser.add_argument("--data", default="tinyshakespeare")
    parser.add_argument("--budget", default="15m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    ask = parser.parse_args()
    torch.set_num_threads(ask.threads)
    changes = {name: ast.literal_eval(value) for name, _, value in (word.partition("=") for word in ask.set)}
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(
            ask.method,
            ask.data,
            out=Path(folder) / "run",
            net=ask.net,
            budget=ask.budget,
            baselines=(),
            **changes,
        )
        unseen = held_out(ask.data, run.size, None, reading=run.reading)
        assert unseen is not None and unseen.values is not None
        method = run.build(unseen)
        method.encoder.load_state_dict(run.encoder.state_dict())
        views, total = method.views(), 0.0
        with judging(method):
            for rows in torch.arange(len(unseen)).split(AT_ONCE):
                seen = views(unseen.values[rows], views.draw(len(rows), "characters"))
                total += len(rows) * float(method.loss(Batch(seen, rows), 1.0).loss)
        last = run.metrics()[-1]
        written = (run.path / "written.txt").read_text()[:300]
    found = {
        "nats": total / len(unseen),
        "windows": len(unseen),
        "parameters": sum(p.numel() for p in method.encoder.parameters()),
        "steps": last["step"],
        "characters": last["items"] * run.size,
        "seconds": last["seconds"],
        "train_loss": last["loss"],
        "written": written,
        "settings": run.settings["recipe"],
        "threads": ask.threads,
        **about_machine(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
