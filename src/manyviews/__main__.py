"""``python -m manyviews``."""

from manyviews.cli import main

main()
