"""Pictures of the world as files, for tests of what a user has: a folder."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from manyviews.data.world import world


def drawn(
    folder: Path, items: int, place: Callable[[int], str], *, size: int = 24, rows: slice = slice(None)
) -> Path:
    """So many pictures under ``folder``, picture i as ``place(i)/00i.png``; ``rows`` are those that stay of each."""
    data = world(items=items, size=size)
    assert data.values is not None
    for i, image in enumerate(data.values):
        path = folder / place(i) / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, rows].permute(1, 2, 0).numpy()).save(path)
    return folder
