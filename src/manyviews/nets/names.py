"""The same tensors under other names: one table a family and library leads there and back.

A row is `ours: theirs`, for example `"blocks.{}.attention.qkv.*": "h.{}.attn.c_attn.*^T"`:

    {}       any number, the same on both sides
    *        "weight" and, where there is one, "bias"
    **       any name, as it is
    a + b    tensors that are one on the other side, joined along their first dimension
    ^T       a matrix that lies transposed there
    [0]      a tensor that has a leading dimension of 1 more there
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError


@dataclass(frozen=True)
class Names:
    """How one library calls a family's tensors, and what else it has to be told of such a net."""

    table: Mapping[str, str]
    ignore: tuple[str, ...] = ()  # beginnings of names that we have no use for; {} in them is any number
    base: str = ""  # what a model with a head on it puts before the names of the one without, or leaves out
    optional: tuple[
        str, ...
    ] = ()  # beginnings of names that some of its models lack; ours stays as it was drawn
    config: Callable[[Any], dict[str, Any]] | None = None  # a net -> the library's config.json for it
    speaks_of: tuple[
        str, ...
    ] = ()  # options of the net's maker that `config` can say; it is silent on all others
    call: str = ""  # arguments beside the config that make their model the same net
    also: Mapping[str, str] = field(
        default_factory=dict
    )  # another name, of its memory, old files or a tied head -> the table's


class Row(NamedTuple):
    """One line of a table for tensors that exist: plain names, and what is done to theirs."""

    ours: list[str]
    theirs: list[str]
    transposed: bool
    leading: int  # dimensions of 1 that theirs has in front


class Matched(NamedTuple):
    """Their tensors as ours, of whatever shape, and the names of theirs that are wanting or too many."""

    found: dict[str, Tensor]
    missing: list[str]
    surplus: list[str]


