"""Do the sets have what was asked for, and the same classes? Where not, a sentence says so before anything is computed."""

from collections.abc import Sequence

import torch

from manyviews.data import ItemSet, split_of
from manyviews.data.items import CLASSES, VOID, set_aside
from manyviews.data.marked import BEYOND, MARKS, WORDS
from manyviews.errors import ManyviewsError
from manyviews.nets.classifier import Classifier

MARKED = (MARKS, WORDS)  # what is told of every token
SCORED = ("pairs",)  # what is told of every pair of texts
HELD_OUT = 0.2  # share of the labelled images that is held out where there is no test set


def held_apart(data: ItemSet) -> tuple[ItemSet, ItemSet]:
    """What to learn from and what to judge by, where a source has no test set: the same items whatever the seed.

    For what begins as another run, or learns from it, is then judged by nothing that this one knew the labels of.
    """
    return split_of(data, HELD_OUT)


def tells_apart(data: ItemSet) -> bool:
    """Whether it has labels, of two classes or more: those of one tell nothing."""
    return data.labels is not None and len(data.labels.unique()) > 1


def labelled_sets(
    train: ItemSet | None, test: ItemSet | None, asked: Sequence[str]
) -> tuple[ItemSet, ItemSet]:
    """Sets to learn from and to judge by, both with labels of the same classes."""
    names = ", ".join(f'"{name}"' for name in asked)
    for data in (train, test):
        if data is not None and data.labels is None:
            raise ManyviewsError(
                f'{data.name} has no labels, which {names} needs; without labels take "labelfree".'
            )
    if train is None:
        raise ManyviewsError(
            f'{names} needs labelled images to learn from, not only a test set; or take "labelfree".'
        )
    if test is None:
        train, test = held_apart(train)
    if train.classes is not None and test.classes is not None and train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        what = (
            f"{', '.join(odd[:5])} {'are' if len(odd) > 1 else 'is'} in only one"
            if odd
            else "their order differs"
        )
        raise ManyviewsError(
            f"The classes of {train.name} ({len(train.classes)}) and {test.name} ({len(test.classes)}) differ: {what}; "
            "give two sets with the same classes."
        )
    return train, test


def dense_sets(train: ItemSet | None, test: ItemSet | None, asked: Sequence[str]) -> tuple[ItemSet, ItemSet]:
    """Sets to learn from and to judge by, both with a class of every pixel, of the same classes."""
    names = ", ".join(f'"{name}"' for name in asked)
    for data in (train, test):
        if data is not None and CLASSES not in data.senses:
            raise ManyviewsError(
                f"{data.name} has no class of every pixel, which {names} needs; the world and camvid have one, and for sets of "
                f'your own, give it as ItemSet.senses["{CLASSES}"].'
            )
    if train is None:
        raise ManyviewsError(f"{names} needs images to learn from, not only a test set.")
    if test is None:
        train, test = held_apart(train)
    pixel_classes(train, test)
    return train, test


def marked_sets(train: ItemSet | None, test: ItemSet | None, asked: Sequence[str]) -> tuple[ItemSet, ItemSet]:
    """Sets to learn from and to judge by, both of texts with marks of the same names; for spans of one name."""
    names = ", ".join(f'"{name}"' for name in asked)
    for data in (train, test):
        if data is not None and MARKS not in data.senses:
            raise ManyviewsError(
                f"{data.name} has no marked words, which {names} needs: world-tags and world-questions have them, and so do .conll files "
                "(one word and its tag per line) and the .json files of SQuAD."
            )
    if train is None:
        raise ManyviewsError(f"{names} needs texts to learn from, not only a test set.")
    if test is None:
        train, test = _by_passage(train)
    kinds = train.pixel_classes or ()
    if kinds != test.pixel_classes:
        raise ManyviewsError(
            f"The marks of {train.name} and {test.name} differ: {kinds[1:]} and {(test.pixel_classes or ())[1:]}; give two "
            "sets with the same marks."
        )
    if "span" in asked and len(kinds) != 2:
        raise ManyviewsError(
            f'{train.name} has {len(kinds) - 1} kinds of marks, and the answers that "span" learns are of one; take "tag".'
        )
    if not (train.senses[WORDS] == 1).any():
        raise ManyviewsError(f"{train.name} has no words that are read, so there is nothing to predict.")
    return train, test


