"""Tags and answers are learned from a reader's tokens; spans and entities against plain counting."""

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from manyviews import nets
from manyviews.data import ItemSet, open_data
from manyviews.data.corpus import Corpus, from_texts
from manyviews.data.marked import ANSWER, BEYOND, MARKS, Mark, marked
from manyviews.data.reading import Reading, as_set
from manyviews.data.world.asked import world_tags
from manyviews.errors import ManyviewsError
from manyviews.evaluation import evaluate, finetune
from manyviews.evaluation.descent import layers
from manyviews.evaluation.sets import marked_sets
from manyviews.evaluation.spans import best_span, entities, judged, overlap, where
from manyviews.evaluation.tokens import span, tag
from manyviews.nets.bert import BERT
from manyviews.nets.reader import LastLayers, Reader

T, V = 48, 400


def read(corpus: Corpus, length: int = T) -> ItemSet:
    return as_set(corpus, Reading("wordpiece", V, joined=True, pairs=True), length)


def reader(words: int, width: int = 32, depth: int = 2) -> Reader:
    torch.manual_seed(0)
    return Reader(BERT(words, width, depth, 4, length=T, dropout=0.0), words)


def parted(data: ItemSet) -> tuple[ItemSet, ItemSet]:
    return data.subset(range(len(data) - 60)), data.subset(range(len(data) - 60, len(data)))


@pytest.fixture(scope="module")
def tags() -> tuple[ItemSet, ItemSet]:
    return parted(read(world_tags("test", items=240)))


def test_tags_of_words_are_learned_and_the_reader_stays_as_it_was(tags: tuple[ItemSet, ItemSet]) -> None:
    net = reader(len(tags[0].tokeniser or ()))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    done = tag(net, *tags, size=T, epochs=8, lr=5e-3, batch=16)
    assert done.figures["f1"] > 0.8 and done.figures["accuracy"] > 0.95
    assert done.figures["entities"] > 120 and done.texts == 180
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    little, again = (tag(net, *tags, size=T, epochs=1, lr=1e-5) for _ in range(2))
    assert little.as_dict() == again.as_dict() and little.figures["f1"] < 0.3


def test_so_many_texts_are_learned_from_as_were_asked_for(tags: tuple[ItemSet, ItemSet]) -> None:
    net = reader(len(tags[0].tokeniser or ()))
    first, same, other = (tag(net, *tags, size=T, epochs=1, texts=40, seed=seed) for seed in (0, 0, 1))
    assert first.texts == 40 and first.as_dict() == same.as_dict()
    assert first.loss != other.loss
    assert tag(net, *tags, size=T, epochs=1, texts=180).texts == 180
    for texts in (0, 181):
        with pytest.raises(ManyviewsError, match=f"texts is {texts}, and .* has 180 to learn from"):
            tag(net, *tags, size=T, epochs=1, texts=texts)


def test_features_of_the_last_layers_tell_tags_too(tags: tuple[ItemSet, ItemSet]) -> None:
    net = reader(len(tags[0].tokeniser or ()))
    done = tag(net, *tags, size=T, frozen=True, layers=2, epochs=8, lr=0.05, batch=16)
    kept = done.teller.reads
    assert isinstance(kept, LastLayers) and done.teller.head.in_features == 64
    assert all(map(torch.equal, kept.reader.state_dict().values(), net.state_dict().values()))
    assert done.figures["f1"] > 0.3


def questions() -> ItemSet:
    """What is said twice in a row? In a quarter of the passages nothing is."""
    source, texts, marks = random.Random(0), [], []
    for item in range(420):
        letters = source.sample("abcdefghij", 6)
        at = source.randrange(6)
        if item % 4:
            letters.insert(at, "x")
            letters.insert(at, "x")
        texts.append(("what", " ".join(letters)))
        marks.append([Mark(1, 2 * at, 2 * at + 3, ANSWER)] if item % 4 else [])
    return as_set(
        marked(from_texts(texts), marks, [ANSWER]), Reading("wordpiece", 60, joined=True, pairs=True), 16
    )


