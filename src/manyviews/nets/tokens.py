"""A tokeniser: the encoder of a finished discrete VAE, frozen; it says in which codes an image is written."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.nets.dvae import Codes, TokenEncoder
from manyviews.nets.encoder import judging
from manyviews.nets.interop import load_encoder

HOW = "`manyviews pretrain dvae --out RUN` makes one"
RANDOM = "random"  # stands for a tokeniser that has learned nothing


class Tokeniser(nn.Module):
    """Images in, a code `[B, N]` for each of the N = h w positions out, in reading order.

    It asks for no gradient, and stays in eval mode whatever mode the module around it is put into.

    Args:
        size: side in pixels that images are resized to before.
    """

    def __init__(self, encoder: Codes, size: int):
        super().__init__()
        self.encoder, self.size, self.codes = encoder, size, encoder.codes
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Tokeniser:
        return super().train(False)

    @torch.no_grad()
    def forward(self, x_BCHW: Tensor) -> Tensor:
        size = (self.size, self.size)
        if x_BCHW.shape[2:] != size:
            x_BCHW = F.interpolate(x_BCHW, size, mode="bilinear", antialias=True)
        with torch.autocast(x_BCHW.device.type, enabled=False):  # half precision would tie codes that are not
            return self.encoder.tokens(x_BCHW).flatten(1)

    def cells(self) -> tuple[int, int]:
        """(h, w) of the grid of codes."""
        weight = next(self.encoder.parameters())
        with judging(self.encoder):
            h, w = self.encoder.grid(weight.new_zeros(1, 3, self.size, self.size)).shape[2:]
        return h, w


def load_tokeniser(run: str, size: int | None = None) -> Tokeniser:
    """The tokeniser in the folder of a finished run; for images of the `size` that it learned from, unless told.

    Raises `ManyviewsError` where no run is named, it has no encoder, or one that gives no codes.
    """
    if not run:
        raise ManyviewsError(
            f"Masked image modelling predicts codes: say --tokeniser RUN, a finished run of a discrete VAE; {HOW}. "
            f"(--tokeniser {RANDOM} is the control, one that has learned nothing.)"
        )
    folder = Path(run).expanduser()
    if not (folder / "encoder.safetensors").is_file():
        raise ManyviewsError(f"There is no finished run at {folder} (--tokeniser) to take codes from; {HOW}.")
    encoder, about = load_encoder(folder)
    if not isinstance(encoder, Codes):
        name = encoder.built.name if encoder.built else type(encoder).__name__
        raise ManyviewsError(
            f"The run at {folder} (--tokeniser) learned {name}, which gives no codes; {HOW}."
        )
    return Tokeniser(encoder, size or int(about.get("size") or 32))


def random_tokeniser(codes: int, patch: int, cells: int, size: int | None = None) -> Tokeniser:
    """One with random weights, by torch's global generator, for `cells` x `cells` patches of `patch` pixels.

    A code stands for 8 x 8 pixels, as in the paper, or for as many fewer as halves of a patch allow: for patches of 4
    pixels it is a `small_dvae`.
    """
    halvings = min(3, (patch & -patch).bit_length() - 1)
    encoder = Codes(TokenEncoder(16, halvings + 1, 1), codes)
    return Tokeniser(encoder, size or cells * 2**halvings)


def in_use(tokens: Tensor, codes: int) -> Tensor:
    """How many codes are used, as the perplexity of their shares among `tokens` of all ranks: from 1 to `codes`."""
    count_V = distributed.all_reduce_sum(torch.bincount(tokens.flatten(), minlength=codes).float())
    return torch.special.entr(count_V / count_V.sum()).sum().exp()
