"""Named sets in their official formats, found under a data root or downloaded.

    cifar10, cifar100       cifar-10-batches-py/, cifar-100-python/ (pickles), or the archive
    mnist, fashion_mnist    {train,t10k}-{images-idx3,labels-idx1}-ubyte, .gz or not, in a folder of that name
    stl10                   stl10_binary/*.bin, or the archive; as stl10-unlabeled its 100,000 images without labels
    camvid                  camvid/CamVid/, with a class of every pixel: to be put there by hand (`data.annotated`)
    fsdd                    fsdd/recordings/*.wav: spoken digits, to be put there by hand
    imagenette              imagenette2-160/, imagenette2-320/, imagenette2/ or another imagenette*/{train,val}/

Each is looked for in the root itself and in ``root/<name>``.
"""

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from manyviews.data import unpickle
from manyviews.data.annotated import open_camvid
from manyviews.data.fetch import Remote, data_root, fetch, unpack
from manyviews.data.folder import open_folder
from manyviews.data.items import ItemSet, in_memory
from manyviews.data.sounds import open_fsdd
from manyviews.errors import ManyviewsError, NoSplit

ARCHIVES = {
    "cifar10": Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
    ),
    "cifar100": Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
    ),
    "stl10": Remote(
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"
    ),
    "imagenette": Remote(
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412"
    ),
}

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
IDX = {
    "mnist": {
        "train-images-idx3-ubyte": Remote(
            _MNIST + "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"
        ),
        "train-labels-idx1-ubyte": Remote(
            _MNIST + "train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"
        ),
        "t10k-images-idx3-ubyte": Remote(
            _MNIST + "t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"
        ),
        "t10k-labels-idx1-ubyte": Remote(
            _MNIST + "t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": Remote(
            _FASHION + "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
        ),
        "train-labels-idx1-ubyte": Remote(
            _FASHION + "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"
        ),
        "t10k-images-idx3-ubyte": Remote(
            _FASHION + "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"
        ),
        "t10k-labels-idx1-ubyte": Remote(
            _FASHION + "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"
        ),
    },
}

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}

RESIDENT_LIMIT = 2 << 30  # bytes; STL-10's unlabelled part is more and stays on disk


def open_named(name: str, split: str = "train", root: str | os.PathLike[str] | None = None) -> ItemSet:
    """A named set. Raises ``ManyviewsError`` for a split it has not, or files that cannot be had or are damaged."""
    splits, opener = NAMED[name]
    if split not in splits:
        raise NoSplit(f"{name} has no split {split!r}: it has {', '.join(splits)}.")
    return opener(name, split, data_root(root))


def _cifar(name: str, split: str, root: Path) -> ItemSet:
    ten = name == "cifar10"
    folder = _unpacked(name, "cifar-10-batches-py" if ten else "cifar-100-python", root)
    train = [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]
    test = ["test_batch"] if ten else ["test"]
    batches = [unpickle.load(folder / file) for file in (train if split == "train" else test)]
    meta = unpickle.load(folder / ("batches.meta" if ten else "meta"))
    key, names = (b"labels", b"label_names") if ten else (b"fine_labels", b"fine_label_names")
    try:
        pixels = np.concatenate([batch[b"data"].reshape(-1, 3, 32, 32) for batch in batches])
        labels = torch.tensor([label for batch in batches for label in batch[key]])
        classes = tuple(label.decode() for label in meta[names])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ManyviewsError(f"The files in {folder} are not those of {name}: {error}.") from error
    return _checked(in_memory(f"{name}/{split}", torch.from_numpy(pixels), labels, classes), folder)