def test_answers_are_learned_and_that_there_is_none() -> None:
    data = parted(questions())
    net = reader(len(data[0].tokeniser or ()))
    done = span(net, *data, size=16, epochs=8, lr=5e-3, batch=24).figures
    assert done["unanswered"] == 0.25 and done["f1"] > 0.9 and done["f1_answered"] > 0.85
    assert done["f1"] >= done["exact"] > 0.8
    never = span(net, *data, size=16, epochs=1, lr=1e-4, threshold=1e9).figures
    assert never["f1"] == never["exact"] == never["unanswered"] and never["f1_answered"] == 0


def test_where_all_are_answered_none_goes_without() -> None:
    data = questions()
    told = data.subset((where(data.senses[MARKS][:, 0, 0]) > 0).all(1).nonzero()[:, 0])
    done = span(reader(len(data.tokeniser or ())), told, data, size=16, epochs=1, lr=1e-4, threshold=1e9)
    assert done.figures["f1_answered"] > 0  # an answer each, however unlikely


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), longest=st.integers(1, 8), tau=st.sampled_from([-1.0, 0.0, 1.5]))
def test_the_best_span_is_found_as_by_trying_all(seed: int, longest: int, tau: float) -> None:
    torch.manual_seed(seed)
    logits, may = torch.randn(3, 7, 2), torch.rand(3, 7) < 0.6
    for row, allowed, said in zip(logits, may, best_span(logits, may, longest, tau), strict=True):
        scores = {
            (i, j): float(row[i, 0] + row[j, 1])
            for i, j in itertools.product(range(7), range(7))
            if 1 <= i <= j < i + longest and allowed[i] and allowed[j]
        }
        best = max(scores, key=scores.__getitem__, default=None)
        null = float(row[0].sum())
        expected = best if best is not None and scores[best] > null + tau else (0, 0)
        assert tuple(said.tolist()) == expected


@given(st.tuples(*[st.integers(1, 9)] * 4))
def test_overlap_is_the_f1_of_the_tokens(ends: tuple[int, int, int, int]) -> None:
    a, b = sorted(ends[:2]), sorted(ends[2:])
    one, other = (set(range(x[0], x[1] + 1)) for x in (a, b))
    expected = 2 * len(one & other) / (len(one) + len(other))
    assert overlap(torch.tensor([a]), torch.tensor([b])).item() == pytest.approx(expected)
    assert overlap(torch.tensor([[0, 0]]), torch.tensor([a])).item() == 0
    assert overlap(torch.tensor([[0, 0]]), torch.tensor([[0, 0]])).item() == 1


def test_where_an_answer_stands() -> None:
    marks = torch.tensor([[BEYOND, 0, 1, 1, 0], [BEYOND, 0, 0, 0, BEYOND], [BEYOND, 0, 0, 0, 1]])
    assert where(marks).tolist() == [[2, 3], [0, 0], [4, 4]]


def test_any_of_several_answers_is_right_and_one_beyond_what_is_read_never() -> None:
    first, second = [BEYOND, 0, 1, 1, 0], [BEYOND, 0, 0, 0, 1]
    none, beyond = [BEYOND, 0, 0, 0, 0], [1, 0, 0, 0, 0]
    marks_BAT = torch.tensor([[first, second], [first, none], [none, none], [beyond, none], [beyond, second]])
    for said, exact, f1 in (
        ([2, 3], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]),
        ([4, 4], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1]),
        ([3, 4], [0, 0, 0, 0, 0], [2 / 3, 0.5, 0, 0, 2 / 3]),
        ([0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 0, 0]),
    ):
        found = judged(torch.tensor([said]).expand(5, 2), marks_BAT)
        assert [one.tolist() for one in found] == [exact, pytest.approx(f1), [0, 0, 1, 0, 0]]


def test_answers_that_are_cut_off_still_count_as_answers() -> None:
    data = questions()
    told = data.subset((where(data.senses[MARKS][:, 0, 0]) > 0).all(1).nonzero()[:, 0])
    cut = told.senses[MARKS].clone()
    cut[:40] = cut[:40].where(cut[:40] == BEYOND, 0)
    cut[:40, 0, 0, 0] = 1
    told = replace(told, senses=dict(told.senses) | {MARKS: cut})
    done = span(reader(len(data.tokeniser or ())), told, data, size=16, epochs=1, lr=1e-4, threshold=1e9)
    assert done.figures["f1_answered"] > 0  # none goes without, though some answers cannot be seen


