"""Use what was learned: judge it, embed with it, search with it, hand it over."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyviews import judging, plan, vectors
from manyviews.data import ItemSet, open_data, read, read_sound, summary
from manyviews.data.reading import laid_out
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.evaluation import PROTOCOLS, Features, embed_all, held_apart, neighbours, tells_apart
from manyviews.evaluation import evaluate as judge
from manyviews.files import replacing, writable
from manyviews.nets import sees
from manyviews.nets.interop import Exported
from manyviews.nets.interop import export as write_for
from manyviews.runs import Run
from manyviews.views import pictures

SUFFIX = {
    "onnx": ".onnx",
    "transformers": "",
}  # of an exported file, or of a folder; .safetensors for all others
# Figures of which several seeds give a mean and a deviation.
MEANT = ("top1", "pretrained", "miou", "f1", "exact")
SHOWN = 320  # pixels that the short side of a photo has at least on a contact sheet
LEAST = 96  # pixels that a picture's side is enlarged to where it is smaller, by whole multiples


def load(path: str | Path) -> Run:
    """Open a run: ``manyviews.load("runs/photos").embed(images)``.

    Raises:
        ManyviewsError: there is no run there.
    """
    return Run.open(path)


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
    """What a run's encoder is worth, by any of ``evaluation.PROTOCOLS``; also entered in ``results.json``.

    Args:
        run: a run or its folder.
        data: labelled images; None: the run's own data. Of its own data the verdict is that of the run, which also looked at
            what its loss compares; of others that of one look.
        protocol: none: knn, or labelfree where there are no labels. Else of knn, linear, linear-sgd, finetune, linear-1%,
            finetune-10%, scratch, layers, last-layers, labelfree ...; tag and span of texts with marks; segment and
            segment-linear where the data has a class of every pixel, which also write into the run's ``pictures/``; and
            where the run learned a classifier, single, ten-crop, dense, multi-scale.
        data_root: where named sets are; None: where they were when the run began.
        seeds: how often each protocol is repeated with another seed; several give mean and deviation of top-1, mean IoU, F1 ...
        seed: the first of them.
        options: by protocol, e.g. ``{"finetune": {"lr": 1e-4, "layer_decay": 0.65}}``.

    Raises:
        ManyviewsError: an unknown protocol, or one that this data cannot serve.
    """
    if seeds < 1:
        raise ManyviewsError(f"--seeds is {seeds}; it must be at least 1.")
    run = run if isinstance(run, Run) else load(run)
    root = data_root if data_root is not None else run.settings["data"]["root"]
    source = run.recipe.data if data is None else _sensed(run, data)
    if isinstance(source, str) and not source:
        raise ManyviewsError(f"{run.path} learned from an array; say with data= what to judge it by.")
    drawn = isinstance(source, str) and source == "world"
    side = run.size if run.apart or drawn else judging.CANVAS * run.size
    enters = writable(run.path / "results.json")
    if not enters:
        print(
            f"manyviews: {run.path} cannot be written to, so the figures are not entered there",
            file=sys.stderr,
        )
    dense = {sense for name in protocol if name in PROTOCOLS for sense in PROTOCOLS[name].senses}
    senses = tuple(sorted(dense)) if drawn else ()  # other sets have what they have
    given = {"rate": run.rate, "reading": run.apart, "senses": senses}
    train = open_data(source, split="train", root=root, size=side, **given)
    _require_suits(run, train)
    labelled = train.labels is not None and not dense
    test = judging.held_out(source, run.size, root, labelled=labelled, **given)
    protocol = protocol or ("knn" if tells_apart(train) else "labelfree",)
    own = data is None or summary(train)["digest"] == run.settings["data"]["digest"]
    seen = own and test is None
    if seen and run.settings.get("held_out"):
        train, test = held_apart(train)
    elif asked := [name for name in protocol if seen and _knows_labels(run, name)]:
        raise ManyviewsError(
            f'{train.name} has no test split, and what "{asked[0]}" judges has learned from the labels of all of it; '
            "give other images with --data."
        )
    options = dict(options or {})
    if "scratch" in protocol:
        options["scratch"] = {**_cost(run), **options.get("scratch", {})}
    settings = {"protocols": protocol, "options": options, "classifier": run.classifier}
    judged = test if train.labels is not None or dense else None
    all_seeds = [
        judge(
            run.embedder,
            train,
            judged,
            seed=seed + more,
            show=_shown(run) if enters and not more else None,
            **settings,
        )
        for more in range(seeds)
    ]
    figures = all_seeds[0]
    if own and "labelfree" in figures and (said := run.verdict()):
        figures["labelfree"] |= said.as_dict()
    if seeds > 1:
        found = [(name, key) for name in figures for key in MEANT if key in figures[name]]
        for name, key in found:
            each = torch.tensor([one[name][key] for one in all_seeds], dtype=torch.float64)
            figures[name] |= {
                f"{key}_mean": each.mean().item(), f"{key}_std": each.std().item(), "seeds": seeds,
            }  # fmt: skip
    if enters:
        run.add_results(on=train.name, **figures)
    return {"run": str(run.path), "data": train.name, "figures": figures}


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
    last, cost = run.metrics()[-1], run.settings.get("cost")
    items = None if cost is None else round(last["items"] * cost)
    return {"pretraining_items": items, "pretraining_seconds": last["seconds"]}


def embed(
    run: str | Path | Run, data: Any, *, out: str | Path | None = None, data_root: str | Path | None = None
) -> Features:
    """Embed every image of ``data``; with ``out``, also write a table of paths, labels and vectors.

    Args:
        run: a run or its folder.
        data: anything that ``pretrain`` takes.
        out: ``.parquet``, ``.npz`` or ``.csv``; None: no file.
        data_root: where named sets are.

    Raises:
        ManyviewsError: the suffix of ``out`` is none of these.
    """
    run = run if isinstance(run, Run) else load(run)
    images = every_item(run, data, data_root)
    _require_suits(run, images)
    writer = None if out is None else vectors.writer(Path(out))
    features = embed_all(run.embedder, images)
    if writer is not None and out is not None:
        writer(Path(out), images, features)
    return features


def _sensed(run: Run, data: Any) -> Any:
    """The data, and of the world what the run's method sees of it, whose file is not opened for anything else."""
    return plan.sensed(run.paper, data) if isinstance(data, str) and data == "world" else data


