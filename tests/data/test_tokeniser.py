"""Texts come back from their tokens; what pieces there are is what GPT-2's pattern and BERT's tokeniser say."""

import copy
import json
import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import regex
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from manyviews.data.tokeniser import FILE, Tokeniser, require_size
from manyviews.data.vocabularies import KINDS, SPECIALS
from manyviews.errors import ManyviewsError

TEXTS = [
    "The cat sat on the mat, and the cat's kittens sat on the other mat.",
    "Ein Kätzchen saß auf der Matte; die Katze saß daneben.",
    "It isn't raining: 1,024 cats and 365 dogs are sitting in the sunshine.\n\n\tUnsinkable!",
    "the other one was sitting there, unseen, thinking of the others (and of nothing else).",
] * 3
MADE = {kind: Tokeniser.train(kind, TEXTS, 400) for kind in KINDS}

GPT2 = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)  # encoder.py of the authors


def every(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(kind, KINDS)


# -- what all kinds have in common -------------------------------------------------------------------------------


@every("kind")
def test_the_special_tokens_come_first(kind: str) -> None:
    made = MADE[kind]
    assert (made.padding, made.unknown, made.start, made.end, made.mask) == (0, 1, 2, 3, 4)
    assert tuple(made.tokens(range(5))) == SPECIALS and made.specials == set(range(5))
    assert 5 < len(made) <= 400


@every("kind")
def test_what_is_encoded_has_no_special_token_and_decode_drops_them(kind: str) -> None:
    made = MADE[kind]
    (ids,) = made.encode([TEXTS[0]])
    assert min(ids) >= 5
    assert made.decode([2, *ids, 3, 0, 0]) == made.decode(torch.tensor(ids)) == made.decode(ids) != ""


@every("kind")
def test_a_batch_is_encoded_as_each_text_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyviews.data.tokeniser.AT_ONCE", 5)
    made = MADE[kind]
    assert made.encode([*TEXTS, ""]) == [made.encode([text])[0] for text in TEXTS] + [[]]
    assert made.encode([]) == []


@every("kind")
def test_names_of_special_tokens_are_text_unless_asked_for(kind: str) -> None:
    made = MADE[kind]
    (plain,), (asked,) = made.encode(["the [MASK] sat"]), made.encode(["the [MASK] sat"], specials=True)
    assert 4 not in plain and asked.count(4) == 1
    assert made.encode(["the [MASK] sat"]) == [plain]


@every("kind")
def test_it_survives_json_pickling_and_copies(kind: str, tmp_path: Path) -> None:
    made = MADE[kind]
    text = "the [PAD] cat sat on it, [MASK] and 12 more"
    for again in (
        Tokeniser.from_json(made.to_json()),
        pickle.loads(pickle.dumps(made)),
        copy.deepcopy(made),
        Tokeniser.load(made.save(tmp_path / "own.json")),
    ):
        assert again.to_json() == made.to_json() and len(again) == len(made)
        assert again.encode([text]) == made.encode([text])
        assert again.decode(made.encode([text])[0]) == made.decode(made.encode([text])[0])


@every("kind")
def test_the_same_texts_make_the_same_tokeniser_in_any_order(kind: str) -> None:
    for texts in (TEXTS, TEXTS[::-1], sorted(TEXTS)):
        for _ in range(3):
            assert Tokeniser.train(kind, texts, 400).to_json() == MADE[kind].to_json()


def test_another_process_with_more_threads_makes_the_same_tokenisers_and_loads_the_library_late() -> None:
    code = (
        "import json, sys, manyviews.data.packing; from manyviews.data.tokeniser import Tokeniser\n"
        "early = 'tokenizers' in sys.modules; texts = json.loads(sys.stdin.read())\n"
        f"print(json.dumps([early, *(Tokeniser.train(kind, texts, 400).to_json() for kind in {list(KINDS)})]))"
    )
    environment = {**os.environ, "RAYON_NUM_THREADS": "4", "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(TEXTS), env=environment, capture_output=True, check=True, text=True
    )  # fmt: skip
    assert json.loads(found.stdout) == [False, *(MADE[kind].to_json() for kind in KINDS)]


@every("kind")
def test_lower_case_is_a_choice(kind: str) -> None:
    for lower in (False, True):
        made = Tokeniser.train(kind, TEXTS, 400, lower=lower)
        same = made.encode(["THE Cat"]) == made.encode(["the cat"])
        assert same == lower
    assert MADE[kind].to_json() == Tokeniser.train(kind, TEXTS, 400, lower=kind == "wordpiece").to_json()


# -- characters --------------------------------------------------------------------------------------------------


@given(st.text(alphabet=[*sorted(set("".join(TEXTS))), "[", "]"], max_size=60))
def test_characters_of_the_texts_come_back(text: str) -> None:
    made = Tokeniser.train("chars", [*TEXTS, "[]"], 400)
    (ids,) = made.encode([text])
    assert made.decode(ids) == text and made.tokens(ids) == list(text)


def test_characters_stand_in_their_order_and_others_are_unknown() -> None:
    made = Tokeniser.train("chars", ["ba\n", "c🙂\0"], 400)
    assert made.tokens(range(5, len(made))) == ["\0", "\n", "a", "b", "c", "🙂"]
    assert made.encode(["aé🙂\r\nc"]) == [[7, 1, 10, 1, 6, 9]]
    assert made.decode([7, 1, 10]) == "a🙂"


# -- bytes -------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.text(), st.sampled_from([*SPECIALS, "<|endoftext|>", " ", "\n"]))).map("".join))
def test_bytes_bring_any_text_back(text: str) -> None:
    (ids,) = MADE["bpe"].encode([text])
    assert MADE["bpe"].decode(ids) == text
    assert not MADE["bpe"].specials & set(ids)


def chunks(text: str) -> list[str]:
    """What merges never cross: with room for all of them, each becomes one token."""
    made = Tokeniser.train("bpe", [text, text], 2000)
    return made.tokens(made.encode([text])[0])


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("Hello world", ["Hello", " world"]),
        ("  two  spaces", [" ", " two", " ", " spaces"]),
        ("it's we'll they've I'm you're he'd can't", ["it", "'s", " we", "'ll", " they", "'ve", " I", "'m", " you", "'re", " he", "'d", " can", "'t"]),
        ("IT'S", ["IT", "'", "S"]),
        ("'tis o'clock", ["'t", "is", " o", "'", "clock"]),
        ("abc123def", ["abc", "123", "def"]),
        ("3.14, 1,000", ["3", ".", "14", ",", " 1", ",", "000"]),
        ("wait...what?!", ["wait", "...", "what", "?!"]),
        ("a \n b", ["a", " \n", " b"]),
        ("a\n\nb", ["a", "\n", "\n", "b"]),
        ("end   ", ["end", "   "]),
        ("\ttab", ["\t", "tab"]),
        ("Käse für 5€", ["Käse", " für", " 5", "€"]),
        ("中文 字", ["中文", " 字"]),
        ("x_y (z)", ["x", "_", "y", " (", "z", ")"]),
    ],
)  # fmt: skip
def test_merges_stay_within_what_the_pattern_of_gpt2_cuts(text: str, due: list[str]) -> None:
    assert chunks(text) == due == GPT2.findall(text)


