"""The ten optimisers by the names that people know, and the grid on which each finds its rate."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from manyviews.recipe import Recipe

FAMILIES: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "One rate for all weights": {
            "GD": {"optimiser": "gd"},
            "SGD": {"optimiser": "sgd", "inertia": 0.0},
            "momentum": {"optimiser": "sgd", "inertia": 0.9},
            "Nesterov": {"optimiser": "nesterov"},
        },
        "A rate for each weight": {
            "AdaGrad": {"optimiser": "adagrad"},
            "RMSProp": {"optimiser": "rmsprop"},
            "Adam": {"optimiser": "adam"},
            "AdamW": {"optimiser": "adamw", "weight_decay": 0.01},  # without decay it is Adam
        },
        "A rate for each layer": {"LARS": {"optimiser": "lars"}, "LAMB": {"optimiser": "lamb"}},
    }
)
NAMES = tuple(name for family in FAMILIES.values() for name in family)

# 0.001, 0.003, ... 300: wide enough that no optimiser's best rate lies at an end.
RATES = tuple(float(f"{digit}e{power}") for power in range(-3, 3) for digit in (1, 3))


def recipe(name: str, rate: float, batch: int = 1) -> Recipe:
    """The recipe of the optimiser that people call ``name``, at a rate; no weight decay unless it is the point."""
    settings = next(family[name] for family in FAMILIES.values() if name in family)
    return Recipe(lr=rate, batch=batch, **{"weight_decay": 0.0, **settings})
