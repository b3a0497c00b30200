"""Pages of the documentation, from stored results alone: an index with a filter, and a page a paper.

They are Markdown as MyST reads it; what Markdown cannot say, the filter and the drawings, is HTML on a line of its own.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manyviews.claims import cost, records, store
from manyviews.claims.claim import Claim, Page, pages
from manyviews.claims.plot import drawing
from manyviews.claims.stale import CODE, SETTINGS, stale
from manyviews.claims.words import (
    by_seed,
    is_share,
    mean_of,
    predicted,
    standing,
    values,
    verdict_sentences,
)
from manyviews.report.drawing import svg
from manyviews.report.markup import Markup, capital, el

NOT_YET = "not run yet"
VERDICTS = ("holds", "fails", "cannot tell", NOT_YET)
OPENING = """# Claims

Each claim below is a paper's, written as an experiment that anyone can repeat, with the verdict that it ended in. A claim
**holds** if the 95% interval of the predicted difference, paired by seed, lies wholly where the paper says; it **fails** if the
interval lies wholly elsewhere; if the interval spans the bound, we **cannot tell**, and the page says how many seeds would settle it.
If several differences are predicted, any one of them can make the claim fail; if there are several ways to hold, any one of
them can make it hold. In these cases the verdict rests on an interval wider than the one shown, so that all of them together
err no more often than one would alone. Intervals are Student's t over paired seeds, because bootstrap intervals from so few
seeds are too narrow (see [Results](../results.md)).
Adding seeds after seeing a verdict means looking twice, which errs a little more often than is measured on that page.
A verdict applies to its scale only: laptop experiments are small, and what fails there may hold at the paper's size. A verdict
**of older code** comes from runs made before code or recipes that they depend on changed; a verdict **of older settings**, from
before the claim's own experiment was changed."""
AGED = {
    CODE: "Since these runs were trained, code or recipes that they depend on have changed; the command trains them again.",
    SETTINGS: "Since these figures were taken, the claim has been written otherwise; the command runs it as it is written today.",
}
SCRIPT = """
const paper = document.getElementById("claims-paper"), verdict = document.getElementById("claims-verdict");
const rows = [...document.querySelectorAll("#claims tbody tr")], count = document.getElementById("claims-count");
const filter = () => {
  for (const row of rows) {
    const fits = !paper.value || row.dataset.paper === paper.value;
    row.hidden = !(fits && (!verdict.value || row.dataset.verdict.split("|").includes(verdict.value)));
  }
  count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
};
for (const select of [paper, verdict]) select.addEventListener("change", filter);
filter();
"""
STYLE = """
#claims { width: 100%; border-collapse: collapse; }
#claims th, #claims td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid #8884; }
#claims td + td { white-space: nowrap; }
@media (max-width: 40rem) {
#claims thead { display: none; }
#claims tr { display: block; padding: .5rem 0; border-bottom: 1px solid #8884; }
#claims td { display: block; padding: 0; border: 0; }
}
#claims tr[hidden] { display: none; }
.claims-filter { display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: 1rem 0; }
.claims-filter select { font: inherit; max-width: 100%; }
"""


def render(folder: Path | None = None) -> dict[str, str]:
    """All pages by name: the index and a page a paper.

    Raises:
        ManyviewsError: a stored result is damaged.
    """
    results = {
        name: [
            result | {"stale": stale(claim, result)} for result in store.stored(name, store.folder_of(folder))
        ]
        for page in pages()
        for name, claim in page.claims.items()
    }
    return {page.name: paper_page(page, results) for page in pages()} | {"index": index(pages(), results)}


# -- the index -------------------------------------------------------------------------------------------------


