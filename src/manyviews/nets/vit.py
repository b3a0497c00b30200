"""ViT: an image is a sequence of patches, and a transformer reads it.

Paper    Dosovitskiy et al., ICLR 2021 (arXiv:2010.11929). Eq. 1 to 4 section 3.1, sizes table 1, hybrids sections 3.1
         and 4.1, other resolutions section 3.2, class token or average appendix D.3, positions D.4. Training on
         ImageNet alone (B.1, table 3; there with `/dropout10`) is `manyviews pretrain supervised --recipe vit`. Sizes
         Ti and S: Steiner et al. 2021 (arXiv:2106.10270), table 1. Sinusoids in two dimensions: MoCo v3
         (arXiv:2104.02057).
Differs  The head is left to the method here; the paper's head has a tanh layer in pre-training. The norms of a hybrid's
         ResNet have 16 channels in each group here, 32 groups in the authors' code. Of the two hybrids of section 4.1,
         the one here is that whose fourth stage is moved into the third. Weights start as in the authors' code.
Shapes   B images, C H W pixels, P side of a patch, h w = H / P W / P cells, N = h * w patches, D width;
         T = 1 + N tokens, or N without a class token.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Attention
from manyviews.nets.encoder import Encoder, cannot_start, shapes
from manyviews.nets.net import Net
from manyviews.nets.norms import standardise
from manyviews.nets.positions import OnGrid, Relative
from manyviews.nets.resnet import Bottleneck, ResNet, small_resnet
from manyviews.nets.transformer import Blocks, glorot
from manyviews.nets.vit_names import NAMES as NAMES

Pool = Literal["class", "average"]
Positions = Literal["1d", "2d", "sincos2d", "relative", "none"]
Added = Literal["stem", "layers", "layers_shared"]


class ViT(Encoder):
    """Patches, their positions, a stack of pre-norm blocks.

    Args:
        patch: P in pixels; of a hybrid, the pixels of one cell of its `backbone`'s feature map.
        hidden: width inside the feed-forward layers; 4 * `width` where it is not given.
        size: side in pixels of the images that the positions are made for; others interpolate them.
        pool: the embedding is the class token's, or the mean of all patches (there is no class token then).
        positions: a learned vector a place ("1d"), half a vector a column and half a row ("2d"), fixed sinusoids
            ("sincos2d"), offsets in reading order that every attention adds to its logits ("relative"), or "none".
        added: positions are added once ("stem"), or before every block: its own ("layers") or the same ("layers_shared").
        dropout: after every dense layer but that of the queries, keys and values, and after the positions.
        backbone: makes from `in_channels` the net whose `grid` is cut into patches of 1 x 1 (a hybrid).

    Raises `ManyviewsError` for a size that patches do not divide.
    """

    def __init__(
        self,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int | None = None,
        *,
        in_channels: int = 3,
        size: int = 224,
        pool: Pool = "class",
        positions: Positions = "1d",
        added: Added = "stem",
        dropout: float = 0.0,
        backbone: Callable[[int], Encoder] | None = None,
    ):
        super().__init__(width, in_channels)
        if positions in ("relative", "none") and added != "stem":
            raise ManyviewsError(f'Positions "{positions}" are not added to tokens: leave out "{added}".')
        self.patch_size, self.pool, self.added, self.dropout = patch, pool, added, dropout
        self.cells = self.cells_of(size, size)  # of the grid that the positions are made for
        self.first = 1 if pool == "class" else 0  # tokens before the patches
        self.backbone = backbone(in_channels) if backbone else None
        if self.backbone:
            self.patch = nn.Conv2d(self.backbone.width, width, 1)
        else:
            self.patch = nn.Conv2d(in_channels, width, patch, stride=patch)  # E of eq. 1
        if pool == "class":
            self.class_token = nn.Parameter(torch.zeros(width))
        self.relative = positions == "relative"
        self.positions: Any = nn.ModuleList()  # of OnGrid
        if positions != "relative" and positions != "none":
            for _ in range(depth if added == "layers" else 1):
                self.positions.append(OnGrid(positions, self.cells, width, self.first))
        self.blocks = Blocks(depth, width, heads, hidden, dropout=dropout, inner_dropout=dropout, eps=1e-6)
        if self.relative:
            places = self.first + self.cells[0] * self.cells[1]
            for layer in self.blocks.modules():
                if isinstance(layer, Attention):
                    layer.relative = Relative(places, width // heads)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """`[B, D]`: y of eq. 4, or the mean of what the patches became."""
        x_BTD = self.tokens(x_BCHW)
        return x_BTD[:, 0] if self.pool == "class" else x_BTD.mean(dim=1)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """What the patches became, where they lie: `[B, D, h, w]`."""
        x_BND = self.tokens(x_BCHW)[:, self.first :]
        return x_BND.mT.unflatten(2, self.cells_of(*x_BCHW.shape[2:]))

    def tokens(self, x_BCHW: Tensor) -> Tensor:
        """All tokens after the last block and its norm, the class token first: `[B, T, D]`."""
        return self.encode(self.patches(x_BCHW), self.cells_of(*x_BCHW.shape[2:]))

    def patches(self, x_BCHW: Tensor) -> Tensor:
        """Each patch projected, without its position, in reading order: `[B, N, D]`.

        Raises `ManyviewsError` for images that patches do not divide.
        """
        self.cells_of(*x_BCHW.shape[2:])
        x_BDhw = self.patch(self.backbone.grid(x_BCHW) if self.backbone else x_BCHW)
        return x_BDhw.flatten(2).mT.contiguous()  # else every layer after it reads across memory

    def encode(self, patches_BND: Tensor, cells: tuple[int, int], keep_BK: Tensor | None = None) -> Tensor:
        """Tokens `[B, T, D]` of patches that lie in a grid of `cells` = (h, w).

        Args:
            keep_BK: the patches that are read, as indices in reading order; the others stay unseen and do not
                come out: `[B, 1 + K, D]`.
        """
        if self.relative and (cells != self.cells or keep_BK is not None):
            raise ManyviewsError(
                f"Relative positions count all patches of a {self.cells[0]} x {self.cells[1]} grid in reading order; "
                "build the net for this size, or take other positions."
            )
        x_BTD, B = patches_BND, patches_BND.shape[0]  # len() would fix it where the net is exported
        if self.pool == "class":
            x_BTD = torch.cat([self.class_token.expand(B, 1, -1), x_BTD], dim=1)
        places = [table(cells).expand(B, -1, -1) for table in self.positions]
        if keep_BK is not None:
            seen_BK1 = F.pad(keep_BK + self.first, (self.first, 0))[:, :, None]
            x_BTD, *places = [t.take_along_dim(seen_BK1, dim=1) for t in (x_BTD, *places)]
        for layer, block in enumerate(self.blocks):
            if places and (layer == 0 or self.added != "stem"):
                x_BTD = x_BTD + places[layer % len(places)]
            if layer == 0 and self.dropout:
                x_BTD = F.dropout(x_BTD, self.dropout, self.training)
            x_BTD = block(x_BTD)
        return self.norm(x_BTD)

    def by_layer(self, x_BCHW: Tensor) -> Tensor:
        """What `forward` takes of the tokens, after each block: `[L, B, D]`; the last is the embedding."""
        states: list[Tensor] = []

        def keep(block: nn.Module, x: Any, y: Tensor) -> None:
            states.append(y)

        hooks = [block.register_forward_hook(keep) for block in self.blocks]
        try:
            states[-1:] = [self.tokens(x_BCHW)]
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack([y[:, 0] if self.pool == "class" else y.mean(dim=1) for y in states])

    def layers(self) -> list[nn.Module]:
        """What learns at one rate where rates decay with depth: patches with positions and class token, then the blocks."""
        *blocks, last = self.blocks
        return [self.patch, *blocks, nn.ModuleList([last, self.norm])]

    def resized(self, size: int) -> ViT:
        """This net with its positions interpolated for good, to images of `size` pixels a side; this one stays."""
        net = copy.deepcopy(self)
        net.cells = self.cells_of(size, size)
        if self.relative and net.cells != self.cells:
            raise ManyviewsError("Relative positions cannot be resized; build the net for this size.")
        for table in net.positions:
            table.resize(net.cells)
        net.built = replace(self.built, size=size) if self.built else None
        return net

    def size_of(self, weights: Mapping[str, Tensor]) -> int | None:
        """Side in pixels of the images that other weights of this net are made for; None without a vector a place."""
        place_TD = weights.get("positions.0.weight")
        return None if place_TD is None else math.isqrt(max(0, len(place_TD) - self.first)) * self.patch_size

    def warm_start_from(self, other: Encoder) -> None:
        """Begin as the same net of images of another size: its positions are interpolated to the grid of this one.

        Raises `ManyviewsError` where anything else differs, or positions are relative.
        """
        if not isinstance(other, ViT) or other.patch_size != self.patch_size:
            raise cannot_start(self, other)
        fitted = other.resized(self.cells[0] * self.patch_size)
        if shapes(fitted) != shapes(self):
            raise cannot_start(self, fitted)
        self.load_state_dict(fitted.state_dict())

    def cells_of(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of an image in pixels. Raises `ManyviewsError` where patches do not divide it."""
        P = self.patch_size
        if height < P or width < P or height % P or width % P:
            raise ManyviewsError(
                f"Patches of {P} pixels do not divide images of {height} x {width}; take a multiple of {P}, "
                "or a net with other patches."
            )
        return height // P, width // P


