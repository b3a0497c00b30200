"""From whatever the user has to an image set."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyviews.data.arrays import from_arrays, from_dataset, is_array_like, is_dataset
from manyviews.data.decode import SUFFIXES
from manyviews.data.fetch import data_root
from manyviews.data.folder import open_csv, open_files, open_folder
from manyviews.data.items import CLASSES, ItemSet, fits, require
from manyviews.data.named import NAMED, open_named
from manyviews.data.reading import Reading, as_set
from manyviews.data.sounds import SUFFIXES as SOUNDS
from manyviews.data.sounds import are_waves, at_rate, from_waves
from manyviews.errors import ManyviewsError, nearest

WORLD_SIZE = 32  # pixels; what the embedded world is drawn at unless told
LENGTH = 128  # tokens of a text unless told
WORLD_SOUNDS = "world-sounds"  # the same items, by ear


def open_data(
    source: Any,
    *,
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    senses: Sequence[str] = (),
    rate: int | None = None,
    reading: Reading | None = None,
) -> ItemSet:
    """The images, or sounds, of ``source`` as a set; with ``reading`` its texts.

    Args:
        source: ``"world"``, or ``"world-sounds"``; a named set (cifar10, cifar100, mnist, fashion_mnist, stl10,
            imagenette, camvid, or fsdd, which holds sounds); the path of a folder of images or of WAV files, of a CSV file
            or of one file, or a list of such files; ``"hf:name"``; an array or tensor, alone
            or as (images, labels); a map-style torch ``Dataset``; or an ``ItemSet``, which is returned as it is.
        split: train, val or test, as far as the source has them; all for a folder. Arrays have none: it is ignored.
        root: the folder where named sets lie or are put; unless told, ``MANYVIEWS_DATA`` or the user's cache folder.
        size: side in pixels that the world is drawn at (32 unless told). For files, the canvas to decode them to,
            in memory, if all of them fit there (``fits``); unless told they stay on disk. Of sounds, samples.
        senses: what the set must have beside its images, as ``ItemSet.senses``.
        rate: samples a second that sounds are brought to; unless told, what most of their files have.
        reading: how texts become tokens, ``size`` of them an item; sources are then those of `corpus.open_corpus`.

    Raises ``ManyviewsError``: nothing of that name, with the nearest ones; what is wrong with it; a sense that it lacks.
    """
    if reading is not None and not isinstance(source, ItemSet):
        from manyviews.data.corpus import open_corpus

        return as_set(open_corpus(source, split=split, root=root), reading, size or LENGTH)
    data = at_rate(_opened(source, split, root, size, bool(senses)), rate)
    require(data, senses)
    done = data.values is not None and CLASSES not in data.senses
    if isinstance(source, ItemSet) or size is None or done or not fits(data, size):
        return data
    return data.resident(size)


def is_named(source: str) -> bool:
    """Whether images or sounds are known by this name, whatever folder is called so too."""
    return source in ("world", WORLD_SOUNDS) or source.replace("-", "_").lower() in NAMED


def _opened(
    source: Any, split: str, root: str | os.PathLike[str] | None, size: int | None, senses: bool
) -> ItemSet:
    if isinstance(source, ItemSet):
        return source
    if isinstance(source, str) and source == "world":
        from manyviews.data.world import world

        return world(split, size=size or WORLD_SIZE, senses=senses)
    if isinstance(source, str) and source == WORLD_SOUNDS:
        from manyviews.data.world.songs import world_sounds

        return world_sounds(split)
    if isinstance(source, str | os.PathLike):
        return _by_name(os.fspath(source), split, root)
    if isinstance(source, list) and source and all(isinstance(item, str | os.PathLike) for item in source):
        return open_files(source)
    if are_waves(source):
        return from_waves(source)  # pyright: ignore[reportArgumentType]
    if isinstance(source, tuple) and len(source) == 2 and are_waves(source[0]):
        return from_waves(*source)
    if is_array_like(source):
        return from_arrays(source)  # pyright: ignore[reportArgumentType]
    if isinstance(source, tuple) and len(source) == 2 and is_array_like(source[0]):
        return from_arrays(source[0], source[1])
    if is_dataset(source):
        return from_dataset(source)
    raise ManyviewsError(
        f"Data is a name, a path, an array, a pair (images, labels) or a torch Dataset, "
        f"not a {type(source).__name__}."
    )


def _by_name(source: str, split: str, root: str | os.PathLike[str] | None) -> ItemSet:
    if source.startswith("hf:"):
        from manyviews.data.hub import open_hub

        return open_hub(source.removeprefix("hf:"), split)
    name = source.replace("-", "_").lower()
    if name in NAMED:
        return open_named(name, split, root)
    path = Path(source).expanduser()
    if path.is_dir():
        return open_folder(path, split)
    if path.is_file():
        return _by_kind(path, split)
    if path.parent == Path(".") and not source.endswith(os.sep):
        if (data_root(root) / source).is_dir():
            return replace(open_folder(data_root(root) / source, split), name=f"{source}/{split}")
        raise ManyviewsError(_unknown(source, name))
    raise ManyviewsError(f"There is no folder or file {source}.")


def _by_kind(path: Path, split: str) -> ItemSet:
    if path.suffix.lower() == ".csv":
        return open_csv(path, split)
    if path.suffix.lower() in SUFFIXES | SOUNDS:
        return open_files([path])
    raise ManyviewsError(
        f"{path} is neither a folder of images, nor a CSV file that lists them, nor an image or a WAV file."
    )


def _unknown(source: str, name: str) -> str:
    names = ["world", *NAMED, WORLD_SOUNDS]
    hint = nearest(name, names, f"sets known by name: {', '.join(names)}.")
    return (
        f"There is no data set and no folder called {source!r}; {hint} "
        f"A folder of your own is given by its path, as in ./{source}/."
    )
