"""The words of the captions, and their sentences, in English and German side by side.

In every table a fact has one or more ways to be said; the languages correspond row by row. A sentence is a pair of
templates; `captions` fills their slots, whose German names end in a case where the language needs one.
"""

from typing import NamedTuple

from manyviews.data.world.captions_grammar import Adjective, Noun, after, english


class Habitat(NamedTuple):
    """A habitat, and the prepositions of being there and of going there; German's is one, with two cases."""

    noun: Noun
    de: str
    en: str = "in"
    en_into: str = "into"

    @property
    def where(self) -> tuple[str, str]:
        return f"{self.en} {english(self.noun, 'the')}", after(self.de, self.noun, "dat")

    @property
    def into(self) -> tuple[str, str]:
        return f"{self.en_into} {english(self.noun, 'the')}", after(self.de, self.noun, "acc")


# In the order of SPECIES.
CREATURES = (
    Noun("fish", "Fisch", "m"),
    Noun("jellyfish", "Qualle", "f"),
    Noun("ladybird", "Marienkäfer", "m"),
    Noun("butterfly", "Schmetterling", "m"),
    Noun("crab", "Krabbe", "f"),
    Noun("turtle", "Schildkröte", "f"),
    Noun("snail", "Schnecke", "f"),
    Noun("caterpillar", "Raupe", "f"),
    Noun("owl", "Eule", "f"),
    Noun("hedgehog", "Igel", "m"),
)
UNNAMED = Noun("creature", "Wesen", "n")  # of a riddle
ANIMAL = Noun("animal", "Tier", "n")

# In the order of PALETTES: the two colours of each.
COLOURS = (
    (
        (Adjective("golden", "golden"), Adjective("amber", "bernsteinfarben")),
        (Adjective("brown", "braun"), Adjective("chestnut", "kastanienbraun")),
    ),
    (
        (Adjective("violet", "violett"), Adjective("purple", "lila")),
        (Adjective("pink", "rosa"), Adjective("rosy", "rosig")),
    ),
    (
        (Adjective("red", "rot"), Adjective("scarlet", "scharlachrot")),
        (Adjective("black", "schwarz"), Adjective("sooty", "rußschwarz")),
    ),
    (
        (Adjective("teal", "blaugrün"), Adjective("turquoise", "türkisfarben")),
        (Adjective("lime", "gelbgrün"), Adjective("yellowish", "gelblich")),
    ),
    (
        (Adjective("cream", "cremefarben"), Adjective("ivory", "elfenbeinfarben")),
        (Adjective("brown", "braun"), Adjective("hazel", "haselnussbraun")),
    ),
)

# In the order of MARKINGS: the marks themselves, and what they make of the creature.
MARKS = (
    (Noun("stripes", "Streifen", "p"), Noun("bands", "Bänder", "p")),
    (Noun("spots", "Flecken", "p"), Noun("dots", "Punkte", "p")),
    (Noun("rings", "Ringe", "p"), Noun("circles", "Kreise", "p")),
    (Noun("checks", "Karos", "p"), Noun("diamonds", "Rauten", "p")),
    (Noun("belly", "Bauch", "m"), Noun("underside", "Unterseite", "f")),
)
TRAITS = (
    ("{}-striped", "{} gestreift"),
    ("{}-spotted", "{} gefleckt"),
    ("{}-ringed", "{} geringelt"),
    ("{}-checked", "{} kariert"),
    ("{} below", "unten {}"),
)

SIZES = {
    "small": (Adjective("small", "klein"), Adjective("little", "klein")),
    "large": (Adjective("large", "groß"), Adjective("big", "groß")),
}

# In the order of HABITATS.
HABITATS = (
    (Habitat(Noun("sea", "Meer", "n"), "in"), Habitat(Noun("water", "Wasser", "n"), "in")),
    (Habitat(Noun("meadow", "Wiese", "f"), "auf"), Habitat(Noun("grass", "Gras", "n"), "in")),
    (Habitat(Noun("dunes", "Dünen", "p"), "in"), Habitat(Noun("sand", "Sand", "m"), "auf", "on", "onto")),
    (
        Habitat(Noun("forest", "Wald", "m"), "in"),
        Habitat(Noun("trees", "Bäume", "p"), "zwischen", "among", "in among"),
    ),
    (
        Habitat(Noun("sky", "Himmel", "m"), "an"),
        Habitat(Noun("clouds", "Wolken", "p"), "zwischen", "among", "in among"),
    ),
)

