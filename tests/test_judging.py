"""What a finished run is judged by, and what stands of that where a part of it fails or is asked for again."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import manyviews
from commands import answer
from manyviews import evaluation, judging
from manyviews.cli import main
from manyviews.data import ItemSet, in_memory, open_data
from manyviews.data.world import SPECIES
from manyviews.errors import ManyviewsError
from manyviews.evaluation import protocols
from manyviews.evaluation.baselines import RawPixels, raw
from manyviews.runs import Run
from pictures import drawn

SMALL: dict[str, Any] = {"net": "cifar_resnet8", "size": 16, "batch": 16, "budget": "2steps", "quiet": True}
OURS = "this encoder"


def pretrained(data: Any, out: Path, method: str = "byol", **more: Any) -> Run:
    own = {"hidden": 16} if method == "byol" else {}
    return manyviews.pretrain(method, data, out=out, **{**SMALL, "baselines": (), **own, **more})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures of the world in folders by species, wider than they are high."""

    def place(i: int) -> str:
        return f"{'test' if i % 3 == 0 else 'train'}/{SPECIES[i % 2]}"

    return drawn(tmp_path_factory.mktemp("photos"), 30, place, size=40, rows=slice(6, 30))


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(str(photos), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(scope="module")
def supervised(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "supervised"
    return pretrained(str(photos), out, "supervised", recipe="cifar_resnet").path


def test_what_the_encoder_is_worth_stands_whatever_becomes_of_the_baselines(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(judging, "raw", lambda *_: (_ for _ in ()).throw(MemoryError()))
        pretrained(str(photos), tmp_path / "run", baselines=("pixels",))
    run = manyviews.load(tmp_path / "run")
    assert run.results()["figures"].keys() == {OURS} and not run.judged
    again = manyviews.resume(tmp_path / "run", quiet=True)
    assert again.results()["figures"].keys() == {OURS, "raw pixels"} and again.judged
    assert again.results()["figures"][OURS] == run.results()["figures"][OURS]


def test_a_run_that_is_not_judged_has_its_encoder_and_is_judged_when_it_is_resumed(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    small = [f"--{name}={value}" for name, value in SMALL.items() if name != "quiet"]
    where = ("--data", str(photos), "--out", str(other))
    main(
        ["pretrain", "byol", *where, *small, "--hidden=16", "--baselines", "pixels", "--quiet", "--no-judged"]
    )
    said = capsys.readouterr().out
    assert "report" not in said and "encoder" in said and "knn" not in said
    alone = manyviews.load(other)
    assert alone.finished and not alone.judged and not (other / "report.html").exists()
    assert not manyviews.resume(other, quiet=True, judged=False).judged
    manyviews.resume(other, quiet=True)
    judged = manyviews.load(other)
    assert judged.judged and (other / "report.html").exists() and "raw pixels" in judged.results()["figures"]
    assert judged.results()["figures"][OURS] == manyviews.load(run).results()["figures"][OURS]


def test_of_very_many_labels_a_share_is_probed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MOST_PROBED", 8)
    figures = pretrained(str(photos), tmp_path / "run", baselines=("pixels",)).results()["figures"]
    for name in (OURS, "raw pixels"):
        assert (figures[name]["linear"]["labels"], figures[name]["knn"]["labels"]) == (8, 20)


def test_raw_pixels_of_many_or_large_images_stay_within_memory() -> None:
    def side(items: int, size: int) -> int:
        one = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        data = evaluation_set(one.expand(items, -1, -1, -1))
        (found,) = raw(data, size).values()
        assert isinstance(found, RawPixels)
        return found.size

    assert side(50_000, 32) == 32 and side(100, 224) == 64
    assert 4 * 3 * side(1_280_000, 224) ** 2 * 1_280_000 <= 2**30


def evaluation_set(values: Tensor) -> ItemSet:
    return ItemSet("many", range(len(values)), None, None, values, values.__getitem__)  # pyright: ignore[reportArgumentType]


def test_the_supervised_baseline_takes_no_more_memory_than_its_run_and_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"baselines": ("supervised",), "accumulate": 2, "precision": "bf16"}
    train, begun = Run.train, list[int]()

    def cut_short(run: Run, data: ItemSet, **how: Any) -> str:
        if run.path.name != "supervised":
            return train(run, data, **how)
        begun.append(len(run.metrics()))
        if len(begun) == 1:
            monkeypatch.setattr("manyviews.training.hooks.Interrupt.__call__", lambda _: True)
        try:
            return train(run, data, save_every=0.0, **how)
        finally:
            monkeypatch.setattr("manyviews.training.hooks.Interrupt.__call__", lambda self: self.asked)

    monkeypatch.setattr(Run, "train", cut_short)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(judging, "distributed", SimpleNamespace(started=lambda: 4))
        pretrained(str(photos), tmp_path / "run", **asked)
    run = manyviews.resume(tmp_path / "run", quiet=True)  # on one device
    assert begun[0] == 0 and begun[1] > 0  # it was not begun anew
    inner = manyviews.load(run.path / "supervised").recipe
    assert (inner.accumulate, inner.precision, inner.batch) == (8, "bf16", 16)
    assert "supervised" in run.results()["figures"]


def test_where_nothing_can_be_written_the_figures_are_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "results.json").read_bytes()
    for place in ("manyviews.runs.writable", "manyviews.worth.writable"):
        monkeypatch.setattr(place, lambda _: False)
    figures = manyviews.evaluate(run, protocol=["knn"])["figures"]
    assert 0 <= figures["knn"]["top1"] <= 1 and "cannot be written" in capsys.readouterr().err
    assert (run / "results.json").read_bytes() == before
    monkeypatch.setattr("manyviews.vectors.writable", lambda _: False)
    monkeypatch.setattr("manyviews.use.embed_all", lambda *_: pytest.fail("it was embedded for nothing"))
    with pytest.raises(manyviews.errors.ManyviewsError, match=r"v\.csv cannot be written"):
        manyviews.embed(run, "world", out=tmp_path / "v.csv")


@pytest.mark.parametrize("limit", [2**40, 0], ids=["in memory", "on disk"])
def test_dense_judges_whole_images_however_many_there_are(
    supervised: Path, photos: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = manyviews.load(supervised)
    assert kept.classifier is not None
    whole = open_data(photos, split="test")
    expected = evaluation.dense(kept.encoder, kept.classifier.head, whole, classes=2, size=16)
    monkeypatch.setattr("manyviews.data.sources.fits", lambda data, size: limit > 0)
    found = manyviews.evaluate(supervised, protocol=["dense", "single"])["figures"]
    assert found["dense"] == expected.as_dict() and found["single"]["n"] == len(whole)


def test_what_draws_nothing_is_computed_once_and_sets_are_embedded_once(
    run: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded, voted = list[str](), list[int]()
    embed_all, knn = protocols.embed_all, evaluation.knn

    def counted(embedder: Any, data: ItemSet, **how: Any) -> Any:
        embedded.append(data.name)
        return embed_all(embedder, data, **how)

    def vote(*args: Any, **how: Any) -> Tensor:
        voted.append(1)
        return knn(*args, **how)

    monkeypatch.setattr(protocols, "embed_all", counted)
    monkeypatch.setattr(protocols, "knn", vote)
    asked: Sequence[str] = ("--protocol", "knn", "linear", "--seeds", "3")
    figures = answer(capsys, "evaluate", str(run), *asked)["figures"]
    assert len(embedded) == 2 and len(voted) == 1
    assert figures["linear"]["seeds"] == 3 and {"top1_mean", "top1_std"} <= figures["linear"].keys()
    assert not {"top1_mean", "top1_std", "seeds"} & figures["knn"].keys()


def test_labels_without_names_are_no_classes_to_be_learned(photos: Path, tmp_path: Path) -> None:
    data = in_memory(
        "mine", torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8), torch.arange(32) % 2, None
    )
    with pytest.raises(ManyviewsError, match="no names for its classes: leave it out"):
        pretrained(data, tmp_path / "a", baselines=("supervised",))
    run = pretrained(data, tmp_path / "b")  # which says at each look what neighbours guess, all the same
    assert "knn" in run.metrics()[-1] and not (tmp_path / "a").exists()
