"""BEiT: hide blocks of patches, and predict their visual tokens; BERT's pre-training for images.

Paper    Bao, Dong, Piao, Wei, ICLR 2022 (arXiv:2106.08254). Views section 2.1, masks algorithm 1, objective eq. 1 and
         section 2.3, first weights section 2.5, ablations section 3.3 and table 4. What the paper leaves open is as in
         the authors' code.
Differs  Positions are learned and added once here, as in the paper; the authors' code has a relative position bias and
         LayerScale. The recipes have no [S] token and average the patches, as the paper does when it fine-tunes. The
         recipe `world` has MAE's fixed positions, because learned ones start with a deviation of 0.02 and hardly move
         in so few steps. Colours are jittered after the crop here, before it in the authors' code. The image is cropped
         once, for the ViT, and the tokeniser's view is resampled from that crop, both bilinearly. Positions decay like
         weights here and [M] does not; in the authors' code [M] decays and positions do not. The learning rate ends at
         0 here, at 1e-5 in that code. The ablation that predicts pixels has standardised pixels as its target and their
         mean squared error as its loss.
Shapes   B images, C H W pixels, P side of a patch, h w = H / P W / P cells, N = h w patches, D width, V visual tokens.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.encoder import Encoder, called
from manyviews.nets.tokens import RANDOM, Tokeniser, in_use, load_tokeniser, random_tokeniser
from manyviews.nets.transformer import Block, stochastic_depth
from manyviews.nets.vit import ViT
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe
from manyviews.views import View, Views, picture, plain
from manyviews.views.blockwise import blocks
from manyviews.views.patches import patchify, unpatchify

SMALL = 0.02  # e_[M] and W_c begin at most so large (section 2.5)
RIGHT, WRONG = (40, 160, 70), (200, 50, 50)  # colours of patches whose token was told, and was not


@dataclass(frozen=True, kw_only=True)
class Config:
    tokeniser: str = ""  # folder of a finished run of a discrete VAE (2.1.2); "random": an untrained control
    token_size: int | None = None  # side in pixels that the tokeniser sees (code: 112); None: as it learned
    codes: int | None = None  # V, visual tokens; None: the tokeniser's (2.1.2: 8,192), 512 for a random one
    ratio: float = 0.4  # largest share of patches that is hidden (algorithm 1; 75 of 196 in section 2.5)
    masking: Literal["block", "random"] = "block"  # hide blocks; "random": single patches, ablation (table 4)
    block: int = 16  # number of patches in the smallest block (algorithm 1)
    aspect: float = 0.3  # height over width of the flattest block; the tallest has the inverse (algorithm 1)
    targets: Literal["tokens", "pixels"] = "tokens"  # what is predicted; ablation: raw pixels (table 4)
    everywhere: bool = False  # True: the loss counts visible patches too (ablation: table 4, "recover 100%")
    init: float | None = 0.02  # bound of the ViT's initial weights (section 2.5); None: the net's own start
    drop_path: float = 0.1  # stochastic depth: chance to skip a layer of the last block (section 2.5)
    min_area: float = 0.08  # smallest crop, as a share of the image's area (authors' code)
    jitter: float = 0.4  # strength of the jitter of brightness, contrast and saturation (appendix, table 12)


SERVES = dict.fromkeys(("block", "aspect"), ("masking", ("block",)))
ANATOMY = Anatomy(
    pretext="tell the visual tokens of hidden patches",
    positives="the image's own tokens",
    negatives="the other tokens",
    target="a discrete VAE, frozen",
    objective="cross entropy",
)


class BEiT(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        vit = reads_patches(net())
        self.encoder, self.cells, self.N = vit, vit.cells, vit.cells[0] * vit.cells[1]
        self.budget = budget(config, self.N)
        if not vit.started:
            initialise(vit, config.init)
        stochastic_depth(vit, config.drop_path)
        self.mask_D = nn.Parameter(small(torch.empty(vit.width)))  # e_[M]
        self.tokeniser = tokeniser(config, vit)
        told = self.tokeniser.codes if self.tokeniser else vit.patch_size**2 * vit.in_channels
        self.W_c = nn.Linear(vit.width, told)  # W_c and b_c of section 2.3
        small(self.W_c.weight)
        nn.init.zeros_(self.W_c.bias)

    def views(self) -> Views:
        c, s = self.config, self.config.jitter
        return Views(View(size=self.spec.size, crop=(c.min_area, 1.0), jitter=(s, s, s, 0.0), jitter_p=1.0))

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        hidden_BN = self.hidden(len(x))  # the set M of each image
        asked_BN = torch.ones_like(hidden_BN) if self.config.everywhere else hidden_BN
        asked_A = asked_BN.flatten().nonzero()[:, 0].to(x.device)
        h_BTD = self.read(x, hidden_BN.to(x.device))
        h_BND = h_BTD[:, self.first :]
        told_AV = precise(self.W_c(h_BND.flatten(0, 1)[asked_A]))
        # A mean over all that is asked, on all ranks: an image may hide fewer patches than another.
        asked = distributed.all_reduce_mean(asked_BN.sum().to(x.device)).clamp(
            min=1 / distributed.world_size()
        )
        log, target_A = {"hidden": hidden_BN.float().mean()}, self.target(x)[asked_A]
        if self.tokeniser is None:
            loss = (told_AV - target_A).square().mean(1).sum() / asked
        else:
            loss = F.cross_entropy(told_AV, target_A, reduction="sum") / asked  # eq. 1
            log["right"] = (told_AV.argmax(1) == target_A).sum() / asked
            log["codes_in_use"] = in_use(target_A, self.tokeniser.codes)
        return Out(loss, log, z=h_BTD[:, 0] if self.first else h_BND.mean(1))

    @property
    def first(self) -> int:
        """Tokens before the patches."""
        return cast(ViT, self.encoder).first

    def hidden(self, B: int) -> Tensor:
        """Which patches of this rank's images are hidden, bool `[B, N]`, on the CPU; R ranks hide what one would."""
        if self.config.masking == "random":
            order_BN = distributed.rand(B, self.N).argsort(1)
            return torch.zeros(B, self.N, dtype=torch.bool).scatter_(1, order_BN[:, : self.budget], True)
        least = min(self.config.block, self.budget)
        masks_Bhw = blocks(distributed.rands(B, 4), self.cells, self.budget, least, self.config.aspect)
        return masks_Bhw.flatten(1)

    def read(self, x: Tensor, hidden_BN: Tensor) -> Tensor:
        """What the ViT makes of an image with patches hidden, `[B, T, D]`; they keep their places (section 2.3)."""
        vit = cast(ViT, self.encoder)
        patches_BND = vit.patches(x)
        masked_BND = torch.where(hidden_BN[:, :, None], self.mask_D.to(patches_BND.dtype), patches_BND)
        return vit.encode(masked_BND, self.cells)

    def target(self, x: Tensor) -> Tensor:
        """Of each patch of each image what is to be told, `[B * N]` tokens or `[B * N, P * P * C]` pixels."""
        if self.tokeniser is None:
            return patchify(x, cast(ViT, self.encoder).patch_size).flatten(0, 1)
        return self.tokeniser(x).flatten()

    def pictures(self, image_B3HW: Tensor) -> dict[str, Tensor]:
        """The image, what is seen of it, and what is told of the rest: its pixels, or whether each token is right."""
        x = plain(image_B3HW, self.spec.size)
        hidden_BN = self.hidden(len(x)).to(x.device)
        told_BNV = self.W_c(self.read(x, hidden_BN)[:, self.first :])
        P, across = cast(ViT, self.encoder).patch_size, self.cells[1]
        image_BNE = patchify(picture(x), P)
        grey_BNE = torch.where(hidden_BN[:, :, None], 128, image_BNE)
        if self.tokeniser is None:
            title, rest_BNE = "told", patchify(picture(unpatchify(told_BNV.float(), P, across)), P)
        else:
            title = "tokens told rightly (green) and wrongly (red)"
            right_BN = told_BNV.argmax(2).flatten().eq(self.target(x)).view_as(hidden_BN)
            colours = torch.tensor([WRONG, RIGHT], device=x.device, dtype=torch.uint8)[right_BN.long()]
            rest_BNE = image_BNE // 2 + colours.repeat(1, 1, P * P) // 2
        told_BNE = torch.where(hidden_BN[:, :, None], rest_BNE, image_BNE)
        columns = [unpatchify(each.to(torch.uint8), P, across) for each in (image_BNE, grey_BNE, told_BNE)]
        return {f"image, seen, {title}": torch.stack(columns, 1)}


