"""Arrays, tensors and torch datasets from Python as image sets.

Shapes   N items, H W pixels, C in {1, 3, 4} channels (grey, RGB, RGB and alpha on white).
"""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from manyviews.data.decode import Unreadable, to_rgb
from manyviews.data.items import ItemSet, in_memory
from manyviews.errors import ManyviewsError

CHANNELS = (1, 3, 4)
IMAGES, LABELS = ("image", "img"), ("label", "class", "category", "target")  # what a dict calls them


def from_arrays(images: np.ndarray | Tensor, labels: Any = None, *, name: str = "array") -> ItemSet:
    """A resident set of images [N, H, W], [N, H, W, C] or [N, C, H, W]: integers in 0..255 or floats in [0, 1].

    Where both the second and the last axis could be channels, a numpy array is taken as [N, H, W, C] and a torch
    tensor as [N, C, H, W], which is each one's habit. ``labels`` are N integers from 0, or N strings.
    """
    x = images if isinstance(images, Tensor) else _tensor(images)
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ManyviewsError(
            f"An array of images has the shape [N, H, W], [N, H, W, C] or [N, C, H, W] and is not empty; "
            f"this one has {list(x.shape)}."
        )
    channels_first = _channels_first(x, isinstance(images, Tensor))
    pixels = as_rgb(x, channels_first)
    indices, classes = as_labels(labels, len(x)) if labels is not None else (None, None)
    return in_memory(name, pixels, indices, classes)


def as_rgb(x: Tensor, channels_first: bool) -> Tensor:
    """Images [N, H, W] or with channels, of any number type, as uint8 [N, 3, H, W]."""
    x_NCHW = x[:, None] if x.ndim == 3 else x if channels_first else x.permute(0, 3, 1, 2)
    x_NCHW = _as_bytes(x_NCHW)
    if x_NCHW.shape[1] == 4:
        colour, alpha = x_NCHW[:, :3].to(torch.int32), x_NCHW[:, 3:].to(torch.int32)
        x_NCHW = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).to(torch.uint8)
    return x_NCHW.expand(-1, 3, -1, -1).contiguous()


def as_labels(
    labels: Any, count: int, kind: str = "images", named: int = 0
) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as int64 [N] and the names of the classes. Integers keep their values; strings are numbered in order."""
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != (count,):
        raise ManyviewsError(
            f"There are {count} {kind}, but the labels have the shape {list(values.shape)}: give one label for each."
        )
    if values.dtype.kind in "US" or (
        values.dtype.kind == "O" and all(isinstance(value, str) for value in values)
    ):
        classes = sorted({str(value) for value in values})
        number = {name: i for i, name in enumerate(classes)}
        return torch.tensor([number[str(value)] for value in values]), tuple(classes)
    if values.dtype.kind not in "iu" or values.min() < 0:
        raise ManyviewsError("Labels are integers from 0 upwards, or strings.")
    if values.max() >= max(1000 + 10 * count, named):  # as many classes as are named there may be
        raise ManyviewsError(
            f"Labels go up to {values.max()} for {count} {kind}: number the classes from 0, or give their names as strings."
        )
    return torch.from_numpy(values.astype(np.int64)), tuple(str(i) for i in range(int(values.max()) + 1))


def from_dataset(dataset: Any, *, name: str | None = None) -> ItemSet:
    """A set over a map-style torch Dataset whose items are (image, label, ...), a dict with an image, or an image alone.

    An image is a Pillow image, a tensor [C, H, W] or [H, W], or an array [H, W, C] or [H, W]. In a dict it is called
    image or img, its label label, class, category or target. Labels are the data set's own ``targets`` where it has them;
    otherwise every item is read once, here, to learn its label. Labels that are all -1 are none.

    Raises ``ManyviewsError`` for a stream, whose length nobody knows, and where there is no item.
    """
    name = name or type(dataset).__name__
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise ManyviewsError(
            f"Epochs and memory banks need a data set that has a length and gives its items by number, which {name} does "
            "not: give a torch Dataset with __len__ and __getitem__."
        )
    count = len(dataset)
    if count == 0:
        raise ManyviewsError(f"{name} has no items: give a data set with at least one.")
    known = getattr(dataset, "classes", None)
    known = _hub_classes(dataset) if known is None else known
    labels, classes, unread = _labels_of(dataset, count, 0 if known is None else len(known))
    if known is not None and classes is not None and len(known) >= len(classes):
        classes = tuple(str(value) for value in known)
    names = [f"{name}/{i:06d}" for i in range(count)]
    return ItemSet(name, names, labels, classes, None, Items(dataset, name, unread))


@dataclass(frozen=True)
class Items:
    """Reads from a map-style data set."""

    dataset: Any
    name: str
    unread: Mapping[int, str] = field(default_factory=dict)  # items whose label could not be read, and why

    def __call__(self, item: int) -> Tensor:
        if item in self.unread:
            raise Unreadable(f"Item {item} of {self.name} cannot be read: {self.unread[item]}.")
        try:
            value = self.dataset[item]
        except MemoryError:
            raise
        except Exception as error:  # decoders that meet damaged bytes raise nearly anything
            raise Unreadable(f"Item {item} of {self.name} cannot be read: {_reason(error)}.") from error
        try:
            return as_image(_taken(value, IMAGES, 0))
        except (ManyviewsError, OSError, ValueError) as error:
            raise Unreadable(f"Item {item} of {self.name} cannot be used: {error}") from error


def as_image(value: Any) -> Tensor:
    """One Pillow image, tensor [C, H, W] or [H, W], or array [H, W, C] or [H, W] as uint8 [3, H, W]."""
    if isinstance(value, Image.Image):
        return to_rgb(value)
    if isinstance(value, np.ndarray | Tensor) and value.ndim in (2, 3):
        x = value if isinstance(value, Tensor) else _tensor(value)
        return as_rgb(x[None], x.ndim == 3 and _channels_first(x[None], isinstance(value, Tensor)))[0]
    shape = f" of shape {list(value.shape)}" if hasattr(value, "shape") else ""
    raise ManyviewsError(f"it is a {type(value).__name__}{shape}, where an image was expected.")


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__


Labelled: TypeAlias = tuple[Tensor | None, tuple[str, ...] | None]


def _labels_of(
    dataset: Any, count: int, named: int
) -> tuple[Tensor | None, tuple[str, ...] | None, dict[int, str]]:
    """Labels, classes, and the items that could not be read to learn theirs: they are named and skipped later."""
    targets = getattr(dataset, "targets", None)
    if targets is not None and len(targets) == count:
        return *_told(list(targets), named), {}
    values: dict[int, Any] = {}
    unread: dict[int, str] = {}
    for item in range(count):
        try:
            values[item] = _taken(dataset[item], LABELS, 1)
        except MemoryError:
            raise
        except Exception as error:
            unread[item] = _reason(error)
            continue
        if not _is_label(values[item]):
            return None, None, {}
    some = next(iter(values.values()), -1)  # nobody sees the label of what cannot be read
    return *_told([values.get(item, some) for item in range(count)], named), unread


def _hub_classes(dataset: Any) -> Sequence[str] | None:
    """What the classes of a data set of the hub's library are called, where it says so."""
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return None
    return next((getattr(features[name], "names", None) for name in LABELS if name in features), None)


