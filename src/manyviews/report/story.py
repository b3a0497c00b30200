"""What a report tells, as plain data.

Nothing here knows of methods, training or disks: whoever makes a report fills these records, and the page
shows what is there. A part that is absent (``None`` or empty) leaves no trace on the page.

Shapes   R rows, V views, Q queries, K neighbours, N points, C classes, S s sides in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

Number = float | int | None
Series = tuple[Sequence[Number], Sequence[Number]]


@dataclass(frozen=True, eq=False)
class Figure:
    """What one encoder, or one baseline, is worth: a named row of figures.

    A metric whose every value lies in [0, 1] is shown in percent; ``Story.plain`` exempts metrics by name.
    A value that is ``None`` or not a number is shown as a dash.
    """

    name: str
    values: Mapping[str, Number]
    note: str = ""
    margins: Mapping[str, float] = field(default_factory=dict)
    """Half the width of the interval around a value, in the value's own unit; shown after ±."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Something that was watched over time: lines, and horizontal baselines to read them against.

    ``series`` maps a name to its ``(x values, y values)``, in the order of x; values that are not finite
    leave a gap in the line.
    """

    title: str
    x_label: str
    series: Mapping[str, Series]
    baselines: Mapping[str, float] = field(default_factory=dict)
    percent: bool = False
    log_y: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        for name, (xs, ys) in self.series.items():
            if len(xs) != len(ys):
                raise ValueError(
                    f"curve {self.title!r}, series {name!r}: {len(xs)} x values but {len(ys)} y values."
                )


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Queries and the images that lie nearest to them, nearest first."""

    query: Tensor
    """uint8 ``[Q, 3, S, S]``"""
    neighbours: Tensor
    """uint8 ``[Q, K, 3, S, S]``"""
    similarity: Tensor | None = None
    """float ``[Q, K]``, cosine"""
    same_class: Tensor | None = None
    """bool ``[Q, K]``"""
    names: Sequence[str] = ()
    """one per query"""
    captions: Sequence[Sequence[str]] = ()
    """``[Q][K]``, one per neighbour"""

    def __post_init__(self) -> None:
        need_images("neighbours.query", self.query, 4)
        need_images("neighbours.neighbours", self.neighbours, 5)
        count, near = self.neighbours.shape[:2]
        if len(self.query) != count:
            raise ValueError(f"neighbours: {len(self.query)} queries but neighbours for {count}.")
        for what, table in (("similarity", self.similarity), ("same_class", self.same_class)):
            if table is not None and tuple(table.shape) != (count, near):
                raise ValueError(f"neighbours.{what} is {list(table.shape)} and must be [{count}, {near}].")
        if self.names and len(self.names) != count:
            raise ValueError(f"neighbours: {len(self.names)} names for {count} queries.")
        if self.captions and [len(row) for row in self.captions] != [near] * count:
            raise ValueError(f"neighbours.captions must hold {count} rows of {near} captions.")


@dataclass(frozen=True, eq=False)
class Quotes:
    """Texts, and those that lie nearest to them, nearest first."""

    query: Sequence[str]
    neighbours: Sequence[Sequence[str]]
    """``[Q][K]``"""
    similarity: Tensor
    """float ``[Q, K]``, cosine"""
    same_class: Tensor | None = None
    """bool ``[Q, K]``"""

    def __post_init__(self) -> None:
        shape = tuple(self.similarity.shape)
        if [len(row) for row in self.neighbours] != [shape[1]] * len(self.query) or shape[0] != len(
            self.query
        ):
            raise ValueError(
                f"quotes: {len(self.query)} queries, neighbours for {len(self.neighbours)}, similarity {list(shape)}."
            )
        if self.same_class is not None and tuple(self.same_class.shape) != shape:
            raise ValueError(f"quotes.same_class is {list(self.same_class.shape)} and must be {list(shape)}.")