def tokeniser(config: Config, vit: ViT) -> Tokeniser | None:
    """What gives the tokens; None where pixels are told.

    Raises `ManyviewsError` where there is none, or its codes do not lie where the patches do.
    """
    if config.targets == "pixels":
        if config.tokeniser or config.token_size or config.codes:
            raise ManyviewsError(
                "--targets pixels need no tokeniser: leave out --tokeniser, --token-size, --codes."
            )
        return None
    if config.tokeniser == RANDOM:
        made = random_tokeniser(config.codes or 512, vit.patch_size, vit.cells[0], config.token_size)
    else:
        made = load_tokeniser(config.tokeniser, config.token_size)
    if made.codes != (config.codes or made.codes):
        raise ManyviewsError(
            f"The tokeniser has {made.codes} codes, not {config.codes}; leave out --codes or take another."
        )
    if (cells := made.cells()) != vit.cells:
        fits = made.size * vit.cells[0] // cells[0]
        raise ManyviewsError(
            f"The tokeniser gives {cells[0]} x {cells[1]} codes for images of {made.size} pixels, but "
            f"{called(vit)} has {vit.cells[0]} x {vit.cells[1]} patches; one code is told for a patch: "
            f"say --token-size {fits}, or take another net."
        )
    return made


def reads_patches(encoder: Encoder) -> ViT:
    """Raises `ManyviewsError` unless it is a net whose patches can be hidden from it."""
    if isinstance(encoder, ViT) and encoder.backbone is None:
        return encoder
    why = "has none" if not isinstance(encoder, ViT) else "sees them through convolutions that mix them"
    raise ManyviewsError(f"BEiT hides patches, and {called(encoder)} {why}; take --net small_vit or vit_b16.")


