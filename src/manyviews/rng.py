"""Randomness without state: what is drawn is a function of the seed, the purpose and the step alone.

A run that is stopped and resumed therefore draws what the unbroken run would have drawn, and two ranks
agree on the draws of a batch without talking to each other.
"""

import hashlib

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
