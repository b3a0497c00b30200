"""Neural ODE: depth is time; a solver carries the state forward, and a second solve carries its gradient back.

Paper    Chen, Rubanova, Bettencourt & Duvenaud, NeurIPS 2018 (arXiv:1806.07366). Adjoint section 2 and appendix B,
         ODE-Net, RK-Net and ResNet for images section 3, table 1; layers and solver are those of the authors' example.
Differs  Solvers and adjoint come from torchdiffeq here, whose "rk4" is the 3/8 rule (also of order 4). The paper solves
         by an implicit Adams method (LSODE, VODE); dopri5 at a tolerance of 1e-3 is that of the authors' later example.
         Continuous normalising flows (section 4) and the latent ODE of time series (section 5) are left out.
Shapes   z the state, of any shape; T times; B images, C channels, H W pixels, h w cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.encoder import Encoder
from manyviews.nets.net import Net

Method = Literal["dopri5", "rk4", "euler"]
TOLERANCE = 1e-3  # relative and absolute, of the authors' image nets


@dataclass(frozen=True)
class Solver:
    """How dz/dt = f(t, z) is solved.

    "dopri5" chooses its steps so that each errs by less than `atol + rtol |z|`; "rk4" and "euler" take `steps` equal
    ones from each time to the next. Raises `ManyviewsError` for a setting that the method has no use for.
    """

    method: Method = "dopri5"
    rtol: float | None = None  # None: `TOLERANCE`
    atol: float | None = None
    steps: int | None = None  # None: 1

    def __post_init__(self) -> None:
        if self.method not in ("dopri5", "rk4", "euler"):
            raise ManyviewsError(f'There is no solver "{self.method}"; choose dopri5, rk4 or euler.')
        if self.method == "dopri5" and self.steps is not None:
            raise ManyviewsError(
                "dopri5 chooses its steps itself; give it rtol and atol, or take rk4 or euler."
            )
        if self.method != "dopri5" and (self.rtol is not None or self.atol is not None):
            raise ManyviewsError(f"{self.method} knows no tolerance; give it steps, or take dopri5.")
        if self.steps is not None and self.steps < 1:
            raise ManyviewsError(f"{self.steps} steps cannot be; take 1 or more.")

    def settings(self) -> dict[str, Any]:
        """What torchdiffeq calls them."""
        if self.method == "dopri5":
            rtol = TOLERANCE if self.rtol is None else self.rtol
            return {"method": "dopri5", "rtol": rtol, "atol": TOLERANCE if self.atol is None else self.atol}
        return {"method": self.method, "options": {"grid_constructor": partial(_grid, self.steps or 1)}}


def _grid(steps: int, f: object, z: object, times_T: Tensor) -> Tensor:
    share = torch.arange(steps, device=times_T.device, dtype=times_T.dtype) / steps
    between = times_T[:-1, None] + times_T.diff()[:, None] * share
    return torch.cat([between.flatten(), times_T[-1:]])


class ODEBlock(nn.Module):
    """z(1) from z(0) under dz/dt = f(t, z).

    Args:
        f: a module; `f(t, z)` gives the change of z at time t, in z's shape. Batch norm has no place in it: what it
            does would depend on how often the solver asks.
        adjoint: the backward pass solves da/dt = -a df/dz from 1 to 0, beside z itself and the parameters' gradients
            (appendix B): memory is constant in the number of steps, and the gradient as exact as the solver. Without,
            it goes back through the solver's own steps and keeps them all. Gradients reach z, the times and the
            parameters of `f`, but no other tensor that `f` may use.

    `forward_evaluations` and `backward_evaluations` count the calls of f in and since the last forward pass; without
    adjoint the backward pass calls it never. Raises `ManyviewsError` where torchdiffeq is missing.
    """

    def __init__(self, f: nn.Module, solver: Solver | None = None, *, adjoint: bool = True):
        super().__init__()
        _torchdiffeq()
        self.f, self.solver, self.adjoint = f, solver or Solver(), adjoint
        self.forward_evaluations = self.backward_evaluations = 0
        self._solving = False

    def forward(self, z: Tensor) -> Tensor:
        """z(1), in the shape of `z` = z(0)."""
        return self.trajectory(z, torch.tensor([0.0, 1.0], device=z.device))[-1]

    def trajectory(self, z: Tensor, times_T: Tensor) -> Tensor:
        """z at each time, `[T, ...]`, from `z` at the first; times may fall, and get gradients if they want them.

        Raises `ManyviewsError` for times that do not rise or fall throughout, and where the solver cannot go on.
        """
        way = times_T.diff()
        if times_T.ndim != 1 or len(times_T) < 2 or not ((way > 0).all() or (way < 0).all()):
            raise ManyviewsError(f"Times must rise or fall, two or more of them, not {times_T.tolist()}.")
        solve, through = _torchdiffeq()
        settings = self.solver.settings()
        if self.adjoint:
            solve, settings = through, settings | {"adjoint_params": tuple(self.f.parameters())}
        dtype = next((p.dtype for p in self.f.parameters()), z.dtype)
        self.forward_evaluations = self.backward_evaluations = 0
        self._solving = True
        try:
            # Half precision rounds more coarsely than the tolerance: steps would shrink to please the rounding.
            with torch.autocast(z.device.type, enabled=False):
                return solve(self._count, z.to(dtype), times_T.to(dtype), **settings)
        except AssertionError as error:
            if not str(error).startswith(("underflow", "non-finite")):
                raise
            raise ManyviewsError(
                "The ODE has no solution that the solver can follow: its state grows without bound or is not finite; "
                "check what goes in, or loosen rtol and atol."
            ) from error
        finally:
            self._solving = False

    def _count(self, t: Tensor, z: Tensor) -> Tensor:
        if self._solving:
            self.forward_evaluations += 1
        else:
            self.backward_evaluations += 1
        return self.f(t, z)


def _torchdiffeq() -> tuple[Any, Any]:
    try:
        # It makes tensors as it is imported, which a `with torch.device("meta")` around us would leave without numbers.
        with torch.device("cpu"):
            from torchdiffeq import odeint, odeint_adjoint
    except ImportError as error:
        raise ManyviewsError('A neural ODE needs torchdiffeq: pip install "manyviews[ode]"') from error
    return odeint, odeint_adjoint


def norm(channels: int) -> nn.GroupNorm:
    """Group norm of up to 32 groups: nothing depends on the batch."""
    return nn.GroupNorm(min(32, channels), channels)


class ConcatConv(nn.Module):
    """A 3x3 convolution that sees the time as one more channel, its first."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels + 1, channels, 3, padding=1)

    def forward(self, t: Tensor, z_BCHW: Tensor) -> Tensor:
        t_B1HW = t.to(z_BCHW.dtype).expand_as(z_BCHW[:, :1])
        return self.conv(torch.cat([t_B1HW, z_BCHW], dim=1))


