"""SwAV against lightly's loss and an enumeration of its pairs; queue, prototypes and what is refused."""

import dataclasses
import itertools

import pytest
import torch
from lightly.loss import SwaVLoss
from torch import Tensor
from torch.nn.functional import log_softmax, normalize, one_hot

from manyviews.data.world import world
from manyviews.errors import ManyviewsError
from manyviews.evaluation import labelfree, verdict
from manyviews.method import Batch, Out, Spec
from manyviews.methods.contrastive.swav import RECIPES, Config, SwAV
from manyviews.objectives import sinkhorn
from manyviews.rng import generator
from manyviews.runs import net_factory

SIZE, ROWS = 16, 12
SMALL = Config(
    dim=16, hidden=32, prototypes=10, local_crops=3, local_share=0.5, global_area=(0.4, 1.0), freeze=0.0
)


def swav(size: int = SIZE, **changes: object) -> SwAV:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, **changes)
    return SwAV(config, net_factory("cifar_resnet8", size), Spec(items=48, size=size))


def seen(method: SwAV, rows: int = ROWS, seed: int = 0) -> Batch:
    draw = generator("views", seed)
    sizes = [view.size for view in method.views().views]
    return Batch([torch.randn(rows, 3, size, size, generator=draw) for size in sizes], torch.arange(rows))


def outputs(method: SwAV, batch: Batch) -> list[Tensor]:
    """Scores z . c of every view; those of one size share the encoder's statistics, all the projector's, as the authors'."""
    h = [method.encoder(torch.cat(some)) for some in (batch.views[:2], batch.views[2:]) if some]
    z = normalize(method.projector(torch.cat(h)), dim=1)
    return list((z @ method.prototypes.weight.T).chunk(len(batch.views)))


@pytest.mark.parametrize("local_crops", [0, 3])
def test_its_loss_is_lightlys(local_crops: int) -> None:
    method = swav(local_crops=local_crops)
    batch = seen(method)
    scores = outputs(method, batch)
    theirs = SwaVLoss()(scores[:2], scores[2:])
    torch.testing.assert_close(method.loss(batch, 0.5).loss, theirs.squeeze())


def test_with_a_full_queue_its_loss_is_lightlys() -> None:
    method = swav(queue=2 * ROWS, queue_from=0.0)
    for step in range(2):
        method.after_step(method.loss(seen(method, seed=step), 0.5), 0.5)
    batch = seen(method, seed=2)
    scores = outputs(method, batch)
    assert method.queue is not None
    past = [z @ method.prototypes.weight.T for z in method.queue.keys_KD.chunk(2, 1)]
    theirs = SwaVLoss()(scores[:2], scores[2:], past)
    torch.testing.assert_close(method.loss(batch, 0.5).loss, theirs.squeeze())


def test_every_view_predicts_both_codes_but_never_its_own() -> None:
    method = swav()
    batch = seen(method)
    scores = outputs(method, batch)
    codes = [sinkhorn(score, 0.05, 3) for score in scores[:2]]
    pairs = [(s, v) for s, v in itertools.product(range(2), range(5)) if s != v]
    assert len(pairs) == 8
    each = [-(codes[s] * log_softmax(scores[v] / 0.1, 1)).sum(1).mean() for s, v in pairs]
    torch.testing.assert_close(method.loss(batch, 0.5).loss, torch.stack(each).mean())


def test_views_are_two_of_full_size_and_small_ones() -> None:
    assert [view.size for view in swav().views().views] == [16, 16, 8, 8, 8]
    assert [view.crop for view in swav().views().views][1:3] == [(0.4, 1.0), SMALL.local_area]
    assert len(swav(local_crops=0).views()) == 2
    assert round(224 * Config().local_share) == 96


def test_a_view_larger_than_the_image_is_made_larger() -> None:
    views = swav(size=32).views()
    image = torch.randint(0, 256, (4, 3, 10, 9), dtype=torch.uint8, generator=generator("tiny"))
    seen = views(image, views.draw(4, 0))
    assert [tuple(view.shape[2:]) for view in seen] == [(32, 32)] * 2 + [(16, 16)] * 3
    assert all(torch.isfinite(view).all() for view in seen)


