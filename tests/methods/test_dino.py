"""DINO: its loss and head equal lightly's, its pairs equal enumeration, and each half of what keeps it from collapse fails
alone in the way that the paper says."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.evaluation import labelfree, verdict
from manyviews.memory import Twin
from manyviews.method import Batch, Method, Out, Spec, find
from manyviews.nets import Encoder
from manyviews.nets.heads import Prototypes, mlp
from manyviews.nets.transformer import Block
from manyviews.runs import net_factory

K, B = 12, 6
SMALL: dict[str, Any] = {"prototypes": K, "hidden": 32, "bottleneck": 8}


class Tiny(Encoder):
    """Two convolutions; without a norm, so that nothing but the method keeps it from collapse."""

    def __init__(self, **_: object) -> None:
        super().__init__(32)
        self.body = nn.Sequential(nn.Conv2d(3, 32, 4, 2), nn.ReLU(), nn.Conv2d(32, 32, 2), nn.Tanh())

    def grid(self, x_BCHW: Tensor) -> Tensor:
        return self.body(x_BCHW)


def dino(net: Any = Tiny, size: int = 8, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = replace(find("dino").config(), **({**SMALL, "local_crops": 0} | settings))
    return find("dino").method(config, net, Spec(items=64, size=size))  # pyright: ignore[reportCallIssue]


def given(method: Any, crops: int) -> tuple[list[Tensor], list[Tensor], Batch]:
    """Logits of teacher and student for `crops`, from a method whose networks are plain linear maps of its views."""
    student = nn.Sequential(nn.Flatten(), nn.Linear(K, K, bias=False), nn.Identity())
    method.student, method.teacher = student, Twin(student)
    nn.init.normal_(method.teacher.module[1].weight, std=0.02)
    views = [torch.randn(B, K, 1, 1) for _ in range(crops)]
    with torch.no_grad():
        return (
            [method.teacher(v) for v in views[:2]],
            [student(v) for v in views],
            Batch(views, torch.arange(B)),
        )


# -- the loss --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crops", [2, 3, 6])
def test_loss_and_centre_are_lightly_s_over_several_steps(crops: int) -> None:
    method = dino()
    teacher, student, batch = given(method, crops)
    theirs = DINOLoss(K, student_temp=0.1)
    for step in range(3):
        progress = step / 20
        out: Out = method.loss(batch, progress)
        expected = theirs(teacher, student, teacher_temp=method.tau_t(progress))
        torch.testing.assert_close(out.loss, expected)
        method.after_step(out, 0.0)
        torch.testing.assert_close(method.centre_K, theirs.center.flatten())
        teacher = [method.teacher(view).clone() for view in batch.views[:2]]  # which has followed
    assert method.centre_K.any()


@pytest.mark.parametrize("crops", [2, 3, 6])
def test_every_teacher_crop_meets_every_other_student_crop(crops: int) -> None:
    method = dino()
    teacher, student, batch = given(method, crops)
    method.centre_K.normal_()
    p_t = [((g - method.centre_K) / 0.04).softmax(1) for g in teacher]
    log_p_s = [(g / 0.1).log_softmax(1) for g in student]
    pairs = [(t, s) for t, s in itertools.product(range(2), range(crops)) if t != s]
    assert len(pairs) == 2 * (crops - 1)
    losses = [-(p_t[t] * log_p_s[s]).sum(1).mean() for t, s in pairs]
    out: Out = method.loss(batch, 0.0)
    torch.testing.assert_close(out.loss, torch.stack(losses).mean())
    kl = [F.kl_div(log_p_s[s], p_t[t], reduction="batchmean") for t, s in pairs]
    torch.testing.assert_close(out.log["kl"], torch.stack(kl).mean())
    entropy = torch.stack([-torch.xlogy(p, p).sum(1).mean() for p in p_t]).mean()
    torch.testing.assert_close(out.log["teacher_entropy"], entropy)


def test_teacher_sees_global_crops_alone_and_student_all() -> None:
    method = dino(local_crops=3, local_share=0.5, size=16)
    seen: dict[str, list[int]] = {"student": [], "teacher": []}
    for name, sides in seen.items():
        net = method.student[0] if name == "student" else method.teacher
        net.register_forward_pre_hook(lambda _, x, sides=sides: sides.append((len(x[0]), x[0].shape[-1])))
    views = [torch.randn(B, 3, view.size, view.size) for view in method.views().views]
    method.loss(Batch(views, torch.arange(B)), 0.0)
    assert seen == {"student": [(2 * B, 16), (3 * B, 8)], "teacher": [(2 * B, 16)]}


# -- the head --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # lightly's, not ours
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_head_is_lightly_s_under_the_same_weights(norm: bool, fixed: bool) -> None:
    torch.manual_seed(0)
    theirs = DINOProjectionHead(16, 32, 8, K, batch_norm=norm, norm_last_layer=fixed)
    layers = mlp(16, 32, 32, 8, batch_norm=norm, activation="gelu")
    layers.load_state_dict(theirs.layers.state_dict())
    last = Prototypes(8, K, fixed_lengths=fixed)
    last.direction_KD.data.copy_(theirs.last_layer.weight_v)
    if not fixed:
        theirs.last_layer.weight_g.data.uniform_(0.5, 2.0)
        assert last.length_K1 is not None
        last.length_K1.data.copy_(theirs.last_layer.weight_g)
    x = torch.randn(9, 16)
    ours = last(layers(x))
    torch.testing.assert_close(ours, theirs(x))
    ours.square().sum().backward()
    theirs(x).square().sum().backward()
    torch.testing.assert_close(last.direction_KD.grad, theirs.last_layer.weight_v.grad, rtol=1e-4, atol=1e-5)
    assert theirs.last_layer.weight_g.requires_grad == (last.length_K1 is not None)


def test_with_fixed_lengths_what_comes_out_are_cosines() -> None:
    head = Prototypes(8, K)
    assert head(100 * torch.randn(50, 8)).abs().max() <= 1 + 1e-6
    assert [name for name, _ in head.named_parameters()] == ["direction_KD"]


# -- schedules -------------------------------------------------------------------------------------------------


def test_the_teacher_s_temperature_warms_up_and_stays() -> None:
    method = dino(teacher_temperature=(0.04, 0.07), teacher_warmup=0.2)
    assert [method.tau_t(p) for p in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert dino(teacher_warmup=0.0).tau_t(0.0) == pytest.approx(0.07)
    assert dino(sharpen=False, temperature=0.2).tau_t(0.0) == 0.2


@pytest.mark.parametrize("fixed", [True, False])
def test_prototypes_are_frozen_for_the_first_share_of_the_run(fixed: bool) -> None:
    method = dino(freeze=0.25, fixed_lengths=fixed)
    for progress, frozen in ((0.0, True), (0.24, True), (0.25, False), (1.0, False)):
        method.zero_grad()
        method.loss(Batch([torch.randn(B, 3, 8, 8)] * 2, torch.arange(B)), progress).loss.backward()
        method.before_step(progress)
        assert all((p.grad is None) == frozen for p in method.student[2].parameters())
        assert all(p.grad is not None for p in method.student[:2].parameters())


def test_the_teacher_is_a_twin_with_its_head_and_its_encoder_is_kept() -> None:
    method = dino(momentum=0.9)
    assert method.encoder is method.teacher.module[0] and method.encoder is not method.student[0]
    assert not any(p.requires_grad for p in method.teacher.parameters())
    for p in method.student.parameters():
        p.data.add_(1.0)
    before = [p.clone() for p in method.teacher.parameters()]
    out = Out(torch.zeros(()), carry=torch.zeros(B, K))
    method.after_step(out, 0.0)
    for old, new in zip(before, method.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
    after = [p.clone() for p in method.teacher.parameters()]
    method.after_step(out, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(after, method.teacher.parameters(), strict=True))


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_with_a_momentum_of_zero_the_teacher_is_the_student_throughout(progress: float) -> None:
    method = dino(momentum=0.0)
    for p in method.student.parameters():
        p.data.add_(1.0)
    method.after_step(Out(torch.zeros(()), carry=torch.zeros(B, K)), progress)
    for own, other in zip(method.teacher.parameters(), method.student.parameters(), strict=True):
        assert torch.equal(own, other)


# -- on a ViT --------------------------------------------------------------------------------------------------


def test_only_the_student_skips_blocks_and_only_while_it_learns() -> None:
    method = dino(net_factory("small_vit", 16), 16, drop_path=0.5, local_crops=1, local_share=0.5)
    chances = [block.drop_path for block in method.student[0].blocks]
    assert chances == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert all(m.drop_path == 0 for m in method.teacher.modules() if isinstance(m, Block))
    x = torch.randn(8, 3, 16, 16)
    assert not torch.equal(method.student(x), method.student(x))
    assert torch.equal(method.teacher(x), method.teacher(x))
    method.eval()
    torch.testing.assert_close(method.student(x), method.teacher(x))


def test_a_skipped_block_leaves_a_sample_as_it_is_and_the_rest_make_up_for_it() -> None:
    torch.manual_seed(0)
    block, x = Block(16, 2), torch.randn(2000, 3, 16)
    block.norm1.weight.data.zero_()  # attention has nothing to look at: only its bias is added
    block.norm2.weight.data.zero_()
    block.attention.out.bias.data.fill_(1.0)
    block.mlp.down.bias.data.fill_(1.0)
    whole = block.eval()(x) - x
    block.drop_path = 0.25
    torch.testing.assert_close(block(x) - x, whole)  # in eval mode nobody goes around
    some = (block.train()(x) - x).detach()
    around = [math.isclose(change, 0, abs_tol=1e-5) for change in some[:, 0, 0].tolist()]
    assert 0.03 < sum(around) / len(around) < 0.1  # both sub-layers: 1 in 16
    torch.testing.assert_close(some.mean(0), whole.mean(0), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("net", ["small_vit", "small_vit/sincos2d", "cifar_resnet8"])
def test_it_takes_a_step_with_crops_of_two_sizes(net: str) -> None:
    method: Method = dino(net_factory(net, 16), 16, local_crops=2, local_share=0.5)
    assert [view.size for view in method.views().views] == [16, 16, 8, 8]
    views = [torch.randn(4, 3, view.size, view.size) for view in method.views().views]
    out = method.loss(Batch(views, torch.arange(4)), 0.5)
    out.loss.backward()
    for name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_the_head_s_statistics_are_those_of_all_crops_together() -> None:
    method = dino(size=16, head_norm=True, layers=2, local_crops=2)
    rows: list[int] = []
    norm = next(part for part in method.student[1].modules() if isinstance(part, nn.BatchNorm1d))
    norm.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    views = [torch.randn(B, 3, view.size, view.size) for view in method.views().views]
    assert len({view.shape for view in views}) == 2
    method.loss(Batch(views, torch.arange(B)), 0.5)
    assert rows == [4 * B]


def test_small_crops_are_blurred_by_the_kernel_of_large_ones() -> None:
    wide, _, local, *_ = dino(lambda **_: Tiny(), 224, local_crops=8).views().views
    assert local.size == 96 and local.blur_kernel == wide.blur_kernel


def test_the_paper_s_crops_are_two_of_224_and_eight_of_96_pixels() -> None:
    config, recipe = find("dino").recipes["paper"]
    method = dino(Tiny, recipe.size, **{**vars(config), **SMALL})
    crops = method.views().views
    assert [view.size for view in crops] == [224] * 2 + [96] * 8
    assert [view.blur for view in crops] == [1.0, 0.1] + [0.5] * 8
    assert [view.solarise for view in crops] == [0.0, 0.2] + [0.0] * 8
    assert [view.crop for view in crops] == [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 8


# -- collapse --------------------------------------------------------------------------------------------------


def learned(**settings: Any) -> tuple[float, float, str]:
    """What learning on four things ends in: teacher's entropy as a share of its most, divergence, the monitor's word."""
    plain = {"layers": 2, "freeze": 0.0, "momentum": 0.95, "teacher_temperature": (0.04, 0.04)}
    method = dino(**{**plain, "hidden": 64, "bottleneck": 16, "prototypes": 16} | settings)
    optimiser = torch.optim.AdamW(method.student.parameters(), lr=1e-3, weight_decay=0.0)
    things = torch.randn(3, 8, 8) + torch.randn(4, 3, 8, 8).repeat(8, 1, 1, 1)
    steps, looks = 200, []
    entropy = kl = 0.0
    for step in range(steps):
        views = [things + torch.randn_like(things) for _ in range(2)]
        out: Out = method.loss(Batch(views, torch.arange(32)), step / steps)
        optimiser.zero_grad()
        out.loss.backward()
        optimiser.step()
        method.after_step(out, step / steps)
        assert out.z is not None
        if step >= steps - 10:  # their mean: without a slow teacher they are restless
            entropy += float(out.log["teacher_entropy"]) / math.log(16) / 10
            kl += float(out.log["kl"]) / 10
            with torch.no_grad():
                h = method.encoder(things), *(method.encoder(view) for view in views)
            looks.append(labelfree(*h, z_ND=out.z))
    return entropy, kl, verdict(looks[-1:], finished=True).state


def test_as_published_teacher_and_student_go_on_differing() -> None:
    entropy, kl, said = learned()
    assert 0.1 < entropy < 0.9 and kl > 0.05 and said == "healthy"


def test_without_centring_all_fall_to_one_prototype() -> None:
    entropy, kl, said = learned(centring=False)
    assert entropy < 0.05 and kl < 0.05 and said == "collapsed"


def test_without_sharpening_all_prototypes_become_alike() -> None:
    entropy, kl, said = learned(sharpen=False)
    assert entropy > 0.95 and kl < 0.05 and said == "collapsed"


def test_a_teacher_that_is_the_student_says_the_same_of_all() -> None:
    assert learned(momentum=0.0)[2] == "collapsed"


# -- what makes no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prototypes": 1}, "at least two prototypes"),
        ({"temperature": 0.0}, "Temperatures divide"),
        ({"teacher_temperature": (0.04, -0.1)}, "Temperatures divide"),
        ({"local_crops": -1}, "local_crops to 0 or more"),
        ({"local_crops": 2, "local_share": 1.5}, "local_share above 0 and at most 1"),
        ({"drop_path": 1.0}, "drop_path is 1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ManyviewsError, match=said):
        dino(**settings)


def test_crops_that_the_net_cannot_take_are_refused_before_the_first_step() -> None:
    with pytest.raises(ManyviewsError, match="cannot take local crops of 1 pixels beside global ones of 8"):
        dino(local_crops=2, local_share=0.1)
    with pytest.raises(ManyviewsError, match="Relative positions"):
        dino(net_factory("small_vit/relative", 16), 16, local_crops=2, local_share=0.5)
