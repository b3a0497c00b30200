"""Windows of sounds: cut from the sound itself, standardised, a function of what is drawn."""

import math

import pytest
import torch
from torch import Tensor

from manyviews.evaluation import RawPixels
from manyviews.rng import generator
from manyviews.views import View, Wave, Waves, pictures, plain, spectrogram, view_pictures, views_of
from manyviews.views.waves import HEARD, lengths, plain_sound, standardised

S = 50


def sounds(*long: int, samples: int = 200) -> Tensor:
    """A sound of each length, never zero inside, then zeros: int16 [B, 1, T]; sample t of it holds t + 1."""
    x = torch.arange(1, samples + 1, dtype=torch.int16).repeat(len(long), 1)
    return (x * (torch.arange(samples) < torch.tensor(long)[:, None]))[:, None]


def windows(sound: Tensor, view: Wave, draws: int = 300) -> list[Tensor]:
    """Many draws of one sound's window, before it becomes floats."""
    looks = Waves(view)
    drawn = looks.draw(draws, "windows")
    return [looks.crop(sound, drawn, row)[0][0] for row in range(draws)]


def test_windows_lie_anywhere_within_the_sound_and_not_beyond() -> None:
    cuts = windows(sounds(120)[0], Wave(size=S))
    starts = {int(cut[0]) - 1 for cut in cuts}
    assert all(torch.equal(cut, torch.arange(int(cut[0]), int(cut[0]) + S).short()) for cut in cuts)
    assert min(starts) == 0 and max(starts) == 120 - S and len(starts) > 60


def test_a_sound_shorter_than_the_window_is_heard_whole_and_then_nothing() -> None:
    for sound in (sounds(30), sounds(30, samples=30)):
        for cut in windows(sound[0], Wave(size=S), draws=5):
            assert torch.equal(cut[:30], torch.arange(1, 31).short()) and not cut[30:].any()


def test_resident_and_streamed_sounds_give_the_same_views() -> None:
    looks = Waves(Wave(size=S, gain=6, noise=0.1), Wave(size=70))
    batch = sounds(200, 120, 30, 64)
    draws = looks.draw(4, 0, "views", 3)
    whole = looks(batch, draws)
    cut = [looks.crop(sound, draws, row) for row, sound in enumerate(batch)]
    streamed = looks.finish([torch.stack(view) for view in zip(*cut, strict=True)], draws)
    parts = [looks(batch[rows], draws.rows(rows.start, rows.stop)) for rows in (slice(0, 2), slice(2, 4))]
    for view, stream, first, second in zip(whole, streamed, *parts, strict=True):
        assert view.dtype == torch.float32 and view.shape[:2] == (4, 1)
        assert torch.equal(view, stream) and torch.equal(view, torch.cat([first, second]))


