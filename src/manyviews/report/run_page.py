"""From a run's folder and its data to the page that tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from manyviews.data import ItemSet
from manyviews.evaluation import embed_all, neighbours
from manyviews.nets.encoder import Encoder
from manyviews.nets.watching import (
    attention_distance,
    class_maps,
    filters,
    position_similarity,
    reads_patches,
    rollout_maps,
    watch,
)
from manyviews.report.gaze import as_pictures
from manyviews.report.map import MOST, flat
from manyviews.report.page import write
from manyviews.report.story import Atlas, Confusion, Curve, Figure, Gaze, Neighbours, Quotes, Story
from manyviews.rng import generator
from manyviews.runs import Run
from manyviews.views import picture, pictures, plain, view_pictures
from manyviews.views.geometry import resize

SHEET = 8  # items whose views are shown
POINTS = 1_000  # of the map
QUERIES, NEAREST = 6, 6
QUOTED = 240  # characters of a text
THUMBNAIL = 32
WATCHED = 128  # images over which attention distances are averaged, as in ViT's paper
AT_ONCE = 16  # of them, whose attention is held at a time
ROLLED = 8  # images with their attention rolled out
SAID = {"knn": "kNN top-1", "linear": "linear top-1"}


def write_report(run: Run, train: ItemSet, test: ItemSet | None) -> Path:
    """Write ``report.html`` into the run's folder from what the folder holds and the data shows."""
    return write(tell(run, train, test), run.path / "report.html")


def tell(run: Run, train: ItemSet, test: ItemSet | None) -> Story:
    """The story of a finished run. Neighbours and map are of ``test``, or of ``train`` where there is no test set."""
    shown = _some(test if test is not None else train, POINTS, run.size)
    h_ND = embed_all(run.embedder, shown).h_ND
    quotes = _quotes(shown, h_ND)
    shown = _to_look_at(shown)
    figures = run.results().get("figures", {})
    rows = run.metrics()
    title, _, claim = run.paper.title.partition(":")
    best = figures.get("this encoder", {}).get("knn", {})
    classes = () if shown.classes is None else shown.classes
    return Story(
        title=f"{title} on {train.name}",
        subtitle=claim.strip().capitalize(),
        command=run.settings["command"],
        settings=_settings(run),
        verdict=_verdict(run),
        figures=_figures(figures),
        curves=_curves(rows, figures),
        sheet=_sheet(run, train),
        neighbours=_neighbours(shown, h_ND),
        quotes=quotes,
        atlas=_atlas(shown, h_ND),
        gaze=gaze(run.encoder, shown.values, run.size) if shown.values is not None else None,
        pictures=_pictures(run.path / "pictures"),
        written=written.read_text(encoding="utf-8") if (written := run.path / "written.txt").exists() else "",
        plain=("spread", "rankme", "uniformity"),
        confusion=Confusion(torch.tensor(best["confusion"]), classes)
        if best.get("confusion") and classes
        else None,
        per_class=dict(zip(classes, best["per_class"], strict=True)) if best and classes else {},
    )


def _pictures(folder: Path) -> dict[str, Image.Image]:
    return {file.stem: Image.open(file).convert("RGB") for file in sorted(folder.glob("*.png"))}


def _settings(run: Run) -> dict[str, dict[str, Any]]:
    data = {name: value for name, value in run.settings["data"].items() if name not in ("classes", "skipped")}
    machine = {
        **run.settings.get("versions", {}),
        "commit": run.settings.get("commit"),
        **run.settings.get("machine", {}),
    }
    return {
        "Method": run.settings["config"],
        "Recipe": run.settings["recipe"],
        "Data": data,
        "Machine": machine,
    }


def _looks(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if "verdict" in row]


def _verdict(run: Run) -> tuple[str, str] | None:
    said = run.verdict()
    return said and (said.state, said.sentence)


def _figures(figures: Mapping[str, Any]) -> list[Figure]:
    return [
        Figure(name, {SAID[key]: row[key]["top1"] for key in SAID if key in row} or _plain(row))
        for name, row in figures.items()
    ]


def _plain(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: row["labelfree"][name] for name in ("spread", "rankme", "uniformity") if "labelfree" in row}


