"""MAE: hide most of an image, encode what is left, and paint what is hidden with a light decoder.

Paper    He, Chen, Xie, Li, Dollár, Girshick, CVPR 2022 (arXiv:2111.06377). Masking, encoder, decoder and target section
         3, ablations section 4.1 and table 1, settings appendix A.1 and table 8.
Differs  Crops are resampled bilinearly here, bicubically in the authors' code. The learning rate ends at 0, as it does
         there. The encoder starts like every ViT here. The decoder reads the patches in their shuffled order here, in
         reading order in the paper; the result is the same, because positions say where patches lie. Blocks are masked
         as in BEiT; where blocks hide less than the ratio says, single patches are hidden too. Of the targets of table
         1d, visual tokens and principal components are left out. The class token and [M] do not decay here; in the
         authors' code they do.
Shapes   B images, C H W pixels, P side of a patch, N = H W / P^2 patches of which K stay visible, D width.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.encoder import Encoder, called
from manyviews.nets.pixel_decoder import PixelDecoder
from manyviews.nets.vit import ViT
from manyviews.recipe import Recipe
from manyviews.views import View, Views, picture, plain
from manyviews.views.blockwise import blocks
from manyviews.views.patches import patchify, unpatchify


@dataclass(frozen=True, kw_only=True)
class Config:
    ratio: float = 0.75  # share of the patches that are hidden (section 3, figure 5)
    masking: Literal["random", "block", "grid"] = "random"  # which patches are hidden (table 1f, figure 6)
    normalise: bool = True  # True: standardise each target patch; False: plain pixels (section 3, table 1d)
    decoder_depth: int = 8  # blocks of the decoder (table 1a)
    decoder_width: int = 512  # width of the decoder's tokens (table 1b)
    decoder_heads: int = 16  # attention heads of the decoder (authors' code)
    mask_in_encoder: bool = False  # True: the encoder sees mask tokens: slower, worse (ablation: table 1c)
    everywhere: bool = False  # True: the loss counts visible patches too (ablation: section 3, footnote 1)
    augment: Literal["none", "fixed", "crop", "jitter"] = "crop"  # view; "fixed": crop of one size (table 1e)
    min_area: float = 0.2  # smallest crop, as a share of the image's area (authors' code)


SERVES = {"min_area": ("augment", ("crop", "jitter"))}
ANATOMY = Anatomy(
    pretext="paint the hidden patches",
    positives="the image's own hidden patches",
    negatives="none",
    target="pixels, normalised by patch",
    objective="squared error",
)


class MAE(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.masking not in ("random", "block", "grid"):
            raise ManyviewsError(f'Masking is "random", "block" or "grid", not "{config.masking}".')
        if config.augment not in ("none", "fixed", "crop", "jitter"):
            raise ManyviewsError(f'Augment is "none", "fixed", "crop" or "jitter", not "{config.augment}".')
        vit = reads_patches(net())
        self.encoder = vit
        self.P, self.cells, self.N = vit.patch_size, vit.cells, vit.cells[0] * vit.cells[1]
        self.K = self.visible(config.ratio)
        self.mask_token = nn.Parameter(torch.randn(vit.width) * 0.02) if config.mask_in_encoder else None
        self.decoder = PixelDecoder(
            vit.width,
            self.P**2 * vit.in_channels,
            self.cells,
            first=vit.first,
            width=config.decoder_width,
            depth=config.decoder_depth,
            heads=config.decoder_heads,
            masked=not config.mask_in_encoder,
        )

    def views(self) -> Views:
        size, crop = self.spec.size, (self.config.min_area, 1.0)
        kinds = {
            "none": View(size=size, crop=None, flip=0.0),
            "fixed": View(size=size, crop=None, scale=(8 / 7, 8 / 7)),
            "crop": View(size=size, crop=crop),
            "jitter": View(size=size, crop=crop, jitter=(0.4, 0.4, 0.4, 0.0), jitter_p=1.0),
        }
        return Views(kinds[self.config.augment])

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        order_BN = self.shuffled(len(x), self.K).to(x.device)
        first = 0 if self.config.everywhere else self.K  # only hidden patches count (section 3)
        target = self.target(x, order_BN[:, first:])
        return Out((self.painted(x, order_BN, self.K, first) - target).square().mean())

    def shuffled(self, B: int, K: int) -> Tensor:
        """`[B, N]`: all patches in a random order (section 3, "simple implementation"); the first K stay visible."""
        u_BN, kind = distributed.rand(B, self.N), self.config.masking
        if kind == "block":
            least = max(1, round(16 / 196 * self.N))
            hidden_Bhw = blocks(distributed.rands(B, 4), self.cells, self.N - K, least)
        else:
            hidden_Bhw = off_grid(self.cells)[None] & (kind == "grid")
        return (u_BN + hidden_Bhw.flatten(1)).argsort(1)  # what a pattern hides comes last

    def painted(self, x: Tensor, order_BN: Tensor, K: int, first: int) -> Tensor:
        """Pixels `[B, N - first, P * P * C]` of all patches of the order from the `first` on, of which K are visible."""
        vit = cast(ViT, self.encoder)
        patches_BND, seen = vit.patches(x), order_BN[:, :K]
        if self.mask_token is not None:
            hidden_BN1 = (order_BN.argsort(1) >= K)[:, :, None]
            patches_BND, seen = torch.where(hidden_BN1, self.mask_token, patches_BND), order_BN
        return self.decoder(vit.encode(patches_BND, self.cells, seen), order_BN, first)

    def target(self, x: Tensor, which_BM: Tensor) -> Tensor:
        patch_BME = patchify(x, self.P).take_along_dim(which_BM[:, :, None], 1)
        mean, std = self.scale(patch_BME)
        return (patch_BME - mean) / std

    def scale(self, patch_BME: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation over each patch, `[B, M, 1]`, where the target is normalised; else 0 and 1."""
        if not self.config.normalise:
            return patch_BME.new_zeros(()), patch_BME.new_ones(())
        return patch_BME.mean(2, keepdim=True), (patch_BME.var(2, keepdim=True) + 1e-6).sqrt()

    def visible(self, ratio: float) -> int:
        """K of N. Raises `ManyviewsError` for a ratio that leaves nothing to see, or nothing to paint."""
        K = int(self.N * (1 - ratio))
        if self.config.masking == "grid":
            if ratio != 0.75:
                raise ManyviewsError(f"A grid hides three patches of four: set ratio to 0.75, not {ratio}.")
            K = self.N - int(off_grid(self.cells).sum())
        if not 0 < K < self.N:
            raise ManyviewsError(
                f"A mask ratio of {ratio} leaves {K} of {self.N} patches visible, but at least one has to be visible and "
                "one hidden: set ratio above 0 and below 1, or take larger images or smaller patches."
            )
        return K

    def pictures(self, image_B3HW: Tensor) -> dict[str, Tensor]:
        """What is seen, what is painted around it, and the image, at several ratios (figures 2 to 4).

        Where targets are normalised, what is painted is shown with the mean and deviation of the patch that is hidden.
        """
        x = plain(image_B3HW, self.spec.size)
        ratios = {self.config.ratio} if self.config.masking == "grid" else {0.5, 0.75, 0.9, self.config.ratio}
        return {
            f"{100 * ratio:g}% hidden": self.sheet(x, self.visible(ratio))
            for ratio in sorted(ratios)
            if int(self.N * (1 - ratio)) > 0
        }

    def sheet(self, x: Tensor, K: int) -> Tensor:
        order_BN = self.shuffled(len(x), K).to(x.device)
        patch_BNE = patchify(x, self.P).take_along_dim(order_BN[:, :, None], 1)
        mean, std = self.scale(patch_BNE[:, K:])
        painted = self.painted(x, order_BN, K, K) * std + mean
        place_BN1 = order_BN.argsort(1)[:, :, None]
        columns = [
            unpatchify(
                torch.cat([patch_BNE[:, :K], rest], 1).take_along_dim(place_BN1, 1), self.P, self.cells[1]
            )
            for rest in (torch.zeros_like(painted), painted, patch_BNE[:, K:])
        ]
        return picture(torch.stack(columns, 1))


