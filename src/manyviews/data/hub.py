"""Sets of images and of texts of the Hugging Face hub, by the ``[hub]`` extra: ``hf:uoft-cs/cifar100``, ``hf:name@config``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from manyviews.data.arrays import Items
from manyviews.data.corpus import Corpus
from manyviews.data.corpus_tables import Columns, Table, choose, corpus_of
from manyviews.data.items import ItemSet
from manyviews.errors import ManyviewsError, NoSplit


def open_hub(name: str, split: str = "train") -> ItemSet:
    """The set ``name`` of the hub (``name@config`` chooses a configuration), downloaded by the ``datasets`` library.

    The first image column is read; the column ``label``, or else the first column of class labels, gives the labels.
    No code of the repository is run. Raises ``ManyviewsError`` where the extra is missing, the set or its split
    cannot be had, or it has no images.
    """
    datasets, table = _table(name, split)
    images = [column for column, feature in table.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise ManyviewsError(f"hf:{name} has no column of images: it has {', '.join(table.features)}.")
    classes = [
        column for column, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)
    ]
    chosen = "label" if "label" in classes else classes[0] if classes else None
    labels = None if chosen is None else torch.as_tensor(table[chosen][:], dtype=torch.long)
    if labels is not None and (labels < 0).any():
        if not (labels < 0).all():
            raise ManyviewsError(
                f"hf:{name} has items without a label in its split {split}, among others with one."
            )
        labels = chosen = None  # a test split whose labels are hidden
    names = [f"hf:{name}/{split}/{i:06d}" for i in range(len(table))]
    data = ItemSet(
        f"hf:{name}/{split}", names, labels, None, None, Items(Column(table, images[0]), f"hf:{name}")
    )
    return data if chosen is None else replace(data, classes=tuple(table.features[chosen].names))


def texts_of_hub(name: str, split: str = "train", columns: Sequence[str] | None = None) -> Corpus:
    """The texts of the set ``name`` of the hub; columns are chosen as of a table, and languages of translations are columns.

    Raises ``ManyviewsError`` as ``open_hub`` does, and for columns that are not there.
    """
    datasets, table = _table(name, split)
    features, translations = dict(table.features), dict[str, str]()
    for column, feature in table.features.items():
        if isinstance(feature, datasets.Translation):
            del features[column]
            translations |= dict.fromkeys(feature.languages, column)
    where, header = f"hf:{name}/{split}", [*features, *translations]
    chosen = replace(choose(where, header, columns), split=None)
    read, classes = list[Sequence[Any]](), None
    for number in (*chosen.texts, *(() if chosen.label is None else (chosen.label,))):
        column = header[number]
        if column in translations:
            values = [pair[column] for pair in table[translations[column]][:]]
        else:
            values = table[column][:]
        if number == chosen.label and isinstance(features.get(column), datasets.ClassLabel):
            classes = list(features[column].names)
            values = [None if value is None or value < 0 else classes[value] for value in values]
        read.append(values)
    texts = tuple(range(len(chosen.texts)))
    label = None if chosen.label is None else len(texts)
    kept = [header[number] for number in chosen.texts] + (
        [] if chosen.label is None else [header[chosen.label]]
    )
    rows = Table(where, kept, range(len(table)), list(zip(*read, strict=True)))
    return corpus_of(where, rows, Columns(texts, label, None), "all", classes)


def _table(name: str, split: str) -> tuple[Any, Any]:
    """The datasets library, and one split of the set."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ManyviewsError(
            f"hf:{name} needs the datasets library: install it with pip install 'manyviews[hub]'."
        ) from error
    repository, _, config = name.partition("@")
    try:
        return datasets, datasets.load_dataset(repository, config or None, split=split)
    except Exception as error:  # the library and the network raise nearly anything
        kind = NoSplit if str(error).startswith("Unknown split") else ManyviewsError
        raise kind(f"hf:{name} cannot be had from the hub: {str(error).rstrip('.')}.") from error


class Column:
    """One column of a table of the hub, as a map-style data set."""

    def __init__(self, table: Any, column: str):
        self.table = table
        self.column = column

    def __getitem__(self, item: int) -> Any:
        return self.table[item][self.column]
