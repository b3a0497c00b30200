"""Use what was learned: embed with it, search with it, hand it over."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyviews import vectors
from manyviews.data import ItemSet, is_named, open_data, read, read_sound
from manyviews.data.corpus_sources import is_named_corpus
from manyviews.data.reading import laid_out
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.evaluation import Features, embed_all, neighbours
from manyviews.files import replacing, writable
from manyviews.given import Given, opened, require_suits, sensed
from manyviews.nets import sees
from manyviews.nets.interop import Exported
from manyviews.nets.interop import export as write_for
from manyviews.runs import Run
from manyviews.views import pictures

SUFFIX = {
    "onnx": ".onnx",
    "transformers": "",
}  # of an exported file, or of a folder; .safetensors for all others
SHOWN = 320  # pixels that the short side of a photo has at least on a contact sheet


def embed(
    run: str | Path | Run, data: Any, *, out: str | Path | None = None, data_root: str | Path | None = None
) -> Features:
    """Embed every image of ``data``; with ``out``, also write a table of paths, labels and vectors.

    Args:
        run: a run, or what ``load`` opens.
        data: anything that ``pretrain`` takes.
        out: ``.parquet``, ``.npz`` or ``.csv``; None: no file.
        data_root: where named sets are.

    Raises:
        ManyviewsError: the suffix of ``out`` is none of these.
    """
    run = opened(run)
    images = every_item(run, data, data_root)
    require_suits(run, images)
    writer = None if out is None else vectors.writer(Path(out))
    features = embed_all(run.embedder, images)
    if writer is not None and out is not None:
        writer(Path(out), images, features)
    return features


def every_item(run: Run, data: Any, root: str | Path | None) -> ItemSet:
    """Every image, sound or text of a source: of a folder with splits all of them, of a named set its training split."""
    data = sensed(run, data)
    known = is_named_corpus if run.apart else is_named
    is_path = (
        isinstance(data, (str, Path))
        and not known(str(data))
        and any(
            Path(place).expanduser().exists()
            for place in (str(data), str(data).rpartition("#")[0])  # a table, or some of its columns
            if place
        )
    )
    drawn = isinstance(data, str) and data == "world"
    split, size = "all" if is_path else "train", run.size if run.apart or drawn else None
    return open_data(data, split=split, root=root, rate=run.rate, size=size, reading=run.apart)


@dataclass(frozen=True)
class Told:
    """What a classifier says of one item."""

    path: str
    label: str
    probability: float  # of that class, by the softmax over all


def classify(
    run: str | Path | Run, data: Any, *, out: str | Path | None = None, data_root: str | Path | None = None
) -> list[Told]:
    """Say the class of every image of ``data``, by the classifier that a run learned; with ``out``, also write a table.

    Args:
        run: a run that learned classes (``supervised``, ``distillation``), or its folder.
        data: anything that ``pretrain`` takes; labels are not looked at.
        out: ``.csv`` or ``.parquet``, with the columns path, label and probability; None: no file.
        data_root: where named sets are.

    Raises:
        ManyviewsError: the run learned no classifier, or ``out`` cannot be written.
    """
    run = opened(run)
    if not run.finished:
        raise ManyviewsError(f"{run.path} has not finished; `manyviews resume {run.path}` goes on with it.")
    if sees(run.recipe.net) == "texts":
        raise ManyviewsError(
            f"{run.path} reads texts, of which no run keeps a classifier: embed them, and train a classifier on the vectors."
        )
    if (classifier := run.classifier) is None:
        begins = (
            f"--net {run.recipe.net} --pretrained {run.path.parts[0]}"
            if isinstance(run, Given)
            else f"--init-from {run.path}"
        )
        raise ManyviewsError(
            f"{run.path} has learned no classes; `manyviews pretrain supervised --recipe finetune {begins} --data labelled/` "
            "learns some."
        )
    images = every_item(run, data, data_root)
    require_suits(run, images)
    write = None if out is None else vectors.table_writer(Path(out))
    seen = embed_all(run.embedder, images)
    device = classifier.head.weight.device
    with torch.no_grad():
        share_NK = torch.cat(
            [classifier.head(h_BD.to(device)).softmax(1).cpu() for h_BD in seen.h_ND.split(4096)]
        )
    best_N, label_N = share_NK.max(1)
    rows = range(len(images)) if seen.index is None else seen.index.tolist()
    told = [
        Told(str(images.names[row]), classifier.classes[label], share)
        for row, label, share in zip(rows, label_N.tolist(), best_N.tolist(), strict=True)
    ]
    if write is not None:
        write({name: [getattr(one, name) for one in told] for name in ("path", "label", "probability")})
    return told


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
        run: a run, or what ``load`` opens.
        data: what is searched; anything that ``pretrain`` takes.
        query: an image file; for a run that learned from texts, the text itself.
        k: how many.
        sheet: where to write a contact sheet of what was found (PNG); None, or of texts: nowhere.
        data_root: where named sets are.

    Raises:
        ManyviewsError: the query cannot be read, or there is nothing to search.
    """
    run = opened(run)
    if sheet is not None and not writable(sheet):
        raise ManyviewsError(
            f"The contact sheet {sheet} cannot be written: give another place for it (--sheet)."
        )
    if k < 1:
        raise ManyviewsError(f"--k is {k}; ask for at least one neighbour.")
    asked = _asked(run, query)
    images = every_item(run, data, data_root)
    require_suits(run, images)
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
        run: a run, or what ``load`` opens.
        to: timm, torchvision, transformers, onnx or safetensors.
        out: the file, or transformers' folder; None: beside the run's encoder.

    Raises:
        ManyviewsError: that library has no such net; says which formats do. Or it is no run's, and there is no ``out``.
    """
    run = opened(run)
    if out is None and isinstance(run, Given):
        raise ManyviewsError(f"{run.path} has no folder to be written to; say where with --out (out=).")
    default = run.path / f"encoder-{to}{SUFFIX.get(to, '.safetensors')}"
    made = write_for(run.encoder, Path(out) if out is not None else default, to, size=run.size)  # pyright: ignore[reportArgumentType]
    if made.path.is_dir() and run.words.exists():  # transformers' folder, which holds the tokens too
        Tokeniser.load(run.words).save(made.path)
    return made
