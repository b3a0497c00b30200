"""Methods and nets in files that do not lie in the package: those that docs/own.md shows, whole commands with them, and what they may lack."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import manyviews
from commands import answer, refused
from manyviews import nets, plan
from manyviews.cli import main
from manyviews.method import find
from manyviews.runs import Run
from pictures import drawn

pytestmark = pytest.mark.usefixtures("small_world")
PAGE = (Path(__file__).parents[1] / "docs" / "own.md").read_text()
METHOD, NET, LOOP = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SMALL = ["--net", "cifar_resnet8", "--size", "16", "--batch", "32", "--budget", "4steps", "--dim", "16"]
LEARN = ["pretrain", "vicreg.py", "--out", "run", "--baselines", *SMALL]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "vicreg.py").write_text(METHOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where it is noted which files were named
    return tmp_path


def test_learns_is_found_again_and_is_judged(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = answer(capsys, *LEARN)
    assert said["figures"]["this encoder"]["knn"]["top1"] > 0
    run = Run.open(here / "run")
    assert run.settings["method"] == str(here / "vicreg.py") and run.paper.name == "vicreg"
    assert run.metrics()[-1]["distance"] > 0 and run.recipe.net == "cifar_resnet8"
    monkeypatch.chdir(here.parent)
    assert answer(capsys, "resume", str(here / "run"))["figures"] == said["figures"]
    assert manyviews.load(here / "run").encoder.width == run.encoder.width


def test_its_comments_are_its_help(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "vicreg.py", "--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0 and "Bardes, Ponce, LeCun" in told
    assert "nu, weight of what two dimensions" in " ".join(told.replace("│", " ").split())


def test_is_compared_with_ours(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--seeds", "1", "--budget", "2steps", "--net", "cifar_resnet8", "--size", "16", "--batch", "16"]
    table = answer(capsys, "compare", "vicreg.py", "simclr", "--out", "both", *asked)
    assert set(table["methods"]) == {"vicreg.py", "simclr"} and (here / "both" / "vicreg-0").is_dir()


def test_a_comparison_does_not_take_one_file_for_another(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (other := here / "elsewhere" / "vicreg.py").parent.mkdir()
    other.write_text(METHOD)
    asked = ["compare", "vicreg.py", "--seeds", "1", "--out", "one", *SMALL[:-2]]
    answer(capsys, *asked)
    asked[1] = str(other)
    assert "is a run of other settings than are asked for now" in refused(capsys, *asked)


def test_a_changed_file_is_read_again(here: Path) -> None:
    path = here / "vicreg.py"
    assert find(str(path)).config().dim == 256
    path.write_text(METHOD.replace("dim: int = 256", "dim: int = 128"))
    os.utime(path, ns=(1, 1))
    assert find(str(path)).config().dim == 128


def test_data_start_from_its_only_recipe(here: Path) -> None:
    assert plan.recipe_name(find("vicreg.py"), "cifar10", None) == "world"
    assert plan.default_data(find("vicreg.py"), None) == "world"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.py", None, "There is no file"),
        ("simclr.py", METHOD, "has the name of a method that is there already"),
        ("half.py", "Config = int", "no methods file: it has no ANATOMY and no RECIPES"),
        ("twice.py", METHOD.replace("ANATOMY =", "class Other(Method): pass\n\n\nANATOMY ="), "exactly one Method"),
    ],
)  # fmt: skip
def test_what_a_file_may_lack(
    name: str, text: str | None, says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (here / name).write_text(text)
    assert says in refused(capsys, "pretrain", name, "--budget", "1steps")


def test_a_run_whose_file_is_gone_still_embeds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, *LEARN)
    (here / "vicreg.py").unlink()
    shutil.copytree(here / "run", here / "copy")
    assert manyviews.load(here / "copy").encoder.width > 0
    pixels = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    assert len(manyviews.embed(here / "copy", pixels).h_ND) == 2
    assert "There is no file" in refused(capsys, "resume", str(here / "copy"))


def test_a_run_does_not_have_a_file_run_that_was_never_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(capsys, *LEARN)
    shutil.copytree(here / "run", here / "theirs")
    stranger = here / "theirs" / "method.py"
    stranger.write_text(f"__import__('pathlib').Path({str(here / 'harm')!r}).touch()\n" + METHOD)
    settings = json.loads((here / "theirs" / "run.json").read_text())
    (here / "theirs" / "run.json").write_text(json.dumps(settings | {"method": str(stranger)}))
    for words in (("resume", "theirs"), ("evaluate", "theirs", "--data", "world")):
        assert "a file that was never named here" in refused(capsys, *words)
    assert not (here / "harm").exists()
    with pytest.raises(SystemExit):
        main(["pretrain", str(stranger), "--help"])
    assert (here / "harm").exists()
    assert "this encoder" in answer(capsys, "resume", "theirs")["figures"]


def test_the_loop_of_ones_own_runs(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP.replace("range(10)", "range(2)"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "loop.py"], check=True, cwd=tmp_path, env=environment, timeout=300)


# -- nets ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def strided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "strided.py"
    path.write_text(NET)
    monkeypatch.setenv("MANYVIEWS_NETS", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def test_a_net_is_learned_judged_and_opened_again(
    strided: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["--size", "16", "--batch", "32", "--budget", "4steps", "--out", "run", "--baselines", "random"]
    said = answer(capsys, "pretrain", "simclr", "--net", "strided/wide", *asked)
    assert set(said["figures"]) == {"this encoder", "random encoder"}
    assert manyviews.load("run").encoder.width == 256
    assert "strided.py" not in (strided.parent / "run" / "encoder.json").read_text()
    monkeypatch.delenv("MANYVIEWS_NETS")
    assert 'no net called "strided/wide"' in refused(capsys, "evaluate", "run")


def test_a_net_is_listed_and_stands_inside_others(strided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "nets", "strided")["width"] == 128
    assert "strided" in answer(capsys, "nets")
    assert nets.build("lab(strided)").width == 256 and "strided" in nets.names()


def test_two_processes_learn_a_net_of_ones_own_by_a_method_of_ones_own(here: Path, strided: Path) -> None:
    photos = drawn(here / "photos", 48, lambda _: "")
    words = ["pretrain", "vicreg.py", "--net", "strided", "--out", "run", "--no-judged", "--devices", "2"]
    small = ["--size", "16", "--batch", "32", "--budget", "2steps", "--dim", "16", "--data", str(photos)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [sys.executable, "-m", "manyviews", *words, *small]
    subprocess.run(started, check=True, cwd=here, env=environment, timeout=300)
    assert (
        Run.open(here / "run").finished
        and not Run.open(here / "run").judged
        and Run.open(here / "run").encoder.width == 128
    )


def test_a_changed_nets_file_is_read_again(strided: Path) -> None:
    assert nets.build("strided").width == 128
    strided.write_text(NET.replace("width: int = 128", "width: int = 64"))
    os.utime(strided, ns=(1, 1))
    assert nets.build("strided").width == 64


def test_several_files_of_nets(strided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (other := strided.with_name("other.py")).write_text(NET.replace('"strided"', '"other"'))
    monkeypatch.setenv("MANYVIEWS_NETS", os.pathsep.join(map(str, (strided, other, ""))))
    assert {"strided", "other"} <= set(nets.names())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no such Python file"),
        ("NET = 1", "is no nets file: it has neither NETS nor AROUND"),
        (NET.replace('"strided"', '"resnet18"'), 'Two files call a net "resnet18"'),
        (NET.replace("make=Strided", "make=lambda **_: nn.Identity()"), "is a Identity, and methods learn an Encoder"),
    ],
)  # fmt: skip
def test_what_a_nets_file_may_lack(
    text: str | None, says: str, strided: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strided.unlink() if text is None else strided.write_text(text)
    assert says in refused(capsys, "pretrain", "simclr", "--net", "strided", "--budget", "1steps")
