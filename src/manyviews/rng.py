"""Randomness without state: what is drawn is a function of the seed, the purpose and the step alone.

A run that is stopped and resumed therefore draws what the unbroken run would have drawn, and two ranks
agree on the draws of a batch without talking to each other.
"""

import hashlib

import numpy as np
import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any path of numbers and names, e.g. ``seed_of(0, "views", step)``.

    Nearby paths give unrelated seeds (BLAKE2), so step ``t`` of seed 1 never equals step ``t + 1`` of seed 0.
    """
    path = "\x1f".join(f"{type(part).__name__[0]}{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "little") >> 1


def generator(*parts: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator whose whole stream is a function of ``parts``."""
    return torch.Generator(device=device).manual_seed(seed_of(*parts))


def mix(bits: np.ndarray) -> np.ndarray:
    """Scramble uint64 so that neighbours become unrelated (the finaliser of SplitMix64, Steele et al. 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class Dice:
    """Uniform draws for a set of items, each a function of (path, name of the draw, item) alone."""

    def __init__(self, index: np.ndarray, *path: int | str):
        self.index = index.astype(np.uint64)
        self.path = path

    def bits(self, name: str, count: int = 1) -> np.ndarray:
        """uint64 [N, count]."""
        key = np.uint64(seed_of(*self.path, name))
        item = mix(self.index * np.uint64(0x9E3779B97F4A7C15) + key)[:, None]
        return mix(item + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, count: int = 1) -> np.ndarray:
        """float32 [N, count] in [low, high); 24 random bits, exact."""
        unit = (self.bits(name, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
        return np.float32(low) + unit * np.float32(high - low)

    def below(self, name: str, limit: int) -> np.ndarray:
        """int64 [N] in 0..limit-1."""
        return ((self.bits(name)[:, 0] >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)

    def happens(self, name: str, chance: float) -> np.ndarray:
        """bool [N]."""
        return self.uniform(name)[:, 0] < np.float32(chance)
