"""RNN, GRU and LSTM by hand, forward and backward, in NumPy: what autograd does for the modules of `recurrent`.

Papers   As in `recurrent`; back-propagation through time: Werbos 1990. Written as the CS231n assignments have it (rows
         are items, `x @ W`, LSTM gates in the order i f o g).
Differs  `recurrent` keeps its matrices transposed and its LSTM gates in the order i f g o, as torch does.
Shapes   N sequences, T tokens, D inputs, H width; G = H (RNN), 3 H (GRU: r z n) or 4 H (LSTM: i f o g).

A `d` in front means: the gradient of the loss with respect to this. Three rules give all that follows:

    y = x @ W        dx = dy @ W.T,   dW = x.T @ dy
    y = x + b        dx = dy,         db = dy summed over the items
    y = u * v        du = dy * v,     dv = dy * u

and what is used twice (a state that goes into the output and into the next step) gets the sum of both gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
State = tuple[Array, ...]  # (h,) of RNN and GRU, (h, c) of LSTM; each [N, H]


class Weights(NamedTuple):
    """`x @ W_x + b_x + h @ W_h + b_h`; the papers' one bias is `b_x + b_h`. Gradients have the same form."""

    W_x: Array  # [D, G]
    W_h: Array  # [H, G]
    b_x: Array  # [G]
    b_h: Array  # [G]


class Kept(NamedTuple):
    """What a step remembers for its backward pass."""

    x: Array
    state: State
    weights: Weights
    inner: tuple[Array, ...]  # gates and the like; each cell its own


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), from e^-|x| alone, which lies in [0, 1]: no input overflows.

    For x < 0 numerator and denominator are multiplied by e^x: e^x / (e^x + 1).
    """
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """y' = e^-x / (1 + e^-x)^2 = y (1 - y): the output is all that has to be kept."""
    return dy * y * (1 - y)


def tanh(x: Array) -> Array:
    """(e^x - e^-x) / (e^x + e^-x), for |x|, divided above and below by e^|x|: (1 - e^-2|x|) / (1 + e^-2|x|).

    No input overflows. Near 0 the difference would lose all its digits, so m = e^-2|x| - 1 is taken whole:
    -m / (m + 2), with the sign of x.
    """
    m = np.expm1(-2 * np.abs(x))
    return np.copysign(m / (m + 2), x)


def tanh_backward(dy: Array, y: Array) -> Array:
    """With s, c for half of e^x -/+ e^-x: s' = c and c' = s, so (s / c)' = (c c - s s) / c^2 = 1 - y^2."""
    return dy * (1 - y * y)


def rnn_step(x: Array, state: State, weights: Weights) -> tuple[State, Kept]:
    """h' = tanh(x W_x + h W_h + b). `x [N, D]`, states `[N, H]`."""
    (h,) = state
    h_new = tanh(_sums(x, h, weights))
    return (h_new,), Kept(x, state, weights, (h_new,))


def rnn_step_backward(dstate: State, kept: Kept) -> tuple[Array, State, Weights]:
    """dx, the gradient of the state before, and those of the weights.

    With a the sum inside: h' = tanh(a), so da = dh' (1 - h'^2); the rest are the rules of products and sums.
    """
    (h_new,) = kept.inner
    da = tanh_backward(dstate[0], h_new)
    dx, dh, dweights = _sums_backward(da, kept)
    return dx, (dh,), dweights


def lstm_step(x: Array, state: State, weights: Weights) -> tuple[State, Kept]:
    """c' = f c + i g, h' = o tanh(c'), with i, f, o = sigmoid(a), g = tanh(a) of their four parts of the sum a."""
    h, c = state
    a_i, a_f, a_o, a_g = np.split(_sums(x, h, weights), 4, axis=1)
    i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), tanh(a_g)
    c_new = f * c + i * g
    out = tanh(c_new)
    return (o * out, c_new), Kept(x, state, weights, (i, f, o, g, out))


def lstm_step_backward(dstate: State, kept: Kept) -> tuple[Array, State, Weights]:
    """dx, the gradients of h and c before, and those of the weights.

    h' = o tanh(c')   do = dh' tanh(c');  c' has one use here and one in the next step, whose gradient dc' is:
                      dc' + dh' o (1 - tanh(c')^2)
    c' = f c + i g    df = dc' c,  dc = dc' f,  di = dc' g,  dg = dc' i

    dc = dc' f is why it remembers: from step to step the gradient is only multiplied by f, by no matrix.
    """
    dh_new, dc_new = dstate
    i, f, o, g, out = kept.inner
    c = kept.state[1]
    dc_new = dc_new + tanh_backward(dh_new * o, out)
    da = np.concatenate(
        [
            sigmoid_backward(dc_new * g, i),
            sigmoid_backward(dc_new * c, f),
            sigmoid_backward(dh_new * out, o),
            tanh_backward(dc_new * i, g),
        ],
        axis=1,
    )
    dx, dh, dweights = _sums_backward(da, kept)
    return dx, (dh, dc_new * f), dweights


