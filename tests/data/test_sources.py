"""From whatever the user has to an image set: names, arrays, torch data sets, the hub."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import manyviews
from manyviews.data import in_memory, open_data
from manyviews.errors import ManyviewsError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 6, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)


def pixels_of(source: Any) -> np.ndarray:
    data = open_data(source)
    assert data.values is not None and data.values.dtype == torch.uint8 and len(data) == len(data.values)
    return data.values.numpy()


def test_grey_is_repeated():
    assert np.array_equal(pixels_of(GREY), np.stack([GREY] * 3, 1))
    assert np.array_equal(pixels_of(GREY[..., None]), np.stack([GREY] * 3, 1))
    assert np.array_equal(pixels_of(torch.from_numpy(GREY)[:, None]), np.stack([GREY] * 3, 1))


def test_channels_last_and_first():
    first = RGB.transpose(0, 3, 1, 2)
    assert np.array_equal(pixels_of(RGB), first)
    assert np.array_equal(pixels_of(first), first)
    assert np.array_equal(pixels_of(torch.from_numpy(RGB)), first)


def test_ambiguous_channels_follow_the_habit_of_the_library():
    tiny = RNG.integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    assert pixels_of(tiny).shape == (2, 3, 3, 4)
    assert pixels_of(torch.from_numpy(tiny)).shape == (2, 3, 4, 3)


def test_alpha_is_laid_on_white():
    rgba = np.zeros((1, 1, 3, 4), np.uint8)
    rgba[..., 3] = (0, 128, 255)
    assert pixels_of(rgba)[0, 0, 0].tolist() == [255, 127, 0]


@given(st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.int16, ">u2", bool]))
def test_other_number_types(dtype: Any):
    kind = np.dtype(dtype).kind
    given_ = {"f": GREY / 255, "b": GREY > 127}.get(kind, GREY).astype(dtype)
    expected = (GREY > 127) * np.uint8(255) if kind == "b" else GREY
    assert np.array_equal(pixels_of(given_)[:, 0], expected)


def test_read_only_arrays_are_fine():
    frozen = GREY.copy()
    frozen.setflags(write=False)
    assert np.array_equal(pixels_of(frozen)[:, 0], GREY)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (GREY.astype(np.float32), r"Pixels are floats in \[0, 1\]; these go from"),
        (np.full((1, 2, 2), np.nan), r"Pixels are floats in \[0, 1\]"),
        (GREY.astype(np.int32) * 300, r"Pixels are integers in 0\.\.255; these go from"),
        (GREY[0], r"taken as sounds, .* not uint8; images are \[N, H, W\] or have channels"),
        (GREY[:0], r"is not empty; this one has \[0, 6, 7\]"),
        (np.zeros((2, 5, 5, 5), np.uint8), "have no axis of 1, 3 or 4 channels"),
        (np.array([[["a"]]]), "holds numbers, not <U1"),
    ],
)
def test_arrays_that_are_not_images(array: np.ndarray, sentence: str):
    with pytest.raises(ManyviewsError, match=sentence):
        open_data(array)


def test_labels_of_arrays():
    data = open_data((GREY, [0, 2, 0, 1, 2]))
    assert data.labels is not None and data.labels.tolist() == [0, 2, 0, 1, 2]
    assert data.labels.dtype == torch.long and data.classes == ("0", "1", "2")
    data = open_data((GREY, np.array(["cat", "ant", "cat", "ant", "bee"])))
    assert data.labels is not None and data.labels.tolist() == [2, 0, 2, 0, 1]
    assert data.classes == ("ant", "bee", "cat")
    with pytest.raises(ManyviewsError, match=r"There are 5 images, but the labels have the shape \[4\]"):
        open_data((GREY, [0, 1, 2, 3]))
    with pytest.raises(ManyviewsError, match="Labels are integers from 0 upwards, or strings"):
        open_data((GREY, [0, 1, 2, 3, -1]))
    with pytest.raises(ManyviewsError, match="Labels are integers from 0 upwards, or strings"):
        open_data((GREY, [0.5] * 5))


class Photos(Dataset[Any]):
    """A map-style data set of Pillow images; the third is damaged on wish."""

    classes = ("ant", "bee", "cat")

    def __init__(self, targets: bool, broken: bool = False):
        if targets:
            self.targets = [0, 1, 2, 0, 1]
        self.broken = broken

    def __len__(self) -> int:
        return 5

    def __getitem__(self, item: int) -> Any:
        if self.broken and item == 2:
            raise OSError("image file is truncated")
        return Image.fromarray(RGB[item]), [0, 1, 2, 0, 1][item]


@pytest.mark.parametrize("targets", [True, False])
def test_torch_datasets_of_pillow_images(targets: bool):
    data = open_data(Photos(targets))
    assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 0, 1]
    assert data.classes == ("ant", "bee", "cat") and data.values is None
    assert np.array_equal(data.read(4).numpy(), RGB[4].transpose(2, 0, 1))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from (Image.fromarray(image) for image in RGB)


class LongStream(Stream):
    """Says how many items it has, and yet gives them in its own order alone."""

    def __len__(self) -> int:
        return 5


class Endless(Dataset[Any]):
    def __getitem__(self, item: int) -> Any:
        return Image.fromarray(RGB[item % 5])


@pytest.mark.parametrize("kind", [Stream, LongStream, Endless])
def test_a_stream_has_no_length_for_a_memory_bank(kind: type[Dataset[Any]], tmp_path: Path):
    said = f"need a data set that has a length and gives its items by number, which {kind.__name__} does not"
    with pytest.raises(ManyviewsError, match=said):
        manyviews.pretrain("instdisc", kind(), out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_torch_dataset_without_items_is_refused():
    with pytest.raises(ManyviewsError, match="TensorDataset has no items"):
        open_data(TensorDataset(torch.zeros(0, 3, 4, 4)))


def test_torch_datasets_of_tensors_and_subsets():
    images = torch.from_numpy(RGB).permute(0, 3, 1, 2)
    whole = TensorDataset(images, torch.tensor([1, 0, 1, 0, 1]))
    data = open_data(Subset(whole, [4, 1]))
    assert data.labels is not None and data.labels.tolist() == [1, 0]
    assert torch.equal(data.read(0), images[4])
    unlabelled = open_data(TensorDataset(images.float() / 255))
    assert unlabelled.labels is None and torch.equal(unlabelled.read(2), images[2])


def test_items_that_cannot_be_read_are_named_and_skipped():
    data = open_data(Photos(targets=True, broken=True)).resident(6)
    assert len(data) == 4 and data.labels is not None and data.labels.tolist() == [0, 1, 0, 1]
    assert str(data.skipped).startswith(
        "Skipped 1 unreadable image: Item 2 of Photos cannot be read: image file"
    )


def test_items_that_are_not_images():
    with pytest.raises(
        ManyviewsError, match=r"Item 1 of TensorDataset cannot be used: it is a Tensor of shape \[2\]"
    ):
        open_data(TensorDataset(torch.zeros(3, 2))).read(1)


@pytest.mark.parametrize("source", [12, None, {"a": 1}, {1, 2}, [], [1, 2]])
def test_sources_that_are_nothing(source: Any):
    with pytest.raises(ManyviewsError, match="Data is a name, a path, an array, a pair"):
        open_data(source)


def test_an_image_set_is_itself():
    data = in_memory("mine", torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None, None)
    assert open_data(data) is data


def test_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path / "root"))
    with pytest.raises(
        ManyviewsError, match=r"no folder called 'cifar1O'; did you mean cifar10.*as in \./cifar1O/\."
    ):
        open_data("cifar1O")
    with pytest.raises(ManyviewsError, match="sets known by name: world, cifar10, cifar100, mnist"):
        open_data("qqqqqq")


def test_size_brings_files_into_memory(tmp_path: Path):
    for i in range(3):
        Image.fromarray(RGB[i]).resize((20 + i, 30)).save(tmp_path / f"{i}.png")
    assert open_data(tmp_path).values is None
    data = open_data(tmp_path, size=8)
    assert data.values is not None and data.values.shape == (3, 3, 8, 8)


def test_the_world_is_drawn_at_the_size():
    data = open_data("world", split="test", size=16)
    assert data.read(0).shape == (3, 16, 16) and data.labels is not None and data.classes is not None


def test_the_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ManyviewsError, match=r"hf:beans needs the datasets library: .* pip install 'manyviews\[hub\]'"
    ):
        open_data("hf:beans")


class FakeTable:
    """What this package uses of a table of the datasets library."""

    def __init__(self, features: dict[str, Any]):
        self.features = features

    def __len__(self) -> int:
        return 5

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return [0, 1, 0, 1, 1]
        return {"img": Image.fromarray(RGB[key]), "label": [0, 1, 0, 1, 1][key]}


def test_the_hub(monkeypatch: pytest.MonkeyPatch):
    """Against a stand-in for the library, as tests have no network."""
    asked = []

    class Picture: ...

    class Label(SimpleNamespace): ...

    def load_dataset(name: str, config: str | None, *, split: str) -> FakeTable:
        asked.append((name, config, split))
        if name == "nowhere":
            raise ConnectionError("no network")
        words = {"text": object()}
        return FakeTable(
            words if name == "words" else {"img": Picture(), "label": Label(names=["ant", "bee"])}
        )

    library = ModuleType("datasets")
    vars(library).update(Image=Picture, ClassLabel=Label, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", library)
    data = open_data("hf:someone/things@small", split="test")
    assert asked == [("someone/things", "small", "test")]
    assert (
        data.classes == ("ant", "bee") and data.labels is not None and data.labels.tolist() == [0, 1, 0, 1, 1]
    )
    assert np.array_equal(data.read(3).numpy(), RGB[3].transpose(2, 0, 1))
    with pytest.raises(ManyviewsError, match="hf:nowhere cannot be had from the hub: no network"):
        open_data("hf:nowhere")
    with pytest.raises(ManyviewsError, match="hf:words has no column of images: it has text"):
        open_data("hf:words")


class Rows:
    """A table of a few images with one column beside them."""

    def __init__(self, picture: Any, column: str, feature: Any, values: list[Any]):
        self.features, self.column, self.values = {"img": picture, column: feature}, column, values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: str) -> list[Any]:
        return self.values


@pytest.mark.parametrize(
    ("column", "dtype", "splits", "classes", "labels"),
    [
        ("label", "int64", {"train": [10, 2, 2], "test": [3, 2]}, ("2", "3", "10"), {"train": [2, 0, 0], "test": [1, 0]}),
        ("label", "int64", {"train": [1, 0], "test": [-1, -1]}, ("0", "1"), {"train": [1, 0], "test": None}),
        ("label", "int8", {"train": [1, -1, 1]}, ("-1", "1"), {"train": [1, 0, 1]}),
        ("Category", "string", {"train": ["owl", "ant"], "test": ["bee"]}, ("ant", "bee", "owl"),
         {"train": [2, 0], "test": [1]}),
        ("target", "bool", {"train": [True, False]}, ("false", "true"), {"train": [1, 0]}),
        ("target", "float32", {"train": [0.5, 0.1]}, None, {"train": None}),
        ("width", "int32", {"train": [64, 32]}, None, {"train": None}),
    ],
)  # fmt: skip
def test_whole_numbers_and_words_are_labels_of_the_hub(
    column: str, dtype: str, splits: dict, classes: Any, labels: dict, monkeypatch: pytest.MonkeyPatch
):
    class Picture: ...

    def load_dataset(name: str, config: str | None, *, split: str | None = None) -> Any:
        tables = {
            key: Rows(Picture(), column, SimpleNamespace(dtype=dtype), rows) for key, rows in splits.items()
        }
        return tables if split is None else tables[split]

    library = ModuleType("datasets")
    vars(library).update(Image=Picture, ClassLabel=type("Label", (), {}), load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", library)
    for split, expected in labels.items():
        data = open_data("hf:things", split=split)
        assert data.classes == (None if expected is None else classes)
        assert (None if data.labels is None else data.labels.tolist()) == expected


def test_a_label_that_is_missing_among_others_is_refused(monkeypatch: pytest.MonkeyPatch):
    class Picture: ...

    table = Rows(Picture(), "label", SimpleNamespace(dtype="string"), ["ant", None, "bee"])
    library = ModuleType("datasets")
    load = {"load_dataset": lambda *_, split=None: {"train": table} if split is None else table}
    vars(library).update(Image=Picture, ClassLabel=type("Label", (), {}), **load)
    monkeypatch.setitem(sys.modules, "datasets", library)
    with pytest.raises(ManyviewsError, match="hf:things has items without a label in its split train"):
        open_data("hf:things")


def test_classes_of_the_hub_may_be_called_nothing_or_alike(monkeypatch: pytest.MonkeyPatch):
    class Picture: ...

    class Label(SimpleNamespace): ...

    table = Rows(Picture(), "label", Label(names=["", "bee", "bee"]), [0, 2, 1, 0])
    library = ModuleType("datasets")
    vars(library).update(Image=Picture, ClassLabel=Label, load_dataset=lambda *_, split: table)
    monkeypatch.setitem(sys.modules, "datasets", library)
    data = open_data("hf:things")
    assert data.classes == ("", "bee", "bee")
    assert data.labels is not None and data.labels.tolist() == [0, 2, 1, 0]


class Records(Dataset[Any]):
    """Items as dicts, as the hub's library has them."""

    def __init__(self, labels: list[Any], image: str = "image", features: Any = None, broken: int = -1):
        self.labels, self.image, self.broken = labels, image, broken
        if features is not None:
            self.features = features

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: int) -> Any:
        if item == self.broken:
            raise RuntimeError("Image data is corrupt.")
        return {"id": item, self.image: Image.fromarray(RGB[item % 5]), "label": self.labels[item]}


