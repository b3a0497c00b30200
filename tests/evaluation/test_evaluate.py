"""The one door: every protocol runs where it can, and says in a sentence why where it cannot."""

import dataclasses
import json

import pytest
import torch

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.evaluation import PROTOCOLS, EncoderEmbedder, NotFrozen, RawPixels, evaluate
from manyviews.evaluation.batches import usual_view

QUICK = {
    "knn": {"k": 20},
    "linear-sgd": {"epochs": 2, "batch": 60},
    **{name: {"epochs": 2, "batch": 60} for name in ("finetune", "finetune-1%", "finetune-10%")},
}


def test_every_protocol_gives_figures_for_json(blobs, net):
    train, test = blobs(240, seed=0), blobs(60, seed=1)
    # Those that judge a kept classifier, rebuild the net or read every pixel: test_crops.py, test_scratch.py,
    # test_segmentation.py; test_layers.py; those that read tokens: test_tokens.py.
    kept = {
        name
        for name, protocol in PROTOCOLS.items()
        if protocol.classifier or protocol.senses or protocol.layered or name in ("scratch", "last-layers")
    }
    names = [name for name in PROTOCOLS if name not in kept]
    figures = evaluate(net, train, test, protocols=names, options=QUICK)
    assert list(figures) == names
    assert json.loads(json.dumps(figures)).keys() == figures.keys()
    for name in names:
        if PROTOCOLS[name].labels:
            assert figures[name]["n"] == 60 and 0 <= figures[name]["top1"] <= 1
    assert [figures[name]["labels"] for name in ("linear", "linear-10%", "linear-1%")] == [240, 24, 3]
    assert [figures[name]["labels"] for name in ("finetune", "finetune-10%", "finetune-1%")] == [240, 24, 3]
    assert figures["knn"]["top1"] > 0.6
    assert figures["labelfree"]["state"] == "healthy" and figures["labelfree"]["closeness"] > 0
    assert net.training


def test_an_encoder_and_its_embedder_are_judged_alike(blobs, net):
    train, test = blobs(90, seed=0), blobs(30, seed=1)
    assert evaluate(net, train, test) == evaluate(EncoderEmbedder(net, 16), train, test)


def test_the_same_seed_gives_the_same_figures(blobs, net):
    train = blobs(120, seed=0)
    protocols = ["knn", "linear-10%", "labelfree"]
    assert evaluate(net, train, None, protocols=protocols) == evaluate(net, train, None, protocols=protocols)


QUARTERS = {
    "finetune": ("loss", {"epochs": 1}),
    "linear-sgd": ("history", {"epochs": 8, "batch": 30, "batch_norm": True, "lr": 0.02}),
    "scratch": ("loss", {"epochs": 1, "pretraining_items": 0}),
    "segment": ("loss", {"epochs": 1}),
    "labelfree": ("alignment", {}),
}


