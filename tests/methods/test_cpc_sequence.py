"""CPC on sequences: eq. 4 over the right latents, and the whole way from a folder of WAV files to a report."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import manyviews
from manyviews import plan
from manyviews.data import ItemSet, open_data
from manyviews.data.sounds import from_waves
from manyviews.errors import ManyviewsError
from manyviews.evaluation import RawPixels, evaluate
from manyviews.method import Batch, Method, Spec, find
from manyviews.nets import net_factory
from manyviews.nets.waveform import Contexts
from manyviews.rng import generator
from shrink import noise

SIZE = 1280  # eight latents
SMALL: dict[str, Any] = {
    "net": "small_waveform", "size": SIZE, "batch": 8, "budget": "4steps", "context": 8, "steps": 2, "quiet": True,
}  # fmt: skip


def built(**settings: Any) -> Method:
    paper = find("cpc_sequence")
    torch.manual_seed(0)
    config = paper.config(context=8, **settings)
    return paper.method(config, net_factory("small_waveform", SIZE), Spec(items=4, size=SIZE)).double()


def batch(items: int = 3) -> Batch:
    x = torch.randn(items, 1, SIZE, generator=generator("cpc"), dtype=torch.float64)
    return Batch([x], torch.arange(items))


@pytest.mark.parametrize("negatives", ["batch", "own"])
def test_the_loss_is_eq_4_for_every_step_and_every_context_with_a_future(negatives: str) -> None:
    method = built(steps=3, negatives=negatives)
    net, (x,) = method.encoder, batch().views
    assert isinstance(net, Contexts)
    z = net.latents(x)
    c, d = net.contexts(z), z.shape[2]
    terms, right = [], {1: [], 2: [], 3: []}
    for b in range(3):
        for t in range(8 - 3):
            for k in range(1, 4):
                score = z @ (
                    method.W.weight[(k - 1) * d : k * d] @ c[b, t]
                )  # log f_k, for all latents [3, 8]
                others = score.flatten() if negatives == "batch" else score[b]
                place = t + k + (8 * b if negatives == "batch" else 0)
                terms.append(cross_entropy(others[None], torch.tensor([place])))
                right[k].append(float(others.argmax() == place))
    out = method.loss(batch(), 0.0)
    torch.testing.assert_close(out.loss, torch.stack(terms).mean())
    assert (
        set(out.log) == {"right", "right_first", "right_last"} and out.z is not None and out.z.shape == (3, 8)
    )
    for name, k in (("right_first", 1), ("right_last", 3)):
        assert out.log[name].item() == pytest.approx(sum(right[k]) / len(right[k]))
    weight = next(net.parameters())
    ours, plain = (torch.autograd.grad(x, weight)[0] for x in (out.loss, torch.stack(terms).mean()))
    torch.testing.assert_close(ours, plain)


def test_negatives_of_its_own_say_nothing_of_other_sounds() -> None:
    method, whole = built(steps=3, negatives="own"), batch(4)
    parts = [method.loss(Batch([whole.views[0][i : i + 1]], torch.tensor([i])), 0.0).loss for i in range(4)]
    torch.testing.assert_close(method.loss(whole, 0.0).loss, torch.stack(parts).mean())


def test_windows_too_short_for_the_steps_are_refused() -> None:
    with pytest.raises(
        ManyviewsError, match=r"A window of 1280 samples holds 8 latents, .* --size 2080 or more"
    ):
        built(steps=12)
    with pytest.raises(ManyviewsError, match="--steps is 0"):
        built(steps=0)


def write(path: Path, x: np.ndarray, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((x * 20000).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high notes of various lengths, some shorter than a window."""
    place, source = tmp_path_factory.mktemp("notes"), np.random.default_rng(0)
    for name, hertz in (("low", 300), ("high", 1200)):
        for k in range(14):
            t = np.arange(800 + 150 * k) / 8000
            x = np.sin(2 * np.pi * hertz * source.uniform(0.9, 1.1) * t) + 0.05 * source.standard_normal(
                len(t)
            )
            write(place / name / f"{k:02}.wav", x / 1.3)
    return place


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return manyviews.pretrain("cpc_sequence", folder, out=tmp_path_factory.mktemp("runs") / "run", **SMALL)


def test_a_folder_of_sounds_becomes_a_run_with_figures_and_a_report(run: Any) -> None:
    figures = run.results()["figures"]
    assert set(figures) == {"this encoder", "log spectrogram", "random encoder"}
    assert figures["log spectrogram"]["knn"]["top1"] > 0.9  # pitch is in plain sight there
    assert run.rate == 8000 and run.settings["data"]["kind"] == "sounds"
    page = (run.path / "report.html").read_text()
    assert page.count("data:image/webp") > 16 and "CPC on sequences" in page
    assert run.embed(torch.zeros(2, 1, 3000, dtype=torch.int16)).shape == (2, 8)


