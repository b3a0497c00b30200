"""Sounds: WAV files, arrays of samples, and spoken digits.

8, 16, 24 or 32 bits     PCM, read by the standard library; kept as 16 bits
several channels         their mean
several rates in a set   all are brought to the one that most files have (the lower of two that are as common), by a sinc of
                         `CROSSINGS` zero crossings a side under a Hann window, cut off below the lower Nyquist frequency

Shapes   N sounds, T samples.
"""

import io
import math
import os
import re
import wave
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyviews.data.arrays import as_labels, is_array_like
from manyviews.data.decode import Unreadable
from manyviews.data.items import ItemSet, Rows
from manyviews.errors import ManyviewsError

SUFFIXES = frozenset([".wav", ".wave"])
"""How the name of a sound's file ends, in lower case."""

CROSSINGS = 16
ROLL_OFF = 0.95  # where the low-pass cuts, in shares of the lower Nyquist frequency
AT_ONCE = 4096  # samples that are interpolated at a time

FSDD = "https://github.com/Jakobovski/free-spoken-digit-dataset"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PCM, EXTENSIBLE = b"\x01\x00", b"\xfe\xff"  # formats of samples, as the header of a WAV file says them
HELD_OUT = 5  # recordings of each digit by each speaker, the first ones, are the test split


@dataclass(frozen=True)
class SoundFiles:
    """Reads WAV files at one rate; survives pickling, so that workers can be started in any way."""

    paths: tuple[str, ...]
    rate: int | None  # None: as each file has it

    def __call__(self, item: int) -> Tensor:
        return read_sound(self.paths[item], self.rate)


def sounds_of_files(
    name: str, paths: Sequence[str], labels: Tensor | None, classes: tuple[str, ...] | None
) -> ItemSet:
    """A set of WAV files, on disk, at the rate that most of them have."""
    rate = common_rate(paths)
    files = SoundFiles(tuple(paths), rate)
    return ItemSet(name, list(paths), labels, classes, None, files, kind="sounds", rate=rate)


def common_rate(paths: Sequence[str]) -> int | None:
    """The rate that most files have, by their headers; None where no header can be read."""
    found: Counter[int] = Counter()
    for path in paths:
        try:
            with _opened(path) as file:
                found[file.getframerate()] += 1
        except (wave.Error, EOFError, OSError):
            continue  # it is named when it is read
    return min(found, key=lambda rate: (-found[rate], rate)) if found else None


def _opened(path: str) -> wave.Wave_read:
    """A WAV file, of PCM under the extensible header too, which ``wave`` does not know before Python 3.12."""
    with open(path, "rb") as file:
        head = file.read(4096)
    at = head.find(b"fmt ", 12)
    if at < 0 or head[at + 8 : at + 10] != EXTENSIBLE or head[at + 32 : at + 34] != PCM:
        return wave.open(path)
    whole = bytearray(Path(path).read_bytes())
    whole[at + 8 : at + 10] = PCM
    return wave.open(io.BytesIO(whole))


def at_rate(data: ItemSet, rate: int | None) -> ItemSet:
    """The same set at another rate, as a net that learned at that rate has to hear it; unchanged where one is not known."""
    if data.kind != "sounds" or rate is None or data.rate in (None, rate):
        return data
    if isinstance(data.read, SoundFiles) and data.values is None:
        return replace(data, read=replace(data.read, rate=rate), rate=rate)
    assert data.rate is not None
    if data.values is None:
        raise ManyviewsError(
            f"{data.name} has {data.rate} samples a second, but {rate} are needed; open its files again, or resample them."
        )
    again = [as_int16(resampled(sound[0].numpy() / 32768, data.rate, rate)) for sound in data.values.cpu()]
    pixels = torch.stack(again)
    return replace(data, values=pixels, read=Rows(pixels), rate=rate)


def read_sound(path: str | os.PathLike[str], rate: int | None = None) -> Tensor:
    """One WAV file as int16 ``[1, T]``, at ``rate`` samples a second where one is given.

    Raises:
        Unreadable: it is not there, is no WAV file of PCM, is damaged or holds no samples.
    """
    path = os.fspath(path)
    try:
        with _opened(path) as file:
            channels, width, own, count = file.getparams()[:4]
            raw = file.readframes(count)
    except FileNotFoundError as error:
        raise Unreadable(f"There is no file {path}.") from error
    except (wave.Error, EOFError, OSError) as error:
        why = str(error) or "it ends within its header"
        raise Unreadable(f"{path} is not a WAV file of PCM samples that can be read: {why}.") from error
    if len(raw) != count * channels * width:
        there = len(raw) // (channels * width)
        raise Unreadable(f"{path} is damaged: its header speaks of {count} samples, and there are {there}.")
    if count == 0:
        raise Unreadable(f"{path} holds no samples.")
    if width == 2 and channels == 1 and rate in (None, own):
        return torch.from_numpy(np.frombuffer(raw, "<i2").astype(np.int16))[None]
    x_T = _unit(raw, width, path).reshape(-1, channels).mean(1)
    return as_int16(x_T if rate is None else resampled(x_T, own, rate))


