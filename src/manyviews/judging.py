"""What a finished run is worth, beside its baselines: what it is judged by, and the report that tells."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

from manyviews import distributed, plan
from manyviews.data import ItemSet, Reading, open_data
from manyviews.errors import ManyviewsError, NoSplit
from manyviews.evaluation import EncoderEmbedder, evaluate, held_apart, tells_apart
from manyviews.evaluation.baselines import raw
from manyviews.evaluation.sets import HELD_OUT
from manyviews.method import Paper, find
from manyviews.nets.encoder import Midway
from manyviews.recipe import record
from manyviews.report.run_page import write_report
from manyviews.runs import Run

PROTOCOLS = ("knn", "linear")  # what a finished run is judged by, where there are labels
MOST_PROBED = (
    200_000  # labels that the linear probe of a finished run learns from: of more, a share of every class
)
CANVAS = 2  # images of a folder are kept at this many times the side of a view, where memory allows


def judge(run: Run, images: ItemSet, data: Any, quiet: bool = False) -> None:
    """Enter what a finished run is worth, beside its baselines, and write ``report.html``."""
    sets = _sets(run, images, data)
    by_layer = ("layers",) if sets.labelled and isinstance(run.encoder, Midway) else ()
    figures, said = {"this encoder": sets.worth(run.embedder, by_layer)}, run.verdict()
    if said and not sets.labelled:
        figures["this encoder"]["labelfree"] |= said.as_dict()
    run.add_results(figures=figures)  # stands, whatever becomes of the baselines
    figures |= _each(sets, _baselines(run, sets, data, quiet))
    run.add_results(figures=figures, verdict=said and said.as_dict())
    write_report(run, sets.images, sets.test)


def judge_baselines(run: Run, images: ItemSet, data: Any, quiet: bool = False) -> None:
    """Enter what the baselines of a run that diverged are worth: they do not depend on what it learned."""
    sets = _sets(run, images, data)
    run.add_results(figures=_each(sets, _baselines(run, sets, data, quiet)))


def require_suits(baselines: Sequence[str], images: ItemSet) -> None:
    """Raises ``ManyviewsError`` where a baseline cannot learn from these items."""
    if "supervised" not in baselines:
        return
    if images.kind != (due := find("supervised").method.sees):
        raise ManyviewsError(
            f"The supervised baseline learns from {due}; {images.name} holds {images.kind}: leave it out of --baselines."
        )
    if not tells_apart(images) or images.classes is None:
        has = (
            "none"
            if images.labels is None
            else "no names for its classes"
            if images.classes is None
            else "only one class"
        )
        raise ManyviewsError(
            f"The supervised baseline learns from labels, and {images.name} has {has}: leave it out of --baselines."
        )


@dataclass(frozen=True)
class _Sets:
    """What a run is judged by."""

    images: ItemSet  # all that there was to learn from
    test: ItemSet | None  # the source's own
    rest: ItemSet  # what a judge may learn from: all, or what is left where a part is held out to judge by
    judged: ItemSet | None
    seed: int
    pose: dict[str, bool]  # `Recipe.pose`

    @property
    def labelled(self) -> bool:
        return tells_apart(self.images)

    def worth(self, embedder: Any, more: Sequence[str] = ()) -> dict[str, Any]:
        """Its figures by protocol, those asked for beside the usual ones among them."""
        protocols = (*(PROTOCOLS if self.labelled else ("labelfree",)), *more)
        judged = self.judged if self.labelled else None
        how: dict[str, Any] = {"seed": self.seed, **self.pose}
        if "linear" in protocols and len(self.rest) > MOST_PROBED:
            how["options"] = {"linear": {"label_fraction": MOST_PROBED / len(self.rest)}}
        return evaluate(embedder, self.rest, judged, protocols=protocols, **how)


def _sets(run: Run, images: ItemSet, data: Any) -> _Sets:
    root = run.settings["data"]["root"]
    if run.apart is not None:
        images = open_data(data, root=root, size=run.size, reading=run.apart)
    labelled = tells_apart(images)
    side = canvas(data, run.size, run.apart)
    test = held_out(data, side, root, run.rate, run.apart, labelled=labelled)
    # What nothing that is judged has learned the labels of; a run that learns from labels has left it out.
    hold = labelled and test is None
    rest, judged = held_apart(images) if hold else (images, test)
    return _Sets(images, test, rest, judged, run.recipe.seed, run.recipe.pose)


def _each(sets: _Sets, embedders: dict[str, Any]) -> dict[str, Any]:
    return {name: sets.worth(embedder) for name, embedder in embedders.items()}


def _baselines(run: Run, sets: _Sets, data: Any, quiet: bool) -> dict[str, Any]:
    images, made = sets.rest, dict[str, Any]()
    for name in run.settings["baselines"]:
        if name == "pixels":
            made |= raw(images, run.size)
        elif name == "random":
            made["random encoder"] = EncoderEmbedder(run.build(run.seen(sets.images)).encoder, run.size)
        elif tells_apart(images):
            made["supervised"] = _supervised(run, images, data, quiet).embedder
    return made


def _supervised(run: Run, images: ItemSet, data: Any, quiet: bool) -> Run:
    """The same net trained on the labels, by the supervised recipe for this data, in a run of its own inside this one."""
    path = run.path / "supervised"
    paper = find("supervised")
    same = {
        name: getattr(run.recipe, name) for name in ("net", "size", "upright", "mirror", "precision", "seed")
    }
    same["batch"] = min(run.recipe.batch, len(images))  # a part may be held out of what the run learned from
    pieces = run.recipe.accumulate * distributed.started()  # it learns on one device, with no more at a time
    same["accumulate"] = gcd(same["batch"], pieces)
    usual = {recipe.budget for _, recipe in run.paper.recipes.values()}
    if run.recipe.budget not in usual:  # it was asked how long
        same["budget"] = run.recipe.budget
    config, recipe = plan.changed(paper, *plan.base(paper, data), same)
    settings = run.settings | {
        "method": paper.name,
        "config": dataclasses.asdict(config),
        "recipe": dataclasses.asdict(recipe),
        "baselines": [],
        "init_from": None,
        "held_out": 0.0,  # what it learns from is the rest already
    }
    other = Run.open(path) if (path / "run.json").exists() else None
    # How many devices there are may have changed: it goes on in the pieces that it began with.
    was = other and (
        record(paper.config, other.settings["config"]),
        replace(other.recipe, accumulate=recipe.accumulate),
    )
    if other is None or was != (config, recipe):
        other = Run.create(path, settings, overwrite=path.exists())
    if other.train(images, quiet=quiet) == "interrupted":
        raise KeyboardInterrupt
    return other


# -- what it is judged by ---------------------------------------------------------------------------------------------


def canvas(data: Any, size: int, reading: Reading | None = None, whole: bool = False) -> int | None:
    """The ``size`` of `data.open_data` for what a net that sees images of ``size`` learns from or is judged by; of texts that many
    tokens. None, where ``whole`` images are asked for: files stay on the disk."""
    if reading or (isinstance(data, str) and data == "world"):
        return size
    return None if whole else CANVAS * size


def held_out(
    data: Any,
    side: int | None,
    root: str | Path | None,
    rate: int | None = None,
    reading: Reading | None = None,
    senses: Sequence[str] = (),
    labelled: bool = False,
    scored: bool = False,
) -> ItemSet | None:
    """What a source is judged by, its test split; None where it has none (a part of the training set is then held out).

    Where the training set is ``labelled``, a split without labels judges nothing: val, or else none, stands in for it;
    likewise one without scores, where that is ``scored``.
    """
    if not isinstance(data, (str, Path)):
        return None
    how: dict[str, Any] = {"root": root, "size": side, "senses": senses, "rate": rate, "reading": reading}

    def hidden(part: ItemSet | None) -> bool:
        return part is not None and ((labelled and part.labels is None) or (scored and part.pairs is None))

    test = _split(data, "test", how)
    if hidden(test):
        test = _split(data, "val", how)
    return None if hidden(test) else test


def _split(data: str | Path, split: str, how: dict[str, Any]) -> ItemSet | None:
    try:
        return open_data(data, split=split, **how)
    except NoSplit:
        return None


def share_held_out(
    paper: Paper, images: ItemSet, data: Any, side: int | None, root: str | Path | None
) -> float:
    """The share of the items that a method which learns from labels does not see, because nothing else is there to judge by."""
    if (
        not paper.method.supervised
        or not tells_apart(images)
        or held_out(data, side, root, images.rate, labelled=True) is not None
    ):
        return 0.0
    print(
        f"manyviews: {images.name} has no test split: {HELD_OUT:.0%} of it is held out to judge by",
        file=sys.stderr,
    )
    return HELD_OUT