def index(papers: Sequence[Page], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All claims in a table that can be filtered by paper and by verdict."""
    rows = [
        _row(page, name, claim, results.get(name, ()))
        for page in papers
        for name, claim in page.claims.items()
    ]
    head = el("tr", [el("th", word, scope="col") for word in ("Claim", "Paper", "Verdict")])
    table = el("table", el("thead", head), el("tbody", rows), id="claims")
    choices = el(
        "div",
        _select("claims-paper", "Paper", {page.name: _short(page) for page in papers}),
        _select("claims-verdict", "Verdict", {word: word for word in VERDICTS}),
        el("span", id="claims-count", aria_live="polite"),
        class_="claims-filter",
    )
    whole = el("div", el("style", _line(STYLE)), choices, table, el("script", _line(SCRIPT)))
    toc = "\n".join(["```{toctree}", ":hidden:", "", *(page.name for page in papers), "```"])
    how = "```sh\nmanyviews claims\nmanyviews claim --all --budget 2h\n```"
    return "\n\n".join([OPENING, _counted(results), how, whole, toc]) + "\n"


def _counted(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """How many claims ended in which verdict, at the first scale at which each was run."""
    states = [found[0]["verdict"]["state"] if found else NOT_YET for found in results.values()]
    counts = [f"{word}: {states.count(word)}" for word in VERDICTS if word in states]
    ages = [found[0].get("stale") for found in results.values() if found]
    aged = ", ".join(f"{ages.count(age)} {age}" for age in AGED if age in ages)
    return f"Of {len(states)} claims: {', '.join(counts)}{f' ({aged})' if aged else ''}."


def _row(page: Page, name: str, claim: Claim, found: Sequence[Mapping[str, Any]]) -> Markup:
    link = el("a", claim.sentence, href=f"{page.name}.html#{name}")
    words = [el("div", f"{result['scale']}: ", el("strong", standing(result))) for result in found]
    return el(
        "tr",
        el("td", link),
        el("td", _short(page)),
        el("td", words or NOT_YET),
        data_paper=page.name,
        data_verdict="|".join(result["verdict"]["state"] for result in found) or NOT_YET,
    )


def _select(name: str, label: str, choices: Mapping[str, str]) -> Markup:
    options = [
        el("option", "all", value=""),
        *(el("option", said, value=key) for key, said in choices.items()),
    ]
    return el("label", f"{label} ", el("select", options, id=name))


def _short(page: Page) -> str:
    """A paper's name without its authors."""
    return re.split(r"[(:]", page.title)[0].strip()


def _line(text: str) -> Markup:
    """Script or style without empty lines, at which Markdown would end the block."""
    return Markup("\n".join(line for line in text.splitlines() if line.strip()))


# -- a paper ---------------------------------------------------------------------------------------------------


def paper_page(page: Page, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """A section a claim."""
    source = f"`src/manyviews/claims/papers/{page.name}.py`"
    parts = [f"# {_short(page)}", f"{_linked(page.title)}: what it claims, as written in {source}."]
    for name, claim in page.claims.items():
        parts += _section(name, claim, results.get(name, ()))
    return "\n\n".join(parts) + "\n"


def _linked(text: str) -> str:
    """Text with its arXiv numbers as links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _section(name: str, claim: Claim, found: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = [f"({name})=\n## {capital(claim.sentence.rstrip('.'))}", f"`{name}`, from {claim.source}."]
    if claim.paper:
        parts.append(f"**The paper.** {claim.paper}")
    parts.append(f"**Predicted:** {predicted(claim.predictions, any(map(is_share, found)))}.")
    for result in found:
        parts += _result(result, claim)
    if claim.remark:
        parts.append(f"**What we think.** {claim.remark}")
    at = found[0]["scale"] if found else next(iter(claim.scales))
    if not found:
        parts.append("Not run yet.")
    scale = "" if at == "laptop" else f" --scale {at}"
    return [*parts, f"```sh\nmanyviews claim {name}{scale}\n```"]


def _result(result: Mapping[str, Any], claim: Claim) -> list[str]:
    state = capital(standing(result))
    reasons = "\n".join(f"- {sentence}" for sentence in verdict_sentences(result))
    picture = drawing(result)
    drawn = []
    if picture is not None:
        drawn = [str(el("div", svg(picture, alone=False), style="max-width: 30rem"))]
    same = ", ".join(f"{key} {value}" for key, value in result["same"].items())
    seeds = f"seeds: {len(result['seeds'])}" if not result["exact"] or len(result["seeds"]) > 1 else ""
    scale = claim.scales.get(result["scale"])
    if scale is not None and not result["exact"] and len(result["seeds"]) < scale.seeds:
        seeds += f", fewer than the {scale.seeds} of the claim"
    alike = "; ".join(part for part in (same and f"the same for all arms: {same}", seeds) if part)
    facts = [f"**At {result['scale']} scale: {state}.**" + (f" {capital(alike)}." if alike else ""), reasons]
    aged = [AGED[result["stale"]]] if result.get("stale") else []
    return [*facts, *aged, *drawn, _table(result), _where(result)]


def _table(result: Mapping[str, Any]) -> str:
    percent, states = is_share(result), result["states"]
    head = ["Arm", result["measure"], "seed by seed", *(["representation", "settings"] if states else [])]
    rows = []
    for arm, written in by_seed(result).items():
        told = [", ".join(map(str, states[arm])), result["arms"][arm]] if states else []
        rows.append([arm, mean_of(values(result)[arm], percent), ", ".join(written), *told])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _where(result: Mapping[str, Any]) -> str:
    """The command, how long it took, and where; of what was trained, as the runs themselves note."""
    machines = [machine.get("gpu") or machine.get("processor") for machine in records.each(result, "machine")]
    torches = [versions.get("torch") for versions in records.each(result, "versions")]
    commits = [
        commit[:10] + "-dirty" * commit.endswith("-dirty") for commit in records.each(result, "commit")
    ]
    time = cost.in_words(result["seconds"]) + ("" if result["exact"] else " of training")
    if beside := result.get("beside"):
        time += f" and {cost.in_words(beside)} beside it"
    facts = [
        time + _one_or_more(" on ", machines),
        _one_or_more("torch ", torches),
        _one_or_more("commit ", commits),
        (result.get("started") or "")[:10],
    ]
    return f"`{result['command']}`: {', '.join(fact for fact in facts if fact)}."


def _one_or_more(word: str, values: Sequence[str | None]) -> str:
    """``torch 2.9 and 2.10``; nothing where there are no values."""
    found = list(dict.fromkeys(value for value in values if value))
    return f"{word}{' and '.join(found)}" if found else ""