def test_entities_are_words_of_one_tag_in_a_row() -> None:
    assert entities(["", "B-PER", "I-PER", "B-PER", "I-ORG", "", "colour", "colour"]) == {
        (1, 3, "PER"), (3, 4, "PER"), (4, 5, "ORG"), (6, 8, "colour"),
    }  # fmt: skip
    assert entities([]) == entities(["", ""]) == set()


def test_the_last_layers_are_those_of_the_net() -> None:
    net = reader(30, depth=3).eval()
    x = torch.stack([torch.randint(5, 30, (2, T)), torch.ones(2, T, dtype=torch.long)], 1)
    x[1, 1, 20:] = 0
    with torch.no_grad():
        states = LastLayers(net, 2).states(x)
        h = net.net.embed(x[:, 0], torch.zeros_like(x[:, 0]))
        by_layer = []
        for block in net.net.blocks:
            h = block(h, padding_BS=x[:, 1] > 0)
            by_layer.append(h)
        expected = torch.cat(by_layer[1:], -1) * (x[:, 1] > 0)[..., None]
        torch.testing.assert_close(states, expected)
        torch.testing.assert_close(states[..., 32:], net.states(x))
        torch.testing.assert_close(LastLayers(net, 2)(x)[1], states[1, :20].mean(0))
    assert not net.net.blocks[0]._forward_hooks and not net.net.blocks[2]._forward_hooks


