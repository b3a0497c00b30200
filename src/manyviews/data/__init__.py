"""Where images and sounds come from: folders, named sets, arrays, the hub, and the embedded world; and batches of them."""

from manyviews.data.colours import colour_sample, rgb_covariance
from manyviews.data.decode import Unreadable, read
from manyviews.data.items import ItemSet, fits, in_memory, require, split_of, summary
from manyviews.data.loader import Drawn, batches, steps_per_epoch
from manyviews.data.reading import Reading
from manyviews.data.skipped import Skipped
from manyviews.data.sounds import read_sound
from manyviews.data.sources import is_named, open_data

__all__ = [
    "Drawn",
    "ItemSet",
    "Reading",
    "Skipped",
    "Unreadable",
    "batches",
    "colour_sample",
    "fits",
    "in_memory",
    "is_named",
    "open_data",
    "read",
    "read_sound",
    "require",
    "rgb_covariance",
    "split_of",
    "steps_per_epoch",
    "summary",
]
