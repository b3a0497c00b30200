"""Segmentation: the figures against plain loops, void that counts for nothing, a net that learns eight images by heart."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix, jaccard_score
from torch import Tensor

import manyviews
from manyviews import nets
from manyviews.cli import main
from manyviews.data import ItemSet, in_memory
from manyviews.data.world import SPECIES, world
from manyviews.errors import Diverged, ManyviewsError
from manyviews.evaluation import evaluate
from manyviews.evaluation.batches import Plan
from manyviews.evaluation.segmentation import (
    Segmenter,
    _seen,
    confusion,
    decoder,
    overlap,
    paint,
    pixel_loss,
    segment,
)
from manyviews.nets import Encoder
from manyviews.nets.grids import Grid, grid_of
from manyviews.rng import generator
from manyviews.views import View, Views, picture

NAMES = ("a", "b", "c", "d", "e")
SIZE = 16


def squares(items: int, *, seed: int = 0, height: int = SIZE, width: int = SIZE, void: int = 0) -> ItemSet:
    """A red or blue rectangle on green, under noise; ``void`` rows of pixels on top have no class, whatever is there."""
    draw = generator(seed, "squares")
    ids = torch.zeros(items, height, width, dtype=torch.uint8)
    for k in range(items):
        top, left = (int(torch.randint(0, side // 2, (1,), generator=draw)) for side in (height, width))
        ids[k, top : top + height // 2, left : left + width // 2] = 1 + k % 2
    colours = torch.tensor([[60, 200, 60], [220, 50, 50], [50, 50, 220]])
    pixels = colours[ids.long()].permute(0, 3, 1, 2) + 20 * torch.randn(
        items, 3, height, width, generator=draw
    )
    ids[:, :void] = 255
    data = in_memory(
        f"squares{seed}", pixels.clamp(0, 255).to(torch.uint8), None, None, {"classes": ids[:, None]}
    )
    return replace(data, pixel_classes=("grass", "red", "blue"))


def small_net(name: str = "cifar_resnet8") -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nets.build(name, size=SIZE)


# -- figures ---------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_a_plain_double_loop_and_of_scikit_learn():
    draw = generator("figures")
    ids = torch.randint(0, 4, (3, 9, 7), generator=draw).to(torch.uint8)
    said = torch.randint(0, 4, (3, 9, 7), generator=draw)
    said[said == 3] = 2  # d is there and never said; e neither
    ids[torch.rand(3, 9, 7, generator=draw) < 0.2] = 255
    table = confusion(ids, said, 5)
    found = overlap(table, NAMES)
    hit, union, right, total = [0] * 5, [0] * 5, 0, 0
    for true, guess in zip(ids.flatten().tolist(), said.flatten().tolist(), strict=True):
        if true == 255:
            continue
        total, right = total + 1, right + (true == guess)
        hit[true] += true == guess
        for k in {true, guess}:
            union[k] += 1
    due = {name: h / u if u else None for name, h, u in zip(NAMES, hit, union, strict=True)}
    assert found.iou == pytest.approx(due) and found.iou["d"] == 0 and found.iou["e"] is None
    assert found.miou == pytest.approx(sum(v for v in due.values() if v is not None) / 4)
    assert found.pixel_accuracy == right / total and found.pixels == total
    true, guess = ids[ids != 255].numpy(), said[ids != 255].numpy()
    assert table.tolist() == confusion_matrix(true, guess, labels=range(5)).tolist()
    assert found.miou == pytest.approx(jaccard_score(true, guess, average="macro"))


def test_void_adds_nothing_to_the_loss():
    logits = torch.randn(2, 3, 4, 4, generator=generator("loss"), requires_grad=True)
    ids = torch.randint(0, 3, (2, 4, 4), generator=generator("truth"))
    ids[:, :2] = 255
    loss = pixel_loss(logits, ids)
    assert torch.allclose(loss, F.cross_entropy(logits[:, :, 2:], ids[:, 2:]))
    loss.backward()
    assert logits.grad is not None and not logits.grad[:, :, :2].any() and logits.grad[:, :, 2:].all()
    assert pixel_loss(logits, torch.full_like(ids, 255)) == 0


def test_void_is_not_judged():
    train, test = squares(16, void=6), squares(8, seed=1, void=6)
    settings = {"size": SIZE, "epochs": 2, "batch": 8, "width": 8}
    found = segment(small_net(), train, test, **settings)
    assert found.overlap.pixels == 8 * SIZE * (SIZE - 6)
    with pytest.raises(ManyviewsError, match="No pixel of the test images has a class"):
        segment(small_net(), train, squares(8, seed=1, void=SIZE), **settings)


# -- what is seen ----------------------------------------------------------------------------------------------------


def test_classes_follow_the_images_that_are_learned_from():
    """The images are the classes painted, so that the classes of a crop, painted, are the crop again."""
    data = squares(8, height=40, width=60)
    painted = torch.stack([paint(ids[0]) for ids in data.senses["classes"]])
    data = replace(data, values=painted)
    views, plan = Views(View(size=24, crop=(0.2, 0.6))), Plan(2, 4, 0, "segment")
    steps = [_seen(data, views, plan, step, torch.device("cpu")) for step in range(4)]
    for x, ids in steps:
        shown, due = picture(x).long(), torch.stack([paint(one) for one in ids]).long()
        alike = ((shown - due).abs() <= 2).all(1)  # elsewhere the picture is a mixture, on a border
        assert alike.float().mean() > 0.85
    assert not torch.equal(steps[0][1], steps[2][1])


def test_the_decoder_doubles_up_to_the_pixels():
    for height, size, doublings in ((4, 32, 3), (7, 224, 5), (8, 8, 0), (6, 32, 3)):
        head = decoder(Grid(5, height, height, pooled=True), size, 3, 4).eval()
        assert head(torch.zeros(2, 5, height, height)).shape == (2, 3, *[height * 2**doublings] * 2)
    for name in ("cifar_resnet8", "vit_ti4"):
        net = small_net(name)
        head = decoder(grid_of(net, SIZE, "a test"), SIZE, 3, 4)
        assert Segmenter(net, head, frozen=False)(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 3, SIZE, SIZE)


# -- learning --------------------------------------------------------------------------------------------------------


def test_eight_images_are_learned_by_heart():
    data = squares(8)
    still = View(size=SIZE, crop=None, flip=0)
    found = segment(small_net(), data, data, size=SIZE, epochs=40, batch=8, lr=5e-3, width=16, view=still)
    assert found.overlap.miou > 0.95 and found.loss < 0.3  # it began at log 3
    assert found.as_dict()["iou"].keys() == {"grass", "red", "blue"} and found.images == 8
    assert found.pictures.shape == (8, 3, 3, SIZE, SIZE) and torch.equal(found.pictures[:, 0], data.values)
    due = torch.stack([paint(ids[0]) for ids in data.senses["classes"]])
    assert torch.equal(found.pictures[:, 1], due)
    assert (found.pictures[:, 2] == due).all(1).float().mean() > 0.95


def test_a_frozen_encoder_stays_and_a_linear_classifier_learns():
    net, train, test = small_net().train(), squares(32), squares(16, seed=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    found = segment(net, train, test, size=SIZE, frozen=True, epochs=15, batch=16, lr=1e-2)
    after = found.segmenter.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert found.overlap.miou > 0.5
    assert sum(p.numel() for p in found.segmenter.head.parameters()) == 3 * net.width + 3
    tuned = segment(net, train, test, size=SIZE, epochs=1, width=8)
    changed = tuned.segmenter.encoder.state_dict()
    assert not any(torch.equal(before[name], changed[name]) for name in before if name.endswith("weight"))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.training and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_seed_says_all(frozen: bool):
    train, test = squares(16), squares(4, seed=1)
    runs = []
    for seed in (0, 0, 1):
        torch.rand(3)
        found = segment(
            small_net(), train, test, size=SIZE, epochs=2, batch=8, width=8, frozen=frozen, seed=seed
        )
        runs.append((found.loss, found.as_dict(), list(found.segmenter.state_dict().values())))
    assert runs[0][:2] == runs[1][:2] and all(map(torch.equal, runs[0][2], runs[1][2]))
    assert runs[0][0] != runs[2][0]


def test_layers_learn_at_their_rates():
    """With a share of 0, whatever lies below the decoder stands still."""
    net, data = small_net(), squares(8)
    found = segment(net, data, data, size=SIZE, epochs=1, batch=8, width=8, layer_decay=0.0)
    before, after = dict(net.named_parameters()), dict(found.segmenter.encoder.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_judged_on_the_centre_square_at_the_resolution_of_the_labels():
    train, test = squares(8, height=24, width=40), squares(6, seed=1, height=24, width=40)
    found = segment(small_net(), train, test, size=SIZE, epochs=1, batch=8, width=8)
    assert found.overlap.pixels == 6 * 24 * 24 and found.pictures.shape == (6, 3, 3, 24, 24)
    said = _said(found.segmenter, test, 24)
    due = overlap(confusion(test.senses["classes"][:, 0, :, 8:32], said, 3), ("grass", "red", "blue"))
    assert found.overlap.as_dict() == due.as_dict()


def _said(segmenter: Segmenter, data: ItemSet, side: int) -> Tensor:
    assert data.values is not None
    centre = Views(View(size=SIZE, crop=None, flip=0))
    with torch.no_grad():
        (x,) = centre(data.values, centre.draw(len(data), 5))
        return F.interpolate(segmenter(x), (side, side), mode="bilinear").argmax(1)


# -- the one door ----------------------------------------------------------------------------------------------------


def test_by_name_beside_others():
    data = replace(squares(20), labels=torch.arange(20) % 2, classes=("red", "blue"))
    shown: dict[str, Tensor] = {}
    options = {"segment": {"epochs": 1, "width": 8}, "segment-linear": {"epochs": 1}}
    names = ["knn", "segment", "segment-linear"]
    figures = evaluate(
        small_net(), data, None, protocols=names, size=SIZE, options=options, show=shown.__setitem__
    )
    assert list(figures) == names and json.loads(json.dumps(figures)).keys() == figures.keys()
    assert [figures[name]["images"] for name in names[1:]] == [16, 16]  # a fifth is held out
    assert [title.split(" - ")[0] for title in shown] == [
        "segmentation of squares0",
        "linear segmentation of squares0",
    ]
    with pytest.raises(ManyviewsError, match='"segment-linear" has no option "classes"'):
        evaluate(small_net(), data, None, protocols=names, options={"segment-linear": {"classes": 3}})


def test_what_cannot_be_is_said(blobs, net):
    data, plain = squares(8), blobs(8, seed=0)

    def asked(train: ItemSet, test: ItemSet | None = None, **options: float) -> None:
        evaluate(small_net(), train, test, protocols=["segment"], size=SIZE, options={"segment": options})

    with pytest.raises(
        ManyviewsError, match=r'blobs0 has no class of every pixel, which "segment" needs; the world'
    ):
        asked(plain)
    with pytest.raises(ManyviewsError, match="needs images to learn from"):
        evaluate(small_net(), None, data, protocols=["segment"], size=SIZE)
    with pytest.raises(ManyviewsError, match="SmallNet has none"):
        evaluate(net, data, None, protocols=["segment"], size=SIZE)
    with pytest.raises(ManyviewsError, match='"segment" needs a net with a feature grid'):
        segment(NoGrid(), data, data, size=SIZE)
    many = replace(data, pixel_classes=tuple(str(k) for k in range(256)))
    with pytest.raises(ManyviewsError, match="names 256 classes of pixels, but an id is a byte"):
        asked(many)
    with pytest.raises(ManyviewsError, match="have the class 2, but there are 2 classes"):
        asked(replace(data, pixel_classes=("grass", "red")))
    with pytest.raises(ManyviewsError, match="differ"):
        asked(data, replace(squares(4, seed=1), pixel_classes=("a", "b", "c")))
    with pytest.raises(ManyviewsError, match="only one class"):
        asked(replace(data, senses={"classes": torch.zeros_like(data.senses["classes"])}))
    with pytest.raises(ManyviewsError, match=r"one id each, \[N, 1, H, W\], not 3"):
        asked(replace(data, senses={"classes": data.senses["classes"].expand(-1, 3, -1, -1)}))
    with pytest.raises(ManyviewsError, match="rate is positive"):
        asked(data, lr=0.0)
    with pytest.raises(Diverged, match="diverged at step"):
        asked(data, lr=1e30, batch=4)


class NoGrid(Encoder):
    """An encoder that gives an embedding and no map."""

    def __init__(self) -> None:
        super().__init__(3)
        self.scale = torch.nn.Parameter(torch.ones(3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean(dim=(2, 3)) * self.scale


def test_ids_without_names_are_called_by_their_numbers():
    data = replace(squares(8), pixel_classes=None)
    found = segment(small_net(), data, data, size=SIZE, epochs=1, batch=8, width=8)
    assert list(found.overlap.iou) == ["0", "1", "2"]


# -- whole commands --------------------------------------------------------------------------------------------------


def test_a_run_is_judged_on_the_world_and_on_camvid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "data" / "camvid" / "CamVid"
    write_camvid(folder)
    monkeypatch.setattr(importlib.import_module("manyviews.data.world"), "ITEMS", {"train": 48, "test": 16})
    run = manyviews.pretrain(
        "byol", world(items=40, size=16), out=tmp_path / "run", net="cifar_resnet8", size=16, batch=16, budget="2steps",
        baselines=(), quiet=True, hidden=16,
    )  # fmt: skip
    words = ["evaluate", str(run.path), "--data-root", str(tmp_path / "data"), "--json", "--protocol"]
    quick = ["--option", "segment.epochs=1", "segment.width=8"]

    def figures(*more: str) -> dict:
        capsys.readouterr()
        main([*words, *more, *quick, *(["segment-linear.epochs=1"] if "segment-linear" in more else [])])
        return json.loads(capsys.readouterr().out)["figures"]

    found = figures("knn", "segment", "--data", "world")
    assert list(found["segment"]["iou"]) == ["background", *SPECIES] and found["segment"]["images"] == 48
    assert found["segment"]["pixels"] == 16 * 16 * 16 and "top1" in found["knn"]
    found = figures("segment", "segment-linear", "--data", "camvid", "--seeds", "2")
    assert found["segment"]["images"] == 4 and len(found["segment"]["iou"]) == 11
    assert found["segment-linear"]["seeds"] == 2 and found["segment-linear"]["miou_std"] >= 0
    assert sorted(file.name for file in (run.path / "pictures").glob("*segment*")) == [
        "linear segmentation of camvid - image, truth, prediction.png",
        "segmentation of camvid - image, truth, prediction.png",
        f"segmentation of {world(items=1).name.partition('/')[0]} - image, truth, prediction.png",
    ]
    assert json.loads((run.path / "results.json").read_text())["evaluations"].keys() >= {"camvid/train"}
    with pytest.raises(SystemExit):
        main([*words, "segment", "--data", str(folder / "train")])
    assert "has no class of every pixel" in capsys.readouterr().err


def write_camvid(folder: Path) -> None:
    from PIL import Image

    for split, count in (("train", 4), ("test", 2)):
        lines = []
        for i in range(count):
            draw = generator(split, i)
            ids = torch.randint(0, 12, (18, 24), generator=draw).to(torch.uint8)
            for part, pixels in ((split, ids[..., None].repeat(1, 1, 3) * 20), (f"{split}annot", ids)):
                (folder / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.numpy()).save(folder / part / f"{i}.png")
            lines.append(f"/SegNet/CamVid/{split}/{i}.png /SegNet/CamVid/{split}annot/{i}.png")
        (folder / f"{split}.txt").write_text("\n".join(lines))
