"""SimCLR v2: the middle layer stays, a memory adds negatives, and three commands chain on few labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

import manyviews
from manyviews import nets
from manyviews.data import open_data
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.contrastive.simclrv2 import Config, SimCLRv2
from manyviews.nets.around import parsed
from manyviews.objectives import nt_xent
from manyviews.runs import Run, net_factory

SPEC = Spec(items=48, size=16)
NET = "cifar_resnet8"


def make(**settings: object) -> SimCLRv2:
    torch.manual_seed(0)
    return SimCLRv2(Config(hidden=24, dim=8, **settings), net_factory(NET, 16), SPEC)  # pyright: ignore[reportArgumentType]


def batch() -> Batch:
    views = [torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(v)) for v in (0, 1)]
    return Batch(views, torch.arange(8))


@pytest.mark.parametrize(("kept", "width"), [(0, 64), (1, 24), (2, 24)])
def test_layers_of_the_projector_stay_with_the_encoder(kept: int, width: int) -> None:
    method = make(kept=kept)
    assert method.encoder.width == width
    assert sum(isinstance(layer, torch.nn.Linear) for layer in method.projector) == 3 - kept
    assert method.encoder(torch.randn(2, 3, 16, 16)).shape == (2, width)


def test_the_same_function_whatever_is_kept() -> None:
    """What is kept is a matter of where evaluation looks, not of what is learned."""
    one, two = make(kept=1), make(kept=2)
    for theirs, ours in zip(two.parameters(), one.parameters(), strict=True):
        theirs.data.copy_(ours)
    losses = [method.loss(batch(), 0.5).loss for method in (one, two)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    assert all(
        torch.equal(a.grad, b.grad)  # pyright: ignore[reportArgumentType]
        for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )


def test_a_projector_cannot_be_kept_whole() -> None:
    with pytest.raises(ManyviewsError, match="--kept is 3, but a projector of 3 layers can keep 0 to 2"):
        make(kept=3)


def test_a_memory_is_more_negatives() -> None:
    torch.manual_seed(1)
    z_a, z_b, memory = torch.randn(5, 6), torch.randn(5, 6), normalize(torch.randn(7, 6))
    z = normalize(torch.cat([z_a, z_b]))
    logits = torch.cat([(z @ z.T).fill_diagonal_(-torch.inf), z @ memory.T], 1) / 0.3
    plain = cross_entropy(logits, torch.arange(10).roll(5))
    torch.testing.assert_close(nt_xent(z_a, z_b, 0.3, memory), plain)


def test_the_loss_looks_into_what_the_memory_network_queued() -> None:
    method, seen = make(queue=16, momentum=0.75), batch()
    for p in method.memory.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    z, keys = method.embedded(seen.views), normalize(method.memory(seen.views[0]))
    out = method.loss(seen, 0.0)
    torch.testing.assert_close(out.loss, nt_xent(*z, method.config.temperature, method.queue.keys_KD))
    old, online = (next(net.parameters()).clone() for net in (method.memory, method.encoder))
    method.after_step(out, 0.0)
    torch.testing.assert_close(method.queue.keys_KD[:8], keys)
    torch.testing.assert_close(next(method.memory.parameters()), 0.75 * old + 0.25 * online)


def test_the_memory_network_follows_and_fills_the_queue() -> None:
    method = make(queue=16, momentum=0.5)
    before = method.queue.keys_KD.clone()
    out = method.loss(batch(), 0.0)
    out.loss.backward()
    assert all(p.grad is None for p in method.memory.parameters())
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(1.0)
    own, others = (next(net.parameters()).clone() for net in (method.memory, method.encoder))
    method.after_step(out, 0.0)
    torch.testing.assert_close(next(method.memory.parameters()), (own + others) / 2)
    assert not torch.equal(method.queue.keys_KD[:8], before[:8])
    assert torch.equal(method.queue.keys_KD[8:], before[8:])


@pytest.mark.parametrize("name", ["neck(cifar_resnet8)", "neck(cifar_resnet8, 0)"])
def test_a_neck_says_its_widths(name: str) -> None:
    with pytest.raises(ManyviewsError, match="needs the width of each of its layers"):
        nets.build(name, size=16)


def test_names_of_encoders_around_encoders() -> None:
    assert parsed("resnet18/cifar+group") is None
    found = parsed("neck(resnet18/cifar+group, 512, 256)")
    assert found is not None and found[1:] == ("resnet18/cifar+group", (512, 256))


def test_three_steps_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 4
    images = (rng.integers(0, 64, (96, 3, 16, 16)) + 48 * labels[:, None, None, None]).astype(np.uint8)
    common = {"batch": 16, "baselines": (), "quiet": True}
    manyviews.pretrain(
        "simclrv2", images, out=tmp_path / "a", net=NET, size=16, hidden=24, dim=8, budget="4steps", **common
    )
    second = manyviews.pretrain(
        "supervised", (images, labels), out=tmp_path / "b", init_from=tmp_path / "a", labels=0.25, size=16,
        budget="8steps", lr=0.01, **common,
    )  # fmt: skip
    assert second.recipe.net == f"neck({NET}, 24)"
    assert second.recipe.labels == 0.25
    assert second.classifier is not None
    third = manyviews.pretrain(
        "distillation", (images, labels), out=tmp_path / "c", teacher="b", labels=0.25, alpha=0.0,
        net=NET, size=16, budget="4steps", **common,
    )  # fmt: skip
    assert third.finished
    assert Path(third.settings["config"]["teacher"]).is_absolute()
    seen = third.seen(open_data((images, labels)))
    assert seen.labels is not None and len(seen) > 70  # all that are not held out, few with their label
    assert 0 < (seen.labels >= 0).sum() <= 0.25 * len(images)
    assert Run.open(tmp_path / "a").embed(torch.from_numpy(images[:5])).shape == (5, 24)


def test_a_share_of_labels_is_seen_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (40, 3, 16, 16), dtype=np.uint8), np.arange(40) % 4
    run = manyviews.pretrain(
        "supervised", data, out=tmp_path / "run", net=NET, size=16, batch=8, budget="2steps", labels=0.5,
        baselines=(), quiet=True,
    )  # fmt: skip
    seen = run.seen(open_data(data))
    assert len(seen) == 16 and seen.labels is not None  # of the 32 that are not held out
    assert seen.labels.bincount().tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_an_impossible_share_of_labels(share: float) -> None:
    with pytest.raises(ManyviewsError, match="--labels is"):
        manyviews.pretrain("supervised", labels=share)


def test_labels_mean_nothing_to_who_learns_without() -> None:
    with pytest.raises(ManyviewsError, match="simclr learns without labels, so --labels says nothing"):
        manyviews.pretrain("simclr", labels=0.1)
