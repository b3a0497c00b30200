"""What an item of the world sounds like: every creature sings the song of its species.

A song is a bundle of correlated cues, as the looks of a species are: how each note's pitch moves (contour), how the
notes follow each other (rhythm), and their colour (timbre). No cue gives the species away, any two of them do. It is
heard under nuisances: pitch, speed, onset, loudness, wind, hiss, and a click now and then. Every number is hashed from
the item as its looks are, under names of its own, so that item ``i`` here is item ``i`` there.

Shapes   N items, T samples, P points of a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from manyviews.data.items import ItemSet, Rows
from manyviews.data.world.latents import SPECIES, WORLD_VERSION
from manyviews.errors import ManyviewsError, NoSplit
from manyviews.rng import Dice

RATE = 8_000  # samples a second
SAMPLES = 8_000  # T, a second
ITEMS = {"train": 12_000, "test": 2_000}  # by default, as many as there are pictures
PART = 128  # items that are sung at a time: what is needed of them stays near the processor

CONTOURS = ("rising", "falling", "arch", "trill", "two tones")
RHYTHMS = ("one long", "even", "short short long", "quickening", "pairs")
TIMBRES = ("flute", "reed", "string", "bell", "breath")
# Each is shared by two species, and every pair of cues belongs to one species alone.
CONTOUR_OF = (0, 1, 2, 3, 4, 0, 1, 2, 3, 4)
RHYTHM_OF = (0, 1, 2, 3, 4, 1, 2, 3, 4, 0)
TIMBRE_OF = (0, 1, 2, 3, 4, 2, 3, 4, 0, 1)
KEPT = {"contour": 0.9, "rhythm": 0.9, "timbre": 0.9}  # the chance that an item has its species' own cue

POINTS = 4096  # P, a power of two
# Notes of a rhythm as (start, length), in shares of the phrase.
NOTES = (
    ((0.0, 0.95),),
    ((0.0, 0.13), (0.2, 0.13), (0.4, 0.13), (0.6, 0.13), (0.8, 0.13)),
    ((0.0, 0.15), (0.22, 0.15), (0.44, 0.5)),
    ((0.0, 0.26), (0.34, 0.2), (0.6, 0.13), (0.77, 0.09), (0.89, 0.08)),
    ((0.0, 0.12), (0.15, 0.12), (0.55, 0.12), (0.7, 0.12)),
)
# The strength of each harmonic; the breath is a weak tone in noise, the bell's harmonics have gaps.
HARMONICS = ((1.0,), (1.0, 0.0, 0.6), (1.0, 0.7, 0.5, 0.35), (0.7, 0.0, 0.0, 1.0), (0.5, 0.15))
BREATH = 4  # the timbre that has noise in it
INTERVAL = 0.45  # octaves that a contour moves by, up and down
HERTZ = (220.0, 700.0)  # of a song's middle
SECONDS = (0.4, 0.7)  # that a phrase lasts
HISS, WIND = (-3.0, 0.0), (-3.0, 0.3)  # how loud, as powers of two, where the song is 1


@dataclass(frozen=True)
class Songs:
    """N songs, with what is true of them."""

    wave: Tensor  # int16 [N, 1, T] at RATE samples a second
    species: Tensor  # int64 [N], the same as that of the item's picture
    contour: Tensor  # int64 [N] in 0..4
    rhythm: Tensor  # int64 [N] in 0..4
    timbre: Tensor  # int64 [N] in 0..4


def world_sounds(split: str = "train", *, items: int | None = None, seed: int = 0) -> ItemSet:
    """The world's songs, resident in memory, labelled by species: the items of `world`, by ear.

    Args:
        split: "train" (12,000 items by default) or "test" (2,000); they never share an item.
        items: how many; the first ``items`` of a longer set are the same.
        seed: as in `world`.

    Raises:
        ManyviewsError: for an unknown split or less than one item.
    """
    if split not in ITEMS:
        raise NoSplit(f"The world has no split {split!r}: choose one of {', '.join(ITEMS)}.")
    count = ITEMS[split] if items is None else items
    if count < 1:
        raise ManyviewsError(f"The world was asked for {count} songs: ask for at least one.")
    heard = songs(split, range(count), seed=seed)
    return ItemSet(
        name=f"world-sounds-{WORLD_VERSION}/{split}",
        names=[f"{split}/{i:06d}" for i in range(count)],
        labels=heard.species,
        classes=SPECIES,
        values=heard.wave,
        read=Rows(heard.wave),
        kind="sounds",
        rate=RATE,
    )


def songs(split: str, indices: Sequence[int] | Tensor, *, seed: int = 0) -> Songs:
    """Items of the world by number, as they sound; `scene` shows what the same ones look like."""
    index = np.asarray(indices, dtype=np.int64).reshape(-1)
    parts = [_sung(Dice(part, "world", WORLD_VERSION, seed, split)) for part in _parts(index)]
    wave = torch.cat([part.wave for part in parts])
    cues = ("species", "contour", "rhythm", "timbre")
    return Songs(wave, *(torch.cat([getattr(part, cue) for part in parts]) for cue in cues))


def _parts(index: np.ndarray) -> list[np.ndarray]:
    return [index[start : start + PART] for start in range(0, max(1, len(index)), PART)]


def _sung(dice: Dice) -> Songs:
    species = dice.below("species", len(SPECIES))
    contour = _cue(dice, "contour", CONTOUR_OF, species)
    rhythm = _cue(dice, "rhythm", RHYTHM_OF, species)
    timbre = _cue(dice, "timbre", TIMBRE_OF, species)

    # Where in the phrase every sample lies, how loud it is there, and how high.
    seconds = dice.uniform("song seconds", *SECONDS)
    onset = dice.uniform("song onset", 0.02, 0.98) * (SAMPLES / RATE - seconds)
    clock = np.arange(SAMPLES, dtype=np.float32) / np.float32(RATE)
    at = ((clock - onset) * (np.float32(POINTS) / seconds)).clip(0, POINTS - 1).astype(np.int32)
    loud, octaves = _rhythms()[rhythm[:, None], at], _contours()[rhythm[:, None], contour[:, None], at]
    octaves *= dice.uniform("song depth", 0.75, 1.25) * np.float32(INTERVAL)
    octaves += dice.uniform("song pitch", *np.log2(HERTZ)) - np.float32(np.log2(RATE))
    cycles = np.exp2(octaves).cumsum(1)  # of the tone, by now
    cycles += dice.uniform("song phase")
    tone = _timbres()[timbre[:, None], (cycles * np.float32(POINTS)).astype(np.int32) & (POINTS - 1)]

    white = _white(dice)
    breathy = (timbre == BREATH)[:, None] * dice.uniform("song breath", 0.7, 1.2)
    song = loud * (tone + breathy * white[:, ::-1])
    song /= np.sqrt(np.square(song).mean(1, keepdims=True)).clip(1e-6)
    song += white * np.exp2(dice.uniform("song hiss level", *HISS))
    song += _wind(dice) * np.exp2(dice.uniform("song wind level", *WIND))
    song += _clicks(dice)
    song *= np.exp2(dice.uniform("song gain", -5.6, -3.1))
    wave = torch.from_numpy((song.clip(-1, 1) * np.float32(32767)).astype(np.int16))
    return Songs(wave[:, None], *(torch.from_numpy(cue) for cue in (species, contour, rhythm, timbre)))


def _cue(dice: Dice, name: str, own: tuple[int, ...], species: np.ndarray) -> np.ndarray:
    """The species' own cue, or, with the chance that ``KEPT`` leaves, any at all: int64 [N]."""
    kept = dice.happens(f"song {name} kept", KEPT[name])
    return np.where(kept, np.array(own)[species], dice.below(f"song {name} instead", max(own) + 1))


