"""What every encoder has to beat before it is worth anything."""

from torch import Tensor

from manyviews.views import plain


class RawPixels:
    """No encoder at all: the normalised pixels themselves, ``[B, 3 * size * size]``."""

    def __init__(self, size: int):
        self.size = size

    def embed(self, image_BCHW_uint8: Tensor) -> Tensor:
        return plain(image_BCHW_uint8, self.size).flatten(1)
