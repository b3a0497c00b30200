"""CMC: its losses against formulas written plainly, which views it contrasts, and what it needs of data and nets."""

import dataclasses
import math
from itertools import combinations, permutations
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from manyviews import nets
from manyviews.data import ItemSet, in_memory
from manyviews.errors import ManyviewsError
from manyviews.learn import pretrain
from manyviews.memory import UNKNOWN
from manyviews.method import Batch, Method, Spec, find
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.training.loop import Loop
from manyviews.views import normalise

NET, SIZE, ITEMS, ROWS, NOISE, TAU = "cifar_resnet8+group", 16, 24, 6, 10, 0.2
PAPER = find("cmc")


def method(senses: dict[str, int] | None = None, net: str = NET, **settings: Any) -> Any:
    config = PAPER.config(**{"noise": NOISE, "temperature": TAU, "dim": 8, **settings})
    torch.manual_seed(0)
    return PAPER.method(
        config, net_factory(net, SIZE), Spec(items=ITEMS, size=SIZE, senses=senses or {})
    ).double()


def batch(*senses: str) -> Batch:
    draw = generator("cmc")
    x = normalise(torch.rand(ROWS, 3, SIZE, SIZE, generator=draw)).double()
    other = {name: [torch.rand(ROWS, 1, SIZE, SIZE, generator=draw).double()] for name in senses}
    return Batch([x], torch.randperm(ITEMS, generator=draw)[:ROWS], None, other)


def data(*senses: str, items: int = ITEMS) -> ItemSet:
    pixels = torch.randint(0, 256, (items, 3, SIZE, SIZE), generator=generator("cmc"), dtype=torch.uint8)
    return in_memory("noise", pixels, None, None, {name: pixels[:, :1].clone() for name in senses})


def loss(cmc: Method, seen: Batch) -> Tensor:
    torch.manual_seed(3)
    return cmc.loss(seen, 0.0).loss


def drawn(cmc: Any) -> Tensor:
    """The noise that `loss` draws."""
    torch.manual_seed(3)
    return cmc.bank(0).noise(ROWS, NOISE)


def plainly(cmc: Any, seen: Batch, i: int, j: int) -> tuple[Tensor, Tensor]:
    """Scores of view i with view j's bank: of each item's own row [B], and of its noise [B, m]."""
    z, bank, noise = cmc.embedded(seen)[i], cmc.bank(j).rows_ND, drawn(cmc)
    own = [z[b] @ bank[seen.index[b]] / TAU for b in range(ROWS)]
    other = [torch.stack([z[b] @ bank[n] / TAU for n in noise[b]]) for b in range(ROWS)]
    return torch.stack(own), torch.stack(other)


def test_nce_is_the_authors_formula():
    cmc, seen = method(), batch()
    expected = torch.zeros(())
    for i, j in ((0, 1), (1, 0)):
        own, other = (scores.exp() for scores in plainly(cmc, seen, i, j))
        z = ITEMS * other.mean()  # fixed by the first batch
        p, noise = own / z, other / z
        m_pn = NOISE / ITEMS
        expected = expected - (p / (p + m_pn)).log().mean() - (m_pn / (noise + m_pn)).log().sum(1).mean()
    torch.testing.assert_close(loss(cmc, seen), expected)


def test_softmax_picks_one_of_m_plus_1():
    cmc, seen = method(contrast="softmax"), batch()
    expected = torch.zeros(())
    for i, j in ((0, 1), (1, 0)):
        own, other = (scores.exp() for scores in plainly(cmc, seen, i, j))
        expected = expected - (own / (own + other.sum(1))).log().mean()
    torch.testing.assert_close(loss(cmc, seen), expected)


def test_within_the_batch_others_are_the_negatives():
    cmc, seen = method(contrast="batch"), batch()
    z_l, z_ab = cmc.embedded(seen)
    s = z_l @ z_ab.T / TAU
    own = torch.arange(ROWS)
    expected = torch.nn.functional.cross_entropy(s, own) + torch.nn.functional.cross_entropy(s.T, own)
    found = loss(cmc, seen)
    torch.testing.assert_close(found, expected)
    for weight in (cmc.encoder.light.conv1.weight, cmc.encoder.colour.conv1.weight):
        ours, plain = (torch.autograd.grad(x, weight, retain_graph=True)[0] for x in (found, expected))
        torch.testing.assert_close(ours, plain)
    assert not [name for name, _ in cmc.named_buffers() if "bank" in name or "log_z" in name]


