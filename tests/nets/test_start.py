"""Weights that are kept and started from: classifiers on disk, encoders from encoders."""

from pathlib import Path

import pytest
import torch
from torch import nn

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.nets.classifier import load_classifier, save_classifier
from manyviews.nets.encoder import Encoder, start_from


@pytest.mark.parametrize("bias", [True, False])
def test_a_classifier_comes_back_as_it_was_kept(tmp_path: Path, bias: bool) -> None:
    head = nn.Linear(5, 3, bias=bias)
    save_classifier(tmp_path / "c.safetensors", head, ("cat", "dog", "öwl"))
    back = load_classifier(tmp_path / "c.safetensors")
    assert back.classes == ("cat", "dog", "öwl")
    x = torch.randn(4, 5)
    assert torch.equal(back.head(x), head(x))


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(ManyviewsError, match="no weights at"):
        load_classifier(tmp_path / "none.safetensors")
    for weights, about in (
        ({"weight": torch.zeros(3, 5)}, {}),
        ({"weight": torch.zeros(3, 5)}, {"classes": '["a", "b"]'}),
        ({"other": torch.zeros(3)}, {"classes": '["a", "b", "c"]'}),
    ):
        save_file(weights, tmp_path / "odd.safetensors", metadata=about)
        with pytest.raises(ManyviewsError, match="not a classifier"):
            load_classifier(tmp_path / "odd.safetensors")


def test_the_same_net_starts_with_all_weights_and_statistics() -> None:
    one, other = (nets.build("cifar_resnet8", size=16) for _ in range(2))
    other.train()(torch.randn(4, 3, 16, 16))  # moves its batch statistics
    start_from(one, other)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_another_net_is_refused_in_a_sentence() -> None:
    one, other = nets.build("cifar_resnet8", size=16), nets.build("cifar_resnet14", size=16)
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    with pytest.raises(
        ManyviewsError, match=r'"cifar_resnet8" cannot start from "cifar_resnet14": .* tensors differ'
    ):
        start_from(one, other)
    assert all(torch.equal(before[name], tensor) for name, tensor in one.state_dict().items())
    with pytest.raises(ManyviewsError, match=r"such as conv1\.weight"):
        start_from(one, nets.build("cifar_resnet8", size=16, in_channels=1))


@pytest.mark.parametrize("variant", ["", "/2d", "/sincos2d", "/none", "/average", "/layers", "/hybrid"])
def test_a_vit_starts_from_one_of_smaller_images(variant: str) -> None:
    small, large = (nets.build(f"small_vit{variant}", size=size) for size in (32, 48))
    start_from(large, small)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(large.eval()(x), small.eval()(x), rtol=1e-4, atol=1e-5)
    assert large.built is not None and large.built.size == 48


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("small_vit", "small_vit/average", "such as class_token"),
        ("small_vit", "vit_ti4", "tensors differ"),
        ("small_vit", "small_vit/2d", "such as positions.0"),
        ("small_vit", "cifar_resnet8", "tensors differ"),
        ("small_vit/relative", "small_vit/relative", "cannot be resized"),
    ],
)
def test_a_vit_that_differs_in_more_than_its_images_is_refused(one: str, other: str, words: str) -> None:
    with pytest.raises(ManyviewsError, match=words):
        start_from(nets.build(one, size=48), nets.build(other, size=32))


def test_a_net_may_say_how_it_starts_from_another() -> None:
    class Deep(Encoder):
        def __init__(self, layers: int) -> None:
            super().__init__(width=2)
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(layers))

        def warm_start_from(self, shallow: "Deep") -> None:
            for own, given in zip(self.layers, shallow.layers, strict=False):
                own.load_state_dict(given.state_dict())

    deep, shallow = Deep(3), Deep(1)
    start_from(deep, shallow)
    assert torch.equal(deep.layers[0].weight, shallow.layers[0].weight)
    twin = Deep(3)
    start_from(twin, deep)  # of equal depth: everything
    assert torch.equal(twin.layers[2].weight, deep.layers[2].weight)
