"""What is said of an item of the world, in English and in German: two to four sentences, and all of them true.

The first sentence names the creature with its cues (colour, marking, mostly its habitat); the others speak of place,
pose, season, surroundings and light. Which facts are told, in which order and by which templates is drawn once for both
languages; of synonyms German draws its own one time in seven, so that translation can be learned and is no look-up.
Every draw is hashed from the item under names of its own: item ``i`` here is item ``i`` of `world`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from manyviews.data.corpus import Corpus
from manyviews.data.world import ITEMS
from manyviews.data.world import captions_words as words
from manyviews.data.world.captions_facts import Facts, facts
from manyviews.data.world.captions_grammar import ARTICLES, CASES, Adjective, Noun, english, german, pronoun
from manyviews.data.world.latents import SPECIES, WORLD_VERSION, Latents, latents
from manyviews.errors import ManyviewsError, NoSplit
from manyviews.rng import Dice

LANGUAGES = ("en", "de")
OWN_SYNONYM = 1 / 7  # the chance that German draws a synonym by itself
HABITAT_FIRST = 0.7  # the chance that the first sentence tells the habitat
SIZE_TOLD = 0.8  # the chance that a small or large one is called so
BY_PRONOUN, BY_NOUN = 0.55, 0.8  # of a creature that was just spoken of: it; its name; else "the animal"

Slots = dict[str, str]
T = TypeVar("T")


def world_captions(
    split: str = "train", *, language: str = "en", items: int | None = None, seed: int = 0, named: bool = True
) -> Corpus:
    """The world's captions, a short document an item with a sentence a line, labelled by species.

    Args:
        split: "train" (12,000 items by default) or "test" (2,000); they never share an item.
        language: "en" or "de".
        items: how many; the first ``items`` of a longer corpus are the same.
        seed: as in `world`.
        named: whether the species is named. If not, it is a "creature" ("Wesen"), and has to be told from its cues.

    Raises:
        ManyviewsError: for an unknown split or language, or less than one item.
    """
    z = _items(split, items, seed)
    kind = "captions" if named else "riddles"
    told = caption(z, language, named=named)
    return _corpus(
        f"world-{kind}-{language}-{WORLD_VERSION}/{split}", split, z, [("\n".join(t),) for t in told]
    )


def world_pairs(
    split: str = "train", *, source: str = "en", target: str = "de", items: int | None = None, seed: int = 0
) -> Corpus:
    """The first two sentences of every caption in two languages, a pair an item, labelled by species.

    Args:
        split: as in `world_captions`.
        source: the language to translate from.
        target: the one to translate to.
        items: as in `world_captions`.
        seed: as in `world`.

    Raises:
        ManyviewsError: for an unknown split or language, one language twice, or less than one item.
    """
    if source == target:
        raise ManyviewsError(
            f"The pairs are from {source!r} to itself: choose two of {', '.join(LANGUAGES)}."
        )
    z = _items(split, items, seed)
    both = zip(caption(z, source), caption(z, target), strict=True)
    pairs = [(" ".join(one[:2]), " ".join(other[:2])) for one, other in both]
    return _corpus(f"world-pairs-{source}-{target}-{WORLD_VERSION}/{split}", split, z, pairs)


def caption(latents: Latents, language: str = "en", *, named: bool = True) -> list[list[str]]:
    """Two to four sentences about each of N items.

    Args:
        latents: N items.
        language: "en" or "de"; both tell the same facts in the same order.
        named: whether the species is named; if not, it is a "creature" ("Wesen").

    Raises:
        ManyviewsError: for an unknown language.
    """
    if language not in LANGUAGES:
        raise ManyviewsError(f"Captions are not told in {language!r}: choose one of {', '.join(LANGUAGES)}.")
    dice = Dice(latents.key.numpy(), "caption")
    columns: dict[str, list[float]] = {}
    return [_told(fact, Draw(dice, columns, row, language), named) for row, fact in enumerate(facts(latents))]


def _items(split: str, items: int | None, seed: int) -> Latents:
    return latents(split, range(items_of(split, items)), seed=seed)


def items_of(split: str, items: int | None) -> int:
    """How many captions a split has, or is asked for; raises ``ManyviewsError`` as ``world_captions`` says."""
    if split not in ITEMS:
        raise NoSplit(f"The world has no split {split!r}: choose one of {', '.join(ITEMS)}.")
    count = ITEMS[split] if items is None else items
    if count < 1:
        raise ManyviewsError(f"The world was asked for {count} captions: ask for at least one.")
    return count


def _corpus(name: str, split: str, z: Latents, texts: Sequence[tuple[str, ...]]) -> Corpus:
    names = [f"{split}/{i:06d}" for i in range(len(z))]
    return Corpus(name=name, names=names, texts=texts, labels=z.species, classes=SPECIES)


@dataclass(frozen=True)
class Draw:
    """What is drawn for one item, in one language."""

    dice: Dice
    columns: dict[str, list[float]]  # draws of all items by name, each made when one first asks for it
    row: int
    language: str

    def unit(self, name: str) -> float:
        """In [0, 1)."""
        if name not in self.columns:
            self.columns[name] = self.dice.uniform(name)[:, 0].tolist()
        return self.columns[name][self.row]

    def one(self, name: str, options: Sequence[T]) -> T:
        return options[int(self.unit(name) * len(options))]

    def synonym(self, name: str, options: Sequence[T]) -> T:
        """What English draws, and German too unless it goes its own way."""
        apart = self.language == "de" and self.unit(f"{name} apart") < OWN_SYNONYM
        return self.one(f"{name} in German" if apart else name, options)


def _told(fact: Facts, draw: Draw, named: bool) -> list[str]:
    this = LANGUAGES.index(draw.language)
    noun = words.CREATURES[fact.species] if named else words.UNNAMED
    slots = _slots(fact, draw, noun)
    there = draw.unit("habitat first") < HABITAT_FIRST
    told = [_sentence(draw.one("first", words.FIRST_THERE if there else words.FIRST)[this], slots)]
    spoken: Noun | None = noun  # by which noun the sentence before spoke of the creature
    for group in _groups(fact, draw, there)[: 1 + int(3 * draw.unit("sentences"))]:
        template = draw.one(f"template {group}", words.OTHERS[group])
        refer = draw.unit(f"refer {group}")
        known = spoken is not None and refer < BY_PRONOUN
        by = spoken if spoken and known else noun if refer < BY_NOUN else words.ANIMAL
        told.append(_sentence(template[this], slots | _references(by, known)))
        spoken = by if "{it}" in template[0] else None
    return told


def _groups(fact: Facts, draw: Draw, there: bool) -> list[str]:
    """Groups of facts that the other sentences may speak of, in the order drawn."""
    pose = "upright" if fact.tilt == "upright" else fact.tilt and "tilt"
    if fact.facing:
        pose = f"facing and {pose}" if pose and draw.unit("pose") < 0.5 else "facing"
    both = fact.light and fact.source and draw.unit("light and source") < 0.6
    groups = {
        "place": "place",
        "season": "season" if there else draw.one("season", ("season", "season and habitat", "habitat")),
        "pose": pose,
        "pebbles": None if fact.pebbles is None else "pebbles" if fact.pebbles else "no pebbles",
        "stem": fact.stem and ("no stem" if fact.stem == "no" else f"stem {fact.stem}"),
        "light": "light and source" if both else "light" if fact.light else fact.source and "source",
    }
    order = sorted(groups, key=lambda name: draw.unit(f"order {name}"))
    return [group for name in order if (group := groups[name])]


def _sentence(template: str, slots: Slots) -> str:
    text = template.format_map(slots)
    return text[0].upper() + text[1:]


def _references(by: Noun, known: bool) -> Slots:
    """How a sentence speaks of the creature: by pronoun if it is known whom that means."""
    bent = {f"it_{c}": pronoun(by.gender, c) if known else german(by, c, "the") for c in CASES}
    return {"it": "it" if known else english(by, "the"), **bent}


def _slots(fact: Facts, draw: Draw, noun: Noun) -> Slots:
    """What fills the templates that the facts allow, in the language of the draw."""
    this = LANGUAGES.index(draw.language)

    def bent(slot: str, noun: Noun, article: str = "", adjectives: Sequence[Adjective] = ()) -> Slots:
        if draw.language == "en":
            return {slot: english(noun, article, adjectives)}
        return {f"{slot}_{case}": german(noun, case, article, adjectives) for case in CASES}

    main, mark = words.COLOURS[fact.palette][:: -1 if fact.morph else 1]
    colour, mark = draw.synonym("colour", main), draw.synonym("mark colour", mark)
    size = ()
    if fact.size and draw.unit("size told") < SIZE_TOLD:
        size = (draw.synonym("size", words.SIZES[fact.size]),)
    marks = draw.synonym("marks", words.MARKS[fact.marking])
    home = draw.synonym("habitat", words.HABITATS[fact.habitat])
    season, in_season, of_season = words.SEASONS[fact.season]
    place = words.PLACES[fact.row][fact.column][this]
    slots = {
        **bent("a", noun, "a", (*size, colour)),
        **bent("the", noun, "the", size),
        **bent("marks", marks, "a", (mark,)),
        **bent("habitat", home.noun, "the"),
        **bent("stem", draw.synonym("stem", words.STEMS), "a"),
        "who": ARTICLES["the"][noun.gender][0],
        "colour": colour[this],
        "trait": words.TRAITS[fact.marking][this].format(mark[this]),
        "adorn": words.ADORN[marks.gender == "p"][this],
        "are_there": words.ARE[home.noun.gender == "p"][this],
        "where": home.where[this],
        "into": home.into[this],
        "rests": draw.synonym("rests", words.RESTS)[this],
        "at_short": place,
        "at": f"{place} {words.OF_PICTURE.get(place, words.IN_PICTURE[this])}",
        "season": season[this],
        "the_season": german(season, "nom", "the"),
        "in_season": in_season[this],
        "of_season": of_season,
    }
    if fact.facing:
        slots["side"] = words.SIDES[fact.facing][this]
    if fact.tilt and fact.tilt in words.SIDES:
        slots["tilt"] = words.SIDES[fact.tilt][this]
    if fact.pebbles is not None:
        count = words.COUNTS[fact.pebbles][this]
        pebbles = draw.synonym("pebbles", words.PEBBLE if fact.pebbles == 1 else words.PEBBLES)
        counted = bent("pebbles", pebbles, ("", ("no", "a", "", "")[fact.pebbles])[this])
        slots |= {slot: f"{count} {text}".strip() for slot, text in counted.items()}
        slots["are"] = words.ARE[fact.pebbles != 1][this]
    if fact.light:
        light = draw.synonym("light", words.LIGHTS[fact.light])
        slots |= bent("light", words.LIGHT, "", (light,))
        slots |= {"dim": light[this], "dark": words.PICTURES[fact.light][this]}
    if fact.source:
        source, strongest = words.SOURCES[fact.source]
        slots |= {"source": source[this], "at_source": strongest[this]}
    return slots