# In the order of SEASONS: the noun, when it is, and what is of it.
SEASONS = (
    (Noun("winter", "Winter", "m"), ("in winter", "im Winter"), "des Winters"),
    (Noun("spring", "Frühling", "m"), ("in spring", "im Frühling"), "des Frühlings"),
    (Noun("summer", "Sommer", "m"), ("in summer", "im Sommer"), "des Sommers"),
    (Noun("autumn", "Herbst", "m"), ("in autumn", "im Herbst"), "des Herbstes"),
    (Noun("night", "Nacht", "f"), ("at night", "in der Nacht"), "der Nacht"),
)

# By row (top, middle, bottom) and column (left, middle, right) of the picture.
PLACES = (
    (("at the top left", "oben links"), ("at the top", "oben"), ("at the top right", "oben rechts")),
    (("on the left", "links"), ("in the middle", "in der Mitte"), ("on the right", "rechts")),
    (
        ("at the bottom left", "unten links"),
        ("at the bottom", "unten"),
        ("at the bottom right", "unten rechts"),
    ),
)
IN_PICTURE = ("of the picture", "im Bild")
OF_PICTURE = {"in der Mitte": "des Bildes"}
SIDES = {"left": ("left", "links"), "right": ("right", "rechts")}
SOURCES = {  # of the light: where it comes from, and where it is brightest
    "left": (("the left", "links"), ("on the left", "links")),
    "right": (("the right", "rechts"), ("on the right", "rechts")),
    "above": (("above", "oben"), ("at the top", "oben")),
    "below": (("below", "unten"), ("at the bottom", "unten")),
}
LIGHT = Noun("light", "Licht", "n")
LIGHTS = {
    "dark": (Adjective("dim", "schwach"), Adjective("faint", "matt")),
    "bright": (Adjective("bright", "hell"), Adjective("strong", "stark")),
}
PICTURES = {"dark": ("dark", "dunkel"), "bright": ("bright", "hell")}

PEBBLE = (Noun("pebble", "Kiesel", "m"), Noun("stone", "Stein", "m"))
PEBBLES = (Noun("pebbles", "Kiesel", "p"), Noun("stones", "Steine", "p"))
# Before the noun; German's none and one are articles.
COUNTS = {0: ("no", ""), 1: ("one", ""), 2: ("two", "zwei"), 3: ("three", "drei")}
STEMS = (Noun("stem", "Stängel", "m"), Noun("tendril", "Ranke", "f"), Noun("blade", "Blatt", "n"))
RESTS = (("rests", "ruht"), ("waits", "wartet"), ("stays", "bleibt"), ("lingers", "verweilt"))

# Of one, of several.
ARE = (("is", "ist"), ("are", "sind"))
ADORN = (("adorns", "schmückt"), ("adorn", "schmücken"))

# The first sentence, which says where the creature is or does not.
FIRST_THERE = (
    ("{a} with {marks} {rests} {where}.", "{a_nom} mit {marks_dat} {rests} {where}."),
    ("{where} there is {a} with {marks}.", "{where} gibt es {a_acc} mit {marks_dat}."),
    ("we see {a} with {marks} {where}.", "wir sehen {a_acc} mit {marks_dat} {where}."),
    ("this is {a} {where}, {trait}.", "das ist {a_nom} {where}, {trait}."),
    (
        "the picture shows {a} that has {marks} and {rests} {where}.",
        "das Bild zeigt {a_acc}, {who} {marks_acc} hat und {where} {rests}.",
    ),
    ("{a} {where} has {marks}.", "{a_nom} {where} hat {marks_acc}."),
    ("{where} {a} with {marks} can be seen.", "{where} ist {a_nom} mit {marks_dat} zu sehen."),
    ("{the} {where} is {colour} and has {marks}.", "{the_nom} {where} ist {colour} und hat {marks_acc}."),
    ("{marks} {adorn} {a} {where}.", "{marks_nom} {adorn} {a_acc} {where}."),
    ("{a}, {trait}, {rests} {where}.", "{a_nom}, {trait}, {rests} {where}."),
)
FIRST = (
    ("this is {a} with {marks}.", "das ist {a_nom} mit {marks_dat}."),
    ("the picture shows {a} that has {marks}.", "das Bild zeigt {a_acc}, {who} {marks_acc} hat."),
    ("we see {a}, {trait}.", "wir sehen {a_acc}, {trait}."),
    ("{the} is {colour} and has {marks}.", "{the_nom} ist {colour} und hat {marks_acc}."),
    ("{a} with {marks} can be seen.", "{a_nom} mit {marks_dat} ist zu sehen."),
    ("here {rests} {a} with {marks}.", "hier {rests} {a_nom} mit {marks_dat}."),
)