@given(st.text(alphabet="aZsltvé中1٣ \n\t\u00a0'!_.", min_size=1, max_size=30))
def test_every_text_is_cut_as_the_pattern_of_gpt2_cuts_it(text: str) -> None:
    if text.strip():
        assert chunks(text) == GPT2.findall(text)


def test_merges_are_applied_by_their_rank() -> None:
    made = MADE["bpe"]
    model = json.loads(made.to_json())["model"]
    ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
    assert len(ranks) == len(made) - 261 > 50
    written = dict(zip(sorted(range(256), key=lambda b: (not printable(b), b)), letters(), strict=True))
    for text in [*TEXTS[:4], "unthinkable kittens", "Ωmega 99"]:
        due = []
        for chunk in GPT2.findall(text):
            parts = [written[byte] for byte in chunk.encode()]
            while pairs := [pair for pair in pairwise(parts) if pair in ranks]:
                at = [*pairwise(parts)].index(min(pairs, key=ranks.__getitem__))
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            due += [model["vocab"][part] for part in parts]
        assert made.encode([text]) == [due]


def printable(byte: int) -> bool:
    return 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174


def letters() -> list[str]:
    """How GPT-2 writes bytes: those that can be printed as themselves, then the others from U+0100 on."""
    return [chr(b) for b in range(256) if printable(b)] + [chr(256 + i) for i in range(68)]


