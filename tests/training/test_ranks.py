"""Two processes with half the batch each give the loss and gradients of one with the whole, for every method."""

import dataclasses
import gc
import os
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from filelock import FileLock
from torch import Tensor, nn

from manyviews import distributed, plan
from manyviews.data import ItemSet
from manyviews.evaluation import EncoderEmbedder, embed_all
from manyviews.method import Batch, Method, Spec, find, names
from manyviews.nets.synchronised import synchronise
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.training.loop import Loop
from manyviews.views import nothing
from shrink import FEWER, SIDE, SMALL, colours, sees, shrunk, small_net, suited, teacher

ITEMS, BATCH, RANKS = 32, 16, 2
FULL = FEWER["queue"] // BATCH  # steps after which a queue is full, which SwAV waits for
OPTIMISERS = ("nesterov", "adagrad", "rmsprop", "adamw", "lars", "lamb")
OTHERWISE: dict[str, dict[str, Any]] = {  # ways through a loss that `FEWER` and the recipes leave aside
    "instdisc softmax": {"softmax": True},
    "instdisc proximal": {"proximal": 0.5},
    "cmc softmax": {"contrast": "softmax"},
    "cmc batch": {"contrast": "batch", "two_crops": True},
    "cmc senses": {"modalities": ("image", "depth", "mask")},
    "crd relax": {"positives": "relax", "alpha": 1.0},
    "densecl random": {"match": "random"},
    "densecl projection": {"match": "projection"},
    "densecl cells": {"cells": 2},
    "infomin space": {"space": "lab", "jigsaw": 0.0},
    "infomin distance": {"distance": 1.0, "jigsaw": 0.0},
    "infomin frequency": {"frequency": 1.0, "jigsaw": 0.0},
    "wcl one head": {"heads": 1, "swap": False},
    "infomin_learned crops": {"two_crops": True, "volume": False, "space": "ydbdr"},
}
NET, SYNCHRONISED = "cifar_resnet8+group", "cifar_resnet8"  # without batch statistics, and with some


def data(name: str) -> ItemSet:
    return suited(name, ITEMS, "ranks")


def build(name: str, net: str, **settings: Any) -> tuple[Method, Recipe]:
    config, recipe = plan.base(find(name), "world")
    config = shrunk(config, splits=RANKS, **settings)
    changes = {
        "size": SIDE[sees(name)],
        "batch": BATCH,
        "budget": "2steps",
        "optimiser": "sgd",
        "lr": 0.05,
        "warmup": 0.0,  # every step moves the weights, and a momentum that is lost is missed
        "schedule": "constant",
        "channels_last": False,
    }
    config, recipe = plan.changed(find(name), config, recipe, changes)
    net = net if small_net(name) == SMALL["images"] else small_net(name)
    torch.manual_seed(0)
    labels = data(name).labels if find(name).method.supervised else None
    about = {"labels": labels, "colours": colours(data(name)), "tokeniser": data(name).tokeniser}
    senses = dict.fromkeys(find(name).method.senses(config), 1)
    spec = Spec(items=ITEMS, size=recipe.size, classes=4, senses=senses, **about)
    return find(name).method(config, net_factory(net, recipe.size), spec), recipe


