"""InfoMin against its loss written out, a mutual information that is known, and the paper's pairs of views."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from scipy.special import i0e, i1e
from torch import Tensor, nn

from manyviews import distributed, plan
from manyviews.errors import ManyviewsError
from manyviews.memory import Twin
from manyviews.method import Batch, Spec, find
from manyviews.methods.contrastive.infomin import Config, InfoMin
from manyviews.nets.encoder import Encoder
from manyviews.nets.jigsaw import JigsawHead, side_it_takes
from manyviews.runs import net_factory
from manyviews.views.patches import apart, cut, in_cells

SIZE = 32
PLAIN: dict[str, Any] = {"jigsaw": 0.0, "randaugment": 0, "strength": 0.0, "blur": 0.0}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build(net: str = "cifar_resnet8", size: int = SIZE, **settings: Any) -> InfoMin:
    torch.manual_seed(0)
    config = Config(**{"queue": 32, "hidden": 24, "dim": 16, "splits": 1, **settings})
    return InfoMin(config, net_factory(net, size), Spec(items=64, size=size))


def seen(method: InfoMin, batch: int = 6) -> Batch:
    views = [normal(batch, 3, view.size, view.size, seed=v) for v, view in enumerate(method.views().views)]
    return Batch(views, torch.arange(batch))


def contrast(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """The authors' logits: the key, then the queue; the label is 0."""
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64))


@pytest.mark.parametrize("size", [8, 9, 10])
def test_the_smallest_images_have_a_jigsaw(size: int) -> None:
    method = build(size=size, jigsaw=0.3)
    assert torch.isfinite(method.loss(seen(method), 0.0).loss)


def test_what_only_the_twin_looks_at_is_not_learned_from() -> None:
    for settings in ({"jigsaw": 0.3}, {"jigsaw": 0.0}):
        method = build(**settings)
        batch = seen(method)
        views = [view.requires_grad_() for view in batch.views]
        method.loss(batch, 0.0).loss.backward()
        assert [view.grad is not None for view in views].count(True) == method.learned_views
        assert all(view.grad is not None for view in views[: method.learned_views])


# -- the loss ------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_authors_with_the_jigsaw_by_hand() -> None:
    method = build(jigsaw=0.3).eval()
    batch = seen(method)
    q, k = method.query(batch.views[0])[0], method.key(batch.views[-1])[0]
    torch.manual_seed(5)
    torch.randperm(6)  # keys are shuffled before
    u = distributed.rand(6, 9, 3)
    rows = []
    for image, numbers in zip(batch.views[1], u, strict=True):
        h = []
        for cell, (down, across, _) in enumerate(numbers.tolist()):
            top = cell // 3 * 12 + int(down * 5)  # 12 - 8 + 1 places
            left = cell % 3 * 12 + int(across * 5)
            h.append(method.encoder(image[None, :, top : top + 8, left : left + 8])[0])
        pieces = [method.jigsaw.each(h[place][None])[0] for place in numbers[:, 2].argsort().tolist()]
        rows.append(F.normalize(method.jigsaw.all(torch.cat(pieces)), dim=0))
    queue = method.queues[0].keys_KD
    main, jigsaw = contrast(q, k, queue, 0.15), contrast(torch.stack(rows), k, queue, 0.15)
    torch.manual_seed(5)
    out = method.loss(batch, 0.25)
    torch.testing.assert_close(out.loss, 0.7 * main + 0.3 * jigsaw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.log["jigsaw_loss"], jigsaw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.log["mutual_information"], math.log(33) - main, atol=1e-5, rtol=1e-5)
    assert not torch.equal(method.loss(batch, 0.25).log["jigsaw_loss"], out.log["jigsaw_loss"])


def test_channels_look_each_other_up_across_two_queues() -> None:
    method = build(space="lab", jigsaw=0.0, splits=1).eval()
    batch = seen(method)
    (q_1, q_2), (k_1, k_2) = method.query(batch.views[0]), method.key(batch.views[0])
    one, two = (queue.keys_KD.clone() for queue in method.queues)
    two.copy_(F.normalize(normal(32, 16, seed=9), dim=1))
    method.queues[1].keys_KD.copy_(two)
    out = method.loss(batch, 0.0)
    losses = contrast(q_1, k_2, two, 0.15), contrast(q_2, k_1, one, 0.15)
    torch.testing.assert_close(out.loss, sum(losses), atol=1e-5, rtol=1e-5)
    mean = sum(losses) / 2
    torch.testing.assert_close(out.log["mutual_information"], math.log(33) - mean, atol=1e-5, rtol=1e-5)
    method.after_step(out, 0.0)
    for queue, k in zip(method.queues, (k_1, k_2), strict=True):
        torch.testing.assert_close(queue.keys_KD[:6], k)


