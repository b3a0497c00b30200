"""What every encoder has to beat before it is worth anything."""

from torch import Tensor

from manyviews.views import centred, kind_of, plain, spectrogram
from manyviews.views.waves import HEARD

SIDE = 32  # of a sound's spectrogram


class RawPixels:
    """No encoder at all: the normalised pixels themselves, ``[B, 3 * size * size]``.

    Of sounds those of the log spectrogram, ``[B, 32 * 32]``: two that sound alike share no samples.
    """

    def __init__(self, size: int):
        self.size = size

    def embed(self, image_BCHW_uint8: Tensor) -> Tensor:
        if kind_of(image_BCHW_uint8) == "sounds":
            return spectrogram(centred(image_BCHW_uint8, HEARD * self.size), SIDE).flatten(1)
        return plain(image_BCHW_uint8, self.size).flatten(1)
