"""Encoders around other encoders, by name: `lab(resnet18)` is what `AROUND["lab"]` of some file makes of `resnet18`.

A file of `nets/` whose paper puts nets together (an encoder for each view, one that is moved over patches, one with a
layer of its projector) ends with `AROUND`: words, and what makes such an encoder. Its name then works wherever a net's
name does: on the command line, in a saved run, in `nets.build`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.net import files


class Around(Protocol):
    """Makes an encoder around others.

    `inner(in_channels=, size=)` builds the net that the name holds; numbers after it in the name come as `numbers`.
    """

    def __call__(
        self, inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int
    ) -> Encoder: ...


def wrappers() -> Mapping[str, Around]:
    """All words that may stand before a parenthesis."""
    found: dict[str, Around] = {}
    for file in files():
        more = getattr(file, "AROUND", {})
        if again := found.keys() & more.keys():
            raise ManyviewsError(
                f"{file.__file__} gives {again.pop()}(...) another meaning; call it otherwise."
            )
        found |= more
    return MappingProxyType(found)


def parsed(name: str) -> tuple[Around, str, tuple[int, ...]] | None:
    """(maker, inner name, numbers) of `word(inner, 8, 4)`; None for a plain name.

    Raises `ManyviewsError` for a word that nobody knows, or what is no whole number.
    """
    match = re.fullmatch(r"\s*(\w+)\((.+?)((?:,\s*-?\w+)*)\)\s*", name)
    if match is None:
        return None
    word, inner, rest = match.groups()
    if word not in wrappers():
        raise ManyviewsError(
            f'"{name}" begins with {word}, which puts no nets together; there are {", ".join(wrappers())}.'
        )
    numbers = [number.strip() for number in rest.split(",")[1:]]
    if not all(number.isdigit() for number in numbers):
        raise ManyviewsError(f'"{name}" has {", ".join(numbers)} after its net; these are whole numbers.')
    return wrappers()[word], inner.strip(), tuple(map(int, numbers))
