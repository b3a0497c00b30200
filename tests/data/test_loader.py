"""Batches: what a step holds depends on the seed and the step alone, whoever loads it."""

import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from manyviews.data import Drawn, ItemSet, Skipped, batches, in_memory, open_data, steps_per_epoch
from manyviews.data.loader import SHARE, enough
from manyviews.errors import ManyviewsError
from manyviews.views import View, Views

pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create"
)  # more workers than cores, on purpose

VIEWS = Views(View(size=12, crop=(0.2, 1.0)), View(size=12, crop=(0.2, 1.0)), View(size=6, crop=(0.1, 0.4)))


def numbered(count: int) -> ItemSet:
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).contiguous()
    return in_memory("numbered", pixels, torch.arange(count), tuple(str(i) for i in range(count)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four images of several sizes in three class folders."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(24):
        (folder / "abc"[i % 3]).mkdir(exist_ok=True)
        shape = (int(rng.integers(10, 60)), int(rng.integers(10, 60)), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(
            folder / "abc"[i % 3] / f"{i:02d}.jpg"
        )
    return folder


def crops_of(drawn: Drawn) -> list[Tensor]:
    assert drawn.crops is not None and drawn.image is None
    return drawn.crops


def same(a: Drawn, b: Drawn) -> bool:
    tensors = [(a.index, b.index), *zip(a.crops or [], b.crops or [], strict=True)]
    tensors += [
        (x, y) for x, y in ((a.image, b.image), (a.label, b.label)) if x is not None and y is not None
    ]
    return (a.step, a.epoch) == (b.step, b.epoch) and all(torch.equal(x, y) for x, y in tensors)


@given(items=st.integers(1, 60), batch=st.integers(1, 60), seed=st.integers(0, 99))
def test_every_pass_is_a_permutation_cut_into_batches(items: int, batch: int, seed: int):
    batch = min(batch, items)
    steps = steps_per_epoch(items, batch)
    passes = []
    for epoch in range(2):
        drawn = list(islice(batches(numbered(items), batch=batch, seed=seed, step=epoch * steps), steps))
        assert [one.step for one in drawn] == list(range(epoch * steps, (epoch + 1) * steps))
        assert {one.epoch for one in drawn} == {epoch}
        passes.append(torch.cat([one.index for one in drawn]).tolist())
        assert len(set(passes[-1])) == steps * batch <= items
        for one in drawn:
            assert one.image is not None and torch.equal(one.image[:, 0, 0, 0].long(), one.index)
            assert one.label is not None and torch.equal(one.label, one.index)
    if items > 12:
        assert passes[0] != passes[1]


def test_the_order_depends_on_the_seed():
    first, second = (next(batches(numbered(50), batch=50, seed=seed)).index for seed in (0, 1))
    assert not torch.equal(first, second) and torch.equal(first.sort().values, second.sort().values)


@settings(max_examples=10)
@given(start=st.integers(0, 30))
def test_resident_batches_from_a_step_are_the_tail(start: int):
    whole = list(islice(batches(numbered(23), batch=5, seed=3), 36))
    tail = list(islice(batches(numbered(23), batch=5, seed=3, step=start), 6))
    assert all(same(a, b) for a, b in zip(whole[start : start + 6], tail, strict=True))


@pytest.mark.parametrize("start", [1, 3, 7])
def test_streamed_batches_from_a_step_are_the_tail(photos: Path, start: int):
    data = open_data(photos)
    whole = list(islice(batches(data, batch=7, seed=3, views=VIEWS), 9))
    tail = list(islice(batches(data, batch=7, seed=3, views=VIEWS, step=start), 2))
    assert all(same(a, b) for a, b in zip(whole[start : start + 2], tail, strict=True))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(photos: Path, workers: int):
    data = open_data(photos)
    alone = list(islice(batches(data, batch=8, seed=1, views=VIEWS), 5))
    helped = list(islice(batches(data, batch=8, seed=1, views=VIEWS, workers=workers), 5))
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize("world", [2, 3, 6])
def test_ranks_share_the_global_batch(photos: Path, world: int):
    for data, views in ((open_data(photos), VIEWS), (numbered(24), None)):
        whole = next(batches(data, batch=12, seed=5, step=3, views=views))
        parts = [
            next(batches(data, batch=12, seed=5, step=3, views=views, rank=rank, world=world))
            for rank in range(world)
        ]
        assert torch.equal(torch.cat([part.index for part in parts]), whole.index)
        if whole.crops is not None:
            for number, crop in enumerate(whole.crops):
                assert torch.equal(torch.cat([crops_of(part)[number] for part in parts]), crop)


def test_crops_are_what_the_views_draw(photos: Path):
    data = open_data(photos)
    drawn = next(batches(data, batch=6, seed=2, step=4, views=VIEWS))
    draws = VIEWS.draw(6, 2, "views", 4)
    for row, item in enumerate(drawn.index.tolist()):
        for crop, expected in zip(crops_of(drawn), VIEWS.crop(data.read(item), draws, row), strict=True):
            assert torch.equal(crop[row], expected)
    assert drawn.label is not None and data.labels is not None
    assert torch.equal(drawn.label, data.labels[drawn.index])


def test_large_jpegs_are_decoded_no_larger_than_the_crops_need(tmp_path: Path):
    Image.new("RGB", (1600, 1200)).save(tmp_path / "a.jpg")
    seen = []

    class Watched(Views):
        def crop(self, image: Tensor, draws: object, row: int) -> list[Tensor]:
            seen.append(tuple(image.shape))
            return super().crop(image, draws, row)  # pyright: ignore[reportArgumentType]

    next(batches(open_data(tmp_path), batch=1, seed=0, views=Watched(View(size=32, crop=(0.25, 1.0)))))
    assert enough(Views(View(size=32, crop=(0.25, 1.0)))) == 74  # 32 / sqrt(0.25 * 3 / 4), rounded up
    assert seen == [(3, 150, 200)]


def test_loading_leaves_the_global_generator_alone(photos: Path):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    next(batches(open_data(photos), batch=4, seed=0, views=VIEWS, workers=1))
    open_data(photos).resident(8)
    next(batches(numbered(9), batch=4, seed=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_ctrl_c_does_not_stop_the_workers(photos: Path):
    """The main process finishes its step first, for which it may still need a batch."""
    before = set(multiprocessing.active_children())
    stream = batches(open_data(photos), batch=4, seed=0, views=VIEWS, workers=2)
    next(stream)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    for worker in workers:
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
    assert [drawn.step for drawn in islice(stream, 20)] == list(range(1, 21))


def damaged_folder(folder: Path, count: int, broken: set[int]) -> ItemSet:
    for i in range(count):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / f"{i:03d}.png")
        if i in broken:
            (folder / f"{i:03d}.png").write_bytes(b"no image")
    return open_data(folder)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named_counted_and_replaced(tmp_path: Path, workers: int):
    data = damaged_folder(tmp_path, 20, {4, 11})
    views, skipped = Views(View(size=4, crop=None, flip=0)), Skipped()
    drawn = list(islice(batches(data, batch=10, seed=0, views=views, workers=workers, skipped=skipped), 4))
    assert {Path(name).name for name in skipped.files} == {"004.png", "011.png"}
    assert skipped.seen == 40 and data.skipped.files == {}
    for one in drawn:
        assert len(one.index) == 10 and not {4, 11} & set(one.index.tolist())
        assert crops_of(one)[0][:, 0, 0, 0].tolist() == one.index.tolist()
    again = list(islice(batches(data, batch=10, seed=0, step=2, views=views), 2))
    assert all(same(a, b) for a, b in zip(drawn[2:], again, strict=True))
    assert len(data.skipped.files) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_more_than_one_percent_stops(tmp_path: Path, workers: int):
    data = damaged_folder(tmp_path, 40, {4, 11, 30})
    with pytest.raises(ManyviewsError, match=r"^3 of the 40 images of .* more than 1% are too many to skip"):
        list(islice(batches(data, batch=10, seed=0, views=VIEWS, workers=workers), 8))


def test_all_that_cannot_be_read_are_named(tmp_path: Path):
    bad = set(range(0, 300, 60))
    with pytest.raises(ManyviewsError, match=r"^5 of the 300 images of ") as stopped:
        damaged_folder(tmp_path, 300, bad).resident(8)
    assert all(f"{item:03d}.png" in str(stopped.value) for item in bad) and "The others: " in str(
        stopped.value
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_stops_at_once(tmp_path: Path, workers: int):
    data = damaged_folder(tmp_path, 2, {0, 1})
    with pytest.raises(ManyviewsError, match=r"^2 of the 2 images of "):
        next(batches(data, batch=1, seed=0, views=VIEWS, workers=workers))


def test_a_batch_larger_than_the_data():
    with pytest.raises(
        ManyviewsError, match="A batch of 64 is larger than the data: there are 23 items, so at most"
    ):
        batches(numbered(23), batch=64, seed=0)
    with pytest.raises(ManyviewsError, match="A batch has at least 1 item, not 0"):
        batches(numbered(23), batch=0, seed=0)


def test_a_batch_that_does_not_divide():
    with pytest.raises(ManyviewsError, match="A batch of 10 cannot be shared evenly by 4 devices"):
        batches(numbered(23), batch=10, seed=0, world=4)


def test_a_set_on_disk_needs_views(photos: Path):
    with pytest.raises(
        ManyviewsError, match="is not in memory, and without views its images have no common size"
    ):
        batches(open_data(photos), batch=4, seed=0)


def test_a_set_that_a_device_has_no_room_for_is_sent_batch_by_batch(monkeypatch: pytest.MonkeyPatch):
    usual = list(islice(batches(numbered(24), batch=8, seed=1), 4))
    sent, to = list[Tensor](), Tensor.to

    def watched(self: Tensor, *args: object, **how: object) -> Tensor:
        if self.ndim == 4:
            sent.append(self)
        return to(self, *args, **how)  # pyright: ignore[reportCallIssue,reportArgumentType]

    monkeypatch.setattr("manyviews.data.loader._free", lambda _: 0)
    monkeypatch.setattr(Tensor, "to", watched)
    beside = list(islice(batches(numbered(24), batch=8, seed=1, device="meta"), 4))
    for here, there, image in zip(usual, beside, sent, strict=True):
        assert there.image is not None and there.image.device.type == "meta"
        assert torch.equal(here.index, there.index) and here.image is not None
        assert torch.equal(here.image, image)


@pytest.mark.parametrize(("room", "rows"), [(1.1, 24), (0.9, 8)])
def test_what_is_asked_for_beside_images_takes_room_too(
    monkeypatch: pytest.MonkeyPatch, room: float, rows: int
):
    data = replace(numbered(24), senses={"depth": torch.zeros(24, 1, 2, 2, dtype=torch.uint8)})
    assert data.values is not None
    needed, sent, to = data.values.nbytes + data.senses["depth"].nbytes, set[int](), Tensor.to

    def watched(self: Tensor, *args: object, **how: object) -> Tensor:
        if self.ndim == 4:
            sent.add(len(self))
        return to(self, *args, **how)  # pyright: ignore[reportCallIssue,reportArgumentType]

    monkeypatch.setattr("manyviews.data.loader._free", lambda _: room * needed / SHARE)
    monkeypatch.setattr(Tensor, "to", watched)
    next(batches(data, batch=8, seed=1, device="meta", senses=["depth"]))
    assert sent == {8, rows}
