"""DeepCluster: labels by clustering, weights by size, a new top layer each epoch, and edges for colours."""

import dataclasses

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from manyviews import nets
from manyviews.data import Unreadable, in_memory
from manyviews.errors import ManyviewsError
from manyviews.evaluation import EncoderEmbedder
from manyviews.kmeans import kmeans, whitened
from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.deepcluster import Config, DeepCluster
from manyviews.nets.sobel import Sobel
from manyviews.recipe import Recipe
from manyviews.rng import generator
from manyviews.runs import net_factory
from manyviews.training.loop import Loop
from manyviews.training.optimisers import groups

SIZE, ITEMS = 16, 120
SMALL = Config(clusters=6, pca=8, sobel=False)


def deepcluster(**changes: object) -> DeepCluster:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, **changes)
    return DeepCluster(config, net_factory("cifar_resnet8", SIZE), Spec(items=ITEMS, size=SIZE))


def features(seed: int = 0) -> Tensor:
    draw = generator("features", seed)
    return torch.randn(3, 64, generator=draw)[torch.arange(ITEMS) % 3] + 0.3 * torch.randn(
        ITEMS, 64, generator=draw
    )


def clustered(method: DeepCluster, h: Tensor, epoch: int = 0) -> DeepCluster:
    torch.manual_seed(epoch)
    method.before_epoch(epoch, lambda: h)
    return method


def batch(rows: Tensor) -> Batch:
    return Batch([torch.randn(len(rows), 3, SIZE, SIZE, generator=generator("views"))], rows)


def test_labels_are_k_means_of_whitened_features() -> None:
    method = clustered(deepcluster(), features())
    torch.manual_seed(0)
    assert torch.equal(method.label_N, kmeans(whitened(features(), 8), 6).label_N)


def test_a_weighted_mean_is_that_of_sampling_clusters_uniformly() -> None:
    """Section 3.3: over all images, the loss is the mean over clusters of each cluster's mean."""
    method = clustered(deepcluster(), features()).eval()
    everyone = batch(torch.arange(ITEMS))
    loss_N = F.cross_entropy(method.top(method.encoder(everyone.views[0])), method.label_N, reduction="none")
    by_cluster = torch.stack([loss_N[method.label_N == k].mean() for k in range(6)])
    assert method.label_N.bincount().unique().numel() > 1
    torch.testing.assert_close(method.loss(everyone, 0.5).loss, by_cluster.mean())


def test_without_uniform_weights_every_image_weighs_the_same() -> None:
    method = clustered(deepcluster(uniform=False), features()).eval()
    everyone = batch(torch.arange(ITEMS))
    logits = method.top(method.encoder(everyone.views[0]))
    torch.testing.assert_close(method.loss(everyone, 0.5).loss, F.cross_entropy(logits, method.label_N))


def test_labels_belong_to_items_not_to_places_in_the_batch() -> None:
    method = clustered(deepcluster(), features()).eval()
    rows = torch.tensor([100, 3, 57])
    some = batch(rows)
    logits = method.top(method.encoder(some.views[0]))
    loss_B = F.cross_entropy(logits, method.label_N[rows], reduction="none")
    torch.testing.assert_close(
        method.loss(some, 0.5).loss, (loss_B * method.weight_K[method.label_N[rows]]).mean()
    )


def test_the_top_layer_begins_again_with_every_clustering() -> None:
    method = deepcluster(clusters=100)
    with torch.no_grad():
        method.top.weight.fill_(7.0)
        method.top.bias.fill_(7.0)
    clustered(method, features())
    assert method.top.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(method.top.weight.mean().item()) < 1e-3
    assert (method.top.bias == 0).all()


def test_the_top_layer_keeps_its_rate_while_that_of_the_rest_falls() -> None:
    method = deepcluster()
    held = groups(method, Recipe(optimiser="adamw", lr=0.1), method.constant_rate())
    fixed = {id(w) for group in held if not group["scheduled"] for w in group["params"]}
    assert fixed == {id(w) for w in method.top.parameters()}


