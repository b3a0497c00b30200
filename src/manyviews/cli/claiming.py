"""Commands about what papers claim: claims lists them, claim tests one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyviews.cli.shared import parse, positional, print_json, tell, typed
from manyviews.errors import ManyviewsError


def claims_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Claims:
        """List the papers' claims, each with its cost at every scale (measured, or expected where marked ~) and its last verdict."""

        scale: str | None = None  # laptop or gpu; if not given, both
        cache: Path | None = None  # folder of the runs; if not given, MANYVIEWS_CACHE or the user's cache
        out: Path | None = None  # folder of the results; if not given, docs/claims of a clone, else claims
        json: bool = False  # print one JSON object

    ask = parse(Claims, words, "claims")
    from manyviews.claims.every import claimed

    found = claimed(ask.scale, cache=ask.cache, out=ask.out)
    if ask.json:
        print_json(found)
        return
    print("\n".join(_listed(found, ask.scale)))


def _listed(found: dict[str, Any], only: str | None) -> Iterator[str]:
    """Two lines a claim under the title of its paper; names stay whole in any terminal."""
    paper = None
    for name, row in found.items():
        if row["paper"] != paper:
            yield ("" if paper is None else "\n") + row["paper"]
            paper = row["paper"]
        told = [
            f"{scale}: {_state(state)}" for scale, state in row["scales"].items() if only in (None, scale)
        ]
        yield f"  {name}  {'; '.join(told)}"
        yield f"      {row['sentence']}"


def _state(row: dict[str, Any]) -> str:
    """The last verdict of a claim at a scale, what it is of where not of the claim of today, and what the claim costs."""
    from manyviews.claims.cost import in_words

    cost = None if row["seconds"] is None else ("" if row["measured"] else "~") + in_words(row["seconds"])
    verdict = row["verdict"] and row["verdict"] + (f" ({row['stale']})" if row["stale"] else "")
    return ", ".join(part for part in (verdict, cost) if part) or "not run"


def claim_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Claim:
        """Run the experiment behind a claim, and say whether it holds. What was trained once is not trained again."""

        name: positional(str | None, "name of the claim; `manyviews claims` lists all") = None  # pyright: ignore[reportInvalidTypeForm]
        all: bool = False  # claims that fit into --budget: those without a current verdict, cheapest, first
        budget: str | None = None  # time for --all: 30m, 2h; if not given, as long as it takes
        scale: str = "laptop"  # laptop or gpu
        seeds: int | None = None  # runs per arm, if the claim trains; if not given, as many as it states
        cache: Path | None = None  # folder of the runs; if not given, MANYVIEWS_CACHE or the user's cache
        out: Path | None = None  # folder of the results; if not given, docs/claims of a clone, else claims
        jobs: int = 1  # runs to train side by side, each with its share of the cores
        lean: bool = False  # keep only the figures of each run
        json: bool = False  # print one JSON object

    ask = parse(Claim, words, "claim")
    from manyviews.claims.engine import claim
    from manyviews.claims.every import claim_all

    if ask.all == (ask.name is not None):
        raise ManyviewsError("Say which claim, or --all; `manyviews claims` lists them.")
    if ask.budget is not None and not ask.all:
        raise ManyviewsError("--budget is for --all; a single claim itself states how long its runs are.")

    asked = {key: getattr(ask, key) for key in ("seeds", "cache", "out", "jobs", "lean")}
    command = typed("claim", words)
    if ask.name is None:
        results = claim_all(ask.budget, ask.scale, say=tell, command=command, **asked)
    else:
        results = {ask.name: claim(ask.name, ask.scale, say=tell, command=command, **asked)}
    if ask.json:
        print_json(results if ask.name is None else results[ask.name])
        return
    for result in results.values():
        _show(result)


def _show(result: dict[str, Any]) -> None:
    """Table, plot and verdict."""
    from rich.console import Console
    from rich.table import Table

    from manyviews.claims.plot import lines
    from manyviews.claims.words import by_seed, is_share, mean_of, values, verdict_sentences

    percent, states = is_share(result), result["states"]
    table = Table("", result["measure"], *(f"seed {seed}" for seed in result["seeds"]))
    for arm, cells in by_seed(result).items():
        if states:
            cells = [f"{cell} {state}" for cell, state in zip(cells, states[arm], strict=True)]
        table.add_row(arm, mean_of(values(result)[arm], percent), *cells)
    print(f"{result['claim']}: {result['sentence']} ({result['source']})\n")
    Console().print(table)
    print("\n".join(["", *lines(result), ""]))
    if result["paper"]:
        print(f"the paper: {result['paper']}")
    print(f"{result['verdict']['state'].upper()}: {' '.join(verdict_sentences(result))}")
