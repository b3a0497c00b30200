"""WCL: the authors' loss written out, weak labels that are swapped, one head or two, neighbours' small crops."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

from manyviews.data import in_memory
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec, find
from manyviews.methods.contrastive import wcl
from manyviews.objectives import nt_xent
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.training.loop import Loop
from shrink import shrunk

SIZE = 16


def method(**changes: Any) -> wcl.WCL:
    torch.manual_seed(0)
    config = dataclasses.replace(shrunk(find("wcl").recipes["world"][0]), **changes)
    return wcl.WCL(config, net_factory("cifar_resnet8+group", SIZE), Spec(items=64, size=SIZE))


def batch(*sizes: int, rows: int = 12) -> Batch:
    views = [
        torch.randn(rows, 3, size, size, generator=generator("wcl", number))
        for number, size in enumerate(sizes or (SIZE, SIZE))
    ]
    return Batch(views, torch.arange(rows))


def authors_mask(v: Tensor) -> Tensor:
    """Who shares a component with whom, as the authors' code finds it."""
    s = (normalize(v) @ normalize(v).T).detach()
    nearest = (s - 2 * torch.eye(len(v))).argmax(1).numpy()
    graph = coo_matrix((np.ones(len(v)), (np.arange(len(v)), nearest)), shape=s.shape)
    label = torch.from_numpy(connected_components(graph, directed=False)[1])
    return label[:, None] == label[None]


def authors_loss(v: Tensor, mask: Tensor, temperature: float) -> Tensor:
    others = 1 - torch.eye(len(v))
    logits = normalize(v) @ normalize(v).T / temperature
    log_p = logits - (logits.exp() * others).sum(1, keepdim=True).log()
    positive = mask * others
    return -((positive * log_p).sum(1) / positive.sum(1)).mean()


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_loss_is_that_of_the_authors(swap: bool, heads: int) -> None:
    model, seen = method(swap=swap, heads=heads, weak=0.7), batch()
    h = [model.encoder(view) for view in seen.views]
    z_1, z_2 = model.g(torch.cat(h)).chunk(2)
    v_1, v_2 = (z_1, z_2) if heads == 1 else model.phi(torch.cat(h)).chunk(2)
    mask_1, mask_2 = authors_mask(v_1), authors_mask(v_2)
    assert not torch.equal(mask_1, mask_2)
    if swap:
        mask_1, mask_2 = mask_2, mask_1
    t = model.config.temperature
    weak = (authors_loss(v_1, mask_1, t) + authors_loss(v_2, mask_2, t)) / 2
    found, expected = model.loss(seen, 0.0).loss, nt_xent(z_1, z_2, t) + 0.7 * weak
    torch.testing.assert_close(found, expected)
    weight = next(model.encoder.parameters())
    ours, theirs = (torch.autograd.grad(x, weight)[0] for x in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_one_head_has_the_parameters_of_one() -> None:
    one, two = ({name for name, _ in method(heads=heads).named_parameters()} for heads in (1, 2))
    assert two - one == {name for name in two if name.startswith("phi.")} != set()


def test_low_resolution_crops_of_neighbours_are_positives() -> None:
    model = method(local_crops=2, neighbours=3, local_share=0.5, dim=32)
    assert [view.size for view in model.views().views] == [SIZE, SIZE, SIZE // 2, SIZE // 2]
    z_1, z_2 = (torch.randn(12, 32, generator=generator("z", v)) for v in (1, 2))
    local = batch(SIZE // 2, SIZE // 2).views
    s = normalize(z_1) @ normalize(z_1).T
    positive = s.argsort(dim=1, descending=True)[:, :4]  # the image itself is nearest to itself
    expected = []
    for k in model.g(model.encoder(torch.cat(local))).chunk(2):
        for z in (z_1, z_2):
            logits = normalize(z) @ normalize(k).T / model.config.temperature
            expected.append((logits.logsumexp(1) - logits.gather(1, positive).mean(1)).mean())
    torch.testing.assert_close(model.local_loss(z_1, z_2, local), torch.stack(expected).mean())


def test_it_trains_with_low_resolution_crops() -> None:
    pixels = torch.randint(0, 256, (48, 3, SIZE, SIZE), generator=generator("wcl"), dtype=torch.uint8)
    model = method(local_crops=2, local_share=0.5)
    recipe = Recipe(size=SIZE, batch=16, budget="2steps", lr=1e-3)
    loop = Loop(model, in_memory("noise", pixels, None, None), recipe)
    out = model.loss(loop._seen(next(loop._drawn())), 0.0)
    assert set(out.log) == {"nce", "weak", "local"}
    torch.testing.assert_close(out.loss, out.log["nce"] + out.log["weak"] + out.log["local"])
    assert loop.run() == "finished"


def test_what_cannot_work_is_said() -> None:
    with pytest.raises(ManyviewsError, match="12 neighbours among 12 images"):
        method(local_crops=1, neighbours=12, local_share=0.5).loss(batch(SIZE, SIZE, SIZE // 2), 0.0)
    with pytest.raises(ManyviewsError, match="groups the images of a batch, and here there is one"):
        method().loss(batch(rows=1), 0.0)
