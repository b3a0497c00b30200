"""From a name or a path to its texts."""

import os
from collections.abc import Sequence
from dataclasses import replace

from manyviews.data.corpus import Corpus
from manyviews.data.corpus_files import (
    SUFFIXES,
    TABLES,
    open_parallel,
    open_text,
    open_text_folder,
    suffix_of,
)
from manyviews.data.corpus_named import NAMED, open_named_corpus
from manyviews.data.corpus_tables import open_table
from manyviews.data.fetch import data_root
from manyviews.data.marked import SUFFIXES as MARKED
from manyviews.data.marked import open_marked
from manyviews.data.recall import NAME as RECALL
from manyviews.data.recall import recall
from manyviews.errors import ManyviewsError, nearest

ASKED = ("world-tags", "world-questions")
WORLD = (
    "world-captions",
    "world-captions-de",
    "world-riddles",
    "world-riddles-de",
    "world-translation",
    "world-similarity",
    *ASKED,
)


def by_name(
    source: str, split: str, root: str | os.PathLike[str] | None, columns: Sequence[str] | None
) -> Corpus:
    """What ``source`` names, as `corpus.open_corpus` says."""
    path = os.path.expanduser(source)
    if columns is None and not os.path.exists(path) and "#" in source:
        path, _, chosen = path.rpartition("#")
        columns = [name.strip() for name in chosen.split(",")]
    if path.startswith("hf:"):
        from manyviews.data.hub import texts_of_hub

        return texts_of_hub(path.removeprefix("hf:"), split, columns)
    if os.path.isfile(path) and suffix_of(path) in TABLES:
        return open_table(path, split, columns)
    if columns is not None:
        raise ManyviewsError(
            f"Columns are chosen of a CSV, TSV or JSON Lines file or of a set of the hub, but {path} is none, or not there."
        )
    name = source.replace("_", "-").lower()
    if name in WORLD or name == "world":
        return _of_the_world(name, split)
    if name in NAMED:
        return open_named_corpus(name, split, data_root(root))
    if found := RECALL.fullmatch(name):
        return recall(int(found[1]), split, distract=found[2] is not None)
    return _by_path(source, path, split, root)


def is_named_corpus(source: str) -> bool:
    """Whether texts are known by this name, whatever folder is called so too."""
    name = source.replace("_", "-").lower()
    return name in WORLD or name == "world" or name in NAMED or RECALL.fullmatch(name) is not None


def _by_path(source: str, path: str, split: str, root: str | os.PathLike[str] | None) -> Corpus:
    if os.path.isdir(path):
        return open_text_folder(path, split)
    if os.path.isfile(path):
        if suffix_of(path) in SUFFIXES | {""}:
            return open_text(path, split)
        if suffix_of(path) in MARKED:
            return open_marked(path, split)
        raise ManyviewsError(
            f"{path} is no kind of text that is known: texts end in {', '.join(sorted(SUFFIXES))} or have no suffix, "
            f"tables end in {', '.join(sorted(TABLES))}, and two parallel files are joined by +."
        )
    files = path.split("+")
    if len(files) == 2 and all(files):
        return open_parallel(files[0], files[1], split)
    if len(files) > 2:
        raise ManyviewsError(f"Two parallel files are joined by +, not {len(files)}: {source:.200}.")
    if os.path.dirname(source) == "" and os.path.isdir(data_root(root) / source):
        return replace(open_text_folder(data_root(root) / source, split), name=f"{source}/{split}")
    if os.sep in source or suffix_of(path) in SUFFIXES | TABLES:
        raise ManyviewsError(f"There is no file or folder {source:.200}.")
    raise ManyviewsError(_unknown(source))


def _of_the_world(name: str, split: str) -> Corpus:
    from manyviews.data.world.captions import world_captions, world_pairs

    if name in ASKED:
        from manyviews.data.world.asked import world_questions, world_tags

        return world_tags(split) if name == "world-tags" else world_questions(split)
    if name == "world-translation":
        return world_pairs(split)
    if name == "world-similarity":
        from manyviews.data.world.alike import world_similarity

        return world_similarity(split)
    language, named = "de" if name.endswith("-de") else "en", "riddles" not in name
    return world_captions(split, language=language, named=named)


def _unknown(source: str) -> str:
    named = [*(name for name in NAMED if name.count("-") != 2), "multi30k-en-de and the like"]
    some = [*WORLD, *named, "recall-50 and the like"]
    known = f"sets known by name: {', '.join(some)}."
    hint = nearest(source.lower().replace("_", "-"), [*WORLD, *NAMED], known)
    return f"There are no texts called {source!r:.200}, and no file or folder; {hint}"
