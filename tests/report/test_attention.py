"""Attention as a heat map: as dark as it is strong, and every word beside its row or column."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
import torch

from manyviews.errors import ManyviewsError
from manyviews.report.attention import CELL, attention_map
from manyviews.report.drawing import Area, Stroke, Words, colours, painted, svg

NS = "{http://www.w3.org/2000/svg}"
READ, WRITTEN = ["Zwei", "Hunde", "laufen"], ["Two", "dogs"]
LOOK = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5]])


def rgb(tone: str) -> tuple[int, ...]:
    return tuple(int(colours(tone)[0][i : i + 2], 16) for i in (1, 3, 5))


def test_a_square_is_as_dark_as_its_weight_and_stands_at_its_words():
    drawing = attention_map(LOOK, WRITTEN, READ, "Layer 1")
    image = painted(drawing, scale=2)
    (frame,) = (mark for mark in drawing.marks if isinstance(mark, Stroke))
    left, top = frame.points[0]
    for t, row in enumerate(LOOK.tolist()):
        for s, weight in enumerate(row):
            at = round(2 * (left + (s + 0.5) * CELL)), round(2 * (top + (t + 0.5) * CELL))
            assert image.getpixel(at) == rgb(f"accent {round(100 * weight)}%"), (t, s)
    words = {mark.words: mark for mark in drawing.marks if isinstance(mark, Words)}
    assert words.keys() == {*READ, *WRITTEN, "Layer 1"}
    for s, word in enumerate(READ):
        assert words[word].turned and left + s * CELL < words[word].at[0] < left + (s + 1) * CELL
        assert words[word].at[1] < top
    for t, word in enumerate(WRITTEN):
        assert not words[word].turned and top + t * CELL < words[word].at[1] < top + (t + 1) * CELL
        assert words[word].at[0] < left and words[word].anchor == "end"


def test_heads_stand_side_by_side_on_one_sheet():
    one, three = attention_map(LOOK, WRITTEN, READ), attention_map(LOOK.expand(3, 2, 3), WRITTEN, READ)
    frames = [mark.points for mark in three.marks if isinstance(mark, Stroke)]
    assert len(frames) == 3 and three.width > 2 * one.width
    assert all(a[1][0] < b[0][0] for a, b in pairwise(frames)), "maps overlap"
    words = [mark.words for mark in three.marks if isinstance(mark, Words)]
    assert [words.count(word) for word in ("Two", "Zwei", "head 1", "head 3", "head 4")] == [1, 3, 1, 1, 0]
    assert sum(isinstance(mark, Area) for mark in three.marks) == 3 * 4, "a weight of nothing is paper"


def test_the_svg_is_whole_and_says_what_it_shows():
    root = ET.fromstring(svg(attention_map(LOOK, ["<s>", "a&b"], READ)))
    shown = [text.text for text in root.iter(f"{NS}text")]
    assert {"<s>", "a&b", "Zwei"} <= set(shown)
    assert root.get("aria-label") == "Attention. Looked at most: <s> from Zwei, a&b from Hunde."


def test_nothing_is_cut_off():
    long = "Donaudampfschifffahrtsgesellschaft"
    drawing = attention_map(LOOK[:, :1], [" dog", "\n"], [long], "A title that is wider than the map is")
    words = [mark.words for mark in drawing.marks if isinstance(mark, Words)]
    assert "Donaudampfschif…" in words and "·dog" in words and "↵" in words
    image = painted(drawing, scale=1)
    paper = image.getpixel((0, 0))
    edge = [image.getpixel((x, y)) for x in range(image.width) for y in (0, image.height - 1)]
    edge += [image.getpixel((x, y)) for y in range(image.height) for x in (0, image.width - 1)]
    assert set(edge) == {paper}


def test_words_that_do_not_fit_are_refused():
    with pytest.raises(ManyviewsError, match=r"\[2, 3\] does not fit 2 words that were written and 2"):
        attention_map(LOOK, WRITTEN, READ[:2])
