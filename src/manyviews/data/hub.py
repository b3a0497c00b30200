"""Image sets of the Hugging Face hub, by the ``[hub]`` extra: ``hf:uoft-cs/cifar100``, ``hf:name@config``."""

from dataclasses import replace
from typing import Any

import torch

from manyviews.data.arrays import Items
from manyviews.data.images import ImageSet
from manyviews.errors import ManyviewsError


def open_hub(name: str, split: str = "train") -> ImageSet:
    """The set ``name`` of the hub (``name@config`` chooses a configuration), downloaded by the ``datasets`` library.

    The first image column is read; the column ``label``, or else the first column of class labels, gives the labels.
    No code of the repository is run. Raises ``ManyviewsError`` where the extra is missing, the set or its split
    cannot be had, or it has no images.
    """
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ManyviewsError(
            f"hf:{name} needs the datasets library: install it with pip install 'manyviews[hub]'."
        ) from error
    repository, _, config = name.partition("@")
    try:
        table = datasets.load_dataset(repository, config or None, split=split)
    except Exception as error:  # the library and the network raise nearly anything
        raise ManyviewsError(f"hf:{name} cannot be had from the hub: {str(error).rstrip('.')}.") from error
    images = [column for column, feature in table.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise ManyviewsError(f"hf:{name} has no column of images: it has {', '.join(table.features)}.")
    classes = [
        column for column, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)
    ]
    chosen = "label" if "label" in classes else classes[0] if classes else None
    labels = None if chosen is None else torch.as_tensor(table[chosen][:], dtype=torch.long)
    names = [f"hf:{name}/{split}/{i:06d}" for i in range(len(table))]
    data = ImageSet(
        f"hf:{name}/{split}", names, labels, None, None, Items(Column(table, images[0]), f"hf:{name}")
    )
    return data if chosen is None else replace(data, classes=tuple(table.features[chosen].names))


class Column:
    """One column of a table of the hub, as a map-style data set."""

    def __init__(self, table: Any, column: str):
        self.table = table
        self.column = column

    def __getitem__(self, item: int) -> Any:
        return self.table[item][self.column]
