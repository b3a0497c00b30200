"""One door to what images and sounds have in common, by what the items are.

Shapes   B items; images uint8 [B, 3, H, W], sounds int16 [B, 1, T].
"""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from manyviews.views.pipeline import Views, picture
from manyviews.views.pipeline import plain as plain_image
from manyviews.views.view import View
from manyviews.views.waves import Wave, Waves, plain_sound, spectrogram_picture

Kind: TypeAlias = Literal["images", "sounds"]
Looks: TypeAlias = Views | Waves

CHANNELS: dict[Kind, int] = {"images": 3, "sounds": 1}


def kind_of(items: Tensor) -> Kind:
    """What a tensor of items holds: sounds are the ones of 16 bits."""
    return "sounds" if items.dtype == torch.int16 else "images"


def views_of(*views: View | Wave) -> Looks:
    """`Views` of images or `Waves` of sounds, as the recipes say."""
    images = [view for view in views if isinstance(view, View)]
    sounds = [view for view in views if isinstance(view, Wave)]
    if images and sounds:
        raise ValueError("An item is an image or a sound: its views are all View or all Wave.")
    return Waves(*sounds) if sounds else Views(*images)


def plain(items: Tensor, size: int) -> Tensor:
    """What an encoder is given when it is judged: the centre of images, the middle two windows of sounds; as floats."""
    return plain_sound(items, size) if kind_of(items) == "sounds" else plain_image(items, size)


def pictures(items: Tensor) -> Tensor:
    """Items for people to look at, uint8 ``[B, 3, h, w]``: images as they are, sounds as their spectrograms."""
    return spectrogram_picture(items) if kind_of(items) == "sounds" else items


def view_pictures(view: Tensor) -> Tensor:
    """Views for people to look at: of images ``[B, 3, S, S]``, of sounds ``[B, 1, S]``; uint8 ``[B, 3, h, w]``."""
    return spectrogram_picture(view) if view.ndim == 3 else picture(view)


def nothing(kind: Kind, size: int) -> Tensor:
    """A black image, or a silence, of one view's size: ``[1, ...]``, to find out what a net makes of such items."""
    if kind == "sounds":
        return torch.zeros(1, 1, size, dtype=torch.int16)
    return torch.zeros(1, 3, size, size, dtype=torch.uint8)
