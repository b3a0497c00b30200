"""What an item of the world *is*, before anybody looks at it: its species, its cues and its circumstances.

Every number is drawn by hashing (version, seed, split, name of the draw, index of the item). So item ``i`` is the
same creature whatever the number of items or the order they are asked for in, and a new draw (a depth, a song) can
be added later without changing an old one.

Shapes   N items; other axes as the field says.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from manyviews.rng import Dice

WORLD_VERSION = 1

SPECIES = (
    "fish",
    "jellyfish",
    "ladybird",
    "butterfly",
    "crab",
    "turtle",
    "snail",
    "caterpillar",
    "owl",
    "hedgehog",
)
MARKINGS = ("stripes", "spots", "rings", "checks", "belly")
PALETTES = ("gold", "violet", "red", "teal", "cream")
HABITATS = ("sea", "meadow", "dunes", "forest", "sky")
SEASONS = (
    "winter",
    "spring",
    "summer",
    "autumn",
    "night",
)  # the ground's colours: no cue, any species has any

# A species is a row of cues. Every marking, palette and habitat is shared by two species and every pair of cues
# belongs to one species alone: no cue gives the species away, any two of them do.
MARKING_OF = (0, 2, 1, 3, 4, 3, 2, 0, 1, 4)
PALETTE_OF = (0, 1, 2, 1, 2, 3, 4, 3, 4, 0)
HABITAT_OF = (0, 0, 1, 1, 2, 2, 3, 3, 4, 4)
# The chance that an item shows its species' own cue.
KEPT = {"marking": 0.95, "palette": 0.88, "habitat": 0.95}
MORPH = 0.4  # the chance that the two colours of its body change places, as dark and light morphs do

# The two colours of a palette (main, marking) and of a season (ground, pattern), RGB in [0, 1].
BODY = (
    ((0.96, 0.68, 0.18), (0.45, 0.20, 0.10)),
    ((0.72, 0.42, 0.85), (0.98, 0.80, 0.92)),
    ((0.88, 0.22, 0.18), (0.16, 0.08, 0.10)),
    ((0.20, 0.66, 0.58), (0.85, 0.92, 0.45)),
    ((0.93, 0.87, 0.74), (0.52, 0.35, 0.24)),
)
GROUND = (
    ((0.20, 0.48, 0.78), (0.48, 0.76, 0.92)),
    ((0.36, 0.62, 0.24), (0.66, 0.82, 0.34)),
    ((0.86, 0.72, 0.48), (0.70, 0.54, 0.34)),
    ((0.34, 0.26, 0.18), (0.52, 0.48, 0.22)),
    ((0.13, 0.13, 0.32), (0.62, 0.62, 0.86)),
)
PEBBLES = 3
COARSE, FINE = 6, 14  # lattice points a side of the two noise fields


@dataclass(frozen=True)
class Latents:
    """Everything that is true of N items; tensors whose first axis is N. Angles in radians, colours RGB in [0, 1].

    Places and lengths are in units of half the frame: the frame is [-1, 1] x [-1, 1], x to the right, y down.
    """

    index: Tensor  # int64 [N], the item's number in its split
    key: Tensor  # int64 [N], what the item's pixel noise is hashed from
    species: Tensor  # int64 [N] in 0..9; the silhouette is the species'
    marking: Tensor  # int64 [N] in 0..4
    palette: Tensor  # int64 [N] in 0..4
    habitat: Tensor  # int64 [N] in 0..4
    place: Tensor  # [N, 2], the creature's centre (x, y)
    size: Tensor  # [N], half the creature's extent
    angle: Tensor  # [N], its turn, clockwise
    stretch: Tensor  # [N], width over height, around 1
    mirror: Tensor  # [N], -1 or 1: which way it faces
    body_rgb: Tensor  # [N, 2, 3], its main colour and its marking's
    mark_wave: Tensor  # [N, 3], the marking's frequency, phase, second phase
    season: Tensor  # int64 [N] in 0..4
    ground_rgb: Tensor  # [N, 2, 3], the colours of the ground and of the habitat's pattern on it
    ground_wave: Tensor  # [N, 3], the pattern's frequency, phase, direction
    coarse: Tensor  # [N, COARSE, COARSE] in [0, 1), a lattice of noise
    fine: Tensor  # [N, FINE, FINE] in [0, 1), a finer one
    pebble: Tensor  # [N, PEBBLES, 4], x, y, radius (0: none), shade
    blade: Tensor  # [N, 4], what stands in front: direction, offset, half-width (0: nothing), curve
    blade_rgb: Tensor  # [N, 3]
    exposure: Tensor  # [N], the brightness of the light
    contrast: Tensor  # [N], around the middle grey
    tint: Tensor  # [N, 3], the colour of the light, around 1
    lamp: Tensor  # [N, 2], where the light comes from: brightness added per unit of x and of y
    grain: Tensor  # [N], the standard deviation of the pixel noise

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, which: Tensor) -> "Latents":
        """Some of the items, int64 [n]."""
        return Latents(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


def latents(split: str, indices: Sequence[int] | Tensor | np.ndarray, *, seed: int = 0) -> Latents:
    """The latents of the items ``indices`` of a split.

    Args:
        split: "train" or "test"; any other name is another set of unseen items.
        indices: numbers of items, in any order, each at least 0.
        seed: another seed is another world of the same species.
    """
    index, dice = _dice(split, indices, seed)
    told = _cues(dice)
    palette = told["palette"]
    season = dice.below("season", len(SEASONS))
    blade = np.concatenate(
        [
            dice.uniform("blade direction", -0.6, 0.6),
            dice.uniform("blade offset", -0.9, 0.9),
            dice.uniform("blade width", 0.035, 0.09) * dice.happens("blade", 0.35)[:, None],
            dice.uniform("blade curve", -0.5, 0.5),
        ],
        axis=1,
    )
    pebble = np.stack(
        [
            dice.uniform("pebble x", -1, 1, PEBBLES),
            dice.uniform("pebble y", -1, 1, PEBBLES),
            dice.uniform("pebble radius", 0.06, 0.16, PEBBLES)
            * (dice.uniform("pebble", count=PEBBLES) < np.float32(0.5)),
            dice.uniform("pebble shade", 0.45, 1.5, PEBBLES),
        ],
        axis=2,
    )
    exposure = dice.uniform("exposure", 0.55, 1.35)[:, 0]
    body = _colours(dice, "body colour", BODY, palette, 0.08)
    drawn = {
        "index": index,
        "key": dice.bits("key")[:, 0].view(np.int64),
        **told,
        "place": dice.uniform("place", -0.57, 0.57, 2),
        "size": dice.uniform("size", 0.4, 0.74)[:, 0],
        "angle": dice.uniform("angle", -0.9, 0.9)[:, 0],
        "stretch": dice.uniform("stretch", 0.85, 1.18)[:, 0],
        "mirror": np.where(dice.happens("mirror", 0.5), np.float32(-1), np.float32(1)),
        "body_rgb": np.where(dice.happens("morph", MORPH)[:, None, None], body[:, ::-1], body),
        "mark_wave": dice.uniform("mark wave", 0, 1, 3),
        "season": season,
        "ground_rgb": _colours(dice, "ground colour", GROUND, season, 0.08),
        "ground_wave": dice.uniform("ground wave", 0, 1, 3),
        "coarse": dice.uniform("coarse", 0, 1, COARSE**2).reshape(-1, COARSE, COARSE),
        "fine": dice.uniform("fine", 0, 1, FINE**2).reshape(-1, FINE, FINE),
        "pebble": pebble,
        "blade": blade,
        "blade_rgb": _colours(dice, "blade colour", GROUND, dice.below("blade season", len(SEASONS)), 0.1)[
            :, 0
        ],
        "exposure": exposure,
        "contrast": dice.uniform("contrast", 0.65, 1.15)[:, 0],
        "tint": dice.uniform("tint", 0.88, 1.12, 3),
        "lamp": dice.uniform("lamp", -0.22, 0.22, 2),
        "grain": dice.uniform("grain", 0.005, 0.03)[:, 0],
    }
    return Latents(**{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in drawn.items()})


def cues(split: str, indices: Sequence[int] | Tensor | np.ndarray, *, seed: int = 0) -> Tensor:
    """Species, marking, palette and habitat of items, as `latents` has them: int64 [N, 4]."""
    _, dice = _dice(split, indices, seed)
    return torch.from_numpy(np.stack(list(_cues(dice).values()), 1))


def _dice(split: str, indices: Sequence[int] | Tensor | np.ndarray, seed: int) -> tuple[np.ndarray, Dice]:
    index = np.asarray(indices, dtype=np.int64).reshape(-1)
    return index, Dice(index, "world", WORLD_VERSION, seed, split)


def _cues(dice: Dice) -> dict[str, np.ndarray]:
    """What a species is, and the cues that mostly are its own."""
    species = dice.below("species", len(SPECIES))
    own = {"marking": MARKING_OF, "palette": PALETTE_OF, "habitat": HABITAT_OF}
    return {"species": species} | {name: _cue(dice, name, of, species) for name, of in own.items()}


def _cue(dice: Dice, name: str, own: tuple[int, ...], species: np.ndarray) -> np.ndarray:
    """The species' own cue, or, with the chance that ``KEPT`` leaves, any at all: int64 [N]."""
    kept = dice.happens(f"{name} kept", KEPT[name])
    return np.where(kept, np.array(own)[species], dice.below(f"{name} instead", max(own) + 1))


def _colours(dice: Dice, name: str, table: tuple, which: np.ndarray, spread: float) -> np.ndarray:
    """The row ``which`` of a table of colour pairs, every channel moved by up to ``spread``: float32 [N, 2, 3]."""
    moved = np.array(table, np.float32)[which] + dice.uniform(name, -spread, spread, 6).reshape(-1, 2, 3)
    return moved.clip(0, 1)
