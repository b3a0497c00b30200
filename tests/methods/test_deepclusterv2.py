"""DeepCluster v2: clusters of last epoch's embeddings, a memory a view, heads that share them, and the loss."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import ManyviewsError
from manyviews.kmeans import kmeans
from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.deepclusterv2 import Config, DeepClusterV2
from manyviews.rng import generator
from manyviews.runs import net_factory

SIZE, ITEMS = 16, 48
SMALL = Config(dim=16, hidden=32, prototypes=6, heads=3, local_crops=2, local_share=0.5)


def build(**changes: object) -> DeepClusterV2:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, **changes)
    return DeepClusterV2(config, net_factory("cifar_resnet8", SIZE), Spec(items=ITEMS, size=SIZE))


def features() -> Tensor:
    return torch.randn(ITEMS, 64, generator=generator("features"))


def seen(rows: Tensor, sizes: tuple[int, ...] = (16, 16, 8, 8)) -> Batch:
    draw = generator("views")
    return Batch([torch.randn(len(rows), 3, size, size, generator=draw) for size in sizes], rows)


def never() -> Tensor:
    raise AssertionError("only the first epoch has to look at everything")


def test_loss_is_the_cross_entropy_of_every_view_and_head() -> None:
    method = build()
    torch.manual_seed(1)
    method.before_epoch(0, features)
    batch = seen(torch.tensor([40, 2, 17, 9]))
    h = [method.encoder(torch.cat(views)) for views in (batch.views[:2], batch.views[2:])]
    z_VBD = F.normalize(method.projector(torch.cat(h)), dim=1).chunk(4)
    each = [
        F.cross_entropy(z @ method.prototypes_HKD[h].T / 0.1, method.label_HN[h][batch.index])
        for h in range(3)
        for z in z_VBD
    ]
    torch.testing.assert_close(method.loss(batch, 0.5).loss, torch.stack(each).mean())


def test_a_step_stores_each_views_embedding_of_its_items() -> None:
    method = build()
    rows = torch.tensor([40, 2, 17, 9])
    before = method.bank_1.rows_ND.clone()
    out = method.loss(seen(rows), 0.5)
    method.after_step(out, 0.5)
    assert out.z is not None
    torch.testing.assert_close(method.bank_1.rows_ND[rows], out.z.detach())
    assert not torch.allclose(method.bank_2.rows_ND[rows], out.z)
    torch.testing.assert_close(method.bank_2.rows_ND[rows].norm(dim=1), torch.ones(4))
    others = torch.ones(ITEMS, dtype=torch.bool).index_fill(0, rows, False)
    assert torch.equal(method.bank_1.rows_ND[others], before[others])


def test_heads_take_turns_with_the_memories_and_prototypes_are_their_clusters() -> None:
    method = build()
    for bank in (method.bank_1, method.bank_2):
        bank.rows_ND.copy_(F.normalize(bank.rows_ND, dim=1))
    torch.manual_seed(5)
    method.before_epoch(1, never)
    torch.manual_seed(5)
    for h, bank in enumerate((method.bank_1, method.bank_2, method.bank_1)):
        expected = kmeans(bank.rows_ND, 6, 10, spherical=True)
        assert torch.equal(method.label_HN[h], expected.label_N)
        torch.testing.assert_close(method.prototypes_HKD[h], expected.centroids_KD)
    assert not torch.equal(method.label_HN[0], method.label_HN[2])  # one memory, another start


def test_prototypes_are_never_trained() -> None:
    method = build()
    assert not any("prototypes" in name for name, _ in method.named_parameters())
    method.loss(seen(torch.arange(8)), 0.5).loss.backward()
    assert not method.prototypes_HKD.requires_grad


def test_the_first_memory_is_what_the_projector_makes_of_all_images() -> None:
    method = build()
    statistics = {name: value.clone() for name, value in method.projector.state_dict().items()}
    method.before_epoch(0, features)
    with torch.no_grad():
        expected = F.normalize(method.projector(features()), dim=1)  # in training: by the batch's statistics
    torch.testing.assert_close(method.bank_1.rows_ND, expected)
    assert torch.equal(method.bank_1.rows_ND, method.bank_2.rows_ND)
    method = build()
    method.before_epoch(0, features)
    assert all(torch.equal(statistics[name], value) for name, value in method.projector.state_dict().items())


def test_a_clustering_of_nearly_equal_embeddings_has_no_empty_cluster() -> None:
    method = build()
    row = F.normalize(torch.ones(1, 16), dim=1)
    noise = torch.randn(ITEMS, 16, generator=generator("noise"))
    method.bank_1.rows_ND.copy_(F.normalize(row + 1e-3 * noise, dim=1))
    method.before_epoch(1, never)
    assert all(label.bincount(minlength=6).min() > 0 for label in method.label_HN)


def test_no_small_crops_if_there_are_none() -> None:
    assert [view.size for view in build().views().views] == [16, 16, 8, 8]
    assert len(build(local_crops=0).views()) == 2


def test_what_cannot_be_clustered_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="48 images cannot be told apart by 49 prototypes"):
        build(prototypes=49)
    with pytest.raises(ManyviewsError, match="by 1 prototypes; choose --prototypes 2 to 48"):
        build(prototypes=1)
    with pytest.raises(ManyviewsError, match="With 0 heads there is nothing to predict"):
        build(heads=0)
