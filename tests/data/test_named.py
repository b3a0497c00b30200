"""Named sets, from tiny files in their official formats."""

import gzip
import hashlib
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.data import named, open_data, unpickle
from manyviews.data.fetch import Remote, data_root, unpack
from manyviews.errors import ManyviewsError

RNG = np.random.default_rng(0)


def pickled(path: Path, value: Any, protocol: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))


def cifar10(root: Path) -> np.ndarray:
    pixels = RNG.integers(0, 256, (12, 3072), dtype=np.uint8)
    folder = root / "cifar-10-batches-py"
    for i in range(5):
        rows = {b"data": pixels[2 * i : 2 * i + 2], b"labels": [i, i + 1], b"filenames": [b"a", b"b"]}
        pickled(folder / f"data_batch_{i + 1}", rows)
    pickled(folder / "test_batch", {b"data": pixels[10:], b"labels": [9, 0]})
    pickled(folder / "batches.meta", {b"label_names": [f"class {i}".encode() for i in range(10)]})
    return pixels.reshape(12, 3, 32, 32)


def archive(folder: Path, target: Path) -> str:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, folder.name)
    return hashlib.md5(target.read_bytes()).hexdigest()


def test_cifar10(tmp_path: Path):
    pixels = cifar10(tmp_path)
    train, test = (open_data("cifar10", split=split, root=tmp_path) for split in ("train", "test"))
    assert train.values is not None and np.array_equal(train.values.numpy(), pixels[:10])
    assert test.values is not None and np.array_equal(test.values.numpy(), pixels[10:])
    assert train.labels is not None and train.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert train.classes == tuple(f"class {i}" for i in range(10))
    assert torch.equal(train.read(3), train.values[3])


def test_cifar100(tmp_path: Path):
    folder = tmp_path / "cifar100" / "cifar-100-python"
    data = RNG.integers(0, 256, (3, 3072), dtype=np.uint8)
    pickled(folder / "train", {b"data": data, b"fine_labels": [0, 1, 99], b"coarse_labels": [0, 0, 1]})
    pickled(folder / "meta", {b"fine_label_names": [str(i).encode() for i in range(100)]})
    train = open_data("cifar100", root=tmp_path)
    assert train.labels is not None and train.labels.tolist() == [0, 1, 99]
    assert train.values is not None and train.values.shape == (3, 3, 32, 32)


def test_an_archive_that_lies_there_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cifar10(tmp_path / "made")
    target = tmp_path / "root" / "cifar-10-python.tar.gz"
    target.parent.mkdir()
    md5 = archive(tmp_path / "made" / "cifar-10-batches-py", target)
    with pytest.raises(
        ManyviewsError, match=rf"is damaged or not the official file: its MD5 is {md5}, not c58f30"
    ):
        open_data("cifar10", root=target.parent)
    monkeypatch.setitem(named.ARCHIVES, "cifar10", replace(named.ARCHIVES["cifar10"], md5=md5))
    assert len(open_data("cifar10", root=target.parent)) == 10
    assert sorted(path.name for path in target.parent.iterdir()) == [
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
    ]


def test_download_is_checked_and_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cifar10(tmp_path / "made")
    source = tmp_path / "cifar-10-python.tar.gz"
    md5 = archive(tmp_path / "made" / "cifar-10-batches-py", source)
    root = tmp_path / "root"
    monkeypatch.setitem(named.ARCHIVES, "cifar10", Remote(source.as_uri(), "0" * 32))
    with pytest.raises(ManyviewsError, match=rf"What came from .* its MD5 is {md5}, not 0000"):
        open_data("cifar10", root=root)
    assert list(root.iterdir()) == []
    monkeypatch.setitem(named.ARCHIVES, "cifar10", Remote(source.as_uri(), md5))
    assert len(open_data("cifar10", root=root)) == 10


def test_no_network_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = Remote((tmp_path / "gone" / "cifar-10-python.tar.gz").as_uri(), "0" * 32)
    monkeypatch.setitem(named.ARCHIVES, "cifar10", gone)
    with pytest.raises(
        ManyviewsError, match=r"cannot be downloaded \(.*\): put cifar-10-python\.tar\.gz into .*/root\."
    ):
        open_data("cifar10", root=tmp_path / "root")


def outside_file() -> tarfile.TarInfo:
    return tarfile.TarInfo("../outside")


def outside_link() -> tarfile.TarInfo:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "../.."
    return link


@pytest.mark.parametrize("member", [outside_file(), outside_link()], ids=["file", "link"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, member: tarfile.TarInfo):
    (tmp_path / "root").mkdir()
    path = tmp_path / "root" / "evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("harmless"))
        tar.addfile(member)
    with pytest.raises(ManyviewsError, match=r"evil\.tar is refused: it would write outside its folder"):
        unpack(path, tmp_path / "root")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.tar", "root"]


def test_an_archive_that_is_cut_short(tmp_path: Path):
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(gzip.compress(b"x" * 10_000)[:20])
    with pytest.raises(ManyviewsError, match=r"cut\.tar\.gz cannot be unpacked"):
        unpack(path, tmp_path)


class Evil:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int):
    cifar10(tmp_path)
    pickled(tmp_path / "cifar-10-batches-py" / "data_batch_3", [Evil(tmp_path / "ran")], protocol)
    with pytest.raises(ManyviewsError, match=r"data_batch_3 is refused, and nothing of it was run: .*mkdir"):
        open_data("cifar10", root=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"cbuiltins\ngetattr\n.",
        b"ccodecs\nopen\n(S'x'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.",
    ],
)
def test_no_other_name_is_known(tmp_path: Path, program: bytes):
    (tmp_path / "a").write_bytes(program)
    with pytest.raises(ManyviewsError, match="is refused, and nothing of it was run: it asks for"):
        unpickle.load(tmp_path / "a")


