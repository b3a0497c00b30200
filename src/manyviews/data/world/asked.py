"""What words of the world's captions tell, and questions that they answer: marked texts, in English.

world-tags        a caption an item; marked are the words of its colours, its creature, its habitat and its season
world-questions   a question an item, and the caption that may hold its answer: one in five does not
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache

from manyviews.data.corpus import Corpus
from manyviews.data.marked import ANSWER, Mark, marked
from manyviews.data.world import captions_words as words
from manyviews.data.world.captions import world_captions
from manyviews.rng import seed_of

TAGS = ("colour", "creature", "habitat", "season")
QUESTIONS = {
    "Where does it live?": "place",
    "What season is it?": "season",
    "What animal is it?": "creature",
    "What colour is it?": "colour",
}


def world_tags(split: str = "train", *, items: int | None = None, seed: int = 0) -> Corpus:
    """Captions whose telling words are marked with ``TAGS``; arguments as of `world_captions`."""
    corpus = world_captions(split, items=items, seed=seed)
    marks = [[Mark(0, *spot, tag) for tag in TAGS for spot in told(text, tag)] for (text,) in corpus.texts]
    return marked(_called(corpus, "tags", corpus.texts), marks, TAGS)


def world_questions(split: str = "train", *, items: int | None = None, seed: int = 0) -> Corpus:
    """Questions about captions; the answer is the first words that tell it, and there is none where nothing does."""
    corpus = world_captions(split, items=items, seed=seed)
    asked = [list(QUESTIONS)[seed_of("question", name) % len(QUESTIONS)] for name in corpus.names]
    texts = [(question, text) for question, (text,) in zip(asked, corpus.texts, strict=True)]
    marks = [
        [Mark(1, *spot, ANSWER) for spot in list(told(text, QUESTIONS[question]))[:1]]
        for question, text in texts
    ]
    return marked(_called(corpus, "questions", texts), marks, [ANSWER])


def told(text: str, tag: str) -> Iterable[tuple[int, int]]:
    """Where in a text the words stand that tell a tag."""
    return (match.span() for match in _words(tag).finditer(text))


@cache
def _words(tag: str) -> re.Pattern[str]:
    known = {
        "colour": [adjective.en for pair in words.COLOURS for both in pair for adjective in both],
        "creature": [noun.en for noun in words.CREATURES],
        "habitat": [habitat.noun.en for habitats in words.HABITATS for habitat in habitats],
        "season": [noun.en for noun, _, _ in words.SEASONS],
    }
    known["place"] = [rf"(?:(?:in|on|among|into|onto) )*the (?:{'|'.join(known['habitat'])})"]
    return re.compile(rf"\b(?:{'|'.join(known[tag])})\b", re.IGNORECASE)


def _called(corpus: Corpus, kind: str, texts: Sequence[tuple[str, ...]]) -> Corpus:
    name = corpus.name.replace("captions-en", kind)
    return Corpus(name, corpus.names, texts, corpus.labels, corpus.classes)