def _told(values: list[Any], named: int) -> Labelled:
    """Labels and classes; both None where they are no classes, or all hidden."""
    if not all(map(_is_label, values)):
        return None, None
    plain = [value if isinstance(value, str) else int(value) for value in values]
    return (None, None) if set(plain) == {-1} else as_labels(plain, len(plain), named=named)


def _taken(value: Any, names: Sequence[str], place: int) -> Any:
    """The image of an item, or its label: what a dict calls so, or what stands there; of an image alone, itself and no label.

    Raises ``ManyviewsError`` where a dict has no image.
    """
    if isinstance(value, Mapping):
        found = [value[name] for name in names if name in value]
        if not found and names is IMAGES:
            raise ManyviewsError(
                f"it is a dict of {', '.join(map(str, value))}, and its image is to be called image or img."
            )
        return found[0] if found else None
    if isinstance(value, tuple | list):
        return value[place] if len(value) > place else None
    return None if place else value


def _is_label(value: Any) -> bool:
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim == 0 and str(value.dtype).removeprefix("torch.").startswith(("int", "uint"))
    return isinstance(value, int | str | np.integer)


def _channels_first(x: Tensor, torch_habit: bool) -> bool:
    if x.ndim == 3:
        return False
    first, last = x.shape[1] in CHANNELS, x.shape[3] in CHANNELS
    if not first and not last:
        raise ManyviewsError(
            f"Images of shape {list(x.shape)} have no axis of 1, 3 or 4 channels, which must be their second or last."
        )
    return first and (torch_habit or not last)


def _as_bytes(x: Tensor) -> Tensor:
    if x.dtype == torch.uint8:
        return x
    if x.dtype == torch.bool:
        return x.to(torch.uint8) * 255
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # which torch stores, but hardly computes with
        x = x.to(torch.int64)
    low, high = x.min().item(), x.max().item()
    if x.is_floating_point() and low >= 0 and high <= 1:  # also False for NaN
        return (x.float() * 255).round().to(torch.uint8)
    if not x.is_floating_point() and not x.is_complex() and low >= 0 and high <= 255:
        return x.to(torch.uint8)
    kind = "floats in [0, 1]" if x.is_floating_point() else "integers in 0..255"
    raise ManyviewsError(f"Pixels are {kind}; these go from {low:g} to {high:g}.")


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise ManyviewsError(f"An array of images holds numbers, not {array.dtype}.")
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=not array.flags.writeable)
    return torch.from_numpy(native)


def is_array_like(source: Any) -> bool:
    return isinstance(source, np.ndarray | Tensor)


def is_dataset(source: Any) -> bool:
    """Whether it is meant as a torch Dataset: one of torch's, or what can do what a map-style one can."""
    sequence = isinstance(source, Sequence | Mapping)
    by_number = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not sequence
    return by_number or isinstance(source, Dataset)
