"""Fine-tuning as GPT-1 does: what is read of each kind of task, both losses by hand, and tasks that are learned."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews.data import ItemSet
from manyviews.data.corpus import from_texts
from manyviews.data.reading import Reading, as_set
from manyviews.errors import ManyviewsError
from manyviews.evaluation import evaluate, finetune
from manyviews.evaluation.descent import layers
from manyviews.evaluation.linear import linear_head
from manyviews.evaluation.transformations import (
    Marks,
    Told,
    choices,
    classification,
    entailment,
    last,
    similarity,
    texts_of,
)
from manyviews.nets import build
from manyviews.nets.bert import BERT
from manyviews.nets.char import CharModel
from manyviews.nets.gpt2 import gpt2
from manyviews.nets.reader import Reader
from manyviews.nets.recurrent import GRU

T = 40
MARKS = Marks(90, 91, 92)
HOW: dict[str, Any] = {"classes": 2, "size": T, "schedule": "constant", "warmup": 0.0}


def read(texts: list[Any], labels: list[int] | None = None, length: int = T) -> ItemSet:
    corpus = from_texts(texts if labels is None else (texts, labels))
    return as_set(corpus, Reading("chars", 64, joined=True), length)


def reader(data: ItemSet, seed: int = 0) -> Reader:
    torch.manual_seed(seed)
    words = len(data.tokeniser or ())
    return Reader(gpt2(vocabulary=words, width=32, depth=2, heads=4, length=T, dropout=0.0), words).eval()


def told(data: ItemSet, reads: Any, seed: int = 0) -> Told:
    return Told(copy.deepcopy(reader(data)), reads, data.tokeniser, seed).eval()


def batch(data: ItemSet) -> Tensor:
    assert data.values is not None
    return data.values.long()


SINGLE = read(["abba", "a", "bcd ab", "dcba bb"], [0, 1, 1, 0])
PAIRS = read([("abba", "dd"), ("a", "bcd"), ("bcd ab", "c"), ("dd", "abba")], [0, 1, 1, 0])
THREES = read([("ab", "good", "bad"), ("cd", "bad", "good"), ("d", "good", "bad")], [0, 1, 0])


# -- what is read ----------------------------------------------------------------------------------------------------


def test_sequences_are_those_of_figure_1() -> None:
    assert classification([1, 2], MARKS) == [90, 1, 2, 92]
    assert entailment([1, 2], [3], MARKS) == [90, 1, 2, 91, 3, 92]
    assert similarity([1, 2], [3], MARKS) == [[90, 1, 2, 91, 3, 92], [90, 3, 91, 1, 2, 92]]
    assert choices([1], [[2, 3], [4], [5]], MARKS) == [[90, 1, 91, 2, 3, 92], [90, 1, 91, 4, 92], [90, 1, 91, 5, 92]]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ([7, 1, 2, 8], [[1, 2]]),
        ([7, 1, 8, 2, 3, 8, 4, 8], [[1], [2, 3], [4]]),
        ([1, 2], [[1, 2]]),  # of a tokeniser that begins and ends nothing
        ([], [[]]),
    ],
)
def test_texts_are_found_again_in_a_row(row: list[int], texts: list[list[int]]) -> None:
    assert texts_of(row, 7, 8) == texts


def test_one_token_may_begin_end_and_part() -> None:
    assert texts_of([8, 1, 8, 2, 8], 8, 8) == [[1], [2]]


def rows_of(net: Told, data: ItemSet) -> list[list[list[int]]]:
    token_BST, part_BST = net.sequences(batch(data))
    return [[t[p > 0].tolist() for t, p in zip(*item, strict=True)] for item in zip(token_BST, part_BST, strict=True)]  # fmt: skip


def test_rows_of_a_set_become_those_sequences_and_new_tokens_stand_behind_the_vocabulary() -> None:
    words, before = PAIRS.tokeniser, reader(PAIRS).state_dict()
    assert words is not None
    net, V = told(PAIRS, "extract"), len(words)
    assert net.marks == Marks(V, V + 1, V + 2)
    table_VD = net.reader.net.tokens.weight  # pyright: ignore
    assert torch.equal(table_VD[:V], before["net.tokens.weight"]) and table_VD.shape[0] == V + 3
    assert 0.01 < table_VD[V:].std() < 0.03 and table_VD.requires_grad
    a, b = words.encode(["bcd ab", "c"])
    assert rows_of(net, PAIRS)[2] == [entailment(a, b, net.marks)]
    assert rows_of(told(PAIRS, "similarity"), PAIRS)[2] == similarity(a, b, net.marks)
    assert rows_of(told(SINGLE, "extract"), SINGLE)[2] == [classification(words.encode(["bcd ab"])[0], net.marks)]  # fmt: skip
    context, good, bad = THREES.tokeniser.encode(["cd", "good", "bad"])  # pyright: ignore
    net = told(THREES, "choice")
    assert rows_of(net, THREES)[1] == choices(context, [bad, good], net.marks)


def test_a_row_that_has_no_room_for_the_new_tokens_loses_the_last_of_its_longest_text() -> None:
    net = told(SINGLE, "extract")
    assert net.tokeniser.start is not None
    net.tokeniser = copy.deepcopy(net.tokeniser)
    net.tokeniser.start = net.tokeniser.end = None
    full_B2T = torch.ones(1, 2, T, dtype=torch.long)
    (row,) = rows_of_tensor(net, full_B2T)
    assert row == [net.marks.start, *[1] * (T - 2), net.marks.extract]


def rows_of_tensor(net: Told, x_BRT: Tensor) -> list[list[int]]:
    return net.sequences(x_BRT)[0].flatten(0, 1).tolist()


# -- what is made of it ----------------------------------------------------------------------------------------------


def test_the_last_state_is_that_of_the_last_token() -> None:
    h_BTD, part_BT = torch.randn(3, 5, 2), torch.tensor([[1, 1, 0, 0, 0], [1] * 5, [1, 0, 0, 0, 0]])
    assert torch.equal(last(h_BTD, part_BT), torch.stack([h_BTD[0, 1], h_BTD[1, 4], h_BTD[2, 0]]))


def test_a_text_embeds_alone_as_among_others() -> None:
    for data, reads in ((SINGLE, "last"), (SINGLE, "extract"), (PAIRS, "similarity"), (THREES, "choice")):
        net, x_BRT = told(data, reads), batch(data)
        torch.testing.assert_close(net(x_BRT)[1:2], net(x_BRT[1:2]))


def test_as_they_are_texts_embed_as_the_reader_does() -> None:
    net, x_B2T = told(SINGLE, "mean"), batch(SINGLE)
    torch.testing.assert_close(net(x_B2T), reader(SINGLE)(x_B2T))
    h_BTD = reader(SINGLE).states(x_B2T)
    count_B = (x_B2T[:, 1] > 0).sum(1)
    torch.testing.assert_close(told(SINGLE, "last")(x_B2T), h_BTD[range(4), count_B - 1])


def test_two_texts_are_as_similar_in_either_order_and_answers_change_places() -> None:
    h_BD = told(PAIRS, "similarity")(batch(PAIRS))
    torch.testing.assert_close(h_BD[0] - h_BD[3], reader_difference(), rtol=1e-4, atol=1e-5)
    net = told(THREES, "choice")
    swapped = read([(a, c, b) for a, b, c in (("ab", "good", "bad"), ("cd", "bad", "good"), ("d", "good", "bad"))], [1, 0, 1])  # fmt: skip
    torch.testing.assert_close(net(batch(THREES)), net(batch(swapped)).flip(1))


def reader_difference() -> Tensor:
    """Of ("abba", "dd") and ("dd", "abba"), by hand: the net on one sequence at a time."""
    net, words = told(PAIRS, "similarity"), PAIRS.tokeniser
    assert words is not None
    found = []
    for texts in (["abba", "dd"], ["dd", "abba"]):
        a, b = words.encode(texts)
        states = [net.reader.net.states(torch.tensor([one]))[0, -1] for one in similarity(a, b, net.marks)]  # pyright: ignore
        found.append(states[0] + states[1])
    return found[0] - found[1]


@pytest.mark.parametrize(
    ("data", "reads"), [(SINGLE, "mean"), (SINGLE, "extract"), (PAIRS, "similarity"), (THREES, "choice")]
)
def test_the_loss_is_the_tasks_and_half_the_languages(data: ItemSet, reads: Any) -> None:
    """Eqs. 3 to 5, a sequence and a token at a time."""
    done = finetune(reader(data), data, data, embedding=reads, joint=0.5, epochs=1, lr=1e-9, batch=len(data), **HOW)  # fmt: skip
    net, D = told(data, reads), 32
    head = linear_head(D, 1 if reads == "choice" else 2, 0)
    task, language = [], []
    with torch.no_grad():
        for row, label in zip(rows_of(net, data), data.labels.tolist(), strict=True):  # pyright: ignore
            ends = []
            for sequence in row:
                states_TD = net.reader.net.states(torch.tensor([sequence]))[0]  # pyright: ignore
                logits_TV = states_TD @ net.reader.net.tokens.weight.T  # pyright: ignore
                log_p = [logits_TV[t].log_softmax(0)[u] for t, u in enumerate(sequence[1:])]
                language.append(-sum(log_p) / len(log_p))
                ends.append(states_TD.mean(0) if reads == "mean" else states_TD[-1])
            logits_C = torch.cat([head(h) for h in ends]) if reads == "choice" else head(sum(ends))
            task.append(-logits_C.log_softmax(0)[label])
    expected = torch.stack(task).mean() + 0.5 * torch.stack(language).mean()
    assert done.loss == pytest.approx(expected.item(), abs=1e-4)


def test_without_the_language_it_is_plain_fine_tuning() -> None:
    """Through the wrapper that tells, and without it."""
    net, how = reader(SINGLE), HOW | {"epochs": 3, "batch": 2, "lr": 1e-3, "optimiser": "sgd"}
    plain, none, little, half = (
        finetune(net, SINGLE, SINGLE, **how | more)
        for more in ({}, {"joint": 0.0}, {"joint": 1e-12}, {"joint": 0.5})
    )
    weights = [list(done.classifier.parameters()) for done in (plain, none, little, half)]
    assert all(map(torch.equal, weights[0], weights[1]))
    for a, b in zip(weights[0], weights[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert max((a - b).abs().max().item() for a, b in zip(weights[0], weights[3], strict=True)) > 1e-5


def test_the_encoder_stays_and_the_new_tokens_learn() -> None:
    net = reader(SINGLE)
    before = copy.deepcopy(net.state_dict())
    done = finetune(net, SINGLE, SINGLE, embedding="extract", epochs=2, batch=2, lr=1e-2, **HOW)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    table = done.classifier[0].reader.net.tokens.weight  # pyright: ignore
    assert not torch.allclose(table[-3:], told(SINGLE, "extract").reader.net.tokens.weight[-3:])  # pyright: ignore


def test_layers_are_those_of_its_reader() -> None:
    net = told(SINGLE, "extract")
    assert [len(layer) for layer in layers(net)] == [len(layer) for layer in layers(reader(SINGLE))]
    found = [id(parameter) for layer in layers(net) for parameter in layer]
    assert sorted(found) == sorted(id(parameter) for parameter in net.parameters())


def test_dropout_is_of_what_the_head_reads_while_it_learns() -> None:
    how = HOW | {"embedding": "last", "epochs": 1, "batch": 4, "lr": 1e-9}
    plain, some = (finetune(reader(SINGLE), SINGLE, SINGLE, dropout=p, **how) for p in (0.0, 0.5))
    assert plain.loss != some.loss and plain.scores.as_dict() == some.scores.as_dict()
    again = finetune(reader(SINGLE), SINGLE, SINGLE, dropout=0.5, **how)
    assert again.loss == some.loss


def test_tasks_of_every_kind_are_learned() -> None:
    pairs = [(a, b) for a in "abcd" for b in "abcd"]
    follows = read(pairs, [int(b in "cd") for _, b in pairs])
    among = read(pairs, [int("c" in pair) for pair in pairs])
    better = read([(b, "c", a) if n % 2 else (b, a, "c") for n, (a, b) in enumerate(pairs) if a != "c"], [1 - n % 2 for n, (a, _) in enumerate(pairs) if a != "c"])  # fmt: skip
    how = HOW | {"epochs": 40, "batch": 4, "lr": 3e-3, "joint": 0.5}
    for data, reads in ((follows, "extract"), (among, "similarity"), (better, "choice")):
        assert finetune(reader(data), data, data, embedding=reads, **how).scores.top1 > 0.95, reads  # pyright: ignore


# -- what is refused -------------------------------------------------------------------------------------------------


def refused(encoder: nn.Module, data: ItemSet, said: str, **options: Any) -> None:
    with pytest.raises(ManyviewsError, match=said):
        finetune(encoder, data, data, **{"epochs": 1, "batch": 2} | HOW | options)


def test_tasks_that_cannot_be() -> None:
    words, net = len(SINGLE.tokeniser or ()), reader(SINGLE)
    refused(net, SINGLE, '"similarity" reads items of 2 text.*one of 1', embedding="similarity")
    refused(net, SINGLE, '"choice" reads items of 3 text', embedding="choice")
    refused(reader(THREES), THREES, '"extract" reads items of 1 or 2 text', embedding="extract")
    refused(net, SINGLE, "between the two answers .* has 3 classes", embedding="choice", classes=3)
    refused(net, SINGLE, "joint is -1", joint=-1.0)
    refused(net, SINGLE, "dropout is 1.0", dropout=1.0)
    bert = Reader(BERT(words, 16, 1, 2, length=T), words)
    refused(bert, SINGLE, "does not look back alone", joint=0.5)
    refused(bert, SINGLE, "does not look back alone", joint=0.5, embedding="pooled")
    refused(bert, SINGLE, "does not look back alone", embedding="last")
    chars = Reader(CharModel(GRU, words, 16, 1), words)
    refused(chars, SINGLE, 'no place; take a gpt, or "last"', embedding="extract")
    refused(build("cifar_resnet8", size=32), SINGLE, "ResNet does not", embedding="last")
    with pytest.raises(ManyviewsError, match="one of pooled, mean, last, extract, similarity, choice"):
        evaluate(net, SINGLE, SINGLE, protocols=["finetune"], options={"finetune": {"embedding": "first"}})


def test_a_recurrent_net_tells_its_texts_too() -> None:
    words = len(SINGLE.tokeniser or ())
    torch.manual_seed(0)
    net = Reader(CharModel(GRU, words, 16, 1), words)
    done = finetune(net, SINGLE, SINGLE, embedding="last", joint=0.5, epochs=1, batch=4, lr=1e-9, **HOW)
    x_B2T = batch(SINGLE)
    with torch.no_grad():
        logits_BTV, h_BTD = net.net(x_B2T[:, 0]), net.states(x_B2T)
        language = torch.stack([
            F.cross_entropy(logits_TV[: n - 1], x_T[1:n])
            for logits_TV, x_T, n in zip(logits_BTV, x_B2T[:, 0], (x_B2T[:, 1] > 0).sum(1), strict=True)
        ]).mean()  # fmt: skip
        task = F.cross_entropy(linear_head(16, 2, 0)(last(h_BTD, x_B2T[:, 1])), SINGLE.labels)  # pyright: ignore
    assert done.loss == pytest.approx((task + 0.5 * language).item(), abs=1e-4)
