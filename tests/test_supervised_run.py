"""Supervised runs, end to end: what they keep, how they are tested, and how a run begins as another one ended."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import manyviews
from commands import answer, refused
from manyviews import nets, plan
from manyviews.cli import main
from manyviews.data import open_data
from manyviews.data.world import SPECIES, world
from manyviews.method import find
from manyviews.runs import Run, net_factory
from manyviews.views import plain

SMALL = ["--net", "cifar_resnet8", "--size", "16", "--batch", "16", "--budget", "4steps", "--baselines"]
STILL = ["--lr", "1e-30"]  # a step that leaves every weight where it is


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of the world by split and species: 48 to learn from, 12 to judge by."""
    folder = tmp_path_factory.mktemp("photos")
    data = world(items=60, size=24)
    assert data.values is not None and data.labels is not None
    for i, (image, label) in enumerate(zip(data.values, data.labels.tolist(), strict=True)):
        path = folder / ("test" if i % 5 == 0 else "train") / SPECIES[label % 3] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return folder


@pytest.fixture(scope="module")
def renamed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures, by classes of other names."""
    folder = tmp_path_factory.mktemp("renamed")
    for path in photos.rglob("*.png"):
        to = folder / path.parts[-3] / f"a_{path.parts[-2]}" / path.name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned by the padded crops of CIFAR-10's recipe, with AlexNet's colours."""
    out = tmp_path_factory.mktemp("runs") / "supervised"
    words = ["--recipe", "cifar_resnet", "--pca", "0.1", "--data", str(photos), *SMALL, "--out", str(out)]
    main(["pretrain", "supervised", *words])
    return out


# -- the classifier --------------------------------------------------------------------------------------------------


def test_a_classifier_is_kept_and_judged_in_four_ways(run: Path, photos: Path, capsys: Any) -> None:
    names = ["single", "ten-crop", "dense", "multi-scale"]
    figures = answer(capsys, "evaluate", str(run), "--protocol", *names)["figures"]
    assert list(figures) == names and all(figures[name]["n"] == 12 for name in names)
    kept, test = manyviews.load(run), open_data(photos, split="test", size=32)
    assert kept.classifier is not None and kept.classifier.classes == test.classes
    assert test.values is not None and test.labels is not None
    with torch.no_grad():
        said = kept.classifier.head(kept.encoder(plain(test.values, 16))).argmax(1)
    assert figures["single"]["top1"] == pytest.approx((said == test.labels).double().mean().item())
    main(["evaluate", str(run), "--protocol", *names])
    assert "multi-scale" in " ".join(capsys.readouterr().out.split())


def test_fine_tuning_begins_with_the_kept_head_where_the_classes_are_its_own(
    run: Path, renamed: Path, capsys: Any
) -> None:
    still = ["--option", "finetune.epochs=1", "finetune.lr=1e-30", "finetune.batch=16", "finetune.warmup=0.0"]
    words = ["evaluate", str(run), "--protocol", "finetune", *still]
    own = answer(capsys, *words)["figures"]["finetune"]
    assert own["kept_head"] and own["items"] == 48
    other = answer(capsys, *words, "--data", str(renamed))["figures"]["finetune"]
    assert not other["kept_head"]
    assert "are not those of" in refused(
        capsys, "evaluate", str(run), "--protocol", "single", "--data", str(renamed)
    )


def test_what_it_learned_from_is_no_test(photos: Path, tmp_path: Path, capsys: Any) -> None:
    out, flat = tmp_path / "run", str(photos / "train")
    main(["pretrain", "supervised", "--data", flat, *SMALL, "--out", str(out)])
    items = manyviews.load(out).settings["data"]["items"]
    for same in ([], ["--data", flat]):  # a fifth of it was held out
        found = answer(capsys, "evaluate", str(out), "--protocol", "ten-crop", *same)["figures"]["ten-crop"]
        assert 0 < found["n"] <= 0.25 * items
    run, data = manyviews.load(out), open_data(flat, size=32)
    again = Run(out, run.settings | {"recipe": run.settings["recipe"] | {"seed": 7}})
    assert (
        run.seen(data).names == again.seen(data).names
    )  # what begins as this run is judged by the same fifth
    settings = json.loads((out / "run.json").read_text())
    del settings["held_out"]  # a run of before that was so
    (out / "run.json").write_text(json.dumps(settings))
    for protocol in ("ten-crop", "linear"):
        assert "has no test split" in refused(capsys, "evaluate", str(out), "--protocol", protocol)
    other = answer(capsys, "evaluate", str(out), "--protocol", "ten-crop", "--data", str(photos / "test"))
    assert other["figures"]["ten-crop"]["n"] > 0


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("finetune.lr", "PROTOCOL.NAME=VALUE"),
        ("finetune.lr=fast", "a number"),
        ("finetune.rate=1", "no option"),
    ],
)
def test_options_that_cannot_be(run: Path, option: str, says: str, capsys: Any) -> None:
    assert says in refused(capsys, "evaluate", str(run), "--protocol", "finetune", "--option", option)


# -- beginning as another run ended ----------------------------------------------------------------------------------


def test_a_run_begins_as_another_one_ended(run: Path, photos: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "next"
    words = ["pretrain", "simclr", "--data", str(photos), *SMALL, *STILL, "--weight-decay", "0"]
    main([*words, "--init-from", str(run), "--out", str(out)])
    before, after = (dict(manyviews.load(path).encoder.named_parameters()) for path in (run, out))
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, atol=1e-7, rtol=0)
    assert json.loads((out / "run.json").read_text())["init_from"] == str(run.resolve())
    cost = answer(capsys, "evaluate", str(out), "--protocol", "scratch", "--option", "scratch.epochs=1")
    items = cost["figures"]["scratch"]["items"]
    assert items["pre-training"] == 4 * 16 * 2  # steps, images, views
    assert items["fine-tuning"] == 48 and items["scratch"] == 48 * 4  # 128 + 48 images, in whole passes
    with_file = [*words, "--init-from", str(run / "encoder.safetensors"), "--out", str(tmp_path / "file")]
    main(with_file)
    assert (tmp_path / "file" / "encoder.safetensors").exists()


