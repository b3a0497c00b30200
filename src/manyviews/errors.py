"""The exceptions that are meant for the person at the keyboard."""


class ManyviewsError(ValueError):
    """Bad input, said in one plain sentence: what is wrong, where, and what to do.

    The command line prints the sentence without a traceback and exits with status 2.
    """


class NoSplit(ManyviewsError):
    """A source is there but has no such split: for whoever judges, a part of another split can stand in."""


class Diverged(ManyviewsError):
    """A run whose loss or embeddings became no numbers: for whoever compares runs, that is a result."""
