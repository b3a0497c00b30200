"""BLEU: the formula of the paper, written out, and what is said where it cannot be had."""

import math
import sys
from collections import Counter

import pytest
import sacrebleu

from manyviews.errors import ManyviewsError
from manyviews.evaluation.bleu import bleu

HEARD = ["a small dog runs on the green grass", "two men play chess in the old park today", "she reads"]
SAID = [
    "a small dog runs over the green grass",
    "two men are playing chess in the old park",
    "she reads a book",
]
ELSE = ["a little dog runs on the grass there", "two men play chess in the park", "she reads books all day"]


def plain(translations: list[str], references: list[list[str]]) -> tuple[float, float]:
    """Papineni et al. 2002, section 2.3, of words between blanks: the score and the brevity penalty."""
    right, all_, c, r = [0] * 4, [0] * 4, 0, 0
    for text, *others in zip(translations, *references, strict=True):
        words, refs = text.split(), [other.split() for other in others]
        c, r = c + len(words), r + min((abs(len(x) - len(words)), len(x)) for x in refs)[1]
        for n in range(1, 5):
            grams, *of_refs = (
                Counter(tuple(x[i : i + n]) for i in range(len(x) - n + 1)) for x in (words, *refs)
            )
            all_[n - 1] += sum(grams.values())
            right[n - 1] += sum(min(count, max(x[g] for x in of_refs)) for g, count in grams.items())
    bp = min(1.0, math.exp(1 - r / c))
    return 100 * bp * math.exp(sum(math.log(a / b) for a, b in zip(right, all_, strict=True)) / 4), bp


def test_it_is_the_papers_formula():
    found = bleu(HEARD, SAID)
    assert (found.score, found.brevity_penalty) == pytest.approx(plain(HEARD, [SAID]))
    assert 0 < found.score < 100 and found.brevity_penalty < 1 and len(found.precisions) == 4
    both = bleu(HEARD, [SAID, ELSE])
    assert both.score == pytest.approx(plain(HEARD, [SAID, ELSE])[0]) and both.score > found.score


def test_the_corpus_is_scored_and_not_the_mean_of_sentences():
    mean = sum(sacrebleu.sentence_bleu(a, [b]).score for a, b in zip(HEARD, SAID, strict=True)) / 3
    assert abs(bleu(HEARD, SAID).score - mean) > 0.5
    assert bleu(SAID, SAID).score == pytest.approx(100)


def test_the_signature_says_which_bleu_it_is():
    assert f"tok:13a|smooth:exp|version:{sacrebleu.__version__}" in bleu(HEARD, SAID).signature
    assert "nrefs:1|case:mixed" in bleu(HEARD, SAID).signature
    lower = bleu([text.upper() for text in SAID], SAID, lower=True, tokenise="intl")
    assert (
        lower.score == pytest.approx(100) and "case:lc" in lower.signature and "tok:intl" in lower.signature
    )
    assert bleu([text.upper() for text in SAID], SAID).score < 1


def test_what_cannot_be_scored_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ManyviewsError, match="3 translations cannot be scored by 2 references"):
        bleu(HEARD, SAID[:2])
    with pytest.raises(ManyviewsError, match="by 1 references"):
        bleu(HEARD, [SAID, ELSE[:1]])
    with pytest.raises(ManyviewsError, match="no translations"):
        bleu([], [])
    with pytest.raises(ManyviewsError, match=r'no tokenisation "13b"; there are .*13a'):
        bleu(HEARD, SAID, tokenise="13b")
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(ManyviewsError, match=r'pip install "manyviews\[text\]"'):
        bleu(HEARD, SAID)