def test_draws_are_a_function_of_their_parts_alone() -> None:
    looks = Waves(Wave(size=S, noise=0.5))
    batch = sounds(200, 150)
    (one,), (same,), (other,) = (looks(batch, looks.draw(2, 0, "views", step)) for step in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_loudness_is_taken_out_and_the_zeros_after_a_sound_do_not_count() -> None:
    x = (
        torch.randn(3, 1, 400, generator=generator("loud"))
        * torch.tensor([30.0, 300.0, 3000.0])[:, None, None]
    )
    batch = x.round().short()
    batch[1, :, 100:] = 0
    batch[1, 0, 99] = 1
    heard = standardised(batch)
    assert lengths(batch).tolist() == [400, 100, 400]
    assert heard[[0, 2]].square().mean((1, 2)).sub(1).abs().max() < 1e-4
    assert abs(float(heard[1, 0, :100].square().mean()) - 1) < 1e-4 and not heard[1, 0, 100:].any()
    silence = standardised(torch.zeros(2, 1, 9, dtype=torch.int16))
    assert not silence.any() and lengths(torch.zeros(2, 1, 9).short()).tolist() == [1, 1]


def test_gain_and_noise_stay_within_what_was_asked_for() -> None:
    batch = (torch.randn(400, 1, 300, generator=generator("gain")) * 1000).round().short()
    gained = Waves(Wave(size=300, gain=6))
    (x,) = gained(batch, gained.draw(400, "gain"))
    decibels = 20 * x.square().mean((1, 2)).sqrt().log10()
    assert -6.01 < decibels.min() < -5.5 and 5.5 < decibels.max() < 6.01 and abs(decibels.mean()) < 0.5
    noisy = Waves(Wave(size=300, noise=0.5))
    (y,) = noisy(batch, noisy.draw(400, "noise"))
    level = (y - standardised(batch)).square().mean((1, 2)).sqrt()
    assert level.min() < 0.02 and 0.45 < level.max() < 0.56 and abs(level.mean() - 0.25) < 0.03


def test_a_sound_is_judged_by_its_middle_two_windows() -> None:
    heard = plain(sounds(200), 40)
    assert heard.shape == (1, 1, HEARD * 40)
    assert torch.equal(heard, standardised(torch.arange(61, 141).short()[None, None]))
    assert plain_sound(sounds(200), 500).shape == (1, 1, 200)


def test_the_zeros_after_a_short_sound_are_not_its_middle() -> None:
    padded = torch.nn.functional.pad(sounds(200), (0, 4000))
    assert torch.equal(plain_sound(padded, 40), plain_sound(sounds(200), 40))
    pixels = RawPixels(40)
    assert torch.equal(pixels.embed(padded), pixels.embed(sounds(200)))


def test_a_spectrogram_shows_a_tone_where_it_sounds() -> None:
    seconds = torch.arange(8000) / 8000
    low_then_high = torch.where(
        seconds < 0.5, (2 * math.pi * 500 * seconds).sin(), (2 * math.pi * 3000 * seconds).sin()
    )
    shown = spectrogram(low_then_high[None, None], 64)[0]
    assert shown.min() >= 0 and shown.max() == 1
    rows = shown.argmax(0)  # from the top: 4,000 Hz there, 0 at the bottom
    assert (rows[4:28] - 64 * (1 - 500 / 4000)).abs().max() <= 1.5
    assert (rows[36:60] - 64 * (1 - 3000 / 4000)).abs().max() <= 1.5
    for picture in (
        pictures(sounds(200)),
        view_pictures(torch.randn(2, 1, 3000)),
        pictures(sounds(9, samples=9)),
    ):
        assert picture.dtype == torch.uint8 and picture.shape[1:] == (3, 64, 64)


def test_views_say_what_they_are() -> None:
    looks = Waves(Wave(size=4096, gain=3, noise=0.1), Wave(size=4096, gain=3, noise=0.1), Wave(size=64))
    assert looks.describe() == (
        "2 x a window of 4,096 samples, set to standard deviation 1; white noise of deviation 0 to 0.1; "
        "up to 3 decibels louder or softer\n1 x a window of 64 samples, set to standard deviation 1"
    )
    assert len(looks) == 3 and "Wave(size=64" in repr(looks)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one view"):
        Waves()
    with pytest.raises(ValueError, match="at least 1 sample"):
        Wave(size=0)
    with pytest.raises(ValueError, match="gain is -1"):
        Wave(size=1, gain=-1)
    with pytest.raises(ValueError, match="all View, all Wave or all Text"):
        views_of(Wave(size=1), View(size=1))
    looks = Waves(Wave(size=S))
    with pytest.raises(ValueError, match=r"must be int16 \[B, 1, T\], not torch.float32"):
        looks(torch.zeros(2, 1, 9), looks.draw(2, 0))
    with pytest.raises(ValueError, match="nothing to hear"):
        looks(torch.zeros(2, 1, 0, dtype=torch.int16), looks.draw(2, 0))
    with pytest.raises(ValueError, match=r"for 2 sounds, not 3; slice"):
        looks(sounds(9, 9, 9), looks.draw(2, 0))
    with pytest.raises(ValueError, match="came for a view of 50"):
        looks.finish([sounds(9, 9)], looks.draw(2, 0))
    with pytest.raises(ValueError, match="2 windows for 1 views"):
        looks.finish([sounds(9), sounds(9)], looks.draw(1, 0))
    with pytest.raises(ValueError, match="for 2 views, not 1"):
        looks(sounds(9), Waves(Wave(size=S), Wave(size=S)).draw(1, 0))
