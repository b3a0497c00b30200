"""A page a paper that makes claims, an index with a filter, and the README's verdicts, from the results in ``docs/claims``; also
`make claims`, which first judges their figures again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pages import ROOT, write

from manyviews.claims import find, store
from manyviews.claims.plot import drawing
from manyviews.claims.rejudge import rejudge
from manyviews.claims.site import render
from manyviews.claims.stale import stale
from manyviews.claims.words import standing, verdict_sentences
from manyviews.report.drawing import svg

RESULTS = ROOT / "docs" / "claims"
PICTURES = Path("docs") / "images" / "claims"
FEATURED = ("simclr-before-head", "byol-predictor", "moco-queue")
OPENS, CLOSES = "<!-- claims: made by `make claims` -->", "<!-- /claims -->"


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: the pages are written before Sphinx looks for any."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "claims", render(RESULTS)))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def pictures(names: Sequence[str] = FEATURED) -> dict[Path, str]:
    """The plots that the README shows, by their files."""
    found = {}
    for name in names:
        plot = drawing(store.stored(name, RESULTS)[0])
        assert plot is not None, f"{name} has no figure to show"
        found[PICTURES / f"{name}.svg"] = f"{svg(plot)}\n"
    return found


def verdicts(names: Sequence[str] = FEATURED) -> str:
    """The README's verdicts, each with its plot, its reason and, where it is not of the claim of today, what it is of."""
    parts = []
    for name in names:
        claim, result = find(name), store.stored(name, RESULTS)[0]
        stands = standing(result | {"stale": stale(claim, result)})
        parts += [
            f"**{claim.sentence}** `{name}` **{stands}**, by {result['measure']}. {' '.join(verdict_sentences(result))}",
            f"![{result['measure']}, a dot a seed]({PICTURES / name}.svg)",
        ]
    return "\n\n".join(parts)


def shown(readme: str) -> str:
    """The README with the verdicts as they are."""
    before, _, rest = readme.partition(OPENS)
    _, _, after = rest.partition(CLOSES)
    return f"{before}{OPENS}\n\n{verdicts()}\n\n{CLOSES}{after}"


if __name__ == "__main__":
    for changed in rejudge(RESULTS):
        print(f"{changed} was judged anew")
    write(RESULTS, render(RESULTS))
    for path, text in pictures().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
    (ROOT / "README.md").write_text(shown((ROOT / "README.md").read_text()))
