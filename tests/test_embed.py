"""Vectors lie beside what they are of, whatever could not be read; and what `encoder.safetensors` and exports make of an image."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

import manyviews
from commands import answer
from manyviews.data import read
from manyviews.data.world import SPECIES
from manyviews.views import MEAN, STD, short_side
from pictures import drawn


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of pictures, in whose midst some cannot be read."""
    folder = drawn(tmp_path_factory.mktemp("photos"), 30, lambda i: SPECIES[i % 2])
    for name in ("004b.png", "017b.png"):
        (folder / SPECIES[int(name[2]) % 2] / name).write_bytes(b"torn")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    how: dict[str, Any] = {
        "net": "resnet18/imagenet",
        "size": 32,
        "batch": 8,
        "budget": "1steps",
        "hidden": 16,
    }
    out = tmp_path_factory.mktemp("runs") / "run"
    return manyviews.pretrain("byol", str(photos), out=out, baselines=(), quiet=True, **how).path


def rows(path: Path) -> list[tuple[str, str, np.ndarray]]:
    if path.suffix == ".npz":
        file = np.load(path)
        return list(zip(file["path"], file["label"], file["vector"], strict=True))
    if path.suffix == ".parquet":
        return [
            (row["path"], row["label"], np.array(row["vector"])) for row in pq.read_table(path).to_pylist()
        ]
    with open(path, newline="") as file:
        _, *lines = csv.reader(file)
    return [(name, label, np.array(numbers, dtype=float)) for name, label, *numbers in lines]


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".csv"])
@pytest.mark.parametrize("streamed", [False, True])
def test_each_vector_lies_beside_its_own_name_and_label(
    run: Path, photos: Path, suffix: str, streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"vectors{suffix}"
    if streamed:
        monkeypatch.setattr("manyviews.data.sources.fits", lambda *_: False)
    manyviews.embed(run, str(photos), out=out)
    found, kept = rows(out), manyviews.load(run)
    assert len(found) == 30
    for name, label, vector in found:
        path = photos / Path(name).relative_to(photos) if Path(name).is_absolute() else photos / name
        assert path.is_file() and label == path.parent.name
        torch.testing.assert_close(
            torch.tensor(vector, dtype=torch.float32), kept.embed(read(path)[None])[0], rtol=1e-3, atol=1e-4
        )


def test_a_query_behind_a_torn_file_finds_itself(run: Path, photos: Path, tmp_path: Path) -> None:
    for query in (photos / SPECIES[0] / "028.png", photos / SPECIES[1] / "029.png"):
        best, *_ = manyviews.search(run, str(photos), query=query, k=2, sheet=tmp_path / "sheet.png")
        assert Path(best.path).name == query.name and best.distance < 1e-5


@pytest.mark.parametrize("to", ["onnx", "safetensors", "timm", "torchvision"])
def test_an_export_embeds_a_picture_that_is_prepared_as_the_docs_say(
    run: Path, photos: Path, to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Image.open(photos / SPECIES[0] / "002.png").resize((90, 60))
    picture.save(tmp_path / "wide.png")
    ours = manyviews.embed(run, str(tmp_path / "wide.png")).h_ND
    made = answer(
        capsys,
        "export",
        str(run),
        "--to",
        to,
        "--out",
        str(tmp_path / f"net{'.onnx' if to == 'onnx' else '.safetensors'}"),
    )
    there: dict[str, Any] = {}
    exec(made["how"], there)

    short = short_side(32)  # the shorter side to 8/7, the middle, then the mean and the deviation
    small = picture.resize((int(short * 1.5), short), Image.Resampling.BILINEAR)
    left, top = round((small.width - 32) / 2), round((short - 32) / 2)
    pixels = np.asarray(small.crop((left, top, left + 32, top + 32)), dtype=np.float32) / 255
    x = torch.from_numpy((pixels - np.float32(MEAN)) / np.float32(STD)).permute(2, 0, 1)[None]
    if to == "onnx":
        (theirs,) = there["session"].run(None, {"image": x.numpy()})
        theirs = torch.from_numpy(theirs)
    elif to == "safetensors":
        encoder = manyviews.load(run).encoder
        encoder.load_state_dict(there["weights"])
        theirs = encoder(x).detach()
        assert there["weights"].keys() == safetensors.torch.load_file(run / "encoder.safetensors").keys()
    else:
        theirs = there["model"].eval()(x).detach()
    torch.testing.assert_close(
        theirs, ours, rtol=0.05, atol=0.02
    )  # libraries round pixels each in its own way