def initialise(net: ViT) -> None:
    """Glorot & Bengio 2010 for every dense layer, each projection by itself; patches keep the variance of pixels."""
    nn.init.kaiming_normal_(net.patch.weight, nonlinearity="linear")
    nn.init.zeros_(net.patch.bias)  # pyright: ignore[reportArgumentType]
    for name, module in net.blocks.named_modules():
        if isinstance(module, nn.Linear):
            glorot(name, module)
            nn.init.normal_(module.bias, std=1e-6) if "mlp" in name else nn.init.zeros_(module.bias)


def resnet50_stage(in_channels: int) -> Encoder:
    """ResNet-50 with the blocks of its last stage moved into the third: one cell for 16 x 16 pixels (4.1)."""
    net = ResNet(
        Bottleneck, (3, 4, 9), (64, 128, 256), (1, 2, 2), in_channels=in_channels, norm="group", zero_init=True,
    )  # fmt: skip
    return standardise(net)


def small_stage(in_channels: int) -> Encoder:
    """Two stages of the embedded world's ResNet: one cell for 4 x 4 pixels."""
    net = small_resnet(in_channels=in_channels, widths=(32, 64), depths=(1, 1), strides=(1, 2), norm="group")
    return standardise(net)


SIZES: dict[str, dict[str, int]] = {
    "ti": {"width": 192, "depth": 12, "heads": 3},
    "s": {"width": 384, "depth": 12, "heads": 6},
    "b": {"width": 768, "depth": 12, "heads": 12},
    "l": {"width": 1024, "depth": 24, "heads": 16},
    "h": {"width": 1280, "depth": 32, "heads": 16},
}
TIMM = {"ti": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "average": {"pool": "average"},
    "2d": {"positions": "2d"},
    "sincos2d": {"positions": "sincos2d"},
    "relative": {"positions": "relative"},
    "none": {"positions": "none"},
    "layers": {"added": "layers"},
    "layers_shared": {"added": "layers_shared"},
    "dropout10": {"dropout": 0.1},
}
# Table 1 gives a size one count, whatever its patches: B's is that of B/16, L's of L/32, H's of H/14.
COUNTED = {"vit_b16": 86, "vit_l32": 307, "vit_h14": 632}
KNOWN_WITH = ("sincos2d",)  # positions are tensors elsewhere, however they came about