def test_z_is_that_of_the_first_batch_and_stays():
    cmc, seen = method(), batch()
    loss(cmc, seen)
    z = {name: once.value.clone() for name, once in cmc.log_z.items()}
    assert set(z) == {"0 to 1", "1 to 0"} and all(value < UNKNOWN / 2 for value in z.values())
    with torch.no_grad():
        for bank in cmc.banks:
            bank.rows_ND.mul_(3)
    loss(cmc, seen)
    assert all(torch.equal(cmc.log_z[name].value, value) for name, value in z.items())


@pytest.mark.parametrize("momentum", [0.5, 0.8])
def test_banks_move_by_their_momentum_after_the_step_each_by_its_own_view(momentum):
    cmc, seen = method(bank_momentum=momentum), batch()
    before = [cmc.bank(i).rows_ND.clone() for i in (0, 1)]
    out = cmc.loss(seen, 0.0)
    assert all(torch.equal(cmc.bank(i).rows_ND, before[i]) for i in (0, 1))
    cmc.after_step(out, 0.0)
    rest = torch.ones(ITEMS, dtype=torch.bool)
    rest[seen.index] = False
    for i, z in enumerate(cmc.embedded(seen)):
        moved = normalize(momentum * before[i][seen.index] + (1 - momentum) * z, dim=1)
        torch.testing.assert_close(cmc.bank(i).rows_ND[seen.index], moved)
        assert torch.equal(cmc.bank(i).rows_ND[rest], before[i][rest])
    assert not torch.equal(before[0], before[1])


def test_each_view_reaches_its_own_half_alone():
    cmc, seen = method(contrast="batch"), batch()
    light, colour = cmc.encoder.light.conv1.weight, cmc.encoder.colour.conv1.weight
    for z, own, other in zip(cmc.embedded(seen), (light, colour), (colour, light), strict=True):
        near, far = torch.autograd.grad(z.sum(), (own, other), retain_graph=True)
        assert near.any() and not far.any()


def test_senses_are_seen_from_minus_1_to_1():
    cmc, seen, shown = method({"depth": 1}, modalities=("image", "depth")), batch("depth"), list[Tensor]()
    cmc.others[0].register_forward_pre_hook(lambda _, x: shown.append(x[0]))
    cmc.embedded(seen)
    assert torch.equal(shown[0], 2 * seen.senses["depth"][0] - 1)


# -- more than two views -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "pairs"), [("core", [(0, 1), (0, 2)]), ("full", list(combinations(range(3), 2)))]
)
def test_the_core_view_or_the_full_graph(graph, pairs):
    senses = {"depth": 1, "mask": 1}
    cmc = method(senses, modalities=("image", "depth", "mask"), graph=graph, contrast="batch")
    seen = batch("depth", "mask")
    z = cmc.embedded(seen)
    assert len(z) == 3
    both = [way for pair in pairs for way in permutations(pair)]
    each = [torch.nn.functional.cross_entropy(z[i] @ z[j].T / TAU, torch.arange(ROWS)) for i, j in both]
    torch.testing.assert_close(loss(cmc, seen), torch.stack(each).sum())


def test_halves_of_the_image_and_a_sense_are_three_views():
    cmc = method({"depth": 1}, modalities=("ydbdr", "depth"))
    assert cmc.encoder.built.name == f"ydbdr({NET})" and len(cmc.banks) == 3
    assert len(cmc.embedded(batch("depth"))) == 3


def test_senses_are_seen_where_the_image_is_and_all_is_trained():
    cmc = method({"depth": 1}, modalities=("image", "depth")).float()
    recipe = dataclasses.replace(PAPER.recipes["world"][1], size=SIZE, batch=8, budget="2steps", accumulate=2)
    loop = Loop(cmc, data("depth", "mask"), recipe)
    seen = loop._seen(next(loop._drawn()))
    assert list(seen.senses) == ["depth"]
    red = seen.views[0][:, :1] * 0.229 + 0.485  # this data's depth is its red
    torch.testing.assert_close(seen.senses["depth"][0], red, atol=1e-5, rtol=0)
    before = {name: weight.clone() for name, weight in cmc.named_parameters()}
    assert loop.run() == "finished"
    assert all(not torch.equal(weight, before[name]) for name, weight in cmc.named_parameters())