class Says(nn.Module):
    """A network with one answer."""

    def __init__(self, rows: Tensor):
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.rows[x[:, 0, 0, 0].long()]]


def circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], 1)


@pytest.mark.parametrize("kappa", [1.0, 8.0, 30.0])
def test_the_logged_information_is_that_of_views_whose_information_is_known(kappa: float) -> None:
    """An angle and itself with von Mises noise: k cos(difference) is the best critic, I = k I1(k) / I0(k) - log I0(k)."""
    number = 4000
    method = build(jigsaw=0.0, queue=number, dim=2, temperature=1 / kappa)
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(number)
    noise = torch.distributions.VonMises(0.0, torch.tensor(kappa)).sample((number,))
    method.query, method.key = Says(circle(angle)), Twin(Says(circle(angle + noise)))
    method.queues[0].keys_KD.copy_(circle(2 * math.pi * torch.rand(number)))
    x = torch.arange(number).float()[:, None, None, None]
    found = float(method.loss(Batch([x, x], torch.arange(number)), 0.0).log["mutual_information"])
    true = kappa * i1e(kappa) / i0e(kappa) - (math.log(i0e(kappa)) + kappa)
    assert found == pytest.approx(true, abs=0.03)


def test_the_information_never_passes_the_logarithm_of_the_candidates() -> None:
    method = build(jigsaw=0.0, queue=15, dim=16, temperature=1e-3)
    basis = torch.eye(16)
    method.query, method.key = Says(basis[:1]), Twin(Says(basis[:1]))
    method.queues[0].keys_KD.copy_(basis[1:])
    x = torch.zeros(1, 1, 1, 1)
    found = float(method.loss(Batch([x, x], torch.arange(1)), 0.0).log["mutual_information"])
    assert found == pytest.approx(math.log(16), abs=1e-6)


# -- views ---------------------------------------------------------------------------------------------------------


def test_the_views_are_the_authors_augmentation_d_and_its_jigsaw() -> None:
    one, whole, two = (
        InfoMin(Config(), net_factory("cifar_resnet8", 224), Spec(items=4, size=224)).views().views
    )
    assert one == two
    assert (one.crop, one.jitter, one.jitter_p) == ((0.2, 1.0), (0.8, 0.8, 0.8, 0.2), 0.8)
    assert (one.blur, one.grey, one.randaugment, one.randaugment_p) == (0.5, 0.2, (2, 30.0), 0.5)
    assert (whole.size, whole.crop, whole.jitter, whole.grey) == (255, (0.6, 1.0), None, 0.0)
    strong = build(strength=2.0, min_area=0.05).views().views[0]
    assert strong.jitter == (1.6, 1.6, 1.6, 0.4) and strong.crop == (0.05, 1.0)
    (channels,) = build(space="ydbdr", jigsaw=0.0).views().views
    assert channels.grey == 0.0 and not channels.randaugment_colours


@pytest.mark.parametrize("space", ["lab", "ydbdr", "ycbcr", "rgb"])
def test_each_half_sees_its_own_channels_alone(space: str) -> None:
    method = build(space=space, **PLAIN).eval()
    light, colour = method.encoder.light, method.encoder.colour
    assert (light.in_channels, colour.in_channels) == (1, 2)
    x = normal(2, 3, SIZE, SIZE).requires_grad_()
    q_1, q_2 = method.query(x)
    q_1.sum().backward()
    assert not any(p.grad.any() for p in colour.parameters())
    assert all(p.grad.any() for p in light.parameters())
    if space == "rgb":
        other = x.detach().clone()
        other[:, 1:] = normal(2, 2, SIZE, SIZE, seed=5)
        assert torch.equal(method.query(other)[0], q_1) and not torch.equal(method.query(other)[1], q_2)


def test_a_frequency_parts_an_image_into_what_a_blur_leaves_and_takes() -> None:
    method = build(frequency=1.5, **PLAIN)
    batch = seen(method)
    (x,) = batch.views
    low, high = method.pair(batch)
    torch.testing.assert_close(low + high, x)
    torch.testing.assert_close(low, TF.gaussian_blur(x, [11, 11], [1.5, 1.5]), atol=1e-5, rtol=0)
    assert torch.isfinite(method.loss(batch, 0.0).loss)