def initialise(vit: ViT, cut: float | None) -> None:
    """Small weights, and in layer l the last of each sub-layer divided by the root of 2 l (section 2.5).

    What is small enough for 768 channels leaves a net of 128 hardly more than a linear map, whose attention is even.
    """
    for name, parameter in vit.named_parameters():
        if cut is not None and "norm" not in name:
            nn.init.zeros_(parameter) if name.endswith("bias") else small(parameter, cut)
    for number, block in enumerate(vit.blocks, start=1):
        assert isinstance(block, Block)
        for last in (block.attention.out, block.mlp.down):
            last.weight.data.div_((2 * number) ** 0.5)


def small(x: Tensor, cut: float = SMALL) -> Tensor:
    return nn.init.trunc_normal_(x, std=cut, a=-cut, b=cut)


def budget(config: Config, N: int) -> int:
    """How many of N patches may be hidden. Raises `ManyviewsError` where these are none or all, or settings make no sense."""
    count = round(config.ratio * N)
    if not 0 < count < N:
        raise ManyviewsError(
            f"A mask ratio of {config.ratio} hides {count} of {N} patches, but at least one has to be hidden and one seen: "
            "set ratio above 0 and below 1, or take larger images or smaller patches."
        )
    if config.block < 1 or not 0 < config.aspect <= 1:
        raise ManyviewsError(
            f"--block is {config.block} and --aspect {config.aspect}; a block has 1 patch or more, and an aspect above 0 "
            "and at most 1."
        )
    if config.init is not None and config.init <= 0:
        raise ManyviewsError(
            f"--init is {config.init}, what first weights are cut at: set it above 0, or to None."
        )
    if not 0 <= config.drop_path < 1:
        raise ManyviewsError(f"drop_path is {config.drop_path}, a chance: set it to 0 or more, and below 1.")
    return count


RECIPES = {
    "paper": (
        Config(ratio=75 / 196, token_size=112),
        Recipe(
            data="imagenet", net="vit_b16/average", size=224, batch=2048, budget="800ep", optimiser="adamw", lr=1.5e-3,
            weight_decay=0.05, warmup=10 / 800, clip=3.0,
        ),
    ),
    "cifar10": (
        Config(block=5, min_area=0.2, init=None),
        Recipe(
            data="cifar10", net="vit_ti4/average", batch=512, budget="400ep", optimiser="adamw", lr=1e-3,
            weight_decay=0.05, warmup=0.05, clip=3.0,
        ),
    ),
    "world": (
        Config(block=5, min_area=0.2, init=None, drop_path=0.0, jitter=0.2),
        Recipe(
            data="world", net="small_vit/sincos2d/average", batch=64, budget="16ep", optimiser="adamw", lr=1e-3,
            weight_decay=0.05, warmup=0.05, clip=3.0,
        ),
    ),
}  # fmt: skip
