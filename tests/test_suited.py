"""Data that is not made of photos, whole commands: `--no-upright`, `--no-mirror` and `--colour`, and what they cannot be said of."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from commands import answer, refused
from manyviews import plan
from manyviews.data import open_data
from manyviews.method import find
from manyviews.runs import Run
from manyviews.views import Views

pytestmark = pytest.mark.usefixtures("small_world")
SMALL = [
    "--net",
    "cifar_resnet8",
    "--size",
    "16",
    "--batch",
    "32",
    "--budget",
    "4steps",
    "--out",
    "run",
    "--baselines",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_is_learned_by_turned_views(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--no-upright", "--no-mirror", "--colour", "0.5"]
    answer(capsys, "pretrain", "moco", *words, *SMALL, "random", "supervised")
    run = Run.open("run")
    views = run.build(open_data("world", size=16)).suited_views()
    assert isinstance(views, Views) and all(view.turn and view.grey == 0.1 for view in views.views)
    assert all(view.flip == 0 for view in views.views)
    assert run.recipe.pose == Run.open("run/supervised").recipe.pose == {"upright": False, "mirror": False}


@pytest.mark.parametrize("pose", ["upright", "mirror"])
def test_its_classifier_learns_by_such_views_too(capsys: pytest.CaptureFixture[str], pose: str) -> None:
    answer(capsys, "pretrain", "moco", f"--no-{pose}", *SMALL, "random")
    words = ["evaluate", "run", "--protocol", "finetune", "--option", "finetune.epochs=1"]
    its_own, alike, other = (
        answer(capsys, *words, *more)["figures"]["finetune"]["loss"]
        for more in ([], [f"finetune.{pose}=false"], [f"finetune.{pose}=true"])
    )
    assert its_own == alike != other


@pytest.mark.parametrize("name", ["cpc", "cpcv2"])
def test_patches_change_their_colours_less_too(name: str) -> None:
    data = open_data("world", size=32)
    patches = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = {}
    for colour in (1.0, 0.0):
        config, recipe = plan.base(find(name), "world")
        settings = {"colour": colour, "net": "cifar_resnet8"}
        _, recipe = plan.changed(find(name), config, recipe, settings)
        config = replace(config, drop=1.0)
        about = {"method": name, "config": asdict(config), "recipe": asdict(recipe), "data": {"senses": {}}}
        method = Run(Path("none"), about).build(data)
        method.suited_views()
        torch.manual_seed(0)
        seen[colour] = cast(Any, method).augmented(patches)
    one_channel_left = (seen[1.0].flatten(2).std(2) < 1e-6).sum(1) == 2
    assert one_channel_left.float().mean() > 0.9
    assert not (seen[0.0].flatten(2).std(2) < 1e-6).any()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("simclr", "--colour", "1.5"), "--colour is 1.5"),
        (("simclr", "--colour", "-1"), "--colour is -1"),
        (("igpt", "--colour", "0.5"), "views of this method have none"),
        (("cpc_sequence", "--no-upright"), "are of images"),
        (("cpc_sequence", "--no-mirror"), "are of images"),
        (("bert", "--no-upright"), "are of images"),
    ],
)
def test_what_it_cannot_be_said_of(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(capsys, "pretrain", *words)


def test_the_recipes_for_digits_flip_nothing() -> None:
    paper = find("supervised")
    assert plan.recipe_name(paper, "mnist", None) == "mnist"
    assert not any(plan.base(paper, "mnist", wanted)[1].mirror for wanted in (None, "ode"))
    assert plan.base(paper, "cifar10")[1].mirror


def test_a_classifier_looks_at_no_mirror_images_where_its_run_saw_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(capsys, "pretrain", "supervised", "--no-mirror", *SMALL)
    words = ["evaluate", "run", "--protocol", "ten-crop"]
    its_own, alike, other = (
        answer(capsys, *words, *more)["figures"]["ten-crop"]
        for more in ([], ["--option", "ten-crop.mirror=false"], ["--option", "ten-crop.mirror=true"])
    )
    assert its_own == alike != other