def test_the_most_frequent_pair_is_merged_first() -> None:
    made = Tokeniser.train("bpe", ["ababab abab", "cd cd"], 263)
    assert made.tokens([261, 262]) == ["ab", "abab"]


def test_a_part_of_a_character_is_shown_as_the_library_writes_it() -> None:
    made = MADE["bpe"]
    (ids,) = made.encode(["🙂"])
    assert len(ids) == 4 and made.tokens(ids) == ["ð", "Ł", "Ļ", "Ĥ"]
    assert made.decode(ids) == "🙂"


# -- pieces of words ---------------------------------------------------------------------------------------------

SENTENCES = [
    *TEXTS[:4],
    "Unthinkable KITTENS aren't sitting",
    "Café, naïve; ﬁne 中文字\u200b done",
    "a" * 120 + " the",
    "ctrl\x07chars\ttabs\u00a0and  spaces",
    "[CLS] is written here",
]


def test_pieces_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    for lower in (True, False):
        made = Tokeniser.train("wordpiece", TEXTS, 300, lower=lower)
        (tmp_path / "vocab.txt").write_text("\n".join(made.tokens(range(len(made)))) + "\n", "utf-8")
        theirs = BertTokenizer.from_pretrained(tmp_path, do_lower_case=lower, strip_accents=False)
        for text, ids in zip(SENTENCES, made.encode(SENTENCES, specials=True), strict=True):
            assert ids == theirs(text, add_special_tokens=False)["input_ids"]
            assert made.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("kind", MADE)
def test_arrays_hold_the_same_tokens(kind: str) -> None:
    texts = [*TEXTS[:3], ""]
    arrays = MADE[kind].arrays(texts)
    assert [ids.tolist() for ids in arrays] == MADE[kind].encode(texts)
    assert {ids.dtype.name for ids in arrays} == {"int32"}


def test_accents_and_vowel_signs_are_kept() -> None:
    texts = ["Zażółć gęślą jaźń", "हिन्दी की किताब", "Tiếng Việt có dấu"]
    made = Tokeniser.train("wordpiece", texts * 3, 300)
    assert [made.decode(ids) for ids in made.encode(texts)] == [text.lower() for text in texts]


def test_pieces_are_the_longest_that_fit_from_the_left() -> None:
    made = MADE["wordpiece"]
    vocabulary = {piece: number for number, piece in enumerate(made.tokens(range(len(made))))}
    for word in ("the", "kittens", "unthinkable", "unseen", "sunshine", "thermos", "xylophone", "nothings"):
        due, at = [], 0
        while at < len(word):
            fits = [
                end
                for end in range(at + 1, len(word) + 1)
                if ("##" if at else "") + word[at:end] in vocabulary
            ]
            if not fits:
                due = [made.unknown]
                break
            due.append(vocabulary[("##" if at else "") + word[at : max(fits)]])
            at = max(fits)
        assert made.encode([word]) == [due]


