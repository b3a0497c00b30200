"""Optimisers and schedules from a recipe: torch's own, and LARS and LAMB.

    name       update of a weight w with gradient g (every power and root element by element)         inertia
    gd         w <- w - lr g, with g over the whole data: one step an epoch                             none
    sgd        v <- mu v + g;  w <- w - lr v  (Polyak 1964; plain SGD with inertia 0)                   mu
    nesterov   v <- mu v + g;  w <- w - lr (g + mu v)  (Sutskever 2013, seen from where it looks ahead) mu
    adagrad    s <- s + g^2;  w <- w - lr g / (sqrt(s) + eps)  (Duchi 2011)                             none
    rmsprop    s <- rho s + (1 - rho) g^2;  w <- w - lr g / (sqrt(s) + eps)  (Hinton 2012)              rho
    adam       m, s: running means of g, g^2, corrected;  w <- w - lr m / (sqrt(s) + eps)  (2015)       beta1
    adamw      the same, and w <- w - lr weight_decay w beside it  (Loshchilov & Hutter 2019, as torch)  beta1
    lars       momentum at a rate for each layer  (`layerwise`)                                         mu
    lamb       Adam's direction at each layer's own length  (`layerwise`)                               beta1

Weight decay is a part of g (g + weight_decay w) in all but adamw and lamb. Momentum as torch has it: with the rate
outside v, so that a change of rate acts at once; lars has it inside, as its paper does.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from manyviews.eager import eager
from manyviews.errors import ManyviewsError
from manyviews.evaluation.descent import layers
from manyviews.method import Method
from manyviews.recipe import Recipe
from manyviews.training.layerwise import LAMB, LARS

LAYERWISE = ("lars", "lamb")


def rate(recipe: Recipe, progress: float) -> float:
    """The learning rate as a share of its peak, at ``progress`` in [0, 1] of the run."""
    if progress < recipe.warmup:
        return progress / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "step":
        return 0.1 ** sum(progress >= milestone for milestone in recipe.milestones)
    if recipe.schedule == "rsqrt":
        return (recipe.warmup / progress) ** 0.5
    past = (progress - recipe.warmup) / max(1e-12, 1.0 - recipe.warmup)
    if recipe.schedule == "linear":
        return max(0.0, 1.0 - past)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, past)))


def groups(
    net: nn.Module,
    recipe: Recipe,
    constant_rate: Iterable[nn.Parameter] = (),
    encoder: nn.Module | None = None,
) -> list[dict]:
    """Parameter groups: decayed or not (biases and norms), scheduled or at a constant rate. Never an empty one.

    With a layer decay, each layer of the ``encoder`` also has its share of the rate: that of the layer above times the
    decay, and the topmost that of whatever stands around the encoder (BEiT's and MAE's rule; ELECTRA,
    arXiv:2003.10555, has the topmost one step lower).
    """
    constant = {id(w) for w in constant_rate}
    below = reversed(layers(encoder)) if encoder is not None and recipe.layer_decay < 1 else ()
    depth = {id(w): depth for depth, layer in enumerate(below, start=1) for w in layer}
    sorted_out: dict[tuple[bool, bool, int], list[nn.Parameter]] = {}
    for w in net.parameters():
        if w.requires_grad:
            key = (w.ndim > 1, id(w) in constant, depth.get(id(w), 0))
            sorted_out.setdefault(key, []).append(w)
    return [
        {
            "params": ws,
            "weight_decay": recipe.weight_decay if matrix or recipe.decay_all else 0.0,
            "scheduled": not fixed,
            "share": recipe.layer_decay**down,
            **({"adapt": matrix} if recipe.optimiser in LAYERWISE else {}),
        }
        for (matrix, fixed, down), ws in sorted_out.items()
    ]


def optimiser(method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over every trainable parameter of the method.

    Raises:
        ManyviewsError: gradient descent on less than the whole data, a layer decay where the encoder that is kept follows
            a twin, or as ``over`` does.
    """
    if recipe.optimiser == "gd" and recipe.batch != method.spec.items:
        raise ManyviewsError(
            f"Gradient descent takes its gradient over all {method.spec.items} items, not over {recipe.batch}: say "
            f"--batch {method.spec.items} (and --accumulate, if memory is too small), or --optimiser sgd --inertia 0"
        )
    if recipe.layer_decay < 1 and not any(w.requires_grad for w in method.encoder.parameters()):
        raise ManyviewsError(
            "--layer-decay is of an encoder that learns, but the encoder kept by this method only follows another one: leave it out"
        )
    return over(groups(method, recipe, method.constant_rate(), method.encoder), recipe)


