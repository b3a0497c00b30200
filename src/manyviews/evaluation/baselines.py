"""What every encoder has to beat before it is worth anything."""

from math import isqrt

import torch
from torch import Tensor

from manyviews.data import ItemSet
from manyviews.evaluation.features import Embedder
from manyviews.views import centred, kind_of, plain, spectrogram
from manyviews.views.waves import HEARD

SIDE = 32  # of a sound's spectrogram
MOST_SIDE = 64  # of an image whose pixels are taken as they are
MOST_NUMBERS = 2**28  # of a whole set: of more images fewer pixels are taken, and they stay within a gigabyte
MOST_COUNTS = 4096  # numbers of a text's counts: 100,000 texts then take 1.6 GB


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


class WordCounts:
    """No encoder at all: how often each token stands in a text, as square roots, ``[B, vocabulary]``.

    Of a vocabulary beyond ``MOST_COUNTS`` tokens share a count, by their number modulo it.
    """

    def __init__(self, vocabulary: int, size: int):
        self.width, self.size = min(vocabulary, MOST_COUNTS), size

    def embed(self, image_BCHW_uint8: Tensor) -> Tensor:
        tokens_BT, part_BT = plain(image_BCHW_uint8, self.size)[:, :2].unbind(1)
        counts_BV = torch.zeros(len(tokens_BT), self.width, device=tokens_BT.device)
        return counts_BV.scatter_add_(1, tokens_BT % self.width, (part_BT > 0).float()).sqrt()


def raw(data: ItemSet, size: int) -> dict[str, Embedder]:
    """What stands for the items of this kind themselves, under its name."""
    if data.tokeniser is not None:
        return {"word counts": WordCounts(len(data.tokeniser), size)}
    if data.kind == "sounds":
        return {"log spectrogram": RawPixels(size)}
    return {"raw pixels": RawPixels(min(size, MOST_SIDE, max(1, isqrt(MOST_NUMBERS // (3 * len(data))))))}
