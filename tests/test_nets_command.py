"""`manyviews nets`: all networks in a table that fits, one of them part by part."""

import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import manyviews
from commands import refused
from manyviews.cli import main
from manyviews.cli.nets import aligned, short
from manyviews.nets import catalogue
from manyviews.nets.counting import networks

README = Path(__file__).parents[1] / "README.md"
FEW = ["vgg_d", "resnet50", "vit_b16", "gpt2"]


def says(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    main(["nets", *words])
    return capsys.readouterr().out


def test_all_networks(capsys: pytest.CaptureFixture[str]):
    rows = json.loads(says(capsys, "--json"))
    assert list(rows) == list(catalogue()) and manyviews.networks is networks
    assert rows["resnet50"]["parameters"] == 25_557_032 and rows["resnet50"]["known_as"]["timm"] == "resnet50"


@pytest.mark.parametrize("columns", ["60", "80", "110", "250"])
def test_the_table_fits(columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", columns)
    lines = says(capsys, *FEW).splitlines()
    assert max(map(len, lines)) <= max(int(columns), 77)
    assert [line.split()[0] for line in lines if line.startswith("  ")][1:] == FEW
    assert any("google/vit" in line for line in lines) == (columns == "250")
    assert any("transformers" in line for line in lines) == (int(columns) >= 110)


def test_one_part_by_part(capsys: pytest.CaptureFixture[str]):
    lines = says(capsys, "resnet50").splitlines()
    assert "  parameters     25,557,032" in lines  # the paper says none
    assert "  multiply-adds  4,089,184,256 (the paper: 3.8 G)" in lines
    stage = next(i for i, line in enumerate(lines) if line.startswith("layer3"))
    assert re.search(r"1024 × 14 × 14 +7\.098 M +1\.464 G", lines[stage])
    assert lines[stage + 2].split()[:4] == ["1", "×", "5", "Bottleneck"]
    assert any(line.startswith("resnet50/plain") for line in lines)
    assert not any("conv3" in line for line in lines)
    assert any("conv3" in line for line in says(capsys, "resnet50", "--depth", "3").splitlines())


def test_one_as_json_has_its_parts_and_variants(capsys: pytest.CaptureFixture[str]):
    found = json.loads(says(capsys, "cifar_resnet20", "--json"))
    assert [part["name"] for part in found["parts"]][-1] == "layer3"
    assert found["variants"]["B"]["parameters"] > found["parameters"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["resnet5o"], 'There is no net called "resnet5o"; did you mean resnet50'),
        (["resnet50/thin"], '"resnet50" has no variant "thin"'),
        (["resnet50", "--depth", "0"], "--depth is 0"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    assert sentence in refused(capsys, "nets", *words)


def test_the_readme_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]):
    kept = re.search(r"<!-- nets: made by `(.*?)` -->\n(.*?)<!-- /nets -->", README.read_text(), re.DOTALL)
    assert kept, "README.md has lost the markers around the table of networks"
    assert kept[2].strip() == says(capsys, *shlex.split(kept[1])[2:]).strip(), "copy it from the command"


UNITS = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@given(st.integers(0, 10**15))
def test_short_keeps_four_digits(number: int):
    digits, _, unit = short(number).partition(" ")
    assert float(digits) * UNITS[unit] == pytest.approx(number, rel=5.1e-4)
    assert float(digits) < 1000 or unit == "T"
    assert len(digits.replace(".", "")) <= 4 or unit == "T"


def test_short_at_the_edges():
    cases = {0: "0", 999: "999", 1000: "1 K", 999_960: "1 M", 25_557_032: "25.56 M", 175e9: "175 B"}
    assert {number: short(number) for number in cases} == cases
    assert short(None) == "" and short(4.09e9, "KMGT") == "4.09 G"


def test_figures_stand_under_each_other():
    assert aligned([("a", "b"), ("long", "1"), ("x", "100")]) == ["a       b", "long    1", "x     100"]
