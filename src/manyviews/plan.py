"""From what a user asks for to every setting of a run."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from manyviews.data import is_named
from manyviews.data.reading import TRAINED
from manyviews.errors import ManyviewsError, nearest
from manyviews.method import Paper, find, names
from manyviews.recipe import Budget, Recipe

USUAL = {
    "images": "cifar10",
    "sounds": "fsdd",
    "texts": "world",
}  # the recipe for data that has none of its own
RUNS = ("teacher", "tokeniser", "generator")  # settings that name the folder of another run
ELSEWHERE = {"momentum": "inertia", "learning_rate": "lr"}  # a setting's name in other libraries -> ours
DIVISORS = ("temperature", "kd_temperature", "epsilon")  # hyper-parameters that a loss divides by
SHARES = ("momentum", "bank_momentum", "centre_momentum", "dense")  # of what was, or of a loss: from 0 to 1
SERVES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "milestones": ("schedule", ("step",)),
    "trust": ("optimiser", ("lars",)),
    "beta2": ("optimiser", ("adam", "adamw", "lamb")),
    "vocabulary": ("tokens", TRAINED),
    **{f"crop_{name}": ("crops", ("contrastive",)) for name in ("alpha", "threshold", "first", "every")},
    **{f"local_{name}": ("local_crops", ()) for name in ("share", "area")},
}  # settings that are read only beside some values of another one; () means any but 0
PHOTO_SIZE = 64  # side of a view where photos are given and no size: small enough for a CPU
PHOTOS = ("imagenette", "stl10", "stl10-unlabeled")  # named sets of photos: of 96 pixels a side and more


def recipe_name(paper: Paper, data: Any, wanted: str | None) -> str:
    """The recipe to start from: the one asked for, the one for this data, or CIFAR-10's (for sounds, the digits').

    Raises:
        ManyviewsError: the method has no recipe of that name.
    """
    if wanted is not None:
        if wanted not in paper.recipes:
            raise ManyviewsError(f"{paper.name} has no recipe '{wanted}'; it has {', '.join(paper.recipes)}")
        return wanted
    named = {recipe.data: name for name, (_, recipe) in reversed(paper.recipes.items())}  # the first wins
    said = str(data) if isinstance(data, (str, Path)) else ""
    known = said if said in paper.recipes else named.get(said)
    return known or _or_first(paper, USUAL[paper.method.sees])


def _or_first(paper: Paper, name: str) -> str:
    """The recipe of that name, which a methods file of one's own may lack, or its first."""
    return name if name in paper.recipes else next(iter(paper.recipes))


def default_data(paper: Paper, wanted: str | None) -> str:
    """What is learned from where nothing is named: the data of the recipe asked for, or the world."""
    name = _or_first(paper, "world") if wanted is None else recipe_name(paper, None, wanted)
    return paper.recipes[name][1].data


def sensed(paper: Paper, data: Any) -> Any:
    """The data, and of the world what the method sees of it: pictures, songs, captions."""
    return default_data(paper, None) if isinstance(data, str) and data == "world" else data


def base(paper: Paper, data: Any, wanted: str | None = None) -> tuple[Any, Recipe]:
    """The method's ``Config`` and ``Recipe`` for this data, before any change."""
    data = sensed(paper, data)
    config, recipe = paper.recipes[recipe_name(paper, data, wanted)]
    if isinstance(data, (str, Path)):
        photos = paper.method.sees == "images" and (
            str(data).lower().replace("_", "-") in PHOTOS
            or (Path(data).expanduser().exists() and not is_named(str(data)))
        )
        recipe = dataclasses.replace(recipe, data=str(data))
        if photos and wanted is None and str(data) not in paper.recipes:
            recipe = dataclasses.replace(recipe, size=PHOTO_SIZE)
    else:
        recipe = dataclasses.replace(recipe, data="")
    return config, recipe


def needs(config: Any) -> list[str]:
    """The settings that have to name another run and do not: a method cannot begin without."""
    return [name for name in RUNS if getattr(config, name, None) == ""]


