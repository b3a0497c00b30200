"""DenseCL: its dense loss cell by cell, counterparts as lightly finds them, two queues, one pass of the backbone."""

import dataclasses
from typing import Any

import pytest
import torch
from lightly.models.utils import select_most_similar
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from manyviews import nets
from manyviews.errors import ManyviewsError
from manyviews.memory import Twin
from manyviews.method import Batch, Spec, find
from manyviews.methods.contrastive import densecl
from manyviews.nets import Encoder
from manyviews.nets.encoder import compile_encoders
from manyviews.objectives import info_nce
from manyviews.rng import generator
from manyviews.runs import net_factory
from shrink import shrunk

SIZE, B = 16, 6


def method(net: Any = "cifar_resnet8+group", **changes: Any) -> densecl.DenseCL:
    torch.manual_seed(0)
    config = dataclasses.replace(shrunk(find("densecl").recipes["world"][0], splits=1), **changes)
    factory = net_factory(net, SIZE) if isinstance(net, str) else net
    return densecl.DenseCL(config, factory, Spec(items=64, size=SIZE))


def batch() -> Batch:
    views = [torch.randn(B, 3, SIZE, SIZE, generator=generator("densecl", v)) for v in (0, 1)]
    return Batch(views, torch.arange(B))


def maps(model: densecl.DenseCL) -> tuple[Tensor, ...]:
    (f, _, r), (f_k, _, t) = (
        net(view) for net, view in zip((model.query, model.key), batch().views, strict=True)
    )
    return f, f_k, normalize(r, dim=2), normalize(t, dim=2)


@pytest.mark.parametrize("cells", [None, 2])
def test_the_loss_is_that_of_a_plain_loop(cells: int | None) -> None:
    model = method(dense=0.3, cells=cells)
    out = model.loss(batch(), 0.5)
    f, f_k, r, t = maps(model)
    places, temperature = f.shape[1], model.config.temperature
    assert places == (16 if cells is None else 4)
    total = torch.zeros(())
    for b in range(B):
        for i in range(places):
            similar = [torch.cosine_similarity(f[b, i], f_k[b, j], dim=0) for j in range(places)]
            c = max(range(places), key=lambda j: similar[j])
            positive = (r[b, i] @ t[b, c] / temperature).exp()
            negatives = (model.dense_queue.keys_KD @ r[b, i] / temperature).exp().sum()
            total = total - (positive / (positive + negatives)).log()
    torch.testing.assert_close(out.log["dense"], total / (B * places), rtol=1e-4, atol=1e-5)

    x_q, x_k = batch().views
    q, k = (normalize(net(x)[1]) for net, x in ((model.query, x_q), (model.key, x_k)))
    l_q = info_nce(q, k, model.queue.keys_KD, temperature)
    torch.testing.assert_close(out.log["global"], l_q)
    torch.testing.assert_close(out.loss, 0.7 * l_q + 0.3 * out.log["dense"])


def test_counterparts_are_those_of_lightly() -> None:
    model = method()
    f, f_k, r, t = maps(model)
    c = model.counterparts(f, f_k, r, t)
    ours = t.gather(1, c[:, :, None].expand_as(t))
    assert torch.equal(ours, select_most_similar(normalize(f, dim=2), normalize(f_k, dim=2), t))
    own = method(match="projection").counterparts(f, f_k, r, t)
    assert torch.equal(own, (r @ t.mT).argmax(2)) and not torch.equal(own, c)
    random = method(match="random").counterparts(f, f_k, r, t)
    assert random.shape == c.shape and random.max() < t.shape[1] and not torch.equal(random, c)


def test_the_same_view_is_its_own_counterpart() -> None:
    model = method()
    f, _, r, t = maps(model)
    assert torch.equal(model.counterparts(f, f, r, t), torch.arange(16).expand(B, 16))


def test_lambda_waits_and_weighs() -> None:
    model = method(dense=0.5, dense_from=0.2)
    early, late = model.loss(batch(), 0.1), model.loss(batch(), 0.2)
    torch.testing.assert_close(early.loss, early.log["global"])
    torch.testing.assert_close(late.loss, (late.log["global"] + late.log["dense"]) / 2)
    only = method(dense=1.0).loss(batch(), 0.0)
    torch.testing.assert_close(only.loss, only.log["dense"])


def test_the_dense_queue_takes_pooled_keys_and_the_other_global_ones() -> None:
    model = method()
    x_k = batch().views[1]
    _, k, t = model.key(x_k)
    before = model.dense_queue.keys_KD.clone()
    model.after_step(model.loss(batch(), 0.0), 0.0)
    torch.testing.assert_close(model.queue.keys_KD[:B], normalize(k))
    torch.testing.assert_close(model.dense_queue.keys_KD[:B], normalize(t.mean(1)))
    assert torch.equal(model.dense_queue.keys_KD[B:], before[B:])


def test_the_backbone_runs_once_a_view() -> None:
    model, calls = method(), []
    model.encoder.get_submodule("conv1").register_forward_hook(lambda *_: calls.append(1))
    model.loss(batch(), 0.0).loss.backward()
    assert len(calls) == 1  # the twin has its own
    h = model.encoder(batch().views[0])
    torch.testing.assert_close(model.query.get_submodule("whole")(h), model.query(batch().views[0])[1])


def test_cells_pool_the_map() -> None:
    model, x = method(cells=2), batch().views[0]
    expected = adaptive_avg_pool2d(model.encoder.grid(x), 2).flatten(2).mT
    torch.testing.assert_close(model.query(x)[0], expected)


class NoGrid(Encoder):
    def __init__(self) -> None:
        super().__init__(8)
        self.linear = torch.nn.Linear(3 * SIZE * SIZE, 8)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.linear(x_BCHW.flatten(1))


def test_a_net_without_a_grid_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="DenseCL needs a net with a feature grid, and NoGrid has none"):
        method(lambda: NoGrid())


def test_a_net_whose_embedding_is_not_its_grids_mean_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="whose embedding is the mean of its feature grid"):
        method("small_vit")


def test_compiling_reaches_the_map_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """DenseCL asks its encoders for feature maps and never calls them whole."""
    compiled: list[str] = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function.__name__) or function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append("whole"))
    encoder = nets.build("cifar_resnet8", size=16)
    compile_encoders(torch.nn.ModuleList([encoder, Twin(encoder)]))
    assert sorted(compiled) == ["grid", "grid", "whole", "whole"]