def gru_step(
    x: Array, state: State, weights: Weights, reset: Literal["after", "before"] = "after"
) -> tuple[State, Kept]:
    """h' = z h + (1 - z) n, with r, z = sigmoid(a) and the candidate n = tanh(x W_n + b + m), where m is

    after      r (h U_n + b')     torch's, and the paper's first version
    before     (r h) U_n + b'     the published eq. 8
    """
    (h,) = state
    H = h.shape[1]
    W_x, W_h, b_x, b_h = weights
    a_x = x @ W_x + b_x
    gates = sigmoid(a_x[:, : 2 * H] + h @ W_h[:, : 2 * H] + b_h[: 2 * H])
    r, z = np.split(gates, 2, axis=1)
    seen = h if reset == "after" else r * h
    product = seen @ W_h[:, 2 * H :] + b_h[2 * H :]
    n = tanh(a_x[:, 2 * H :] + (r * product if reset == "after" else product))
    return (z * h + (1 - z) * n,), Kept(x, state, weights, (r, z, n, seen, product))


def gru_step_backward(
    dstate: State, kept: Kept, reset: Literal["after", "before"] = "after"
) -> tuple[Array, State, Weights]:
    """dx, the gradient of the state before, and those of the weights.

    h' = z h + (1 - z) n     dz = dh' (h - n),  dn = dh' (1 - z),  dh = dh' z
    n = tanh(a_n + m)        da_n = dm = dn (1 - n^2)
    m = r p, p = h U + b     after:   dr = dm p,  dp = dm r,  dU = h.T dp,  dh += dp U.T
    m = p, p = (r h) U + b   before:  dp = dm,  dU = (r h).T dp,  with ds = dp U.T:  dr = ds h,  dh += ds r

    r and z are sigmoids of sums; their products with h add to dh once more.
    """
    (dh_new,) = dstate
    r, z, n, seen, product = kept.inner
    (h,) = kept.state
    W_x, W_h, _, _ = kept.weights
    H = h.shape[1]

    dh = dh_new * z
    da_n = tanh_backward(dh_new * (1 - z), n)
    dproduct = da_n * r if reset == "after" else da_n
    dseen = dproduct @ W_h[:, 2 * H :].T
    if reset == "after":
        dr, dh = da_n * product, dh + dseen
    else:
        dr, dh = dseen * h, dh + dseen * r
    da_rz = np.concatenate([sigmoid_backward(dr, r), sigmoid_backward(dh_new * (h - n), z)], axis=1)
    dh = dh + da_rz @ W_h[:, : 2 * H].T

    da_x = np.concatenate([da_rz, da_n], axis=1)
    da_h = np.concatenate([da_rz, dproduct], axis=1)
    dW_h = np.concatenate([h.T @ da_rz, seen.T @ dproduct], axis=1)
    return da_x @ W_x.T, (dh,), Weights(kept.x.T @ da_x, dW_h, da_x.sum(0), da_h.sum(0))


def sequence(
    step: Callable[..., tuple[State, Kept]], x_NTD: Array, state: State, weights: Weights, **options: Any
) -> tuple[Array, State, list[Kept]]:
    """h after each token, `[N, T, H]`, the state after the last, and what the backward pass needs.

    `options` are those of the step (`reset` of the GRU).
    """
    outputs, steps = [], []
    for t in range(x_NTD.shape[1]):
        state, kept = step(x_NTD[:, t], state, weights, **options)
        outputs.append(state[0])
        steps.append(kept)
    return np.stack(outputs, axis=1), state, steps


def sequence_backward(
    step_backward: Callable[..., tuple[Array, State, Weights]],
    dh_NTH: Array,
    dstate: State,
    steps: list[Kept],
    **options: Any,
) -> tuple[Array, State, Weights]:
    """dx `[N, T, D]`, the gradient of the first state, and those of the weights: back-propagation through time.

    From the last step to the first. h_t has two uses, the output of step t and step t + 1: their gradients add up.
    All steps have the same weights: theirs add up over t. `dstate` is what comes from after the last step.
    """
    dx_T: list[Array] = []
    total = Weights(*(np.zeros_like(part) for part in steps[0].weights))
    for t in reversed(range(len(steps))):
        dstate = (dstate[0] + dh_NTH[:, t], *dstate[1:])
        dx, dstate, dweights = step_backward(dstate, steps[t], **options)
        dx_T.insert(0, dx)
        total = Weights(*(whole + part for whole, part in zip(total, dweights, strict=True)))
    return np.stack(dx_T, axis=1), dstate, total


def _sums(x: Array, h: Array, weights: Weights) -> Array:
    W_x, W_h, b_x, b_h = weights
    return x @ W_x + b_x + h @ W_h + b_h


def _sums_backward(da: Array, kept: Kept) -> tuple[Array, Array, Weights]:
    """dx, dh and the weights' gradients of a = x W_x + b_x + h W_h + b_h."""
    db = da.sum(axis=0)
    h = kept.state[0]
    return da @ kept.weights.W_x.T, da @ kept.weights.W_h.T, Weights(kept.x.T @ da, h.T @ da, db, db)