def off_grid(cells: tuple[int, int]) -> Tensor:
    """bool `[h, w]`: all patches but one of every four (figure 6, right)."""
    odd_h, odd_w = (torch.arange(side) % 2 == 1 for side in cells)
    return odd_h[:, None] | odd_w


def reads_patches(encoder: Encoder) -> ViT:
    """Raises `ManyviewsError` unless it is a net that can be shown some patches and not others."""
    if not isinstance(encoder, ViT):
        raise ManyviewsError(
            f"MAE needs a net that reads patches, which {called(encoder)} does not: --net small_vit"
        )
    if encoder.backbone is not None or encoder.relative:
        raise ManyviewsError(
            f"MAE hides patches, but {called(encoder)} needs all of them: its "
            f"{'positions are relative' if encoder.relative else 'convolutions mix them'}; --net small_vit"
        )
    return encoder


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="vit_b16/sincos2d", size=224, batch=4096, budget="1600ep",
            optimiser="adamw", lr=2.4e-3, beta2=0.95, weight_decay=0.05, warmup=40 / 1600,
        ),
    ),
    "cifar10": (
        Config(decoder_depth=4, decoder_width=192, decoder_heads=3),
        Recipe(
            data="cifar10", net="vit_ti4/sincos2d", batch=512, budget="400ep",
            optimiser="adamw", lr=6e-4, beta2=0.95, weight_decay=0.05, warmup=0.05,
        ),
    ),
    "world": (
        Config(decoder_depth=2, decoder_width=64, decoder_heads=4),
        Recipe(
            data="world", net="small_vit/sincos2d/average", batch=64, budget="16ep",
            optimiser="adamw", lr=1e-3, beta2=0.95, weight_decay=0.05, warmup=0.05,
        ),
    ),
}  # fmt: skip
