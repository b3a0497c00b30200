"""Optimisers and schedules: torch's own, and LARS, from a recipe."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from manyviews.method import Method
from manyviews.recipe import Recipe


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose step is scaled, layer by layer, to the size of the weights.

    You, Gitman, Ginsburg 2017 (arXiv:1708.03888), algorithm 1: the local rate is
    ``trust * |w| / (|g| + weight_decay * |w|)``. Parameters of groups with ``adapt=False`` (biases and norms)
    take plain SGD steps, as SimCLR and BYOL do.
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

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self._step(w, group)
        return loss

    def _step(self, w: Tensor, group: dict) -> None:
        g = w.grad.add(w, alpha=group["weight_decay"])  # pyright: ignore[reportOptionalMemberAccess]
        if group["adapt"]:
            w_norm, g_norm = torch.linalg.vector_norm(w), torch.linalg.vector_norm(w.grad)  # pyright: ignore[reportArgumentType]
            local = group["trust"] * w_norm / (g_norm + group["weight_decay"] * w_norm)
            g.mul_(torch.where((w_norm > 0) & (g_norm > 0), local, torch.ones_like(local)))
        state = self.state[w]
        if not state:
            state["velocity"] = torch.zeros_like(w)
        state["velocity"].mul_(group["momentum"]).add_(g, alpha=group["lr"])
        w.sub_(state["velocity"])


def rate(recipe: Recipe, progress: float) -> float:
    """The learning rate as a share of its peak, at ``progress`` in [0, 1] of the run."""
    if progress < recipe.warmup:
        return progress / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        return 0.1 ** sum(progress >= milestone for milestone in recipe.milestones)
    past = (progress - recipe.warmup) / max(1e-12, 1.0 - recipe.warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, past)))


def groups(method: Method, recipe: Recipe) -> list[dict]:
    """Parameter groups: decayed or not (biases and norms), scheduled or at a constant rate. Never an empty one."""
    constant = {id(w) for w in method.constant_rate()}
    sorted_out: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for w in method.parameters():
        if w.requires_grad:
            key = (w.ndim > 1, id(w) in constant)
            sorted_out.setdefault(key, []).append(w)
    return [
        {
            "params": ws,
            "weight_decay": recipe.weight_decay if matrix or recipe.decay_all else 0.0,
            "scheduled": not fixed,
            **({"adapt": matrix} if recipe.optimiser == "lars" else {}),
        }
        for (matrix, fixed), ws in sorted_out.items()
    ]


def optimiser(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over every trainable parameter of the method."""
    parts = groups(method, recipe)
    if recipe.optimiser == "lars":
        return LARS(parts, lr=recipe.lr, momentum=recipe.inertia, trust=recipe.trust)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parts, lr=recipe.lr, betas=(recipe.inertia, 0.999), fused=True)
    return torch.optim.SGD(parts, lr=recipe.lr, momentum=recipe.inertia, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, progress: float) -> float:
    """Set every scheduled group's learning rate for this step; returns it."""
    lr = recipe.lr * rate(recipe, progress)
    for group in optimiser.param_groups:
        if group["scheduled"]:
            group["lr"] = lr
    return lr