@pytest.mark.parametrize("distance", [0.0, 0.5, 3.0])
def test_two_patches_are_so_far_apart_down_and_across(distance: float) -> None:
    method = build(distance=distance, **PLAIN)
    side = method.views().views[0].size
    assert side == 4 * SIZE
    place = torch.arange(side * side).float().view(1, 1, side, side).expand(6, 3, side, side)
    v_1, v_2 = method.pair(Batch([place], torch.arange(6)))
    assert v_1.shape == v_2.shape == (6, 3, SIZE, SIZE)
    pixels = int(distance * SIZE)
    assert (v_2 - v_1 == pixels * side + pixels).all()
    if distance < 3:
        assert len(v_1[:, 0, 0, 0].unique()) > 1, "the pair lies elsewhere in each image"


def test_patches_are_slices_and_reach_every_place_of_their_cells() -> None:
    x, u = normal(5, 2, 18, 18), torch.rand(5, 9, 2, generator=torch.Generator().manual_seed(0))
    top, left = in_cells(u, across=3, cell=6, side=5)
    patches = cut(x, top, left, 5)
    for image, rows, columns, found in zip(x, top.tolist(), left.tolist(), patches, strict=True):
        for patch, row, column in zip(found, rows, columns, strict=True):
            assert torch.equal(patch, image[:, row : row + 5, column : column + 5])
    many, _ = in_cells(torch.rand(4000, 9, 2), across=3, cell=6, side=5)
    assert [many[:, m].unique().tolist() for m in (0, 4, 8)] == [[0, 1], [6, 7], [12, 13]]
    corner, _ = apart(torch.rand(4000, 2), pixels=3, image=10, side=5)
    assert corner[:, 0].unique().tolist() == [0, 1, 2] and (corner[:, 1] - corner[:, 0] == 3).all()


# -- the jigsaw ----------------------------------------------------------------------------------------------------


def test_the_head_reads_the_pieces_in_the_order_that_was_drawn() -> None:
    torch.manual_seed(0)
    head, h = JigsawHead(8, 12, 4), normal(3, 9, 8)
    order = torch.rand(3, 9).argsort(1)
    for row, (pieces, places) in enumerate(zip(h, order.tolist(), strict=True)):
        by_hand = head.all(torch.cat([head.each(pieces[place]) for place in places]))
        torch.testing.assert_close(head(h, order)[row], by_hand)


@pytest.mark.parametrize(
    ("net", "takes"),
    [("small_resnet", 8), ("small_vit", 8), ("vit_ti16", 16), ("small_vit/relative", 32), ("vgg_a/bn", 32)],
)
def test_pieces_are_enlarged_to_what_the_net_takes(net: str, takes: int) -> None:
    method = build(net)
    assert (method.patch, method.seen) == (8, takes)
    if net.startswith("small"):
        assert torch.isfinite(method.loss(seen(method, 4), 0.0).loss)


def test_a_net_that_sees_no_pieces_is_refused() -> None:
    class Blind(Encoder):
        def grid(self, x_BCHW: Tensor) -> Tensor:
            raise ManyviewsError("sees nothing")

    blind = Blind(4)
    blind.weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(ManyviewsError, match='"Blind" sees no image of 9 to 32 pixels'):
        side_it_takes(blind, 9, 32)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"space": "lab"}, "set jigsaw to 0"),
        ({"distance": 1.0}, "set jigsaw to 0"),
        ({"space": "lab", "frequency": 1.0, "jigsaw": 0.0}, "space and by frequency"),
        ({"space": "cmyk", "jigsaw": 0.0}, "channels of lab"),
        ({"distance": 3.5, "jigsaw": 0.0}, "0 to 3 of their sides"),
        ({"frequency": 0.0, "jigsaw": 0.0}, "more than 0 pixels"),
        ({"jigsaw": 1.0}, "below 1"),
    ],
)
def test_views_that_cannot_be_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ManyviewsError, match=says):
        build(**settings)


def test_without_a_jigsaw_there_is_no_third_view_and_no_head() -> None:
    method = build(jigsaw=0.0)
    assert len(method.views()) == 2 and not any("jigsaw" in name for name, _ in method.named_parameters())
    assert "jigsaw_loss" not in method.loss(seen(method), 0.0).log
    assert plan.base(find("infomin"), "world")[0].jigsaw > 0