def over(parts: Iterable[Any], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over tensors or groups of them; what a group does not say, the recipe does.

    Raises:
        ManyviewsError: an inertia or beta2 outside [0, 1), an eps that is not above 0, or an inertia that the optimiser
            cannot have.
    """
    name, inertia = recipe.optimiser, recipe.inertia
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if not 0 <= inertia < 1:
        raise ManyviewsError(
            f"An inertia of {inertia} is not in [0, 1): say which share of the past to keep, such as 0.9"
        )
    if not 0 <= recipe.beta2 < 1:
        raise ManyviewsError(
            f"A beta2 of {recipe.beta2} is not in [0, 1): say which share of the past to keep, such as 0.999"
        )
    if not recipe.eps > 0:
        raise ManyviewsError(
            f"An eps of {recipe.eps} keeps no root from 0: give a small positive number, such as 1e-8"
        )
    if name not in ("adam", "adamw") and recipe.eps != Recipe.eps:
        raise ManyviewsError(
            f"The optimiser {name} has an eps of its own or none: say --eps {Recipe.eps}, not {recipe.eps}"
        )
    if name in ("gd", "adagrad") and inertia not in (0.0, Recipe.inertia):
        raise ManyviewsError(f"The optimiser {name} has no inertia: leave out --inertia {inertia}")
    if name == "nesterov" and inertia == 0:
        raise ManyviewsError(
            "Without inertia Nesterov's step is SGD's: say --optimiser sgd, or --inertia 0.9"
        )
    whole = not recipe.shard  # torch has no fused SGD over split weights; it has a fused Adam
    match name:
        case "gd":
            return eager(torch.optim.SGD)(parts, **common, fused=whole)
        case "sgd" | "nesterov":
            sgd = eager(torch.optim.SGD)(
                parts, **common, momentum=inertia, nesterov=name == "nesterov", fused=whole
            )
            return _moving(sgd) if whole and inertia else sgd
        case "adagrad":
            return eager(torch.optim.Adagrad)(parts, **common)
        case "rmsprop":
            return eager(torch.optim.RMSprop)(parts, **common, alpha=inertia)
        case "adam":
            return eager(torch.optim.Adam)(
                parts, **common, betas=(inertia, recipe.beta2), eps=recipe.eps, fused=True
            )
        case "adamw":
            return eager(torch.optim.AdamW)(
                parts, **common, betas=(inertia, recipe.beta2), eps=recipe.eps, fused=True
            )
        case "lars":
            return eager(LARS)(parts, **common, momentum=inertia, trust=recipe.trust)
        case "lamb":
            return eager(LAMB)(parts, **common, betas=(inertia, recipe.beta2))


def set_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, progress: float) -> float:
    """Set every scheduled group's learning rate for this step, and the weight decay where it changes; returns the rate."""
    lr = recipe.lr * rate(recipe, progress)
    end = recipe.weight_decay_end
    for group in optimiser.param_groups:
        if group["scheduled"]:
            group["lr"] = lr * group.get("share", 1.0)
        if end is not None and group["weight_decay"]:
            group["weight_decay"] = end + (recipe.weight_decay - end) * 0.5 * (
                1 + math.cos(math.pi * progress)
            )
    return lr


def _moving(sgd: torch.optim.SGD) -> torch.optim.SGD:
    """`sgd` with a velocity of 0 for every weight: its first step is the same, and torch's fused one, which has to find
    all velocities or none, can begin with a weight later than with others, where a method froze it at first."""
    for group in sgd.param_groups:
        for w in group["params"]:
            sgd.state[w]["momentum_buffer"] = torch.zeros_like(w)
    return sgd


def laid_out_as_weights(optimiser: torch.optim.Optimizer) -> None:
    """Lay out in memory what it keeps of each weight as the weight is: a fused step goes through both side by side.

    Those of a sharded run's checkpoint are laid out row by row, and weights of convolutions channels last.
    """
    for w, kept in optimiser.state.items():
        for name, x in kept.items():
            if isinstance(x, Tensor) and x.shape == w.shape and x.stride() != w.stride():
                kept[name] = torch.empty_like(w, dtype=x.dtype).copy_(x)
