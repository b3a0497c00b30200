"""Images that cannot be read, on several devices: what any of them met all know, and together it may be too much."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from manyviews import distributed, plan
from manyviews.data import ItemSet, Unreadable, in_memory
from manyviews.errors import ManyviewsError
from manyviews.method import Spec, find
from manyviews.nets import net_factory
from manyviews.training.loop import Loop

RANKS, ITEMS = 2, 400


def damaged(bad: frozenset[int]) -> ItemSet:
    """Pictures on disk, some of which cannot be read."""
    pixels = torch.randint(0, 256, (ITEMS, 3, 16, 16), dtype=torch.uint8)
    whole = in_memory("photos", pixels, None, None)

    def read(item: int) -> torch.Tensor:
        if item in bad:
            raise Unreadable(f"Item {item} is damaged.")
        return pixels[item]

    return ItemSet("photos", whole.names, None, None, None, read)


def loop(bad: frozenset[int], steps: int) -> Loop:
    changes = {"size": 16, "batch": 40, "budget": f"{steps}steps", "net": "cifar_resnet8"}
    config, recipe = plan.changed(find("simsiam"), *plan.base(find("simsiam"), "world"), changes)
    method = find("simsiam").method(config, net_factory(recipe.net, 16), Spec(items=ITEMS, size=16))  # pyright: ignore[reportCallIssue]
    return Loop(method, damaged(bad), recipe, workers=0)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    found: dict[str, Any] = {}
    few = loop(frozenset({3, 77, 200, 311}), 10)  # 1% of them
    few.run()
    found["few"], found["state"] = sorted(few.skipped.files), sorted(few.state()["skipped"])
    again = loop(frozenset(), 12)
    again.restore(few.state() | {"step": 10})
    again.run()
    found["after"] = sorted(again.skipped.files)
    many = loop(frozenset({3, 77, 150, 200, 311, 333}), 10)
    try:
        many.run()
    except ManyviewsError as error:
        found["many"] = str(error)
    found["of many"] = len(many.skipped.files)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    dist.destroy_process_group()


def test_what_any_device_cannot_read_all_know(tmp_path: Path) -> None:
    mp.spawn(process, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    names = [f"photos/{item:06d}" for item in (3, 77, 200, 311)]
    for found in ranks:
        assert found["few"] == found["state"] == found["after"] == names
        assert "of the 400 images of photos cannot be read" in found["many"] and found["of many"] > 4


def test_one_device_stops_where_it_is_too_much() -> None:
    with pytest.raises(ManyviewsError, match="5 of the 400 images of photos cannot be read"):
        loop(frozenset({3, 77, 150, 200, 311}), 10).run()
