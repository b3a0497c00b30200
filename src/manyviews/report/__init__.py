"""Pages and pictures: plain data in, one file out. Knows nothing of methods or training."""

from manyviews.report.compare import compare_page
from manyviews.report.map import flat
from manyviews.report.page import page, write
from manyviews.report.sheet import contact_sheet, grid, views_sheet
from manyviews.report.story import (
    Atlas,
    Comparison,
    Confusion,
    Contender,
    Curve,
    Figure,
    Gaze,
    Neighbours,
    Quotes,
    Story,
)

__all__ = [
    "Atlas",
    "Comparison",
    "Confusion",
    "Contender",
    "Curve",
    "Figure",
    "Gaze",
    "Neighbours",
    "Quotes",
    "Story",
    "compare_page",
    "contact_sheet",
    "flat",
    "grid",
    "page",
    "views_sheet",
    "write",
]
