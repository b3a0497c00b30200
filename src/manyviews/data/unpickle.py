"""Reads the pickles of CIFAR without running what is in them.

A pickle is a small program that may call anything by name. This reader knows numbers, strings, bytes, lists, tuples,
dicts and plain numeric arrays; numpy's own constructors are replaced by recorders, so that no code of numpy runs on
unchecked input either. Any other name is refused before anything happens.
"""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.errors import ManyviewsError

KINDS = frozenset({"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"})


def load(path: str | os.PathLike[str]) -> Any:
    """The value in a pickle of plain values and arrays; text of Python 2 comes as bytes.

    Raises ``ManyviewsError`` for a pickle that names anything else (nothing of it is run), or that is damaged.
    """
    try:
        with Path(path).open("rb") as file:
            return _unwrapped(_Plain(file, encoding="bytes").load())
    except ManyviewsError as error:
        raise ManyviewsError(f"{path} is refused, and nothing of it was run: {error}") from error
    except OSError as error:
        raise ManyviewsError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ManyviewsError(f"{path} is not a pickle of arrays, or is damaged: {error}.") from error


class _Kind:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: Any, *_: Any):
        self.code = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order.decode("ascii") if isinstance(order, bytes) else str(order)

    def dtype(self) -> np.dtype:
        if self.code not in KINDS:
            raise ManyviewsError(f"it holds an array of {self.code!r}, which is not a plain number.")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """Stands in for ``numpy.ndarray``."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, raw = state
        self.fill(raw, kind, shape, "F" if fortran else "C")

    def fill(self, raw: Any, kind: _Kind, shape: tuple[int, ...], order: str) -> "_Array":
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        self.value = np.frombuffer(raw, kind.dtype()).reshape(shape, order="F" if order == "F" else "C")
        return self


def _encoded(text: str, encoding: str = "utf-8") -> bytes:
    if encoding not in ("latin1", "utf-8", "ascii"):
        raise ManyviewsError(f"it asks for the encoding {encoding!r}; only latin1, utf-8 and ascii are read.")
    return text.encode(encoding)


def _known(name: str) -> Callable[..., Any] | None:
    """A stand-in for a name that pickles of arrays and bytes contain; new at each call, so that it carries nothing."""
    module, _, attribute = name.rpartition(".")
    if module in ("numpy.core.multiarray", "numpy._core.multiarray") and attribute == "_reconstruct":
        return lambda *_: _Array()
    if module in ("numpy.core.numeric", "numpy._core.numeric") and attribute == "_frombuffer":
        return lambda raw, kind, shape, order: _Array().fill(raw, kind, shape, order)
    if name == "numpy.dtype":
        return lambda *parts: _Kind(*parts)
    if name == "numpy.ndarray":  # only ever an argument of _reconstruct
        return lambda *_: _Array()
    if name == "_codecs.encode":  # how protocol 2 writes bytes
        return lambda *parts: _encoded(*parts)
    return None


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _known(f"{module}.{name}")
        if known is None:
            raise ManyviewsError(f"it asks for {module}.{name}, and only plain values and arrays are read.")
        return known


def _unwrapped(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_unwrapped(item) for item in value)
    return value
