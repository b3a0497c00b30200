"""WAV files of every kind become the samples that were written; what cannot be read is named."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from manyviews.data import ItemSet, Unreadable, open_data, read_sound, split_of, summary
from manyviews.data.sounds import at_rate, common_rate, from_waves, resampled
from manyviews.errors import ManyviewsError

T = np.arange(800)
TONE = np.sin(2 * np.pi * 440 * T / 8000) * 0.5


def write(path: Path, x: np.ndarray, rate: int = 8000, bits: int = 16) -> Path:
    """Samples in [-1, 1], [T] or [T, channels], as PCM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = 1 if x.ndim == 1 else x.shape[1]
    whole = np.round(x * 2.0 ** (bits - 1)).clip(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1).astype(np.int64)
    if bits == 8:
        raw = (whole + 128).astype(np.uint8).tobytes()
    else:
        raw = whole.reshape(-1).astype("<i8").view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_samples_of_any_width_are_those_that_were_written(bits: int, tmp_path: Path) -> None:
    found = read_sound(write(tmp_path / "a.wav", TONE, bits=bits))
    assert found.dtype == torch.int16 and found.shape == (1, 800)
    assert np.abs(found[0].numpy() / 32768 - TONE).max() <= 0.5 / 2 ** (min(bits, 16) - 1) + 1e-9


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_the_extensible_header_is_read_too(bits: int, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.wav", TONE, bits=bits)
    raw = plain.read_bytes()
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    fmt = b"\xfe\xff" + raw[22:36] + (22).to_bytes(2, "little") + raw[34:36] + bytes(4) + guid
    body = raw[12:16] + len(fmt).to_bytes(4, "little") + fmt + raw[36:]
    (tmp_path / "extensible.wav").write_bytes(
        raw[:4] + (len(body) + 4).to_bytes(4, "little") + raw[8:12] + body
    )
    assert torch.equal(read_sound(tmp_path / "extensible.wav"), read_sound(plain))
    assert common_rate([str(tmp_path / "extensible.wav")]) == 8000
    other = bytearray((tmp_path / "extensible.wav").read_bytes())
    other[44:46] = b"\x03\x00"  # floating point
    (tmp_path / "float.wav").write_bytes(other)
    with pytest.raises(Unreadable, match="not a WAV file of PCM"):
        read_sound(tmp_path / "float.wav")


def test_channels_become_their_mean(tmp_path: Path) -> None:
    found = read_sound(write(tmp_path / "a.wav", np.stack([TONE, -0.5 * TONE], 1)))
    assert np.abs(found[0].numpy() / 32768 - 0.25 * TONE).max() < 1e-4


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (44100, 8000), (16000, 11025)])
def test_another_rate_is_the_same_sound_without_what_it_cannot_hold(old: int, new: int) -> None:
    seconds = np.arange(old // 4) / old
    x = np.sin(2 * np.pi * 700 * seconds) + np.sin(2 * np.pi * 1500 * seconds + 1)
    y = resampled(x, old, new)
    again = np.arange(len(y)) / new
    middle = slice(len(y) // 8, -len(y) // 8)
    due = np.sin(2 * np.pi * 700 * again) + np.sin(2 * np.pi * 1500 * again + 1)
    assert len(y) == round(len(x) * new / old)
    assert np.abs(y - due)[middle].max() < 0.01
    g = np.gcd(old, new)
    assert np.abs(y - resample_poly(x, new // g, old // g)[: len(y)])[middle].max() < 0.02
    if new < old:
        high = np.sin(
            2 * np.pi * 0.6 * new * seconds
        )  # above the new Nyquist frequency: it may not come back lower
        assert np.abs(resampled(high, old, new))[middle].max() < 0.02


def test_a_set_is_brought_to_the_rate_that_most_files_have(tmp_path: Path) -> None:
    for name, rate in {"a": 8000, "b": 16000, "c": 16000}.items():
        write(tmp_path / f"{name}.wav", TONE, rate)
    data = open_data(tmp_path)
    assert (data.kind, data.rate) == ("sounds", 16000)
    assert [data.read(i).shape[1] for i in range(3)] == [1600, 800, 800]
    assert summary(data)["rate"] == 16000 and summary(data)["kind"] == "sounds"
    low = open_data(tmp_path, rate=8000, size=10_000)  # as a net that learned at 8,000 has to hear them
    assert low.rate == 8000 and low.values is not None and low.values.shape == (3, 1, 800)
    again = at_rate(low, 4000)
    assert again.values is not None and again.values.shape == (3, 1, 400) and again.rate == 4000


def test_folders_give_labels_and_splits_as_they_do_for_images(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for kind in ("bark", "meow"):
            for k in range(3):
                write(tmp_path / split / kind / f"{k}.WAV", TONE * (k + 1) / 4)
    train, test = (open_data(tmp_path, split=split) for split in ("train", "test"))
    assert (
        train.classes == ("bark", "meow")
        and train.labels is not None
        and train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    )
    assert len(test) == 3 * 2 and test.kind == "sounds"
    kept, held = split_of(train, 0.34)
    assert kept.kind == held.kind == "sounds"


def test_in_memory_the_middle_is_kept_and_shorter_ones_end_in_zeros(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.full(800, 0.5))
    write(tmp_path / "b.wav", np.full(300, 0.25))
    ramp = np.arange(2000) / 4000
    write(tmp_path / "c.wav", ramp)
    pixels = open_data(tmp_path, size=1000).values
    assert pixels is not None and pixels.shape == (3, 1, 1000) and pixels.dtype == torch.int16
    assert (pixels[0, 0, :800] == 16384).all() and not pixels[0, 0, 800:].any()
    assert (pixels[1, 0, :300] == 8192).all() and not pixels[1, 0, 300:].any()
    assert np.abs(pixels[2, 0].numpy() / 32768 - ramp[500:1500]).max() < 1e-4
    short = open_data(tmp_path, size=500).resident(200).values
    assert short is not None and short.shape == (3, 1, 200)


def test_arrays_of_two_axes_are_sounds() -> None:
    whole = (TONE[None] * 32767).astype(np.int16)
    for array in (whole, TONE[None], torch.from_numpy(whole)):
        data = open_data(array)
        assert data.kind == "sounds" and data.values is not None and data.values.shape == (1, 1, 800)
        assert np.abs(data.values[0, 0].numpy() / 32767 - TONE).max() < 1e-4
    labelled = open_data((np.repeat(whole, 4, 0), ["b", "a", "b", "a"]))
    assert labelled.classes == ("a", "b")
    with pytest.raises(ManyviewsError, match=r"int16 or floats in \[-1, 1\], not float64 beyond them"):
        from_waves(TONE[None] * 3)
    with pytest.raises(ManyviewsError, match="not int64; images are"):
        from_waves(np.zeros((2, 5), np.int64))
    with pytest.raises(ManyviewsError, match="not empty"):
        from_waves(np.zeros((2, 0), np.int16))


def test_spoken_digits_are_found_and_split_by_their_numbers(tmp_path: Path) -> None:
    for digit in (0, 7):
        for index in (0, 4, 5, 12):
            write(tmp_path / "fsdd" / "recordings" / f"{digit}_ann_{index}.wav", TONE)
    train, test = (open_data("fsdd", split=split, root=tmp_path) for split in ("train", "test"))
    assert train.labels is not None and train.labels.tolist() == [0, 0, 7, 7] and train.classes is not None
    assert train.classes[7] == "seven" and [Path(n).stem[-1] for n in test.names] == ["0", "4"] * 2
    with pytest.raises(
        ManyviewsError, match=r"fsdd is not under .*elsewhere.*put its folder recordings into"
    ):
        open_data("fsdd", root=tmp_path / "elsewhere")


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound at all, but long enough for a header of one")
    with pytest.raises(Unreadable, match=r"text\.wav is not a WAV file of PCM samples"):
        read_sound(tmp_path / "text.wav")
    (tmp_path / "nothing.wav").write_bytes(b"")
    with pytest.raises(Unreadable, match=r"nothing\.wav is not a WAV .*: it ends within its header"):
        read_sound(tmp_path / "nothing.wav")
    whole = write(tmp_path / "whole.wav", TONE).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:1000])
    with pytest.raises(
        Unreadable, match=r"cut\.wav is damaged: its header speaks of 800 samples, and there are 478"
    ):
        read_sound(tmp_path / "cut.wav")
    floats = bytearray(whole)
    floats[20] = 3  # the format's tag: IEEE floats
    (tmp_path / "floats.wav").write_bytes(floats)
    with pytest.raises(Unreadable, match="unknown format: 3"):
        read_sound(tmp_path / "floats.wav")
    with pytest.raises(Unreadable, match=r"empty\.wav holds no samples"):
        read_sound(write(tmp_path / "empty.wav", TONE[:0]))
    with pytest.raises(Unreadable, match=r"There is no file .*none\.wav"):
        read_sound(tmp_path / "none.wav")


def test_damaged_files_are_skipped_by_name_and_too_many_stop(tmp_path: Path) -> None:
    for k in range(20):
        write(tmp_path / f"{k:02}.wav", TONE)
    (tmp_path / "07.wav").write_bytes(b"RIFF")
    data = open_data(tmp_path, size=500)
    assert len(data) == 19 and data.kind == "sounds" and data.rate == 8000
    assert list(data.skipped.files) == [str(tmp_path / "07.wav")]
    for k in range(5):
        (tmp_path / f"{k:02}.wav").write_bytes(b"RIFF")
    with pytest.raises(ManyviewsError, match=r"of the 20 sounds of .* cannot be read"):
        open_data(tmp_path, size=500)


def test_folders_without_either_kind_and_lists_of_both_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(ManyviewsError, match="is empty"):
        open_data(tmp_path / "notes")
    (tmp_path / "notes" / "a.txt").write_text("")
    with pytest.raises(ManyviewsError, match=r"has no images: .*; nor sounds, which end in \.wav"):
        open_data(tmp_path / "notes")
    sound, image = write(tmp_path / "a.wav", TONE), tmp_path / "a.png"
    image.write_bytes(b"")
    with pytest.raises(ManyviewsError, match="lists images and sounds"):
        open_data([sound, image])
    assert isinstance(open_data(sound), ItemSet)