@dataclass(frozen=True, eq=False)
class Atlas:
    """A flat map of the embeddings (``report.flat`` makes one), with a small picture of every point."""

    xy: Tensor
    """float ``[N, 2]``"""
    thumbnails: Tensor
    """uint8 ``[N, 3, s, s]``"""
    labels: Tensor | None = None
    """int64 ``[N]``"""
    classes: Sequence[str] = ()
    names: Sequence[str] = ()
    """one per point"""

    def __post_init__(self) -> None:
        need_images("atlas.thumbnails", self.thumbnails, 4)
        count = len(self.thumbnails)
        if tuple(self.xy.shape) != (count, 2):
            raise ValueError(
                f"atlas.xy is {list(self.xy.shape)} and must be [{count}, 2], a row for each thumbnail."
            )
        if not torch.isfinite(self.xy).all():
            raise ValueError(
                "atlas.xy holds values that are not finite; drop those points before the map is drawn."
            )
        if self.labels is not None and len(self.labels) != count:
            raise ValueError(f"atlas: {len(self.labels)} labels for {count} points.")
        if self.names and len(self.names) != count:
            raise ValueError(f"atlas: {len(self.names)} names for {count} points.")


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often a class (row) was taken for another (column)."""

    counts: Tensor
    """``[C, C]``, rows are the truth"""
    classes: Sequence[str]

    def __post_init__(self) -> None:
        expected = (len(self.classes), len(self.classes))
        if tuple(self.counts.shape) != expected:
            raise ValueError(f"confusion.counts is {list(self.counts.shape)} and must be {list(expected)}.")


@dataclass(frozen=True, eq=False)
class Gaze:
    """What an encoder that reads patches looks at. L layers, H heads, h w cells of P pixels, K filters."""

    distance: Tensor
    """float ``[L, H]``: how far a head looks, in pixels"""
    images: Tensor
    """uint8 ``[B, 3, S, S]``"""
    rollout: Tensor
    """float ``[B, h, w]``: what of each image is in its embedding"""
    heads: Tensor | None = None
    """float ``[B, H, h, w]``: what each head of the last layer looks at for the class token"""
    filters: Tensor | None = None
    """uint8 ``[K, 3, P, P]``: components of what patches are projected on"""
    similarity: Tensor | None = None
    """float ``[h, w, h, w]``: cosine of the positions of two cells"""

    def __post_init__(self) -> None:
        need_images("gaze.images", self.images, 4)
        if self.filters is not None:
            need_images("gaze.filters", self.filters, 4)
        if self.distance.ndim != 2 or not torch.isfinite(self.distance).all():
            raise ValueError(
                f"gaze.distance is {list(self.distance.shape)}; it must be finite, [layers, heads]."
            )
        if self.rollout.ndim != 3 or len(self.rollout) != len(self.images):
            raise ValueError(f"gaze.rollout is {list(self.rollout.shape)} for {len(self.images)} images.")
        if self.heads is not None and (self.heads.ndim != 4 or len(self.heads) != len(self.images)):
            raise ValueError(f"gaze.heads is {list(self.heads.shape)} for {len(self.images)} images.")
        grid = None if self.similarity is None else tuple(self.similarity.shape)
        if grid is not None and (len(grid) != 4 or grid[:2] != grid[2:]):
            raise ValueError(f"gaze.similarity is {list(grid)} and must be [h, w, h, w].")


@dataclass(frozen=True, eq=False)
class Story:
    """Everything that the page of one run tells, top to bottom. ``figures[0]`` is what the run made."""

    title: str
    subtitle: str
    command: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    verdict: tuple[str, str] | None = None
    """the state in a word or two ("healthy", "collapsing", "plateaued") and a sentence that says why"""
    figures: Sequence[Figure] = ()
    plain: Sequence[str] = ()
    """metrics that are plain numbers, not shares, though they lie in [0, 1]"""
    curves: Sequence[Curve] = ()
    sheet: Tensor | None = None
    """uint8 ``[R, 1 + V, 3, S, S]``: items, each followed by its views"""
    neighbours: Neighbours | None = None
    quotes: Quotes | None = None
    atlas: Atlas | None = None
    gaze: Gaze | None = None
    pictures: Mapping[str, Image] = field(default_factory=dict)
    """what the method shows of some images, by title"""
    written: str = ""
    """what it writes"""
    confusion: Confusion | None = None
    per_class: Mapping[str, float] = field(default_factory=dict)
    """class name to the share of its items that were named correctly"""

    def __post_init__(self) -> None:
        if self.sheet is not None:
            need_images("sheet", self.sheet, 5)


@dataclass(frozen=True, eq=False)
class Contender:
    """One method of a comparison: each metric's figure for every seed, in the order of the seeds."""

    name: str
    values: Mapping[str, Sequence[Number]]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several methods on the same data, network and budget."""

    title: str
    subtitle: str
    command: str
    budget: str
    """what each run was given, in words: "10 minutes on 2 CPU cores" """
    contenders: Sequence[Contender]
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """what needs no learning, or all labels: name to figures, drawn as dashed lines ("raw pixels")"""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    plain: Sequence[str] = ()


def need_images(what: str, images: Tensor, dims: int) -> None:
    """Refuse anything but uint8 RGB images with ``dims`` dimensions (``[..., 3, H, W]``)."""
    if images.dtype != torch.uint8 or images.ndim != dims or images.shape[-3] != 3:
        raise ValueError(
            f"{what} is {images.dtype} {list(images.shape)}; it must be uint8 RGB with {dims} dimensions, "
            "[..., 3, height, width]."
        )
