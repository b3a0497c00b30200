"""BLEU of a corpus, by sacrebleu, whose signature says which BLEU it is.

Papers   BLEU: Papineni et al., ACL 2002. Post, WMT 2018 (arXiv:1804.08771): figures compare only where detokenised text is
         scored by one tokenisation; that is what sacrebleu does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from manyviews.errors import ManyviewsError

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU


@dataclass(frozen=True)
class Bleu:
    """How near translations come to those of people."""

    score: float  # in [0, 100], as papers state it
    brevity_penalty: float  # in [0, 1]; 1 where the translations are no shorter than the references
    precisions: tuple[float, ...]  # of 1- to 4-grams, in [0, 100]
    signature: str  # to be stated with the score


def scorer() -> type[BLEU]:
    """sacrebleu's BLEU. Raises `ManyviewsError` where it is missing: ask before there is anything to score."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError as error:
        raise ManyviewsError('BLEU needs sacrebleu: pip install "manyviews[text]"') from error
    return BLEU


def bleu(
    translations: Sequence[str],
    references: Sequence[str] | Sequence[Sequence[str]],
    *,
    lower: bool = False,
    tokenise: str = "13a",
) -> Bleu:
    """BLEU of detokenised translations.

    Args:
        references: one for each translation, or several lists of them.
        lower: whether capitals do not matter.
        tokenise: what sacrebleu takes texts apart by: "13a", "intl", "char", "none", ...

    Raises `ManyviewsError` where sacrebleu is missing, there is nothing to score, the numbers of sentences differ, or
    there is no such tokenisation.
    """
    BLEU = scorer()
    one_each = all(isinstance(text, str) for text in references)
    several = cast(Sequence[Sequence[str]], [references] if one_each else references)
    if not translations:
        raise ManyviewsError("There are no translations to score; give at least one.")
    for one in several:
        if len(one) != len(translations):
            raise ManyviewsError(
                f"{len(translations):,} translations cannot be scored by {len(one):,} references; give one for each."
            )
    if tokenise not in BLEU.TOKENIZERS:
        raise ManyviewsError(
            f'There is no tokenisation "{tokenise}"; there are {", ".join(BLEU.TOKENIZERS)}.'
        )
    metric = BLEU(lowercase=lower, tokenize=tokenise)
    found = metric.corpus_score(list(translations), [list(one) for one in several])
    return Bleu(found.score, found.bp, tuple(found.precisions), str(metric.get_signature()))
