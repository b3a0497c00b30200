"""Named sets of texts in their official layouts, found under a data root.

tinyshakespeare      tinyshakespeare/input.txt, one document: its first nine tenths are train, the rest val and test
wikitext2            wikitext2/{train,valid,test}.txt or wiki.{train,valid,test}.tokens: an article a document
sst2                 sst2/{train,dev,test}.tsv: a sentence a document, negative or positive
multi30k-en-de ...   multi30k/data/task1/raw/{train,val,test_2016_flickr}.{en,de,fr,cs}.gz: pairs; multi30k-en alone
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from manyviews.data.corpus import Corpus, cut, gathered
from manyviews.data.corpus_files import open_parallel, read_document, read_lines
from manyviews.data.corpus_tables import open_table
from manyviews.data.fetch import Remote, fetch
from manyviews.errors import ManyviewsError, NoSplit

SHAKESPEARE = Remote(
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
    "data/tinyshakespeare/input.txt",
    "6fb458f1232090904fb40fe944165e91",
)

HELD_OUT = 0.1  # of tiny Shakespeare, its end, as nanoGPT has it

SENTIMENTS = ("negative", "positive")

LANGUAGES = ("en", "de", "fr", "cs")

MULTI30K = {"train": "train", "val": "val", "test": "test_2016_flickr"} | {
    name: name for name in ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr")
}

NAMED = (
    "tinyshakespeare",
    "wikitext2",
    "sst2",
    *(f"multi30k-{language}" for language in LANGUAGES),
    *(f"multi30k-{source}-{target}" for source, target in itertools.permutations(LANGUAGES, 2)),
)

ARTICLE = re.compile(r" = (?!= ).* = ?")
"""The title of an article of WikiText; those of its sections have more signs."""


def open_named_corpus(name: str, split: str, root: Path) -> Corpus:
    """A set of ``NAMED``. Raises ``ManyviewsError`` for a split it has not, or files that are not there or damaged."""
    splits = tuple(MULTI30K) if name.startswith("multi30k") else ("train", "val", "test")
    if split not in splits:
        raise NoSplit(f"{name} has no split {split!r}: it has {', '.join(splits)}.")
    if name == "tinyshakespeare":
        corpus = _shakespeare(split, root)
    elif name == "wikitext2":
        corpus = _wikitext(split, root)
    elif name == "sst2":
        corpus = _sst2(split, root)
    else:
        corpus = _multi30k(name.split("-")[1:], split, root)
    return replace(corpus, name=f"{name}/{split}")


def _shakespeare(split: str, root: Path) -> Corpus:
    folder = root / "tinyshakespeare"
    file = _found(folder, ["input.txt"]) or fetch(SHAKESPEARE, folder, "tinyshakespeare")
    train, rest = cut(gathered(str(file), [str(file)], [(read_document(file),)]), HELD_OUT)
    return train if split == "train" else rest


def _wikitext(split: str, root: Path) -> Corpus:
    part = "valid" if split == "val" else split
    names = [f"{part}.txt", f"wiki.{part}.tokens"]
    folders = [root / "wikitext2", root / "wikitext-2", root / "wikitext2" / "wikitext-2"]
    file = next((file for folder in folders if (file := _found(folder, names))), None)
    if file is None:
        raise ManyviewsError(
            f"wikitext2/{split} is not under {root}: put {' or '.join(names)} of the word-level WikiText-2 into {folders[0]}."
        )
    articles = list(_articles(read_document(file).split("\n")))
    return gathered(str(file), [f"{file}:{line}" for line, _ in articles], [(text,) for _, text in articles])


def _articles(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(line, text) of each article: from its title, which stands between blank lines, to the next."""
    blank = [not line.strip() for line in lines] + [True]
    starts = [i for i, line in enumerate(lines) if ARTICLE.fullmatch(line) and blank[i - 1] and blank[i + 1]]
    if starts and not all(blank[: starts[0]]):
        starts.insert(0, 0)
    for start, end in itertools.pairwise([*(starts or [0]), len(lines)]):
        yield start + 1, "\n".join(lines[start:end])


def _sst2(split: str, root: Path) -> Corpus:
    name = f"{'dev' if split == 'val' else split}.tsv"
    folders = [root / "sst2", root / "SST-2", root / "sst2" / "SST-2"]
    file = next((file for folder in folders if (file := _found(folder, [name]))), None)
    if file is None:
        raise ManyviewsError(f"sst2/{split} is not under {root}: put {name} into {folders[0]}.")
    corpus = open_table(str(file))
    if corpus.labels is None or corpus.classes is None:
        return corpus
    if not set(corpus.classes) <= {"0", "1"}:
        raise ManyviewsError(
            f"{file} is not that of sst2: its labels are 0 and 1, not {', '.join(corpus.classes[:5])}."
        )
    values = torch.tensor([int(value) for value in corpus.classes])
    return replace(corpus, labels=values[corpus.labels], classes=SENTIMENTS)


def _multi30k(languages: Sequence[str], split: str, root: Path) -> Corpus:
    files = [_multi30k_file(f"{MULTI30K[split]}.{language}", root / "multi30k") for language in languages]
    if len(files) == 2:
        return open_parallel(str(files[0]), str(files[1]))
    (file,) = files
    lines = read_lines(file)
    return gathered(str(file), [f"{file}:{i}" for i in range(1, len(lines) + 1)], [(line,) for line in lines])


def _multi30k_file(name: str, folder: Path) -> Path:
    for place in (folder / "data" / "task1" / "raw", folder / "raw", folder):
        if file := _found(place, [f"{name}.gz", name]):
            return file
    raise ManyviewsError(
        f"multi30k has no {name} under {folder}: put the files of https://github.com/multi30k/dataset there."
    )


def _found(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
