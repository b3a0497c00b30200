"""The little grammar that captions need: noun phrases in English, and in German with gender, case and endings.

A noun stands in the number that it is used in; a noun in the plural has the gender "p", as German's plurals need none.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Noun(NamedTuple):
    """One noun in both languages."""

    en: str
    de: str
    gender: str
    """Of the German word: m, f, n, or p of a plural, in both languages."""


class Adjective(NamedTuple):
    """One adjective in both languages, as it stands alone."""

    en: str
    de: str


CASES = ("nom", "acc", "dat")
UNBENT = {"rosa", "lila"}  # adjectives that take no ending

# By article, then gender, in the order of CASES.
ARTICLES = {
    "the": {
        "m": ("der", "den", "dem"),
        "f": ("die", "die", "der"),
        "n": ("das", "das", "dem"),
        "p": ("die", "die", "den"),
    },
    "a": {
        "m": ("ein", "einen", "einem"),
        "f": ("eine", "eine", "einer"),
        "n": ("ein", "ein", "einem"),
        "p": ("", "", ""),
    },
    "no": {
        "m": ("kein", "keinen", "keinem"),
        "f": ("keine", "keine", "keiner"),
        "n": ("kein", "kein", "keinem"),
        "p": ("keine", "keine", "keinen"),
    },
}
WEAK = {
    "m": ("e", "en", "en"),
    "f": ("e", "e", "en"),
    "n": ("e", "e", "en"),
    "p": ("en", "en", "en"),
}
MIXED = {
    "m": ("er", "en", "en"),
    "f": ("e", "e", "en"),
    "n": ("es", "es", "en"),
    "p": ("en", "en", "en"),
}
STRONG = {
    "m": ("er", "en", "em"),
    "f": ("e", "e", "er"),
    "n": ("es", "es", "em"),
    "p": ("e", "e", "en"),
}
PRONOUNS = {
    "m": ("er", "ihn", "ihm"),
    "f": ("sie", "sie", "ihr"),
    "n": ("es", "es", "ihm"),
}
CONTRACTED = {"in dem": "im", "in das": "ins", "an dem": "am"}


def english(noun: Noun, article: str = "", adjectives: Sequence[Adjective] = ()) -> str:
    """A noun phrase: "an amber fish", "the sea", "brown stripes" (a plural takes no "a")."""
    words = [*(adjective.en for adjective in adjectives), noun.en]
    if article == "a":
        article = "" if noun.gender == "p" else "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *words] if article else words)


def german(noun: Noun, case: str, article: str = "", adjectives: Sequence[Adjective] = ()) -> str:
    """A noun phrase in a case: "einen goldenen Fisch", "der kleinen Eule", "mit" "braunen Streifen".

    Args:
        noun: any noun.
        case: nom, acc or dat.
        article: "the", "a", "no", or "" for none.
        adjectives: in order, each with the ending that article, gender and case ask for.
    """
    at, gender = CASES.index(case), noun.gender
    first = ARTICLES[article][gender][at] if article else ""
    endings = STRONG if not first else WEAK if article == "the" else MIXED
    bent = [a.de if a.de in UNBENT else a.de + endings[gender][at] for a in adjectives]
    name = dative_plural(noun.de) if gender == "p" and case == "dat" else noun.de
    return " ".join(filter(None, [first, *bent, name]))


def dative_plural(plural: str) -> str:
    """The dative of a German plural: it ends in n unless it ends in s."""
    return plural if plural[-1] in "ns" else plural + "n"


def pronoun(gender: str, case: str) -> str:
    """Er, sie or es, in a case."""
    return PRONOUNS[gender][CASES.index(case)]


def after(preposition: str, noun: Noun, case: str) -> str:
    """A German preposition before "the" noun, run together where German does: "im Meer", "auf die Wiese"."""
    phrase = f"{preposition} {german(noun, case, 'the')}"
    start, _, rest = phrase.rpartition(" ")
    return f"{CONTRACTED.get(start, start)} {rest}"