def exact(name: str, net: str, **settings: Any) -> dict[str, Tensor]:
    """Loss, gradients and queue after one step in float64, from this rank's share of the batch."""
    method, _ = build(name, net, **settings)
    method = method.double()
    synchronise(method)
    rows = distributed.local_rows(BATCH)
    views = [
        torch.randn(
            BATCH,
            *nothing(sees(name), view.size).shape[1:],
            generator=generator("view", v),
            dtype=torch.float64,
        )[rows]
        for v, view in enumerate(method.views().views)
    ]
    if (pixels := data(name).values) is not None and sees(name) == "texts":
        draws = method.views().draw(BATCH, "view").rows(rows.start, rows.stop)
        views = method.views()(pixels[:BATCH][rows], draws)
    label_B = torch.arange(BATCH) % 4
    if method.unlabelled:
        label_B[: BATCH // 3] = -1  # not as many on either rank
    label = label_B[rows] if method.supervised else None
    senses = {
        sense: [
            torch.rand(BATCH, 1, *x.shape[2:], generator=generator(sense, v)).double()[rows]
            for v, x in enumerate(views)
        ]
        for sense in method.senses(method.config)
    }
    out = method.loss(Batch(views, torch.arange(BATCH)[rows], label, senses), 0.5)
    out.loss.backward()
    method.after_step(out, 0.5)
    result = {"loss": distributed.all_reduce_mean(out.loss)}
    for key, weight in method.named_parameters():
        if weight.grad is not None:
            result[f"gradient of {key}"] = distributed.all_reduce_mean(weight.grad)
    return result | {key: value.clone() for key, value in method.named_buffers()}


def trained(name: str, net: str, **changes: Any) -> dict[str, Tensor]:
    """Weights after two whole steps of the loop, views and all."""
    method, recipe = build(name, net)
    loop = Loop(method, data(name), dataclasses.replace(recipe, **changes))
    loop.run()
    return {key: value.clone() for key, value in loop.state()["method"].items()}


def sharded(name: str) -> dict[str, Tensor]:
    """Weights after two steps with everything split, and whether what is put together is what was never split."""
    method, recipe = build(name, NET)
    loop = Loop(method, data(name), dataclasses.replace(recipe, shard=True))
    loop.run()
    weights = {key: value.clone() for key, value in loop.state()["method"].items()}
    plain, _ = build(name, NET)
    plain.load_state_dict(weights)
    return weights | {"put together": torch.tensor(same(loop.whole(), plain, data(name)))}


def same(one: Method, other: Method, items: ItemSet) -> bool:
    """Whether two methods have the same tensors, those that no checkpoint holds too, and embed alike."""
    found = []
    for method in (one, other):
        h_ND = embed_all(EncoderEmbedder(method.encoder, method.spec.size), items).h_ND
        learned = {f"{key} learns": torch.tensor(w.requires_grad) for key, w in method.named_parameters()}
        found.append(method.state_dict() | dict(method.named_buffers()) | learned | {"h": h_ND})
    a, b = found
    return a.keys() == b.keys() and all(torch.allclose(a[key], b[key]) for key in a)


def kept() -> dict[str, int]:
    """Bytes of whole weights in memory: of a method; with one split, while a copy is asked for; and behind that."""
    before = whole_weights()
    method, recipe = build("byol", NET)
    found = {"method": whole_weights() - before}
    loop = Loop(method, data("byol"), dataclasses.replace(recipe, shard=True))
    loop.run()
    copy = loop.whole()
    found["asked for"] = whole_weights() - before
    del copy
    return found | {"afterwards": whole_weights() - before}


def whole_weights() -> int:
    gc.collect()
    return sum(
        x.untyped_storage().nbytes() for x in gc.get_objects() if type(x) is nn.Parameter and not x.is_meta
    )


def continued(optimiser: str) -> dict[str, Tensor]:
    """Weights after a step with everything split, and another by a loop that was given the first one's state."""
    first, recipe = build("simclr", NET)
    lr = 0.5 if optimiser == "lars" else 1e-3  # which asks for a thousandth of it
    recipe = dataclasses.replace(recipe, shard=True, optimiser=optimiser, lr=lr)
    loop = Loop(first, data("simclr"), recipe, interrupted=lambda: True)
    assert loop.run() == "interrupted"
    second, _ = build("simclr", NET)
    after = Loop(second, data("simclr"), recipe)
    after.restore(loop.state())
    assert after.run() == "finished"
    whole = after.whole().state_dict()
    return {key: value.clone() for key, value in after.state()["method"].items() if value.equal(whole[key])}


def everything() -> dict[str, dict[str, Tensor]]:
    found = {f"{name} exact": exact(name, SYNCHRONISED) for name in names()}
    found |= {
        f"{way} exact": exact(way.split()[0], SYNCHRONISED, **settings) for way, settings in OTHERWISE.items()
    }
    found |= {f"{name} trained": trained(name, NET) for name in names()}
    if distributed.world_size() > 1:
        found |= {f"{name} sharded": sharded(name) for name in names()}
    found |= {"moco boxes": trained("moco", NET, crops="contrastive", budget="6steps")}
    found |= {"supervised pieces": trained("supervised", NET, accumulate=2)}
    found |= {"swav queue": trained("swav", NET, budget=f"{FULL + 1}steps")}
    return found | {f"simclr {kind}": continued(kind) for kind in OPTIMISERS}


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    found = everything() | {"kept": kept()}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one process and what two found: made once, whichever of the test runner's workers asks first."""
    mine, shared = tmp_path_factory.mktemp("ranks"), tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "ranks.lock"):
        if not (shared / "ranks.pt").exists():
            teacher()  # made before there are several processes, for all of them
            ranks = mp.spawn(process, (str(mine),), nprocs=RANKS, join=False)
            one = everything()  # meanwhile, for they often wait for each other
            while not ranks.join():
                pass
            two, *others = (torch.load(mine / f"{rank}.pt", weights_only=True) for rank in range(RANKS))
            two["unlike"] = [
                f"{name}: {key}"
                for other in others
                for name, found in two.items()
                for key, value in found.items()
                if isinstance(value, Tensor) and not torch.equal(value, other[name][key])
            ]
            torch.save((one, two), shared / "ranks.pt")
    return torch.load(shared / "ranks.pt", weights_only=True)


