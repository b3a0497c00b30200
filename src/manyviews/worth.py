"""What an encoder is worth, by any protocol, on any data."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyviews import judging
from manyviews.data import ItemSet, open_data, summary
from manyviews.errors import ManyviewsError
from manyviews.evaluation import PROTOCOLS, held_apart, tells_apart
from manyviews.evaluation import evaluate as judge
from manyviews.evaluation.protocols import DENSE
from manyviews.files import replacing, writable
from manyviews.given import Given, opened, require_suits, sensed
from manyviews.runs import Run

# Figures of which several seeds give a mean and a deviation.
MEANT = ("top1", "pretrained", "miou", "f1", "exact")
LEAST = 96  # pixels that a picture's side is enlarged to where it is smaller, by whole multiples


def evaluate(
    run: str | Path | Run,
    data: Any = None,
    *,
    protocol: Sequence[str] = (),
    data_root: str | Path | None = None,
    seeds: int = 1,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """What an encoder is worth, by any of ``evaluation.PROTOCOLS``; of a run also entered in its ``results.json``.

    Args:
        run: a run, or what ``load`` opens: its folder, a pretrained net, an encoder's file.
        data: labelled images; None: the run's own data. On its own data the verdict is the run's, which also looked at
            what its loss compares; on other data it rests on one look.
        protocol: empty: knn, or labelfree where there are no labels. Else any of knn, linear, linear-sgd, finetune, linear-1%,
            finetune-10%, scratch, layers, last-layers, labelfree ...; tag and span of texts with marks; sts of pairs that are said to be alike or not; segment and
            segment-linear where the data has a class of every pixel, which also write into the run's ``pictures/``; and
            where the run learned a classifier, single, ten-crop, multi-crop, dense, multi-scale.
        data_root: where named sets are; None: where they were when the run began.
        seeds: how often each protocol is repeated with another seed; several give mean and deviation of top-1, mean IoU, F1 ...
        seed: the first of them.
        options: by protocol, e.g. ``{"finetune": {"lr": 1e-4, "layer_decay": 0.65}}``.

    Raises:
        ManyviewsError: an unknown protocol, or one that this data cannot serve.
    """
    if seeds < 1:
        raise ManyviewsError(f"--seeds is {seeds}; it must be at least 1.")
    run = opened(run)
    train, test, own = _sets(run, data, protocol, data_root)
    protocol = protocol or ("knn" if tells_apart(train) else "labelfree",)
    options = dict(options or {})
    if "scratch" in protocol:
        options["scratch"] = {**_cost(run), **options.get("scratch", {})}
    how: dict[str, Any] = {"classifier": run.classifier, "seen": {}, **run.recipe.pose}
    shows = not isinstance(run, Given) and writable(run.path / "results.json")
    show = _shown(run) if shows else None
    figures = judge(
        run.embedder, train, test, protocols=protocol, options=options, seed=seed, show=show, **how
    )
    if own and "labelfree" in figures and (said := run.verdict()):
        figures["labelfree"] |= said.as_dict()
    again = [name for name in protocol if PROTOCOLS[name].drawn]
    how["options"] = {name: options[name] for name in again if name in options}
    others = [
        judge(run.embedder, train, test, protocols=again, seed=seed + more, **how)
        for more in range(1, seeds if again else 1)
    ]
    for name, key in [(name, key) for name in again for key in MEANT if others and key in figures[name]]:
        each = torch.tensor([of[name][key] for of in (figures, *others)], dtype=torch.float64)
        figures[name] |= {f"{key}_mean": each.mean().item(), f"{key}_std": each.std().item(), "seeds": seeds}

    def entered(results: dict[str, Any]) -> dict[str, Any]:
        by_data = results.get("evaluations", {})
        return {"evaluations": by_data | {train.name: by_data.get(train.name, {}) | figures}}

    run.enter(entered)
    return {"run": str(run.path), "data": train.name, "figures": figures}


def _sets(
    run: Run, data: Any, protocol: Sequence[str], data_root: str | Path | None
) -> tuple[ItemSet, ItemSet | None, bool]:
    """What may be learned from, what is judged (None: a part of that), and whether these are the run's own data."""
    root = data_root if data_root is not None else run.settings["data"]["root"]
    source = run.recipe.data if data is None else sensed(run, data)
    if isinstance(source, str) and not source:
        learned = "was trained elsewhere" if isinstance(run, Given) else "was trained on an array or Dataset"
        raise ManyviewsError(f"{run.path} {learned}; say with --data (data=) which data to judge it by.")
    drawn = isinstance(source, str) and source == "world"
    asked = [PROTOCOLS[name] for name in protocol if name in PROTOCOLS]
    dense = {sense for one in asked for sense in one.senses}
    senses = DENSE if drawn and dense & {*DENSE} else ()  # other sets have what they have
    given = {"root": root, "rate": run.rate, "reading": run.apart, "senses": senses}
    side = judging.canvas(source, run.size, run.apart, whole=any(one.whole for one in asked))
    train = open_data(source, split="train", size=side, **given)
    require_suits(run, train)
    labelled = train.labels is not None and not dense
    test = judging.held_out(source, side, labelled=labelled, scored=train.pairs is not None, **given)
    own = data is None or summary(train)["digest"] == run.settings["data"]["digest"]
    if own and test is None:
        if run.settings.get("held_out"):
            return *held_apart(train), own
        if learned := [name for name in protocol if _knows_labels(run, name)]:
            raise ManyviewsError(
                f'{train.name} has no test split, and what "{learned[0]}" judges was trained on the labels of the whole set; '
                "give other images with --data."
            )
    return train, test if train.labels is not None or dense else None, own


def _knows_labels(run: Run, name: str) -> bool:
    """Whether what a protocol judges by labels has learned from them."""
    return name in PROTOCOLS and (
        PROTOCOLS[name].classifier or (run.paper.method.supervised and PROTOCOLS[name].labels)
    )


def _shown(run: Run) -> Callable[[str, Tensor], None]:
    """Writes what a protocol has to show into the run's pictures."""

    def write(title: str, sheet_RC3SS: Tensor) -> None:
        from manyviews.report.sheet import views_sheet

        times = max(1, LEAST // sheet_RC3SS.shape[-1])
        large = sheet_RC3SS.repeat_interleave(times, -1).repeat_interleave(times, -2)
        with replacing(run.path / "pictures" / f"{title}.png") as file:
            views_sheet(large).save(file, "PNG")

    return write


def _cost(run: Run) -> dict[str, Any]:
    """What the run has cost: seconds, and images of its size that it learned from, where it knows."""
    if isinstance(run, Given):
        return {}
    last, cost = run.metrics()[-1], run.settings.get("cost")
    items = None if cost is None else round(last["items"] * cost)
    return {"pretraining_items": items, "pretraining_seconds": last["seconds"]}