def test_items_that_are_dicts():
    names = SimpleNamespace(names=["ant", "bee", "cat"])
    data = open_data(Records([2, 0, 1], features={"label": names}))
    assert data.labels is not None and data.labels.tolist() == [2, 0, 1]
    assert data.classes == ("ant", "bee", "cat") and np.array_equal(data.read(1)[0].numpy(), RGB[1][..., 0])
    with pytest.raises(
        ManyviewsError, match="a dict of id, photo, label, and its image is to be called image or img"
    ):
        open_data(Records([0, 1], image="photo")).read(0)


def test_an_item_that_cannot_be_read_does_not_stop_the_search_for_labels():
    data = open_data(Records(["cat", "ant", "cat", "ant"], broken=0))
    assert data.classes == ("ant", "cat")
    whole = data.resident(6)
    assert whole.labels is not None and whole.labels.tolist() == [0, 1, 0]
    assert "Item 0 of Records cannot be read: Image data is corrupt." in str(whole.skipped)


@pytest.mark.parametrize("labels", [[-1] * 4, [0.5, 1.0, 0.0, 2.5], [None] * 4, [[1], [0], [1], [1]]])
def test_what_tells_no_classes_apart_is_no_label(labels: list[Any]):
    assert open_data(Records(labels)).labels is None


def test_classes_may_be_named_by_an_array_and_be_more_than_there_are_images():
    data = Records([8000, 3])
    data.classes = np.array([f"species {number}" for number in range(8142)])  # pyright: ignore[reportAttributeAccessIssue]
    opened = open_data(data)
    assert opened.labels is not None and opened.labels.tolist() == [8000, 3]
    assert opened.classes is not None and opened.classes[8000] == "species 8000"


def test_labels_far_beyond_the_number_of_images_are_refused():
    with pytest.raises(
        ManyviewsError, match="Labels go up to 1000000007 for 5 images: number the classes from 0"
    ):
        open_data((GREY, [0, 1, 2, 3, 1_000_000_007]))
