"""k-means against scikit-learn's, and what it does where clusters would be empty."""

import numpy
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor
from torch.nn.functional import normalize

from manyviews import kmeans as module
from manyviews.errors import ManyviewsError
from manyviews.kmeans import Clusters, kmeans, whitened


def gauss(rows: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(centres: int = 8, each: int = 50, dim: int = 16) -> tuple[Tensor, Tensor]:
    truth = torch.arange(centres).repeat_interleave(each)
    return 10 * gauss(centres, dim, 1)[truth] + gauss(len(truth), dim), truth


def found(x: Tensor, clusters: int, seed: int = 0, **options: object) -> Clusters:
    torch.manual_seed(seed)
    return kmeans(x, clusters, **options)  # pyright: ignore[reportArgumentType]


def test_from_the_same_start_it_is_scikit_learns() -> None:
    x = gauss(600, 12)
    torch.manual_seed(3)
    start = x[torch.randperm(len(x))[:9]]
    ours = found(x, 9, seed=3, iterations=100)
    theirs = KMeans(9, init=start.numpy(), n_init=1, max_iter=100, tol=0).fit(x.numpy())
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-6)
    assert numpy.array_equal(ours.label_N.numpy(), theirs.labels_)
    torch.testing.assert_close(ours.centroids_KD, torch.from_numpy(theirs.cluster_centers_))


def test_its_inertia_is_as_low_as_scikit_learns() -> None:
    x = gauss(2000, 32)
    ours = min(found(x, 20, seed=seed).inertia for seed in range(3))
    theirs = KMeans(20, n_init=3, max_iter=20, random_state=0).fit(x.numpy()).inertia_
    assert ours < 1.01 * theirs


def test_what_is_apart_is_told_apart() -> None:
    x, truth = blobs()
    best = min((found(x, 8, seed=seed) for seed in range(8)), key=lambda clusters: clusters.inertia)
    assert adjusted_rand_score(truth, best.label_N) == 1.0


def test_spherical_clusters_are_by_cosine_alone() -> None:
    x, _ = blobs()
    lengths = torch.rand(len(x), 1, dtype=torch.float64) + 0.1
    one, other = (found(points, 8, spherical=True) for points in (x, lengths * x))
    assert torch.equal(one.label_N, other.label_N)
    torch.testing.assert_close(one.centroids_KD.norm(dim=1), torch.ones(8, dtype=torch.float64))
    cosine = normalize(x, dim=1) @ one.centroids_KD.T
    assert torch.equal(cosine.argmax(1), one.label_N)
    sums = torch.stack([normalize(x, dim=1)[one.label_N == k].sum(0) for k in range(8)])
    torch.testing.assert_close(one.centroids_KD, normalize(sums, dim=1))


@pytest.mark.parametrize("spherical", [False, True])
def test_blocks_change_nothing(spherical: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = gauss(500, 8)
    whole = found(x, 10, spherical=spherical)
    monkeypatch.setitem(module.BLOCK, "cpu", 64)
    assert torch.equal(found(x, 10, spherical=spherical).label_N, whole.label_N)


def test_no_cluster_is_empty_where_most_points_are_copies() -> None:
    x = torch.cat([torch.zeros(500, 4, dtype=torch.float64), gauss(30, 4)])
    for seed in range(5):
        assert found(x, 25, seed=seed).sizes_K.min() > 0


def test_no_cluster_is_empty_where_all_points_are_in_one_place_nearly() -> None:
    """What a collapsed encoder gives: one cluster would take all."""
    x = torch.ones(400, 16) + 1e-3 * gauss(400, 16).float()
    assert found(x, 40).sizes_K.min() > 0
    assert found(x, 40, spherical=True).sizes_K.min() > 0


def test_copies_of_one_point_are_one_cluster() -> None:
    clusters = found(torch.ones(50, 3), 5)
    assert (clusters.sizes_K > 0).sum() == 1 and clusters.inertia == 0
    assert torch.isfinite(clusters.centroids_KD).all()


def test_every_point_its_own_cluster() -> None:
    assert (found(gauss(20, 3), 20).sizes_K == 1).all()


def test_a_seed_repeats_it_and_another_does_not() -> None:
    x = gauss(400, 8)
    assert torch.equal(found(x, 20, seed=1).label_N, found(x, 20, seed=1).label_N)
    assert not torch.equal(found(x, 20, seed=1).label_N, found(x, 20, seed=2).label_N)


def test_more_clusters_than_points_are_refused() -> None:
    with pytest.raises(ManyviewsError, match="5 points cannot make 6 clusters: choose 1 to 5"):
        kmeans(gauss(5, 2), 6)
    with pytest.raises(ManyviewsError, match="5 points cannot make 0 clusters"):
        kmeans(gauss(5, 2), 0)


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ManyviewsError, match="not finite"):
        kmeans(torch.full((5, 2), torch.nan), 2)


def test_whitened_points_have_no_correlation_and_one_length() -> None:
    x = gauss(5000, 10) @ gauss(10, 10, 1) + 3
    z = whitened(x, 6)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5000, dtype=torch.float64))
    centred = x - x.mean(0)
    _, _, axis = torch.linalg.svd(centred, full_matrices=False)
    plain = centred @ axis[:6].T
    plain = normalize(plain / plain.std(0), dim=1)
    torch.testing.assert_close((z.T @ plain / 5000).abs().amax(1), (plain**2).mean(0).flip(0))
    torch.testing.assert_close(z @ z.T, plain @ plain.T)  # the same but for the order and sign of axes


def test_what_does_not_vary_is_not_blown_up() -> None:
    x = torch.cat([gauss(100, 3).float(), torch.ones(100, 5)], 1)
    z = whitened(x, 8)
    assert torch.isfinite(z).all()
    assert (z.abs().amax(0) > 1e-3).sum() == 3
    assert torch.equal(whitened(torch.ones(9, 4), 4), torch.zeros(9, 4))


def test_more_axes_than_dimensions_are_refused() -> None:
    with pytest.raises(ManyviewsError, match="4 dimensions have no 5 principal axes: choose 1 to 4"):
        whitened(gauss(9, 4), 5)