def _by_passage(data: ItemSet) -> tuple[ItemSet, ItemSet]:
    """As `held_apart`, but all that is asked about one passage is learned from, or judges."""
    assert data.values is not None
    marks_NT = data.senses[MARKS][:, 0, 0, 1:]  # the first token is no word
    rows = zip(data.values[:, 0, 1:], marks_NT, strict=True)
    keys = [token_T[mark_T != BEYOND].cpu().numpy().tobytes() for token_T, mark_T in rows]
    unmarked_N = ((marks_NT == BEYOND) & (data.values[:, 1, 1:] > 0)).sum(1)
    # Not the end alone: a question, which may have cost a passage its own end.
    asked = int(unmarked_N.max()) > 1
    number = _by_beginning(keys) if asked else {key: i for i, key in enumerate(dict.fromkeys(keys))}
    if (count := 1 + max(number.values())) < 2:
        return held_apart(data)
    held = set_aside(data.name, count, None, HELD_OUT, 0)[[number[key] for key in keys]]
    return data.subset((~held).nonzero()[:, 0]), data.subset(held.nonzero()[:, 0])


def _by_beginning(keys: Sequence[bytes]) -> dict[bytes, int]:
    """Key -> number of its passage: those that begin alike, as far as the shorter goes, are one that was cut differently."""
    number: dict[bytes, int] = {}
    root, count = b"", -1
    for key in sorted(set(keys)):
        if not root or not key.startswith(root):
            root, count = key, count + 1
        number[key] = count
    return number


def pixel_classes(train: ItemSet, test: ItemSet) -> tuple[str, ...]:
    """What the classes of pixels are called: their numbers, where the sets do not say. Every id but void has a name."""
    if train.pixel_classes != test.pixel_classes:
        raise ManyviewsError(
            f"The classes of pixels of {train.name} and {test.name} differ: {train.pixel_classes} and {test.pixel_classes}; "
            "give two sets with the same classes."
        )
    learned, judged = ({*data.senses[CLASSES].unique().tolist()} - {VOID} for data in (train, test))
    found = sorted(learned | judged)
    for data in (train, test):
        channels = data.senses[CLASSES].shape[1]
        if channels != 1:
            raise ManyviewsError(
                f"The classes of pixels of {data.name} are one id each, [N, 1, H, W], not {channels}."
            )
    names = train.pixel_classes or tuple(str(id) for id in range(max(found, default=-1) + 1))
    if len(names) > VOID:
        raise ManyviewsError(
            f"{train.name} names {len(names)} classes of pixels, but an id is a byte and {VOID} means none, so at most {VOID} are possible."
        )
    if found and found[-1] >= len(names):
        raise ManyviewsError(
            f"Pixels of {train.name} or {test.name} have the class {found[-1]}, but there are {len(names)} classes, "
            f"numbered from 0; {VOID} means none."
        )
    if len(learned) < 2:
        raise ManyviewsError(f"{train.name} has pixels of only one class, so there is nothing to tell apart.")
    return names


def number_of_classes(train: ItemSet, test: ItemSet, classes: int | None) -> int:
    """How many classes there are; every label lies in [0, classes)."""
    assert train.labels is not None and test.labels is not None
    named = train.classes or test.classes
    labels = torch.cat([train.labels.cpu(), test.labels.cpu()])
    count = classes or (len(named) if named else int(labels.max()) + 1)
    if int(labels.min()) < 0 or int(labels.max()) >= count:
        raise ManyviewsError(
            f"Labels of {train.name} and {test.name} run from {int(labels.min())} to {int(labels.max())}, but there are "
            f"{count} classes, numbered from 0; leave out unlabelled images or mend the labels."
        )
    if count < 2 or len(train.labels.unique()) < 2:
        raise ManyviewsError(f"{train.name} has images of only one class, so there is nothing to tell apart.")
    return count


def knows(classifier: Classifier, data: ItemSet, classes: int | None) -> bool:
    """Whether the classifier's classes are those of the data, in their order; by number where they have no names."""
    if data.classes is not None:
        return classifier.classes == data.classes
    return len(classifier.classes) == classes


def scored_sets(
    train: ItemSet | None, test: ItemSet | None, asked: Sequence[str]
) -> tuple[ItemSet | None, ItemSet | None]:
    """Sets that say how alike their pairs of texts are, as far as there are any."""
    for data in (train, test):
        if data is not None and data.pairs is None:
            names = ", ".join(f'"{name}"' for name in asked)
            raise ManyviewsError(
                f"{data.name} does not say how alike two texts are, which {names} needs: world-similarity does, and so does a table "
                "of two columns of texts and a column score; in Python, give pairs of texts together with floats."
            )
    return train, test
