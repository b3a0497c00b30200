"""Where a net that reads patches looks: how far each head, at what of an image, and how places resemble each other."""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from manyviews.report.curves import Axis
from manyviews.report.images import TINY, inline, picture
from manyviews.report.markup import Markup, el
from manyviews.report.numbers import number, short, ticks
from manyviews.report.sheet import grid
from manyviews.report.story import Gaze

HEAD_SIDE = 64  # pixels of an image beside its heads' maps, at least
PLACES = 8  # cells a side whose similarities are shown: of more, some are left out
RAMP = ((0.0, (29, 37, 80)), (0.5, (76, 111, 200)), (1.0, (253, 243, 196)))  # of a heat map


def gaze_pictures(found: Gaze) -> list[Markup | None]:
    """Everything that is there, as figures."""
    tiles = [figure for figure in (_filters(found), _similarity(found)) if figure is not None]
    return [
        _distance(found),
        _rollout(found),
        _heads(found),
        el("div", tiles, class_="columns tiles") if tiles else None,
    ]


def _distance(found: Gaze) -> Markup:
    """Layers from left to right; a dot is a head, a dash the mean of its layer."""
    layers, heads = found.distance.shape
    top = 1.05 * max(float(found.distance.max()), 1e-6)
    x_axis, y_axis = Axis(0.5, layers + 0.5), Axis(0.0, top)
    marks = [
        el("path", class_="rule", d=f"M0 {1000 * (1 - y_axis.at(tick)):.1f}h1000") for tick in ticks(0.0, top)
    ]
    for layer, row in enumerate(found.distance.tolist(), start=1):
        x, mean = 1000 * x_axis.at(layer), sum(row) / heads
        dots = "".join(f"M{x:.1f} {1000 * (1 - y_axis.at(far)):.1f}h0" for far in row)
        marks.append(el("path", class_="dot", d=dots))
        half = 300 / layers
        marks.append(
            el("path", class_="mean", d=f"M{x - half:.1f} {1000 * (1 - y_axis.at(mean)):.1f}h{2 * half:.1f}")
        )
    every = max(1, layers // 12)
    labels = [
        el("span", short(tick), class_="ytick", style=f"top:{100 * (1 - y_axis.at(tick)):.2f}%")
        for tick in ticks(0.0, top)
    ] + [
        el("span", str(layer), class_="xtick", style=f"left:{100 * x_axis.at(layer):.2f}%")
        for layer in range(1, layers + 1, every)
    ]
    means = found.distance.mean(dim=1).tolist()
    spoken = f"Attention distance. Mean of layer 1: {number(means[0])} pixels; of layer {layers}: {number(means[-1])}."
    svg = el("svg", marks, viewBox="0 0 1000 1000", preserveAspectRatio="none", aria_hidden="true")
    return el(
        "figure",
        el("figcaption", "Attention distance, pixels"),
        el("div", svg, labels, class_="area bare", role="img", aria_label=spoken),
        el("p", "layer", class_="xlabel"),
        el("p", f"Each dot is one of {heads} heads; the dash is the mean of the layer.", class_="note"),
    )


def _rollout(found: Gaze) -> Markup:
    """Each image beside itself, lit where the roll-out of attention says that its embedding comes from."""
    pairs = [
        el(
            "div",
            _shown(image, f"Item {k}"),
            _shown(lit(image, map_hw), f"Item {k}, attention"),
            class_="item",
        )
        for k, (image, map_hw) in enumerate(zip(found.images, found.rollout, strict=True), start=1)
    ]
    return el(
        "figure",
        el("figcaption", "What the embedding comes from"),
        el(
            "p",
            "Attention rolled out through all layers: an image is darkest where it contributes least, and unchanged where it contributes most.",
            class_="note",
        ),
        el("div", pairs, class_="looks"),
    )


def _heads(found: Gaze) -> Markup | None:
    """A row for each image: itself, and once for each head what the class token looks at in the last layer."""
    if found.heads is None:
        return None
    rows = [
        torch.stack([image, *[lit(image, map_hw) for map_hw in maps]])
        for image, maps in zip(found.images, found.heads, strict=True)
    ]
    shown, heads = torch.cat(rows), found.heads.shape[1]
    large = max(1, HEAD_SIDE // shown.shape[-1])
    shown = shown.repeat_interleave(large, 2).repeat_interleave(large, 3)
    note = (
        f"Each row: an image, then what the class token looks at in each of {heads} heads of the last layer."
    )
    return _tiles("What the heads look at", grid(shown, columns=1 + heads, gap=3), note)


def lit(image_3HW: Tensor, map_hw: Tensor) -> Tensor:
    """The image, uint8 ``[3, H, W]``, darkened where the map is low; the map's own largest value stays as it is."""
    low, high = map_hw.min(), map_hw.max()
    share = (map_hw - low) / (high - low).clamp(min=1e-12) if high > low else torch.ones_like(map_hw)
    light = F.interpolate(share[None, None].float(), image_3HW.shape[1:], mode="bilinear")[0]
    return (image_3HW.float() * (0.15 + 0.85 * light)).round().to(torch.uint8)


def _filters(found: Gaze) -> Markup | None:
    if found.filters is None or not len(found.filters):
        return None
    large = max(1, 32 // found.filters.shape[-1])
    shown = found.filters.repeat_interleave(large, 2).repeat_interleave(large, 3)
    note = f"The {len(shown)} leading principal components of the filters that a patch is projected on."
    return _tiles("Patch embedding", grid(shown, columns=7, gap=3), note)


def as_pictures(filter_KCPP: Tensor) -> Tensor:
    """Filters as uint8 ``[K, 3, P, P]``: nothing is grey, and each one's largest entry is black or white."""
    largest = filter_KCPP.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    return (127.5 * (1 + filter_KCPP / largest)).round().to(torch.uint8).expand(-1, 3, -1, -1)


def _similarity(found: Gaze) -> Markup | None:
    if found.similarity is None:
        return None
    h, w = found.similarity.shape[:2]
    rows = torch.linspace(0, h - 1, min(h, PLACES)).round().long()
    columns = torch.linspace(0, w - 1, min(w, PLACES)).round().long()
    tiles = heat(found.similarity[rows][:, columns].flatten(0, 1))
    large = max(1, 48 // max(h, w))
    shown = tiles.repeat_interleave(large, 2).repeat_interleave(large, 3)
    some = "" if len(rows) == h and len(columns) == w else " Some places are left out."
    note = f"Each tile is a place and shows its position's cosine with every other: −1 dark, 1 bright.{some}"
    return _tiles("Similarity of positions", grid(shown, columns=len(columns), gap=3), note)


def heat(cosine_Nhw: Tensor) -> Tensor:
    """Values in [-1, 1] as colours: uint8 ``[N, 3, h, w]``."""
    share = ((cosine_Nhw + 1) / 2).clamp(0, 1)
    stops = torch.tensor([stop for stop, _ in RAMP])
    colours = torch.tensor([colour for _, colour in RAMP], dtype=torch.float32)
    low = (torch.bucketize(share, stops, right=True) - 1).clamp(0, len(stops) - 2)
    part = ((share - stops[low]) / (stops[low + 1] - stops[low]))[..., None]
    mixed = colours[low] * (1 - part) + colours[low + 1] * part
    return mixed.round().to(torch.uint8).permute(0, 3, 1, 2)


def _tiles(title: str, sheet: Image.Image, note: str) -> Markup:
    shown = el("img", src=inline(sheet, 90), alt=f"{title}. {note}", width=sheet.width, height=sheet.height)
    return el("figure", el("figcaption", title), shown, el("p", note, class_="note"))


def _shown(image: Tensor, alt: str) -> Markup:
    small = picture(image, 128)
    kind = "tiny" if max(small.size) <= TINY else None
    return el("img", src=inline(small), alt=alt, width=small.width, height=small.height, class_=kind)
