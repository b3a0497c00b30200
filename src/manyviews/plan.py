"""From what a user asks for to every setting of a run."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from manyviews.errors import ManyviewsError
from manyviews.method import Paper
from manyviews.recipe import Budget, Recipe

PHOTO_SIZE = 64  # side of a view where a folder of photos is given and no size: small enough for a CPU


def recipe_name(paper: Paper, data: Any, wanted: str | None) -> str:
    """The recipe to start from: the one asked for, the one for this data, or CIFAR-10's.

    Raises:
        ManyviewsError: the method has no recipe of that name.
    """
    if wanted is not None:
        if wanted not in paper.recipes:
            raise ManyviewsError(f"{paper.name} has no recipe '{wanted}'; it has {', '.join(paper.recipes)}")
        return wanted
    return data if isinstance(data, str) and data in paper.recipes else "cifar10"


def default_data(paper: Paper, wanted: str | None) -> str:
    """What is learned from where nothing is named: the data of the recipe asked for, or the world."""
    return "world" if wanted is None else paper.recipes[recipe_name(paper, None, wanted)][1].data


def base(paper: Paper, data: Any, wanted: str | None = None) -> tuple[Any, Recipe]:
    """The method's ``Config`` and ``Recipe`` for this data, before any change."""
    config, recipe = paper.recipes[recipe_name(paper, data, wanted)]
    if isinstance(data, (str, Path)):
        recipe = dataclasses.replace(recipe, data=str(data))
        if Path(data).expanduser().exists() and wanted is None and str(data) not in paper.recipes:
            recipe = dataclasses.replace(recipe, size=PHOTO_SIZE)
    else:
        recipe = dataclasses.replace(recipe, data="")
    return config, recipe


def changed(paper: Paper, config: Any, recipe: Recipe, changes: dict[str, Any]) -> tuple[Any, Recipe]:
    """Both, with each change where it belongs; ``epochs=5`` stands for ``budget="5ep"``.

    Raises:
        ManyviewsError: nobody knows a setting of that name (the nearest are suggested), or a value is impossible.
    """
    changes = dict(changes)
    if (epochs := changes.pop("epochs", None)) is not None:
        changes["budget"] = f"{epochs}ep"
    for_config = {field.name for field in dataclasses.fields(config)}
    for_recipe = {field.name for field in dataclasses.fields(recipe)} - {"data"}
    for name in changes:
        if name not in for_config | for_recipe:
            near = difflib.get_close_matches(name, sorted(for_config | for_recipe), n=3, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else f"see `manyviews pretrain {paper.name} --help`"
            )
            raise ManyviewsError(f"{paper.name} knows no setting '{name}'; {hint}")
    config = dataclasses.replace(config, **{k: v for k, v in changes.items() if k in for_config})
    recipe = dataclasses.replace(recipe, **{k: v for k, v in changes.items() if k in for_recipe})
    check(recipe)
    return config, recipe


def check(recipe: Recipe) -> None:
    """Refuse what cannot work, before anything is loaded."""
    Budget.parse(recipe.budget)
    lowest = {"size": 1, "batch": 2, "accumulate": 1}
    for name, least in lowest.items():
        if getattr(recipe, name) < least:
            raise ManyviewsError(f"--{name} is {getattr(recipe, name)}; it must be at least {least}")
    if recipe.lr <= 0:
        raise ManyviewsError(f"--lr is {recipe.lr}; a learning rate is positive")
    if not 0 <= recipe.warmup < 1:
        raise ManyviewsError(f"--warmup is {recipe.warmup}; it is a share of the run, from 0 to below 1")
    if recipe.batch % recipe.accumulate:
        raise ManyviewsError(
            f"A batch of {recipe.batch} does not split into {recipe.accumulate} pieces (--accumulate)"
        )


def check_data(recipe: Recipe, items: int) -> None:
    """Refuse a batch that the data cannot fill."""
    if recipe.batch > items:
        raise ManyviewsError(
            f"A batch of {recipe.batch} is larger than the data: {items} items; choose --batch {items} or less."
        )
