"""Sets of images and of texts of the Hugging Face hub, by the ``[hub]`` extra: ``hf:uoft-cs/cifar100``, ``hf:name@config``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from manyviews.data.arrays import Items
from manyviews.data.columns import LABELS, Columns, choose
from manyviews.data.corpus import Corpus
from manyviews.data.corpus_tables import Table, corpus_of
from manyviews.data.items import ItemSet
from manyviews.data.listed import numbered
from manyviews.errors import ManyviewsError, NoSplit

ALSO = {"val": ("val", "validation", "valid", "dev"), "test": ("test", "validation", "val")}
"""What a split may be called there; as elsewhere, validation judges where there is no test."""

PLAIN = r"u?int\d+|(large_)?string|bool"
"""The library's names for what columns of whole numbers and of words hold."""


def open_hub(name: str, split: str = "train") -> ItemSet:
    """The set ``name`` of the hub (``name@config`` chooses a configuration), downloaded by the ``datasets`` library.

    The first image column is read. The column ``label``, or else the first column of class labels, gives the labels;
    without any, the first of ``label``, ``class``, ``category`` and ``target`` that holds whole numbers or words, whose
    classes are then what it says in any split, in order. No code of the repository is run.

    Raises ``ManyviewsError`` where the extra is missing, the set or its split cannot be had, it has no images, or some
    of its items have a label and others none.
    """
    datasets, table = _table(name, split)
    images = [column for column, feature in table.features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise ManyviewsError(f"hf:{name} has no column of images: it has {', '.join(table.features)}.")
    chosen = _label_column(datasets, table.features)
    labels, classes = (None, None) if chosen is None else _labels(datasets, name, split, table, chosen)
    names = [f"hf:{name}/{split}/{i:06d}" for i in range(len(table))]
    return ItemSet(
        f"hf:{name}/{split}", names, labels, classes, None, Items(Column(table, images[0]), f"hf:{name}")
    )


def _label_column(datasets: Any, features: Mapping[str, Any]) -> str | None:
    named = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if named:
        return "label" if "label" in named else named[0]
    plain = {column.lower(): column for column, feature in features.items() if _is_plain(feature)}
    return next((plain[name] for name in LABELS if name in plain), None)


def _is_plain(feature: Any) -> bool:
    """Whether a column holds whole numbers or words."""
    return re.fullmatch(PLAIN, str(getattr(feature, "dtype", ""))) is not None


def _is_number(feature: Any) -> bool:
    """Whether a column holds numbers that are no whole ones."""
    return str(getattr(feature, "dtype", "")).startswith("float")


def _labels(
    datasets: Any, name: str, split: str, table: Any, column: str
) -> tuple[Tensor | None, tuple[str, ...] | None]:
    """Labels and classes of a column; both None in a split whose labels are hidden, as they are in some test splits."""
    feature, values = table.features[column], table[column][:]
    if isinstance(feature, datasets.ClassLabel):
        classes = tuple(feature.names)
        labels = [None if value is None or value < 0 else value for value in values]
    else:
        classes = _classes(name, column)
        number = {word: i for i, word in enumerate(classes)}
        labels = [None if word is None else number[word] for word in _words(values)]
    known = [label for label in labels if label is not None]
    if not known:
        return None, None
    if len(known) < len(labels):
        raise ManyviewsError(
            f"hf:{name} has items without a label in its split {split}, although others have one; choose another split."
        )
    return torch.tensor(known, dtype=torch.long), classes


def _classes(name: str, column: str) -> tuple[str, ...]:
    """What a column of whole numbers or words says in any split, in order: by value where all are numbers from 0 on."""
    splits = [table for table in _loaded(name)[1].values() if column in table.features]
    said = {word for table in splits for word in _words(table[column][:]) if word is not None}
    return numbered(sorted(said))[1]


def _words(values: Sequence[Any]) -> list[str | None]:
    """Labels as words, None where there is none: an empty one, or -1 wherever nothing else is said."""
    words = ["" if value is None else str(value).strip() for value in values]
    if any(isinstance(value, bool) for value in values):
        words = [word.lower() for word in words]  # as JSON has them
    hidden = ("", "-1") if set(words) <= {"", "-1"} else ("",)
    return [None if word in hidden else word for word in words]


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
    if chosen.label is not None and len(chosen.texts) == 2 and _is_number(features.get(header[chosen.label])):
        chosen = replace(chosen, label=None, score=chosen.label)  # as GLUE's STS-B calls it
    read, classes = list[Sequence[Any]](), None
    beside = [number for number in (chosen.label, chosen.score) if number is not None]  # one at most
    for number in (*chosen.texts, *beside):
        column = header[number]
        if column in translations:
            values = [pair[column] for pair in table[translations[column]][:]]
        else:
            values = table[column][:]
        if number == chosen.label and isinstance(features.get(column), datasets.ClassLabel):
            classes = list(features[column].names)
            values = [None if value is None or value < 0 else classes[value] for value in values]
        elif number == chosen.label and _is_plain(features.get(column)):
            classes, values = _classes(name, column), _words(values)
        elif number == chosen.score and set(values) == {-1.0}:
            values = [None] * len(values)  # hidden, as in GLUE's test split
        read.append(values)
    texts = tuple(range(len(chosen.texts)))
    last = len(texts)
    columns_of = Columns(
        texts, None if chosen.label is None else last, None, None if chosen.score is None else last
    )
    kept = [header[number] for number in (*chosen.texts, *beside)]
    rows = Table(where, kept, range(len(table)), list(zip(*read, strict=True)))
    return corpus_of(where, rows, columns_of, "all", classes)


def _table(name: str, split: str) -> tuple[Any, Any]:
    """The datasets library, and one split of the set, by whichever of its names it is there."""
    first: NoSplit | None = None
    for called in ALSO.get(split, (split,)):
        try:
            return _loaded(name, split=called)
        except NoSplit as error:
            first = first or error
    assert first is not None
    raise first


def _loaded(name: str, **how: str) -> tuple[Any, Any]:
    """The datasets library, and what it loads by that name: all splits, unless told which."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ManyviewsError(
            f"hf:{name} needs the datasets library: install it with pip install 'manyviews[hub]'."
        ) from error
    repository, _, config = name.partition("@")
    try:
        return datasets, datasets.load_dataset(repository, config or None, **how)
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