def test_net_and_size_come_along_unless_they_are_said(run: Path, photos: Path, tmp_path: Path) -> None:
    words = ["pretrain", "simclr", "--data", str(photos), "--init-from", str(run), "--baselines"]
    words += ["--batch", "16", "--budget", "1steps", "--quiet"]
    main([*words, "--out", str(tmp_path / "same")])
    came = Run.open(tmp_path / "same").recipe
    assert (came.net, came.size) == ("cifar_resnet8", 16)
    usual = plan.base(find("simclr"), str(photos))[1].size
    main([*words, "--size", str(usual), "--out", str(tmp_path / "said")])
    assert Run.open(tmp_path / "said").recipe.size == usual != 16


def test_a_classifier_goes_on_where_the_classes_are_its_own(
    run: Path, photos: Path, renamed: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["pretrain", "supervised", *SMALL, *STILL, "--weight-decay", "0", "--init-from", str(run)]
    main([*words, "--data", str(photos), "--out", str(tmp_path / "same")])
    assert "drawn anew" not in capsys.readouterr().err
    main([*words, "--data", str(renamed), "--out", str(tmp_path / "other")])
    assert f"the classifier of {run} tells 3 classes apart" in (said := capsys.readouterr().err)
    assert said.count("so this run's is drawn anew") == 1
    before, same, other = (
        manyviews.load(path).classifier for path in (run, tmp_path / "same", tmp_path / "other")
    )
    assert before and same and other
    torch.testing.assert_close(same.head.state_dict(), before.head.state_dict(), atol=1e-7, rtol=0)
    assert not torch.allclose(other.head.weight, before.head.weight, atol=1e-2)


def test_a_momentum_twin_begins_as_the_encoder_does(run: Path, photos: Path) -> None:
    start = Run.open(run).encoder.cpu()
    settings = json.loads((run / "run.json").read_text())
    config, recipe = plan.base(find("byol"), "world")
    settings |= {"method": "byol", "config": vars(config), "recipe": vars(recipe) | settings["recipe"]}
    method = Run(run, settings).build(open_data(photos, size=32), start)
    stems = [tensor for name, tensor in method.state_dict().items() if name.endswith("conv1.weight")]
    same = [tensor for tensor in stems if torch.equal(tensor.cpu(), start.state_dict()["conv1.weight"])]
    assert len(same) >= 2  # the encoder's and its twin's


def test_a_deep_net_begins_with_the_layers_of_a_shallow_one() -> None:
    shallow = nets.build("vgg_a", size=32)
    deep = net_factory("vgg_b", 32, shallow)().state_dict()
    assert torch.equal(shallow.state_dict()["features.0.weight"], deep["features.0.weight"])
    assert len(deep) > len(shallow.state_dict())


def test_a_start_that_cannot_be_is_said_before_anything_is_written(
    run: Path, photos: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["pretrain", "simclr", "--data", str(photos), *SMALL, "--out", str(tmp_path / "x")]
    said = refused(capsys, *words, "--net", "cifar_resnet14", "--init-from", str(run))
    assert '"cifar_resnet14" cannot start from "cifar_resnet8"' in said
    assert "no weights at" in refused(capsys, *words, "--init-from", str(tmp_path / "nowhere"))
    assert not (tmp_path / "x").exists()


# -- what it says of images ------------------------------------------------------------------------------------------


def test_it_says_the_class_of_every_image(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, flat = manyviews.load(run), tmp_path / "flat"
    flat.mkdir()
    for path in (photos / "test").rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    (flat / "005b.png").write_bytes(b"no image")
    told = answer(capsys, "classify", str(run), str(flat), "--out", str(tmp_path / "classes.csv"))
    assert told["items"] == 12 and sum(told["labels"].values()) == 12 and told["skipped"]["count"] == 1
    with open(tmp_path / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == sorted(
        p.name for p in flat.iterdir() if p.name != "005b.png"
    )
    assert kept.classifier is not None
    for row in rows:
        image = torch.from_numpy(np.array(Image.open(flat / Path(row["path"]).name))).permute(2, 0, 1)
        with torch.no_grad():
            share = kept.classifier.head(kept.encoder(plain(image[None], 16))).softmax(1)[0]
        assert row["label"] == kept.classifier.classes[int(share.argmax())]
        assert float(row["probability"]) == pytest.approx(share.max().item(), abs=1e-4)
    found = manyviews.classify(run, flat, out=tmp_path / "classes.parquet")
    table = pq.read_table(tmp_path / "classes.parquet").to_pylist()
    assert [(one.path, one.label, one.probability) for one in found] == [tuple(row.values()) for row in table]
    main(["classify", str(run), str(flat), "--out", str(tmp_path / "again.csv")])
    assert "12 items in" in capsys.readouterr().out


def test_classes_that_nobody_learned_are_not_told(
    photos: Path, run: Path, tmp_path: Path, capsys: Any
) -> None:
    main(
        ["pretrain", "byol", "--data", str(photos), *SMALL, "--hidden", "16", "--out", str(tmp_path / "byol")]
    )
    assert "has learned no classes" in refused(capsys, "classify", str(tmp_path / "byol"), str(photos))
    assert "written as '.npz'" in refused(capsys, "classify", str(run), str(photos), "--out", "x.npz")
