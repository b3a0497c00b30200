"""A tiny labelled world: coloured blobs on noise, whose class is the blob's colour."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from manyviews import rng
from manyviews.data import ItemSet, Skipped, in_memory

COLOURS = torch.tensor(
    [[230, 60, 60], [60, 230, 60], [60, 60, 230], [230, 230, 60], [60, 230, 230], [230, 60, 230]]
)


def draw_blobs(n: int, *, seed: int, classes: int = 3, size: int = 16, noise: float = 30.0) -> ItemSet:
    """``n`` images, classes in turn; a disc of the class's colour at a random place, under pixel noise."""
    generator = rng.generator(seed, "blobs")
    labels = torch.arange(n) % classes
    place_N2 = torch.rand(n, 2, generator=generator) * size
    grid = torch.arange(size)
    away = (grid[None, :, None] - place_N2[:, :1, None]) ** 2 + (
        grid[None, None, :] - place_N2[:, 1:, None]
    ) ** 2
    disc_N1HW = (away < (size / 3) ** 2)[:, None]
    pixels = torch.where(disc_N1HW, COLOURS[labels][:, :, None, None].float(), 110.0)
    pixels = pixels + noise * torch.randn(n, 3, size, size, generator=generator)
    names = tuple(f"class {k}" for k in range(classes))
    return in_memory(f"blobs{seed}", pixels.clamp(0, 255).to(torch.uint8), labels, names)


def on_disk(data: ItemSet, read: Callable[[int], Tensor] | None = None) -> ItemSet:
    """The same set as one that is read image by image."""
    pixels = data.values
    assert pixels is not None
    return replace(data, values=None, read=read or (lambda item: pixels[item]), skipped=Skipped())


class SmallNet(nn.Module):
    """Two convolutions with batch norm and dropout: every kind of state that an evaluator could disturb."""

    def __init__(self, width: int = 16, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)
            self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        return self.drop(self.bn2(self.conv2(x)).relu().mean(dim=(2, 3)))


@pytest.fixture(scope="session")
def blobs() -> Callable[..., ItemSet]:
    return draw_blobs


@pytest.fixture(scope="session")
def streamed() -> Callable[..., ItemSet]:
    return on_disk


@pytest.fixture
def net() -> SmallNet:
    return SmallNet().train()