def _known_as(size: str, patch: int) -> dict[str, str]:
    """Other libraries' names; torchvision and transformers have the paper's nets alone, timm two that average."""
    names = {"timm": f"vit_{TIMM[size]}_patch{patch}_224"}
    if (size, patch) in {("b", 16), ("b", 32), ("l", 16), ("l", 32), ("h", 14)}:
        names["torchvision"] = f"vit_{size}_{patch}"
        names["transformers"] = f"google/vit-{TIMM[size]}-patch{patch}-224-in21k"
    if (size, patch) in {("b", 16), ("h", 14)}:
        names["timm/average"] = f"vit_{TIMM[size]}_patch{patch}_gap_224"
    return names


def _net(name: str, patch: int, **about: Any) -> Net:
    paper = "Steiner et al. 2021, table 1" if name in ("ti", "s") else "Dosovitskiy et al. 2021, table 1"
    return Net(
        make=partial(ViT, patch, **SIZES[name]), paper=paper, variants=VARIANTS,
        parameters=COUNTED.get(f"vit_{name}{patch}"), known_with=KNOWN_WITH, **about,
    )  # fmt: skip


NETS = {
    "small_vit": Net(
        make=partial(ViT, 4, width=128, depth=6, heads=4), paper="ours, for the embedded world", size=32, classes=10,
        variants=VARIANTS | {"hybrid": {"backbone": small_stage}, "4x64": {"width": 64, "depth": 4}}, known_with=KNOWN_WITH,
    ),
    "vit_ti4": _net("ti", 4, size=32, classes=10),
    "vit_s4": _net("s", 4, size=32, classes=10),
    **{
        f"vit_{size}{patch}": _net(size, patch, known_as=_known_as(size, patch))
        for size, patch in (
            ("ti", 16), ("s", 8), ("s", 16), ("s", 32), ("b", 8), ("b", 16), ("b", 32), ("l", 14), ("l", 16),
            ("l", 32), ("h", 14),
        )
    },
    "vit_b_r50": Net(
        make=partial(ViT, 16, **SIZES["b"], backbone=resnet50_stage), paper="Dosovitskiy et al. 2021, section 3.1",
        variants=VARIANTS,
    ),
}  # fmt: skip