def sentiments(pairs: bool) -> ItemSet:
    """Words of two moods; the label is the mood, of pairs that of the second."""
    moods = ["awful dull bad", "great fine good"]
    labels = [i % 2 for i in range(120)]
    texts = [moods[i % 2].split()[i // 2 % 3] + " it is" for i in range(120)]
    if pairs:
        seconds = [moods[i // 2 % 2].split()[i % 3] + " yes" for i in range(120)]
        labels = [i // 2 % 2 for i in range(120)]
        return read(from_texts((list(zip(texts, seconds, strict=True)), labels)), 12)
    return read(from_texts((texts, labels)), 12)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("embedding", ["mean", "pooled"])
def test_one_sentence_and_pairs_are_fine_tuned(pairs: bool, embedding: str) -> None:
    data = sentiments(pairs)
    net = reader(len(data.tokeniser or ()))
    how = {
        "epochs": 12,
        "lr": 5e-3,
        "batch": 24,
        "weight_decay": 0.0,
        "embedding": embedding,
        "layer_decay": 0.9,
    }
    found = evaluate(net, data, data, protocols=["finetune"], size=12, options={"finetune": how})
    assert found["finetune"]["top1"] > 0.9
    assert net.by == "mean"  # the copy alone was told otherwise


def test_layers_of_a_reader_are_its_blocks() -> None:
    net = reader(30, depth=3)
    found = [sum(p.numel() for p in layer) for layer in layers(net)]
    block = sum(p.numel() for p in net.net.blocks[0].parameters())
    assert found[1:4] == [block] * 3 and len(found) == 5  # what is embedded, the blocks, what pools
    assert sum(found) == sum(p.numel() for p in net.parameters())


def test_by_the_door_of_all_protocols(tags: tuple[ItemSet, ItemSet]) -> None:
    net = reader(len(tags[0].tokeniser or ()))
    how = {"tag": {"epochs": 1}, "last-layers": {"layers": 2, "weight_decays": (1e-3,)}}
    found = evaluate(net, *tags, protocols=["tag", "last-layers"], size=T, options=how)
    assert 0 <= found["tag"]["f1"] <= 1 and found["tag"]["texts"] == 180
    assert found["last-layers"]["top1"] > 0.2  # the species is named
    alone = evaluate(net, tags[0], None, protocols=["tag"], size=T, options={"tag": {"epochs": 1}})
    assert alone["tag"]["texts"] < 180  # some are held out


def test_what_cannot_be_is_refused_in_a_sentence(tags: tuple[ItemSet, ItemSet]) -> None:
    train, test = tags
    net = reader(len(train.tokeniser or ()))
    bare = replace(test, senses={})
    with pytest.raises(ManyviewsError, match='has no marked words, which "tag" needs'):
        evaluate(net, train, bare, protocols=["tag"], size=T)
    with pytest.raises(
        ManyviewsError, match='4 kinds of marks, and the answers that "span" learns are of one'
    ):
        evaluate(net, train, test, protocols=["span"], size=T)
    with pytest.raises(ManyviewsError, match=r"The marks of .* differ"):
        evaluate(net, train, replace(test, pixel_classes=("", "colour")), protocols=["tag"], size=T)
    with pytest.raises(ManyviewsError, match="needs texts to learn from, not only a test set"):
        evaluate(net, None, test, protocols=["tag"], size=T)
    with pytest.raises(ManyviewsError, match="a net that reads texts, and Linear does not"):
        tag(nn.Linear(2, 2), train, test, size=T)
    with pytest.raises(ManyviewsError, match="A learning rate is positive"):
        tag(net, train, test, size=T, lr=0.0)
    with pytest.raises(ManyviewsError, match="An answer has at least 1 token, not 0"):
        span(net, train, test, size=T, longest=0)
    with pytest.raises(ManyviewsError, match="The last 3 layers are asked for; the net has 2"):
        tag(net, train, test, size=T, layers=3)
    with pytest.raises(ManyviewsError, match="no stack of blocks that reads texts"):
        LastLayers(nets.build("char_gru", in_channels=30, size=T))
    with pytest.raises(ManyviewsError, match="a net with a \\[CLS\\] token"):
        finetune(
            nets.build("char_gru", in_channels=30, size=T),
            train,
            test,
            classes=10,
            size=T,
            embedding="pooled",
        )


def test_a_passage_that_is_cut_differently_is_still_one(tmp_path: Path) -> None:
    """Long passages, of which a longer question leaves less, and answers beyond what is left."""
    passages = [f"room {number} " + "was cold and dark " * 20 + "tomorrow" for number in range(20)]
    asked = ("When?", "What was said of it by all who came?", "When was it, then?")
    paragraphs = [
        {
            "context": context,
            "qas": [
                {"id": f"{n}-{k}", "question": one, "answers": [{"text": "cold", "answer_start": context.index("cold")}]}
                for k, one in enumerate(asked[:-1])
            ]
            + [{"id": f"{n}-2", "question": asked[2], "answers": [{"text": "tomorrow", "answer_start": context.index("tomorrow")}]}],
        }
        for n, context in enumerate(passages)
    ]  # fmt: skip
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    data = open_data(tmp_path / "squad.json", size=32, reading=Reading("wordpiece", 200, joined=True))
    train, test = marked_sets(data, None, ["span"])
    assert data.tokeniser is not None and len(test) == 12 and len(train) == 48
    rooms = [
        {data.tokeniser.decode(row).split("room ")[1].split(" ")[0] for row in part.values[:, 0]}
        for part in (train, test)
    ]
    assert not rooms[0] & rooms[1] and len(rooms[1]) == 4


def test_no_passage_is_both_learned_from_and_judged_by(tmp_path: Path) -> None:
    passages = [f"It stood in room {number} of the house." for number in range(20)]
    asked = [
        {"id": f"{number}-{k}", "question": f"{word}?", "answers": [{"text": "room", "answer_start": 12}]}
        for number in range(20)
        for k, word in enumerate(("Where", "What", "Which"))
    ]
    paragraphs = [
        {"context": context, "qas": asked[3 * number : 3 * number + 3]}
        for number, context in enumerate(passages)
    ]
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    reading = Reading("wordpiece", 200, joined=True)
    data = open_data(tmp_path / "squad.json", size=32, reading=reading)
    train, test = marked_sets(data, None, ["span"])
    assert data.tokeniser is not None and len(train) + len(test) == 60 and len(test) == 12
    rooms = [
        {data.tokeniser.decode(row).split("room ")[1].split(" ")[0] for row in part.values[:, 0]}
        for part in (train, test)
    ]
    assert len(rooms[0]) == 16 and len(rooms[1]) == 4 and not rooms[0] & rooms[1]
