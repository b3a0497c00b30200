"""The neural ODE against the matrix exponential, its adjoint against plain back-propagation, and what each keeps."""

import math
import sys

import pytest
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import build, ode
from manyviews.nets.counting import kept
from manyviews.nets.ode import Change, ConcatConv, ODEBlock, Solver

EXACT = Solver("dopri5", rtol=1e-9, atol=1e-11)


class Linear(nn.Module):
    """f(t, z) = A z, whose solution is exp(A t) z(0)."""

    def __init__(self, size: int = 3):
        super().__init__()
        self.A = nn.Parameter(torch.randn(size, size, dtype=torch.float64))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return z @ self.A.T


class Wave(nn.Module):
    """Something that is linear neither in z nor in t."""

    def __init__(self, size: int = 3):
        super().__init__()
        self.layer = nn.Linear(size + 1, size, dtype=torch.float64)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(self.layer(torch.cat([t.expand(len(z), 1), z], dim=1)) + torch.sin(3 * t))


def start(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, dtype=torch.float64)


# --- the solution -------------------------------------------------------------


@pytest.mark.parametrize("adjoint", [True, False])
def test_a_linear_ode_is_the_matrix_exponential(adjoint: bool):
    f, z = Linear(), start()
    block = ODEBlock(f, EXACT, adjoint=adjoint)
    torch.testing.assert_close(block(z), z @ torch.matrix_exp(f.A).T, rtol=1e-8, atol=1e-8)
    times = torch.tensor([0.3, 0.5, 1.7], dtype=torch.float64)
    for z_t, t in zip(block.trajectory(z, times), times, strict=True):
        expected = z @ torch.matrix_exp(f.A * (t - 0.3)).T
        torch.testing.assert_close(z_t, expected, rtol=1e-7, atol=1e-7)


def test_time_runs_backwards_as_well():
    block, z = ODEBlock(Wave(), EXACT), start()
    back = block.trajectory(block(z), torch.tensor([1.0, 0.0]))[-1]
    torch.testing.assert_close(back, z, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("rk4", 4)])
def test_fixed_steps_err_as_their_order_says(method, order: int):
    f, z = Linear(), start()
    f.A.data /= 2
    exact = z @ torch.matrix_exp(f.A).T
    few, many = (
        (ODEBlock(f, Solver(method, steps=steps))(z) - exact).abs().max().item() for steps in (16, 32)
    )
    assert math.log2(few / many) == pytest.approx(order, abs=0.3)


def test_one_step_of_euler_is_a_residual_block():
    f, z = Wave(), start()
    torch.testing.assert_close(ODEBlock(f, Solver("euler"))(z), z + f(torch.tensor(0.0), z))


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_steps_are_counted_from_each_time_to_the_next(method):
    block, z, evaluations = (
        ODEBlock(Wave(), Solver(method, steps=49)),
        start(),
        {"euler": 1, "rk4": 4}[method],
    )
    block.trajectory(z, torch.tensor([0.0, 0.1, 0.9]))
    assert block.forward_evaluations == 2 * 49 * evaluations
    halves = block.trajectory(z, torch.tensor([0.0, 0.1]))[-1]
    halves = block.trajectory(halves, torch.tensor([0.1, 0.9]))[-1]
    torch.testing.assert_close(block.trajectory(z, torch.tensor([0.0, 0.1, 0.9]))[-1], halves)


# --- the gradient -------------------------------------------------------------


def gradients(f: nn.Module, z: Tensor, solver: Solver, adjoint: bool) -> Tensor:
    """Those of z and of f's parameters in one row, for a loss that sees the state at three times."""
    z = z.clone().requires_grad_()
    times = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64, requires_grad=True)
    loss = ODEBlock(f, solver, adjoint=adjoint).trajectory(z, times).square().sum()
    wanted = [z, times, *f.parameters()]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, wanted)])


def test_the_gradient_of_a_linear_ode_is_that_of_the_matrix_exponential():
    f, z = Linear(), start().requires_grad_()
    (z @ torch.matrix_exp(f.A).T).square().sum().backward()
    expected = [z.grad, f.A.grad]
    for adjoint in (True, False):
        z.grad = f.A.grad = None
        ODEBlock(f, EXACT, adjoint=adjoint)(z).square().sum().backward()
        torch.testing.assert_close([z.grad, f.A.grad], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.against("autograd", "ode")
def test_the_adjoint_nears_the_true_gradient_as_the_tolerance_tightens():
    f, z = Wave(), start()
    true = gradients(f, z, EXACT, adjoint=False)
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7):
        near = gradients(f, z, Solver(rtol=tolerance, atol=tolerance), adjoint=True)
        errors.append(((near - true).norm() / true.norm()).item())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 1e-6


@pytest.mark.against("autograd", "ode")
def test_with_fixed_steps_too():
    f, z = Wave(), start()
    true = gradients(f, z, EXACT, adjoint=False)
    for adjoint in (True, False):
        near = gradients(f, z, Solver("rk4", steps=40), adjoint=adjoint)
        torch.testing.assert_close(near, true, rtol=1e-5, atol=1e-5)


def kept_forward(steps: int, adjoint: bool) -> int:
    block = ODEBlock(Change(4), Solver("rk4", steps=steps), adjoint=adjoint)
    return kept(block, torch.randn(2, 4, 6, 6, requires_grad=True))


def test_the_adjoint_keeps_as_much_for_many_steps_as_for_few():
    few, many = kept_forward(4, adjoint=True), kept_forward(64, adjoint=True)
    assert few == many > 0
    few_plain, many_plain = kept_forward(4, adjoint=False), kept_forward(64, adjoint=False)
    assert many_plain > 15 * few_plain > 15 * few