def _idx(name: str, split: str, root: Path) -> ItemSet:
    prefix = "train" if split == "train" else "t10k"
    image_file, label_file = (
        _idx_file(name, f"{prefix}-{what}", root) for what in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    grey_NHW, labels_N = _parsed(image_file, 3), _parsed(label_file, 1)
    pixels = torch.from_numpy(grey_NHW)[:, None].expand(-1, 3, -1, -1).contiguous()
    classes = FASHION if name == "fashion_mnist" else tuple("0123456789")
    labels = torch.from_numpy(labels_N.astype(np.int64))
    return _checked(in_memory(f"{name}/{split}", pixels, labels, classes), image_file.parent)


def _idx_file(name: str, stem: str, root: Path) -> Path:
    plain = name.replace("_", "-")
    places = (
        root / name,
        root / plain,
        root / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw",
    )
    for folder in places:
        for file in (folder / stem, folder / f"{stem}.gz"):
            if file.is_file():
                return file
    return fetch(IDX[name][stem], root / name, name)


def _parsed(path: Path, axes: int) -> np.ndarray:
    """The array in an IDX file: two zeros, the type (8: uint8), the number of axes, their lengths, the values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ManyviewsError(f"{path} is damaged: {error}.") from error
    header = 4 + 4 * axes
    if raw[:4] != bytes([0, 0, 8, axes]) or len(raw) < header:
        raise ManyviewsError(f"{path} is not an IDX file of {axes} axes of bytes.")
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", axes, 4))
    if len(raw) != header + int(np.prod(shape)):
        raise ManyviewsError(
            f"{path} is damaged: {len(raw) - header} bytes where its header says {list(shape)}."
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


def _stl10(name: str, split: str, root: Path) -> ItemSet:
    folder = _unpacked(name, "stl10_binary", root)
    image_file, label_file = folder / f"{split}_X.bin", folder / f"{split}_y.bin"
    try:
        images_NCHW = _stl10_images(image_file)
        classes = tuple((folder / "class_names.txt").read_text(encoding="utf-8").split())
        labels = (
            None
            if split == "unlabeled"
            else torch.from_numpy(np.fromfile(label_file, np.uint8).astype(np.int64) - 1)
        )
    except (OSError, ValueError) as error:
        raise ManyviewsError(f"The files in {folder} are not those of {name}: {error}.") from error
    if images_NCHW.nbytes <= RESIDENT_LIMIT:
        pixels = torch.from_numpy(np.ascontiguousarray(images_NCHW))
        return _checked(in_memory(f"{name}/{split}", pixels, labels, classes), folder)
    names = [f"{name}/{split}/{i:06d}" for i in range(len(images_NCHW))]
    return ItemSet(f"{name}/{split}", names, labels, classes, None, Mapped(str(image_file)))


@dataclass(frozen=True)
class Mapped:
    """Reads from STL-10's file without holding it in memory; opened anew, so that it survives pickling."""

    file: str

    def __call__(self, item: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(_stl10_images(Path(self.file))[item]))


def _stl10_images(file: Path) -> np.ndarray:
    """uint8 [N, 3, 96, 96]; the file has them column by column."""
    return np.memmap(file, np.uint8, "r").reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)


def _imagenette(name: str, split: str, root: Path) -> ItemSet:
    folder = _imagenette_folder(root)
    if folder is None:
        _unpacked(name, "imagenette2-160", root)
        folder = root / "imagenette2-160"
    data = open_folder(folder, split)
    classes = None if data.classes is None else tuple(IMAGENETTE.get(wnid, wnid) for wnid in data.classes)
    return replace(data, name=f"{folder.name}/{split}", classes=classes)


def _imagenette_folder(root: Path) -> Path | None:
    first = ["imagenette2-160", "imagenette2-320", "imagenette2"]
    others = sorted(path.name for path in root.glob("imagenette*") if path.name not in first)
    for place in (root, root / "imagenette"):
        for name in first + others:
            if (place / name / "train").is_dir():
                return place / name
    return None


def _unpacked(name: str, folder: str, root: Path) -> Path:
    """The folder of an official archive: as it lies there, or unpacked, or downloaded and unpacked."""
    for place in (root, root / name):
        if (place / folder).is_dir():
            return place / folder
    remote = ARCHIVES[name]
    place = root / name if (root / name / remote.file).is_file() else root
    unpack(fetch(remote, place, name), place)
    if not (place / folder).is_dir():
        raise ManyviewsError(f"{place / remote.file} has no folder {folder}: it is not the official archive.")
    return place / folder


def _checked(data: ItemSet, where: Path) -> ItemSet:
    """Labels that match the images and the classes, or a sentence."""
    if data.labels is None or data.classes is None:
        return data
    if len(data.labels) != len(data):
        raise ManyviewsError(f"{where} is damaged: {len(data)} images, but {len(data.labels)} labels.")
    if len(data) and not 0 <= int(data.labels.min()) <= int(data.labels.max()) < len(data.classes):
        raise ManyviewsError(f"{where} is damaged: a label lies outside the {len(data.classes)} classes.")
    return data


NAMED: dict[str, tuple[tuple[str, ...], Callable[[str, str, Path], ItemSet]]] = {
    "cifar10": (("train", "test"), _cifar),
    "cifar100": (("train", "test"), _cifar),
    "mnist": (("train", "test"), _idx),
    "fashion_mnist": (("train", "test"), _idx),
    "stl10": (("train", "test", "unlabeled"), _stl10),
    "stl10_unlabeled": (("train",), lambda _, split, root: _stl10("stl10", "unlabeled", root)),
    "imagenette": (("train", "val", "test"), _imagenette),
    "camvid": (("train", "val", "test"), open_camvid),
    "fsdd": (("train", "test"), open_fsdd),
}
