"""One door to what images, sounds and texts have in common, by what the items are.

Shapes   B items; images uint8 [B, 3, H, W], sounds int16 [B, 1, T], texts int32 [B, R, T].
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.views.pipeline import Views, picture
from manyviews.views.pipeline import plain as plain_image
from manyviews.views.texts import Text, Texts
from manyviews.views.view import View
from manyviews.views.waves import Wave, Waves, plain_sound, spectrogram_picture

Kind: TypeAlias = Literal["images", "sounds", "texts"]
Looks: TypeAlias = Views | Waves | Texts

KINDS: dict[torch.dtype, Kind] = {torch.int16: "sounds", torch.int32: "texts"}


def kind_of(items: Tensor) -> Kind:
    """What a tensor of items holds: sounds are numbers of 16 bits, texts of 32."""
    return KINDS.get(items.dtype, "images")


def views_of(*views: View | Wave | Text) -> Looks:
    """`Views` of images, `Waves` of sounds or `Texts` of texts, as the recipes say."""
    images = [view for view in views if isinstance(view, View)]
    sounds = [view for view in views if isinstance(view, Wave)]
    texts = [view for view in views if isinstance(view, Text)]
    if sum(map(bool, (images, sounds, texts))) > 1:
        raise ManyviewsError(
            "An item is an image, a sound or a text: its views are all View, all Wave or all Text."
        )
    return Waves(*sounds) if sounds else Texts(*texts) if texts else Views(*images)


def plain(items: Tensor, size: int) -> Tensor:
    """What an encoder is given when it is judged: the centre of images and the middle two windows of sounds as floats,
    the first tokens of texts."""
    if kind_of(items) == "texts":
        return items[..., :size].long()
    return plain_sound(items, size) if kind_of(items) == "sounds" else plain_image(items, size)


def pictures(items: Tensor) -> Tensor:
    """Items for people to look at, uint8 ``[B, 3, h, w]``: images as they are, sounds as their spectrograms."""
    return spectrogram_picture(items) if kind_of(items) == "sounds" else items


def view_pictures(view: Tensor) -> Tensor:
    """Views for people to look at: of images ``[B, 3, S, S]``, of sounds ``[B, 1, S]``; uint8 ``[B, 3, h, w]``."""
    return spectrogram_picture(view) if view.ndim == 3 else picture(view)


def nothing(kind: Kind, size: int) -> Tensor:
    """A black image, a silence or an empty text of one view's size: ``[1, ...]``, to find out what a net makes of it."""
    if kind == "texts":
        return torch.zeros(1, 2, size, dtype=torch.int32)
    if kind == "sounds":
        return torch.zeros(1, 1, size, dtype=torch.int16)
    return torch.zeros(1, 3, size, size, dtype=torch.uint8)
