"""From the tokens of the patches that were seen to the pixels of those that were not.

Paper    MAE (He et al., CVPR 2022, arXiv:2111.06377). Decoder and mask token section 3, depth and width table 1a and b.
Shapes   B images, C channels, P side of a patch, h w cells, N = h * w patches of which K were seen, D and d widths of
         encoder and decoder, `first` tokens before the patches (a class token).
"""

import torch
from torch import Tensor, nn

from manyviews.nets.positions import OnGrid
from manyviews.nets.transformer import Blocks


class PixelDecoder(nn.Module):
    """A few blocks of their own width over all patches; where one was not seen, the mask token stands for it.

    Args:
        encoded: D, width of the tokens that come in.
        pixels: numbers that a patch is predicted by, P * P * C.
        masked: there are patches that were not seen; else no mask token is learned.
    """

    def __init__(
        self,
        encoded: int,
        pixels: int,
        cells: tuple[int, int],
        *,
        first: int = 1,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        masked: bool = True,
    ):
        super().__init__()
        self.cells, self.first = cells, first
        self.embed = nn.Linear(encoded, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02) if masked else None
        self.place = OnGrid("sincos2d", cells, width, first)
        self.blocks = Blocks(depth, width, heads, eps=1e-6)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, pixels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens_BTD: Tensor, order_BN: Tensor, skip: int = 0) -> Tensor:
        """Pixels `[B, N - skip, P * P * C]` of all patches but the first `skip`, in the order in which they came.

        Args:
            tokens_BTD: those of the K patches that were seen, after the `first`.
            order_BN: all patches, as places in reading order; the first K are those that were seen.
        """
        y_BTd = self.embed(tokens_BTD)
        B, N = order_BN.shape
        if self.mask_token is not None:
            unseen = self.first + N - y_BTd.shape[1]
            y_BTd = torch.cat([y_BTd, self.mask_token.to(y_BTd.dtype).expand(B, unseen, -1)], dim=1)
        # Nothing but its position tells a block where a token stands, so the patches need not be put in reading order.
        place_Td = self.place(self.cells)
        y_BTd = y_BTd + torch.cat(
            [place_Td[: self.first].expand(B, -1, -1), place_Td[self.first :][order_BN]], dim=1
        )
        return self.predict(self.norm(self.blocks(y_BTd)[:, self.first + skip :]))
