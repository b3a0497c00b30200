"""Runs that learn from texts, by whole commands: what they keep, write and translate, and what they refuse."""

import html
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import manyviews
from commands import answer, refused
from manyviews.cli import main
from manyviews.comparing import _all_for
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.judging import held_out
from manyviews.nets.interop import load_encoder, save_encoder
from manyviews.nets.reader import Reader
from manyviews.nets.transformer import Transformer
from manyviews.nets.watching import cross_attention
from manyviews.runs import Run
from manyviews.writing import bleu_of, translate, write

WORDS = "the cat dog bird sits runs sleeps under near a red blue green house tree road"
CONTEXT = 24
SMALL = ["--batch", "4", "--budget", "2steps", "--size", str(CONTEXT), "--baselines", "pixels"]
GPT = ["--net", "small_gpt/nodrop", "--tokens", "chars", "--vocabulary", "64"]
PAIRS = ["--net", "small_transformer/nodrop", "--tokens", "chars", "--vocabulary", "64"]


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS.split()) for _ in range(draw.randint(2, 4))) + "."


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, a folder of files in two classes, and two parallel files."""
    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    (folder / "one.txt").write_text("\n".join(sentence(draw) for _ in range(60)))
    for number in range(24):
        path = folder / "many" / "ab"[number % 2] / f"{number:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sentence(draw))
    english = [sentence(draw)[:20] for _ in range(12)]
    (folder / "pairs.en").write_text("\n".join(english) + "\n")
    (folder / "pairs.de").write_text("\n".join(text[::-1] for text in english) + "\n")
    return folder


def learned(out: Path, method: str, data: Path | str, *more: str) -> Path:
    main(["pretrain", method, "--data", str(data), *SMALL, *more, "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def gpt(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(tmp_path_factory.mktemp("runs") / "gpt", "gpt", texts / "many", *GPT, "--save-every", "0")


@pytest.fixture(scope="module")
def char(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(tmp_path_factory.mktemp("runs") / "char", "char_rnn", texts / "one.txt")


@pytest.fixture(scope="module")
def pairs(texts: Path) -> str:
    return f"{texts / 'pairs.en'}+{texts / 'pairs.de'}"


@pytest.fixture(scope="module")
def translation(pairs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(tmp_path_factory.mktemp("runs") / "translation", "translation", pairs, *PAIRS)


def test_classes_of_texts_are_not_kept_by_any_run(gpt: Path, texts: Path, capsys: Any) -> None:
    said = refused(capsys, "classify", str(gpt), str(texts / "many"))
    assert "reads texts, of which no run keeps a classifier: embed them" in said


@pytest.fixture
def copied(gpt: Path, tmp_path: Path) -> Path:
    """A run that may be tampered with."""
    return Path(shutil.copytree(gpt, tmp_path / "copied"))


# -- what a run keeps ------------------------------------------------------------------------------------------------


def test_a_run_of_texts_is_a_folder_that_explains_itself(gpt: Path, texts: Path) -> None:
    kept = {path.name for path in gpt.iterdir()}
    assert {"tokeniser.json", "written.txt", "encoder.safetensors", "results.json", "report.html"} <= kept
    data = json.loads((gpt / "run.json").read_text())["data"]
    words = Tokeniser.load(gpt / "tokeniser.json")
    assert data["kind"] == "texts" and data["vocabulary"] == len(words)
    assert load_encoder(gpt)[0].in_channels == len(words)
    figures = json.loads((gpt / "results.json").read_text())["figures"]
    assert set(figures) == {"this encoder", "word counts"}  # of texts one by one, by their folders' names
    assert all({"knn", "linear"} <= row.keys() for row in figures.values())
    rows = [json.loads(line) for line in (gpt / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2 and {"loss", "perplexity", "rankme"} <= rows[-1].keys()


def test_its_report_quotes_what_lies_near_and_what_it_writes(gpt: Path) -> None:
    page = (gpt / "report.html").read_text()
    assert "What it finds alike" in page and page.count("<blockquote>") == 2  # a query a class
    assert "neighbours are of their query's class" in html.unescape(page)
    assert "What it can do" in page and 'class="written"' in page
    assert "How it sees them" not in page and "What it learned from" not in page


def test_a_file_and_parallel_files_are_judged_without_labels(char: Path, translation: Path) -> None:
    for run in (char, translation):
        figures = json.loads((run / "results.json").read_text())["figures"]
        assert all(set(row) == {"labelfree"} for row in figures.values())
        assert (run / "report.html").read_text().count("<blockquote>") == 6
    assert (char / "written.txt").exists() and not (translation / "written.txt").exists()


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(copied: Path) -> None:
    whole = (copied / "encoder.safetensors").read_bytes()
    newest = max((copied / "checkpoints").iterdir(), key=lambda path: path.name)
    shutil.rmtree(newest) if newest.is_dir() else newest.unlink()
    (copied / "encoder.safetensors").unlink()
    main(["resume", str(copied)])
    assert (copied / "encoder.safetensors").read_bytes() == whole


# -- what is done with it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["folder", "list"])
def test_texts_are_embedded_one_by_one(
    gpt: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    files = sorted((texts / "many").rglob("*.txt"))
    said = [path.read_text() for path in files]
    run = Run.open(gpt)
    if source == "folder":
        out = tmp_path / "vectors.npz"
        found = answer(capsys, "embed", str(gpt), str(texts / "many"), "--out", str(out))
        assert found["items"] == 24 and out.exists()
        h_ND = manyviews.embed(run, str(texts / "many")).h_ND
    else:
        h_ND = manyviews.embed(run, said).h_ND
    torch.testing.assert_close(h_ND, run.embed(said))
    torch.testing.assert_close(h_ND[3:4], run.embed(said[3:4]))  # alone as among others


def test_a_translator_embeds_single_texts_too(translation: Path, pairs: str, texts: Path) -> None:
    run, english = Run.open(translation), (texts / "pairs.en").read_text().splitlines()
    torch.testing.assert_close(run.embed(english), manyviews.embed(run, pairs).h_ND)


def test_a_text_finds_itself(gpt: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = (texts / "many" / "a" / "04.txt").read_text()
    words = ["search", str(gpt), str(texts / "many"), "--query", query, "--k", "3"]
    found = answer(capsys, *words)["found"]
    assert found[0]["path"].endswith("a/04.txt") and found[0]["distance"] < 1e-5
    assert found[0]["text"] == query[: CONTEXT - 2]
    main(words)
    assert query[: CONTEXT - 2] in capsys.readouterr().out.splitlines()[0]


def test_it_is_judged_by_labels(gpt: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(
        capsys, "evaluate", str(gpt), "--data", str(texts / "many"), "--protocol", "knn", "linear"
    )
    assert set(result["figures"]) == {"knn", "linear"}


@pytest.mark.parametrize("method", ["gpt", "char"])
def test_what_is_written_is_a_function_of_the_seed(
    method: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(request.getfixturevalue(method))
    words = ["write", run, "--prompt", "the c", "--tokens", "12", "--samples", "2"]
    first = answer(capsys, *words, "--seed", "3")
    assert first == answer(capsys, *words, "--seed", "3")
    assert first["prompt"] == "the c" and len(set(first["written"])) == 2
    assert first["written"] != answer(capsys, *words, "--seed", "4")["written"]
    assert first["written"][0] == write(run, "the c", tokens=12, seed=3)[0]
    likeliest = answer(capsys, *words, "--temperature", "0")["written"]
    assert likeliest[0] == likeliest[1] and likeliest == write(run, "the c", tokens=12, temperature=0, samples=2, seed=9)  # fmt: skip
    main(words)
    assert capsys.readouterr().out.startswith("the c")
    assert answer(capsys, "write", run, "--tokens", "5")["written"]


def test_translations_keep_their_order_and_do_not_depend_on_their_batch(
    translation: Path, texts: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(translation, tmp_path / "scattered"))
    encoder, about = load_encoder(run)
    torch.manual_seed(2)
    with torch.no_grad():
        for name, p in encoder.named_parameters():  # so that it says something else of each text
            if name.endswith("norm2.weight"):
                torch.nn.init.normal_(p)
            elif ".cross." in name:
                p.mul_(4)
    save_encoder(run, encoder, about)
    english = (texts / "pairs.en").read_text().splitlines()[:4]
    alone = [translate(run, [text], beam=2)[0] for text in english]
    assert len(set(alone)) > 1
    assert translate(run, english, beam=2) == translate(run, english, beam=2, batch=3) == alone
    assert translate(run, english[::-1], beam=2) == alone[::-1]


def test_texts_and_a_corpus_are_translated(
    translation: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    english = (texts / "pairs.en").read_text().splitlines()
    told = answer(capsys, "translate", str(translation), *english[:2], "--out", str(tmp_path / "two.txt"))
    assert told["translations"] == translate(translation, english[:2])
    assert (tmp_path / "two.txt").read_text() == "\n".join(told["translations"]) + "\n"

    out = tmp_path / "told.txt"
    words = ["translate", str(translation), "--split", "train", "--beam", "1", "--out", str(out)]
    found = answer(capsys, *words)
    assert found["sentences"] == 12 and found["beam"] == 1 and 0 <= found["bleu"]["score"] <= 100
    assert out.read_text().count("\n") >= 12
    entered = Run.open(translation).results()["bleu"]
    assert [row["score"] for row in entered.values()] == [found["bleu"]["score"]]


def test_what_the_first_translation_was_told_from_is_drawn(
    translation: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, words = Run.open(translation), Tokeniser.load(translation / "tokeniser.json")
    short, long = sorted((texts / "pairs.en").read_text().splitlines(), key=len)[::11]
    out = tmp_path / "look.svg"
    told = answer(capsys, "translate", str(translation), short, long, "--attention", str(out))["translations"]
    svg = out.read_text()
    shown = [html.unescape(word) for word in re.findall("<text[^>]*>([^<]*)</text>", svg)]
    title, *shown = (word.replace("\N{MIDDLE DOT}", " ") for word in shown)
    assert title == "What each token was told from"
    source = ["[CLS]", *short, "[SEP]"]
    written, read = shown[: -len(source)], shown[-len(source) :]
    assert read == source and "".join(w for w in written if w not in ("[CLS]", "[PAD]", "[SEP]")) == told[0]

    source_S = torch.tensor([words.start, *words.encode([short])[0], words.end])
    numbers = {name: number for number, name in enumerate(words.tokens(range(len(words))))}
    target_T = torch.tensor([words.start, *(numbers[word] for word in written[:-1])])
    assert isinstance(run.encoder, Reader) and isinstance(run.encoder.net, Transformer)
    look_TS = cross_attention(run.encoder.net, source_S, target_T)[-1].mean(0)
    shades = re.findall(r'class="f-accent-(\d+)"', svg)
    assert [int(shade) for shade in shades] == [round(100 * w) for w in look_TS.flatten().tolist() if round(100 * w)]  # fmt: skip

    answer(
        capsys, "translate", str(translation), "--split", "train", "--attention", str(tmp_path / "corpus.svg")
    )
    assert "[CLS]" in (tmp_path / "corpus.svg").read_text()
    said = refused(capsys, "translate", str(translation), short, "--attention", str(tmp_path / "look.png"))
    assert "drawn as an .svg file" in said


def test_methods_are_compared_on_texts_with_their_own_nets(
    texts: Path, tmp_path: Path, pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    many, words = str(texts / "many"), ["--seeds", "1", *SMALL[:-2], "--out", str(tmp_path / "both")]
    result = answer(capsys, "compare", "gpt", "char_rnn", "--data", many, *words)
    assert set(result["methods"]) == {"gpt", "char_rnn"} and "word counts" in result["baselines"]
    assert "net" not in result and result["size"] == CONTEXT
    nets = {Run.open(tmp_path / "both" / f"{name}-0").recipe.net for name in result["methods"]}
    assert len(nets) == 2
    page = html.unescape((tmp_path / "both" / "report.html").read_text())
    assert "The same data, budget and seeds; each method's own batch, network, optimiser and" in page
    of_texts, of_pairs = (_all_for(data, None, None) for data in (many, pairs))
    assert {"gpt", "char_rnn"} <= set(of_texts) and "translation" not in of_texts
    assert "translation" in of_pairs and "gpt" not in of_pairs
    with pytest.raises(ManyviewsError, match="no data set and no folder called 'no-such'"):
        _all_for("no-such", None, None)


def test_it_is_handed_over_to_transformers_with_its_tokens(
    gpt: Path, char: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = tmp_path / "theirs", Run.open(gpt)
    made = answer(capsys, "export", str(gpt), "--to", "transformers", "--out", str(out))
    assert made["how"].startswith(
        "import transformers; model = transformers.GPT2LMHeadModel.from_pretrained("
    )
    model = transformers.GPT2LMHeadModel.from_pretrained(out).eval()
    words = transformers.PreTrainedTokenizerFast(tokenizer_file=str(out / "tokenizer.json"))
    ids = words("[CLS]the cat[SEP]", return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        states = model.transformer(ids).last_hidden_state
    torch.testing.assert_close(states.mean(1), run.embed(["the cat"]), rtol=1e-4, atol=1e-5)

    assert "export it to safetensors instead" in refused(capsys, "export", str(char), "--to", "transformers")
    assert "is of a net that sees images" in refused(capsys, "export", str(gpt), "--to", "onnx")


# -- a run begins as another -----------------------------------------------------------------------------------------


def test_a_run_that_begins_as_another_takes_its_tokens_along(gpt: Path, texts: Path, tmp_path: Path) -> None:
    still = ["--lr", "1e-30", "--init-from", str(gpt)]
    out = learned(tmp_path / "next", "gpt", texts / "one.txt", *still)
    before, after = (Tokeniser.load(run / "tokeniser.json") for run in (gpt, out))
    assert after.to_json() == before.to_json()
    torch.testing.assert_close(Run.open(out).embed(["the cat"]), Run.open(gpt).embed(["the cat"]))


def test_another_vocabulary_than_that_of_the_weights_is_refused(
    gpt: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As large, but its tokens mean other things."""
    words = Tokeniser.load(gpt / "tokeniser.json")
    letters = "".join(chr(0x4E00 + number) for number in range(len(words) - 5))
    other = Tokeniser.train("chars", [letters], 64).save(tmp_path / "other.json")
    assert len(Tokeniser.load(other)) == len(words)
    words = ["--init-from", str(gpt), "--tokens", str(other), *SMALL, "--out", str(tmp_path / "next")]
    said = refused(capsys, "pretrain", "gpt", "--data", str(texts / "one.txt"), *words)
    assert "vocabulary does not match the weights" in said and "leave out --tokens" in said
    assert not (tmp_path / "next").exists()


