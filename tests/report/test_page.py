"""The page: valid, offline, escaped, true to its numbers, and written whole or not at all."""

import base64
import hashlib
import math
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from manyviews.report import (
    Atlas,
    Comparison,
    Confusion,
    Contender,
    Curve,
    Figure,
    Neighbours,
    Story,
    compare_page,
    page,
    write,
)

VOID = {"img", "meta", "link", "br"}
EVIL = """<script>alert("x")</script>'&"""


class Reader(HTMLParser):
    """Reads a page as a browser would, and keeps what the tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>"
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def headings(self) -> list[str]:
        return [word for word in self.words if word in HEADINGS]


HEADINGS = {
    "figures": "What it is worth",
    "curves": "How it went",
    "sheet": "What it learned from",
    "neighbours": "What it finds alike",
    "atlas": "How it sees them",
    "confusion": "Class by class",
    "command": "How to repeat it",
}
HEADINGS = dict(zip(HEADINGS.values(), HEADINGS.keys(), strict=True))


def images(*shape: int) -> torch.Tensor:
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(len(shape))
    )


@pytest.fixture(scope="module")
def story() -> Story:
    drawn = torch.Generator().manual_seed(0)
    return Story(
        title="SimCLR on the world",
        subtitle="Two views attract; all else repels.",
        command="manyviews pretrain simclr --seed 0 --out runs/a",
        settings={"method": {"temperature": 0.1 + 0.2, "queue": None, "clip": math.nan, "crop": (0.2, 1.0)}},
        verdict=("collapsing", "Eight directions are left of 128."),
        figures=[
            Figure(
                "this encoder", {"kNN top-1": 0.7431, "effective rank": 87.25}, margins={"kNN top-1": 0.012}
            ),
            Figure("random encoder", {"kNN top-1": 0.2713, "effective rank": math.nan}, note="before step 1"),
            Figure("supervised", {"kNN top-1": 0.9614, "effective rank": None}),
        ],
        curves=[Curve("Loss", "step", {"loss": ([0, 1, 2], [3.25, math.nan, 1.5])}, {"chance": 2.0})],
        sheet=images(3, 3, 3, 16, 16),
        neighbours=Neighbours(
            images(2, 3, 16, 16),
            images(2, 4, 3, 16, 16),
            torch.tensor([[0.91, 0.8, 0.7, -0.25], [0.9, 0.8, 0.7, math.nan]]),
            torch.tensor([[True, False, True, False], [True, True, True, True]]),
        ),
        atlas=Atlas(
            torch.randn(30, 2, generator=drawn),
            images(30, 3, 8, 8),
            torch.arange(30) % 3,
            ("cat", "dog", "eel"),
        ),
        confusion=Confusion(torch.tensor([[8, 2, 0], [0, 5, 5], [0, 0, 10]]), ("cat", "dog", "eel")),
        per_class={"cat": 0.8, "dog": 0.5, "eel": 1.0},
    )


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return Comparison(
        title="Two methods",
        subtitle="Same data.",
        command="manyviews compare a b",
        budget="10 minutes",
        contenders=[
            Contender("a", {"kNN top-1": (0.40, 0.42, 0.44), "rank": (80.0, 90.0, 100.0)}),
            Contender("b", {"kNN top-1": (0.5, math.nan, None), "rank": (math.nan, math.nan, math.nan)}),
        ],
        references={"raw pixels": {"kNN top-1": 0.354}},
    )


def test_the_page_is_balanced_and_its_ids_are_unique(story: Story, comparison: Comparison) -> None:
    for html in (page(story), compare_page(comparison)):
        read = Reader(html)
        ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert html.startswith("<!DOCTYPE html>")
        assert len(read.named("h1")) == 1


def test_nothing_is_loaded_from_anywhere(story: Story, comparison: Comparison) -> None:
    for html in (page(story), compare_page(comparison)):
        for tag, attributes in Reader(html).tags:
            for key in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                assert (attributes.get(key) or "data:").startswith("data:"), f"<{tag} {key}>"
            assert not any(key.startswith("on") for key in attributes), f"<{tag}> carries a handler"
        assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", html)
        (policy,) = [a["content"] for a in Reader(html).named("meta") if "http-equiv" in a]
        assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")


def test_the_policy_names_the_script_that_is_there(story: Story) -> None:
    html = page(story)
    script = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(script) == 1
    assert base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode() in html


def test_every_word_of_the_user_is_escaped(story: Story) -> None:
    count = len(story.atlas.xy)
    evil = Story(
        title=EVIL,
        subtitle=EVIL,
        command=EVIL,
        settings={EVIL: {EVIL: EVIL}},
        verdict=(EVIL, EVIL),
        figures=[Figure(EVIL, {EVIL: 0.5}, EVIL), Figure(EVIL + "2", {EVIL: 0.25}, EVIL)],
        curves=[Curve(EVIL, EVIL, {EVIL: ([0, 1], [1.0, 2.0])}, {EVIL: 1.5}, note=EVIL)],
        neighbours=replace(story.neighbours, names=[EVIL] * 2, captions=[[EVIL] * 4] * 2),
        atlas=replace(story.atlas, classes=(EVIL, "b", "c"), names=[EVIL] * count),
        confusion=replace(story.confusion, classes=(EVIL, "b", "c")),
        per_class={EVIL: 0.5},
    )
    html = page(evil)
    assert "<script>alert" not in html
    harmless = [attributes for attributes in Reader(html).named("script") if "type" in attributes]
    assert len(Reader(html).named("script")) == len(harmless) + 1
    assert EVIL in Reader(html).text


def test_a_name_that_is_not_unicode_still_makes_a_page(story: Story, tmp_path: Path) -> None:
    broken = os.fsdecode(b"caf\xe9.jpg")
    atlas = replace(story.atlas, names=[broken] * len(story.atlas.xy))
    path = write(replace(story, atlas=atlas, subtitle=broken), tmp_path / "report.html")
    assert "caf?.jpg" in Reader(path.read_text(encoding="utf-8")).text


def test_the_comparison_escapes_too() -> None:
    html = compare_page(
        Comparison(EVIL, EVIL, EVIL, EVIL, [Contender(EVIL, {EVIL: (0.5, 0.6)}, EVIL)], {EVIL: {EVIL: 0.1}})
    )
    assert "<script>alert" not in html
    assert len(Reader(html).named("script")) == 1


def test_the_numbers_are_those_given(story: Story) -> None:
    said = Reader(page(story)).text
    for number in (
        "74.3% ± 1.2",
        "27.1%",
        "96.1%",
        "87.25",
        "0.30000000000000004",
        "0.2, 1.0",
        "0.91",
        "−0.25",
    ):
        assert number in said
    assert "47.2 points above random encoder and 21.8 points below supervised." in said
    assert "6 of these 8 neighbours are of their query's class" in said
    assert "50.0% of dog taken for eel" in said
    assert "manyviews pretrain simclr --seed 0 --out runs/a" in said


def test_what_is_missing_is_a_dash(story: Story) -> None:
    html = page(story)
    said = Reader(html).text
    assert not re.search(r"\b(nan|NaN|None|inf)\b", said)
    assert re.findall(r'class="num">([^<]*)<', html)[3:6] == ["87.25", "–", "–"]
    assert "queue–" in said and "clip–" in said


def test_a_chart_speaks_and_leaves_gaps(story: Story) -> None:
    html = page(story)
    (area,) = [a for a in Reader(html).named("div") if (a.get("class") or "").startswith("area")]
    assert area["aria-label"] == ("Line chart, Loss. loss: 3.25 at step 0, 1.5 at 2; baseline chance: 2.")
    (path,) = [a["d"] for a in Reader(html).named("path") if a["class"] == "line s0"]
    assert path is not None and path.count("M") == 2 and "nan" not in path


def test_every_picture_has_a_text(story: Story) -> None:
    pictures = [a for a in Reader(page(story)).named("img") if a.get("class") != "sprite"]
    assert len(pictures) == 3 * 3 + 2 + 2 * 4
    assert all(a["alt"] for a in pictures)
    assert {"Item 2, view 1", "Neighbour 1, same class, similarity 0.91"} <= {a["alt"] for a in pictures}


EMPTY = {
    "figures": (),
    "curves": (),
    "sheet": None,
    "neighbours": None,
    "atlas": None,
    "confusion": None,
    "command": "",
}


@pytest.mark.parametrize("part", EMPTY)
def test_an_absent_part_leaves_no_heading(story: Story, part: str) -> None:
    whole = Reader(page(story)).headings()
    assert len(whole) == len(EMPTY)
    extra = {"confusion": {"per_class": {}}, "command": {"settings": {}}}.get(part, {})
    without = Reader(page(replace(story, **{part: EMPTY[part], **extra}))).headings()
    assert [heading for heading in whole if HEADINGS[heading] != part] == without


def test_a_bare_story_is_a_page() -> None:
    read = Reader(page(Story("Title", "", "")))
    assert read.words == ["Title", "Manyviews", "Title"]
    assert read.named("section") == []


def test_a_curve_without_a_finite_point_is_left_out() -> None:
    empty = Curve("Loss", "step", {"loss": ([0, 1], [math.nan, None]), "none": ([], [])})
    assert Reader(page(Story("t", "", "", curves=[empty]))).named("section") == []


def test_a_metric_named_plain_is_not_a_percentage() -> None:
    figures = [Figure("this encoder", {"alignment": 0.25})]
    assert "25.0%" in Reader(page(Story("t", "", "", figures=figures))).text
    assert "25.0%" not in Reader(page(Story("t", "", "", figures=figures, plain=("alignment",)))).text


def test_the_comparison_gives_mean_and_sample_deviation(comparison: Comparison) -> None:
    html = compare_page(comparison)
    said = Reader(html).text
    assert said.count("42.0% ± 2.0") == 2
    assert "90 ± 10" in said
    assert said.count("50.0%2 of 3 missing") == 2
    assert "–3 of 3 missing" in said
    assert "10 minutes" in said
    assert html.count('class="dot"') == 3 + 1 + 3
    assert [a["aria-label"] for a in Reader(html).named("span") if a.get("role") == "img"][:2] == [
        "seeds: 40.0%, 42.0%, 44.0%",
        "seeds: 50.0%, –, –",
    ]


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one contender"):
        compare_page(Comparison("t", "", "", "", []))


def test_many_classes_fold_and_lose_the_matrix() -> None:
    names = tuple(f"class {k}" for k in range(100))
    confusion = Confusion(torch.eye(100) * 9 + torch.roll(torch.eye(100), 1, 1), names)
    html = page(Story("t", "", "", confusion=confusion, per_class={n: k / 100 for k, n in enumerate(names)}))
    assert "All 100 classes" in html and 'class="matrix"' not in html
    assert "of class 0 taken for class 1" in Reader(html).text


def test_two_thousand_points_stay_small() -> None:
    smooth = torch.nn.functional.interpolate(images(2000, 3, 4, 4).float(), size=32, mode="bilinear")
    atlas = Atlas(torch.randn(2000, 2), smooth.to(torch.uint8), torch.arange(2000) % 10, "abcdefghij")
    html = page(Story("t", "", "", atlas=atlas))
    assert html.count("<circle") == 2000
    assert len(html.encode()) < 3e6


def test_wrong_shapes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"sheet is torch.float32"):
        Story("t", "", "", sheet=torch.zeros(2, 3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"atlas.xy is \[3, 2\]"):
        Atlas(torch.zeros(3, 2), images(4, 3, 8, 8))
    with pytest.raises(ValueError, match="not finite"):
        Atlas(torch.full((4, 2), math.nan), images(4, 3, 8, 8))
    with pytest.raises(ValueError, match="2 queries but neighbours for 3"):
        Neighbours(images(2, 3, 8, 8), images(3, 4, 3, 8, 8))
    with pytest.raises(ValueError, match=r"similarity is \[2, 3\]"):
        Neighbours(images(2, 3, 8, 8), images(2, 4, 3, 8, 8), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="3 x values but 2 y values"):
        Curve("c", "x", {"a": ([1, 2, 3], [1, 2])})
    with pytest.raises(ValueError, match=r"must be \[2, 2\]"):
        Confusion(torch.zeros(3, 3), ("a", "b"))


def test_write_makes_the_folder_and_leaves_only_the_page(story: Story, tmp_path: Path) -> None:
    path = write(story, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == page(story)
    assert os.listdir(path.parent) == ["report.html"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_page(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = write(story, tmp_path / "report.html")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write(replace(story, title="Another"), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["report.html"]