def test_a_run_on_senses_is_saved_opened_and_judged_like_any_other(tmp_path):
    settings: dict[str, Any] = {
        "modalities": ("image", "depth"),
        "net": "cifar_resnet8",
        "size": SIZE,
    }
    run = pretrain(
        "cmc",
        data("depth"),
        out=tmp_path / "run",
        batch=8,
        budget="2steps",
        quiet=True,
        baselines=(),
        **settings,
    )
    assert run.settings["data"]["senses"] == {"depth": 1}
    assert run.embed(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)).shape == (2, run.encoder.width)
    assert run.encoder.built == nets.encoder.Built("cifar_resnet8", 3, SIZE)
    assert (tmp_path / "run" / "report.html").exists()


# -- what cannot work ----------------------------------------------------------------------------------------------


def test_views_keep_their_colours_and_share_one_crop():
    (view,) = method().views().views
    assert view.grey == 0 and view.jitter is None and view.crop == (PAPER.config().min_area, 1.0)


def test_one_view_is_refused():
    with pytest.raises(ManyviewsError, match="One view, image, has nothing to agree with"):
        method(modalities=("image",))


@pytest.mark.parametrize("wrong", [("depth", "image"), (), ("hsv",)])
def test_the_first_has_to_see_the_image(wrong):
    with pytest.raises(ManyviewsError, match="The first of --modalities sees the image"):
        method({"depth": 1, "image": 3}, modalities=wrong)


def test_senses_that_the_data_lacks_are_named(tmp_path):
    with pytest.raises(ManyviewsError, match=r"no mask and no lab to go with image .* it has depth"):
        method({"depth": 1}, modalities=("image", "depth", "mask", "lab"))
    asked: dict[str, Any] = {
        "modalities": ("image", "depth"),
        "batch": 8,
        "size": SIZE,
        "net": "cifar_resnet8",
    }
    with pytest.raises(ManyviewsError, match="noise has no depth"):
        pretrain("cmc", data("mask"), out=tmp_path / "run", **asked)
    assert not (tmp_path / "run").exists()
    cmc = method({"depth": 1}, modalities=("image", "depth")).float()
    with pytest.raises(ManyviewsError, match=r"noise has no depth .* nothing beside its images"):
        Loop(cmc, data(), Recipe(size=SIZE, batch=8))


def test_a_net_that_parts_colours_itself_cannot_see_one_channel():
    with pytest.raises(ManyviewsError, match="RGB images, which have 3 channels, not 1"):
        method({"depth": 1}, net=f"lab({NET})", modalities=("image", "depth"))


def test_a_bank_needs_samples():
    with pytest.raises(ManyviewsError, match="--noise is 0"):
        method(noise=0)


def test_by_chance_the_softmax_is_log_m_plus_1():
    cmc = method(contrast="softmax", temperature=1e6)
    assert loss(cmc, batch()).item() == pytest.approx(2 * math.log(NOISE + 1), abs=1e-4)


def test_two_crops_set_light_of_one_against_colour_of_the_other():
    cmc, one, other = method(contrast="batch", two_crops=True), batch(), batch()
    assert len(cmc.views()) == 2
    other.views[0] = one.views[0].flip(0)
    seen = Batch([one.views[0], other.views[0]], one.index)
    (l_1, l_2), (ab_1, ab_2) = (z.chunk(2) for z in cmc.embedded(seen))
    own = torch.arange(ROWS)
    expected = torch.nn.functional.cross_entropy(l_1 @ ab_2.T / TAU, own)
    expected = expected + torch.nn.functional.cross_entropy(ab_1 @ l_2.T / TAU, own)
    torch.testing.assert_close(loss(cmc, seen), expected)
    with pytest.raises(ManyviewsError, match="--two-crops goes with --contrast batch"):
        method(contrast="nce", two_crops=True)