def test_arrays_of_objects_are_refused(tmp_path: Path):
    pickled(tmp_path / "a", np.array([{}, []], dtype=object))
    with pytest.raises(ManyviewsError, match="array of 'O8', which is not a plain number"):
        unpickle.load(tmp_path / "a")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">i2", "?", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(tmp_path: Path, protocol: int, dtype: str, order: Any):
    array = np.asarray(RNG.integers(0, 100, (3, 4)).astype(dtype), order=order)
    pickled(tmp_path / "a", {"x": [array, (1, "two", b"three", None, 4.5)]}, protocol)
    ((got, rest),) = unpickle.load(tmp_path / "a").values()
    assert np.array_equal(got, array) and got.dtype == array.dtype
    assert rest == (1, "two", b"three", None, 4.5)


def test_pickles_of_python_2(tmp_path: Path):
    """The official files: text as bytes, arrays by numpy's old names."""
    program = (
        b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x02\x07\xfftbs."
    )
    (tmp_path / "a").write_bytes(program)
    value = unpickle.load(tmp_path / "a")
    assert list(value) == [b"data"] and value[b"data"].tolist() == [[7, 255]]


def test_a_damaged_pickle(tmp_path: Path):
    cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ManyviewsError, match="test_batch is not a pickle of arrays, or is damaged"):
        open_data("cifar10", split="test", root=tmp_path)
    pickled(path, {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]})
    with pytest.raises(ManyviewsError, match="is damaged: 2 images, but 1 labels"):
        open_data("cifar10", split="test", root=tmp_path)
    pickled(path, {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]})
    with pytest.raises(ManyviewsError, match="a label lies outside the 10 classes"):
        open_data("cifar10", split="test", root=tmp_path)
    pickled(path, {b"something": "else"})
    with pytest.raises(ManyviewsError, match="are not those of cifar10"):
        open_data("cifar10", split="test", root=tmp_path)


def idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "fashion_mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_sets(tmp_path: Path, name: str, suffix: str):
    images = RNG.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    idx(tmp_path / name / f"t10k-images-idx3-ubyte{suffix}", images)
    idx(tmp_path / name / f"t10k-labels-idx1-ubyte{suffix}", np.array([3, 1, 9, 0], np.uint8))
    data = open_data(name, split="test", root=tmp_path)
    assert data.values is not None and data.values.shape == (4, 3, 28, 28)
    assert np.array_equal(data.values[:, 2].numpy(), images)
    assert data.labels is not None and data.labels.tolist() == [3, 1, 9, 0]
    assert data.classes is not None and data.classes[9] == ("9" if name == "mnist" else "Ankle boot")


def test_damaged_idx(tmp_path: Path):
    images, labels = (
        tmp_path / "mnist" / "train-images-idx3-ubyte",
        tmp_path / "mnist" / "train-labels-idx1-ubyte",
    )
    idx(labels, np.zeros(4, np.uint8))
    idx(images, np.zeros((4, 28, 28), np.uint8))
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(ManyviewsError, match=r"is damaged: 3135 bytes where its header says \[4, 28, 28\]"):
        open_data("mnist", root=tmp_path)
    idx(images, np.zeros(4, np.uint8))
    with pytest.raises(ManyviewsError, match="is not an IDX file of 3 axes of bytes"):
        open_data("mnist", root=tmp_path)


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = RNG.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for split in ("train", "unlabeled"):
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (folder / "train_y.bin").write_bytes(bytes([1, 10, 2]))
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    train = open_data("stl10", root=tmp_path)
    assert train.values is not None and np.array_equal(train.values.numpy(), images)
    assert train.labels is not None and train.labels.tolist() == [0, 9, 1]
    monkeypatch.setattr(named, "RESIDENT_LIMIT", 1000)
    rest = open_data("stl10", split="unlabeled", root=tmp_path)
    assert torch.equal(open_data("stl10-unlabeled", root=tmp_path).read(0), rest.read(0))
    assert rest.labels is None and rest.values is None
    assert np.array_equal(pickle.loads(pickle.dumps(rest.read))(2).numpy(), images[2])
    assert torch.equal(rest.resident(96).read(1), torch.from_numpy(images[1]))


def test_imagenette(tmp_path: Path):
    for split in ("train", "val"):
        for wnid in ("n01440764", "n03888257"):
            file = tmp_path / "imagenette96" / split / wnid / "a.JPEG"
            file.parent.mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(file)
    data = open_data("imagenette", split="test", root=tmp_path)
    assert data.classes == ("tench", "parachute") and data.name == "imagenette96/test"
    assert len(open_data("imagenette96", root=tmp_path)) == 2


def test_no_such_split(tmp_path: Path):
    with pytest.raises(ManyviewsError, match="cifar10 has no split 'val': it has train, test"):
        open_data("cifar10", split="val", root=tmp_path)


def test_the_root_is_told_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path / "env"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data_root("here") == Path("here")
    assert data_root() == tmp_path / "env"
    monkeypatch.delenv("MANYVIEWS_DATA")
    assert data_root() == tmp_path / "cache" / "manyviews"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == Path.home() / ".cache" / "manyviews"
