"""Optimisers whose step is scaled, layer by layer, to the size of the layer's weights: LARS and LAMB.

Papers   LARS: You, Gitman, Ginsburg 2017 (arXiv:1708.03888), algorithm 1.
         LAMB: You et al., ICLR 2020 (arXiv:1904.00962), algorithm 2.
Differs  A weight tensor is a layer. Groups with `adapt=False` (biases and norms, as SimCLR, BYOL and BERT's LAMB have
         them) keep the step without the layer's ratio; so does a layer whose weights or step are all zero.
Shapes   w a layer's weights, of any shape; g its gradient; |.| the Euclidean norm over all of it.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Layerwise(torch.optim.Optimizer):
    """What the two have in common: one layer after the other."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self.update(w, w.grad, self.state[w], group)
        return loss

    def update(self, w: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change one layer in place."""
        raise NotImplementedError


class LARS(Layerwise):
    """SGD with momentum at a local rate.

        local = trust * |w| / (|g| + weight_decay * |w|)
        v <- momentum * v + lr * local * (g + weight_decay * w)
        w <- w - v

    The rate stands inside the momentum, as in the paper and in SimCLR's code. MoCo v3, BYOL, WCL and apex's LARC
    keep it outside (``v <- momentum * v + local * g'; w <- w - lr * v``): the same while lr is constant.
    SimCLR, BYOL, MoCo v3 and WCL divide by ``|g + weight_decay * w|``, apex and the paper by the sum above: the same without decay.

    Args:
        params: tensors or groups of them; a group may say `adapt`.
        lr: the global rate (gamma in the paper).
        momentum: share of the past velocity, in [0, 1).
        weight_decay: L2 term's weight, inside the gradient.
        trust: local rate's coefficient (eta in the paper).
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust": trust,
            "adapt": True,
        }
        super().__init__(params, defaults)

    def update(self, w: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        decayed = g.add(w, alpha=group["weight_decay"])
        if group["adapt"]:
            w_norm, g_norm = torch.linalg.vector_norm(w), torch.linalg.vector_norm(g)
            local = group["trust"] * w_norm / (g_norm + group["weight_decay"] * w_norm)
            decayed.mul_(torch.where((w_norm > 0) & (g_norm > 0), local, torch.ones_like(local)))
        if not state:
            state["velocity"] = torch.zeros_like(w)
        state["velocity"].mul_(group["momentum"]).add_(decayed, alpha=group["lr"])
        w.sub_(state["velocity"])


class LAMB(Layerwise):
    """Adam's direction, as long as the layer's weights.

        m <- beta1 * m + (1 - beta1) * g             m^ = m / (1 - beta1^t)
        v <- beta2 * v + (1 - beta2) * g^2           v^ = v / (1 - beta2^t)
        u = m^ / (sqrt(v^) + eps) + weight_decay * w
        w <- w - lr * phi(|w|) / |u| * u

    Args:
        params: tensors or groups of them; a group may say `adapt`.
        lr: the length of a step as a share of the weights'.
        betas: shares of the past of the two means, in [0, 1).
        eps: beside the root.
        weight_decay: decoupled from the means.
        phi: the bounds between which phi clips |w|; None: phi is the identity.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        phi: tuple[float, float] | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "phi": phi,
            "adapt": True,
        }
        super().__init__(params, defaults)

    def update(self, w: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, m=torch.zeros_like(w), v=torch.zeros_like(w))
        state["step"] += 1
        m, v, t = state["m"], state["v"], state["step"]
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        u = (m / (1 - beta1**t)).div_((v / (1 - beta2**t)).sqrt_().add_(group["eps"]))
        u.add_(w, alpha=group["weight_decay"])
        if group["adapt"]:
            w_norm, u_norm = torch.linalg.vector_norm(w), torch.linalg.vector_norm(u)
            wanted = w_norm if group["phi"] is None else w_norm.clamp(*group["phi"])
            u.mul_(torch.where((w_norm > 0) & (u_norm > 0), wanted / u_norm, torch.ones_like(u_norm)))
        w.sub_(u, alpha=group["lr"])