@pytest.mark.parametrize("name", QUARTERS)
def test_what_has_no_up_and_down_is_seen_turned_and_what_has_no_mirror_image_never_flipped(blobs, name):
    torch.manual_seed(0)
    encoder, (figure, options) = nets.build("cifar_resnet8", size=16), QUARTERS[name]
    dense = {"classes": torch.arange(256).view(1, 1, 16, 16).expand(90, -1, -1, -1).to(torch.uint8) // 86}
    train = dataclasses.replace(blobs(90, seed=0), senses=dense, pixel_classes=("a", "b", "c"))
    how = {"protocols": (name,), "options": {name: options}}
    usual, upright, turned, flipped, plain = (
        evaluate(encoder, train, train, **how, **more)[name][figure]
        for more in ({}, {"upright": True}, {"upright": False}, {"mirror": True}, {"mirror": False})
    )
    assert usual == upright == flipped and len({str(each) for each in (usual, turned, plain)}) == 3


def test_only_images_are_turned_or_flipped():
    for kind in ("sounds", "texts"):
        assert usual_view(kind, 8) == usual_view(kind, 8, upright=True)
        for said in ("upright", "mirror"):
            with pytest.raises(ManyviewsError, match=f"{said}=false is of images, and these are {kind}"):
                usual_view(kind, 8, **{said: False})
    usual = usual_view("images", 8)
    assert usual_view("images", 8, upright=False) == dataclasses.replace(usual, turn=True)
    assert usual_view("images", 8, mirror=False) == dataclasses.replace(usual, flip=0.0)


def test_without_a_test_set_a_fifth_is_held_out(blobs):
    figures = evaluate(RawPixels(16), blobs(150, seed=0), None)["knn"]
    assert figures["n"] == 30 and figures["labels"] == 120
    assert [sum(row) for row in figures["confusion"]] == [10, 10, 10]
    # It is the same fifth for every seed: another run may have learned the labels of the rest.
    assert evaluate(RawPixels(16), blobs(150, seed=0), None, seed=1)["knn"] == figures


def test_without_labels_only_label_free_figures(blobs, net):
    bare = dataclasses.replace(blobs(40, seed=0), labels=None, classes=None)
    for train, test in ((bare, None), (None, bare)):
        assert "top1" not in evaluate(net, train, test, protocols=["labelfree"])["labelfree"]
    with pytest.raises(ManyviewsError, match=r"has no labels.*labelfree"):
        evaluate(net, bare, None)


def test_images_on_disk(blobs, streamed, net):
    train, test = streamed(blobs(90, seed=0)), streamed(blobs(30, seed=1))
    figures = evaluate(net, train, test, protocols=["knn", "linear", "labelfree"], size=16)
    assert figures["knn"]["n"] == 30 and figures["labelfree"]["n"] == 30
    with pytest.raises(ManyviewsError, match="size="):
        evaluate(net, train, test)


def test_unknown_names_get_the_nearest(blobs, net):
    with pytest.raises(ManyviewsError, match=r'no protocol "linaer"; did you mean linear'):
        evaluate(net, blobs(30, seed=0), None, protocols=["linaer"])
    with pytest.raises(ManyviewsError, match=r'"knn" has no option "neighbours"; it has .*temperature'):
        evaluate(net, blobs(30, seed=0), None, options={"knn": {"neighbours": 3}})
    with pytest.raises(ManyviewsError, match='no protocol "k-nn"'):
        evaluate(net, blobs(30, seed=0), None, options={"k-nn": {}})


@pytest.mark.parametrize("protocol", ["finetune", "linear-sgd"])
def test_raw_pixels_cannot_be_trained(blobs, protocol):
    with pytest.raises(ManyviewsError, match=r'RawPixels does not have; take "knn"'):
        evaluate(RawPixels(16), blobs(30, seed=0), blobs(9, seed=1), protocols=["knn", protocol])


def test_sets_that_do_not_match(blobs, net):
    train, test = blobs(30, seed=0), blobs(30, seed=1, classes=4)
    with pytest.raises(ManyviewsError, match=r"blobs0 \(3\) and blobs1 \(4\) differ: class 3 is in only one"):
        evaluate(net, train, test)
    shuffled = dataclasses.replace(train, classes=train.classes[::-1])
    with pytest.raises(ManyviewsError, match="their order differs"):
        evaluate(net, train, shuffled)
    with pytest.raises(ManyviewsError, match="labelled images to learn from"):
        evaluate(net, None, train)
    with pytest.raises(ManyviewsError, match="no images to evaluate on"):
        evaluate(net, None, None)


def test_labels_out_of_range(blobs, net):
    data = blobs(30, seed=0)
    unlabelled = dataclasses.replace(data, labels=data.labels - 1)
    with pytest.raises(ManyviewsError, match="from -1 to 1"):
        evaluate(net, unlabelled, None)
    single = dataclasses.replace(data, labels=torch.zeros(30, dtype=torch.long))
    with pytest.raises(ManyviewsError, match="only one class"):
        evaluate(net, single, None)


def test_a_broken_encoder_is_said(blobs, net):
    with torch.no_grad():
        net.conv1.weight.fill_(torch.nan)
    with pytest.raises(ManyviewsError, match="not finite numbers"):
        evaluate(net, blobs(30, seed=0), None)
    assert (
        evaluate(net, blobs(30, seed=0), None, protocols=["labelfree"])["labelfree"]["state"] == "collapsed"
    )


def test_an_encoder_that_cheats_is_caught(blobs):
    class Remembers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += len(x)
            return x.flatten(1)

    with pytest.raises(NotFrozen, match="seen"):
        evaluate(Remembers(), blobs(30, seed=0), None)
