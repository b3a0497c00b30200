"""Sets in memory: subsets, canvases, splits, summaries, and what cannot be read."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from manyviews.data import ItemSet, Skipped, fits, in_memory, open_data, split_of, summary
from manyviews.errors import ManyviewsError

pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create"
)  # more workers than cores, on purpose


def numbered(count: int, labels: Tensor | None = None, side: int = 4) -> ItemSet:
    """Item i is filled with i."""
    pixels = (
        torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side).contiguous()
    )
    classes = None if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
    return in_memory("numbered", pixels, labels, classes)


def folder_of(path: Path, sizes: list[tuple[int, int]]) -> ItemSet:
    for i, (width, height) in enumerate(sizes):
        Image.new("RGB", (width, height), (i, 2 * i, 3 * i)).save(path / f"{i:03d}.png")
    return open_data(path)


def damage(data: ItemSet, *items: int) -> None:
    for item in items:
        Path(data.names[item]).write_bytes(b"no image")


def test_subset_keeps_everything_in_step(tmp_path: Path):
    labels = torch.tensor([0, 1, 2, 0, 1])
    for data in (numbered(5, labels), folder_of(tmp_path, [(4, 4)] * 5)):
        part = data.subset([3, 1])
        assert list(part.names) == [data.names[3], data.names[1]]
        assert [int(part.read(i)[0, 0, 0]) for i in range(2)] == [3, 1]
        assert [int(part.read_at(i, 2)[0, 0, 0]) for i in range(2)] == [3, 1]
        if data.labels is not None and part.labels is not None and part.values is not None:
            assert part.labels.tolist() == [0, 1] and part.values[:, 0, 0, 0].tolist() == [3, 1]


def test_sets_survive_pickling(tmp_path: Path):
    data = folder_of(tmp_path, [(4, 6)] * 3).subset([2, 0])
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again.read(0), data.read(0))


def test_resident_crops_the_centre_and_shrinks(tmp_path: Path):
    stripes = np.zeros((40, 120, 3), np.uint8)
    stripes[:, 40:80] = 200  # the centre square
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    Image.fromarray(stripes.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    data = open_data(tmp_path).resident(20)
    assert data.values is not None and data.values.shape == (2, 3, 20, 20)
    inner = data.values[..., 1:-1, 1:-1]
    assert (inner == 200).all()


def test_resident_resizes_as_pillow_does(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(noise).resize((32, 32), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    pixels = open_data(tmp_path).resident(32).values
    assert pixels is not None
    assert np.abs(pixels[0].numpy().astype(int) - expected).max() <= 1


def test_resident_keeps_small_squares_and_mixes_by_enlarging(tmp_path: Path):
    (tmp_path / "same").mkdir()
    (tmp_path / "mixed").mkdir()
    same = folder_of(tmp_path / "same", [(8, 8)] * 3).resident(32)
    assert same.values is not None and same.values.shape == (3, 3, 8, 8)
    mixed = folder_of(tmp_path / "mixed", [(8, 8), (1, 1), (99, 50)]).resident(32)
    assert mixed.values is not None and mixed.values.shape == (3, 3, 32, 32)
    assert mixed.values[2, :, 5, 5].tolist() == [2, 4, 6]


def test_resident_of_pixels():
    small = numbered(3, side=8)
    assert small.resident(32) is small
    shrunk = numbered(3, side=8).resident(4)
    assert shrunk.values is not None and shrunk.values.shape == (3, 3, 4, 4)
    assert shrunk.read(2).unique().tolist() == [2]
    wide = in_memory("wide", torch.zeros(2, 3, 5, 9, dtype=torch.uint8), None, None).resident(8)
    assert wide.values is not None and wide.values.shape == (2, 3, 5, 5)


@pytest.mark.parametrize("workers", [0, 2])
def test_resident_names_counts_and_leaves_out_what_cannot_be_read(tmp_path: Path, workers: int):
    data = folder_of(tmp_path, [(4, 4)] * 150)
    data.labels = torch.arange(150)
    damage(data, 20, 140)
    kept = data.resident(4, workers=workers)
    assert len(kept) == 148 and kept.labels is not None and kept.values is not None
    assert kept.labels.tolist() == [i for i in range(150) if i not in (20, 140)]
    assert kept.values[:, 0, 0, 0].tolist() == kept.labels.tolist()
    assert list(kept.skipped.files) == [data.names[20], data.names[140]] and kept.skipped.seen == 150
    assert "020.png is not an image of a known kind" in str(kept.skipped)


@pytest.mark.parametrize("workers", [0, 2])
def test_resident_stops_at_more_than_one_percent(tmp_path: Path, workers: int):
    data = folder_of(tmp_path, [(4, 4)] * 150)
    damage(data, 20, 90, 140)
    with pytest.raises(
        ManyviewsError, match=r"^3 of the 150 images of .* more than 1% .* .*020\.png is not .*140\.png"
    ):
        data.resident(4, workers=workers)


def test_a_set_that_cannot_be_read_at_all(tmp_path: Path):
    data = folder_of(tmp_path, [(4, 4)] * 2)
    damage(data, 0, 1)
    with pytest.raises(ManyviewsError, match="2 of the 2 images"):
        data.resident(4)


def test_skipped_counts_each_item_once():
    skipped = Skipped()
    for _ in range(5):
        skipped.miss("a.png", "a.png is damaged.")
    assert str(Skipped()) == "" and str(skipped) == "Skipped 1 unreadable image: a.png is damaged."
    skipped.check("photos", 10)
    assert skipped.as_dict() == {"count": 1, "files": {"a.png": "a.png is damaged."}}


@given(lost=st.integers(0, 40), items=st.integers(1, 3000))
def test_what_stops_a_run(lost: int, items: int):
    lost = min(lost, items)
    skipped = Skipped(files={str(i): f"{i} is damaged." for i in range(lost)})
    if lost == items or (lost >= 3 and lost > 0.01 * items):
        with pytest.raises(ManyviewsError, match=f"{lost} of the {items} images of photos cannot be read"):
            skipped.check("photos", items)
    else:
        skipped.check("photos", items)


def test_a_sample_may_miss_what_the_whole_may(tmp_path: Path):
    sample = numbered(1000).subset(range(100))
    sample.skipped.files.update({str(i): "" for i in range(10)})
    sample.skipped.check("sample", len(sample))
    again = sample.subset(range(20))
    again.skipped.files.update({str(i): "" for i in range(11)})
    with pytest.raises(ManyviewsError, match="11 of the 20 images"):
        again.skipped.check("sample", len(again))


def test_fits():
    assert fits(numbered(10, side=8), 8, limit_bytes=10 * 3 * 64)
    assert not fits(numbered(10, side=8), 8, limit_bytes=10 * 3 * 64 - 1)
    assert fits(numbered(10, side=8), 1000, limit_bytes=10 * 3 * 64)  # small squares stay small


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_split_of_is_stratified_and_depends_on_the_seed_alone(counts: list[int], fraction: float, seed: int):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    if len(labels) < 2:
        return
    data = numbered(len(labels), labels)
    train, test = split_of(data, fraction, seed)
    assert sorted([*train.names, *test.names]) == sorted(data.names)
    assert len(test) >= 1
    assert list(split_of(data, fraction, seed)[1].names) == list(test.names)
    assert test.labels is not None
    for label, count in enumerate(counts):
        if count > 1:
            set_aside = int((test.labels == label).sum())
            assert 1 <= set_aside < count and abs(set_aside - count * fraction) <= 1


def test_split_of_without_labels_and_of_too_little():
    train, test = split_of(numbered(20), 0.25, seed=1)
    assert len(train) == 15 and len(test) == 5
    assert list(split_of(numbered(20), 0.25, seed=2)[1].names) != list(test.names)
    with pytest.raises(ManyviewsError, match=r"numbered has 1 item\(s\): too few"):
        split_of(numbered(1), 0.5)
    with pytest.raises(ManyviewsError, match="must lie between 0 and 1, not 1"):
        split_of(numbered(3), 1.0)


def test_summary_changes_with_the_data_and_not_with_the_place(tmp_path: Path):
    digests = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        digests.append(summary(folder_of(tmp_path / place, [(4, 4)] * 3))["digest"])
    assert digests[0] == digests[1]
    labels = torch.tensor([0, 1, 0])
    whole = summary(numbered(3, labels))
    assert whole["items"] == 3 and whole["classes"] == ["0", "1"] and whole["shape"] == [3, 4, 4]
    changes: list[Callable[[], ItemSet]] = [
        lambda: numbered(3, torch.tensor([0, 1, 1])),
        lambda: numbered(4, torch.tensor([0, 1, 0, 0])),
        lambda: numbered(3, labels).subset([0, 2, 1]),
    ]
    others = [summary(change())["digest"] for change in changes]
    assert len({whole["digest"], *others}) == 4


def test_to_moves_the_pixels_only():
    data = numbered(3, torch.tensor([0, 1, 0])).to("meta")
    assert data.values is not None and data.values.device.type == "meta"
    assert data.labels is not None and data.labels.device.type == "cpu"