def from_theirs(names: Names, theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors as ours; `own` is the state dict of the net that they are for.

    What is `optional` and not there is as in `own`. Raises one `ManyviewsError` that lists every tensor which is
    missing, surplus or misshapen.
    """
    found, missing, surplus = matched(names, theirs, own)
    refuse(missing, surplus, found, own)
    return found


def matched(names: Names, theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Matched:
    """The same without refusing anything."""
    lines = list(rows(names.table, own))
    used = {name for row in lines for name in row.theirs}
    theirs = renamed(names, theirs, used)
    found: dict[str, Tensor] = {}
    missing: list[str] = []
    lacks = tuple(part for part in names.optional if not any(name.startswith(part) for name in theirs))
    for row in lines:
        if absent := [name for name in row.theirs if name not in theirs]:
            if row.theirs[0].startswith(lacks):
                found |= {name: own[name] for name in row.ours}
            else:
                missing += absent
            continue
        parts = [_inward(theirs[name], row) for name in row.theirs]
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        sizes = [own[name].shape[:1].numel() for name in row.ours]  # 1 for a single number
        whole = len(sizes) == 1 or sum(sizes) != len(joined)  # where sizes differ, the shape below tells
        found.update(zip(row.ours, [joined] * len(sizes) if whole else joined.split(sizes), strict=True))
    surplus = [name for name in theirs if name not in used and not _ignored(names, name)]
    return Matched(found, missing, surplus)


def to_theirs(names: Names, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under their names, in their shapes."""
    found: dict[str, Tensor] = {}
    for row in rows(names.table, own):
        joined = torch.cat([own[name] for name in row.ours]) if len(row.ours) > 1 else own[row.ours[0]]
        parts = joined.chunk(len(row.theirs)) if len(row.theirs) > 1 else (joined,)
        for name, part in zip(row.theirs, parts, strict=True):
            part = part.T.contiguous() if row.transposed else part
            found[name] = part[(None,) * row.leading]
    return found


def refuse(
    missing: list[str], surplus: list[str], given: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    """Raises one `ManyviewsError` that names all that does not fit; silent where everything does."""
    misshapen = [
        f"{name} {list(given[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    wrong = {"missing": missing, "surplus": surplus, "misshapen": misshapen}
    if any(wrong.values()):
        lists = "; ".join(f"{len(them)} {what}: {', '.join(them)}" for what, them in wrong.items() if them)
        raise ManyviewsError(f"These weights are of another net. {lists}")


def rows(table: Mapping[str, str], own: Iterable[str]) -> Iterator[Row]:
    """The table written out for the tensors that a net has; every tensor is in one row, every name of theirs too.

    Raises `ValueError` for a tensor or a name that no row, or more than one, speaks of: a mistake in the table.
    """
    waiting = dict.fromkeys(own)
    given: set[str] = set()
    for ours, theirs in table.items():
        pattern, *others = ours.split(" + ")
        for name in list(waiting):
            if (match := _match(pattern, name)) is None:
                continue
            filled = [name, *(_fill(other, match) for other in others)]
            for one in filled:
                if one not in waiting:
                    raise ValueError(f"{one}: no such tensor, or in two rows of the table")
                del waiting[one]
            row = _row(filled, [_fill(other, match) for other in theirs.split(" + ")])
            if again := given.intersection(row.theirs):
                raise ValueError(f"Two rows of the table lead to {', '.join(sorted(again))}")
            given.update(row.theirs)
            yield row
    if waiting:
        raise ValueError(f"No row of the table speaks of {', '.join(waiting)}")


def renamed(names: Names, theirs: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """The tensors under the names that are `wanted`, whichever of their models they were saved from.

    One that cannot be told, or whose name is taken, stays as it is called: it is surplus then.
    """
    ways = {name: _ways(names, name) for name in theirs}
    called: dict[str, str] = {}
    taken: set[str] = set()
    for way in zip(
        *ways.values(), strict=True
    ):  # the nearest first: of two that are one, that is the better known
        for name, one in zip(ways, way, strict=True):
            if one in wanted and one not in taken and name not in called:
                called[name] = one
                taken.add(one)
    return {called.get(name, name): tensor for name, tensor in theirs.items()}


def _ways(names: Names, name: str) -> tuple[str, ...]:
    """What a tensor of theirs may be called in the table, the nearest first."""
    bare = name.removeprefix(names.base)
    other = _other(names.also, bare)
    return name, names.base + name, bare, names.base + other, other


def _other(table: Mapping[str, str], name: str) -> str:
    matches = ((other, _match(pattern, name)) for pattern, other in table.items())
    return next((_fill(other, match) for other, match in matches if match is not None), name)


def _ignored(names: Names, name: str) -> bool:
    bare = name.removeprefix(names.base)
    return any(re.match(_regex(part), bare) for part in names.ignore)


def _row(ours: list[str], theirs: list[str]) -> Row:
    plain = [name.removesuffix("^T") for name in theirs]
    leading = plain[0].count("[0]")
    # Only a matrix can lie transposed; the bias of the same row stays as it is.
    transposed = theirs[0].endswith("^T") and not plain[0].endswith("bias")
    return Row(ours, [name.replace("[0]", "") for name in plain], transposed, leading)


_ANY = re.compile(r"\{\}|\*\*|\*")
_STANDS_FOR = {"{}": r"(\d+)", "*": "(weight|bias)", "**": "(.+)"}


def _match(pattern: str, name: str) -> dict[str, list[str]] | None:
    """What each `{}`, `*` and `**` of the pattern stands for in the name, in order; None where it does not fit."""
    if (match := re.fullmatch(_regex(pattern), name)) is None:
        return None
    signs = _ANY.findall(pattern)
    groups = list(zip(signs, match.groups(), strict=True))
    return {sign: [group for one, group in groups if one == sign] for sign in signs}


def _regex(pattern: str) -> str:
    plain = [re.escape(part) for part in _ANY.split(pattern)]
    signs = [_STANDS_FOR[sign] for sign in _ANY.findall(pattern)]
    return "".join(part for pair in zip(plain, [*signs, ""], strict=True) for part in pair)


def _fill(pattern: str, match: Mapping[str, list[str]]) -> str:
    """The pattern with what was matched in place of its `{}`, `*` and `**`, each in order."""
    left = {sign: iter(groups) for sign, groups in match.items()}
    try:
        return _ANY.sub(lambda sign: next(left[sign[0]]), pattern)
    except (KeyError, StopIteration):
        raise ValueError(f"{pattern} asks for more than the other side of its row says") from None


def _inward(tensor: Tensor, row: Row) -> Tensor:
    for _ in range(row.leading):
        tensor = tensor[0] if tensor.ndim and len(tensor) == 1 else tensor
    return tensor.T if row.transposed and tensor.ndim == 2 else tensor
