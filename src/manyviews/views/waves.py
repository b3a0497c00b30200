"""Many views of a sound: windows of its waveform, as tensor operations on the device that the batch is on.

A set keeps its sounds in one tensor, so one that is shorter than others is followed by zeros. These are no part of it:
windows are cut from the sound itself, and only one that is shorter than the window brings zeros along.

Shapes   B sounds, T samples of a sound, S samples of a view; int16, or float32 of standard deviation 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.rng import generator
from manyviews.views.several import Several
from manyviews.views.view import Draws

HEARD = 2  # windows: how much of a sound, around its middle, is heard where it is judged
START, GAIN, LEVEL = range(3)  # which uniform decides what; the noise follows them
UNIFORMS = 3

FFT, DECIBELS = 256, 60  # of a spectrogram: samples of a frame, range that is shown
RAMP = ((0.05, 0.06, 0.20), (0.15, 0.28, 0.55), (0.45, 0.60, 0.75), (0.95, 0.85, 0.55), (1.0, 0.98, 0.90))


@dataclass(frozen=True, kw_only=True)
class Wave:
    """How one view of a sound is made: a window anywhere in it, set to standard deviation 1; then, where asked, more.

    Raises:
        ManyviewsError: where a number makes no sense.
    """

    size: int  # samples of the window
    gain: float = 0.0  # decibels that the view is made louder or softer by, at most
    noise: float = 0.0  # standard deviation of the white noise that is added, at most

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ManyviewsError(f"Wave size is {self.size}; a window has at least 1 sample.")
        for name in ("gain", "noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ManyviewsError(f"Wave {name} is {getattr(self, name)}; it is finite and not negative.")

    def describe(self) -> str:
        """The recipe in plain words, for a report or a page of documentation."""
        steps = [f"a window of {self.size:,} samples, set to standard deviation 1"]
        if self.noise:
            steps.append(f"white noise of deviation 0 to {self.noise:g}")
        if self.gain:
            steps.append(f"up to {self.gain:g} decibels louder or softer")
        return "; ".join(steps)


class Waves(Several[Wave]):
    """Several views of every sound: what `Views` is for images."""

    items = "sounds"

    def draw(self, batch: int, *parts: int | str) -> Draws:
        """The randomness of a global batch of ``batch`` sounds: a function of ``parts`` alone."""
        source = generator(*parts)
        widths = [UNIFORMS + (view.size if view.noise else 0) for view in self.views]
        return Draws(tuple(torch.rand(batch, width, generator=source) for width in widths))

    def __call__(self, sound: Tensor, draws: Draws) -> list[Tensor]:
        """All views of int16 ``[B, 1, T]``: per view float32 ``[B, 1, S]``, on its device.

        Raises:
            ManyviewsError: where the sound is not int16 ``[B, 1, T]`` or the draws do not belong to it.
        """
        _check_sound(sound, 3)
        self.check_draws(draws, len(sound))
        cuts = [
            _windows(sound, uniforms[:, START], view.size)
            for view, uniforms in zip(self.views, draws.uniforms, strict=True)
        ]
        return self.finish(cuts, draws)

    def crop(self, sound: Tensor, draws: Draws, row: int) -> list[Tensor]:
        """Cut one whole sound in a worker: int16 ``[1, T]`` to V of int16 ``[1, S]``."""
        _check_sound(sound, 2)
        self.check_draws(draws, None)
        return [
            _windows(sound[None], uniforms[row : row + 1, START], view.size)[0]
            for view, uniforms in zip(self.views, draws.uniforms, strict=True)
        ]

    @torch.no_grad()
    def finish(self, crops: list[Tensor], draws: Draws) -> list[Tensor]:
        """What comes after the cut: V of int16 ``[B, 1, S]`` to V of float32."""
        if len(crops) != len(self.views):
            raise ManyviewsError(
                f"Waves.finish got {len(crops)} windows for {len(self.views)} views; give one for each."
            )
        self.check_draws(draws, len(crops[0]))
        seen = []
        for crop, view, uniforms in zip(crops, self.views, draws.uniforms, strict=True):
            _check_sound(crop, 3)
            if crop.shape[2] != view.size:
                raise ManyviewsError(f"A window of {crop.shape[2]} samples came for a view of {view.size}.")
            x, u = standardised(crop), uniforms.to(crop.device)[:, None]
            if view.noise:
                white = (2 * u[..., UNIFORMS:] - 1) * 3**0.5
                x = x + view.noise * u[..., LEVEL, None] * white
            if view.gain:
                x = x * 10 ** (view.gain * (2 * u[..., GAIN, None] - 1) / 20)
            seen.append(x)
        return seen

    def cropped(self, sense: Tensor, draws: Draws) -> list[Tensor]:
        """Where the views look, on something else that is known of the same items: of sounds nothing is."""
        raise ManyviewsError("Nothing is known of each sample of a sound that views could be cut from.")


def lengths(sound: Tensor) -> Tensor:
    """Samples of each sound ``[B, 1, T]`` up to its last that is not zero, at least 1: int64 ``[B]``."""
    there = sound[:, 0] != 0
    return torch.where(there.any(1), there.shape[1] - there.flip(1).to(torch.uint8).argmax(1), 1)


def standardised(sound: Tensor) -> Tensor:
    """int16 ``[B, 1, T]`` as float32 of standard deviation 1, the zeros after a sound left out; silence stays silent."""
    x = sound.float()
    power = x.square().sum((1, 2)) / lengths(sound)
    return x / power.sqrt().clamp(min=1)[:, None, None]


def centred(sound: Tensor, samples: int) -> Tensor:
    """The middle of each sound ``[..., 1, T]``, at most ``samples`` long; the zeros after a sound are not of it."""
    flat_N1T, kept = sound.reshape(-1, 1, sound.shape[-1]), min(samples, sound.shape[-1])
    start_N = (lengths(flat_N1T) - kept).clamp(min=0) // 2
    place_NK = start_N[:, None] + torch.arange(kept, device=sound.device)
    return flat_N1T[:, 0].gather(1, place_NK).reshape(*sound.shape[:-1], kept)


def plain_sound(sound: Tensor, size: int) -> Tensor:
    """What an encoder hears when it is judged: int16 ``[B, 1, T]`` to float32, the middle `HEARD` windows of it."""
    _check_sound(sound, 3)
    return standardised(centred(sound, HEARD * size))


def spectrogram(sound: Tensor, side: int = 64) -> Tensor:
    """Log power over time (left to right) and frequency (low at the bottom): ``[B, 1, T]`` to float32 ``[B, s, s]``.

    In [0, 1]: from `DECIBELS` below a sound's loudest point up to it.
    """
    x = sound.detach().float()[:, 0]
    x = F.pad(x, (0, max(0, FFT - x.shape[1])))
    window = torch.hann_window(FFT, device=x.device)
    hop = max(1, min(FFT // 2, x.shape[1] // side))
    power = torch.stft(x, FFT, hop, window=window, return_complex=True).abs().square()
    small = F.interpolate(power.flip(1)[:, None], (side, side), mode="bilinear", antialias=True)[:, 0]
    decibels = 10 * (small.clamp(min=1e-12)).log10()
    return (1 + (decibels - decibels.amax((1, 2), keepdim=True)) / DECIBELS).clamp(0, 1)


def spectrogram_picture(sound: Tensor, side: int = 64) -> Tensor:
    """The spectrogram in colours, dark where it is silent: uint8 ``[B, 3, s, s]``."""
    share = spectrogram(sound, side) * (len(RAMP) - 1)
    ramp = torch.tensor(RAMP, device=sound.device)
    low = share.floor().clamp(max=len(RAMP) - 2).long()
    part = (share - low)[..., None]
    mixed = ramp[low] * (1 - part) + ramp[low + 1] * part
    return (255 * mixed).round().to(torch.uint8).permute(0, 3, 1, 2)


def _windows(sound: Tensor, uniform_B: Tensor, size: int) -> Tensor:
    """A window of each sound that begins anywhere, and lies within the sound where that is long enough."""
    sound = F.pad(sound, (0, max(0, size - sound.shape[-1])))
    free_B = (lengths(sound) - size).clamp(min=0)
    start_B = (uniform_B.to(sound.device).double() * (free_B + 1)).long()
    place_BS = start_B[:, None] + torch.arange(size, device=sound.device)
    return sound[:, 0].gather(1, place_BS)[:, None]


def _check_sound(sound: Tensor, dims: int) -> None:
    shape = "[B, 1, T]" if dims == 3 else "[1, T]"
    if sound.dtype != torch.int16 or sound.ndim != dims or sound.shape[-2] != 1:
        raise ManyviewsError(f"A sound must be int16 {shape}, not {sound.dtype} {list(sound.shape)}.")
    if sound.shape[-1] == 0:
        raise ManyviewsError("A sound of 0 samples has nothing to hear.")
