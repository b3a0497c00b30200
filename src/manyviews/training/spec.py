"""What a run tells its method of the data."""

from collections.abc import Mapping
from functools import cache

from manyviews.data import ItemSet, colour_sample, rgb_covariance
from manyviews.method import Spec
from manyviews.recipe import Recipe


def spec_of(data: ItemSet, recipe: Recipe, senses: Mapping[str, int], labels: bool) -> Spec:
    """The ``Spec`` of a set that is seen as the recipe says; with ``labels`` of its items, which only the supervised may see."""
    return Spec(
        items=len(data),
        size=recipe.size,
        classes=None if data.classes is None else len(data.classes),
        rgb=cache(lambda: rgb_covariance(data)),
        colours=cache(lambda: colour_sample(data)),
        senses=senses,
        class_names=data.classes,
        labels=data.labels if labels else None,
        upright=recipe.upright,
        mirror=recipe.mirror,
        colour=recipe.colour,
        tokeniser=data.tokeniser,
    )
