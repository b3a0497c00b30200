"""Two images as one: mixed all over, or a box of one in the other; their labels by the same shares.

Papers   mixup: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018 (arXiv:1710.09412), eq. 1. CutMix: Yun et al., ICCV 2019
         (arXiv:1905.04899), eq. 1 and 2.
Differs  A batch has one share, and each image goes with its mirror in the order of the batch, as in timm; where both are
         asked for, a coin decides at each step.
Shapes   B images, C H W pixels, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn.functional import one_hot

from manyviews.errors import ManyviewsError
from manyviews.views import Kind


@dataclass(frozen=True)
class Mixing:
    """Mixes a batch by shares that torch's generator draws from Beta(alpha, alpha); an alpha of 0 is none.

    Raises:
        ManyviewsError: an alpha below 0, or items that are no images.
    """

    mixup: float
    cutmix: float
    classes: int
    kind: Kind = "images"

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0:
            raise ManyviewsError(
                f"mixup is {self.mixup} and cutmix {self.cutmix}; each must be a number above 0, or 0 for none."
            )
        if self.kind != "images" and (self.mixup or self.cutmix):
            raise ManyviewsError(
                f"mixup and cutmix are of images, and this data is of {self.kind}; leave them at 0."
            )

    def __call__(self, x_BCHW: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """The images, and what to tell of them: labels ``[B]`` where nothing is mixed, shares ``[B, K]`` where it is."""
        if not (self.mixup or self.cutmix):
            return x_BCHW, label_B
        cut = bool(self.cutmix) and (not self.mixup or bool(torch.rand(()) < 0.5))
        alpha = self.cutmix if cut else self.mixup
        share = float(Beta(alpha, alpha).sample())
        x_BCHW, share = boxed(x_BCHW, share) if cut else (x_BCHW.lerp(x_BCHW.flip(0), 1 - share), share)
        told_BK = one_hot(label_B, self.classes).to(x_BCHW.dtype)
        return x_BCHW, told_BK.lerp(told_BK.flip(0), 1 - share)


def boxed(x_BCHW: Tensor, share: float) -> tuple[Tensor, float]:
    """A box of ``1 - share`` of the area, its centre anywhere, from the image at the mirrored place of the batch; and the
    share that is left of each image, which is larger where an edge cuts the box."""
    height, width = x_BCHW.shape[2:]
    side = (1 - share) ** 0.5  # eq. 2
    spans = []
    for length in (height, width):
        centre, half = int(torch.randint(length, ())), int(length * side) // 2
        spans.append(slice(max(0, centre - half), min(length, centre + half)))
    mixed_BCHW = x_BCHW.clone()
    mixed_BCHW[:, :, *spans] = x_BCHW.flip(0)[:, :, *spans]
    inside = (spans[0].stop - spans[0].start) * (spans[1].stop - spans[1].start)
    return mixed_BCHW, 1 - inside / (height * width)
