"""Vectors as files that other programs read: Parquet, NumPy, CSV."""

from collections.abc import Callable
from pathlib import Path

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation import Features
from manyviews.files import replacing, writable

Writer = Callable[[Path, ItemSet, Features], None]


def writer(out: Path) -> Writer:
    """What writes a file with such an ending: path, label where there is one, and vector of every item.

    Raises:
        ManyviewsError: the ending is not known, or nothing can be written there.
    """
    writers = {".parquet": _parquet, ".npz": _npz, ".csv": _csv}
    if out.suffix not in writers:
        raise ManyviewsError(
            f"Vectors cannot be written as '{out.suffix}' ({out}); choose {', '.join(writers)}."
        )
    if not writable(out):
        raise ManyviewsError(f"{out} cannot be written: give another place for the vectors (--out).")
    return writers[out.suffix]


def _columns(images: ItemSet, features: Features) -> tuple[list[str], list[str] | None]:
    rows = range(len(images)) if features.index is None else features.index.tolist()
    # A file name that is not UTF-8 arrives as lone surrogates, which no table can hold.
    names = [str(images.names[row]).encode(errors="backslashreplace").decode() for row in rows]
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
    import csv
    import io

    names, labels = _columns(images, features)
    head = ["path", *(["label"] if labels else []), *(f"v{i}" for i in range(features.h_ND.shape[1]))]
    with replacing(out) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        rows = csv.writer(text)
        rows.writerow(head)
        for row, (name, vector_D) in enumerate(zip(names, features.h_ND, strict=True)):
            rows.writerow([name, *([labels[row]] if labels else []), *vector_D.tolist()])
        text.detach()
