"""The one exception that is meant for the person at the keyboard."""


class ManyviewsError(ValueError):
    """Bad input, said in one plain sentence: what is wrong, where, and what to do.

    The command line prints the sentence without a traceback and exits with status 2.
    """
