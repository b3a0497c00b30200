"""Vectors, and what is said of items, as files that other programs read: Parquet, NumPy, CSV."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation import Features
from manyviews.files import replacing, writable

Writer = Callable[[Path, ItemSet, Features], None]
W = TypeVar("W")


def writer(out: Path) -> Writer:
    """What writes a file with such an ending: path, label where there is one, and vector of every item.

    Raises:
        ManyviewsError: the ending is not known, or nothing can be written there.
    """
    return _chosen(out, {".parquet": _parquet, ".npz": _npz, ".csv": _csv}, "Vectors")


def table_writer(out: Path) -> Callable[[Mapping[str, Sequence[Any]]], None]:
    """What writes columns, of paths among others, to a file with such an ending.

    Raises:
        ManyviewsError: the ending is not known, or nothing can be written there.
    """
    write = _chosen(out, {".csv": _csv_table, ".parquet": _parquet_table}, "Tables")
    return lambda columns: write(
        out, {name: [_sayable(cell) for cell in column] for name, column in columns.items()}
    )


def _chosen(out: Path, writers: Mapping[str, W], what: str) -> W:
    if out.suffix not in writers:
        raise ManyviewsError(
            f"{what} cannot be written as '{out.suffix}' ({out}); choose {', '.join(writers)}."
        )
    if not writable(out):
        raise ManyviewsError(f"{out} cannot be written: give another place for it (--out).")
    return writers[out.suffix]


def _sayable(cell: Any) -> Any:
    # A file name that is not UTF-8 arrives as lone surrogates, which no table can hold.
    return cell.encode(errors="backslashreplace").decode() if isinstance(cell, str) else cell


def _parquet_table(out: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(out) as file:
        pq.write_table(pa.table(dict(columns)), file)


def _csv_table(out: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    with replacing(out) as file:
        _csv_rows(file, [list(columns), *zip(*columns.values(), strict=True)])


def _csv_rows(file: BinaryIO, rows: Iterable[Iterable[Any]]) -> None:
    import csv
    import io

    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    csv.writer(text).writerows(rows)
    text.detach()


def _columns(images: ItemSet, features: Features) -> tuple[list[str], list[str] | None]:
    rows = range(len(images)) if features.index is None else features.index.tolist()
    names = [_sayable(str(images.names[row])) for row in rows]
    if features.labels is None or images.classes is None:
        return names, None
    return names, [images.classes[label] for label in features.labels.tolist()]


def _parquet(out: Path, images: ItemSet, features: Features) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, labels = _columns(images, features)
    width = features.h_ND.shape[1]
    flat = pa.array(features.h_ND.contiguous().view(-1).numpy(), pa.float32())
    columns = {"path": names, **({"label": labels} if labels else {})}
    table = pa.table({**columns, "vector": pa.FixedSizeListArray.from_arrays(flat, width)})
    with replacing(out) as file:
        pq.write_table(table, file)


def _npz(out: Path, images: ItemSet, features: Features) -> None:
    import numpy as np

    names, labels = _columns(images, features)
    more = {"label": np.array(labels)} if labels else {}
    with replacing(out) as file:
        np.savez(file, allow_pickle=False, path=np.array(names), vector=features.h_ND.numpy(), **more)


def _csv(out: Path, images: ItemSet, features: Features) -> None:
    names, labels = _columns(images, features)
    head = ["path", *(["label"] if labels else []), *(f"v{i}" for i in range(features.h_ND.shape[1]))]
    rows = (
        [name, *([labels[row]] if labels else []), *vector_D.tolist()]
        for row, (name, vector_D) in enumerate(zip(names, features.h_ND, strict=True))
    )
    with replacing(out) as file:
        _csv_rows(file, chain([head], rows))
