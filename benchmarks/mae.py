"""MAE: what hiding patches saves the encoder, and a training step against transformers' ViT-MAE.

`encoder`: forward and backward of the visible quarter, as a share of the time that all patches take.
`step`: forward, backward and AdamW; above 1 is transformers taking longer. Both sides have the same net, decoder and
batch, and draw their masks by themselves. How all of it is timed, `duel` says.

    python benchmarks/mae.py
    python benchmarks/mae.py --only "step vit_ti16" --seconds 120 --json
"""

import argparse
import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from duel import Duel, fight, told

from manyviews import nets
from manyviews.method import Batch, Spec, find
from manyviews.nets.vit import ViT
from manyviews.runs import net_factory
from nets import training

SIZE, RATIO = 224, 0.75
DECODERS = {"vit_ti16": (192, 4, 3), "vit_b16": (512, 8, 16)}  # width, depth, heads; B's is the paper's
BATCH = {"vit_ti16": 16, "vit_b16": 4}


def encoder(name: str, seconds: float) -> dict[str, object]:
    vit, batch = nets.build(f"{name}/sincos2d", size=SIZE), BATCH[name]
    assert isinstance(vit, ViT)
    x = torch.randn(batch, 3, SIZE, SIZE)
    N = vit.cells[0] * vit.cells[1]

    def read(K: int | None) -> None:
        keep_BK = None if K is None else torch.rand(batch, N).argsort(1)[:, :K]
        vit.zero_grad()
        vit.encode(vit.patches(x), vit.cells, keep_BK).square().mean().backward()

    whole, quarter = partial(read, None), partial(read, int(N * (1 - RATIO)))
    sides = ("all patches", "a quarter")
    return fight(Duel(whole, quarter, f"{batch} images of {SIZE} pixels", sides=sides), seconds)


def step(name: str, seconds: float) -> dict[str, object]:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    (width, depth, heads), batch = DECODERS[name], BATCH[name]
    config = find("mae").config(decoder_width=width, decoder_depth=depth, decoder_heads=heads, ratio=RATIO)
    ours: Any = find("mae").method(
        config, net_factory(f"{name}/sincos2d", SIZE), Spec(items=batch, size=SIZE)
    )  # pyright: ignore[reportCallIssue]
    vit = ours.encoder
    theirs = ViTMAEForPreTraining(
        ViTMAEConfig(
            hidden_size=vit.width, num_hidden_layers=len(vit.blocks),
            num_attention_heads=vit.blocks[0].attention.heads, intermediate_size=4 * vit.width,
            image_size=SIZE, patch_size=vit.patch_size, mask_ratio=RATIO, norm_pix_loss=config.normalise,
            decoder_hidden_size=width, decoder_num_hidden_layers=depth, decoder_num_attention_heads=heads,
            decoder_intermediate_size=4 * width,
        )
    )  # fmt: skip
    counts = [sum(w.numel() for w in net.parameters() if w.requires_grad) for net in (ours, theirs)]
    assert counts[0] == counts[1], f"not the same net: {counts} parameters"
    x, index = torch.randn(batch, 3, SIZE, SIZE), torch.arange(batch)
    steps = [
        training(ours, lambda _: ours.loss(Batch([x], index), 0.5).loss),
        training(theirs, lambda _: theirs(x).loss),
    ]
    return fight(Duel(*steps, f"{batch} images of {SIZE} pixels"), seconds)


RUNS: dict[str, Callable[[float], dict[str, object]]] = {
    f"{what.__name__} {name}": partial(what, name) for what in (encoder, step) for name in DECODERS
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60, help="at most, for the turns of one pair")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")  # of the peer
    torch.manual_seed(0)
    found: dict[str, dict[str, Any]] = {}
    if not args.json:
        print(f"{torch.get_num_threads()} threads")
    for name in args.only:
        found[name] = result = RUNS[name](args.seconds)
        if not args.json:
            print(told(name, result), flush=True)
    if args.json:
        print(json.dumps({"threads": torch.get_num_threads(), **found}))


if __name__ == "__main__":
    main()
