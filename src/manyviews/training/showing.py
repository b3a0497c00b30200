"""What a method can show when it has learned, written into its run.

Shapes   B images, R rows of C pictures, S their side; uint8 in [0, 255].
"""

import re
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from manyviews import distributed
from manyviews.data import ItemSet
from manyviews.files import replacing, write_text
from manyviews.method import Method
from manyviews.nets.encoder import judging
from manyviews.rng import generator, seed_of

ITEMS = 8  # that are shown
GAP, PAPER = 4, 252  # pixels between two pictures, and their grey
LEAST = 96  # pixels that a picture's side is enlarged to where it is smaller, by whole multiples


def show(method: Method, data: ItemSet, folder: Path, seed: int) -> None:
    """Write ``pictures/TITLE.png`` and ``written.txt``, as far as the method has something to show or to say."""
    device = next(method.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), judging(method):
        torch.manual_seed(seed_of(seed, "show"))
        shown = method.pictures(some(data, method.spec.size).to(device)) if data.kind == "images" else {}
        written = method.writes()
    if not distributed.is_main():  # all ranks draw, for what is drawn together; one writes
        return
    for title, sheet in shown.items():
        name = re.sub(r"[^\w %.,()=-]", "-", title)
        with replacing(folder / "pictures" / f"{name}.png") as file:
            Image.fromarray(table(sheet).permute(1, 2, 0).numpy()).save(file, "PNG")
    if written:
        write_text(folder / "written.txt", "\n\n".join(written) + "\n")


def some(data: ItemSet, size: int) -> Tensor:
    """A few items, always the same ones: uint8 ``[B, 3, H, W]``."""
    order = torch.randperm(len(data), generator=generator("shown", len(data)))[:ITEMS]
    chosen = data.subset(order.sort().values).resident(size)
    assert chosen.values is not None
    return chosen.values


def table(sheet_RC3SS: Tensor) -> Tensor:
    """Pictures in rows and columns, small ones enlarged without smoothing: one picture, uint8 ``[3, H, W]``."""
    times = max(1, LEAST // max(sheet_RC3SS.shape[-2:]))
    large = sheet_RC3SS.cpu().repeat_interleave(times, -1).repeat_interleave(times, -2)
    framed = torch.nn.functional.pad(large, (GAP, 0, GAP, 0), value=PAPER)
    rows = torch.cat(list(torch.cat(list(framed.unbind(1)), dim=-1)), dim=-2)
    return torch.nn.functional.pad(rows, (0, GAP, 0, GAP), value=PAPER)
