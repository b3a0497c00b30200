"""What happens to each patch of an image on its own (CPC, arXiv:1807.03748; CPC v2, arXiv:1905.09272).

Uniform numbers u in [0, 1) lie on the CPU, a row for each patch.
Shapes   N patches, C channels, P side of a patch; normalised pixels, so that 0 is the mean colour.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.views.pipeline import Views, picture
from manyviews.views.view import UNIFORMS, Draws, View


def moved(x_NCPP: Tensor, u_N2: Tensor, margin: int) -> Tensor:
    """A random crop ``margin`` pixels smaller than the patch, padded back by the mean colour (CPC, section 3.2)."""
    side = x_NCPP.shape[-1]
    if not 0 <= margin < side:
        raise ManyviewsError(
            f"A crop {margin} pixels smaller than a patch of {side} cannot be; take 0 to {side - 1}."
        )
    if margin == 0:
        return x_NCPP
    start_N2 = (u_N2 * (margin + 1)).long().to(x_NCPP.device)
    own_P = torch.arange(side, device=x_NCPP.device) - margin // 2  # place in the crop; outside it is padding
    inside_P = ((own_P >= 0) & (own_P < side - margin)).to(x_NCPP.dtype)
    from_N2P = (start_N2[:, :, None] + own_P).clamp(0, side - 1)
    item_N = torch.arange(len(x_NCPP), device=x_NCPP.device)[:, None, None, None]
    channel_C = torch.arange(x_NCPP.shape[1], device=x_NCPP.device)[:, None, None]
    crop = x_NCPP[item_N, channel_C, from_N2P[:, 0, None, :, None], from_N2P[:, 1, None, None, :]]
    return crop * (inside_P[:, None] * inside_P)


def one_channel(x_NCPP: Tensor, u_N2: Tensor, share: float) -> Tensor:
    """In a ``share`` of all patches, all channels but a random one become 0 (colour dropping; Doersch et al. 2015 put faint noise there)."""
    channels = x_NCPP.shape[1]
    kept_N1 = (u_N2[:, 1:] * channels).long()
    keep_NC = (torch.arange(channels) == kept_N1) | (u_N2[:, :1] >= share)
    return x_NCPP * keep_NC.to(x_NCPP)[:, :, None, None]


def elastic(x_NCPP: Tensor, u_N33: Tensor, share: float, reach: float) -> Tensor:
    """In a ``share`` of all patches, pixels move smoothly by up to ``reach`` of the side: 4 x 4 random vectors between
    which it is interpolated (elastic deformation, Simard et al. 2003)."""
    count, _, side, _ = x_NCPP.shape
    amount_N = (u_N33[:, 0] < share) * 2 * reach  # the side is 2 long, from -1 to 1
    vector = (2 * u_N33[:, 1:] - 1).view(count, 2, 4, 4) * amount_N[:, None, None, None]
    field = F.interpolate(vector.to(x_NCPP), (side, side), mode="bilinear", align_corners=True)
    still = F.affine_grid(torch.eye(2, 3).to(x_NCPP)[None], [1, 1, side, side], align_corners=False)
    place = still + field.permute(0, 2, 3, 1)
    return F.grid_sample(x_NCPP, place, padding_mode="border", align_corners=False)


def needs(view: View) -> int:
    """U, how many uniform numbers `seen` takes for a patch."""
    return UNIFORMS + 3 * view.randaugment[0]


def seen(x_NCPP: Tensor, u_NU: Tensor, view: View) -> Tensor:
    """Every patch as ``view`` shows it: its colours and its RandAugment; nothing is cropped or flipped."""
    (patch,) = Views(view).finish([picture(x_NCPP)], Draws((u_NU,)))
    return patch.to(x_NCPP.dtype)
