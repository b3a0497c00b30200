"""iGPT: predict each pixel from all before it, or hidden pixels from all others, and come to understand images.

Paper    Chen, Radford, Child, Wu, Jun, Luan, Sutskever, "Generative Pretraining from Pixels", ICML 2020. Objectives
         section 2.1, features section 2.4, views section 3.1, palette section 3.2, training section 3.4. The masked
         objective is BERT's (Devlin et al. 2019, arXiv:1810.04805). What the paper leaves open is as in the authors'
         code: losses are means over pixels, a hidden pixel's embedding is zero, masks are drawn anew at each step.
Differs  Here the palette is found in a sample of the data's own training images; the paper has one palette, from
         ImageNet, for all data sets. A view that is larger than the net's input is reduced after it is cropped, as in
         the paper, but bilinearly here. Of the learning rates that section 3.4 searches, the recipe `paper` takes a
         middle one. To classify with the generative loss beside the classifier's (section 2.3), use `finetune` with
         `--option finetune.joint=1`. A net that learned from hidden pixels is judged with none hidden here; the authors
         hide the same share when they judge it too, and let the answers to several masks vote.
Shapes   B images, N positions in reading order, V colours of the palette.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.kmeans import kmeans
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.generation import draw
from manyviews.nets.igpt import HIDDEN, ImageGPT, nats, reads_pixels
from manyviews.recipe import Recipe
from manyviews.views import View, Views, plain

GREY, WAYS, SAMPLES = 128, 3, (2, 8)  # of what is not seen; completions of each half; rows and columns


@dataclass(frozen=True, kw_only=True)
class Config:
    objective: Literal["next", "masked"] = "next"  # next pixel (L_AR) or masked pixels (L_BERT; section 2.1)
    colours: int = 512  # V, size of the palette that k-means finds: 9 bits (section 3.2)
    ratio: float = HIDDEN  # probability with which "masked" hides a pixel (section 2.1)
    layer: int | None = None  # l, layer whose features f^l are kept (section 2.4); None: the middle one
    scale: tuple[float, float] = (8 / 7, 12 / 7)  # short side over crop side (3.1: 256 to 384 over 224)
    pad: int = 0  # pixels mirrored around the image before its crop (3.1: 4 to fine-tune on CIFAR)
    flip: float = 0.0  # probability of a horizontal flip (section 3.1: 0.5 to fine-tune on CIFAR)


SERVES = {"ratio": ("objective", ("masked",)), "flip": ("mirror", (True,))}
ANATOMY = Anatomy(
    pretext="tell the next pixel, or hidden ones",
    positives="the image's own pixels",
    negatives="the other colours of the palette",
    target="pixels, by the nearest of 512 colours",
    objective="cross entropy",
)


class IGPT(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config)
        around = "colours" if config.objective == "next" else "masked_colours"
        at = "" if config.layer is None else f", {config.layer}"
        self.encoder = reads_pixels(net(within=f"{around}({{}}, {config.colours}{at})"))
        if not self.encoder.started:  # else its codes have their meaning
            self.encoder.get_buffer("palette").copy_(palette(spec, config.colours))

    @property
    def net(self) -> ImageGPT:
        return cast(ImageGPT, self.encoder)

    def views(self) -> Views:
        c = self.config
        return Views(View(size=self.spec.size, crop=None, scale=c.scale, pad=c.pad, mirror=True, flip=c.flip))

    def loss(self, batch: Batch, progress: float) -> Out:
        (image,) = batch.views
        x_BN = self.net.quantised(image)
        M_BN = self.hidden(len(x_BN), x_BN.device)
        n_BND = self.net.encode(x_BN, hidden_BN=M_BN)
        # - log p(x_i | x_1 ... x_i-1), or - log p(x_i | x without M) for i in M: L_AR and L_BERT of section 2.1
        loss = nats(self.net.out(n_BND), x_BN, M_BN)
        return Out(loss, log={"perplexity": loss.detach().exp()})

    def hidden(self, B: int, device: torch.device) -> Tensor | None:
        """M, as bool `[B, N]`; None where nothing is hidden."""
        if self.config.objective == "next":
            return None
        return (distributed.rand(B, self.net.side**2) < self.config.ratio).to(device)

    def pictures(self, image_B3HW: Tensor) -> dict[str, Tensor]:
        """Images in the colours of the palette, what is seen of them, and how the net goes on (figure 1); and samples."""
        net, x_BN = self.net, self.net.quantised(plain(image_B3HW, self.spec.size))
        original = net.drawn(x_BN)
        if (M_BN := self.hidden(len(x_BN), x_BN.device)) is not None:
            told_PV = net.out(net.encode(x_BN, hidden_BN=M_BN))[M_BN]
            told_BN = x_BN.masked_scatter(M_BN, draw(told_PV, temperature=0.0))
            seen = torch.where(M_BN.view(len(x_BN), 1, net.side, net.side), GREY, original)
            return {"image, seen, hidden pixels told": torch.stack([original, seen, net.drawn(told_BN)], 1)}
        upper_BT = x_BN[:, : net.side // 2 * net.side]
        seen = original.clone()
        seen[:, :, net.side // 2 :] = GREY
        ways_CBN = net.complete(upper_BT.repeat(WAYS, 1)).view(WAYS, *x_BN.shape)
        rows, columns = SAMPLES
        return {
            "image, upper half, how it may go on": torch.stack(
                [original, seen, *map(net.drawn, ways_CBN)], 1
            ),
            "samples": net.drawn(net.sample(rows * columns)).unflatten(0, (rows, columns)),
        }


def palette(spec: Spec, colours: int) -> Tensor:
    """k-means of the training set's colours in [-1, 1], `[V, 3]` (section 3.2).

    Raises `ManyviewsError` where the data has none, or fewer pixels than colours are wanted.
    """
    if spec.colours is None:
        raise ManyviewsError("This data has no colours to make a palette of: give images.")
    return kmeans(spec.colours().float() / 127.5 - 1, colours).centroids_KD


def check(config: Config) -> None:
    """Raises `ManyviewsError` for settings that cannot be."""
    if config.objective not in ("next", "masked"):
        raise ManyviewsError(f'Objective is "next" or "masked", not "{config.objective}".')
    if config.colours < 2:
        raise ManyviewsError(f"--colours is {config.colours}; a palette needs 2 or more to tell them apart.")
    if not 0 < config.ratio < 1:
        raise ManyviewsError(
            f"--ratio is {config.ratio}; some pixels have to be hidden and some seen: set it above 0 and below 1."
        )
    low, high = config.scale
    if not 1 <= low <= high or config.pad < 0 or not 0 <= config.flip <= 1:
        raise ManyviewsError(
            f"--scale is {low} {high}, --pad {config.pad} and --flip {config.flip}; scale rises from 1 or more, a pad is "
            "0 or more pixels, a flip has a probability."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="igpt_s", size=32, batch=128, budget="1000000steps",
            optimiser="adam", lr=3e-3, beta2=0.95, weight_decay=0.0, warmup=0.01,
        ),
    ),
    "cifar10": (
        Config(scale=(1.0, 1.0), pad=4, flip=0.5),
        Recipe(
            data="cifar10", net="igpt_s", size=32, batch=128, budget="100ep",
            optimiser="adam", lr=1e-3, beta2=0.95, weight_decay=0.0, warmup=0.01, precision="bf16",
        ),
    ),
    "world": (
        Config(colours=64, scale=(1.0, 1.3), flip=0.5),
        Recipe(
            data="world", net="small_igpt/6x64", batch=64, budget="4ep",
            optimiser="adam", lr=2e-3, beta2=0.95, weight_decay=0.0, warmup=0.02, clip=1.0,
        ),
    ),
}  # fmt: skip
