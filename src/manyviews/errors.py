"""The exceptions that are meant for the person at the keyboard, and what such a sentence suggests."""

import difflib
from collections.abc import Iterable


class ManyviewsError(ValueError):
    """Bad input, said in one plain sentence: what is wrong, where, and what to do.

    The command line prints the sentence without a traceback and exits with status 2.
    """


class NoSplit(ManyviewsError):
    """A source is there but has no such split: for whoever judges, a part of another split can stand in."""


class Diverged(ManyviewsError):
    """A run whose loss or embeddings became no numbers: for whoever compares runs, that is a result."""


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """How a sentence about a name that nobody knows ends: the names that it may stand for; if none is near, ``otherwise``."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else otherwise
