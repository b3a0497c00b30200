"""Commands of runs that learned a language: write, prompt, translate."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from manyviews.cli.shared import parse, positional, print_json
from manyviews.errors import ManyviewsError

Scoring = Literal["token", "sum", "unconditional", "written"]


def write_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Write:
        """Continue a text with a run that learned to predict the next token."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        prompt: str = ""  # text to continue; if not given, a new text is begun
        tokens: int = 200  # how many to write, at most
        samples: int = 1  # how many texts to write
        temperature: float = 1.0  # below 1 more usual, above 1 more surprising; 0: always the likeliest token
        top_k: int | None = None  # draw only from the k likeliest tokens
        top_p: float | None = None  # draw only from the likeliest tokens that together reach this probability
        seed: int = 0  # another seed writes another text
        json: bool = False  # print one JSON object

    ask = parse(Write, words, "write")
    from manyviews.writing import write

    asked = {name: value for name, value in vars(ask).items() if name not in ("run", "prompt", "json")}
    texts = write(ask.run, ask.prompt, **asked)
    if ask.json:
        print_json({"prompt": ask.prompt, "written": texts})
        return
    print("\n\n".join(ask.prompt + text for text in texts))


def prompt_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Prompt:
        """Classify texts by prompting a next-token run, zero-, one- or few-shot; its weights stay as they are."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        data: str | None = None  # texts with labels, or mapping; if not given, what the run learned from
        prompt: str = "{text}\\n{label}"  # template of an item, its label last; for pairs {text1}, {text2}
        shots: tuple[int, ...] = (0, 1, 8)  # numbers of demonstrations to try, drawn from the training split
        labels: tuple[str, ...] = ()  # one word per class, in the classes' order; if not given, their names
        scoring: Scoring = "token"  # log-likelihood: mean, sum, or as under --answer; written: net answers
        answer: str = "Answer: "  # --scoring unconditional subtracts a label's log-likelihood after this text
        instruction: str = ""  # text before the demonstrations
        between: str = "\\n\\n"  # text that separates the demonstrations
        items: int = 256  # how many items to ask, at most
        split: str = "test"  # split to ask; where there is no test split, a fifth of the texts is set aside
        batch: int = 16  # texts read at a time
        seed: int = 0  # another seed draws other items and demonstrations
        data_root: Path | None = None  # folder of the named sets
        json: bool = False  # print one JSON object

    ask = parse(Prompt, words, "prompt")
    from manyviews.prompting import prompt

    lines = ("prompt", "answer", "instruction", "between")
    given = {
        name: value.replace("\\n", "\n") if name in lines else value for name, value in vars(ask).items()
    }
    for name in ("run", "data", "prompt", "json"):
        given.pop(name)
    template = ask.prompt.replace("\\n", "\n")
    found = prompt(ask.run, ask.data, template, **given)
    if ask.json:
        print_json(found)
        return
    print(f"{found['data']}: {found['items']:,} items, scored by {found['scoring']}")
    for shots, row in found["shots"].items():
        print(
            f"{shots:>4} shots  accuracy {row['accuracy']:.1%}  chance {row['chance']:.1%}  "
            f"demonstrations {row['demonstrations']:.1f}"
        )


def translate_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Translate:
        """Translate texts, or the test split of a corpus of pairs, for which the BLEU score is printed too."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        texts: positional(tuple[str, ...], "texts to translate; none: the corpus") = ()  # pyright: ignore[reportInvalidTypeForm]
        data: str | None = None  # a corpus of pairs; if not given, what the run learned from
        split: str | None = None  # split of the corpus; if not given, test
        beam: int = 4  # hypotheses kept at each step; 1 is greedy
        alpha: float = 0.6  # exponent of the length penalty: larger favours longer translations
        out: Path | None = None  # file for the translations, one per line
        attention: Path | None = None  # .svg: what each token of the first translation looks at in its source
        data_root: Path | None = None  # folder of the named sets
        json: bool = False  # print one JSON object

    ask = parse(Translate, words, "translate")
    from manyviews.files import write_text
    from manyviews.writing import bleu_of, translate

    if ask.texts and (ask.data is not None or ask.split is not None):
        raise ManyviewsError(
            "Translate either texts or a corpus: leave out the texts, or --data and --split."
        )
    how = {"beam": ask.beam, "alpha": ask.alpha}
    if ask.texts:
        told = translate(ask.run, list(ask.texts), attention=ask.attention, **how)
        if ask.out is not None:
            write_text(ask.out, "\n".join(told) + "\n")
        print_json({"translations": told}) if ask.json else print("\n".join(told))
        return
    found = bleu_of(
        ask.run, ask.data, split=ask.split or "test", data_root=ask.data_root, attention=ask.attention, **how
    )
    if ask.out is not None:
        write_text(ask.out, "\n".join(found.translation) + "\n")
    if ask.json:
        print_json({"bleu": asdict(found.bleu), "sentences": len(found.translation), **how})
        return
    for source, reference, translation in list(
        zip(found.source, found.reference, found.translation, strict=True)
    )[:3]:
        print(f"{source}\n  told      {translation}\n  reference {reference}")
    print(f"BLEU {found.bleu.score:.1f} on {len(found.translation):,} sentences ({found.bleu.signature})")
