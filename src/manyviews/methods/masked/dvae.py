"""dVAE: an image is written as a grid of discrete codes, from which it can be drawn again.

Paper    Ramesh, Pavlov, Goh, Gray, Voss, Radford, Chen, Sutskever, ICML 2021 (arXiv:2102.12092). Lower bound eq. 1,
         Gumbel-softmax section 2.1, logit-Laplace eq. 2 and appendix A.3, schedules appendix A.2.
Differs  Here the encoder sees standardised images, in the paper phi(x). Here the schedules last for shares of the run,
         and the learning rate falls to 0 by its end. The recipes for small images show them whole, since the paper
         would not enlarge them. The likelihood "squared", which the paper does not have, is a Gaussian of deviation 1
         on standardised images. Images are resampled bilinearly here, by areas in the paper. The recipe `paper` learns
         from ImageNet, the paper from 250 million pairs. In half precision the decoder's first layer is rounded too
         here; the authors' code keeps it in 32 bits.
Shapes   B images, C H W pixels, V codes, h w positions.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.errors import ManyviewsError
from manyviews.memory import Twin
from manyviews.method import Anatomy, Batch, Method, NetFactory, Out, Spec
from manyviews.nets.dvae import AutoEncoder, Codes, TokenDecoder
from manyviews.nets.encoder import called, judging
from manyviews.nets.tokens import in_use
from manyviews.objectives.contrast import precise
from manyviews.recipe import Recipe
from manyviews.views import View, Views, plain
from manyviews.views.spaces import unit_rgb

EPS = 0.1  # keeps phi(x) away from 0 and 1 (appendix A.3)
JUDGED = 32  # images of a step whose reconstruction from hard codes is looked at


@dataclass(frozen=True, kw_only=True)
class Config:
    codes: int = 8192  # V, size of the codebook (section 2.1)
    likelihood: Literal["logit-laplace", "squared"] = "logit-laplace"  # model of pixels given codes (A.3)
    temperature: tuple[float, float] = (1.0, 1 / 16)  # tau at the start and after the annealing (A.2)
    annealing: float = 0.05  # share of the run over which tau falls (A.2: 150,000 of 3,000,000 updates)
    beta: float = 6.6  # weight of the KL divergence after its warm-up (section 2.1)
    beta_warmup: float = 1 / 600  # share of the run over which beta rises from 0 (A.2: 5,000 updates)
    width: int = 256  # channels of the decoder's last group, twice as many in each one before (authors' code)
    init: int = 128  # length of the vector that the decoder has for each code (authors' code)
    blocks: int = 2  # residual blocks in a group of the decoder (authors' code)
    average: float = 0.999  # EMA momentum of the weights that are kept (A.2); 0: those of the last step
    scale: tuple[float, float] = (9 / 8, 12 / 8)  # short side in crop sides (listing 1); 1, 1: whole images


ANATOMY = Anatomy(
    pretext="reconstruction from discrete codes",
    positives="the image itself",
    negatives="none",
    target="pixels",
    objective="evidence lower bound",
)


class DVAE(Method):
    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        check(config)
        encoder = net(within=f"codes({{}}, {config.codes})")
        assert isinstance(encoder, Codes)
        channels = 6 if config.likelihood == "logit-laplace" else 3  # mu and ln b, or mu
        decoder = TokenDecoder(
            config.codes, channels, config.width, groups_for(encoder, spec.size), config.blocks, config.init
        )
        self.online = AutoEncoder(encoder, decoder)
        self.mean = Twin(self.online)  # iterates averaged (A.2): what is kept
        kept = self.mean.module
        assert isinstance(kept, AutoEncoder)
        self.encoder, self.decoder = kept.encoder, kept.decoder

    def views(self) -> Views:
        return Views(View(size=self.spec.size, crop=None, scale=self.config.scale))  # listing 1

    def loss(self, batch: Batch, progress: float) -> Out:
        (x,) = batch.views
        h_BDhw = self.online.encoder.grid(x)
        with torch.autocast(x.device.type, enabled=False):  # half precision would tie codes that are not
            logits_BVhw = self.online.encoder.logits_of(precise(h_BDhw))  # of q(z | x)
        tau, beta = self.tau(progress), self.beta(progress)
        z_BVhw = relaxed(logits_BVhw, tau)  # Gumbel-softmax (section 2.1)
        told = precise(self.online.decoder(z_BVhw))
        nll_B = -self.log_p(x, told).sum((1, 2, 3))
        kl_B = kl_to_uniform(logits_BVhw)  # the prior p(z) is uniform (section 2.1)
        values = x[0].numel()
        loss = (nll_B + beta * kl_B).mean() / values  # eq. 1, divided as in A.2
        with torch.no_grad():
            hard_Bhw = logits_BVhw.argmax(1)
            drawn = self.online.decoder.of_tokens(hard_Bhw[:JUDGED])
            log = {
                "nll": nll_B.mean() / values,  # nats a value
                "kl": kl_B.mean() / hard_Bhw[0].numel(),  # nats a code, at most ln V
                "soft_error": self.error(x, told),
                "hard_error": self.error(x[:JUDGED], drawn),
                "codes_in_use": in_use(hard_Bhw, self.config.codes),
                "tau": x.new_tensor(tau),
                "beta": x.new_tensor(beta),
            }
        return Out(loss, log, z=h_BDhw.mean((2, 3)))

    def tau(self, progress: float) -> float:
        """Of the relaxation: falls along a cosine (appendix A.2)."""
        start, end = self.config.temperature
        return cosine(start, end, progress, self.config.annealing)

    def beta(self, progress: float) -> float:
        """Weight of the divergence: rises along a cosine (appendix A.2)."""
        return cosine(0.0, self.config.beta, progress, self.config.beta_warmup)

    def log_p(self, x: Tensor, told: Tensor) -> Tensor:
        """ln p(x | z) of each value; without its constant where it is Gaussian."""
        if self.config.likelihood == "squared":
            return -(x - told).square() / 2
        mu, ln_b = told.chunk(2, dim=1)
        return logit_laplace(phi(unit_rgb(x)), mu, ln_b)

    def drawn(self, told: Tensor) -> Tensor:
        """The pixels in [0, 1] that the decoder means: of the logit-Laplace its median."""
        told = precise(told)
        if self.config.likelihood == "squared":
            return unit_rgb(told)
        return ((told[:, :3].sigmoid() - EPS) / (1 - 2 * EPS)).clamp(0, 1)  # phi^-1

    def error(self, x: Tensor, told: Tensor) -> Tensor:
        """Mean squared error of pixels in [0, 1]."""
        return (unit_rgb(x) - self.drawn(told)).square().mean()

    @torch.no_grad()
    def after_step(self, out: Out, progress: float) -> None:
        self.mean.follow(self.online, self.config.average)
        for own, other in zip(self.mean.buffers(), self.online.buffers(), strict=True):
            own.copy_(other)  # the statistics of a net with batch norm

    def pictures(self, image_B3HW: Tensor) -> dict[str, Tensor]:
        x = plain(image_B3HW, self.spec.size)
        logits = precise(cast(Codes, self.encoder).logits(x))
        soft = self.drawn(self.decoder(relaxed(logits, self.tau(1.0))))
        hard = self.drawn(self.decoder.of_tokens(logits.argmax(1)))
        rows = torch.stack([unit_rgb(x), soft, hard])
        return {"originals, drawn from soft codes, from hard codes": (rows * 255).round().to(torch.uint8)}


def relaxed(logits_BVhw: Tensor, tau: float) -> Tensor:
    """A sample of the Gumbel-softmax relaxation of q(z | x): `[B, V, h, w]`, shares of all codes at each position.

    Each image has a generator of its own, so R ranks draw what one process would.
    """
    g = torch.empty_like(logits_BVhw)
    source = torch.Generator(g.device)
    for noise, seed in zip(g, distributed.rand(len(g)).tolist(), strict=True):
        noise.exponential_(generator=source.manual_seed(int(seed * 2**24)))
    return F.softmax((logits_BVhw - g.log()) / tau, dim=1)  # -ln of an exponential is a Gumbel


def kl_to_uniform(logits_BVhw: Tensor) -> Tensor:
    """KL(q || U), summed over positions: `[B]`."""
    log_q = logits_BVhw.log_softmax(1)
    return ((log_q.exp() * log_q).sum(1) + math.log(logits_BVhw.shape[1])).sum((1, 2))


def phi(x: Tensor) -> Tensor:
    """[0, 1] into (0, 1), where the logit-Laplace lives."""
    return (1 - 2 * EPS) * x + EPS


def logit_laplace(x: Tensor, mu: Tensor, ln_b: Tensor) -> Tensor:
    """ln of the density of sigmoid(Laplace(mu, b)) at x in (0, 1) (eq. 2)."""
    return -math.log(2) - ln_b - (x * (1 - x)).log() - (x.logit() - mu).abs() * (-ln_b).exp()


def cosine(start: float, end: float, progress: float, share: float) -> float:
    """From `start` to `end` along a cosine over a share of the run, and `end` from there on."""
    done = min(1.0, progress / share) if share else 1.0
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def groups_for(encoder: Codes, size: int) -> int:
    """How many groups lead from the codes of such an image back to its pixels.

    Raises `ManyviewsError` for a net that embeds otherwise than by the mean of its map, and where a code does not stand for 1, 2, 4, ... pixels a side.
    """
    with judging(encoder):
        channels, *sides = encoder.grid(next(encoder.parameters()).new_zeros(1, 3, size, size)).shape[1:]
    if channels != encoder.width:
        raise ManyviewsError(
            f"Codes are read off a feature map, and {called(encoder.inner)} embeds by layers beyond its own; take a --net whose "
            "embedding is the mean of its map."
        )
    pixels = size // sides[0]
    if sides != [size // pixels] * 2 or pixels * sides[0] != size or pixels & (pixels - 1):
        raise ManyviewsError(
            f"The decoder doubles the side of its map again and again, which does not lead from {sides[0]} x {sides[1]} "
            f"codes to {size} x {size} pixels; take another --net or --size, as small_dvae and a multiple of 4."
        )
    return pixels.bit_length()


def check(config: Config) -> None:
    if min(config.temperature) <= 0:
        raise ManyviewsError(f"--temperature is {config.temperature}; it divides logits: above 0.")
    if config.beta < 0:
        raise ManyviewsError(f"--beta is {config.beta}; the weight of a divergence is not negative.")
    if not (0 <= config.annealing <= 1 and 0 <= config.beta_warmup <= 1 and 0 <= config.average < 1):
        raise ManyviewsError(
            f"--annealing is {config.annealing}, --beta-warmup {config.beta_warmup} and --average {config.average}; "
            "they are shares, from 0 to 1 (the last below 1)."
        )
    if not 1 <= config.scale[0] <= config.scale[1]:
        raise ManyviewsError(f"--scale is {config.scale[0]} {config.scale[1]}; it rises from 1 or more.")
    if min(config.width // 4, config.init, config.blocks) < 1:
        raise ManyviewsError(
            f"A decoder of width {config.width}, {config.init} numbers a code and {config.blocks} blocks cannot be; "
            "take a width of 4 or more, and 1 or more of the others."
        )


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="imagenet", net="dvae8", size=256, batch=512, budget="3000000steps", optimiser="adamw", lr=1e-4,
            weight_decay=1e-4, precision="bf16",
        ),
    ),
    # A code stands for 4 x 4 pixels here and 8 x 8 in the paper: a quarter of its beta weighs each code alike.
    "cifar10": (
        Config(codes=512, width=32, beta=1.65, annealing=0.5, beta_warmup=0.05, scale=(1.0, 1.0)),
        Recipe(
            data="cifar10", net="small_dvae", batch=128, budget="50ep", optimiser="adamw", lr=2e-3, weight_decay=1e-4,
            warmup=0.05,
        ),
    ),
    "world": (
        Config(
            codes=128, width=16, blocks=1, beta=1.65, annealing=0.7, beta_warmup=0.3, average=0.98, scale=(1.0, 1.0),
        ),
        Recipe(
            data="world", net="small_dvae", batch=64, budget="4ep", optimiser="adamw", lr=2e-3, weight_decay=1e-4,
            warmup=0.05,
        ),
    ),
}  # fmt: skip
