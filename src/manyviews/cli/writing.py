"""Commands of runs that learned a language: write, translate."""

from dataclasses import asdict, dataclass
from pathlib import Path

from manyviews.cli.shared import parse, positional, print_json
from manyviews.errors import ManyviewsError


def write_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Write:
        """Go on with a text, as a run that learned to tell the next token would."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        prompt: str = ""  # the beginning; unless told, that of a new text
        tokens: int = 200  # at most
        samples: int = 1  # texts
        temperature: float = 1.0  # below 1 more usual, above 1 more surprising; 0: always the likeliest token
        top_k: int | None = None  # draw only from the k likeliest tokens
        top_p: float | None = None  # draw only from the likeliest tokens that have this probability together
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


def translate_command(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Translate:
        """Translate texts, or the test split of a corpus of pairs, which also gives the BLEU."""

        run: positional(Path, "the run's folder")  # pyright: ignore[reportInvalidTypeForm]
        texts: positional(tuple[str, ...], "texts; none: the corpus") = ()  # pyright: ignore[reportInvalidTypeForm]
        data: str | None = None  # a corpus of pairs; unless told, what the run learned from
        split: str = "test"  # of the corpus
        beam: int = 4  # hypotheses that go on at each step; 1 is greedy
        alpha: float = 0.6  # of the length penalty: larger favours longer translations
        out: Path | None = None  # where the translations go, a line each
        data_root: Path | None = None  # where named sets are
        json: bool = False  # print one JSON object

    ask = parse(Translate, words, "translate")
    from manyviews.files import write_text
    from manyviews.writing import bleu_of, translate

    if ask.texts and ask.data is not None:
        raise ManyviewsError("Translate either texts or a corpus: leave out the texts or --data.")
    how = {"beam": ask.beam, "alpha": ask.alpha}
    if ask.texts:
        told = translate(ask.run, list(ask.texts), **how)
        if ask.out is not None:
            write_text(ask.out, "\n".join(told) + "\n")
        print_json({"translations": told}) if ask.json else print("\n".join(told))
        return
    found = bleu_of(ask.run, ask.data, split=ask.split, data_root=ask.data_root, **how)
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