def changed(paper: Paper, config: Any, recipe: Recipe, changes: dict[str, Any]) -> tuple[Any, Recipe]:
    """Both, with each change where it belongs; ``epochs=5`` stands for ``budget="5ep"``.

    Raises:
        ManyviewsError: nobody knows a setting of that name (the nearest are suggested), a value is impossible, or two
            settings contradict each other.
    """
    changes = dict(changes)
    if (epochs := changes.pop("epochs", None)) is not None:
        if "budget" in changes:
            raise ManyviewsError(
                f"--budget {changes['budget']} and --epochs {epochs} both say how long the run is; leave out one"
            )
        changes["budget"] = f"{epochs}ep"
    for name in RUNS:  # which a run has to find again from wherever it is resumed
        if (given := changes.get(name)) and given != "random":
            folder = Path(given).expanduser()
            changes[name] = str(folder.resolve() if folder.is_dir() else given)
    library, colon, place = str(changes.get("pretrained") or "").partition(":")
    if place:
        changes["pretrained"] = library + colon + str(Path(place).expanduser().resolve())
    for_config = {field.name for field in dataclasses.fields(config)}
    for_recipe = {field.name for field in dataclasses.fields(recipe)} - {"data"}
    for name in changes:
        if name not in for_config | for_recipe:
            raise unknown_setting(paper, name, for_config | for_recipe)
    config = dataclasses.replace(config, **{k: v for k, v in changes.items() if k in for_config})
    recipe = dataclasses.replace(recipe, **{k: v for k, v in changes.items() if k in for_recipe})
    check_words(config)
    check_words(recipe)
    check(recipe)
    if paper.own is None:  # elsewhere such a name may mean something else
        check_numbers(config)
    check_served(paper, config, recipe, changes)
    if recipe.labels < 1 and not paper.method.supervised:
        raise ManyviewsError(
            f"{paper.name} learns without labels, so --labels says nothing to it; leave it out"
        )
    return config, recipe


def unknown_setting(paper: Paper, name: str, known: Iterable[str]) -> ManyviewsError:
    """The sentence for a setting that a method does not have: what it may be called, and which methods have it."""
    owners = [
        other for other in names() if name in {field.name for field in dataclasses.fields(find(other).config)}
    ]
    see = f"see `manyviews pretrain {paper.name} --help`"
    hint = f"{', '.join(owners)} {'have' if len(owners) > 1 else 'has'} one; {see}" if owners else see
    meant = "" if owners else nearest(name, sorted(known), "")
    if name in ELSEWHERE:
        meant = f"did you mean {ELSEWHERE[name]}?"
    return ManyviewsError(f"{paper.name} knows no setting '{name}'; {f'{meant} ({hint})' if meant else hint}")


def check_words(settings: Any) -> None:
    """Refuse a word that is none of those which a setting can be; the command line does so by itself."""
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            allowed = ", ".join(map(str, get_args(hint)))
            raise ManyviewsError(f"--{name.replace('_', '-')} is {value!r}; it is one of {allowed}")


