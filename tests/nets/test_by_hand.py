"""The gradients derived by hand against autograd, finite differences, and the modules of `recurrent`."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyviews.nets import by_hand
from manyviews.nets.by_hand import Weights, sequence, sequence_backward
from manyviews.nets.recurrent import GRU, LSTM, RNN, Recurrent

# How many gates and states; forward and backward; the module; where each of its gates lies by hand.
CELLS = {
    "rnn": (1, 1, by_hand.rnn_step, by_hand.rnn_step_backward, RNN, [0]),
    "gru": (3, 1, by_hand.gru_step, by_hand.gru_step_backward, GRU, [0, 1, 2]),
    "gru/before": (
        3, 1, partial(by_hand.gru_step, reset="before"), partial(by_hand.gru_step_backward, reset="before"),
        partial(GRU, reset="before"), [0, 1, 2],
    ),
    "lstm": (4, 2, by_hand.lstm_step, by_hand.lstm_step_backward, LSTM, [0, 1, 3, 2]),
}  # fmt: skip
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
EXACT = {"rtol": 1e-8, "atol": 1e-8}


def draw(name: str, N: int, T: int, D: int, H: int, seed: int = 0):
    """Input, first state, weights, and the gradients that come from above."""
    gates, states = CELLS[name][:2]
    rng = np.random.default_rng(seed)
    weights = Weights(*(rng.normal(size=s) for s in ((D, gates * H), (H, gates * H), gates * H, gates * H)))
    state = tuple(rng.normal(size=(N, H)) for _ in range(states))
    dstate = tuple(rng.normal(size=(N, H)) for _ in range(states))
    return rng.normal(size=(N, T, D)), state, weights, rng.normal(size=(N, T, H)), dstate


def module(name: str, weights: Weights) -> Recurrent:
    """The same network as a module, in float64."""
    *_, make, order = CELLS[name]
    D, H = len(weights.W_x), len(weights.W_h)
    net = make(D, H).double()
    ours = [net.cells()[0].x.weight, net.cells()[0].h.weight, net.cells()[0].x.bias, net.cells()[0].h.bias]
    for parameter, array in zip(ours, weights, strict=True):
        parameter.data = torch.from_numpy(rearranged(array, order))
    return net


def rearranged(array: np.ndarray, order: list[int]) -> np.ndarray:
    """By-hand weights as the module keeps them; the orders are their own inverses."""
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[place] for place in order], axis=-1).T.copy()


@pytest.mark.against("autograd", "by_hand")
@pytest.mark.parametrize("name", CELLS)
@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 99))
def test_a_sequence_and_its_gradients_are_autograds(name: str, sizes, seed: int):
    x, state, weights, dh, dstate = draw(name, *sizes, seed=seed)
    _, _, step, back, _, order = CELLS[name]
    h, after, steps = sequence(step, x, state, weights)
    dx, dstate_0, dweights = sequence_backward(back, dh, dstate, steps)

    net = module(name, weights)
    x_t = torch.from_numpy(x).requires_grad_()
    state_t = tuple(torch.from_numpy(part)[None].requires_grad_() for part in state)
    y, after_t = net.scan(x_t, state_t)
    loss = (y * torch.from_numpy(dh)).sum()
    loss = loss + sum((a[0] * torch.from_numpy(d)).sum() for a, d in zip(after_t, dstate, strict=True))
    loss.backward()

    np.testing.assert_allclose(h, y.detach().numpy(), **EXACT)
    for ours, theirs in zip(after, after_t, strict=True):
        np.testing.assert_allclose(ours, theirs[0].detach().numpy(), **EXACT)
    np.testing.assert_allclose(dx, x_t.grad.numpy(), **EXACT)
    for ours, theirs in zip(dstate_0, state_t, strict=True):
        np.testing.assert_allclose(ours, theirs.grad[0].numpy(), **EXACT)
    cell = net.cells()[0]
    theirs = [cell.x.weight.grad, cell.h.weight.grad, cell.x.bias.grad, cell.h.bias.grad]
    for ours, their in zip(dweights, theirs, strict=True):
        np.testing.assert_allclose(rearranged(ours, order), their.numpy(), **EXACT)


@pytest.mark.against("torch.nn", "by_hand")
@pytest.mark.parametrize(("name", "theirs"), [("rnn", torch.nn.RNN), ("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)])  # fmt: skip
def test_torchs_own_modules_agree_too(name: str, theirs):
    x, _, weights, dh, _ = draw(name, 3, 6, 4, 5)
    _, states, step, back, _, order = CELLS[name]
    net = theirs(4, 5, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter, array in zip(net.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(rearranged(array, order)))
    x_t = torch.from_numpy(x).requires_grad_()
    (net(x_t)[0] * torch.from_numpy(dh)).sum().backward()
    zeros = (np.zeros((3, 5)),) * states
    h, _, steps = sequence(step, x, zeros, weights)
    dx, _, dweights = sequence_backward(back, dh, zeros, steps)
    np.testing.assert_allclose(h, net(x_t)[0].detach().numpy(), **EXACT)
    np.testing.assert_allclose(dx, x_t.grad.numpy(), **EXACT)
    for ours, parameter in zip(dweights, net.parameters(), strict=True):
        np.testing.assert_allclose(rearranged(ours, order), parameter.grad.numpy(), **EXACT)


@pytest.mark.parametrize("name", CELLS)
def test_the_gradients_of_a_step_are_finite_differences(name: str):
    x, state, weights, _, dstate = draw(name, 2, 1, 3, 4)
    _, _, step, back, _, _ = CELLS[name]
    x = x[:, 0]

    def loss(x, state, weights) -> float:
        return sum(float((a * d).sum()) for a, d in zip(step(x, state, weights)[0], dstate, strict=True))

    dx, dstate_0, dweights = back(dstate, step(x, state, weights)[1])
    for array, gradient in zip([x, *state, *weights], [dx, *dstate_0, *dweights], strict=True):
        assert array.shape == gradient.shape
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + 1e-5
            above = loss(x, state, weights)
            array[place] = kept - 1e-5
            below = loss(x, state, weights)
            array[place] = kept
            assert gradient[place] == pytest.approx((above - below) / 2e-5, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", CELLS)
def test_a_sequence_changes_nothing_that_it_was_given(name: str):
    x, state, weights, dh, dstate = draw(name, 2, 3, 3, 4)
    given_arrays = [x, *state, *weights, dh, *dstate]
    copies = [array.copy() for array in given_arrays]
    _, _, step, back, _, _ = CELLS[name]
    sequence_backward(back, dh, dstate, sequence(step, x, state, weights)[2])
    for array, copy in zip(given_arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- sigmoid and tanh ---------------------------------------------------------


@given(st.floats(-1e4, 1e4), st.floats(-10, 10))
def test_sigmoid_and_tanh_are_exact_and_never_overflow(x: float, dy: float):
    """No warning either: they are errors here, and NumPy warns where something overflows."""
    for ours, back, theirs in (
        (by_hand.sigmoid, by_hand.sigmoid_backward, torch.sigmoid),
        (by_hand.tanh, by_hand.tanh_backward, torch.tanh),
    ):
        array = np.array([x])
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            y = ours(array)
            gradient = back(np.array([dy]), y)
        x_t = torch.tensor([x], dtype=torch.float64, requires_grad=True)
        y_t = theirs(x_t)
        y_t.backward(torch.tensor([dy], dtype=torch.float64))
        np.testing.assert_allclose(y, y_t.detach().numpy(), rtol=1e-14, atol=1e-300)
        np.testing.assert_allclose(gradient, x_t.grad.numpy(), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_and_the_middle(dtype):
    x = np.array([-1e4, -800.0, -0.0, 0.0, 1e-30, 800.0, 1e4, -np.inf, np.inf], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        s, t = by_hand.sigmoid(x), by_hand.tanh(x)
    assert s.dtype == t.dtype == dtype
    np.testing.assert_array_equal(s, np.array([0, 0, 0.5, 0.5, 0.5, 1, 1, 0, 1], dtype))
    np.testing.assert_array_equal(t, np.array([-1, -1, -0.0, 0, 1e-30, 1, 1, -1, 1], dtype))
    assert np.signbit(t[2])


@given(st.floats(-30, 30))
def test_the_symmetries(x: float):
    array = np.array([x])
    np.testing.assert_allclose(by_hand.sigmoid(array) + by_hand.sigmoid(-array), 1, rtol=1e-15)
    np.testing.assert_allclose(by_hand.tanh(-array), -by_hand.tanh(array), rtol=0)
    np.testing.assert_allclose(by_hand.tanh(array), 2 * by_hand.sigmoid(2 * array) - 1, atol=1e-15)