def _curves(rows: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> list[Curve]:
    looks = _looks(rows)
    minutes = [row["seconds"] / 60 for row in rows]
    seen = [row["seconds"] / 60 for row in looks]
    curves = [Curve("Loss", "minutes", {"loss": (minutes, [row["loss"] for row in rows])})]
    if any("knn" in row for row in looks):
        at = {
            name: row["knn"]["top1"]
            for name, row in figures.items()
            if "knn" in row and name != "this encoder"
        }
        online = (seen, [row.get("knn") for row in looks])
        note = "Measured on training images during training, to show a trend; the table has the result."
        curves.append(Curve("Online kNN", "minutes", {"online kNN": online}, at, percent=True, note=note))
    probed = {name: row["layers"]["by_layer"] for name, row in figures.items() if "layers" in row}
    if probed:
        found = {name: (range(len(top1)), top1) for name, top1 in probed.items()}
        at = {
            name: row["linear"]["top1"]
            for name, row in figures.items()
            if "linear" in row and name not in probed
        }
        note = "Test accuracy of a linear probe on each layer; layer 0 is nearest to the image."
        curves.append(Curve("Linear top-1 by layer", "layer", found, at, percent=True, note=note))
    for name, title in {
        "rank": "Directions in use",
        "spread": "Spread",
        "closeness": "Closeness of views",
    }.items():
        if any(name in row for row in looks):
            curves.append(Curve(title, "minutes", {name: (seen, [row.get(name) for row in looks])}))
    return curves


def _some(data: ItemSet, count: int, size: int) -> ItemSet:
    """At most ``count`` items, always the same ones, in memory."""
    order = torch.randperm(len(data), generator=generator("report", len(data)))[: min(count, MOST)]
    some = data.subset(order.sort().values)
    return some if some.values is not None else some.resident(2 * size)


def _to_look_at(data: ItemSet) -> ItemSet:
    """The set with pictures in the place of what cannot be seen: sounds as their spectrograms, texts as none."""
    if data.kind == "images":
        return data
    if data.kind == "texts":
        return replace(data, values=None)
    assert data.values is not None
    return replace(data, values=pictures(data.values), kind="images", rate=None)


def _sheet(run: Run, train: ItemSet) -> Tensor | None:
    """Items as they are, each beside the views that the method learned from: uint8 ``[R, 1 + V, 3, S, S]``."""
    if train.kind == "texts":
        return None
    some = _some(train, SHEET, run.size)
    assert some.values is not None
    views = run.build(train).suited_views()
    seen = [view_pictures(view) for view in views(some.values, views.draw(len(some), "report"))]
    side = max(view.shape[-1] for view in seen)
    return torch.stack([resize(images, side, side) for images in (pictures(some.values), *seen)], dim=1)


def _neighbours(data: ItemSet, h_ND: Tensor) -> Neighbours | None:
    if len(data) <= NEAREST or data.values is None:
        return None
    queries, index, similarity, same = _nearest(data, h_ND)
    return Neighbours(data.values[queries], data.values[index], similarity, same)


def _quotes(data: ItemSet, h_ND: Tensor) -> Quotes | None:
    if len(data) <= NEAREST or data.kind != "texts":
        return None
    queries, index, similarity, same = _nearest(data, h_ND)
    said = [_quoted(data, row) for row in queries.tolist()]
    return Quotes(said, [[_quoted(data, row) for row in rows] for rows in index.tolist()], similarity, same)


def _quoted(data: ItemSet, item: int) -> str:
    """The beginning of a text, in one line."""
    text = " ".join((data.text(item) or "").split())
    return text if len(text) <= QUOTED else f"{text[:QUOTED]} …"


def _nearest(data: ItemSet, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Some items, those that lie nearest to each of them, how near, and whether they are of its class."""
    queries = torch.linspace(0, len(data) - 1, QUERIES).long().unique()
    if data.labels is not None:  # one query a class, as far as they go
        firsts = [
            int((data.labels == label).nonzero()[0]) for label in data.labels.unique()[:QUERIES].tolist()
        ]
        queries = torch.tensor(firsts)
    similarity, index = neighbours(h_ND, h_ND[queries], NEAREST + 1)
    similarity, index = similarity[:, 1:], index[:, 1:]  # the nearest to itself is the query
    same = None if data.labels is None else data.labels[index] == data.labels[queries][:, None]
    return queries, index, similarity, same


def _atlas(data: ItemSet, h_ND: Tensor) -> Atlas | None:
    if data.values is None:
        return None
    side = min(THUMBNAIL, data.values.shape[-1])
    thumbnails = resize(data.values, side, side)
    names = [Path(name).name for name in data.names]
    classes = () if data.classes is None else data.classes
    return Atlas(flat(h_ND), thumbnails, data.labels, classes, names)


def gaze(encoder: Encoder, image_N3HW: Tensor, size: int) -> Gaze | None:
    """What ``encoder`` looks at in uint8 images ``[N, 3, H, W]``, seen as squares of ``size`` pixels.

    ``None`` for an encoder that does not read patches by attention.
    """
    if not reads_patches(encoder) or len(image_N3HW) == 0:
        return None
    device = next(encoder.parameters()).device
    image_N3HW, cells = image_N3HW[:WATCHED], encoder.cells_of(size, size)
    total, maps, heads = torch.zeros(()), [], []
    for batch in image_N3HW.split(AT_ONCE):
        looks = watch(encoder, plain(batch.to(device), size))
        if not looks:
            return None
        far = [attention_distance(layer, cells, encoder.patch_size, encoder.first) for layer in looks]
        total = total + torch.stack(far).cpu() * len(batch) / len(image_N3HW)
        maps.append(rollout_maps([layer[:ROLLED] for layer in looks], cells, encoder.first).cpu())
        if (by_head := class_maps(looks[-1], cells, encoder.first)) is not None:
            heads.append(by_head.cpu())
    found = filters(encoder)
    similarity = position_similarity(encoder)
    return Gaze(
        distance=total,
        images=picture(plain(image_N3HW[:ROLLED], size)).cpu(),
        rollout=torch.cat(maps)[:ROLLED],
        heads=torch.cat(heads)[:ROLLED] if heads else None,
        filters=None if found is None or found.shape[1] not in (1, 3) else as_pictures(found.cpu()),
        similarity=None if similarity is None else similarity.cpu(),
    )
