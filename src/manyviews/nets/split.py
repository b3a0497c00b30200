"""Two encoders side by side, one for the light of an image and one for its colour: `lab(small_resnet)`.

Paper    Tian, Krishnan, Isola, ECCV 2020 (arXiv:1906.05849), section 4.1: L goes to one half of the network, ab to the
         other, and the features of both halves are concatenated to be judged.
Differs  Here each half is a whole net of the given name; in the paper AlexNet is cut in two, and each half has half the
         width.
Shapes   B images, H W pixels; a half of width D embeds into [B, D], both into [B, 2 D].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.views import spaces

LIGHT = 1  # channels of light in each of these spaces; what follows is colour


class Split(Encoder):
    """Takes a normalised RGB image, turns it into `space`, and gives its light to one net and its colour to the other.

    `space` is "lab", "ydbdr" or "ycbcr"; every channel's range is laid onto [-1, 1].
    """

    def __init__(self, light: Encoder, colour: Encoder, space: str):
        super().__init__(light.width + colour.width)
        self.light, self.colour, self.space = light, colour, space

    @property
    def widths(self) -> tuple[int, int]:
        """Where an embedding is cut: the numbers that tell of light, then those of colour."""
        return self.light.width, self.colour.width

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, widths[0] + widths[1]]`."""
        light, colour = self._parted(x_BCHW)
        return torch.cat([self.light(light), self.colour(colour)], 1)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """Both feature maps, one behind the other."""
        light, colour = self._parted(x_BCHW)
        return torch.cat([self.light.grid(light), self.colour.grid(colour)], 1)

    def _parted(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        x = spaces.balanced(spaces.unit_rgb(x_BCHW), self.space)
        return x[:, :LIGHT], x[:, LIGHT:]


def _split(
    inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int, space: str = "lab"
) -> Encoder:
    if numbers:
        raise ManyviewsError(
            f"{space} puts two nets side by side and takes no numbers: {space}(small_resnet)."
        )
    if in_channels != 3:
        raise ManyviewsError(
            f"{space}(...) parts the colours of RGB images, which have 3 channels, not {in_channels}; name the net alone."
        )
    return Split(inner(in_channels=LIGHT), inner(in_channels=3 - LIGHT), space)


# RGB has no channel of light; Tian et al. 2020 (arXiv:2005.10243) part it all the same, to compare: red, and the others.
AROUND = {space: partial(_split, space=space) for space in (*spaces.LIGHT_AND_COLOUR, "rgb")}
