"""Zero-, one- and few-shot from the command line: what is asked, what is entered, and what is refused."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from commands import answer, refused
from manyviews.cli import main
from manyviews.data.corpus import from_texts, open_corpus
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.evaluation.mapping import mapping
from manyviews.evaluation.prompts import Item, in_context
from manyviews.nets.writer import require_writer
from manyviews.prompting import asked, prompt, words_of
from manyviews.runs import Run

CONTEXT = 96
SMALL = ["--batch", "2", "--budget", "1steps", "--size", str(CONTEXT), "--baselines", "pixels"]
CHARS = ["--tokens", "chars", "--vocabulary", "64"]
LINE = "Review: {text} Is it: {label}"


def texts(draw: random.Random, count: int) -> list[str]:
    words = ["the", "cat", "dog", "bird", "sits", "runs", "red", "blue"]
    return [" ".join(draw.choice(words) for _ in range(3)) for _ in range(count)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables: with two splits, with pairs, without labels; and a folder of one split."""
    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    rows = [
        f"{text},{'ab'[n % 2]},{'test' if n >= 16 else 'train'}" for n, text in enumerate(texts(draw, 26))
    ]
    (folder / "table.csv").write_text("\n".join(["text,label,split", *rows]) + "\n")
    rows = [f"{a},{b},{n % 2}" for n, (a, b) in enumerate(zip(texts(draw, 20), texts(draw, 20), strict=True))]
    (folder / "pairs.csv").write_text("\n".join(["sentence1,sentence2,label", *rows]) + "\n")
    (folder / "none.csv").write_text("\n".join(["text", *texts(draw, 20)]) + "\n")
    for number, text in enumerate(texts(draw, 30)):
        path = folder / "many" / "ab"[number % 2] / f"{number:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def learned(out: Path, method: str, source: Path, *more: str) -> Path:
    main(["pretrain", method, "--data", str(source), *SMALL, *CHARS, *more, "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def gpt(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "gpt"
    return learned(out, "gpt", data / "table.csv", "--net", "small_gpt/nodrop")


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_a_template_is_read_as_far_as_its_label() -> None:
    pairs = from_texts(([("a {label} cat", "b{text}"), ("c", "d")], [1, 0]))
    items = asked(pairs, "{text1}\nso {text2}? {label}", ["no", "yes"])
    assert items == [
        Item("a {label} cat\nso b{text}?", (" no", " yes"), 1),  # what texts hold stands as it is
        Item("c\nso d?", (" no", " yes"), 0),
    ]
    assert asked(from_texts((["x"], [0])), "{text}\n{label}", ["n"]) == [Item("x\n", ("n",), 0)]


def test_answers_are_those_of_the_evaluation(
    gpt: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(data / "table.csv")
    words = [
        "prompt",
        str(gpt),
        "--data",
        table,
        "--prompt",
        LINE,
        "--labels",
        "good",
        "bad",
        "--between",
        "\\n",
    ]
    found = answer(capsys, *words, "--shots", "0", "1", "8", "--scoring", "sum", "--seed", "3")
    assert set(found["shots"]) == {"0", "1", "8"} and found["items"] == 10
    run = Run.open(gpt)
    sets = [
        [
            Item(f"Review: {text} Is it:", (" good", " bad"), right)
            for (text,), right in zip(corpus.texts, corpus.labels.tolist(), strict=True)  # pyright: ignore
        ]
        for corpus in (open_corpus(table, split=split) for split in ("train", "test"))
    ]
    for shots, row in found["shots"].items():
        by_hand = in_context(
            require_writer(run.encoder.eval()), Tokeniser.load(run.words), *sets, length=CONTEXT, shots=int(shots), scoring="sum",
            between="\n", seed=3,
        )  # fmt: skip
        assert row == {key: getattr(by_hand, key) for key in ("accuracy", "chance", "demonstrations")}
    assert found["shots"]["0"]["demonstrations"] == 0 and found["shots"]["1"]["demonstrations"] == 1
    assert 1 <= found["shots"]["8"]["demonstrations"] < 8, "as many as the context holds"


def test_figures_are_entered_beside_those_of_the_same_prompt(
    gpt: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prompt", str(gpt), "--data", str(data / "many"), "--prompt", "{text} {label}"]
    first, second = (answer(capsys, *words, "--shots", k) for k in "01")
    assert (
        first["labels"] == ["a", "b"] and first["items"] == 6
    )  # a fifth of the texts, which have no test split
    entered = Run.open(gpt).results()["prompts"][first["data"]]
    assert entered["shots"] == first["shots"] | second["shots"] and entered["prompt"] == "{text} {label}"
    fewer = answer(capsys, *words, "--shots", "0", "--items", "4")
    assert fewer["items"] == 4
    assert Run.open(gpt).results()["prompts"][first["data"]]["shots"] == fewer["shots"]
    main([*words, "--shots", "0"])
    said = capsys.readouterr().out
    assert "6 items, scored by token" in said and "0 shots  accuracy" in said and "chance 50.0%" in said


def test_pairs_and_a_recurrent_net(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = learned(tmp_path / "char", "char_rnn", data / "many")
    words = ["prompt", str(run), "--data", str(data / "pairs.csv"), "--prompt", "{text1}, {text2}: {label}"]
    found = answer(capsys, *words, "--labels", "no", "yes", "--shots", "0", "12")
    assert found["shots"]["12"]["demonstrations"] == 12  # a state is carried as far as there are tokens
    assert found["labels"] == ["no", "yes"] and found["items"] == 4


def test_the_mapping_task_is_asked_by_its_own_prompts(gpt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prompt", str(gpt), "--data", "mapping", "--between", "\\n"]
    found = answer(capsys, *words, "--shots", "0", "2", "--items", "40")
    run = Run.open(gpt)
    tasks = [mapping(task) for task in range(3)]
    tasks[2] = tasks[2][0], tasks[2][1][:8]
    net, tokeniser = require_writer(run.encoder.eval()), Tokeniser.load(run.words)
    right = [
        sum(a == item.right for a, item in zip(one.answers, test, strict=True))
        for train, test in tasks
        for one in [in_context(net, tokeniser, train, test, length=CONTEXT, shots=2, between="\n")]
    ]
    assert found["items"] == 40 and found["shots"]["2"]["accuracy"] == pytest.approx(sum(right) / 40)
    assert found["shots"]["0"]["chance"] == pytest.approx(0.25)
    assert Run.open(gpt).results()["prompts"]["mapping"]["shots"] == found["shots"]
    said = refused(capsys, *words, "--prompt", "{text}: {label}")
    assert "brings its own prompts and words" in said


# -- what is refused -------------------------------------------------------------------------------------------------


def test_prompts_that_cannot_be(gpt: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prompt", str(gpt), "--data", str(data / "table.csv"), "--shots", "0"]
    long = refused(capsys, *words, "--prompt", "so " * 40 + "{text} {label}")
    assert "tokens without any demonstration, and the net reads 96" in long
    for template in ("{label} {text}", "{text}", "Is it {label}", "{text} {label} {label}"):
        assert "is to hold {text} and end in {label}" in refused(capsys, *words, "--prompt", template)
    said = refused(capsys, *words, "--prompt", "{text} {text2} {label}")
    assert "has {text2}, and an item of" in said and "has {text}, {text1}" in said
    assert "stand for the 2 classes" in refused(capsys, *words, "--labels", "good")
    assert "stand for the 2 classes" in refused(capsys, *words, "--labels", "good", "good")
    none = ["prompt", str(gpt), "--data", str(data / "none.csv")]
    assert "has no labels, so there is nothing to ask" in refused(capsys, *none)
    assert "20 demonstrations cannot be drawn from 16" in refused(capsys, *words[:-1], "20")
    assert "-1 demonstrations" in refused(capsys, *words[:-1], "-1")
    assert "for 0 items ask nothing" in refused(capsys, *words, "--items", "0")
    assert "A split is train, val, test or all, not 'dev'" in refused(capsys, *words, "--split", "dev")


def test_classes_without_names_want_words() -> None:
    numbered = replace(from_texts((["x", "y"], [0, 1])), classes=None)
    with pytest.raises(
        ManyviewsError, match="2 classes of texts have no names: say a word for each with --labels"
    ):
        words_of(numbered, [])
    assert words_of(numbered, ["no", "yes"]) == ("no", "yes")


def test_a_run_that_does_not_write(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = f"{data / 'a.en'}+{data / 'a.de'}"
    for end in ("en", "de"):
        (data / f"a.{end}").write_text("\n".join(texts(random.Random(1), 8)) + "\n")
    run = tmp_path / "translation"
    main(["pretrain", "translation", "--data", pairs, *SMALL, *CHARS, "--net", "small_transformer/nodrop", "--out", str(run)])  # fmt: skip
    assert "does not look back alone" in refused(
        capsys, "prompt", str(run), "--data", str(data / "table.csv")
    )
    with pytest.raises(ManyviewsError, match="run"):
        prompt(tmp_path / "none", str(data / "table.csv"))


# -- fine-tuning -----------------------------------------------------------------------------------------------------


def test_fine_tuning_with_the_language_beside_from_the_command_line(
    gpt: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{a},{a if n % 2 else b},{b if n % 2 else a},{n % 2 ^ 1}" for n, (a, b) in enumerate([("cat", "dog"), ("red", "blue")] * 10)]  # fmt: skip
    (tmp_path / "choice.csv").write_text("\n".join(["text,one,two,right", *rows]) + "\n")
    choice = f"{tmp_path / 'choice.csv'}#text,one,two,label=right"
    for source, reads in ((data / "table.csv", "extract"), (data / "pairs.csv", "extract"), (data / "pairs.csv", "similarity"), (choice, "choice")):  # fmt: skip
        words = ["evaluate", str(gpt), "--data", str(source), "--protocol", "finetune"]
        options = (f"embedding={reads}", "joint=0.5", "dropout=0.1", "epochs=1", "batch=8")
        found = answer(capsys, *words, "--option", *(f"finetune.{option}" for option in options))
        assert 0 <= found["figures"]["finetune"]["top1"] <= 1
        assert found["figures"]["finetune"]["loss"] > 1.5, "both losses: log 2 and half of log 20 or so"
    said = refused(capsys, *words, "--option", "finetune.embedding=similarity")
    assert "reads items of 2 text(s), and here is one of 3" in said
