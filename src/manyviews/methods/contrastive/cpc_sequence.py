"""CPC on sequences: predict the latents of a sound's next moments from all that was heard so far.

Paper    van den Oord, Li, Vinyals 2018 (arXiv:1807.03748). Model section 2.2, loss eq. 4 with f_k of eq. 3, audio
         section 3.1, negatives table 2.
Differs  Every context that has all K steps after it in the window makes predictions. Each window is scaled to standard
         deviation 1. With `negatives` "batch", the negatives are all other latents of all windows, whoever speaks; in
         the recipe `paper` these are eight windows (--accumulate 8), as many as each of the paper's eight devices has.
         A sound's embedding is the mean of its contexts. Where a sound is shorter than the window, the silence after it
         counts as latents too. As in the paper, the nearest latents to be predicted share samples with the last one
         heard: each covers 465 samples, and they begin 160 apart.
Shapes   B sounds, T samples, L latents (frames of 160 samples), D width of a latent, C of a context, K steps.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from manyviews.errors import ManyviewsError
from manyviews.method import Anatomy, Batch, Kind, Method, NetFactory, Out, Spec
from manyviews.nets.waveform import HOP, Contexts
from manyviews.objectives import Negatives, future
from manyviews.recipe import Recipe
from manyviews.views import Wave, Waves


@dataclass(frozen=True, kw_only=True)
class Config:
    context: int = 256  # C, units of the GRU (section 3.1)
    steps: int = 12  # K, latents ahead that are predicted, 10 ms each at 16 kHz (section 3.1, table 2)
    negatives: Negatives = "batch"  # "batch": latents of all windows; "own": of the window itself (table 2)
    gain: float = 0.0  # largest change of a window's volume, louder or softer, in decibels (the paper: none)
    hiss: float = 0.0  # largest standard deviation of the added white noise (the paper: none)


ANATOMY = Anatomy(
    pretext="predict the future",
    positives="the latent k steps ahead",
    negatives="other latents of the batch",
    target="the same network",
    objective="InfoNCE",
)


class CPCSequence(Method):
    sees: ClassVar[Kind] = "sounds"

    def __init__(self, config: Config, net: NetFactory, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.steps < 1:
            raise ManyviewsError(f"--steps is {config.steps}; predict at least one latent ahead.")
        if (latents := spec.size // HOP) <= config.steps:
            raise ManyviewsError(
                f"A window of {spec.size} samples holds {latents} latents, too few to predict {config.steps} steps "
                f"ahead: take --size {HOP * (config.steps + 1)} or more, or fewer --steps."
            )
        self.encoder = net(within=f"gru({{}}, {config.context})")  # g_enc and, around it, g_ar
        assert isinstance(self.encoder, Contexts)
        d = self.encoder.inner.width
        self.W = nn.Linear(config.context, config.steps * d, bias=False)  # W_1 ... W_K, one below the other

    def views(self) -> Waves:
        return Waves(Wave(size=self.spec.size, gain=self.config.gain, noise=self.config.hiss))

    def loss(self, batch: Batch, progress: float) -> Out:
        assert isinstance(self.encoder, Contexts)
        (x_BT,) = batch.views
        z_BLD = self.encoder.latents(x_BT)  # z_t = g_enc(x_t)
        c_BLC = self.encoder.contexts(z_BLD)  # c_t = g_ar(z_<=t)
        k_K = torch.arange(1, self.config.steps + 1, device=x_BT.device)
        t_A = torch.arange(z_BLD.shape[1] - self.config.steps, device=x_BT.device)
        p_BPD = self.W(c_BLC[:, t_A]).view(
            len(x_BT), -1, z_BLD.shape[2]
        )  # W_k c_t (eq. 3), a row for each t and k
        at_P = (t_A[:, None] + k_K).flatten()  # ... is about z_{t+k}
        told = future(p_BPD, z_BLD, at_P, self.config.negatives)
        by_step = told.right_BP.unflatten(1, (len(t_A), len(k_K))).mean((0, 1))
        log = {"right": told.right_BP.mean(), "right_first": by_step[0], "right_last": by_step[-1]}
        return Out(told.loss_BP.mean(), log, z=c_BLC[:, -1])


RECIPES = {
    "paper": (
        Config(),
        Recipe(
            data="librispeech", net="waveform", size=20_480, batch=64, budget="300000steps", accumulate=8,
            optimiser="adam", lr=2e-4, weight_decay=0.0, schedule="constant",
        ),
    ),
    "fsdd": (
        Config(context=128),
        Recipe(
            data="fsdd", net="small_waveform", size=4_096, batch=64, budget="60ep",
            optimiser="adamw", lr=1e-3, weight_decay=1e-2, warmup=0.05,
        ),
    ),
    "world": (
        Config(context=128),
        Recipe(
            data="world-sounds", net="small_waveform", size=4_096, batch=64, budget="8ep",
            optimiser="adamw", lr=1e-3, weight_decay=1e-2, warmup=0.05,
        ),
    ),
}  # fmt: skip
