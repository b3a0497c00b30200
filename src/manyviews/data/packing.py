"""Packing: lists of tokens of every length become rows of one length.

Below each row of tokens that holds several texts stands the row of their parts: 0 where there is no token and the row is
only filled up, else 1 and up, the number of the document in its window, or of the sentence in its pair.

Papers   Windows: best-fit packing (Ding et al., ICML 2024, arXiv:2404.10830, section 3), so that no document is cut that a
         window could hold. Pairs: Devlin et al. 2019, figure 2, cut as in the authors' code.
Shapes   N items, R texts an item, T tokens; all int32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    from manyviews.data.tokeniser import Tokeniser

Ids = Sequence[int] | np.ndarray
AT_ONCE = 2**20  # tokens that are placed at a time: each takes some fifty bytes until it is


def windows(
    documents: Sequence[Ids], length: int, tokeniser: Tokeniser, *, start: bool = False, end: bool = True
) -> Tensor:
    """Documents in windows: `[N, 2, T]`, the tokens above the number of their document in the window, 1 and up.

    A document longer than a window is cut into whole windows and a rest. Rests and short documents share windows, each
    placed, the longest first, where the least is left over; there, as the windows themselves, they stand in the order
    of the documents. Documents without tokens are passed over.

    Args:
        start, end: whether each document gets the tokeniser's token of that name.

    Raises:
        ManyviewsError: there is nothing to pack, a window has no token, or the tokeniser lacks the token.
    """
    documents = [document for document in documents if len(document)]
    before, after = _ends(tokeniser, start, end)
    if not documents:
        raise ManyviewsError("There are no tokens to pack: all documents are empty.")
    if length < 1:
        raise ManyviewsError(f"A window has at least 1 token, not {length}.")
    token_M, first_D = _joined(documents, before, after)
    size_D = np.diff(first_D)

    pieces_D = -(-size_D // length)
    document_P = np.repeat(np.arange(len(documents)), pieces_D)
    nth_P = np.arange(len(document_P)) - np.repeat(pieces_D.cumsum() - pieces_D, pieces_D)
    size_P = np.minimum(length, size_D[document_P] - nth_P * length)
    window_P = _numbered(best_fit(size_P, length))

    order_P = np.argsort(window_P, kind="stable")  # so pieces of a window stay in the order of the documents
    window_P, size_P, document_P, nth_P = (x[order_P] for x in (window_P, size_P, document_P, nth_P))
    from_P = first_D[document_P] + nth_P * length
    first_N = np.searchsorted(window_P, np.arange(window_P[-1] + 1))
    part_P = np.arange(len(window_P)) - first_N[window_P] + 1
    done_P = size_P.cumsum() - size_P
    to_P = window_P * length + done_P - done_P[first_N][window_P]

    packed_2 = np.zeros((2, len(first_N) * length), np.int32)
    packed_2[0] = tokeniser.padding
    portions = np.searchsorted(done_P, np.arange(AT_ONCE, len(token_M), AT_ONCE))
    for some_p in np.split(np.arange(len(size_P)), portions):
        size_p = size_P[some_p]
        within_m = np.arange(size_p.sum()) - np.repeat(size_p.cumsum() - size_p, size_p)
        to_m = np.repeat(to_P[some_p], size_p) + within_m
        packed_2[0, to_m] = token_M[np.repeat(from_P[some_p], size_p) + within_m]
        packed_2[1, to_m] = np.repeat(part_P[some_p], size_p)
    return torch.from_numpy(np.ascontiguousarray(packed_2.reshape(2, -1, length).swapaxes(0, 1)))


def best_fit(size_P: np.ndarray, length: int) -> np.ndarray:
    """Best-fit decreasing: the window of each piece `[P]`, none longer than `length`, such that no window overflows.

    Windows with the same room left are one stack, and a bit of `rooms` says whether it holds any: the least room that
    is enough is the lowest bit from the piece's size on, so a piece costs the same however many windows there are.
    """
    window_P = np.empty(len(size_P), np.int64)
    full = size_P == length
    window_P[full] = np.arange(full.sum())
    opened, rooms = int(full.sum()), 0
    stacks: list[list[int]] = [[] for _ in range(length)]
    part_P = np.flatnonzero(~full)
    order_P = part_P[np.argsort(-size_P[part_P], kind="stable")]
    placed = []
    for size in size_P[order_P].tolist():
        enough = rooms >> size
        if enough:
            room = size + (enough & -enough).bit_length() - 1
            window = stacks[room].pop()
            if not stacks[room]:
                rooms ^= 1 << room
        else:
            room, window, opened = length, opened, opened + 1
        placed.append(window)
        if left := room - size:
            stacks[left].append(window)
            rooms |= 1 << left
    window_P[order_P] = placed
    return window_P


def rows(
    texts: Sequence[Sequence[Ids]],
    length: int,
    tokeniser: Tokeniser,
    *,
    starts: bool | Sequence[bool] = True,
    ends: bool | Sequence[bool] = True,
) -> Tensor:
    """An item a tuple of R texts, each in a row of its own: `[N, R, T]`, cut at T or filled up with padding.

    A text that is cut keeps its start and end tokens; `too_long` counts those that are.

    Args:
        starts, ends: whether a text gets the tokeniser's token of that name: all, or each of the R by itself.

    Raises:
        ManyviewsError: there are no texts, items differ in how many they have, a row has no room for a token, or the
            tokeniser lacks the token.
    """
    room_R = _rooms(texts, length, starts, ends)
    by_text = []
    for texts_N, room, start, end in zip(
        zip(*texts, strict=True), room_R, _each(starts, len(room_R)), _each(ends, len(room_R)), strict=True
    ):
        token_M, first_N = _joined([text[:room] for text in texts_N], *_ends(tokeniser, start, end))
        size_N = np.diff(first_N)
        row_NT = np.full((len(texts_N), length), tokeniser.padding, np.int32)
        row_NT[np.arange(length) < size_N[:, None]] = token_M
        by_text.append(row_NT)
    return torch.from_numpy(np.stack(by_text, axis=1))


def too_long(
    texts: Sequence[Sequence[Ids]],
    length: int,
    *,
    starts: bool | Sequence[bool] = True,
    ends: bool | Sequence[bool] = True,
) -> tuple[int, ...]:
    """How many of the first, second, ... texts `rows` of the same arguments cuts."""
    room_R = _rooms(texts, length, starts, ends)
    return tuple(
        sum(len(text) > room for text in texts_N)
        for texts_N, room in zip(zip(*texts, strict=True), room_R, strict=True)
    )


def pair(first: Ids, second: Ids | None, length: int, tokeniser: Tokeniser) -> Tensor:
    """`[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]` where there is no B: `beside` of one text or two."""
    return beside([first] if second is None else [first, second], length, tokeniser)


def beside(texts: Sequence[Ids], length: int, tokeniser: Tokeniser) -> Tensor:
    """`[CLS] A [SEP] B [SEP] ...`: `[2, T]`, tokens above the number of their sentence, 1 and up.

    What is too long loses the last token of the longest one, of a later one where they are equal, until it fits. Filled up
    with padding to T.

    Raises:
        ManyviewsError: a row has no room for a token of each, or the tokeniser lacks a start or end token.
    """
    start, end = _ends(tokeniser, True, True)
    room = length - 1 - len(texts)
    if room < len(texts):
        raise ManyviewsError(
            f"{length} tokens are too few for {len(texts)} sentence(s) with their special tokens: "
            f"choose at least {1 + 2 * len(texts)}."
        )
    texts = [text[:most] for text, most in zip(texts, _shares([*map(len, texts)], room), strict=True)]
    tokens, parts = [*start], [1] * len(start)
    for part, text in enumerate(texts, 1):
        tokens += [*text, *end]
        parts += [part] * (len(text) + len(end))
    empty = length - len(tokens)
    return torch.tensor([tokens + [tokeniser.padding] * empty, parts + [0] * empty], dtype=torch.int32)


# -- parts of the above ------------------------------------------------------------------------------------------


def _joined(texts: Sequence[Ids], start: Ids, end: Ids) -> tuple[np.ndarray, np.ndarray]:
    """All texts behind each other, `start` and `end` around each: tokens `[M]`, and where each begins, and the last ends."""
    size = np.fromiter(map(len, texts), np.int64, len(texts)) + (len(start) + len(end))
    first = np.concatenate([[0], size.cumsum()])
    ends = [np.asarray(some, np.int32) for some in (start, end)]
    parts = [part for text in texts for part in (ends[0], text, ends[1]) if len(part)]
    return np.concatenate(parts or ends, dtype=np.int32, casting="same_kind"), first


def _numbered(window_P: np.ndarray) -> np.ndarray:
    """The same windows, numbered in the order in which they first come up."""
    _, first, inverse = np.unique(window_P, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _ends(tokeniser: Tokeniser, start: bool, end: bool) -> tuple[Ids, Ids]:
    """The tokens before and after each text."""
    return _special("start", tokeniser.start, start), _special("end", tokeniser.end, end)


def _special(name: str, token: int | None, wanted: bool) -> Ids:
    if not wanted:
        return ()
    if token is None:
        raise ManyviewsError(
            f"This tokeniser has no {name} token, and texts need one here: choose another tokeniser."
        )
    return (token,)


def _rooms(
    texts: Sequence[Sequence[Ids]], length: int, starts: bool | Sequence[bool], ends: bool | Sequence[bool]
) -> list[int]:
    """How many tokens of its own each of an item's texts has room for."""
    if not len(texts):
        raise ManyviewsError("There are no texts to lay into rows.")
    count = len(texts[0])
    for place, item in enumerate(texts):
        if len(item) != count:
            raise ManyviewsError(f"Item {place + 1:,} has {len(item)} text(s), and the first has {count}.")
    around = [start + end for start, end in zip(_each(starts, count), _each(ends, count), strict=True)]
    if length <= max(around):
        raise ManyviewsError(
            f"{length} token(s) are too few for a text and its special tokens: choose at least {max(around) + 1}."
        )
    return [length - specials for specials in around]


def _each(wanted: bool | Sequence[bool], count: int) -> Sequence[bool]:
    if isinstance(wanted, bool):
        return [wanted] * count
    if len(wanted) != count:
        raise ValueError(f"{len(wanted)} answers were given for {count} text(s) an item.")
    return wanted


def _shares(sizes: list[int], room: int) -> list[int]:
    """What each text keeps: the longest loses a token, a later one where they are equal, until they fit."""
    if sum(sizes) <= room:
        return sizes
    kept, left = list(sizes), room
    shortest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for done, place in enumerate(shortest_first):
        if sizes[place] * (len(sizes) - done) > left:  # it and all that are longer share what is left
            more = sorted(shortest_first[done:])
            for turn, long in enumerate(more):
                kept[long] = left // len(more) + (turn < left % len(more))
            return kept
        left -= sizes[place]
    return kept
