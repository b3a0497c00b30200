"""A task told in a prompt: what a run that tells the next token answers with no demonstration, one or a few."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from manyviews import rng
from manyviews.data.corpus import Corpus, hold_out, open_corpus
from manyviews.errors import ManyviewsError, NoSplit
from manyviews.evaluation.mapping import mapping
from manyviews.evaluation.prompts import InContext, Item, Scoring, in_context
from manyviews.nets.encoder import judging
from manyviews.nets.gpt import GPT
from manyviews.nets.writer import require_writer
from manyviews.runs import Run
from manyviews.writing import vocabulary_of

MAPPING = "mapping"  # the task that only demonstrations tell
ANY_LENGTH = 2**31  # a recurrent net carries its state as far as there are tokens
HELD_OUT = 0.2  # of texts without a test split
FIELD = re.compile(r"\{(\w+)\}")
TEXTS = (("text", "text1"), ("text2",), ("text3",))  # what an item's texts are called
Split = tuple[list[Item], list[Item]]  # what demonstrations are drawn from, and what is asked


def prompt(
    run: str | Path | Run,
    data: Any = None,
    template: str = "{text}\n{label}",
    *,
    shots: Sequence[int] = (0, 1, 8),
    labels: Sequence[str] = (),
    scoring: Scoring = "token",
    instruction: str = "",
    between: str = "\n\n",
    answer: str = "Answer: ",
    items: int = 256,
    split: str = "test",
    data_root: str | Path | None = None,
    batch: int = 16,
    seed: int = 0,
) -> dict[str, Any]:
    """Ask a run for the classes of texts by a prompt, with its weights unchanged; also entered in ``results.json``.

    Args:
        run: a run that learned to tell the next token, or its folder.
        data: texts with labels; "mapping": the task of `evaluation.mapping`, which brings its own prompts; None: what the
            run learned from.
        template: an item as it is read, ``{label}`` last; ``{text}``, or ``{text1}`` and ``{text2}`` of pairs.
        shots: K, how many demonstrations; several are asked for one after the other. They come from the training split.
        labels: a word a class, in the order of the classes; none: the classes' names.
        scoring: of a completion: "token", its mean log-likelihood a token; "sum", their sum; "unconditional", that sum
            less the one after ``answer``. Or "written": the net (a GPT) writes its answer, right if it is the right word.
        instruction: stands before the demonstrations.
        between: separates two of them.
        items: how many are asked at most, drawn by the seed.
        split: which is asked; of texts that have none, a fifth is set aside.

    Returns:
        The settings, and by K, as text, ``accuracy``, ``chance`` and ``demonstrations``: K as a mean over the items,
        less where prompts were too long for the net.

    Raises:
        ManyviewsError: a run that does not tell the next token; no labels, or other words than classes; a template that
            does not fit; an item longer than the net reads.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    words = vocabulary_of(run)
    net = require_writer(run.encoder)
    if not shots or items < 1:
        raise ManyviewsError(
            f"{len(shots)} numbers of demonstrations for {items} items ask nothing; give at least one of each."
        )
    if isinstance(data, str) and data == MAPPING:
        if labels or template != "{text}\n{label}":
            raise ManyviewsError(
                '"mapping" brings its own prompts and words: leave out the prompt and the labels.'
            )
        name, tasks = MAPPING, _mappings(items, seed)
        settings: dict[str, Any] = {}
    else:
        root = data_root if data_root is not None else run.settings["data"]["root"]
        if data is None and not run.recipe.data:
            raise ManyviewsError(f"{run.path} learned from texts in memory; say with data= what to ask.")
        source = data if data is not None else run.recipe.data
        train = open_corpus(source, split="train", root=root)
        said = words_of(train, labels)
        train, test = _parted(train, source, split, root, seed)
        test = _some(test, items, seed)
        name, tasks = test.name, [(asked(train, template, said), asked(test, template, said))]
        settings = {"prompt": template, "labels": list(said)}
    given: dict[str, Any] = {"scoring": scoring, "instruction": instruction, "between": between, "seed": seed}
    how = given | {"unconditional": answer, "batch": batch}
    how["length"] = net.length if isinstance(net, GPT) else ANY_LENGTH
    settings |= given | {"answer": answer, "split": split, "items": sum(len(test) for _, test in tasks)}
    by_shots = {}
    with judging(net):
        device = next(net.parameters()).device
        for k in dict.fromkeys(shots):
            by_shots[str(k)] = _figures(
                [in_context(net, words, *task, shots=k, device=device, **how) for task in tasks]
            )

    def entered(results: dict[str, Any]) -> dict[str, Any]:
        prompts = results.get("prompts", {})
        before = prompts.get(name, {})
        same = all(before.get(key) == value for key, value in settings.items())
        kept = before.get("shots", {}) if same else {}
        return {"prompts": prompts | {name: settings | {"shots": kept | by_shots}}}

    run.enter(entered)
    return {"run": str(run.path), "data": name} | settings | {"shots": by_shots}