def test_evaluations_are_counted():
    z = start().requires_grad_()
    for adjoint in (True, False):
        f = Wave()
        calls = []
        f.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        block = ODEBlock(f, Solver("rk4", steps=5), adjoint=adjoint)
        for _ in range(2):  # of the last pass, not of all
            calls.clear()
            loss = block(z).sum()
            assert block.forward_evaluations == len(calls) == 20
            assert block.backward_evaluations == 0
            loss.backward()
            assert block.backward_evaluations == len(calls) - 20 == (20 if adjoint else 0)


def test_a_tighter_tolerance_costs_more_evaluations():
    z, f, counts = start(), Wave(), []
    for tolerance in (1e-2, 1e-5, 1e-8):
        block = ODEBlock(f, Solver(rtol=tolerance, atol=tolerance))
        block(z)
        counts.append(block.forward_evaluations)
    assert counts == sorted(set(counts))


# --- the net for images -------------------------------------------------------


def test_the_net_is_as_large_as_the_authors():
    """208,266 is what their example counts, with its classifier; the paper's table says 0.22M."""
    net = build("ode_net", in_channels=1, size=28)
    assert sum(p.numel() for p in net.parameters()) + 65 * 10 == 208_266
    assert ode.NETS["ode_net"].parameters == pytest.approx(0.208266, rel=0.06)


@pytest.mark.parametrize(
    "name", ["ode_net", "ode_net/backprop", "ode_net/rk4", "ode_net/euler", "ode_net/residual"]
)
@pytest.mark.parametrize(("size", "cells"), [(28, 6), (33, 7)])
def test_images_of_any_size_give_embeddings(name: str, size: int, cells: int):
    net = build(name, in_channels=1, size=size)
    x = torch.randn(2, 1, size, size)
    assert net.grid(x).shape == (2, 64, cells, cells)
    y = net(x)
    assert y.shape == (2, net.width)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_the_smallest_image_is_the_smallest():
    assert build("ode_net/euler", size=ode.SMALLEST).grid(torch.randn(1, 3, 6, 6)).shape == (1, 64, 1, 1)
    with pytest.raises(ManyviewsError, match="6 pixels"):
        build("ode_net", size=ode.SMALLEST - 1)


def test_time_is_a_channel():
    """A bias that grows with the time, the same in every cell but the outermost: there the border is zero."""
    conv, z = ConcatConv(4), torch.randn(2, 4, 5, 5)
    plain = nn.functional.conv2d(z, conv.conv.weight[:, 1:], conv.conv.bias, padding=1)
    growth = conv.conv.weight[:, 0].sum((1, 2))[:, None, None]
    difference = conv(torch.tensor(0.7), z) - plain
    torch.testing.assert_close(difference[:, :, 1:-1, 1:-1], (0.7 * growth).expand(2, 4, 3, 3), rtol=1e-4, atol=1e-6)  # fmt: skip


def test_nothing_depends_on_the_rest_of_the_batch():
    """With fixed steps: those of dopri5 are chosen for the whole batch."""
    net = build("ode_net/rk4", in_channels=1, size=28)
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(net(x)[:1], net(x[:1]), rtol=1e-4, atol=1e-5)


def test_autocast_leaves_the_solver_in_single_precision():
    net = build("ode_net/rk4", in_channels=1, size=28)
    seen: dict[str, set[torch.dtype]] = {"down": set(), "f": set()}
    net.down[0].register_forward_hook(lambda *call: seen["down"].add(call[2].dtype))
    net.middle.f.conv1.register_forward_hook(lambda *call: seen["f"].add(call[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        y = net(torch.randn(2, 1, 28, 28))
    y.float().sum().backward()
    assert seen == {"down": {torch.bfloat16}, "f": {torch.float32}}


# --- bad input ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Solver("heun"), "choose dopri5"),
        (lambda: Solver("dopri5", steps=3), "steps itself"),
        (lambda: Solver("rk4", rtol=1e-3), "no tolerance"),
        (lambda: Solver("rk4", steps=0), "1 or more"),
        (lambda: ODEBlock(Wave()).trajectory(start(), torch.tensor([0.0, 1.0, 0.5])), "rise or fall"),
        (lambda: ODEBlock(Wave()).trajectory(start(), torch.tensor([0.0])), "rise or fall"),
        (lambda: build("ode_net/residual+rk4"), "solve nothing"),
        (lambda: build("ode_net/euler+rk4"), "twice"),
    ],
)
def test_what_does_not_fit_is_said(make, sentence: str):
    with pytest.raises(ManyviewsError, match=sentence):
        make()


class Explosion(nn.Module):
    """dz/dt = z^2: infinite at t = 1 / z(0)."""

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return z.square()


@pytest.mark.parametrize("z", [3.0, math.nan])
def test_a_state_without_bound_is_said(z: float):
    with pytest.raises(ManyviewsError, match=r"^The ODE has no solution .*\.$"):
        ODEBlock(Explosion())(torch.tensor([z]))


def test_a_mistake_in_f_stays_what_it_is():
    class Wrong(nn.Module):
        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            raise AssertionError("not ours")

    with pytest.raises(AssertionError, match="not ours"):
        ODEBlock(Wrong())(start())


def test_without_torchdiffeq_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ManyviewsError, match=r"manyviews\[ode\]"):
        build("ode_net")
    assert build("ode_net/residual").width == 64