class Change(nn.Module):
    """f(t, z) of the image net: norm, ReLU, convolution, twice, and a norm."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), ConcatConv(channels)
        self.norm2, self.conv2 = norm(channels), ConcatConv(channels)
        self.norm3 = norm(channels)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        z = self.conv1(t, F.relu(self.norm1(z)))
        z = self.conv2(t, F.relu(self.norm2(z)))
        return self.norm3(z)


class Residual(nn.Module):
    """A layer of the ResNet that the paper compares with: z + f(z), each with its own f."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2, self.conv2 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        return z + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(z))))))


class ODENet(Encoder):
    """Three convolutions that leave a quarter of the side (the authors' example), the ODE, norm and ReLU (section 3).

    Args:
        blocks: None, or as many residual blocks in place of the ODE: 6 in the paper's ResNet.
        solver, adjoint: of `ODEBlock`. The paper's RK-Net goes back through the solver's steps instead.
    """

    def __init__(
        self,
        in_channels: int = 3,
        width: int = 64,
        *,
        solver: Solver | None = None,
        adjoint: bool = True,
        blocks: int | None = None,
    ):
        if blocks is not None and (solver is not None or not adjoint):
            raise ManyviewsError(
                "Residual blocks solve nothing; leave out the solver and the way back, or the blocks."
            )
        super().__init__(width, in_channels)
        self.down = nn.Sequential(
            nn.Conv2d(in_channels, width, 3),
            norm(width), nn.ReLU(), nn.Conv2d(width, width, 4, stride=2, padding=1),
            norm(width), nn.ReLU(), nn.Conv2d(width, width, 4, stride=2, padding=1),
        )  # fmt: skip
        if blocks is None:
            self.middle: nn.Module = ODEBlock(Change(width), solver, adjoint=adjoint)
        else:
            self.middle = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.norm = norm(width)

    def grid(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.norm(self.middle(self.down(x_BCHW))))


SMALLEST = 6  # pixels a side, of which one cell is left


def ode_net(*, in_channels: int = 3, size: int = 28, **options: Any) -> ODENet:
    """The net of table 1 for images of any size from 6 pixels on; `options` are those of `ODENet`."""
    if size < SMALLEST:
        raise ManyviewsError(f"An ODE net sees images of {SMALLEST} pixels a side or more, not {size}.")
    return ODENet(in_channels, **options)


NETS = {
    "ode_net": Net(
        make=ode_net, paper="Chen et al. 2018, table 1", size=28, classes=10, parameters=0.22,
        variants={
            "backprop": {"adjoint": False},
            "rk4": {"solver": Solver("rk4", steps=4)},
            "euler": {"solver": Solver("euler", steps=16)},
            "residual": {"blocks": 6},
        },
    ),
}  # fmt: skip
