"""The folders of runs: who gets which, when two ask at once, and what they say of it elsewhere."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manyviews
from manyviews import comparing
from manyviews.errors import ManyviewsError
from manyviews.learn import free_folder
from manyviews.runs import Run

SMALL: dict[str, Any] = {"net": "cifar_resnet8", "size": 16, "batch": 16, "budget": "2steps", "hidden": 16}


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)


def test_no_two_runs_are_given_one_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: free_folder("byol", "photos/cats", tmp_path), range(40)))
    assert len(set(given)) == 40 and all(path.is_dir() for path in given)
    assert {path.name for path in given} == {"byol-photos", *(f"byol-photos-{i}" for i in range(2, 41))}


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