def _white(dice: Dice) -> np.ndarray:
    """White noise of standard deviation 1: float32 [N, T]. Each hash gives four samples."""
    quarters = dice.bits("song hiss", SAMPLES // 4).astype("<u8").view("<i2")
    return quarters.astype(np.float32) * np.float32(3**0.5 / 32768)


def _wind(dice: Dice) -> np.ndarray:
    """Slow noise, of standard deviation about 1: float32 [N, T], straight lines between a few random points."""
    every = 20  # samples: nothing above 200 Hz
    points = dice.uniform("song wind", -1, 1, SAMPLES // every + 1) * np.float32(2.1)
    share = (np.arange(every, dtype=np.float32) / every)[None, None]
    lines = points[:, :-1, None] * (1 - share) + points[:, 1:, None] * share
    return lines.reshape(len(points), -1)[:, :SAMPLES]


def _clicks(dice: Dice) -> np.ndarray:
    """A twig that breaks somewhere, in some items: float32 [N, T]."""
    since = np.arange(120)
    twig = np.where(since % 3 == 0, -3, 3) * np.exp(-since / 25)
    at = dice.below("song click", SAMPLES - len(since))
    sound = np.zeros((len(at), SAMPLES), np.float32)
    there = dice.happens("song clicks", 0.4).nonzero()[0]
    sound[there[:, None], at[there, None] + since] = twig
    return sound


@cache
def _rhythms() -> np.ndarray:
    """By rhythm and point of the phrase: how loud it is; float32 [5, P]."""
    loud = np.zeros((len(NOTES), POINTS), np.float32)
    for row, notes in enumerate(NOTES):
        for start, length in notes:
            share = _share(start, length)
            edge = np.minimum(share, 1 - share).clip(0, 0.12) / 0.12  # a soft attack, a soft end
            loud[row] += np.sin(np.pi / 2 * edge) ** 2
    return loud


@cache
def _contours() -> np.ndarray:
    """By rhythm, contour and point of the phrase: the pitch, in [-1, 1]; float32 [5, 5, P]."""
    pitch = np.zeros((len(NOTES), len(CONTOURS), POINTS), np.float32)
    for row, notes in enumerate(NOTES):
        for start, length in notes:
            share = _share(start, length)
            shapes = (
                2 * share - 1,
                1 - 2 * share,
                2 * np.sin(np.pi * share) - 1,
                np.sin(2 * np.pi * 4 * share),
                np.where(share < 0.5, 1.0, -1.0),
            )
            pitch[row] = np.where((share > 0) & (share < 1), np.stack(shapes), pitch[row])
    return pitch


def _share(start: float, length: float) -> np.ndarray:
    """How much of a note has passed at each point of the phrase, in [0, 1]: [P]."""
    return ((np.linspace(0, 1, POINTS) - start) / length).clip(0, 1)


@cache
def _timbres() -> np.ndarray:
    """By timbre and point of the cycle: the tone's wave, of power 1; float32 [5, P]."""
    turn = 2 * np.pi * np.arange(POINTS) / POINTS
    waves = [np.array(a) @ np.sin(np.arange(1, len(a) + 1)[:, None] * turn) for a in HARMONICS]
    table = np.stack([wave / np.sqrt(np.square(wave).mean()) for wave in waves])
    table[BREATH] *= 0.8
    return table.astype(np.float32)
