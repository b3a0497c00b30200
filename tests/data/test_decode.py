"""Every kind of image file becomes uint8 RGB, or one sentence that names it."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from manyviews.data.decode import LIMIT, Unreadable, read

RNG = np.random.default_rng(0)
RGB = np.repeat(np.repeat(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), 8, 0), 8, 1)  # 48 x 64, in blocks


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def png(path: Path, width: int, height: int, rows: bytes = b"") -> Path:
    """A PNG by hand: its header says whatever it is told."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm"])
def test_lossless_formats_come_back_as_they_were(tmp_path: Path, suffix: str):
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}")
    assert torch.equal(read(tmp_path / f"a.{suffix}"), torch.from_numpy(RGB).permute(2, 0, 1))


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, suffix: str):
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", quality=95)
    x = read(tmp_path / f"a.{suffix}")
    assert x.shape == (3, 48, 64) and x.dtype == torch.uint8 and x.is_contiguous()
    assert (x.float() - torch.from_numpy(RGB).permute(2, 0, 1)).abs().mean() < 12


def test_gif_gives_its_first_frame(tmp_path: Path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert torch.equal(read(tmp_path / "a.gif"), as_tensor(frames[0]))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette_have_three_channels(tmp_path: Path, mode: str):
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "a.png")
    assert torch.equal(read(tmp_path / "a.png"), as_tensor(image))


def test_transparency_is_laid_on_white(tmp_path: Path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)  # black: invisible, half, solid
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[0].tolist() == [[255, 127, 0]]


def test_transparent_palette_colour_is_laid_on_white(tmp_path: Path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert read(tmp_path / "a.png")[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]


def test_grey_with_alpha(tmp_path: Path):
    Image.new("LA", (1, 1), (0, 128)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").flatten().tolist() == [127, 127, 127]


def test_cmyk_is_turned_to_rgb(tmp_path: Path):
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=95)
    r, g, b = read(tmp_path / "a.jpg").float().mean((1, 2)).tolist()
    assert r < 10 and g > 245 and b > 245


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path):
    grey = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for suffix in ("png", "tiff"):
        Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
        assert read(tmp_path / f"a.{suffix}")[0].tolist() == [[0, 1, 1, 128, 255]]


def test_float_grey_is_stretched(tmp_path: Path):
    Image.fromarray(np.array([[-2.0, 0.0, 2.0]], dtype=np.float32)).save(tmp_path / "a.tiff")
    assert read(tmp_path / "a.tiff")[0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, exif=exif)
    with Image.open(path) as image:
        expected = as_tensor(ImageOps.exif_transpose(image))
    assert torch.equal(read(path), expected)


def test_one_pixel(tmp_path: Path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", side=224).flatten().tolist() == [1, 2, 3]


@pytest.mark.parametrize("shape", [(480, 640), (333, 1000), (7, 9)])
@pytest.mark.parametrize("side", [1, 30, 100, 10_000])
def test_reduced_decoding_never_goes_below_the_side(tmp_path: Path, shape: tuple[int, int], side: int):
    Image.new("RGB", (shape[1], shape[0]), (90, 120, 30)).save(tmp_path / "a.jpg", quality=95)
    x = read(tmp_path / "a.jpg", side)
    assert min(shape) >= min(x.shape[1:]) >= min(side, min(shape))
    if side == 30 and min(shape) == 480:
        assert x.shape == (3, 60, 80)
    assert (x.float().mean((1, 2)) - torch.tensor([90.0, 120, 30])).abs().max() < 3


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_huge_jpeg_takes_bounded_memory(tmp_path: Path):
    path = tmp_path / "huge.jpg"
    make = f"from PIL import Image; Image.new('L', (20_000, 20_000), 90).save({str(path)!r})"
    subprocess.run(
        [sys.executable, "-c", make], check=True
    )  # elsewhere, as making it takes more than reading it
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = peak_bytes()
    assert read(path, side=224).shape == (3, 2500, 2500)
    assert peak_bytes() - before < 150e6


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_jpeg_over_the_limit_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg")
    monkeypatch.setattr("manyviews.data.decode.LIMIT", 400 * 300 - 1)
    assert read(tmp_path / "a.jpg").shape == (3, 150, 200)
    Image.new("RGB", (400, 300)).save(tmp_path / "b.jpg", progressive=True)
    with pytest.raises(Unreadable, match=r"b\.jpg is a progressive JPEG of 400 x 300 pixels"):
        read(tmp_path / "b.jpg")


def test_a_huge_png_is_refused_before_it_is_decoded(tmp_path: Path):
    path = png(tmp_path / "huge.png", 20_000, 20_000)
    with pytest.raises(
        Unreadable, match=rf"huge\.png has 20000 x 20000 pixels, more than the {LIMIT // 10**6} million"
    ):
        read(path)


def test_truncated_jpeg(tmp_path: Path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Unreadable, match=r"cut\.jpg cannot be read as an image: image file is truncated"):
        read(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"hello, I am a text file", "is not an image of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image of a known kind"),
        (b"\xff\xd8\xff\xe0 and nothing more", "cannot be read as an image"),
    ],
)
def test_not_an_image(tmp_path: Path, content: bytes, sentence: str):
    (tmp_path / "odd.jpg").write_bytes(content)
    with pytest.raises(Unreadable, match=rf"odd\.jpg.*{sentence}"):
        read(tmp_path / "odd.jpg")


def test_no_such_file_and_a_folder(tmp_path: Path):
    with pytest.raises(Unreadable, match=r"gone\.jpg cannot be read: there is no such file"):
        read(tmp_path / "gone.jpg")
    with pytest.raises(Unreadable, match="cannot be read as an image"):
        read(tmp_path)


def test_damaged_exif_does_not_matter(tmp_path: Path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        assert read(tmp_path / "a.jpg").shape == (3, 48, 64)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some of what it meets
@given(data=st.data(), suffix=st.sampled_from(["jpg", "png", "webp", "gif", "tiff", "bmp"]))
def test_damaged_files_are_read_or_named(tmp_path: Path, data: st.DataObject, suffix: str):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB[:16, :16]).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        x = read(path)
    except Unreadable as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert x.shape[0] == 3 and x.dtype == torch.uint8