def _unit(raw: bytes, width: int, path: str) -> np.ndarray:
    """Samples of ``width`` bytes as float64 in [-1, 1)."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) / 128
    if width not in (2, 3, 4):
        raise Unreadable(f"{path} has samples of {8 * width} bits; they can have 8, 16, 24 or 32.")
    bytes_Nw = np.frombuffer(raw, np.uint8).reshape(-1, width)
    high = np.zeros((len(bytes_Nw), 4), np.uint8)  # little-endian: what is missing is below
    high[:, 4 - width :] = bytes_Nw
    return high.view("<i4")[:, 0] / 2.0**31


def as_int16(x_T: np.ndarray) -> Tensor:
    """Samples in [-1, 1] as int16 ``[1, T]``; what lies outside is clipped."""
    return torch.from_numpy((x_T * 32768).round().clip(-32768, 32767).astype(np.int16))[None]


def resampled(x_T: np.ndarray, old: int, new: int) -> np.ndarray:
    """The same sound with ``new`` samples a second instead of ``old``."""
    if old == new:
        return x_T
    cut = ROLL_OFF * min(1.0, new / old)  # of the old Nyquist frequency
    reach = math.ceil(CROSSINGS / cut)
    padded = np.pad(np.asarray(x_T, np.float64), reach)
    count = max(1, round(len(x_T) * new / old))
    taps = np.arange(1 - reach, reach + 1)
    made = []
    for first in range(0, count, AT_ONCE):
        at = np.arange(first, min(first + AT_ONCE, count)) * (old / new)
        below = np.floor(at).astype(np.int64)
        far = (taps - (at - below)[:, None]) * cut
        weight = cut * np.sinc(far) * np.cos(np.pi / 2 * (far / CROSSINGS).clip(-1, 1)) ** 2
        near = (below[:, None] + taps + reach).clip(0, len(padded) - 1)
        made.append((padded[near] * weight).sum(1))
    return np.concatenate(made)


def are_waves(source: Any) -> bool:
    """Whether it is an array of sounds, ``[N, T]``: images have more axes."""
    return is_array_like(source) and source.ndim == 2


def from_waves(samples: np.ndarray | Tensor, labels: Any = None, *, name: str = "array") -> ItemSet:
    """A resident set of sounds ``[N, T]``: integers of 16 bits, or floats in [-1, 1]. Their rate is not known."""
    x = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else samples
    if 0 in x.shape:
        raise ManyviewsError(f"An array of sounds must be [N, T] and not empty; this one is {list(x.shape)}.")
    if x.dtype.kind == "f" and np.abs(x).max() <= 1:  # also False for NaN
        x = (x * 32767).round().astype(np.int16)
    if x.dtype != np.int16:
        raise ManyviewsError(
            f"An array [N, T] is taken as sounds, whose samples are int16 or floats in [-1, 1], not {x.dtype}"
            f"{' beyond them' if x.dtype.kind == 'f' else ''}; images are [N, H, W] or have channels."
        )
    pixels = torch.from_numpy(np.array(x, np.int16))[:, None]
    indices, classes = as_labels(labels, len(x)) if labels is not None else (None, None)
    names = [f"{name}/{i:06d}" for i in range(len(x))]
    return ItemSet(name, names, indices, classes, pixels, Rows(pixels), kind="sounds")


def open_fsdd(name: str, split: str, root: Path) -> ItemSet:
    """Free Spoken Digit Dataset: {digit}_{speaker}_{index}.wav; the first five of each digit and speaker are the test."""
    places = [root / "fsdd" / "recordings", root / "free-spoken-digit-dataset" / "recordings", root / "fsdd"]
    folder = next((place for place in places if any(place.glob("*.wav"))), None)
    if folder is None:
        raise ManyviewsError(
            f"{name} is not under {root}: get it from {FSDD} and put its folder recordings into {places[0].parent}."
        )
    matches = [re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", path.name) for path in sorted(folder.glob("*.wav"))]
    chosen = [m for m in matches if m is not None and (int(m[3]) < HELD_OUT) == (split == "test")]
    if not chosen:
        raise ManyviewsError(f"{folder} has no files called {{digit}}_{{speaker}}_{{index}}.wav for {split}.")
    labels = torch.tensor([int(m[1]) for m in chosen])
    return sounds_of_files(f"{name}/{split}", [str(folder / m.string) for m in chosen], labels, DIGITS)
