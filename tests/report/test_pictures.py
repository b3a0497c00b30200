"""Sheets, sprites and the map."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.report import contact_sheet, flat, grid, sheet, views_sheet
from manyviews.report.drawing import font_for
from manyviews.report.images import inline, picture, sprite


def flat_images(*colours: tuple[int, int, int], side: int = 8) -> torch.Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, side, side)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_a_grid_fills_row_by_row() -> None:
    made = grid(flat_images(RED, GREEN, BLUE), columns=2, gap=4)
    assert made.size == (2 * 12 + 4, 2 * 12 + 4)
    assert made.getpixel((8, 8)) == RED
    assert made.getpixel((20, 8)) == GREEN
    assert made.getpixel((8, 20)) == BLUE


def test_a_views_sheet_keeps_an_item_and_its_views_in_one_row() -> None:
    rows = torch.stack([flat_images(RED, RED, RED), flat_images(GREEN, GREEN, GREEN)])
    made = views_sheet(rows)
    assert [made.getpixel((8 + 12 * k, 8)) for k in range(3)] == [RED] * 3
    assert [made.getpixel((8 + 12 * k, made.height - 8)) for k in range(3)] == [GREEN] * 3
    beside = views_sheet(rows, across=2)
    assert beside.getpixel((beside.width - 8, 8)) == GREEN


def test_a_contact_sheet_fits_images_of_any_size() -> None:
    found = [torch.full((3, h, w), 90, dtype=torch.uint8) for h, w in ((1, 1), (300, 40), (20, 500))]
    names = ["very/long/" * 20 + "a.jpg\n0.91", "b.jpg", "Zürich/ç.png"]
    made = contact_sheet(flat_images(RED)[0], found, names, columns=2, side=64)
    assert made.getpixel((16 + 32, 16 + 32)) == RED
    assert made.getpixel((32 + 80 + 32, 16 + 32)) == (90, 90, 90)
    assert np.asarray(made)[16 + 64 : 16 + 64 + 24, 112:176].min() < 150, (
        "no caption under the first neighbour"
    )
    assert np.asarray(made)[16 + 64 : 16 + 64 + 24, 178:190].min() > 200, (
        "the caption runs into the next cell"
    )


def test_captions_have_the_letters_of_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sheet, "font_for", lambda words, size: asked.append(words) or font_for(words, size))
    contact_sheet(flat_images(RED)[0], list(flat_images(RED)), ["käfer.jpg\n0.1"], query_caption="犬.jpg")
    assert asked == ["犬.jpg", "käfer.jpg", "0.1"]


def test_a_contact_sheet_of_nothing_still_shows_the_query() -> None:
    assert contact_sheet(flat_images(RED)[0], [], []).getpixel((50, 50)) == RED


def test_bad_sheets_are_refused() -> None:
    with pytest.raises(ValueError, match="0 images"):
        grid(flat_images(RED)[:0], 3)
    with pytest.raises(ValueError, match="a caption for each image"):
        contact_sheet(flat_images(RED)[0], [flat_images(RED)[0]], [])
    with pytest.raises(ValueError, match="must be uint8 RGB"):
        grid(torch.zeros(2, 3, 8, 8), 2)


def test_a_sprite_holds_every_thumbnail_at_its_place() -> None:
    made, columns = sprite(flat_images(RED, GREEN, BLUE, RED, GREEN), side=16)
    assert columns == 3 and made.size == (48, 32)
    assert [made.getpixel((k % 3 * 16 + 8, k // 3 * 16 + 8)) for k in range(5)] == [
        RED,
        GREEN,
        BLUE,
        RED,
        GREEN,
    ]


def test_tiny_pictures_are_inlined_without_loss() -> None:
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    address = inline(picture(image))
    assert address.startswith("data:image/webp;base64,")
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))
    assert np.array_equal(back, image.permute(1, 2, 0).numpy())


def test_large_pictures_are_shrunk_and_small_ones_never_grown() -> None:
    assert picture(torch.zeros(3, 300, 600, dtype=torch.uint8), 128).size == (128, 64)
    assert picture(torch.zeros(3, 10, 20, dtype=torch.uint8), 128).size == (20, 10)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 12])
def test_a_map_of_few_points(count: int) -> None:
    xy = flat(torch.randn(count, 7, generator=torch.Generator().manual_seed(count)))
    assert xy.shape == (count, 2) and xy.dtype == torch.float32
    assert torch.isfinite(xy).all()


def test_a_map_of_a_collapsed_encoder_is_one_spot() -> None:
    xy = flat(torch.ones(40, 16))
    assert torch.isfinite(xy).all() and xy.abs().max() < 1e-6
    assert flat(torch.randn(6, 1)).shape == (6, 2)


def test_a_map_keeps_neighbours_together_and_repeats_itself() -> None:
    drawn = torch.Generator().manual_seed(0)
    labels = torch.arange(150) % 3
    h_ND = 4 * torch.eye(64)[labels] + 0.3 * torch.randn(150, 64, generator=drawn)
    xy = flat(h_ND, seed=3)
    nearest = torch.cdist(xy, xy).fill_diagonal_(torch.inf).argmin(dim=1)
    assert (labels[nearest] == labels).float().mean() > 0.98
    assert torch.equal(xy, flat(h_ND, seed=3))


def test_bad_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        flat(torch.zeros(3))
    with pytest.raises(ValueError, match="draw a sample"):
        flat(torch.zeros(2001, 2))
    with pytest.raises(ValueError, match="not finite"):
        flat(torch.full((6, 2), torch.nan))
