"""How one item becomes many views: batched, on the device, one set of parameters per sample."""

from manyviews.views.pipeline import MEAN, STD, Views, normalise, picture, plain
from manyviews.views.view import Draws, Matrix, View

__all__ = ["MEAN", "STD", "Draws", "Matrix", "View", "Views", "normalise", "picture", "plain"]