# -- what is refused -------------------------------------------------------------------------------------------------


def test_prompts_and_settings_that_cannot_be(
    gpt: Path, char: Path, translation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = refused(capsys, "write", str(gpt), "--prompt", "the cat " * 20)
    assert "prompt has 161 tokens and the net reads 24" in long
    assert "cannot be written" in refused(capsys, "write", str(gpt), "--samples", "0")
    assert "temperature -1.0" in refused(capsys, "write", str(gpt), "--temperature", "-1")
    assert "top_k 0" in refused(capsys, "write", str(gpt), "--top-k", "0")
    assert "leave out top_k" in refused(capsys, "write", str(char), "--top-k", "3")
    assert "does not look back alone" in refused(capsys, "write", str(translation))


def test_translations_that_cannot_be(
    gpt: Path, translation: Path, texts: Path, pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(translation)
    assert "Text 2 of 2 is empty" in refused(capsys, "translate", run, "a cat", " ")
    assert "beam of 0" in refused(capsys, "translate", run, "a cat", "--beam", "0")
    assert "pretrain translation" in refused(capsys, "translate", str(gpt), "a cat")
    assert "has no pairs" in refused(capsys, "translate", run, "--data", str(texts / "one.txt"), "--split", "train")  # fmt: skip
    assert "no split 'test'" in refused(capsys, "translate", run)
    assert "leave out the texts, or --data and --split" in refused(
        capsys, "translate", run, "a cat", "--data", pairs
    )
    with pytest.raises(ManyviewsError, match="0 texts cannot be translated at a time"):
        translate(run, ["a cat"], batch=0)


def test_a_run_that_learned_from_lists_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("a cat", "eine katze"), ("a dog", "ein hund"), ("dogs", "hunde"), ("cats", "katzen")]
    settings = {
        "net": "small_transformer/nodrop",
        "tokens": "chars",
        "vocabulary": 64,
        "size": 16,
        "batch": 2,
    }
    run = manyviews.pretrain(
        "translation", pairs, out=tmp_path / "run", budget="1steps", baselines=(), quiet=True, **settings
    )
    with pytest.raises(ManyviewsError, match="say with data="):
        bleu_of(run)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
        without.setattr(
            "manyviews.writing.translate", lambda *_, **__: pytest.fail("it was translated first")
        )
        with pytest.raises(ManyviewsError, match="needs sacrebleu"):
            bleu_of(run, pairs)
    assert bleu_of(run, pairs).reference == [pair[1] for pair in pairs]


def test_a_run_of_images_has_no_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"method": "byol", "config": {}, "data": {"kind": "images"}})
    )
    assert "learned from images, so it has no words" in refused(capsys, "write", str(tmp_path))
    assert "There is no run at" in refused(capsys, "write", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b" \n\n \n", "is empty"), (b"a caf\xe9", "is not UTF-8: byte 5"), (b"a\0b", "byte 1 is zero")],
)  # fmt: skip
def test_a_file_that_is_no_text(
    content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    asked = ["--data", str(tmp_path / "bad.txt"), *GPT, *SMALL, "--out", str(tmp_path / "run")]
    assert words in refused(capsys, "pretrain", "gpt", *asked)
    assert not (tmp_path / "run").exists()


def test_one_endless_line_is_learned_from(tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_text("the cat sat " * 200)
    out = learned(tmp_path / "run", "gpt", tmp_path / "line.txt", *GPT)
    assert Run.open(out).finished and held_out(str(tmp_path / "line.txt"), 24, None, None, Run.open(out).apart) is None  # fmt: skip


def test_too_few_texts_for_a_batch_and_files_of_unequal_length(
    tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("the cat")
    asked = ["--data", str(tmp_path / "short.txt"), *GPT, *SMALL, "--out", str(tmp_path / "run")]
    assert "There is 1 item to learn from, and a batch has at least 2" in refused(
        capsys, "pretrain", "gpt", *asked
    )
    (tmp_path / "shorter.de").write_text("ein hund\n")
    both = f"{texts / 'pairs.en'}+{tmp_path / 'shorter.de'}"
    said = refused(capsys, "pretrain", "translation", "--data", both, *SMALL)
    assert "has 12 lines" in said and "shorter.de has 1: parallel files" in said


def test_a_tokeniser_that_does_not_match_the_weights(
    copied: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Tokeniser.train("chars", ["abc"], 64).save(copied / "tokeniser.json")
    many, run = str(texts / "many"), str(copied)
    for words in (
        ["write", run], ["embed", run, many, "--out", str(tmp_path / "v.npz")], ["evaluate", run],
        ["search", run, many, "--query", "the cat"], ["resume", run],
    ):  # fmt: skip
        said = refused(capsys, *words)
        assert "vocabulary does not match the weights" in said and "the tokeniser 8" in said, words
    with pytest.raises(ManyviewsError, match="does not match the weights"):
        Run.open(copied).embed(["a cat"])


@pytest.mark.parametrize("how", ["cut short", "missing"])
def test_a_tokeniser_that_is_cut_short_or_missing_loses_no_run(
    how: str, copied: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "tokeniser.json"
    whole, words = file.read_text(), ["write", str(copied), "--tokens", "4"]
    file.write_text(whole[:300]) if how == "cut short" else file.unlink()
    expected = "is no whole tokenizer.json" if how == "cut short" else "There is no tokeniser"
    assert expected in refused(capsys, *words)
    assert expected in refused(capsys, "search", str(copied), str(texts / "many"), "--query", "the cat")
    file.write_text(whole)
    main(words)
