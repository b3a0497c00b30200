"""Pages of the documentation, from stored results alone: an index with a filter, and a page a paper.

They are Markdown as MyST reads it; what Markdown cannot say, the filter and the drawings, is HTML on a line of its own.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manyviews.claims import cost, store
from manyviews.claims.claim import Claim, Page, pages
from manyviews.claims.plot import drawing
from manyviews.claims.words import by_seed, is_share, mean_of, values, verdict_sentences
from manyviews.report.drawing import svg
from manyviews.report.markup import Markup, capital, el

NOT_YET = "not run yet"
VERDICTS = ("holds", "fails", "cannot tell", NOT_YET)
OPENING = """# Claims

What the papers claim, each as an experiment that anyone can repeat, with the verdict that it ended in. A claim **holds**
where the 95% interval of the predicted difference, paired by seed, lies wholly where the paper says; it **fails** where the
interval lies wholly elsewhere; where the interval spans the bound, we **cannot tell**, and the page says how many seeds would.
A verdict is one at its scale: laptop experiments are small, and what fails there may hold at the paper's size."""
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
    results = {name: store.stored(name, store.folder_of(folder)) for page in pages() for name in page.claims}
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
    return f"Of {len(states)} claims: {', '.join(counts)}."


def _row(page: Page, name: str, claim: Claim, found: Sequence[Mapping[str, Any]]) -> Markup:
    states = [(result["scale"], result["verdict"]["state"]) for result in found]
    link = el("a", claim.sentence, href=f"{page.name}.html#{name}")
    words = [el("div", f"{scale}: ", el("strong", state)) for scale, state in states]
    return el(
        "tr",
        el("td", link),
        el("td", _short(page)),
        el("td", words or NOT_YET),
        data_paper=page.name,
        data_verdict="|".join(state for _, state in states) or NOT_YET,
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
    parts = [f"# {_short(page)}", f"{_linked(page.title)}: what it claims, as {source} writes it."]
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
    parts.append(f"**Predicted:** {'; '.join(str(one) for one in claim.predictions)}.")
    for result in found:
        parts += _result(result)
    if claim.remark:
        parts.append(f"**What we think.** {claim.remark}")
    at = found[0]["scale"] if found else next(iter(claim.scales))
    if not found:
        parts.append("Not run yet.")
    scale = "" if at == "laptop" else f" --scale {at}"
    return [*parts, f"```sh\nmanyviews claim {name}{scale}\n```"]


def _result(result: Mapping[str, Any]) -> list[str]:
    state = capital(result["verdict"]["state"])
    reasons = "\n".join(f"- {sentence}" for sentence in verdict_sentences(result))
    picture = drawing(result)
    drawn = []
    if picture is not None:
        drawn = [str(el("div", svg(picture, alone=False), style="max-width: 30rem"))]
    same = ", ".join(f"{key} {value}" for key, value in result["same"].items())
    seeds = f"seeds: {len(result['seeds'])}" if not result["exact"] or len(result["seeds"]) > 1 else ""
    alike = "; ".join(part for part in (same and f"the same for all: {same}", seeds) if part)
    facts = [f"**At {result['scale']} scale: {state}.**" + (f" {capital(alike)}." if alike else ""), reasons]
    return [*facts, *drawn, _table(result), _where(result)]


def _table(result: Mapping[str, Any]) -> str:
    percent, states = is_share(result), result["states"]
    head = ["Arm", result["measure"], "seed by seed", *(["representation", "what it is"] if states else [])]
    rows = []
    for arm, written in by_seed(result).items():
        told = [", ".join(map(str, states[arm])), result["arms"][arm]] if states else []
        rows.append([arm, mean_of(values(result)[arm], percent), ", ".join(written), *told])
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _where(result: Mapping[str, Any]) -> str:
    machine = result.get("machine") or {}
    on = machine.get("gpu") or machine.get("processor")
    commit = f", commit {result['commit'][:10]}" if result.get("commit") else ""
    version = (result.get("versions") or {}).get("torch")
    return (
        f"`{result['command']}`: {cost.in_words(result['seconds'])}"
        + (f" on {on}" if on else "")
        + (f", torch {version}" if version else "")
        + f"{commit}, {str(result.get('started', ''))[:10]}."
    )