# The others, by the group of facts that they speak of; "it" is the creature, by pronoun or by name.
OTHERS = {
    "place": (
        ("{it} is {at}.", "{it_nom} ist {at}."),
        ("{it} can be found {at}.", "{it_nom} befindet sich {at}."),
        ("we find {it} {at}.", "wir finden {it_acc} {at}."),
        ("{at_short} we see {it}.", "{at_short} sehen wir {it_acc}."),
        ("look for {it} {at}.", "suche {it_acc} {at}."),
    ),
    "facing": (
        ("{it} faces {side}.", "{it_nom} blickt nach {side}."),
        ("{it} looks to the {side}.", "{it_nom} schaut nach {side}."),
        ("the head points to the {side}.", "der Kopf zeigt nach {side}."),
    ),
    "facing and tilt": (
        (
            "{it} faces {side} and leans to the {tilt}.",
            "{it_nom} blickt nach {side} und neigt sich nach {tilt}.",
        ),
        (
            "{it} looks to the {side} and is tilted to the {tilt}.",
            "{it_nom} schaut nach {side} und ist nach {tilt} geneigt.",
        ),
    ),
    "facing and upright": (
        ("{it} faces {side} and is upright.", "{it_nom} blickt nach {side} und ist aufrecht."),
        ("{it} is upright and looks to the {side}.", "{it_nom} ist aufrecht und schaut nach {side}."),
    ),
    "tilt": (
        ("{it} leans to the {tilt}.", "{it_nom} neigt sich nach {tilt}."),
        ("{it} is tilted to the {tilt}.", "{it_nom} ist nach {tilt} geneigt."),
    ),
    "upright": (
        ("{it} is upright.", "{it_nom} ist aufrecht."),
        ("{it} holds itself upright.", "{it_nom} hält sich aufrecht."),
    ),
    "season": (
        ("it is {season}.", "es ist {season}."),
        ("the colours are those of {season}.", "die Farben sind die {of_season}."),
        ("{season} colours the background.", "{the_season} färbt den Hintergrund."),
        ("the picture was taken {in_season}.", "das Bild entstand {in_season}."),
    ),
    "season and habitat": (
        ("it is {season} {where}.", "es ist {season} {where}."),
        ("{in_season} {it} {rests} {where}.", "{in_season} {rests} {it_nom} {where}."),
    ),
    "habitat": (
        ("{it} {rests} {where}.", "{it_nom} {rests} {where}."),
        ("around {it} {are_there} {habitat}.", "um {it_acc} herum {are_there} {habitat_nom}."),
        ("{it} has found its way {into}.", "{it_nom} ist {into} gelangt."),
    ),
    "pebbles": (
        ("there {are} {pebbles} in the picture.", "im Bild {are} {pebbles_nom}."),
        ("{pebbles} can be seen.", "{pebbles_nom} {are} zu sehen."),
        ("we count {pebbles}.", "wir zählen {pebbles_acc}."),
        ("the picture also shows {pebbles}.", "das Bild zeigt auch {pebbles_acc}."),
        ("{it} shares the picture with {pebbles}.", "{it_nom} teilt das Bild mit {pebbles_dat}."),
    ),
    "no pebbles": (
        ("there are {pebbles} in the picture.", "im Bild sind {pebbles_nom}."),
        ("{pebbles} can be seen.", "es sind {pebbles_nom} zu sehen."),
        ("we find {pebbles}.", "wir finden {pebbles_acc}."),
    ),
    "stem before": (
        ("{stem} stands in front of {it}.", "{stem_nom} steht vor {it_dat}."),
        ("{stem} hides a part of {it}.", "{stem_nom} verdeckt {it_acc} zum Teil."),
        ("{it} is behind {stem}.", "{it_nom} ist hinter {stem_dat}."),
    ),
    "stem beside": (
        ("{stem} stands next to {it}.", "{stem_nom} steht neben {it_dat}."),
        ("we see {stem} beside {it}.", "wir sehen {stem_acc} neben {it_dat}."),
    ),
    "no stem": (
        ("nothing stands in front of {it}.", "nichts steht vor {it_dat}."),
        ("nothing hides {it}.", "nichts verdeckt {it_acc}."),
    ),
    "light": (
        ("the light is {dim}.", "das Licht ist {dim}."),
        ("the picture is {dark}.", "das Bild ist {dark}."),
        ("{it} is in {light}.", "{it_nom} ist in {light_dat}."),
    ),
    "source": (
        ("the light comes from {source}.", "das Licht kommt von {source}."),
        ("the light is strongest {at_source}.", "das Licht ist {at_source} am stärksten."),
    ),
    "light and source": (
        ("{light} comes from {source}.", "{light_nom} kommt von {source}."),
        ("{light} falls on {it} from {source}.", "{light_nom} fällt von {source} auf {it_acc}."),
    ),
}
