"""The papers' supervised recipes: what their views, rates and settings are."""

import dataclasses

import pytest
import torch

from manyviews import beginning, nets
from manyviews.data import steps_per_epoch
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.supervised import RECIPES, Config, Supervised
from manyviews.recipe import Budget
from manyviews.runs import net_factory
from manyviews.training.optimisers import rate
from shrink import teacher

RGB = ((0.07, 0.06, 0.05), (0.06, 0.08, 0.06), (0.05, 0.06, 0.09))


def built(config: Config, **spec: object) -> Supervised:
    given = {"items": 9, "size": 224, "classes": 3, **spec}
    return Supervised(config, net_factory("small_resnet", 32), Spec(**given))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "short_side", "batch", "lr", "decay", "last"),
    [
        ("alexnet", (256, 256), 128, 0.01, 5e-4, 1e-3),
        ("vgg", (256, 512), 256, 0.01, 5e-4, 1e-3),
        ("resnet", (256, 480), 256, 0.1, 1e-4, 1e-2),
    ],
)
def test_imagenet_recipes_are_the_papers(
    name: str, short_side: tuple[int, int], batch: int, lr: float, decay: float, last: float
) -> None:
    config, recipe = RECIPES[name]
    (view,) = built(config, rgb=lambda: RGB).views().views
    assert view.scale is not None
    assert tuple(round(s * view.size) for s in view.scale) == short_side
    assert (view.pca, view.rgb, view.flip, view.crop) == (0.1, RGB, 0.5, None)
    assert (recipe.batch, recipe.lr, recipe.weight_decay, recipe.inertia) == (batch, lr, decay, 0.9)
    assert recipe.decay_all == (name != "alexnet") and recipe.optimiser == "sgd" and recipe.size == 224
    assert rate(recipe, 0.0) == 1.0 and rate(recipe, 0.999) == pytest.approx(last)


def test_the_rate_of_cifar_falls_at_32k_and_48k_of_64k_steps() -> None:
    config, recipe = RECIPES["cifar_resnet"]
    assert Budget.parse(recipe.budget).steps(recipe.batch, 390) == 64_000
    lr = {
        step: recipe.lr * rate(recipe, step / 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)
    }
    assert list(lr.values()) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert (recipe.batch, recipe.weight_decay, recipe.decay_all) == (128, 1e-4, True)
    (view,) = built(config, size=32).views().views
    assert (view.scale, view.pad, view.pca) == ((1.0, 1.0), 4, 0.0)


def test_the_recipe_of_vit_is_its_papers() -> None:
    config, recipe = RECIPES["vit"]
    steps = Budget.parse(recipe.budget).steps(recipe.batch, steps_per_epoch(1_281_167, recipe.batch))
    assert steps == 300 * 312 and recipe.warmup * steps == pytest.approx(10_000)
    assert (recipe.optimiser, recipe.inertia, recipe.beta2, recipe.clip) == ("adamw", 0.9, 0.999, 1.0)
    assert (recipe.batch, recipe.size, recipe.lr, recipe.weight_decay) == (4096, 224, 3e-3, 0.3)
    assert rate(recipe, recipe.warmup) == 1.0
    assert rate(recipe, 0.5 + recipe.warmup / 2) == pytest.approx(0.5)  # half of what is left of a cosine
    assert nets.find(recipe.net).options == {"dropout": 0.1}
    (view,) = built(config).views().views
    assert view.crop == (0.05, 1.0) and view.flip == 0.5


def test_the_recipe_of_fine_tuning_is_its_papers() -> None:
    """SimCLR v2: LARS at 0.005 times the root of the batch, neither decay nor warm-up, 60 passes over 1% of the labels."""
    config, recipe = RECIPES["finetune-paper"]
    assert recipe.lr == pytest.approx(0.005 * recipe.batch**0.5) and recipe.optimiser == "lars"
    assert (recipe.weight_decay, recipe.warmup, recipe.budget, recipe.batch) == (0.0, 0.0, "60ep", 1024)
    (view,) = built(config).views().views
    assert view.crop == (0.08, 1.0) and view.flip == 0.5 and not view.blur


def test_every_recipes_net_exists() -> None:
    assert {nets.find(recipe.net).net.sees for _, recipe in RECIPES.values()} == {"images"}


def test_colours_are_asked_for_only_where_they_are_used() -> None:
    asked: list[int] = []
    spec = {"rgb": lambda: asked.append(1) or RGB}
    built(Config(), **spec).views()
    assert not asked
    built(Config(pca=0.1), **spec).views()
    assert asked


def test_the_classifier_is_what_the_loss_compares() -> None:
    method = built(Config())
    assert method.classifier_head() is method.classifier
    assert method.classifier_head().weight.shape == torch.Size((3, method.encoder.width))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"scale": (1.0, 2.0)}, "one of --min-area and --scale"),
        ({"min_area": None}, "one of --min-area and --scale"),
        ({"min_area": None, "scale": (0.5, 2.0)}, "at least 1"),
        ({"min_area": None, "scale": (2.0, 1.0)}, "smaller one first"),
        ({"pad": 4}, "--scale 1 1"),
        ({"pca": -0.1}, "--pca is -0.1"),
    ],
)
def test_settings_that_contradict_each_other(setting: dict, says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        built(dataclasses.replace(Config(), **setting))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_a_share_of_the_label_spread(smoothing: float) -> None:
    method = built(Config(smoothing=smoothing)).eval()
    x, label = torch.randn(5, 3, 32, 32), torch.tensor([0, 2, 1, 1, 0])
    out = method.loss(Batch([x], torch.arange(5), label), 0.0)
    logits = method.classifier(method.encoder(x))
    log_p = logits.log_softmax(1)
    right = log_p.gather(1, label[:, None])[:, 0]
    torch.testing.assert_close(out.loss, -((1 - smoothing) * right + smoothing * log_p.mean(1)).mean())
    assert out.log["accuracy"] == (logits.argmax(1) == label).float().mean()


def test_a_head_of_the_same_classes_in_another_order_is_left() -> None:
    for names, taken in (("abcd", True), ("bacd", False)):
        spec = Spec(items=9, size=16, classes=4, class_names=tuple(names))
        torch.manual_seed(1)  # not the teacher's
        method = Supervised(Config(), net_factory("cifar_resnet8", 16), spec)
        before = method.classifier.weight.detach().clone()
        beginning.keep_head(method, teacher("abcd"))
        assert torch.equal(method.classifier.weight, before) != taken
        assert (beginning.drawn_anew(method, teacher("abcd")) is None) == taken