def test_what_was_learned_embeds_finds_and_is_judged(run: Any, folder: Path, tmp_path: Path) -> None:
    features = manyviews.embed(run, folder, out=tmp_path / "notes.npz")
    assert features.h_ND.shape == (28, 8) and torch.isfinite(features.h_ND).all()
    query = folder / "low" / "05.wav"
    found = manyviews.search(run, folder, query=query, k=3, sheet=tmp_path / "sheet.png")
    near = {one.path: one.distance for one in found}
    assert abs(near[str(query)]) < 1e-5 and (tmp_path / "sheet.png").stat().st_size > 0
    judged = manyviews.evaluate(
        run, folder, protocol=("finetune", "linear-sgd", "labelfree"),
        options={"finetune": {"epochs": 1}, "linear-sgd": {"epochs": 1}},
    )["figures"]  # fmt: skip
    assert set(judged) == {"finetune", "linear-sgd", "labelfree"}


def test_another_rate_is_brought_to_the_one_that_was_learned_from(
    run: Any, folder: Path, tmp_path: Path
) -> None:
    from manyviews.data.sounds import resampled

    for name in ("05", "09"):
        x = open_data(folder / "low" / f"{name}.wav").read(0)[0].numpy() / 32768
        write(tmp_path / f"{name}.wav", resampled(x, 8000, 16000) * 1.5, 16000)
    slow, fast = (manyviews.embed(run, where) for where in (folder / "low", tmp_path))
    cosine = torch.cosine_similarity(fast.h_ND, slow.h_ND[[5, 9]])
    assert cosine.min() > 0.999


def test_sets_on_disk_learn_as_those_in_memory_do(folder: Path) -> None:
    from manyviews.training.loop import Loop

    paper = find("cpc_sequence")
    config, recipe = plan.changed(
        paper, *plan.base(paper, "fsdd"), {k: v for k, v in SMALL.items() if k != "quiet"}
    )
    disk = open_data(folder)
    weights = []
    for data in (disk, disk.resident(10_000)):
        torch.manual_seed(0)
        spec = Spec(items=len(data), size=SIZE)
        method = paper.method(config, net_factory("small_waveform", SIZE), spec)
        Loop(method, data, recipe, workers=0).run()
        weights.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    assert torch.equal(*weights)


def test_items_of_the_other_kind_are_refused_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    images = noise("images", 16, "other")
    with pytest.raises(ManyviewsError, match=r"^cpc_sequence learns from sounds; noise holds images\.$"):
        manyviews.pretrain("cpc_sequence", images, out=tmp_path / "a", **SMALL)
    with pytest.raises(ManyviewsError, match=r"^simclr learns from images; .*notes\d* holds sounds\.$"):
        manyviews.pretrain("simclr", folder, out=tmp_path / "a", batch=8, quiet=True)
    with pytest.raises(ManyviewsError, match="the net resnet18 reads images: choose another --net"):
        manyviews.pretrain("cpc_sequence", folder, out=tmp_path / "a", **SMALL | {"net": "resnet18"})
    with pytest.raises(ManyviewsError, match="the net small_waveform reads sounds: choose another --net"):
        manyviews.pretrain("simclr", images, out=tmp_path / "a", net="small_waveform", batch=8, quiet=True)
    with pytest.raises(ManyviewsError, match=r"supervised baseline learns from images; .* leave it out"):
        manyviews.pretrain("cpc_sequence", folder, out=tmp_path / "a", baselines=("supervised",), **SMALL)
    with pytest.raises(ManyviewsError, match="places random crops of images"):
        manyviews.pretrain("cpc_sequence", folder, out=tmp_path / "b", crops="contrastive", **SMALL)
    assert not (tmp_path / "a").exists()


def test_a_run_refuses_what_its_encoder_was_not_made_for(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ManyviewsError, match=r"The encoder of .* reads sounds; noise holds images\."):
        manyviews.embed(run, noise("images", 16, "other"))
    with pytest.raises(ManyviewsError, match="is not a WAV file of PCM samples"):
        (tmp_path / "a.wav").write_text("no sound")
        manyviews.search(run, noise("sounds", 16, "other"), query=tmp_path / "a.wav")


def test_the_world_is_heard_where_a_method_hears() -> None:
    paper = find("cpc_sequence")
    for asked in ("world", "world-sounds"):
        config, recipe = plan.base(paper, asked)
        assert recipe.data == "world-sounds" and config == paper.recipes["world"][0]
    assert plan.default_data(paper, None) == "world-sounds"
    assert plan.recipe_name(paper, "birds/", None) == "fsdd"
    assert plan.base(find("simclr"), "world")[1].data == "world"


def test_all_methods_are_those_that_learn_from_such_data() -> None:
    from manyviews.comparing import _all_for

    heard, seen = (_all_for(noise(kind, 4, "all"), None) for kind in ("sounds", "images"))
    assert "cpc_sequence" in heard and "simclr" in seen and not set(heard) & set(seen)


def test_a_spectrogram_is_the_baseline_of_sounds() -> None:
    def tones(seed: int) -> ItemSet:
        source, t = np.random.default_rng(seed), np.arange(2000) / 8000
        labels = np.arange(40) % 2
        pitch = np.where(labels, 400, 1600) * source.uniform(0.95, 1.05, 40)
        return from_waves(0.5 * np.sin(2 * np.pi * pitch[:, None] * t), labels)

    found = evaluate(RawPixels(1000), tones(0), tones(1), protocols=("knn", "linear"))
    assert found["knn"]["top1"] == found["linear"]["top1"] == 1
