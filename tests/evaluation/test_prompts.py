"""In-context evaluation: prompts as the paper builds them, likelihoods by hand, and a task that only a prompt can tell."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.evaluation import prompts
from manyviews.evaluation.answers import written
from manyviews.evaluation.completions import likelihoods, tokenised
from manyviews.evaluation.mapping import mapping
from manyviews.evaluation.prompts import Item, demonstrations, in_context, prompt
from manyviews.nets.beam import answer as goes_on
from manyviews.nets.gpt2 import gpt2


class Pieces:
    """A tokeniser: words with the blank before them, and single characters."""

    def decode(self, ids: Sequence[int], /) -> str:
        return "".join(self.known[token] for token in ids if token > 1)

    padding, start, end = 0, None, 1

    def __init__(self) -> None:
        self.known: list[str] = ["<pad>", "<end>"]

    def encode(self, texts: list[str]) -> list[list[int]]:
        found = []
        for text in texts:
            parts = re.findall(r" ?[a-z]+|.", text, re.DOTALL)
            self.known += [part for part in dict.fromkeys(parts) if part not in self.known]
            found.append([self.known.index(part) for part in parts])
        return found


V = 60
ITEM = Item("the sky is", (" blue", " a dog"), 0)
TRAIN = [Item(f"{word} is", (" good", " bad", " so so"), place % 3) for place, word in enumerate("abcdefgh")]


def net() -> Any:
    torch.manual_seed(0)
    made = gpt2(vocabulary=V, width=16, depth=2, heads=4, length=64)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(4)
    return made.eval()


def by_hand(made: Any, tokens: list[int], first: int) -> list[float]:
    """log P of each token from `first` on, a forward pass each."""
    with torch.no_grad():
        return [
            float(made(torch.tensor([tokens[:place]]))[0, -1].log_softmax(0)[tokens[place]])
            for place in range(first, len(tokens))
        ]


def test_a_prompt_is_demonstrations_then_the_item_without_its_answer():
    shown = TRAIN[:2]
    assert prompt(shown, ITEM) == "a is good\n\nb is bad\n\nthe sky is"
    assert prompt(shown, ITEM, "Say what it is.", "\n") == "Say what it is.\na is good\nb is bad\nthe sky is"
    assert prompt([], ITEM) == "the sky is" and prompt([], ITEM, "Say.") == "Say.\n\nthe sky is"


def test_demonstrations_are_drawn_by_the_seed_for_each_item_and_never_the_item():
    first = demonstrations(TRAIN, ITEM, 4, 0, 0)
    assert first == demonstrations(TRAIN, ITEM, 4, 0, 0) and len({item.context for item in first}) == 4
    assert first != demonstrations(TRAIN, ITEM, 4, 0, 1) and first != demonstrations(TRAIN, ITEM, 4, 1, 0)
    assert set(demonstrations(TRAIN, ITEM, 8, 0, 0)) == set(TRAIN)
    for number in range(20):
        drawn = demonstrations(TRAIN, replace(TRAIN[3], right=0), 7, 0, number)
        assert TRAIN[3] not in drawn and len(drawn) == 7
    with pytest.raises(ManyviewsError, match="8 demonstrations cannot be drawn from 7 training items"):
        demonstrations(TRAIN, TRAIN[3], 8, 0, 0)


def test_prompt_and_completion_are_tokens_of_one_text():
    words = Pieces()
    asked = tokenised(words, "is it ", ["red", "7"])  # the blank belongs to " red", and stands before "7"
    shown = [[words.known[token] for token in text] for text in asked.texts]
    assert shown == [["<end>", "is", " it", " red"], ["<end>", "is", " it", " ", "7"]]
    assert asked.first == 3 and asked.counts == [1, 2] and asked.longest == 4
    assert tokenised(words, "is it", [" red", " a dog"]).counts == [1, 2]
    assert tokenised(words, "", ["red", "blue"]).first == 1
    words.start = 7  # pyright: ignore[reportAttributeAccessIssue]
    assert tokenised(words, "is it", [" red"]).texts[0][0] == 7, "as texts began that the net learned from"
    words.start = None
    with pytest.raises(ManyviewsError, match="completion '' has no token"):
        tokenised(words, "is it", ["", " red"])
    words.end = None  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ManyviewsError, match="empty prompt foretells nothing"):
        tokenised(words, "", ["red"])


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_likelihoods_are_those_of_single_tokens(batch: int):
    made, words = net(), Pieces()
    asked = [tokenised(words, text, (" good", " bad or so", "!")) for text in ("a is", "the sky is not", "x")]
    found = likelihoods(made, asked, words.padding, batch=batch)
    for row, one in zip(found, asked, strict=True):
        assert row == pytest.approx([sum(by_hand(made, text, one.first)) for text in one.texts], abs=1e-4)


@pytest.mark.parametrize("scoring", ["token", "sum", "unconditional"])
def test_the_answer_is_the_likeliest_completion(scoring: Any):
    made, words = net(), Pieces()
    test = [Item(f"{a} {b} is", (" good", " bad or so", " so"), 1) for a in "mnop" for b in "xyz"]
    found = in_context(made, words, TRAIN, test, length=64, shots=2, scoring=scoring, seed=5)
    answers = []
    for number, item in enumerate(test):
        text = prompt(demonstrations(TRAIN, item, 2, 5, number), item)
        values = []
        for completion in item.completions:
            whole, alone = tokenised(words, text, [completion]), tokenised(words, "Answer:", [completion])
            log_p = by_hand(made, whole.texts[0], whole.first)
            anyway = sum(by_hand(made, alone.texts[0], alone.first))
            values.append(
                {"token": sum(log_p) / len(log_p), "sum": sum(log_p), "unconditional": sum(log_p) - anyway}[
                    scoring
                ]
            )
        answers.append(values.index(max(values)))
    assert found.answers == tuple(answers)
    assert found.accuracy == answers.count(1) / 12 and found.chance == pytest.approx(1 / 3)
    assert found.demonstrations == 2


@pytest.mark.parametrize(
    ("red", "answers"),
    [
        (
            0.3,
            {"sum": 1, "token": 0, "unconditional": 0},
        ),  # .18 against .3, .42 against .3, .18 / .05 against .3 / .8
        (0.5, {"sum": 1, "token": 1, "unconditional": 0}),
    ],
)
def test_how_it_is_scored_makes_a_difference(red: float, answers: dict[Any, int]):
    words = Pieces()
    words.encode(["it is a dog red Answer: "])
    follows = {" is": {" a": 0.36, " red": red}, " a": {" dog": 0.5}, ":": {" a": 0.1, " red": 0.8}}

    def logits(tokens_BT: Tensor) -> Tensor:
        p_BTV = torch.zeros(*tokens_BT.shape, V)
        for row, tokens in enumerate(tokens_BT.tolist()):
            for place, token in enumerate(tokens):
                for word, p in follows.get(words.known[token], {}).items():
                    p_BTV[row, place, words.known.index(word)] = p
        p_BTV[..., words.padding] = 1 - p_BTV.sum(-1)
        return p_BTV.log()

    item = Item("it is", (" a dog", " red"), 0)
    for scoring, answer in answers.items():
        assert in_context(logits, words, [], [item], length=9, scoring=scoring).answers == (answer,), scoring


def copies(words: Pieces) -> Any:
    """What a net with an induction head would say: the name that the same sign had before."""

    def logits(tokens_BT: Tensor) -> Tensor:
        found = torch.zeros(*tokens_BT.shape, V)
        for row, tokens in enumerate(tokens_BT.tolist()):
            shown = [words.known[token] for token in tokens]
            line: list[int] = []
            lines = []
            for place, piece in enumerate(shown):
                line = [] if piece == "\n" else [*line, place]
                if piece == ">":
                    lines.append((place, shown[line[0]] if shown[line[0]] != "<end>" else shown[line[1]]))
                    for before, sign in lines[:-1]:
                        if sign == lines[-1][1]:
                            found[row, place, tokens[before + 1]] = 9.0
        return found

    return logits


def test_a_mapping_is_learned_from_the_prompt_and_from_nothing_else():
    words = Pieces()
    accuracy = {}
    for shots in (0, 1, 30):
        found = [
            in_context(copies(words), words, *mapping(task), length=512, shots=shots, between="\n")
            for task in range(6)
        ]
        assert {each.chance for each in found} == {0.25} and found[0].demonstrations == shots
        accuracy[shots] = sum(each.accuracy for each in found) / 6
    assert accuracy[30] == 1.0
    assert abs(accuracy[0] - 0.25) < 0.15, "without demonstrations there is nothing to know"
    assert accuracy[0] < accuracy[1] < 0.75


def test_mappings_are_drawn_anew_and_no_demonstration_is_the_item():
    train, test = mapping(3)
    assert (train, test) == mapping(3) and (train, test) != mapping(4) and mapping(3, seed=1) != mapping(3)
    assert len(train) == 32 and len(test) == 16
    assert not {item.context for item in train} & {item.context for item in test}
    stands_for = {item.context[:2]: item.right for item in train}
    assert all(stands_for[item.context[:2]] == item.right for item in [*train, *test])
    assert sorted(stands_for.values()) == [0, 1, 2, 3]
    answers = {
        tuple(sorted({i.context[:2]: i.completions[i.right] for i in mapping(k)[0]}.items()))
        for k in range(30)
    }
    assert len(answers) == 30
    with pytest.raises(ManyviewsError, match="no task of 4 signs, 1 names"):
        mapping(0, names=1)
    with pytest.raises(ManyviewsError, match="90 items a sign"):
        mapping(0, signs=1, train=80, test=11)


def test_prompts_that_are_too_long_lose_demonstrations_and_then_are_refused():
    words, read = Pieces(), []

    def logits(tokens_BT: Tensor) -> Tensor:
        read.append(tokens_BT)
        return torch.zeros(*tokens_BT.shape, V)

    found = in_context(logits, words, TRAIN, [ITEM], length=13, shots=4)
    longest = max(read, key=lambda tokens: tokens.shape[1])
    assert longest.shape[1] <= 13 and found.demonstrations == 1  # 5 tokens a demonstration, 5 of the item
    last = demonstrations(TRAIN, ITEM, 4, 0, 0)[-1]
    assert words.known[int(longest[0, 1])] == last.context[0], "the first go first"
    assert in_context(logits, words, TRAIN, [ITEM], length=5, shots=4).demonstrations == 0
    with pytest.raises(
        ManyviewsError, match="Item 1 has 5 tokens without any demonstration, and the net reads 4"
    ):
        in_context(logits, words, TRAIN, [ITEM], length=4, shots=4)


def test_settings_that_make_no_sense_are_one_sentence():
    made, words = net(), Pieces()
    for options, said in (
        ({"shots": -1}, "-1 demonstrations"),
        ({"batch": 0}, "0 texts at a time"),
        ({"scoring": "best"}, 'scoring by "best".* one of token, sum, unconditional'),
    ):
        with pytest.raises(ManyviewsError, match=said):
            in_context(made, words, TRAIN, [ITEM], length=64, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ManyviewsError, match="nothing to ask"):
        in_context(made, words, TRAIN, [], length=64)
    for wrong in (
        replace(ITEM, right=2),
        replace(ITEM, completions=(" a", " a")),
        replace(ITEM, completions=(" a",)),
    ):
        with pytest.raises(ManyviewsError, match=r"completions of test item 2, .* is no answer"):
            in_context(made, words, TRAIN, [ITEM, wrong], length=64)


def test_what_a_net_writes_is_what_it_writes_after_each_prompt_alone(monkeypatch: pytest.MonkeyPatch):
    made, words = net(), Pieces()
    contexts = ["the sky is", "a", "so it is and was"]
    words.encode([*contexts, "\n"])
    words.known += [chr(ord("A") + more) for more in range(V - len(words.known))]
    (stop,) = words.encode(["\n"])[0]
    by_hand = []
    for context in contexts:
        prompt_BT = torch.tensor([[words.end, *words.encode([context])[0]]])
        (row,) = goes_on(made, prompt_BT, 4, end=stop).tokens_BT.tolist()
        by_hand.append(words.decode(row[: row.index(stop)] if stop in row else row).strip())
    assert written(made, words, contexts, 3, after="\n", batch=2) == by_hand and len(set(by_hand)) > 1
    monkeypatch.setattr(words, "encode", lambda texts: [[] for _ in texts])
    with pytest.raises(ManyviewsError, match="so that no answer would end"):
        written(made, words, contexts, 3, after="\n")
    with pytest.raises(ManyviewsError, match='"written" are those of a GPT'):
        written(lambda tokens: tokens, words, contexts, 3, after="\n")


def test_what_is_written_is_right_where_it_is_the_right_completion(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[Any, ...]] = []

    def told(*given: Any, **how: Any) -> list[str]:
        asked.append((given, how))
        return ["blue", "a dog", "green"]

    monkeypatch.setattr(prompts, "written", told)
    items = [ITEM, Item("a cat is no", (" blue", " a dog"), 0), Item("grass is", (" green", " blue"), 0)]
    found = in_context(net(), Pieces(), TRAIN, items, length=64, shots=2, scoring="written", between="\n")
    assert found.answers == (0, 1, 0) and found.accuracy == pytest.approx(2 / 3) and found.chance == 0
    ((_, _, read, tokens), how) = asked[0]
    assert tokens == 2 and how["after"] == "\n" and [text.count("\n") for text in read] == [2, 2, 2]
