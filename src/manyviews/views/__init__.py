"""How one item becomes many views: batched, on the device, one set of parameters per sample."""

from manyviews.views.kinds import (
    Kind,
    Looks,
    kind_of,
    nothing,
    pictures,
    plain,
    view_pictures,
    views_of,
)
from manyviews.views.pipeline import MEAN, STD, Views, normalise, picture, short_side
from manyviews.views.suited import suited, weaker
from manyviews.views.texts import Text, Texts
from manyviews.views.usual import colour_jitter, large_and_small, unlike_pair
from manyviews.views.view import Draws, Matrix, View
from manyviews.views.waves import Wave, Waves, centred, spectrogram

__all__ = [
    "MEAN",
    "STD",
    "Draws",
    "Kind",
    "Looks",
    "Matrix",
    "Text",
    "Texts",
    "View",
    "Views",
    "Wave",
    "Waves",
    "centred",
    "colour_jitter",
    "kind_of",
    "large_and_small",
    "normalise",
    "nothing",
    "picture",
    "pictures",
    "plain",
    "short_side",
    "spectrogram",
    "suited",
    "unlike_pair",
    "view_pictures",
    "views_of",
    "weaker",
]