def test_nmi_is_between_this_clustering_and_the_last() -> None:
    method = clustered(deepcluster(), features())
    first = method.label_N.clone()
    clustered(method, features() + 0.5 * features(1), epoch=1)
    expected = normalized_mutual_info_score(first, method.label_N, average_method="geometric")
    assert 0 < expected < 1
    log = method.loss(batch(torch.arange(8)), 0.5).log
    assert float(log["nmi"]) == pytest.approx(expected, rel=1e-6)
    clustered(method, features() + 0.5 * features(1), epoch=1)
    assert float(method.nmi) == pytest.approx(1.0)


@pytest.mark.parametrize("spread", [0.0, 1e-3])
def test_one_cluster_that_would_take_all_is_survived(spread: float) -> None:
    method = clustered(deepcluster(), 1 + spread * features())
    sizes = method.label_N.bincount(minlength=6)
    assert (sizes > 0).all() if spread else sizes.max() == ITEMS
    out = method.loss(batch(torch.arange(16)), 0.5)
    out.loss.backward()
    assert torch.isfinite(out.loss) and torch.isfinite(method.weight_K).all()
    assert float(method.weight_K[method.label_N].mean()) == pytest.approx(1.0)


def test_an_image_that_cannot_be_read_moves_nobody_elses_label() -> None:
    pixels = torch.randint(0, 256, (ITEMS, 3, SIZE, SIZE), generator=generator("pixels"), dtype=torch.uint8)

    def read(item: int) -> Tensor:
        if item == 7:
            raise Unreadable("it is broken")
        return pixels[item]

    data = dataclasses.replace(in_memory("noise", pixels, None, None), values=None, read=read)
    method = deepcluster()
    loop = Loop(method, data, Recipe(size=SIZE, batch=40, budget="1steps", channels_last=False), workers=0)
    h = loop._embed()
    assert len(h) == ITEMS
    others = torch.arange(ITEMS) != 7
    torch.testing.assert_close(h[7], h[others].mean(0))
    whole = EncoderEmbedder(method.encoder, SIZE).embed(pixels)
    torch.testing.assert_close(h[others], whole[others], rtol=1e-3, atol=1e-4)
    assert loop.run() == "finished"


def test_what_cannot_be_clustered_is_refused() -> None:
    with pytest.raises(ManyviewsError, match="120 images cannot be told apart by 121 clusters"):
        deepcluster(clusters=121)
    with pytest.raises(ManyviewsError, match="by 1 clusters; choose --clusters 2 to 120"):
        deepcluster(clusters=1)
    with pytest.raises(ManyviewsError, match="64 features have no 65 principal axes; choose --pca 1 to 64"):
        deepcluster(pca=65)


def test_edges_are_scipys_and_colour_is_gone() -> None:
    from scipy import ndimage

    encoder = nets.build("sobel(cifar_resnet8)", size=SIZE)
    assert isinstance(encoder, Sobel) and encoder.inner.in_channels == 2
    x = torch.randn(2, 3, SIZE, SIZE, generator=generator("edges"))
    grey = x.mean(1).numpy()
    for item in range(2):
        for channel, axis in enumerate((1, 0)):
            theirs = -ndimage.sobel(grey[item], axis=axis, mode="constant")
            torch.testing.assert_close(
                encoder.edges(x)[item, channel], torch.from_numpy(theirs), rtol=1e-4, atol=1e-5
            )
    flat = torch.rand(2, 3, 1, 1, generator=generator("flat")).expand(2, 3, SIZE, SIZE)
    assert encoder.edges(flat)[..., 1:-1, 1:-1].abs().max() < 1e-5
    torch.testing.assert_close(encoder(x), encoder(x[:, [2, 0, 1]]))
    assert encoder.grid(x).shape[1] == encoder.width == 64


def test_the_filter_is_kept_with_the_encoder_and_never_learned() -> None:
    method = deepcluster(sobel=True)
    assert method.encoder.built is not None and method.encoder.built.name == "sobel(cifar_resnet8)"
    assert not any("filters" in name for name, _ in method.named_parameters())
    again = nets.build(method.encoder.built.name, size=SIZE)
    again.load_state_dict(method.encoder.state_dict())
    x = torch.randn(2, 3, SIZE, SIZE, generator=generator("again"))
    assert torch.equal(again.eval()(x), method.encoder.eval()(x))


def test_numbers_of_a_sobel_are_refused() -> None:
    with pytest.raises(ManyviewsError, match="Sobel filters have no numbers"):
        nets.build("sobel(cifar_resnet8, 3)")