def test_decode_makes_words_again() -> None:
    made = Tokeniser.train("wordpiece", TEXTS, 90)
    (ids,) = made.encode(["The kittens, unseen, thinking."])
    assert len(ids) > 9 and any(piece.startswith("##") for piece in made.tokens(ids))
    assert made.decode(ids) == "the kittens, unseen, thinking."


# -- loaded ones -------------------------------------------------------------------------------------------------


def strange(*specials: str, **model: object) -> tokenizers.Tokenizer:
    """What others publish: bytes, special tokens of any names behind them, a template, cutting and filling."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, [], **model))  # pyright: ignore
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.add_special_tokens(list(specials))
    return made


def roles(tokeniser: Tokeniser) -> dict[str, int | None]:
    return {role: getattr(tokeniser, role) for role in ("padding", "unknown", "start", "end", "mask")}


@pytest.mark.parametrize(
    ("specials", "due"),
    [
        (("<s>", "<pad>", "</s>", "<unk>", "<mask>"), (257, 259, 256, 258, 260)),
        (("<|endoftext|>",), (257, None, 256, 256, None)),
        (("<bos>", "<eos>", "<pad>"), (258, None, 256, 257, None)),
        (("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"), (258, 259, 256, 257, 260)),
        (("</s>", "<unk>"), (258, 257, None, 256, None)),
        ((), (256, None, None, None, None)),
    ],
)
def test_special_tokens_are_found_by_their_usual_names(
    specials: tuple[str, ...], due: tuple[int | None, ...], tmp_path: Path
) -> None:
    strange(*specials).save(str(tmp_path / FILE))
    for tokeniser in (Tokeniser.load(tmp_path), Tokeniser.load(tmp_path / FILE)):
        assert tuple(roles(tokeniser).values()) == due
        assert len(tokeniser) == 256 + len(specials) + (due[0] == 256 + len(specials))
        assert tokeniser.decode([*range(256, len(tokeniser))]) == ""
        again = Tokeniser.from_json(tokeniser.to_json())
        assert roles(again) == roles(tokeniser) and len(again) == len(tokeniser)


def test_a_loaded_one_adds_cuts_and_fills_up_nothing() -> None:
    made = strange("<s>", "</s>", "<pad>")
    made.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    made.enable_truncation(4)
    made.enable_padding(length=8, pad_id=258, pad_token="<pad>")
    tokeniser = Tokeniser(made)
    short, long = tokeniser.encode(["ab", "a <s> cdef"])
    assert len(short) == 2 and len(long) == 10 and max(short + long) < 256


def test_a_loaded_one_leaves_nothing_to_chance() -> None:
    tokeniser = Tokeniser.from_json(MADE["bpe"].to_json().replace('"dropout":null', '"dropout":0.5'))
    assert tokeniser.encode(TEXTS) == MADE["bpe"].encode(TEXTS)


def test_a_vocabulary_with_a_hole_is_as_large_as_its_last_number() -> None:
    made = tokenizers.Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "b": 9}, unk_token="[PAD]"))
    tokeniser = Tokeniser(made)
    assert len(tokeniser) == 10
    with pytest.raises(ManyviewsError, match="No token has the number 5: the vocabulary has a hole there"):
        tokeniser.tokens([1, 5])


def test_saving_leaves_nothing_beside_and_a_folder_gets_the_usual_name(tmp_path: Path) -> None:
    assert MADE["chars"].save(tmp_path) == tmp_path / FILE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert tokenizers.Tokenizer.from_file(str(tmp_path / FILE)).get_vocab_size() == len(MADE["chars"])


# -- bad input ---------------------------------------------------------------------------------------------------


def plain(message: str) -> bool:
    return "\n" not in message and len(message) < 300


@every("kind")
def test_a_file_cut_short_is_one_plain_sentence(kind: str, tmp_path: Path) -> None:
    whole = MADE[kind].to_json().encode()
    path = tmp_path / FILE
    for size in (0, 1, 10, *range(50, len(whole), 997), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ManyviewsError, match=r"tokenizer\.json (is no whole|cannot be read)") as error:
            Tokeniser.load(path)
        assert plain(str(error.value)) and str(path) in str(error.value)


@pytest.mark.parametrize(
    "content", [b"{}", b"[1, 2]", b'{"model": {"type": "BPE"}}', b"\xff\xfe\x00", b"a word"]
)
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ManyviewsError, match=r"tokenizer\.json (is no whole|cannot be read)") as error:
        Tokeniser.load(tmp_path)
    assert plain(str(error.value))


def test_a_tokeniser_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ManyviewsError, match=r"There is no tokeniser .*tokenizer\.json: name a tokenizer\.json"
    ):
        Tokeniser.load(tmp_path)
    with pytest.raises(ManyviewsError, match=r"There is no tokeniser bqe: .* chars, bpe, wordpiece"):
        Tokeniser.load("bqe")


@pytest.mark.parametrize(
    ("kind", "least", "what"),
    [
        ("chars", 8, "3 characters"),
        ("bpe", 261, "256 bytes"),
        ("wordpiece", 10, "5 characters that begin or continue a word"),
    ],
)
def test_a_vocabulary_needs_room_for_the_alphabet(kind: str, least: int, what: str) -> None:
    texts = ["ab ba", "ab"] if kind != "wordpiece" else ["abc", "ab"]
    sentence = (
        rf"A vocabulary of {least - 1} has no room for 5 special tokens and the {what}.*at least {least}\."
    )
    with pytest.raises(ManyviewsError, match=sentence):
        Tokeniser.train(kind, texts, least - 1)
    assert len(Tokeniser.train(kind, texts, least)) == least


@pytest.mark.parametrize("texts", [[], [""], ["", " \n"]])
@every("kind")
def test_no_texts_make_no_tokeniser(kind: str, texts: list[str]) -> None:
    with pytest.raises(ManyviewsError, match="There are no texts to make a tokeniser from"):
        Tokeniser.train(kind, texts, 1000)


def test_a_kind_that_is_not_there() -> None:
    with pytest.raises(ManyviewsError, match=r"no kind of tokeniser 'wordpeice'; did you mean wordpiece\?"):
        Tokeniser.train("wordpeice", TEXTS, 400)
    with pytest.raises(ManyviewsError, match="'unigram'; there are chars, bpe, wordpiece"):
        Tokeniser.train("unigram", TEXTS, 400)


@every("kind")
def test_half_a_character_is_refused(kind: str) -> None:
    with pytest.raises(ManyviewsError, match="Text 2 holds half a character at 3, a lone surrogate"):
        MADE[kind].encode(["fine", "ab\ud83d"])
    with pytest.raises(ManyviewsError, match="Text 1 holds half a character at 1"):
        Tokeniser.train(kind, ["\udc00", "fine"], 400)


@pytest.mark.parametrize("number", [-1, 400_000])
def test_a_number_that_is_no_token(number: int) -> None:
    for read in (MADE["bpe"].decode, MADE["bpe"].tokens):
        with pytest.raises(
            ManyviewsError, match=rf"No token has the number {number}: the vocabulary has 0 to"
        ):
            read([7, number])


def test_weights_of_another_vocabulary_are_refused() -> None:
    made = MADE["chars"]
    require_size(made, len(made), "runs/x")
    for rows in (len(made) - 1, len(made) + 1, 30_522):
        with pytest.raises(
            ManyviewsError, match=rf"does not match the weights: runs/x has {rows:,} tokens"
        ) as error:
            require_size(made, rows, "runs/x")
        assert "lies beside the weights" in str(error.value)
    loaded = Tokeniser(strange("<|endoftext|>"))
    with pytest.raises(ManyviewsError, match="the padding that it lacked: give the embedding one more row"):
        require_size(loaded, 257, "gpt2")
