"""Drawings as SVG and as pictures, and the picture of the optimisers."""

import re
import xml.etree.ElementTree as ET

import pytest
from PIL import ImageChops, ImageFont

from manyviews.report import drawing
from manyviews.report.drawing import (
    Anchor,
    Area,
    Dots,
    Drawing,
    Stroke,
    Words,
    colours,
    painted,
    palette,
    svg,
)
from manyviews.report.race import Race, Runner, curves, paths, picture, race_page

NS = "{http://www.w3.org/2000/svg}"


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


SQUARE = [(10.0, 10.0), (30.0, 10.0), (30.0, 30.0), (10.0, 30.0)]
DRAWING = Drawing(
    60,
    40,
    [
        Area([SQUARE], "accent"),
        Stroke([(0, 36), (60, 36)], "c1", 4),
        Dots([(50, 20)], "c4", 5),
        Words((2, 8), "a < b & c", "ink", 8),
    ],
    [((40, 0), Drawing(10, 10, [Area([[(-5, -5), (50, -5), (50, 50), (-5, 50)]], "good")]))],
)


def test_the_palette_is_the_pages_in_light_and_dark() -> None:
    light, dark = palette()["paper"]
    assert rgb(light) > (240, 240, 240) > (40, 40, 40) > rgb(dark)
    assert colours("ink") == palette()["ink"]
    assert colours("ink 0%") == palette()["paper"] and colours("ink 100%") == palette()["ink"]


def test_marks_are_painted_where_they_are() -> None:
    image = painted(DRAWING, scale=2)
    assert image.size == (120, 80)
    for at, tone in (
        ((20, 20), "accent"),
        ((30, 36), "c1"),
        ((50, 20), "c4"),
        ((45, 5), "good"),
        ((35, 20), "paper"),
    ):
        assert image.getpixel((2 * at[0], 2 * at[1])) == rgb(colours(tone)[0]), tone


def ink(words: Words) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is painted, of 80 by 80 pixels."""
    painted_ = painted(Drawing(80, 80, [words]), scale=1)
    found = ImageChops.difference(painted_, painted(Drawing(80, 80), scale=1)).getbbox()
    assert found is not None
    return found


@pytest.mark.parametrize("anchor", ["start", "end"])
def test_turned_words_rise_from_their_baseline(anchor: Anchor) -> None:
    left, top, right, bottom = ink(Words((40, 40), "Eyg", size=16, anchor=anchor))
    turned = ink(Words((40, 40), "Eyg", size=16, anchor=anchor, turned=True))
    # To the right becomes upwards, downwards becomes to the right.
    expected = (top, 80 - right, bottom, 80 - left)
    assert all(abs(a - b) <= 1 for a, b in zip(turned, expected, strict=True))
    assert 'transform="rotate(-90 40.0 40.0)"' in svg(Drawing(80, 80, [Words((40, 40), "Eyg", turned=True)]))


def test_letters_that_the_font_lacks_are_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(letter: str) -> bytes:
        return painted(Drawing(30, 30, [Words((5, 20), letter)]), scale=1).tobytes()

    try:
        ImageFont.truetype("DejaVuSans.ttf", 13)
    except OSError:
        pytest.skip("this machine has no DejaVu Sans")
    assert shown("ä") != shown("ß")
    monkeypatch.setattr(drawing, "SYSTEM_FONTS", ("no such font.ttf",))
    assert shown("ä") == shown("ß")  # a box, rather than an error


def test_an_inset_is_cut_off_at_its_edge() -> None:
    image = painted(DRAWING, scale=2)
    assert image.getpixel((2 * 45, 2 * 12)) == rgb(colours("paper")[0])


def test_an_svg_says_the_same_and_turns_dark() -> None:
    written = svg(DRAWING)
    root = ET.fromstring(written)
    assert root.get("viewBox") == "0 0 60 40"
    assert [text.text for text in root.iter(f"{NS}text")] == ["a < b & c"]
    fills = {element.get("class"): element.get("fill") for element in root.iter(f"{NS}path")}
    assert fills["f-accent"] == colours("accent")[0]
    for tone in ("accent", "c1", "c4", "good", "ink", "paper"):
        assert f".f-{tone}{{fill:{colours(tone)[1]}}}" in written


def race() -> Race:
    def runner(name: str, rate: float) -> Runner:
        return Runner(
            name, rate, [(0, 0), (1, 1), (2, 0.5)], 0.25, 2 * rate, [[2.0, 1.0], [2.0, 1.5]], (0.5, 0.01)
        )

    return Race(
        title="Two <b>",
        subtitle="and a half",
        families={"one": [runner("Slow", 0.003), runner("Fast", 0.3)], "two": [runner("Odd", 7.0)]},
        contours=[[[(0.5, 0.2), (1.5, 0.2), (1.0, 1.0)]]],
        window=(0.0, 3.0, 0.0, 1.2),
        places={"minimum": (2.0, 0.5)},
        paths_note="steps",
        curves_note="loss",
    )


def words(drawing: Drawing) -> list[str]:
    return [mark.words for mark in drawing.marks if isinstance(mark, Words)]


def test_a_runner_knows_its_mean_and_spread() -> None:
    slow = race().runners[0]
    assert slow.mean_curve == [2.0, 1.25]
    assert slow.loss == (1.25, pytest.approx(0.125**0.5))


def test_every_rate_stands_beside_its_name() -> None:
    assert {"Slow", "0.003", "Fast", "0.3", "minimum", "start"} <= set(words(paths(race(), "one")))
    assert {"Slow 0.006", "Fast 0.6"} <= set(words(curves(race(), "one")))
    assert not {"Odd", "7"} & set(words(paths(race(), "one")))


def test_paths_lie_where_their_weights_are() -> None:
    drawing = paths(race(), "two")
    (line,) = [mark.points for mark in drawing.marks if isinstance(mark, Stroke) and mark.tone == "accent"]
    width, height = drawing.width, drawing.height
    assert line[0] == pytest.approx((0, height))
    assert line[1] == pytest.approx((width / 3, height / 6))
    assert line[2] == pytest.approx((2 * width / 3, height * 7 / 12))


def test_the_picture_and_the_page_hold_every_panel() -> None:
    whole = picture(race())
    ET.fromstring(svg(whole))
    assert len(whole.inset) == 4 and painted(whole, scale=1).size == (round(whole.width), round(whole.height))
    page = race_page(race(), "manyviews optimisers", {"task": {"items": 3}})
    assert page.count("<svg") == 4 and "<b>" not in re.sub(
        r"(?s)<script.*", "", page.split("<h1>")[1].split("</h1>")[0]
    )
    assert "1.250 ± 0.35" in page or "1.25 ± 0.35" in page
