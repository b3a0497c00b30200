"""The world by ear: the same items as by eye, each with the song of its species, and every draw its own."""

import hashlib
from itertools import combinations

import numpy as np
import pytest
import torch

from manyviews.data import open_data
from manyviews.data.world import latents
from manyviews.data.world import songs as w
from manyviews.data.world.songs import songs, world_sounds
from manyviews.errors import ManyviewsError


def test_an_item_sounds_the_same_whoever_else_is_asked_for() -> None:
    many = songs("train", range(140))  # more than are sung at a time
    some = songs("train", [139, 3])
    assert torch.equal(some.wave, many.wave[[139, 3]]) and torch.equal(some.contour, many.contour[[139, 3]])
    assert many.wave.dtype == torch.int16 and many.wave.shape == (140, 1, w.SAMPLES)
    others = (songs("test", [3]).wave, songs("train", [3], seed=1).wave, many.wave[:1])
    assert not any(torch.equal(other, some.wave[1:]) for other in others)


def test_species_are_those_of_the_pictures() -> None:
    assert torch.equal(songs("test", range(200)).species, latents("test", range(200)).species)


def test_any_two_cues_give_the_species_away_and_one_does_not() -> None:
    cues = (w.CONTOUR_OF, w.RHYTHM_OF, w.TIMBRE_OF)
    for cue in cues:
        assert sorted(cue) == sorted(2 * list(range(5)))
    for one, other in combinations(cues, 2):
        assert len(set(zip(one, other, strict=True))) == 10


def test_most_items_keep_their_species_cues() -> None:
    heard = songs("train", range(600))
    for name, own in (("contour", w.CONTOUR_OF), ("rhythm", w.RHYTHM_OF), ("timbre", w.TIMBRE_OF)):
        kept = (getattr(heard, name) == torch.tensor(own)[heard.species]).float().mean()
        due = w.KEPT[name] + (1 - w.KEPT[name]) / 5
        assert abs(float(kept) - due) < 0.05


def test_songs_are_neither_silent_nor_clipped() -> None:
    x = songs("train", range(100)).wave.float()
    loud = x.square().mean((1, 2)).sqrt()
    assert loud.min() > 300 and loud.max() < 8000
    assert (x.abs() >= 32767).float().mean() < 1e-3 and (x[..., -1] != 0).float().mean() > 0.9


def test_the_set_is_the_world_with_labels_and_a_rate() -> None:
    data = world_sounds(items=20)
    assert (data.kind, data.rate, len(data)) == ("sounds", 8000, 20) and data.classes is not None
    assert data.labels is not None and torch.equal(data.labels, latents("train", range(20)).species)
    assert open_data(data) is data
    with pytest.raises(ManyviewsError, match="no split 'val'"):
        open_data("world-sounds", split="val")
    with pytest.raises(ManyviewsError, match="at least one"):
        world_sounds(items=0)


def test_what_was_drawn_before_is_drawn_still() -> None:
    """The cues of a version never change; hashes are the same on every machine."""
    heard = songs("train", range(50))
    cues = torch.stack([heard.species, heard.contour, heard.rhythm, heard.timbre])
    assert hashlib.blake2b(cues.numpy().tobytes(), digest_size=8).hexdigest() == "3967f1ba622f29e2"


def sung(monkeypatch: pytest.MonkeyPatch, **cues: int) -> torch.Tensor:
    monkeypatch.setattr(w, "_cue", lambda dice, name, own, species: np.full(len(species), cues[name]))
    return songs("train", range(8)).wave[:, 0].float()


@pytest.mark.parametrize("cue", ["contour", "rhythm", "timbre"])
def test_every_cue_is_heard(cue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"contour": 0, "rhythm": 1, "timbre": 0}
    waves = [sung(monkeypatch, **plain | {cue: number}) for number in range(5)]
    for one, other in combinations(waves, 2):
        assert (one != other).any(1).all()


def test_a_rising_song_rises_and_a_falling_one_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(w, "HISS", (-20.0, -20.0))
    monkeypatch.setattr(w, "WIND", (-20.0, -20.0))
    monkeypatch.setattr(w, "_clicks", lambda dice: np.float32(0))
    for contour, sign in ((0, 1), (1, -1)):
        for sound in sung(monkeypatch, contour=contour, rhythm=0, timbre=0):
            loud = (sound.abs() > 0.2 * sound.abs().max()).nonzero()[:, 0]
            first, second = (
                int((half[1:] * half[:-1] < 0).sum()) for half in sound[loud[0] : loud[-1]].chunk(2)
            )
            assert sign * (second - first) > 0
