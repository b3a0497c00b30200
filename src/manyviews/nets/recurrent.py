"""RNN, GRU and LSTM: read one token after another, and carry along what was read as a state.

Papers   RNN: Elman 1990, with tanh. LSTM: Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber &
         Cummins 2000. GRU: Cho et al., EMNLP 2014 (arXiv:1406.1078), eq. 5-8. Dropout between layers: Zaremba et al.
         2014 (arXiv:1409.2329), who also drop inputs and outputs of the whole stack.
Differs  The input x and the state h have a bias each here, as in torch; the papers have one bias, which is their sum.
         The LSTM's gates are stored in torch's order i f g o here. The GRU's reset gate multiplies after the product
         with h here, as in the paper's first version, torch and cuDNN; `reset="before"` is the published eq. 8. Each
         cell's `step` states its equations. A whole sequence runs the same equations in torch's fused kernel (which
         `reset="before"` does not have); `scan` runs them step by step, to compare.
Shapes   B sequences, T tokens, D inputs, H width, L layers, G gates of width H each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from manyviews.errors import ManyviewsError
from manyviews.nets.names import Names

State = tuple[Tensor, ...]  # (h,) of RNN and GRU, (h, c) of LSTM; [B, H] in a cell, [L, B, H] in a stack


class Cell(nn.Module):
    """One step of one layer. Weights start normal with variance 1 / fan-in, biases at 0 (as CS231n's captioning nets)."""

    gates = 1
    states = 1

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.width = width
        self.x = nn.Linear(inputs, self.gates * width)
        self.h = nn.Linear(width, self.gates * width)
        for linear in (self.x, self.h):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
            nn.init.zeros_(linear.bias)

    def step(self, a_BG: Tensor, state: State) -> State:
        """The state after one more token, of which `a_BG = W_x x + b_x` is given: its product is had for all at once."""
        raise NotImplementedError(f"{type(self).__name__} has no step")


class RNNCell(Cell):
    """h = tanh(W_x x + W_h h + b) (Zaremba et al. 2014, section 3.1)."""

    def step(self, a_BG: Tensor, state: State) -> State:
        (h,) = state
        return (torch.tanh(a_BG + self.h(h)),)


class GRUCell(Cell):
    """r resets what the candidate n sees of h, z keeps h: h = z h + (1 - z) n (eq. 5-8)."""

    gates = 3

    def __init__(self, inputs: int, width: int, reset: Literal["after", "before"] = "after"):
        super().__init__(inputs, width)
        self.reset = reset

    def step(self, a_BG: Tensor, state: State) -> State:
        (h,) = state
        H = self.width
        W_h, b_h = self.h.weight, self.h.bias
        a_rz, a_n = a_BG.split([2 * H, H], dim=1)
        # r is eq. 5, z is eq. 6.
        r, z = torch.sigmoid(a_rz + F.linear(h, W_h[: 2 * H], b_h[: 2 * H])).chunk(2, dim=1)
        W_n, b_n = W_h[2 * H :], b_h[2 * H :]
        if self.reset == "after":
            n = torch.tanh(a_n + r * F.linear(h, W_n, b_n))
        else:
            n = torch.tanh(a_n + F.linear(r * h, W_n, b_n))  # eq. 8
        return (z * h + (1 - z) * n,)  # eq. 7


class LSTMCell(Cell):
    """i lets g into the cell c, f keeps what c held, o lets c out: c = f c + i g, h = o tanh(c).

    In this form by section 3.1 of Zaremba et al. 2014; without f, the memory cell is that of section 4 of Hochreiter &
    Schmidhuber 1997, and f is from section 3 of Gers, Schmidhuber & Cummins 2000.

    `forget_bias` is where the bias of f starts; 1 keeps the cell open to begin with (Jozefowicz et al. 2015).
    """

    gates = 4
    states = 2

    def __init__(self, inputs: int, width: int, forget_bias: float = 0.0):
        super().__init__(inputs, width)
        nn.init.constant_(self.x.bias[width : 2 * width], forget_bias)

    def step(self, a_BG: Tensor, state: State) -> State:
        h, c = state
        i, f, g, o = (a_BG + self.h(h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class Recurrent(nn.Module):
    """Layers of cells, each of which reads the h of the one below; `dropout` lies between them, and not between steps
    (Zaremba et al. 2014, section 3.2).

    `kernel` is the torch function that runs all steps of all layers at once; None: the steps are taken one by one.
    """

    def __init__(self, layers: Sequence[Cell], dropout: float, kernel: Callable[..., Any] | None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.fused = True  # whoever splits weights among devices: those of all layers are read at once
        self.dropout, self.kernel = dropout, kernel
        self.width, self.inputs, self.states = layers[0].width, layers[0].x.in_features, layers[0].states

    def forward(
        self, x_BTD: Tensor, state: State | None = None, *, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The last layer's h after each token, `[B, T, H]`, and the state after the last one.

        Args:
            state: where to start, `(h,)` or `(h, c)`, each `[L, B, H]`; zeros where it is not given. What comes out
                goes in again for the tokens that follow; detach it to cut the gradient there.
            lengths_B: tokens of each sequence, 1 to T; what stands behind them is not read and yields zeros, and
                the state is that after each sequence's own last token.

        Raises `ManyviewsError` for inputs, a state or lengths that do not fit.
        """
        if autocasts(x_BTD):
            with torch.autocast(x_BTD.device.type, enabled=False):
                state = state and tuple(part.float() for part in state)
                return self.forward(x_BTD.float(), state, lengths_B=lengths_B)
        state = self.check(x_BTD, state, lengths_B)
        if self.kernel is None:
            return self.scan(x_BTD, state, lengths_B=lengths_B)
        # The kernel wants the tensors of each layer in this order.
        weights = [p for c in self.cells() for p in (c.x.weight, c.h.weight, c.x.bias, c.h.bias)]
        plan = (weights, True, len(self.layers), self.dropout, self.training, False)
        if lengths_B is None:
            y_BTH, *after = self.kernel(x_BTD, self._bare(state), *plan, True)
            return y_BTH, tuple(after)
        packed = pack_padded_sequence(x_BTD, lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        data, sizes, order, back = packed
        assert order is not None and back is not None
        start = self._bare(tuple(part[:, order] for part in state))
        y, *after = self.kernel(data, sizes, start, *plan)
        y_BTH, _ = pad_packed_sequence(
            PackedSequence(y, sizes, order, back), batch_first=True, total_length=x_BTD.shape[1]
        )
        return y_BTH, tuple(part[:, back] for part in after)

    def scan(
        self, x_BTD: Tensor, state: State | None = None, *, lengths_B: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """What `forward` gives, by the cells' own steps."""
        state = self.check(x_BTD, state, lengths_B)
        reads_TB1 = None
        if lengths_B is not None:
            place_T11 = torch.arange(x_BTD.shape[1], device=x_BTD.device)[:, None, None]
            reads_TB1 = place_T11 < lengths_B.to(x_BTD.device)[:, None]
        y, ends = x_BTD, []
        for number, layer in enumerate(self.cells()):
            if number and self.dropout:
                y = F.dropout(y, self.dropout, self.training)
            now, after = tuple(part[number] for part in state), []
            for t, a_BG in enumerate(layer.x(y).unbind(1)):
                new = layer.step(a_BG, now)
                if reads_TB1 is not None:
                    new = tuple(torch.where(reads_TB1[t], *both) for both in zip(new, now, strict=True))
                now = new
                after.append(now[0] if reads_TB1 is None else now[0] * reads_TB1[t])
            y = torch.stack(after, dim=1)
            ends.append(now)
        return y, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def cells(self) -> list[Cell]:
        """The layers, first to last."""
        return cast(list[Cell], list(self.layers))

    def step(self, x_BD: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One token more: the last layer's h, `[B, H]`, and the state."""
        y_B1H, state = self.scan(x_BD[:, None], state)
        return y_B1H[:, 0], state

    def check(self, x_BTD: Tensor, state: State | None, lengths_B: Tensor | None) -> State:
        """The state to start from; raises `ManyviewsError` where something does not fit."""
        if x_BTD.ndim != 3 or not x_BTD.shape[1] or x_BTD.shape[2] != self.inputs:
            raise ManyviewsError(
                f"This net reads [B, T, {self.inputs}] with one token or more, not {list(x_BTD.shape)}."
            )
        B, T = x_BTD.shape[:2]
        if lengths_B is not None and (
            lengths_B.shape != (B,) or lengths_B.is_floating_point() or not ((lengths_B > 0) & (lengths_B <= T)).all()
        ):  # fmt: skip
            raise ManyviewsError(
                f"lengths_B must be {B} whole numbers from 1 to {T}, not {lengths_B.tolist()}."
            )
        shape = (len(self.layers), B, self.width)
        if state is None:
            return (x_BTD.new_zeros(shape),) * self.states
        if len(state) != self.states or any(part.shape != shape for part in state):
            given = ", ".join(str(list(part.shape)) for part in state)
            raise ManyviewsError(
                f"The state of this net is {self.states} x {list(shape)}, not {given}; start from None or its own."
            )
        return state

    def _bare(self, state: State) -> Any:
        return state if self.states > 1 else state[0]


def autocasts(x: Tensor) -> bool:
    """Whether half precision is asked for: torch's recurrent kernels would take float16 then, in which gradients vanish."""
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def _stack(cell: Callable[[int, int], Cell], inputs: int, width: int, depth: int) -> list[Cell]:
    return [cell(width if number else inputs, width) for number in range(depth)]


class RNN(Recurrent):
    """Elman's network, `depth` layers of it."""

    def __init__(self, inputs: int, width: int, depth: int = 1, *, dropout: float = 0.0):
        super().__init__(_stack(RNNCell, inputs, width, depth), dropout, torch.rnn_tanh)


class GRU(Recurrent):
    """Gated recurrent units; see `GRUCell` for `reset`. There is a fused kernel for "after" alone."""

    def __init__(
        self,
        inputs: int,
        width: int,
        depth: int = 1,
        *,
        dropout: float = 0.0,
        reset: Literal["after", "before"] = "after",
    ):
        layers = _stack(partial(GRUCell, reset=reset), inputs, width, depth)
        super().__init__(layers, dropout, torch.gru if reset == "after" else None)


class LSTM(Recurrent):
    """Long short-term memory; see `LSTMCell` for `forget_bias`."""

    def __init__(
        self, inputs: int, width: int, depth: int = 1, *, dropout: float = 0.0, forget_bias: float = 0.0
    ):
        layers = _stack(partial(LSTMCell, forget_bias=forget_bias), inputs, width, depth)
        super().__init__(layers, dropout, torch.lstm)


# `nn.RNN`, `nn.GRU` and `nn.LSTM`.
NAMES = {"torch.nn": Names({"layers.{}.x.*": "*_ih_l{}", "layers.{}.h.*": "*_hh_l{}"})}
