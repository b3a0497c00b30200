"""Mixed images and their labels: shares that belong together, batches that none is lost from, papers' formulas."""

from typing import Any

import pytest
import torch
from torch import Tensor

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.evaluation import finetune
from manyviews.evaluation.finetune import _blocks_of
from manyviews.evaluation.mixing import Mixing, boxed
from manyviews.nets.transformer import Block, stochastic_depth

SMALL = {"classes": 3, "size": 16, "batch": 40}


def batch(items: int = 6, size: int = 16) -> tuple[Tensor, Tensor]:
    """Image i is i everywhere, and its label is i % 3."""
    number_B = torch.arange(items)
    return number_B.float().view(-1, 1, 1, 1).expand(items, 3, size, size).clone(), number_B % 3


def test_nothing_is_mixed_unless_it_is_asked_for() -> None:
    x_BCHW, label_B = batch()
    state = torch.get_rng_state()
    assert Mixing(0.0, 0.0, 3)(x_BCHW, label_B) == (x_BCHW, label_B)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("how", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_a_label_weighs_what_its_image_does(how: tuple[float, float]) -> None:
    x_BCHW, label_B = batch()
    seen = set()
    for _ in range(30):
        mixed_BCHW, told_BK = Mixing(*how, classes=3)(x_BCHW, label_B)
        torch.testing.assert_close(told_BK.sum(1), torch.ones(6))
        # Image i is of value i and goes with 5 - i, of which i is the share that its mean tells.
        share = (mixed_BCHW[0].mean() - 5) / (0 - 5)
        expected_BK = torch.zeros(6, 3)
        for i in range(6):
            expected_BK[i, i % 3] += share
            expected_BK[i, (5 - i) % 3] += 1 - share
        torch.testing.assert_close(told_BK, expected_BK, atol=1e-5, rtol=0)
        values = mixed_BCHW[0].unique()
        seen.add("mixup" if len(values) == 1 and 0 < float(values) < 5 else "cutmix")
    assert seen == {name for name, alpha in zip(("mixup", "cutmix"), how, strict=True) if alpha}


def test_shares_are_those_of_the_beta() -> None:
    x_BCHW, label_B = batch(2)
    mixing = Mixing(0.4, 0.0, 2)
    shares = torch.stack([mixing(x_BCHW, label_B)[1][0, 0] for _ in range(2000)])
    assert abs(float(shares.mean()) - 0.5) < 0.03
    assert abs(float(shares.var()) - 1 / (4 * (2 * 0.4 + 1))) < 0.01  # of Beta(a, a): 1 / (4 (2 a + 1))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_a_box_is_of_the_area_that_is_left_out_and_of_the_mirrored_image(share: float) -> None:
    x_BCHW, _ = batch(size=32)
    for seed in range(20):
        torch.manual_seed(seed)
        mixed_BCHW, left = boxed(x_BCHW, share)
        other_BHW = (mixed_BCHW != x_BCHW)[:, 0]
        assert float(other_BHW[0].float().mean()) == pytest.approx(1 - left)
        assert left >= share - 1e-6
        rows, columns = (other_BHW[0].any(axis).nonzero().flatten() for axis in (1, 0))
        if len(rows):  # a box, and nothing else
            assert other_BHW[0].sum() == len(rows) * len(columns)
            assert len(rows) == rows[-1] - rows[0] + 1 and len(columns) == columns[-1] - columns[0] + 1
        for i in range(6):
            assert (mixed_BCHW[i, 0][other_BHW[i]] == 5 - i).all()
    torch.manual_seed(0)
    middle = [boxed(x_BCHW, 0.75)[1] for _ in range(200)]
    assert min(middle) == pytest.approx(0.75)  # a box of half a side that no edge cuts


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mixup": -0.1}, "mixup is -0.1"), ({"cutmix": -1}, "cutmix -1"), ({"clip": -1}, "clip is -1"),
        ({"smoothing": 1.0}, "smoothing is 1.0"), ({"drop_path": 1.0}, "drop_path is 1.0"),
        ({"drop_path": 0.1}, "this net has none"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options: dict[str, Any], says: str, blobs: Any, net: Any) -> None:
    with pytest.raises(ManyviewsError, match=says):
        finetune(net, blobs(40, seed=0), blobs(9, seed=1), epochs=1, **SMALL, **options)


def test_sounds_and_texts_are_not_mixed() -> None:
    with pytest.raises(ManyviewsError, match="this data is of texts"):
        Mixing(0.8, 0.0, 3, "texts")


def test_it_learns_by_mixed_images_as_papers_do(blobs: Any, net: Any) -> None:
    how = {"smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0, "clip": 1.0}
    train, test = blobs(240, seed=0), blobs(90, seed=1)
    tuned = finetune(net, train, test, epochs=8, lr=1e-2, **SMALL, **how)
    assert tuned.scores.top1 > 0.9
    again = finetune(net, train, test, epochs=8, lr=1e-2, **SMALL, **how)
    assert again.loss == tuned.loss > 0.3  # which shares and smoothed labels never let come near 0


@pytest.mark.parametrize("option", ["smoothing", "mixup", "cutmix", "clip", "drop_path"])
def test_each_option_is_heard(option: str, blobs: Any) -> None:
    vit = nets.build("small_vit", size=16)
    data = blobs(40, size=16, seed=0)
    value = 1e-3 if option == "clip" else 0.5
    plain, other = (
        finetune(vit, data, data, epochs=2, optimiser="sgd", lr=0.1, **SMALL, **more)
        for more in ({}, {option: value})
    )
    assert plain.loss != other.loss


def test_a_clipped_step_goes_no_further_than_the_bound(blobs: Any, net: Any) -> None:
    data = blobs(40, seed=0)
    begun = {name: weight.clone() for name, weight in net.named_parameters()}
    how = {
        "epochs": 1,
        "optimiser": "sgd",
        "lr": 1.0,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "schedule": "constant",
    }
    tuned = finetune(net, data, data, clip=1e-3, **how, **SMALL)  # one step
    with torch.no_grad():
        went = torch.stack(
            [(w - begun[name]).norm() for name, w in tuned.classifier[0].named_parameters()]
        ).norm()
    assert 0 < float(went) <= 1e-3 + 1e-6


def test_samples_go_around_the_blocks_that_an_embedding_goes_through() -> None:
    translator = nets.build("small_transformer", in_channels=30, size=12)
    part = _blocks_of(translator)
    stochastic_depth(part, 0.3)
    assert part is translator.net.encoder
    assert [block.drop_path for block in translator.net.encoder.modules() if isinstance(block, Block)][
        -1
    ] == 0.3
    assert {block.drop_path for block in translator.net.decoder.modules() if isinstance(block, Block)} == {
        0.0
    }