def assert_went_together(name: str, one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Whoever ended there went the same way: what parts them is a hundredth of it at most."""
    start = build(name, NET)[0].state_dict()
    numbers = [key for key in start if key in one and start[key].is_floating_point()]
    assert len(numbers) > 3
    ends, others, begun = (torch.cat([of[key].flatten() for key in numbers]) for of in (one, two, start))
    assert (others - ends).norm() < 0.01 * (ends - begun).norm() > 0
    for key in start.keys() & one.keys() - set(numbers):
        assert torch.equal(one[key], two[key]), key


def test_all_ranks_end_with_the_same(both: tuple[dict, dict]) -> None:
    assert both[1]["unlike"] == []


@pytest.mark.parametrize("name", [*names(), *OTHERWISE])
def test_loss_and_gradients_are_those_of_one_process(name: str, both: tuple[dict, dict]) -> None:
    one, two = (found[f"{name} exact"] for found in both)
    assert one.keys() == two.keys() and "loss" in one
    for key, value in one.items():
        torch.testing.assert_close(
            two[key], value, rtol=1e-6, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("how", ["trained", "sharded"])
@pytest.mark.parametrize("name", names())
def test_the_whole_loop_ends_in_the_same_weights(name: str, how: str, both: tuple[dict, dict]) -> None:
    assert_went_together(name, both[0][f"{name} trained"], both[1][f"{name} {how}"])


@pytest.mark.parametrize("name", names())
def test_what_is_put_together_is_what_was_never_split(name: str, both: tuple[dict, dict]) -> None:
    assert both[1][f"{name} sharded"]["put together"]


def test_a_whole_copy_of_what_is_split_lives_while_it_is_asked_for(both: tuple[dict, dict]) -> None:
    kept = both[1]["kept"]
    assert kept["method"] == kept["asked for"] > 0 and kept["afterwards"] == 0


@pytest.mark.parametrize("what", ["moco boxes", "swav queue", "supervised pieces"])
def test_crops_in_boxes_a_full_queue_and_pieces_end_in_the_same_weights(
    what: str, both: tuple[dict, dict]
) -> None:
    one, two = (found[what] for found in both)
    assert what != "swav queue" or one["pushed"] > FEWER["queue"], "the queue was full in no step"
    assert_went_together(what.split()[0], one, two)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_is_split_is_whole_in_a_checkpoint_and_goes_on(optimiser: str, both: tuple[dict, dict]) -> None:
    one, two = (found[f"simclr {optimiser}"] for found in both)
    assert one.keys() == two.keys() and len(one) > 20
    assert_went_together("simclr", one, two)
