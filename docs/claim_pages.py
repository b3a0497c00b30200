"""A page a paper that makes claims, and an index with a filter, from the results in ``docs/claims``; also `make claims`."""

from pathlib import Path
from typing import Any

from pages import ROOT, write

from manyviews.claims.site import render

RESULTS = ROOT / "docs" / "claims"


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: the pages are written before Sphinx looks for any."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "claims", render(RESULTS)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write(RESULTS, render(RESULTS))