def _require_suits(run: Run, data: ItemSet) -> None:
    """Raises ``ManyviewsError`` for data of another kind than the run's net reads."""
    if data.kind != sees(run.recipe.net):
        run.paper.suits(data.kind, data.name)


def every_item(run: Run, data: Any, root: str | Path | None) -> ItemSet:
    """Every image, sound or text of a source: of a folder with splits all of them, of a named set its training split."""
    data = _sensed(run, data)
    is_path = isinstance(data, (str, Path)) and any(
        Path(place).expanduser().exists()
        for place in (str(data), str(data).rpartition("#")[0])  # a table, or some of its columns
        if place
    )
    drawn = isinstance(data, str) and data == "world"
    split, size = "all" if is_path else "train", run.size if run.apart or drawn else None
    return open_data(data, split=split, root=root, rate=run.rate, size=size, reading=run.apart)


@dataclass(frozen=True)
class Found:
    """One neighbour of a query."""

    path: str
    distance: float  # 1 - cosine, in [0, 2]
    text: str | None = None  # of texts: what it says, as far as the encoder reads


def search(
    run: str | Path | Run,
    data: Any,
    *,
    query: str | Path,
    k: int = 10,
    sheet: str | Path | None = None,
    data_root: str | Path | None = None,
) -> list[Found]:
    """The k items of ``data`` nearest to the image or sound file ``query``, or to that text, nearest first.

    Args:
        run: a run or its folder.
        data: what is searched; anything that ``pretrain`` takes.
        query: an image file; for a run that learned from texts, the text itself.
        k: how many.
        sheet: where to write a contact sheet of what was found (PNG); None, or of texts: nowhere.
        data_root: where named sets are.

    Raises:
        ManyviewsError: the query cannot be read, or there is nothing to search.
    """
    run = run if isinstance(run, Run) else load(run)
    if sheet is not None and not writable(sheet):
        raise ManyviewsError(
            f"The contact sheet {sheet} cannot be written: give another place for it (--sheet)."
        )
    if k < 1:
        raise ManyviewsError(f"--k is {k}; ask for at least one neighbour.")
    asked = _asked(run, query)
    images = every_item(run, data, data_root)
    _require_suits(run, images)
    bank = embed_all(run.embedder, images)
    similarity, index = neighbours(bank.h_ND, run.embedder.embed(asked[None]).cpu(), k)
    rows = index[0] if bank.index is None else bank.index[index[0]]
    found = [
        Found(str(images.names[row]), 1.0 - score, images.text(row))
        for row, score in zip(rows.tolist(), similarity[0].tolist(), strict=True)
    ]
    if sheet is not None and images.kind != "texts":
        asked, *shown = (
            pictures(item[None])[0]
            for item in (asked, *(images.read_at(row, SHOWN) for row in rows.tolist()))
        )
        _contact_sheet(asked, shown, found, str(query), Path(sheet))
    return found


def _asked(run: Run, query: str | Path) -> Tensor:
    """What is searched for, as one item."""
    if run.apart is not None:
        return laid_out([str(query)], Tokeniser.load(run.words), run.size)[0]
    return read_sound(query, run.rate) if sees(run.recipe.net) == "sounds" else read(Path(query))


def _contact_sheet(query: Tensor, pictures: list[Tensor], found: list[Found], name: str, out: Path) -> None:
    from manyviews.report import contact_sheet

    captions = [f"{Path(one.path).name}\n{one.distance:.3f}" for one in found]
    with replacing(out) as file:
        contact_sheet(query, pictures, captions, query_caption=Path(name).name).save(file, format="PNG")


def export(run: str | Path | Run, *, to: str, out: str | Path | None = None) -> Exported:
    """Write the encoder for another library; returns the file and the line of Python that loads it there.

    Args:
        run: a run or its folder.
        to: timm, torchvision, transformers, onnx or safetensors.
        out: the file, or transformers' folder; None: beside the run's encoder.

    Raises:
        ManyviewsError: that library has no such net; says which formats do.
    """
    run = run if isinstance(run, Run) else load(run)
    default = run.path / f"encoder-{to}{SUFFIX.get(to, '.safetensors')}"
    made = write_for(run.encoder, Path(out) if out is not None else default, to, size=run.size)  # pyright: ignore[reportArgumentType]
    if made.path.is_dir() and run.words.exists():  # transformers' folder, which holds the tokens too
        Tokeniser.load(run.words).save(made.path)
    return made
