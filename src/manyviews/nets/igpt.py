"""iGPT: an image is a sequence of colours, one pixel after the other, and GPT-2 reads it.

Paper    Chen, Radford, Child, Wu, Jun, Luan, Sutskever, "Generative Pretraining from Pixels", ICML 2020. Blocks section
         2.2, features sections 2.3 and 2.4, palette section 3.2, sizes section 3.3. Norms that only scale, no biases,
         the start vector, the activation and the first weights are those of the authors' code.
Differs  The net itself resizes images here, bilinearly and antialiased. The paper's largest net, iGPT-XL, is left out.
         Until a method finds a palette, the palette is an even grid of colours. Only the causal net has the vector that
         starts a sequence. While a masked net is fine-tuned, its generative loss hides 15% of the pixels, whatever
         share was hidden before.
Shapes   B images, C H W pixels, S side that the net sees, N = S * S positions in reading order, D width, V colours of
         the palette, L blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Cache
from manyviews.nets.encoder import Encoder, called, judging
from manyviews.nets.generation import draw
from manyviews.nets.linear import Linear
from manyviews.nets.net import Net
from manyviews.nets.palette import lattice, nearest
from manyviews.nets.positions import Learned, fits
from manyviews.nets.transformer import Block, Blocks
from manyviews.views.spaces import unit_rgb

EPS = 1e-5
HIDDEN = 0.15  # probability that a pixel is hidden from the net that looks both ways (section 2.1)


class ImageGPT(Encoder):
    """Codes of colours, their positions, pre-norm blocks, and what is expected at each position.

    Args:
        side: S; images of another size are resized to it.
        codes: V.
        causal: a position sees what stands before it alone; else it sees all that is not hidden.
        layer: l of the features f^l that are the embedding (section 2.4); None: L, the last.

    Raises `ManyviewsError` for images without colours, a palette of less than two, or a layer that is not there.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        side: int = 32,
        codes: int = 512,
        causal: bool = True,
        layer: int | None = None,
        in_channels: int = 3,
    ):
        super().__init__(width, in_channels)
        if in_channels != 3:
            raise ManyviewsError(
                f"A palette holds colours of 3 channels, but these images have {in_channels}."
            )
        self.side = side
        self.look(causal)
        self.positions = Learned(side * side, width, std=0.01)
        self.blocks = Blocks(depth, width, heads, activation="gelu_sigmoid", bias=False, rms=True, eps=EPS)
        self.norm = nn.RMSNorm(width, EPS)
        initialise(self)
        self.recolour(codes)
        self.embed_at(layer)

    def look(self, causal: bool) -> None:
        """Have each position see what stands before it alone, or everything."""
        self.causal = causal
        self.start = nn.Parameter(torch.randn(self.width) * 0.02) if causal else None

    def recolour(self, codes: int) -> None:
        """Have a palette of so many colours, and begin anew with what is known of each."""
        if codes < 2:
            raise ManyviewsError(f"A palette of {codes} colour(s) shows nothing; take 2 or more.")
        self.register_buffer("palette", lattice(codes))  # [V, 3], in [-1, 1]
        self.tokens = nn.Embedding(codes, self.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.out = Linear(self.width, codes, bias=False)  # apart from the embedding that goes in
        nn.init.zeros_(self.out.weight)

    def embed_at(self, layer: int | None) -> None:
        """From now on the embedding is f^l; None: f^L."""
        if not 0 <= (layer := len(self.blocks) if layer is None else layer) <= len(self.blocks):
            raise ManyviewsError(
                f"There is no layer {layer} to embed at; the net has layers 0 to {len(self.blocks)}."
            )
        self.layer = layer

    # -- from images to codes and back ---------------------------------------------------------------------------

    @torch.no_grad()
    def quantised(self, x_BCHW: Tensor) -> Tensor:
        """The nearest colour of the palette for each pixel of normalised images, `[B, N]` (section 3.2)."""
        side, palette_V3 = (self.side, self.side), self.get_buffer("palette")
        x = x_BCHW.to(palette_V3.dtype)
        if x.shape[2:] != side:
            x = F.interpolate(x, side, mode="bilinear", antialias=True)
        x_P3 = (2 * unit_rgb(x) - 1).movedim(1, 3).reshape(-1, 3)
        return nearest(x_P3, palette_V3).view(x.shape[0], -1)

    def drawn(self, codes_BN: Tensor) -> Tensor:
        """Their colours, as uint8 `[B, 3, S, S]`."""
        rgb_BN3 = (127.5 * (self.get_buffer("palette")[codes_BN] + 1)).round().clamp(0, 255)
        return rgb_BN3.to(torch.uint8).mT.unflatten(2, (self.side, self.side))

    # -- reading -------------------------------------------------------------------------------------------------

    def inputs(self, codes_BT: Tensor, hidden_BT: Tensor | None = None) -> Tensor:
        """h^0 `[B, T, D]` of the first T positions: the causal net is given each code one position later, after the start
        vector; the other net nothing but its place where `hidden_BT` (section 2.2)."""
        h_BTD = self.tokens(codes_BT)
        if hidden_BT is not None:
            h_BTD = h_BTD * ~hidden_BT[:, :, None]
        if self.start is not None:
            h_BTD = torch.cat([self.start.expand(h_BTD.shape[0], 1, -1), h_BTD[:, :-1]], 1)
        return h_BTD + self.positions(codes_BT.shape[1])

    def through(self, h_BTD: Tensor, cache: Cache | None = None) -> Iterator[Tensor]:
        """h^0, h^1 ... h^L, each as it is asked for."""
        yield h_BTD
        for block in self.blocks:
            h_BTD = block(h_BTD, causal=self.causal, cache=cache)
            yield h_BTD

    def normed(self, h_BTD: Tensor, layer: int) -> Tensor:
        """n^l, what block l makes of h^l first, or of h^L the logits are made of (section 2.2)."""
        block = self.blocks[layer] if layer < len(self.blocks) else None
        return block.norm1(h_BTD) if isinstance(block, Block) else self.norm(h_BTD)

    def encode(self, codes_BN: Tensor, layer: int | None = None, hidden_BN: Tensor | None = None) -> Tensor:
        """n^l `[B, N, D]` at every position; of the last layer, unless told."""
        layer = len(self.blocks) if layer is None else layer
        (h_BND,) = islice(self.through(self.inputs(codes_BN, hidden_BN)), layer, layer + 1)
        return self.normed(h_BND, layer)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """n^l where it lies, `[B, D, S, S]`; its mean over positions is the embedding f^l (section 2.4)."""
        return self.encode(self.quantised(x_BCHW), self.layer).mT.unflatten(2, (self.side, self.side))

    def by_layer(self, x_BCHW: Tensor) -> Tensor:
        """f^0 ... f^L (section 2.4), `[L + 1, B, D]`."""
        states = self.through(self.inputs(self.quantised(x_BCHW)))
        return torch.stack([self.normed(h_BND, layer).mean(1) for layer, h_BND in enumerate(states)])

    def with_loss(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """f^L `[B, D]`, and L_GEN of the same images (section 2.3): what is learned from jointly."""
        x_BN = self.quantised(x_BCHW)
        M_BN = None if self.causal else torch.rand(x_BN.shape, device=x_BN.device) < HIDDEN
        n_BND = self.encode(x_BN, hidden_BN=M_BN)
        return n_BND.mean(1), nats(self.out(n_BND), x_BN, M_BN)

    def layers(self) -> list[nn.Module]:
        """What learns at one rate where rates decay with depth: what goes in, then the blocks."""
        *blocks, last = self.blocks
        return [
            nn.ModuleList([self.tokens, self.positions]),
            *blocks,
            nn.ModuleList([last, self.norm, self.out]),
        ]

    # -- writing -------------------------------------------------------------------------------------------------

    def complete(self, codes_BT: Tensor, *, cached: bool = True, **how: Any) -> Tensor:
        """Codes `[B, N]` that begin with those given, of which there may be none; each is drawn given all before it.

        Args:
            cached: keep what was read; else all of it is read again for every pixel, which gives the same.
            how: `temperature`, `top_k`, `top_p` and `generator` of `generation.draw`.

        Raises `ManyviewsError` for a net that looks both ways, or more pixels than it sees.
        """
        if self.start is None:
            raise ManyviewsError(
                f"{called(self)} looks both ways, so that it cannot draw a pixel after the other; learn by what is next."
            )
        T, N = codes_BT.shape[1], self.side**2
        fits(T, N)
        codes_BN = F.pad(codes_BT, (0, N - T))
        cache, read = Cache(N), 0
        with judging(self), torch.inference_mode():
            for place in range(T, N):
                h_BTD = self.inputs(codes_BN[:, : place + 1])[:, read:]
                *_, h_BTD = self.through(h_BTD, cache if cached else None)
                read = place + 1 if cached else 0
                codes_BN[:, place] = draw(self.out(self.norm(h_BTD[:, -1])), **how)
        return codes_BN

    def sample(self, count: int, **how: Any) -> Tensor:
        """Codes `[count, N]` from nothing; arguments as of `complete`."""
        return self.complete(
            torch.empty(count, 0, dtype=torch.int64, device=self.tokens.weight.device), **how
        )


def nats(logits_BNV: Tensor, codes_BN: Tensor, hidden_BN: Tensor | None = None) -> Tensor:
    """A scalar: the mean of - log p over all pixels or, by image, over those that are hidden; an image with none counts 0."""
    nats_BN = F.cross_entropy(logits_BNV.mT, codes_BN, reduction="none")
    if hidden_BN is None:
        return nats_BN.mean()
    return ((nats_BN * hidden_BN).sum(1) / hidden_BN.sum(1).clamp(min=1)).mean()


def initialise(net: ImageGPT) -> None:
    """First weights of the blocks: 1 / sqrt(D) before attention, 1 / sqrt(D L) after it, and 0.02 in the feed-forward."""
    for block in net.blocks:
        assert isinstance(block, Block)
        nn.init.normal_(block.attention.qkv.weight, std=net.width**-0.5)
        nn.init.normal_(block.attention.out.weight, std=(net.width * len(net.blocks)) ** -0.5)
        nn.init.normal_(block.mlp.up.weight, std=0.02)
        nn.init.normal_(block.mlp.down.weight, std=0.02)


def reads_pixels(encoder: Encoder) -> ImageGPT:
    """Raises `ManyviewsError` unless it is a net that reads an image pixel by pixel."""
    if not isinstance(encoder, ImageGPT):
        raise ManyviewsError(
            f"An image is told pixel by pixel, which {called(encoder)} does not read; take --net small_igpt or igpt_s."
        )
    return encoder


def _colours(
    inner: Callable[..., Encoder], *numbers: int, in_channels: int, size: int, causal: bool
) -> Encoder:
    if not 1 <= len(numbers) <= 2:
        raise ManyviewsError(
            "colours(...) needs the size of the palette, and may name a layer, as in colours(small_igpt, 64, 3)."
        )
    net = reads_pixels(inner())
    net.look(causal)
    net.recolour(numbers[0])
    net.embed_at(numbers[1] if len(numbers) > 1 else len(net.blocks) // 2)
    return net


def _make(
    width: int, depth: int, heads: int, *, in_channels: int = 3, size: int = 32, **options: Any
) -> ImageGPT:
    return ImageGPT(
        width, depth, heads, in_channels=in_channels, **options
    )  # whatever the size of the images


# A palette of a size of its own, and its middle layer, unless another is told, for an embedding.
AROUND = {"colours": partial(_colours, causal=True), "masked_colours": partial(_colours, causal=False)}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "8px": {"side": 8},
    "48px": {"side": 48},
    "64px": {"side": 64},
}
# depth, width, heads, millions of parameters (section 3.3; heads as in the authors' code)
SIZES = {"s": (24, 512, 8, 76), "m": (36, 1024, 8, 455), "l": (48, 1536, 16, 1362)}
NETS = {
    f"igpt_{size}": Net(
        make=partial(_make, width=width, depth=depth, heads=heads), paper="Chen et al. 2020, section 3.3", size=32, parameters=millions,
        variants=VARIANTS,
    )
    for size, (depth, width, heads, millions) in SIZES.items()
} | {
    "small_igpt": Net(
        make=partial(_make, width=128, depth=6, heads=4, side=16, codes=64), paper="ours, for the embedded world", size=32, classes=10,
        variants=VARIANTS | {"2x32": {"depth": 2, "width": 32}, "6x64": {"depth": 6, "width": 64}},
    ),
}  # fmt: skip