def step(method: SwAV, progress: float, seed: int = 0) -> Out:
    out = method.loss(seen(method, seed=seed), progress)
    method.zero_grad()
    out.loss.backward()
    method.before_step(progress)
    torch.optim.SGD(method.parameters(), 0.1).step()
    method.after_step(out, progress)
    return out


def test_prototypes_are_frozen_at_first_and_always_of_length_one() -> None:
    method = swav(freeze=0.1)
    start = method.prototypes.weight.detach().clone()
    step(method, 0.05)
    torch.testing.assert_close(method.prototypes.weight, start)
    step(method, 0.1)
    assert (method.prototypes.weight - start).abs().max() > 1e-4
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(10))


def test_the_queue_counts_from_its_time_on_and_only_when_it_is_full() -> None:
    queued, plain = swav(queue=2 * ROWS, queue_from=0.5), swav()
    for i in range(2):
        batch = seen(plain, seed=i)
        assert torch.equal(queued.loss(batch, 0.9).loss, plain.loss(batch, 0.9).loss)  # not full
        step(queued, 0.1, i)
        step(plain, 0.1, i)
    batch = seen(plain, seed=2)
    assert torch.equal(queued.loss(batch, 0.4).loss, plain.loss(batch, 0.4).loss)  # too early
    assert not torch.equal(queued.loss(batch, 0.5).loss, plain.loss(batch, 0.5).loss)


def test_the_queue_holds_each_views_own_embeddings() -> None:
    method = swav(queue=ROWS)
    out = step(method, 0.5)
    assert method.queue is not None and out.carry.shape == (ROWS, 32)
    torch.testing.assert_close(method.queue.keys_KD, out.carry)
    torch.testing.assert_close(method.queue.keys_KD[:, :16].norm(dim=1), torch.ones(ROWS))
    assert not torch.allclose(method.queue.keys_KD[:, :16], method.queue.keys_KD[:, 16:])


def test_hard_codes_are_one_prototype_each() -> None:
    score = torch.randn(ROWS, 10, generator=generator("scores"))
    q = swav(hard=True).codes(score, 0, 0.5)
    torch.testing.assert_close(q, one_hot(sinkhorn(score, 0.05, 3).argmax(1), 10).float())


def test_codes_without_sinkhorn_are_a_softmax() -> None:
    score = torch.randn(ROWS, 10, generator=generator("scores"))
    torch.testing.assert_close(swav(sinkhorn=False).codes(score, 0, 0.5), (score / 0.05).softmax(1))


def test_codes_take_half_precision_no_worse() -> None:
    method = swav()
    batch = seen(method)
    with torch.autocast("cpu", torch.bfloat16):
        out = method.loss(batch, 0.5)
    assert out.loss.dtype == torch.float32
    torch.testing.assert_close(out.loss, method.loss(batch, 0.5).loss, rtol=0.05, atol=0)


def verdict_after(steps: int, **changes: object) -> str:
    """What is said of the predictions for one view after so many steps on the world."""
    data, rows = world(items=128, size=12), 32
    assert data.values is not None
    method = swav(size=12, local_crops=0, strength=0.5, blur=0.0, **changes)
    optimiser = torch.optim.AdamW(method.parameters(), 1e-2, weight_decay=0.0)
    views = method.views()
    for i in range(steps):
        index = torch.randint(len(data), (rows,), generator=generator("rows", i))
        out = method.loss(Batch(views(data.values[index], views.draw(rows, i)), index), i / steps)
        optimiser.zero_grad()
        out.loss.backward()
        method.before_step(i / steps)
        optimiser.step()
        method.after_step(out, i / steps)
    assert out.z is not None
    return verdict([labelfree(out.z.detach())], finished=True).state


def test_codes_that_are_not_shared_out_collapse_and_the_verdict_says_so() -> None:
    assert verdict_after(25, sinkhorn=False) == "collapsed"


def test_as_published_it_does_not_collapse() -> None:
    assert verdict_after(25) == "healthy"


def test_one_prototype_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="With 1 prototypes every view has the same code"):
        swav(prototypes=1)


def test_the_paper_has_3000_prototypes_and_six_small_crops() -> None:
    config, recipe = RECIPES["paper"]
    assert (config.prototypes, config.local_crops, recipe.batch, recipe.optimiser) == (3000, 6, 4096, "lars")
