"""Encoders that no run here learned, used as a run's is: pretrained nets, and files that were handed over."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

import manyviews
from commands import answer, refused
from manyviews.data.sounds import from_waves
from manyviews.data.world import SPECIES, world
from manyviews.errors import ManyviewsError
from manyviews.nets import build
from manyviews.nets.interop import save_encoder
from manyviews.views import plain
from pictures import drawn

NET = "torchvision/resnet18"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen pictures of the world in folders by species."""
    return drawn(tmp_path_factory.mktemp("photos"), 18, lambda i: SPECIES[i % 3])


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """What stands for torchvision's weights; commands run in an empty folder."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    torch.manual_seed(7)
    net = models.resnet18()
    name = models.ResNet18_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(net.state_dict(), tmp_path / "hub" / "checkpoints" / name)
    net.fc = nn.Identity()
    return net.eval()


def test_a_pretrained_net_is_judged_embeds_and_searches(
    theirs: nn.Module, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = answer(capsys, "evaluate", NET, "--data", str(photos), "--protocol", "knn", "labelfree")
    assert told["run"] == NET and told["data"] == str(photos)
    assert told["figures"]["knn"].keys() >= {"top1"} and "sentence" in told["figures"]["labelfree"]
    assert not list(Path().iterdir())  # nothing is entered anywhere

    features = manyviews.embed(NET, photos, out="vectors.npz")
    images = torch.stack(list(world(items=18, size=24).values))  # pyright: ignore[reportArgumentType]
    order = [sorted(range(18), key=lambda i: (SPECIES[i % 3], i)).index(i) for i in range(18)]
    with torch.no_grad():
        expected = theirs(plain(images, 224))
    torch.testing.assert_close(features.h_ND[order], expected, rtol=1e-3, atol=1e-4)

    query = next(photos.rglob("*.png"))
    found = answer(capsys, "search", NET, str(photos), "--query", str(query), "--k", "2")["found"]
    assert photos / found[0]["path"] == query and found[0]["distance"] < 1e-5
    assert Path("search.png").is_file()


def test_it_is_handed_over_where_it_is_told(theirs: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--out" in refused(capsys, "export", NET, "--to", "timm")
    made = answer(capsys, "export", NET, "--to", "timm", "--out", "resnet.safetensors")
    world: dict[str, nn.Module] = {}
    exec(made["how"], world)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(world["model"].eval()(image), theirs(image), rtol=1e-4, atol=1e-5)


def test_it_is_fine_tuned_and_beside_it_a_net_from_scratch_whose_cost_is_told(
    theirs: nn.Module, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", NET, "--data", str(photos), "--protocol", "scratch"]
    assert "pre-training cost is not known" in refused(capsys, *asked)


def test_an_encoders_file_needs_no_run(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--net", "cifar_resnet8", "--size", "16", "--batch", "8", "--budget", "2steps", "--hidden", "16"]
    out = tmp_path / "run"
    answer(capsys, "pretrain", "byol", "--data", str(photos), *words, "--baselines", "--out", str(out))
    file = tmp_path / "elsewhere.safetensors"
    shutil.copy(out / "encoder.safetensors", file)
    ours, same = manyviews.embed(out, photos), manyviews.embed(file, photos)
    assert torch.equal(ours.h_ND, same.h_ND)
    told = answer(capsys, "evaluate", str(file), "--data", str(photos), "--protocol", "linear")
    assert told["run"] == str(file)
    kept = answer(capsys, "evaluate", str(out), "--data", str(photos), "--protocol", "linear")
    assert told["figures"]["linear"] == kept["figures"]["linear"]


def test_what_cannot_be_is_a_sentence(
    theirs: nn.Module, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "say with --data" in refused(capsys, "evaluate", NET)
    assert "no weights called" in refused(capsys, "embed", "timm/vit_tiny_patch16_224.foo", str(photos))
    assert "--net torchvision/resnet18 --pretrained torchvision" in refused(
        capsys, "classify", NET, str(photos)
    )
    assert "did you mean" in refused(capsys, "evaluate", "torchvision/resnet81", "--data", str(photos))
    assert "There is no run at" in refused(capsys, "evaluate", "library/resnet18", "--data", str(photos))
    with pytest.raises(ManyviewsError, match=r"resnet18 reads images; .* holds sounds"):
        manyviews.embed(NET, torch.zeros(4, 900, dtype=torch.int16))
    texts = build("bert_tiny", in_channels=40, size=16)
    save_encoder(tmp_path / "texts.safetensors", texts, {})
    assert "folder of its run" in refused(capsys, "embed", str(tmp_path / "texts.safetensors"), str(photos))


def test_a_run_in_a_folder_of_that_name_is_the_run(theirs: nn.Module, photos: Path) -> None:
    words = {"net": "cifar_resnet8", "size": 16, "batch": 8, "budget": "2steps", "hidden": 16}
    manyviews.pretrain("byol", photos, out=NET, baselines=(), quiet=True, **words)
    assert manyviews.load(NET).size == 16 and manyviews.load(NET).settings["method"] == "byol"


def test_an_encoders_file_of_sounds_says_at_which_rate_it_hears(tmp_path: Path) -> None:
    waves = replace(from_waves(torch.randint(-3000, 3000, (24, 4000), dtype=torch.int16)), rate=8000)
    how = {"net": "small_waveform", "size": 2240, "batch": 8, "budget": "1steps", "context": 8}
    run = manyviews.pretrain("cpc_sequence", waves, out=tmp_path / "run", baselines=(), quiet=True, **how)
    file = shutil.copy(run.path / "encoder.safetensors", tmp_path / "ears.safetensors")
    assert manyviews.load(file).rate == manyviews.load(run.path).rate == 8000
    save_encoder(tmp_path / "deaf.safetensors", run.encoder, {})
    with pytest.raises(ManyviewsError, match="at which rate"):
        manyviews.load(tmp_path / "deaf.safetensors")
