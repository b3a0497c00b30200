"""Whole commands, end to end, on a folder of pictures; and every way to ask for what cannot be."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import manyviews
from commands import answer, refused
from manyviews.cli import main
from manyviews.data import open_data
from manyviews.data.world import SPECIES, world
from manyviews.errors import Diverged, ManyviewsError
from manyviews.files import alone
from manyviews.runs import Run
from manyviews.tabled import best_first, told_apart
from manyviews.tabled import said as said_apart

pytestmark = pytest.mark.usefixtures("small_world")
SMALL = ["--net", "cifar_resnet8", "--size", "16", "--batch", "16", "--budget", "4steps"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of the world in folders by species."""
    folder = tmp_path_factory.mktemp("photos")
    data = world(items=60, size=24)
    assert data.values is not None and data.labels is not None
    for i, (image, label) in enumerate(zip(data.values, data.labels.tolist(), strict=True)):
        path = folder / SPECIES[label % 3] / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "byol"
    main(["pretrain", "byol", "--data", str(photos), *SMALL, "--hidden", "32", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def flat(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures without labels, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("flat")
    for path in photos.rglob("*.png"):
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def blind(flat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without labels, on pictures that it reads from disk."""
    out = tmp_path_factory.mktemp("blind") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manyviews.data.sources.fits", lambda *_: False)
        main(["pretrain", "simsiam", "--data", str(flat), *SMALL, "--workers", "0", "--out", str(out)])
    return out


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- what a user does ------------------------------------------------------------------------------------------------


def test_a_run_is_a_folder_that_explains_itself(run: Path, photos: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "run.json", "metrics.jsonl", "tensorboard", "checkpoints", "encoder.safetensors", "encoder.json", "results.json",
        "report.html",
    }  # fmt: skip
    settings = json.loads((run / "run.json").read_text())
    assert settings["method"] == "byol" and settings["config"]["hidden"] == 32
    assert settings["recipe"]["data"] == str(photos) and settings["data"]["items"] == 60
    assert "torch" in settings["versions"] and settings["command"].startswith(
        "manyviews pretrain byol --data"
    )
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 4 and {"loss", "lr", "knn", "rankme", "verdict"} <= rows[-1].keys()
    figures = json.loads((run / "results.json").read_text())["figures"]
    assert list(figures) == ["this encoder", "raw pixels", "random encoder"]
    page = (run / "report.html").read_text()
    assert "BYOL" in page and settings["command"].split()[0] in page


def test_evaluate(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run), "--data", str(photos), "--protocol", "knn", "linear", "labelfree"]
    figures = answer(capsys, *words)["figures"]
    assert figures.keys() == {"knn", "linear", "labelfree"}
    assert 0 <= figures["knn"]["top1"] <= 1 and figures["labelfree"]["state"]
    assert "evaluations" in json.loads((run / "results.json").read_text())
    several = answer(capsys, "evaluate", str(run), "--protocol", "linear", "--seeds", "2")
    assert several["figures"]["linear"]["seeds"] == 2
    short = ("--protocol", "scratch", "--option", "scratch.epochs=1")
    both = answer(capsys, "evaluate", str(run), *short, "--seeds", "2")["figures"]["scratch"]
    assert {f"{side}_{of}" for side in ("top1", "pretrained") for of in ("mean", "std")} <= both.keys()
    main(words)
    assert "labelfree: " in capsys.readouterr().out


def test_evaluate_without_labels(
    run: Path, tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, path in enumerate(photos.rglob("*.png")):
        (tmp_path / f"{i}.png").write_bytes(path.read_bytes())
    asked = ("evaluate", str(run), "--data", str(tmp_path))
    assert "has no labels" in refused(capsys, *asked, "--protocol", "knn")
    (figures,) = answer(capsys, *asked)["figures"].values()
    assert figures["n"] == 60 and figures["state"]


def test_without_labels_all_are_judged_and_all_say_the_same(
    blind: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = manyviews.load(blind).results()["figures"]
    assert figures.keys() == {"this encoder", "raw pixels", "random encoder"}
    assert all(0 <= row["labelfree"]["spread"] <= 1.1 for row in figures.values())

    copy = tmp_path / "run"
    shutil.copytree(blind, copy)
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if "verdict" in row:
            row["likeness"] = 0.99  # a collapse behind the encoder
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("manyviews.data.sources.fits", lambda *_: False)
    main(["resume", str(copy)])
    assert "collapsed: The method's own output" in " ".join(capsys.readouterr().out.split())
    kept = manyviews.load(copy).results()
    evaluated = answer(capsys, "evaluate", str(copy))["figures"]["labelfree"]
    for said in (kept["verdict"], kept["figures"]["this encoder"]["labelfree"], evaluated):
        assert said["state"] == "collapsed" and "median cosine 0.990" in said["sentence"]
    assert "median cosine 0.990" in (copy / "report.html").read_text()


def test_what_cannot_be_read_is_named_in_the_results(blind: Path) -> None:
    found = manyviews.load(blind).results()["skipped"]
    assert found["count"] == 2 and {Path(name).name for name in found["files"]} == {"a.png", "b.png"}


@pytest.mark.parametrize("suffix", ["parquet", "npz", "csv"])
def test_embed(
    run: Path, photos: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"vectors.{suffix}"
    assert answer(capsys, "embed", str(run), str(photos), "--out", str(out))["items"] == 60
    expected = manyviews.embed(run, photos).h_ND
    if suffix == "parquet":
        table = pq.read_table(out).to_pydict()
        paths, vectors = table["path"], np.array(table["vector"])
    elif suffix == "npz":
        table = np.load(out)
        paths, vectors = list(table["path"]), table["vector"]
    else:
        rows = [line.split(",") for line in out.read_text().splitlines()]
        assert rows[0][:3] == ["path", "label", "v0"]
        paths, vectors = [row[0] for row in rows[1:]], np.array([row[2:] for row in rows[1:]], float)
    assert len(paths) == 60 and all(Path(path).is_file() for path in paths)
    odd = photos.parent / os.fsdecode(b"odd \xff.png")  # a name that is not UTF-8
    shutil.copy(next(photos.rglob("*.png")), odd)
    try:
        assert answer(capsys, "embed", str(run), str(odd), "--out", str(out))["items"] == 1
    finally:
        odd.unlink()
    np.testing.assert_allclose(vectors, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_search_finds_the_picture_itself_first(run: Path, photos: Path, tmp_path: Path, capsys: Any) -> None:
    query, sheet = sorted(photos.rglob("*.png"))[7], tmp_path / "found.png"
    words = ["search", str(run), str(photos), "--query", str(query), "--k", "5", "--sheet", str(sheet)]
    found = answer(capsys, *words)["found"]
    assert len(found) == 5 and Path(found[0]["path"]) == query and abs(found[0]["distance"]) < 1e-5
    assert [one["distance"] for one in found] == sorted(one["distance"] for one in found)
    with Image.open(sheet) as picture:
        assert picture.width > 100


@pytest.mark.parametrize("to", ["safetensors", "onnx"])
def test_export(run: Path, tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "export", str(run), "--to", to, "--out", str(tmp_path / f"encoder.{to}"))
    assert Path(made["path"]).stat().st_size > 1000 and made["how"].startswith("import ")


def test_export_says_what_is_possible(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "onnx or safetensors" in refused(capsys, "export", str(run), "--to", "torchvision")


def test_compare_trains_side_by_side_and_goes_on_where_it_stopped(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c"
    words = ["compare", "simclr", "simsiam", "--data", str(photos), *SMALL, "--seeds", "1", "--out", str(out)]
    first = answer(capsys, *words, "--jobs", "2")
    assert first["methods"].keys() == {"simclr", "simsiam"}
    assert first["methods"]["simclr"]["kNN top-1"]["n"] == 1
    assert first["baselines"].keys() == {"raw pixels"}
    assert "kNN top-1, untrained" in first["methods"]["simsiam"]  # each method's own start
    assert len(first["states"]["simclr"]) == 1
    assert first["command"].startswith("manyviews compare simclr simsiam")
    assert "simsiam" in (out / "report.html").read_text()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("encoder.safetensors")}
    assert len(stamps) == 2
    shutil.rmtree(out / "simsiam-0")
    again = answer(capsys, *words)
    for name, row in first["methods"].items():  # one after the other, a run ends as it does side by side
        assert again["methods"][name]["kNN top-1"] == row["kNN top-1"]
    kept = {path: stamp for path, stamp in stamps.items() if path.parent.name != "simsiam-0"}
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert "--jobs is 0" in refused(capsys, *words, "--jobs", "0")


def test_machines_share_a_comparison_by_its_seeds(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "simclr", "simsiam", "--data", str(photos), *SMALL, "--seeds", "1"]
    here, there = tmp_path / "here", tmp_path / "there"
    theirs = answer(capsys, *words, "--first-seed", "1", "--out", str(there))
    assert theirs["seeds"] == [1] and manyviews.load(there / "simclr-1").recipe.seed == 1
    ours = answer(capsys, *words, "--out", str(here))
    for run in ("simclr-1", "simsiam-1"):
        shutil.copytree(there / run, here / run)
    stamps = {path: path.stat().st_mtime_ns for path in here.rglob("encoder.safetensors")}
    words[words.index("--seeds") + 1] = "2"
    both = answer(capsys, *words, "--out", str(here))
    assert stamps == {path: path.stat().st_mtime_ns for path in here.rglob("encoder.safetensors")}
    for name, row in both["methods"].items():
        alone = [found["methods"][name] for found in (ours, theirs)]
        for label in ("kNN top-1", "linear top-1, untrained", "items/s"):
            assert row[label]["values"] == [value for one in alone for value in one[label]["values"]]
    means = [row["kNN top-1"]["mean"] for row in both["methods"].values()]
    assert means == sorted(means, reverse=True)
    assert "--first-seed is -1" in refused(capsys, *words, "--first-seed", "-1")

    main([*words, "--out", str(here), "--markdown"])
    head, rule, *lines, _, told = capsys.readouterr().out.splitlines()
    assert told == said_apart(both["told_apart"]) and "| untrained: kNN, linear |" in head
    assert head.startswith("| method | kNN | linear | RankMe |") and head.count("|") == rule.count("|")
    assert [line.split(" | ")[0] for line in lines] == [
        f"| {name}" for name in [*both["methods"], "raw pixels"]
    ]
    main([*words, "--out", str(here)])
    assert said_apart(both["told_apart"]) in capsys.readouterr().out
    assert said_apart(both["told_apart"]) in (here / "report.html").read_text()
    assert f"| {means[0]:.1%} ± " in lines[0] and all(line.count("|") == head.count("|") for line in lines)


def test_the_best_is_told_apart_by_paired_seeds() -> None:
    table: dict[str, dict[str, list[float | None]]] = {
        "first": {"kNN top-1": [0.50, 0.60, 0.70]},
        "likewise": {"kNN top-1": [0.52, 0.59, 0.66]},
        "behind": {"kNN top-1": [0.40, 0.501, 0.60]},  # by as much under every seed
        "once": {"kNN top-1": [0.9, None, None]},  # what diverged under others is not the best
        "never": {"RankMe": [3.0, 3.0, 3.0]},
    }
    assert list(best_first(dict(reversed(table.items())))) == ["first", "likewise", "behind", "once", "never"]
    found = told_apart(table)
    assert found is not None and found["best"] == "first"
    assert (found["not from"], found["without"]) == (["likewise", "once"], ["never"])
    sentence = "Best by kNN: first; these seeds do not tell it from likewise, once; none of never."
    assert said_apart(found) == sentence
    assert (
        told_apart({name: {"kNN top-1": table[name]["kNN top-1"][:1]} for name in ("first", "behind")})
        is None
    )
    assert told_apart({"first": table["first"]}) is None and told_apart({"never": table["never"]}) is None
    alone = told_apart({name: table[name] for name in ("first", "behind")})
    assert alone is not None and said_apart(alone).endswith("these seeds tell it from each of the others.")


def test_a_comparison_of_texts_of_the_world_goes_on_and_is_judged_by_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_world: None
) -> None:
    words = ["compare", "simcse", "--budget", "2steps", "--batch", "8", "--size", "16", "--seeds", "1"]
    first = answer(capsys, *words, "--out", str(tmp_path / "c"))
    run = tmp_path / "c" / "simcse-0"
    (run / "results.json").unlink()  # as if it had stopped before it was judged
    assert answer(capsys, *words, "--out", str(tmp_path / "c"))["methods"] == first["methods"]
    assert manyviews.load(run).recipe.data == "world-riddles"
    judged = answer(capsys, "evaluate", str(run), "--data", "world", "--protocol", "knn")
    assert judged["figures"]["knn"]["top1"] == pytest.approx(first["methods"]["simcse"]["kNN top-1"]["mean"])


def test_compare_refuses_runs_of_other_settings(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "simclr", "--data", str(photos), *SMALL, "--seeds", "1", "--out", str(tmp_path / "c")]
    answer(capsys, *words)
    assert "is a run of other settings" in refused(capsys, *words, "--budget", "5steps")
    assert "is a run of other settings" in refused(capsys, *words, "--recipe", "world")


def test_what_diverges_is_a_result_of_a_comparison(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compare", "simclr", "--data", str(photos), *SMALL, "--seeds", "2", "--out", str(tmp_path / "c")]
    train = Run.train

    def ill(run: Run, *args: Any, **how: Any) -> str:
        if run.recipe.seed == 1:
            raise Diverged("The loss is nan")
        return train(run, *args, **how)

    monkeypatch.setattr(Run, "train", ill)
    found = answer(capsys, *words)
    assert found["methods"]["simclr"]["kNN top-1"]["n"] == 1
    assert found["methods"]["simclr"]["kNN top-1, untrained"]["n"] == 1  # of the first seed alone
    assert found["states"]["simclr"][1] == "diverged"
    monkeypatch.setattr(Run, "train", None)  # nothing is trained again
    assert answer(capsys, *words) == found
    assert "1 of 2 missing" in (tmp_path / "c" / "report.html").read_text()


def test_pixels_and_an_untrained_net_are_judged_though_the_run_diverged(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ill(run: Run, *args: Any, **how: Any) -> str:
        raise Diverged("The loss is nan")

    monkeypatch.setattr(Run, "train", ill)
    words = ["compare", "simclr", "--data", str(photos), *SMALL, "--seeds", "2", "--out", str(tmp_path / "c")]
    found = answer(capsys, *words)
    assert found["states"]["simclr"] == ["diverged", "diverged"]
    assert found["baselines"]["raw pixels"].keys() == {"kNN top-1", "linear top-1"}
    assert found["methods"]["simclr"].keys() == {"kNN top-1, untrained", "linear top-1, untrained"}
    assert "raw pixels" in (tmp_path / "c" / "report.html").read_text()
    assert answer(capsys, *words) == found


def test_compare_starts_from_the_recipe_that_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "simclr", "--data", str(photos), *SMALL, "--budget", "2steps", "--seeds", "1"]
    main([*words, "--recipe", "world", "--out", str(tmp_path / "c")])
    told = capsys.readouterr()
    assert "passes" in told.out and "of the data" not in told.err
    recipe = manyviews.load(tmp_path / "c" / "simclr-0").recipe
    assert (recipe.optimiser, recipe.lr) == ("adamw", 2e-3)
    assert "simclr has no recipe 'wrold'" in refused(capsys, *words, "--recipe", "wrold")
    assert "There is no method that learns" in refused(
        capsys, "compare", "--data", str(photos), "--recipe", "wrold"
    )
    main([*words, "--out", str(tmp_path / "d")])  # less than a pass, by a recipe for long runs
    assert "no method saw more than 67% of the data" in capsys.readouterr().err


def test_what_learned_labels_is_judged_by_items_that_it_did_not_see(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "labels")
    main(["pretrain", "supervised", "--data", str(photos), *SMALL, "--budget", "3ep", "--out", out])
    assert "20% of it is held out" in capsys.readouterr().err
    run = manyviews.load(out)
    assert run.metrics()[-1]["items"] == 3 * (48 // 16 * 16)  # of 60
    single = answer(capsys, "evaluate", out, "--protocol", "single", "knn")["figures"]
    assert single["knn"] == run.results()["figures"]["this encoder"]["knn"]
    answer(capsys, "evaluate", out, "--protocol", "linear")
    (kept,) = run.results()["evaluations"].values()
    assert kept.keys() == {"single", "knn", "linear"}  # what was found before stays


def test_a_test_split_that_cannot_be_read_is_said_and_not_replaced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data / "train")
    (data / "test" / SPECIES[0]).mkdir(parents=True)
    (data / "test" / SPECIES[0] / "torn.png").write_bytes(b"no image")
    words = ["pretrain", "supervised", "--data", str(data), *SMALL, "--out", str(tmp_path / "run")]
    assert "torn.png" in refused(capsys, *words)


def test_an_array_is_given_again_to_go_on(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)
    how: dict[str, Any] = {"net": "cifar_resnet8", "size": 16, "batch": 16, "baselines": (), "quiet": True}
    run = manyviews.pretrain("simclr", pixels, out=tmp_path / "run", budget="2steps", **how)
    settings = json.loads((run.path / "run.json").read_text())
    settings["recipe"]["budget"] = "4steps"
    (run.path / "run.json").write_text(json.dumps(settings))
    assert manyviews.resume(run.path, pixels, quiet=True).metrics()[-1]["step"] == 4


def test_labels_of_one_class_are_as_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)
    data, how = (
        (pixels, np.zeros(40, np.int64)),
        {"net": "cifar_resnet8", "size": 16, "batch": 16, "quiet": True},
    )
    out = tmp_path / "run"
    with pytest.raises(ManyviewsError, match="has only one class: leave it out of --baselines"):
        manyviews.pretrain("simclr", data, out=out, budget="2steps", baselines=("supervised",), **how)
    run = manyviews.pretrain("simclr", data, out=out, budget="2steps", baselines=("pixels",), **how)
    assert list(run.results()["figures"]["this encoder"]) == ["labelfree"]
    assert (out / "report.html").is_file()


def test_the_supervised_baseline_makes_do_with_what_is_not_held_out(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 3, 16, 16), dtype=np.uint8)
    run = manyviews.pretrain(
        "simclr", (pixels, np.arange(20) % 2), out=tmp_path / "run", net="cifar_resnet8", size=16, batch=20,
        budget="1steps", baselines=("supervised",), quiet=True, recipe="world",
    )  # fmt: skip
    assert run.results()["figures"]["supervised"]["knn"]["n"] == 4
    assert Run.open(run.path / "supervised").recipe.batch == 16


def test_every_method_that_can_use_the_net_of_a_comparison_does() -> None:
    from manyviews.comparing import _own  # pyright: ignore[reportPrivateUsage]
    from manyviews.method import find

    same = {"net": "cifar_resnet8", "size": 32}
    assert _own(find("supervised"), "cifar10", "world", same) == {}
    assert _own(find("igpt"), "cifar10", "world", {"net": "small_igpt/2x32", "size": 16}) == {}
    assert _own(find("igpt"), "cifar10", "world", same) == {"net": "small_igpt/6x64"}


def test_compare_takes_all_or_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert "either all methods or simclr, moco" in refused(capsys, "compare", "--all", "simclr", "moco")


def test_methods_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "methods")["moco"]["negatives"] == "a queue of past keys"
    main(["--help"])
    assert "pretrain" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "moco", "--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert "--momentum" in told and "eq. 2" in told


def test_the_same_in_python(photos: Path, run: Path, tmp_path: Path) -> None:
    made = manyviews.pretrain(
        "byol",
        data=photos,
        net="cifar_resnet8",
        size=16,
        batch=16,
        budget="4steps",
        hidden=32,
        recipe="cifar10",
        baselines=["pixels"],
        out=tmp_path / "r",
    )
    asked = "baselines=('pixels',), net='cifar_resnet8', size=16, batch=16, budget='4steps', hidden=32"
    assert made.settings["command"] == (
        f"manyviews.pretrain('byol', data={str(photos)!r}, out={str(made.path)!r}, recipe='cifar10', {asked})"
    )
    assert (made.path / "encoder.safetensors").read_bytes() == (run / "encoder.safetensors").read_bytes()
    vectors = manyviews.load(made.path).embed(torch.zeros(2, 3, 40, 30, dtype=torch.uint8))
    assert vectors.shape == (2, 64)


def test_the_world_is_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_world: None
) -> None:
    made = answer(capsys, "pretrain", "simclr", "--net", "cifar_resnet8", "--batch", "16", "--budget", "2steps",
                  "--size", "16", "--baselines", "supervised", "--out", str(tmp_path / "w"))  # fmt: skip
    assert made["figures"].keys() == {"this encoder", "supervised"}
    from manyviews.use import every_item

    again = every_item(manyviews.load(tmp_path / "w"), "world", None)  # as large as the run sees it
    assert again.values is not None and again.values.shape[-1] == 16


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        ("--devices --shard", ["byol", *SMALL, "--hidden", "32"]),
        ("torchrun", ["mae", "--recipe", "world", *SMALL[2:]]),  # which shows what it paints
    ],
)
def test_two_processes_learn_what_one_does(
    photos: Path, tmp_path: Path, way: str, asked: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    one, out = tmp_path / "one", str(tmp_path / "two")
    words = ["pretrain", *asked, "--data", str(photos), "--out"]
    main([*words, str(one), "--no-judged", "--quiet"])
    capfd.readouterr()
    words += [out, "--json"]
    if way != "torchrun":
        devices, *shard = way.split()
        main([*words, devices, "2", *shard, "--quiet"])
    else:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        subprocess.run([*torchrun, "-m", "manyviews", *words], check=True)
    said = capfd.readouterr()
    told = json.loads(said.out)  # once, and nothing else
    assert told["figures"] == manyviews.load(out).results()["figures"]
    assert ("items/s" in said.err) == (way == "torchrun")
    assert (tmp_path / "two" / "report.html").exists()
    shown = {path.name for path in (one / "pictures").glob("*")}
    assert shown == {path.name for path in (tmp_path / "two" / "pictures").glob("*")}
    assert bool(shown) == (asked[0] == "mae")
    made = manyviews.load(one)
    begun = made.build(open_data(str(photos), size=32)).encoder
    start, alone, both = (
        torch.cat([weight.detach().flatten() for weight in encoder.parameters()])
        for encoder in (begun, made.encoder, manyviews.load(tmp_path / "two").encoder)
    )
    assert (both - alone).norm() < 0.02 * (alone - start).norm() > 0


# -- interruption --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", ["1", "2"])
def test_ctrl_c_saves_and_exits_130_and_resume_finishes(photos: Path, tmp_path: Path, devices: str) -> None:
    out = tmp_path / "run"
    words = [sys.executable, "-m", "manyviews", "pretrain", "simclr", "--data", str(photos), *SMALL]
    process = subprocess.Popen(
        [*words, "--budget", "100000steps", "--devices", devices, "--out", str(out)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (out / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"manyviews resume {out}" in said and "Traceback" not in said
    steps = sorted(int(path.name.split("-")[1]) for path in (out / "checkpoints").glob("step-*.pt"))
    step = manyviews.load(out).metrics()[-1]["step"]
    assert steps == sorted({1, step})

    settings = json.loads((out / "run.json").read_text())
    settings["recipe"]["budget"] = f"{step + 2}steps"
    (out / "run.json").write_text(json.dumps(settings))
    main(["resume", str(out)])
    assert (out / "report.html").exists()


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pretrian"], "There is no command 'pretrian'; did you mean pretrain?"),
        (["pretrain", "simclp"], "There is no method 'simclp'; did you mean simclr"),
        (["pretrain", "--data", "x"], "Say the method first"),
        (["pretrain", "simclr", "--data", "cifar01"], "cifar10"),
        (["pretrain", "simclr", "--data", "no/such/folder"], "no/such/folder"),
        (["pretrain", "simclr", "--recipe", "mnist"], "has no recipe 'mnist'"),
        (["pretrain", "simclr", "--budget", "20"], "length with a unit"),
        (["pretrain", "simclr", "--batch", "1"], "--batch is 1"),
        (["pretrain", "simclr", "--lr", "0"], "--lr is 0"),
        (["pretrain", "simclr", "--warmup", "1"], "--warmup is 1"),
        (["pretrain", "simclr", "--batch", "16", "--accumulate", "3"], "does not split into 3"),
        (["pretrain", "simclr", "--baselines", "oracle"], "no baseline 'oracle'"),
        (["pretrain", "simclr", "--budget", "20m", "--epochs", "5"], "--budget 20m and --epochs 5 both say"),
        (
            ["pretrain", "simclr", "--budget", "20ep", "--epochs", "5"],
            "--budget 20ep and --epochs 5 both say",
        ),
        (["resume", "no/run"], "There is no run at no/run"),
        (["evaluate", "no/run"], "There is no run at no/run"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words: list[str], sentence: str, capsys: Any) -> None:
    assert sentence in refused(capsys, *words)


def test_requests_that_the_data_cannot_serve(photos: Path, run: Path, tmp_path: Path, capsys: Any) -> None:
    pretrain = ["pretrain", "simclr", "--data", str(photos), "--out", str(tmp_path / "x")]
    assert "larger than the data" in refused(capsys, *pretrain, "--batch", "512")
    assert "resnet18" in refused(capsys, *pretrain, "--batch", "16", "--net", "resnet19")
    assert not (tmp_path / "x").exists()
    flat = tmp_path / "flat"
    flat.mkdir()
    assert "is empty" in refused(capsys, *pretrain, "--data", str(flat))
    (flat / "note.txt").write_text("hello")
    assert "has no images" in refused(capsys, *pretrain, "--data", str(flat))
    Image.new("RGB", (9, 9)).save(flat / "one.png")
    words = ["pretrain", "supervised", "--data", str(flat), "--batch", "2"]
    assert "There is 1 item to learn from, and a batch has at least 2" in refused(capsys, *words)
    Image.new("RGB", (9, 9)).save(flat / "two.png")
    assert "needs labels" in refused(capsys, *words, "--out", str(tmp_path / "y"))
    words = ["pretrain", "simclr", "--data", str(flat), "--batch", "2", "--out", str(tmp_path / "y")]
    assert f"learns from labels, and {flat} has none" in refused(capsys, *words, "--baselines", "supervised")
    assert not (tmp_path / "y").exists()
    assert "knn" in refused(capsys, "evaluate", str(run), "--protocol", "kn")
    fraction = ["--option", "linear.label_fraction=10"]
    assert "must lie in (0, 1]" in refused(capsys, "evaluate", str(run), "--protocol", "linear", *fraction)
    assert "name a file to write" in refused(capsys, "export", str(run), "--to", "onnx", "--out", str(flat))
    assert "'.txt'" in refused(capsys, "embed", str(run), str(photos), "--out", "v.txt")
    under = str(flat / "note.txt" / "run")
    assert "name another place" in refused(capsys, *pretrain[:-1], under, "--batch", "16")
    assert "not an image" in refused(
        capsys, "search", str(run), str(photos), "--query", str(flat / "note.txt")
    )


HELP = "see `manyviews pretrain simclr --help`"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pretrain simclr --momentum 0.9", ["knows no setting 'momentum'; did you mean inertia? (byol, ", "moco,", HELP]),
        ("pretrain simclr --queue=9", ["simclr knows no setting 'queue'; ", "moco, ", f" have one; {HELP}"]),
        ("pretrain simclr --no-predictor", ["simclr knows no setting 'predictor'; ", "byol, ", HELP]),
        ("pretrain simclr --temprature 1", [f"no setting 'temprature'; did you mean temperature? ({HELP})"]),
        ("pretrain simclr world", [f"'world' is one word too many for manyviews pretrain simclr; {HELP}"]),
        ("evaluate run --protcol knn", ["manyviews evaluate has no option 'protcol'; did you mean protocol?"]),
        ("compare simclr --hidden 9", ["compare has no option 'hidden'; see `manyviews compare --help`"]),
        ("pretrain simclr --batch ten", ["--batch", "'ten'", HELP]),
        ("pretrain simclr --schedule foo", ["invalid choice 'foo' for argument '--schedule'", HELP]),
        ("search runs/a photos", ["Missing", "--query", "`manyviews search --help`"]),
        ("evaluate", ["Missing", "the run's folder", "`manyviews evaluate --help`"]),
        ("pretrain byol --min-area 0", ["View crop (share of the area) is (0.0, 1.0)"]),
        ("pretrain moco --queue 0", ["A queue needs room for at least one key"]),
        ("pretrain simsiam --layers 0", ["mlp needs a width for its input and one for its output"]),
        ("pretrain cpc --margin 8", ["--margin is 8; a crop of a patch of 8 is 0 to 7 pixels smaller"]),
        ("pretrain simclr --devices 0", ["--devices is 0"]),
        ("pretrain simclr --budget 1.000steps.5", ["is not a length with a unit"]),
        ("claims --scale gup", ["There is no scale 'gup'; there are laptop, gpu"]),
    ],
)  # fmt: skip
def test_an_option_that_there_is_not_is_one_sentence(
    words: str,
    says: list[str],
    capsys: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_world: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *words.split())
    assert all(part in said for part in says), said
    assert said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_run_is_never_overwritten_without_being_asked(
    run: Path, photos: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["pretrain", "byol", "--data", str(photos), *SMALL, "--hidden", "32"]
    before = (run / "results.json").read_bytes()
    assert "exists already" in refused(capsys, *words, "--out", str(run))
    assert (run / "results.json").read_bytes() == before
    (tmp_path / "precious").write_text("mine")
    for more in ([], ["--overwrite"]):
        assert "is no run" in refused(capsys, *words, "--out", str(tmp_path), *more)
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_is_to_be_overwritten_stays_until_the_new_run_can_begin(
    run: Path, photos: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    before = contents(copy)
    words = ["pretrain", "byol", "--data", str(photos), *SMALL, "--out", str(copy), "--overwrite"]
    assert "inertia of 1.5" in refused(capsys, *words, "--inertia", "1.5")
    assert "would never look for boxes" in refused(
        capsys, *words, "--crops", "contrastive", "--budget", "2steps"
    )
    assert "begins as or learns from" in refused(capsys, *words, "--init-from", str(copy))
    with monkeypatch.context() as inside:
        inside.chdir(copy)
        assert "is where this command runs" in refused(capsys, *words[:-2], ".", "--overwrite")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    assert "does not divide among 3 devices" in refused(capsys, *words)
    assert "A batch of 2 does not divide among 3 devices" in refused(capsys, *words, "--batch", "2")
    assert contents(copy) == before
    with pytest.raises(TypeError):
        Run.create(copy, {"no": object()}, overwrite=True)
    assert contents(copy) == before and list(tmp_path.iterdir()) == [copy]
    Run.create(copy, {"a": 1}, overwrite=True)
    assert contents(copy).keys() == {copy / "run.json"} and list(tmp_path.iterdir()) == [copy]


def test_a_run_that_breaks_says_what_is_left_of_it(photos: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["pretrain", "simclr", "--data", str(photos), *SMALL, "--out", str(tmp_path / "x")]
    said = refused(capsys, *words, "--lr", "1e30")
    assert "not finite" in said or "is nan" in said
    assert "step 1 is the last that was saved" in said
    assert [path.name[:15] for path in (tmp_path / "x" / "checkpoints").iterdir()] == ["step-0000000001"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_a_sentence(photos: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    full = partial(open, "/dev/full")
    monkeypatch.setattr("manyviews.training.hooks.open", lambda _, mode: full(mode), raising=False)
    out = tmp_path / "x"
    said = refused(capsys, "pretrain", "simclr", "--data", str(photos), *SMALL, "--out", str(out))
    assert f"{out / 'metrics.jsonl'}: No space left on device; free some space" in said
    assert f"`manyviews resume {out}`" in said


class OutOfMemoryError(RuntimeError):
    """torch's, which only a GPU raises."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "take it in pieces (--accumulate 4)",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "choose a smaller --batch",
        ),
        (MemoryError(), "Memory is too short"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "choose fewer --workers"),
        (
            OSError(errno.EIO, "Input/output error", "x/metrics.jsonl"),
            "x/metrics.jsonl: Input/output error; see to",
        ),
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n"),
    ],
)
def test_what_the_machine_lacks_is_a_sentence(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("manyviews.learn.pretrain", fails)
    assert says in refused(capsys, "pretrain", "simclr")


@pytest.mark.parametrize(
    "told", ["mat1 and mat2 shapes", "Caught RuntimeError in DataLoader worker process 0."]
)
def test_other_errors_stay_what_they_are(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError(told)

    monkeypatch.setattr("manyviews.learn.pretrain", fails)
    with pytest.raises(RuntimeError, match=told):
        main(["pretrain", "simclr"])


def test_fewer_workers_than_none_are_refused(photos: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["pretrain", "simclr", "--data", str(photos), *SMALL, "--out", str(tmp_path / "x")]
    assert "--workers is -1" in refused(capsys, *words, "--workers", "-1")
    assert not (tmp_path / "x").exists()


def test_damaged_runs_are_said(run: Path, tmp_path: Path, capsys: Any) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "encoder.safetensors").write_bytes((run / "encoder.safetensors").read_bytes()[:-100])
    assert "damaged" in refused(capsys, "evaluate", str(copy))
    torch.save({"w": torch.zeros(3)}, copy / "encoder.safetensors")
    assert "is a pickle" in refused(capsys, "evaluate", str(copy))
    (copy / "run.json").write_text("{")
    assert "not whole JSON" in refused(capsys, "evaluate", str(copy))


def test_data_that_changed_is_refused(photos: Path, tmp_path: Path, capsys: Any) -> None:
    mine = tmp_path / "photos"
    import shutil

    shutil.copytree(photos, mine)
    main(["pretrain", "simclr", "--data", str(mine), *SMALL, "--out", str(tmp_path / "run")])
    next(mine.rglob("*.png")).unlink()
    assert "not what the run began with: 60 items then, 59 now" in refused(
        capsys, "resume", str(tmp_path / "run")
    )


def test_a_finished_run_without_checkpoints_keeps_what_it_learned(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "checkpoints")
    before = (copy / "encoder.safetensors").read_bytes(), (copy / "metrics.jsonl").read_bytes()
    assert "this encoder" in answer(capsys, "resume", str(copy))["figures"]
    assert ((copy / "encoder.safetensors").read_bytes(), (copy / "metrics.jsonl").read_bytes()) == before


def test_two_commands_do_not_write_one_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with alone(copy / "run.json"):
        assert "Another process is at work on" in refused(capsys, "resume", str(copy))


def test_data_inside_a_run_are_not_overwritten(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.copytree(photos, copy / "photos")
    said = refused(
        capsys,
        "pretrain",
        "simclr",
        "--data",
        str(copy / "photos"),
        "--out",
        str(copy),
        "--overwrite",
        *SMALL,
    )
    assert "so --overwrite leaves it alone" in said and (copy / "photos").is_dir()


def test_options_of_what_is_not_asked_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "evaluate", str(run), "--protocol", "knn", "--option", "finetune.lr=1e-4")
    assert '"finetune" has options, and is not among the protocols' in said


def test_of_very_many_classes_there_is_a_report_without_a_table_of_all_pairs(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["manyviews.evaluation.scores"], "MOST", 2)
    answer(capsys, "pretrain", "simclr", "--data", str(photos), "--out", str(tmp_path / "run"), *SMALL)
    figures = Run.open(tmp_path / "run").results()["figures"]["this encoder"]["knn"]
    assert figures["confusion"] is None and (tmp_path / "run" / "report.html").is_file()


def test_a_recipe_for_a_gpu_is_said_to_be_one(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: Any, **__: Any) -> None:
        raise ManyviewsError("It begins.")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("manyviews.learn.pretrain", begun)
    words = ["pretrain", "byol", "--data", str(photos)]
    said = refused(capsys, *words)
    assert (
        "The recipe cifar10 is for a GPU, and here is none: --recipe world" in said and "It begins." in said
    )
    for more in (["--recipe", "world"], ["--net", "cifar_resnet8"], ["--quiet"]):
        assert "is for a GPU" not in refused(capsys, *words, *more)


def test_methods_are_compared_on_what_has_no_up_and_whose_colours_tell(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "compare",
        "simclr",
        "simsiam",
        "--data",
        str(photos),
        *SMALL,
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "c"),
    ]
    result = answer(capsys, *words, "--no-upright", "--no-mirror", "--colour", "0.3")
    assert (result["upright"], result["mirror"], result["colour"]) == (False, False, 0.3)
    for name in ("simclr", "simsiam"):
        recipe = manyviews.load(tmp_path / "c" / f"{name}-0").recipe
        assert (recipe.pose, recipe.colour) == ({"upright": False, "mirror": False}, 0.3)
    said = refused(capsys, *words)  # another comparison may not go on in the same folder
    assert "of other settings" in said
    words[1:3], words[-1] = ["simclr", "mae"], str(tmp_path / "d")  # whose views change no colours
    answer(capsys, *words, "--colour", "0.5", "--recipe", "world")
    assert [manyviews.load(tmp_path / "d" / f"{name}-0").recipe.colour for name in ("simclr", "mae")] == [
        0.5,
        1,
    ]
    words[1:3], words[-1] = ["mae", "dvae"], str(tmp_path / "e")
    assert "none of these methods makes any" in refused(capsys, *words, "--colour", "0.5")
    assert not (tmp_path / "e").exists()