def words_of(corpus: Corpus, labels: Sequence[str]) -> tuple[str, ...]:
    """What stands for each class. Raises ``ManyviewsError`` where a corpus has no labels, or the words are not one a class."""
    if corpus.labels is None:
        raise ManyviewsError(
            f"{corpus.name} has no labels, so there is nothing to ask; give texts with labels."
        )
    count = len(corpus.classes) if corpus.classes else int(corpus.labels.max()) + 1
    if not labels and not corpus.classes:
        raise ManyviewsError(
            f"The {count} classes of {corpus.name} have no names: say a word for each with --labels."
        )
    said = tuple(labels) or corpus.classes or ()
    if len(said) != count or len(set(said)) < count or not all(word.strip() for word in said) or count < 2:
        names = f" ({', '.join(corpus.classes[:5])})" if corpus.classes else ""
        raise ManyviewsError(
            f"{', '.join(said)} cannot stand for the {count} classes of {corpus.name}{names}: there must be two or more classes, "
            "and each needs a word of its own (--labels), in the order of the classes."
        )
    return said


def asked(corpus: Corpus, template: str, labels: Sequence[str]) -> list[Item]:
    """Items as the net reads them: the template as far as its label, and the labels as what may follow.

    The blank before the label belongs to it, as a token begins with one. Raises ``ManyviewsError`` for a template that
    does not fit the texts.
    """
    count = len(corpus.texts[0])
    place = {name: number for number, names in enumerate(TEXTS[:count]) for name in names}
    fields = FIELD.findall(template)
    if not template.endswith("{label}") or fields.count("label") != 1 or not place.keys() & set(fields):
        raise ManyviewsError(
            f'The prompt {template!r} is to hold {{text}} and end in {{label}}, such as "Review: {{text}} Sentiment: {{label}}".'
        )
    if odd := [field for field in fields if field not in place and field != "label"]:
        raise ManyviewsError(
            f"The prompt has {{{odd[0]}}}, and an item of {corpus.name} has {', '.join(f'{{{name}}}' for name in place)}."
        )
    before = template.removesuffix("{label}")
    context = before.rstrip(" ")
    completions = tuple(before[len(context) :] + word for word in labels)
    assert corpus.labels is not None
    return [
        Item(FIELD.sub(lambda found, texts=texts: texts[place[found[1]]], context), completions, right)
        for texts, right in zip(corpus.texts, corpus.labels.tolist(), strict=True)
    ]


def _parted(
    train: Corpus, source: Any, split: str, root: str | Path | None, seed: int
) -> tuple[Corpus, Corpus]:
    """What demonstrations come from, and what is asked: a part of the same texts where there is no test split."""
    test = None
    if isinstance(source, str | Path):
        try:
            test = open_corpus(source, split=split, root=root)
        except NoSplit:
            if split != "test":
                raise
    if test is not None and test.labels is None and split == "test":  # as in GLUE
        with suppress(NoSplit):
            test = open_corpus(source, split="val", root=root)
    if test is None:
        return hold_out(train, HELD_OUT, seed)
    if test.classes != train.classes or test.labels is None:
        raise ManyviewsError(
            f"{train.name} has the classes {train.classes}, and {test.name} {test.classes}; ask a split that has the same classes."
        )
    return train, test


def _some(corpus: Corpus, items: int, seed: int) -> Corpus:
    order = torch.randperm(len(corpus), generator=rng.generator(seed, "asked"))[:items]
    return corpus.subset(order.sort().values)


def _mappings(items: int, seed: int) -> list[Split]:
    """Tasks of 16 items, the last perhaps of fewer."""
    tasks = [mapping(task, seed=seed) for task in range(-(-items // 16))]
    left = items - 16 * (len(tasks) - 1)
    return [*tasks[:-1], (tasks[-1][0], tasks[-1][1][:left])]


def _figures(found: Sequence[InContext]) -> dict[str, float]:
    """Means over the items of all tasks."""
    weights = [len(one.answers) for one in found]
    return {
        key: sum(w * getattr(one, key) for w, one in zip(weights, found, strict=True)) / sum(weights)
        for key in ("accuracy", "chance", "demonstrations")
    }
