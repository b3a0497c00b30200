"""What a run that learned a language can do with it: write, and translate."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from manyviews.data.corpus import open_corpus
from manyviews.data.packing import rows, too_long
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.evaluation.bleu import Bleu, bleu, scorer
from manyviews.files import write_text
from manyviews.nets.beam import translate as beam_search
from manyviews.nets.reader import Reader
from manyviews.nets.transformer import Transformer
from manyviews.nets.watching import cross_attention
from manyviews.nets.writer import require_writer
from manyviews.nets.writer import write as continue_text
from manyviews.report.attention import attention_map
from manyviews.report.drawing import Drawing, svg
from manyviews.rng import seed_of
from manyviews.runs import Run


def write(
    run: str | Path | Run,
    prompt: str = "",
    *,
    tokens: int = 200,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> list[str]:
    """Continue a beginning by a run that learned to predict the next token: what follows it, a text a sample.

    Args:
        run: a run or its folder.
        prompt: the beginning; empty: that of a new text.
        tokens: at most so many; a net with a longest text stops there.
        samples: how many texts.
        temperature: divides the logits; at 0 the likeliest token is taken.
        top_k, top_p: draw only from the likeliest tokens (`generate`).
        seed: what is drawn is a function of it and of the sample's number.

    Raises:
        ManyviewsError: the run learned from no texts, or its net also looks ahead; a prompt without room; settings out
            of their ranges.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    if samples < 1 or tokens < 1:
        raise ManyviewsError(f"{samples} texts of {tokens} tokens cannot be written; ask for at least one.")
    words = vocabulary_of(run)
    net = require_writer(run.encoder)
    device = next(net.parameters()).device
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return [
        continue_text(
            net, words, prompt, tokens,
            generator=torch.Generator(device).manual_seed(seed_of(seed, "write", number)), **how,
        )
        for number in range(samples)
    ]  # fmt: skip


@dataclass(frozen=True)
class Translated:
    """The translations of a corpus, and how near they come to its own."""

    source: Sequence[str]
    reference: Sequence[str]
    translation: Sequence[str]
    bleu: Bleu


def translate(
    run: str | Path | Run,
    texts: Sequence[str],
    *,
    beam: int = 4,
    alpha: float = 0.6,
    batch: int = 64,
    attention: str | Path | None = None,
) -> list[str]:
    """Each text in the other language, by beam search.

    Args:
        run: a run of `translation`, or its folder.
        texts: in the language that it learned to translate from; longer ones are cut at its longest text.
        beam: hypotheses that go on at each step; 1 is greedy.
        alpha: of the length penalty: larger favours longer translations.
        batch: texts that are translated at a time, those of like length together.
        attention: an .svg file for a picture of what the first translation looks at: a row for each token that was told, a
            column for each of the source; the darker, the more. It is the last layer's, and the mean over its heads.

    Raises:
        ManyviewsError: the run learned no translation; there is an empty text; a beam below 1; a picture of another kind.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    net, words = _translator(run), vocabulary_of(run)
    if attention is not None and Path(attention).suffix != ".svg":
        raise ManyviewsError(f"Attention is drawn as an .svg file, not as {attention}; use the suffix .svg.")
    if batch < 1:
        raise ManyviewsError(f"{batch} texts cannot be translated at a time; take 1 or more.")
    assert words.start is not None and words.end is not None
    if empty := [number for number, text in enumerate(texts, 1) if not text.strip()]:
        raise ManyviewsError(f"Text {empty[0]} of {len(texts)} is empty, so there is nothing to translate.")
    encoded = [(one,) for one in words.encode(texts)]
    if cut := sum(too_long(encoded, run.size)):
        print(
            f"manyviews: {cut:,} of {len(texts):,} texts are longer than {run.size} tokens and cut there",
            file=sys.stderr,
        )
    ids = rows(encoded, run.size, words)[:, 0].long()
    length_N = (ids != words.padding).sum(1)
    order = length_N.argsort(descending=True, stable=True)
    found: list[str] = [""] * len(texts)
    for some in order.split(batch):
        source_BS = ids[some][:, : int(length_N[some].max())].to(next(net.parameters()).device)
        told = beam_search(
            net, source_BS, start=words.start, end=words.end, beam=beam, alpha=alpha, padding=words.padding
        )
        for number, row in zip(some.tolist(), told.tokens_BT, strict=True):
            found[number] = words.decode(row)
            if attention is not None and number == 0:
                write_text(attention, svg(_looked_at(net, words, ids[0][: int(length_N[0])], row)))
    return found


def bleu_of(
    run: str | Path | Run,
    data: Any = None,
    *,
    split: str = "test",
    data_root: str | Path | None = None,
    beam: int = 4,
    alpha: float = 0.6,
    attention: str | Path | None = None,
) -> Translated:
    """Translate the sources of a corpus of pairs, and score the translations against its targets; also entered in
    ``results.json``. ``attention`` is as of ``translate``.

    Raises:
        ManyviewsError: as ``translate``; or the corpus has no pairs, or no such split.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    root = data_root if data_root is not None else run.settings["data"]["root"]
    _translator(run)
    scorer()  # said before anything is translated
    if data is None and not run.recipe.data:
        raise ManyviewsError(f"{run.path} learned from texts in memory; say with data= what to translate.")
    corpus = open_corpus(data if data is not None else run.recipe.data, split=split, root=root)
    if len(corpus.texts[0]) != 2:
        raise ManyviewsError(
            f"{corpus.name} has no pairs of texts, so there is nothing to compare a translation with."
        )
    source, reference = ([item[side] for item in corpus.texts] for side in (0, 1))
    told = translate(run, source, beam=beam, alpha=alpha, attention=attention)
    score = bleu(told, reference)
    of = corpus.name if split == "test" else f"{corpus.name}, {split}"
    told_of = {of: asdict(score) | {"beam": beam, "alpha": alpha}}
    run.enter(lambda results: {"bleu": results.get("bleu", {}) | told_of})
    return Translated(source, reference, told, score)


def _looked_at(net: Transformer, words: Tokeniser, source_S: Tensor, told_T: Tensor) -> Drawing:
    """What each token of a translation looked at when it was told; ``told_T`` may be filled up after its end."""
    ends = (told_T == words.end).nonzero()
    told_T = told_T[: int(ends[0]) + 1] if len(ends) else told_T[told_T != words.padding]
    read_T = torch.cat(
        [told_T.new_tensor([words.start]), told_T[:-1]]
    )  # each row tells the token after its own
    look_LHTS = cross_attention(net, source_S.to(told_T.device), read_T)
    title = "What each token was told from"
    return attention_map(look_LHTS[-1].mean(0), words.tokens(told_T), words.tokens(source_S), title)


def _translator(run: Run) -> Transformer:
    if isinstance(run.encoder, Reader) and isinstance(run.encoder.net, Transformer):
        return run.encoder.net
    raise ManyviewsError(
        f"{run.path} learned by {run.paper.name}, which does not translate; "
        "`manyviews pretrain translation` learns to."
    )


def vocabulary_of(run: Run) -> Tokeniser:
    """The tokeniser in a run's folder. Raises ``ManyviewsError`` where the run learned from no texts."""
    if run.reading is None:
        raise ManyviewsError(f"{run.path} learned from {run.paper.method.sees}, so it has no words.")
    return Tokeniser.load(run.words)
