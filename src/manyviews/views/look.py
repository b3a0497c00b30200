"""What happens to each row of a batch of views after the crop, decided on the CPU.

Shapes: R rows (views of samples) that are processed together, K operations of RandAugment.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from manyviews.views import colour, randaugment
from manyviews.views.view import BLUR, GREY, SIGMA, SOLARISE, View


@dataclass(frozen=True)
class Look:
    """What happens to each row after the crop: decisions on the CPU, one entry a row."""

    factors: Tensor  # [R, 4] float32
    orders: Tensor  # [R] int64
    grey: Tensor  # [R] bool
    blur: Tensor  # [R] bool
    sigma: Tensor  # [R] float32
    solarise: Tensor  # [R] bool
    shift: Tensor  # [R, 3] float32, added to the colours
    which: Tensor  # [R, K] int64, of RandAugment's operations
    amount: Tensor  # [R, K] float32

    @staticmethod
    def of(view: View, uniforms: Tensor) -> "Look":
        low, high = view.sigma
        return Look(
            colour.jitter_factors(view, uniforms),
            colour.jitter_orders(view, uniforms),
            uniforms[:, GREY] < view.grey,
            uniforms[:, BLUR] < view.blur,
            low + (high - low) * uniforms[:, SIGMA],
            uniforms[:, SOLARISE] < view.solarise,
            colour.pca_shifts(view, uniforms),
            *randaugment.chosen(view, uniforms),
        )

    @staticmethod
    def joined(looks: list["Look"]) -> "Look":
        return Look(*(torch.cat([getattr(look, field.name) for look in looks]) for field in fields(Look)))

    def rows(self, index: Tensor) -> "Look":
        return Look(*(getattr(self, field.name)[index] for field in fields(Look)))