def check(recipe: Recipe) -> None:
    """Refuse what cannot work, before anything is loaded."""
    Budget.parse(recipe.budget)
    lowest = {"size": 1, "batch": 2, "accumulate": 1}
    for name, least in lowest.items():
        if getattr(recipe, name) < least:
            raise ManyviewsError(f"--{name} is {getattr(recipe, name)}; it must be at least {least}")
    if recipe.lr <= 0:
        raise ManyviewsError(f"--lr is {recipe.lr}; a learning rate is positive")
    if recipe.clip is not None and recipe.clip <= 0:
        raise ManyviewsError(
            f"--clip is {recipe.clip}; the largest allowed norm of a gradient must be above 0"
        )
    if not 0 < recipe.layer_decay <= 1:
        raise ManyviewsError(
            f"--layer-decay is {recipe.layer_decay}; it is the share of a layer's learning rate that the layer below it gets, above 0 and at most 1"
        )
    if recipe.trust <= 0:
        raise ManyviewsError(
            f"--trust is {recipe.trust}; it multiplies the rate of LARS, so it must be above 0"
        )
    if min(recipe.weight_decay, recipe.weight_decay_end or 0.0) < 0:
        raise ManyviewsError(
            f"--weight-decay is {recipe.weight_decay} and --weight-decay-end {recipe.weight_decay_end}; each must be 0 or more"
        )
    if recipe.weight_decay_end and not recipe.weight_decay:
        raise ManyviewsError(
            "--weight-decay-end changes a weight decay that is there, and here it is 0: give --weight-decay a value above 0, "
            "such as 1e-6, or say --weight-decay-end None"
        )
    if not all(0 < milestone < 1 for milestone in recipe.milestones):
        raise ManyviewsError(
            f"--milestones are {recipe.milestones}; they are shares of the run, between 0 and 1"
        )
    if not 0 < recipe.labels <= 1:
        raise ManyviewsError(
            f"--labels is {recipe.labels}; it is a share of all labels, above 0 and at most 1"
        )
    if recipe.crop_alpha <= 0:
        raise ManyviewsError(f"--crop-alpha is {recipe.crop_alpha}; Beta(alpha, alpha) needs alpha above 0")
    if not 0 <= recipe.crop_threshold <= 1:
        raise ManyviewsError(f"--crop-threshold is {recipe.crop_threshold}; it is a share, from 0 to 1")
    if not 0 <= recipe.crop_first < 1 or not 0 < recipe.crop_every <= 1:
        raise ManyviewsError(
            f"--crop-first is {recipe.crop_first} and --crop-every {recipe.crop_every}; both are shares of the run, "
            "the first from 0 to below 1, the second above 0 and up to 1"
        )
    if not 0 <= recipe.colour <= 1:
        raise ManyviewsError(
            f"--colour is {recipe.colour}; it is a share of the colour augmentation, from 0 to 1"
        )
    if not 0 <= recipe.warmup < 1:
        raise ManyviewsError(f"--warmup is {recipe.warmup}; it is a share of the run, from 0 to below 1")
    if recipe.schedule == "rsqrt" and not recipe.warmup:
        raise ManyviewsError(
            "--schedule rsqrt falls from the end of the warm-up on, so it needs --warmup, such as 0.05"
        )
    if recipe.batch % recipe.accumulate:
        raise ManyviewsError(
            f"A batch of {recipe.batch} does not split into {recipe.accumulate} pieces (--accumulate)"
        )


def check_numbers(config: Any) -> None:
    """Refuse what a loss would divide by, where it is not above 0, and shares that are none."""
    for name in DIVISORS:
        value = getattr(config, name, None)
        if isinstance(value, int | float) and not value > 0:
            raise ManyviewsError(f"--{name.replace('_', '-')} is {value}; it divides, and is above 0")
    for name in SHARES:
        value = getattr(config, name, None)
        if isinstance(value, int | float) and not 0 <= value <= 1:
            raise ManyviewsError(f"--{name.replace('_', '-')} is {value}; it is a share, from 0 to 1")


def check_served(paper: Paper, config: Any, recipe: Recipe, changes: Iterable[str]) -> None:
    """Refuse a setting that was asked for and that nothing would read."""
    serves, settings = SERVES | paper.serves, vars(recipe) | vars(config)
    for name in serves.keys() & set(changes):
        other, words = serves[name]
        if other not in settings:
            continue
        chosen = settings[other]
        if chosen in words or (not words and chosen):
            continue
        only = " or ".join(_said(other, word) for word in words) or _said(other, "above 0")
        raise ManyviewsError(
            f"{_said(name)} is read only with {only}, and here it is {_said(other, chosen)}; leave it out, or set the other one too"
        )


def _said(name: str, value: Any = True) -> str:
    """A setting as the command line has it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value}"


def check_data(recipe: Recipe, items: int) -> None:
    """Refuse a batch that the data cannot fill."""
    if items < 2:
        raise ManyviewsError(
            f"There {'is 1 item' if items else 'are 0 items'} to learn from, and a batch has at least 2: give more data, or, for "
            "texts, a smaller --size."
        )
    if recipe.batch > items:
        raise ManyviewsError(
            f"A batch of {recipe.batch} is larger than the data: {items} items; choose --batch {items} or less."
        )
