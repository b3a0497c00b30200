"""The folders of runs: who gets which, when two ask at once, and what they say of it elsewhere."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import manyviews
from commands import refused
from manyviews import comparing, plan
from manyviews.cli import main
from manyviews.data import in_memory
from manyviews.errors import ManyviewsError
from manyviews.folders import free_folder
from manyviews.method import find
from manyviews.runs import Run

SMALL: dict[str, Any] = {"net": "cifar_resnet8", "size": 16, "batch": 16, "budget": "2steps", "hidden": 16}


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)


def test_no_two_runs_are_given_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: free_folder("byol", "photos/cats", tmp_path), range(40)))
    assert len(set(given)) == 40 and all(path.is_dir() for path in given)
    assert {path.name for path in given} == {"byol-photos", *(f"byol-photos-{i}" for i in range(2, 41))}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("cifar10/train", "cifar10"),
        ("world-1/train", "world-1"),
        ("there/photos", "photos"),
        ("there/photos/../table.csv", "table"),
        ("hf:org/flowers/train", "flowers"),
        ("gone/photos", "gone"),
        ("", "data"),
    ],
)
def test_a_folder_is_called_by_the_method_and_the_data(
    data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there" / "photos").mkdir(parents=True)
    (tmp_path / "there" / "table.csv").touch()
    assert free_folder("byol", data) == Path(f"runs/byol-{name}")


def test_of_two_that_make_one_folder_one_is_told(tmp_path: Path) -> None:
    def make(number: int) -> bool:
        try:
            Run.create(tmp_path / "run", {"number": number})
        except ManyviewsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(24)))
    assert sum(made) == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {"number": made.index(True)}


def test_runs_begun_without_a_folder_lie_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = [manyviews.pretrain("byol", images(), baselines=(), quiet=True, seed=s, **SMALL) for s in (0, 1)]
    assert [run.path for run in made] == [Path("runs/byol-array"), Path("runs/byol-array-2")]
    assert [Run.open(run.path).recipe.seed for run in made] == [0, 1]
    with pytest.raises(ManyviewsError, match="batch of 16"):
        manyviews.pretrain("byol", images()[:8], baselines=(), quiet=True, **SMALL)
    assert len(list(Path("runs").iterdir())) == 2  # what is refused leaves nothing behind


def test_a_record_is_read_as_it_was_written_whatever_the_machine_speaks(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "Käfer", {"classes": ["Käfer", "鳥"]})
    run.add_results(of="Käfer")
    code = (
        "import sys; from manyviews.runs import Run; run = Run.open(sys.argv[1]);"
        "assert run.settings['classes'] == ['K\\u00e4fer', '\\u9ce5'] and run.results() == {'of': 'K\\u00e4fer'}"
    )
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, env=os.environ | plain)


def test_a_comparison_goes_on_where_its_data_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (images(), np.arange(40) % 2)
    monkeypatch.setattr(comparing, "resume", lambda path, data, **how: how)

    def one(root: Path) -> Any:
        same = {"net": "cifar_resnet8", "size": 16, "batch": 16, "budget": "2steps"}
        return comparing._one("simsiam", data, 0, None, (), same, tmp_path, root, True)

    made = one(tmp_path)
    assert isinstance(made, Run) and made.judged
    (made.path / "results.json").unlink()
    assert one(tmp_path / "elsewhere")["data_root"] == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("method", "settings", "cost"),
    [
        ("byol", {"hidden": 16}, 2.0),  # both views are learned from; what the twin looks at is not counted
        ("moco", {"queue": 64, "splits": 1}, 1.0),
        ("swav", {"local_crops": 4, "prototypes": 12, "hidden": 16}, None),
    ],
)
def test_what_an_item_costs_is_its_views_by_their_pixels(
    method: str, settings: dict[str, Any], cost: float | None, tmp_path: Path
) -> None:
    how = {name: value for name, value in SMALL.items() if name != "hidden"} | settings
    run = manyviews.pretrain(method, images(), out=tmp_path / "run", baselines=(), quiet=True, **how)
    sides = [
        view.size
        for view in run.build(run.seen(in_memory("x", torch.from_numpy(images()), None, None))).views().views
    ]
    assert sides == [16] * len(sides) if cost else sides == [16, 16] + [sides[-1]] * 4 and sides[-1] < 16
    assert run.settings["cost"] == (cost or 2 + 4 * (sides[-1] / 16) ** 2)


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="finds out which file is written as Linux tells"
)
@pytest.mark.parametrize("full", ["encoder.safetensors", "results.json", "report.html"])
def test_a_disk_that_is_full_at_the_end_loses_nothing(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fsync = os.fsync

    def no_space(number: int) -> None:
        if full in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    np.save(tmp_path / "images.npy", images())
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(images()):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "photos" / f"{i:02d}.png")
    out = tmp_path / "run"
    words = [
        "--net",
        "cifar_resnet8",
        "--size",
        "16",
        "--batch",
        "16",
        "--budget",
        "2steps",
        "--hidden",
        "16",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        said = refused(
            capsys,
            "pretrain",
            "byol",
            "--data",
            str(tmp_path / "photos"),
            *words,
            "--quiet",
            "--out",
            str(out),
        )
    assert "No space left" in said and f"manyviews resume {out}" in said
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")] and not (out / full).exists()
    main(["resume", str(out), "--quiet"])
    assert Run.open(out).judged and (out / "report.html").exists()


def test_a_comparison_that_is_refused_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "There is no folder or file" in refused(
        capsys, "compare", "simclr", "byol", "--data", "typo/photos"
    )
    assert not list(Path("runs").iterdir())


def test_first_weights_are_those_of_the_seed(tmp_path: Path) -> None:
    config, recipe = plan.base(find("simsiam"), "world")
    data = in_memory("x", torch.from_numpy(images()), None, None)

    def first(seed: int) -> torch.Tensor:
        how = replace(recipe, net="cifar_resnet8", size=16, seed=seed)
        about = {"method": "simsiam", "config": asdict(config), "recipe": asdict(how), "data": {"senses": {}}}
        encoder = Run(tmp_path, about).build(data).encoder
        return torch.nn.utils.parameters_to_vector(encoder.parameters())

    one = first(0)
    torch.rand(3)
    assert torch.equal(one, first(0)) and not torch.allclose(one, first(1))
