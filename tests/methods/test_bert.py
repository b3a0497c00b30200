"""BERT against transformers' pre-training, its masks against the paper's shares."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from manyviews import nets
from manyviews.data import open_data
from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Spec
from manyviews.methods.language.bert import BERTPretraining, Config, either, hide
from manyviews.nets.bert import BERT, NAMES
from manyviews.nets.bert import config as theirs_config
from manyviews.nets.names import to_theirs
from manyviews.nets.reader import Reader
from manyviews.runs import Run, net_factory

LETTERS, T = "abcdefghijklmnopqrst", 16
WORDS = Tokeniser.train("chars", [LETTERS], 5 + len(LETTERS))
PAD, CLS, SEP, MASK = (WORDS.padding, WORDS.start, WORDS.end, WORDS.mask)
V = len(WORDS)


def method(net: str = "small_bert/nodrop", words: Tokeniser = WORDS, **settings: Any) -> BERTPretraining:
    torch.manual_seed(0)
    made = BERTPretraining(
        Config(**settings), net_factory(net, T), Spec(items=8, size=T, tokeniser=words)
    ).double()
    with torch.no_grad():
        for name, p in made.named_parameters():  # biases and norms that matter
            if p.ndim == 1:
                p.copy_(torch.randn_like(p) * 0.2 + name.endswith("norm.weight"))
    return made


def pair(a: int, b: int, length: int = T) -> Tensor:
    """[CLS] A [SEP] B [SEP] of so many letters, over its parts: int64 `[2, T]`."""
    letters = torch.randint(5, V, (a + b,)).tolist()
    tokens = [CLS, *letters[:a], SEP, *letters[a:], SEP]
    parts = [1] * (a + 2) + [2] * (b + 1)
    fill = length - len(tokens)
    return torch.tensor([tokens + [PAD] * fill, parts + [0] * fill])


def batch(items: int = 6) -> Tensor:
    torch.manual_seed(1)
    sizes = [(3 + i % 4, 5 + i % 3, 2 + i % 5) for i in range(items)]
    return torch.stack([torch.cat([pair(a, b), pair(a, c)]) for a, b, c in sizes])


def loss(made: BERTPretraining, x: Tensor, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    return made.loss(Batch([x], torch.arange(len(x))), 0.5)


def test_loss_and_gradients_are_transformers_under_the_same_weights_masks_and_labels() -> None:
    made, x = method(share=0.4), batch()
    torch.manual_seed(3)
    u_B, u_BT3 = made.drawn(torch.arange(len(x)), T)
    token, part, elsewhere = either(x, u_B)
    told = made.told(token, part, u_BT3[..., 0])
    read = hide(token, told, u_BT3[..., 1:], MASK, V, made.config)
    assert 0 < elsewhere.sum() < len(x) and (read[told] != token[told]).any()

    theirs = transformers.BertForPreTraining(
        transformers.BertConfig(**theirs_config(made.tasks), attn_implementation="eager")
    )
    theirs.load_state_dict(to_theirs(NAMES["transformers"], made.tasks.state_dict()), strict=False)
    theirs = theirs.double()
    expected = theirs(
        read, attention_mask=(part > 0).long(), token_type_ids=(part == 2).long(), next_sentence_label=elsewhere,
        labels=token.masked_fill(~told, -100),
    ).loss  # fmt: skip
    out = loss(made, x)
    torch.testing.assert_close(out.loss, expected, rtol=1e-7, atol=0)  # each token's share is of float32
    out.loss.backward()
    expected.backward()
    words = theirs.bert.embeddings.word_embeddings.weight.grad.clone()
    words[PAD] = made.tasks.encoder.tokens.weight.grad[PAD]  # theirs drops what reaches the padding as input
    torch.testing.assert_close(made.tasks.encoder.tokens.weight.grad, words, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(
        made.tasks.next.weight.grad, theirs.cls.seq_relationship.weight.grad, rtol=1e-6, atol=1e-8
    )


def test_shares_are_the_papers_over_many_draws() -> None:
    made, counts, words, kept = method(), torch.zeros(3), [], 0
    x = torch.stack([pair(40, 57, 100) for _ in range(32)])
    token, part = x.unbind(1)
    for seed in range(60):
        torch.manual_seed(seed)
        _, u = made.drawn(torch.arange(len(x)), 100)
        told = made.told(token, part, u[..., 0])
        assert (told.sum(1) == 15).all()  # 15% of 100, exactly
        assert not (told & ((token == CLS) | (token == SEP) | (token == PAD))).any()
        read = hide(token, told, u[..., 1:], MASK, V, made.config)
        assert torch.equal(read[~told], token[~told])
        masked, same = read[told] == MASK, read[told] == token[told]
        counts += torch.tensor([masked.sum(), (~masked & ~same).sum(), same.sum()])
        words.append(read[told][~masked & ~same])
        kept += int(told.sum())
    # A random token is [MASK] or the same one once in V draws each.
    chance = 0.1 / V
    expected = torch.tensor([0.8 + chance, 0.1 - 2 * chance, 0.1 + chance])
    torch.testing.assert_close(counts / kept, expected, atol=0.01, rtol=0)
    assert (
        len(torch.cat(words).unique()) == V - 1
    )  # any token of the vocabulary but [MASK], which counts as hidden


def test_few_and_many_tokens_are_told_as_the_authors_have_it() -> None:
    made = method(most=4, share=0.5)
    x = torch.stack([pair(1, 1), pair(6, 7)])
    _, u = made.drawn(torch.arange(2), T)
    assert made.told(*x.unbind(1), u[..., 0]).sum(1).tolist() == [2, 4]
    few = method(share=0.01).told(*x.unbind(1), u[..., 0])
    assert few.sum(1).tolist() == [1, 1]  # at least one
    short = torch.tensor([[[CLS, SEP] + [PAD] * 14, [1, 1] + [0] * 14]])
    assert not made.told(*short.unbind(1), u[:1, :, 0]).any()


def test_dynamic_masks_are_drawn_anew_and_static_ones_belong_to_item_and_copy() -> None:
    index = torch.arange(8)

    def draws(made: BERTPretraining, epoch: int, seed: int, items: Tensor = index) -> Tensor:
        made.before_epoch(epoch, lambda: torch.empty(0))
        torch.manual_seed(seed)
        u_B, u_BT3 = made.drawn(items, T)
        return torch.cat([u_B[:, None], u_BT3.flatten(1)], 1)

    dynamic, static = method(), method(masking="static", copies=3)
    assert not torch.equal(draws(dynamic, 0, 1), draws(dynamic, 0, 2))
    first = draws(static, 0, 1)
    assert first.shape == (8, 1 + 3 * T) and first.min() >= 0 and first.max() < 1
    assert torch.equal(first, draws(static, 0, 2))  # whatever the step draws
    assert torch.equal(first.flip(0), draws(static, 0, 1, index.flip(0)))  # wherever the item stands
    assert not torch.equal(first, draws(static, 1, 1)) and torch.equal(first, draws(static, 3, 1))
    assert abs(draws(static, 0, 1, torch.arange(2000)).mean().item() - 0.5) < 0.01
    torch.manual_seed(5)
    other = BERTPretraining(static.config, net_factory("small_bert/nodrop", T), static.spec)
    assert not torch.equal(first, draws(other, 0, 1))  # another seed
    other.load_state_dict(static.state_dict())
    assert torch.equal(draws(static, 0, 1), draws(other, 0, 1))  # a resumed run goes on with its own


def test_half_of_the_spans_follow_and_the_label_says_which() -> None:
    x = batch(400)
    token, part, elsewhere = either(x, torch.rand(400))
    assert 0.4 < elsewhere.double().mean() < 0.6
    for row, chosen, parts, label in zip(x, token, part, elsewhere.tolist(), strict=True):
        assert torch.equal(chosen, row[2 * label]) and torch.equal(parts, row[2 * label + 1])


def test_both_sides_of_a_hidden_word_matter() -> None:
    made, x = method(), batch(1)[:, :2]
    with torch.no_grad():
        x[0, 0, 4] = MASK
        before = made.encoder.states(x)[0, 4]
        for place in (2, 6):
            other = x.clone()
            other[0, 0, place] = 5 + (x[0, 0, place] - 4) % len(LETTERS)
            assert not torch.equal(made.encoder.states(other)[0, 4], before)


def test_padding_changes_nothing() -> None:
    made, x = method(), batch(2)
    longer = torch.cat([x, torch.zeros(2, 4, 6, dtype=torch.long)], -1)
    assert (longer[:, 0] == PAD).any()
    draws = made.drawn(torch.arange(2), T)
    made.drawn = lambda index, length: (draws[0], torch.cat([draws[1], torch.zeros(2, length - T, 3)], 1))
    short = made.loss(Batch([x], torch.arange(2)), 0.0).loss
    with_padding = made.loss(Batch([longer], torch.arange(2)), 0.0).loss
    torch.testing.assert_close(short, with_padding, rtol=1e-12, atol=1e-12)
    noise = x.clone()
    noise[:, ::2] = torch.where(x[:, 1::2] == 0, 7, x[:, ::2])
    torch.testing.assert_close(made.loss(Batch([noise], torch.arange(2)), 0.0).loss, short)


def test_without_the_next_sentence_windows_are_one_segment_and_its_head_is_still() -> None:
    made, x = method(next_sentence=False), batch()[:, :2]
    out = loss(made, x)
    one_segment = x.clone()
    one_segment[:, 1].clamp_(max=1)
    torch.testing.assert_close(out.loss, loss(made, one_segment).loss)
    assert "next" not in out.log and torch.equal(out.log["perplexity"], out.loss.detach().exp())
    out.loss.backward()
    frozen = {name for name, p in made.named_parameters() if not p.requires_grad}
    assert frozen == {
        "tasks.next.weight", "tasks.next.bias", "encoder.net.pooler.weight", "encoder.net.pooler.bias",
    }  # fmt: skip
    assert BERTPretraining.reading(made.config).packed and not BERTPretraining.reading(made.config).pairs


def test_it_learns_from_pairs_and_is_used_on_texts(tmp_path: Path) -> None:
    letters = ["\n".join(LETTERS[i : i + 4] for i in range(j, j + 12, 4)) for j in range(8)]
    config = Config(tokens="chars", vocabulary=40)
    data = open_data(letters, size=T, reading=BERTPretraining.reading(config))
    assert data.values is not None and data.values.shape == (8, 4, T) and data.labels is None
    recipe = {"data": "", "net": "small_bert/nodrop", "size": T, "batch": 4, "budget": "2steps"}
    about = {
        "method": "bert", "config": dataclasses.asdict(config), "recipe": recipe, "data": {}, "init_from": None,
    }  # fmt: skip
    run = Run.create(tmp_path / "run", about)
    run.keep(data.tokeniser)
    assert run.train(data, quiet=True) == "finished"
    run = Run.open(run.path)
    assert isinstance(run.encoder, Reader) and isinstance(run.encoder.net, BERT)
    assert run.apart is not None
    alone = open_data(["abcd"], size=T, reading=run.apart)
    both = open_data([("abcd", "efg")], size=T, reading=run.apart)
    assert alone.values is not None and both.values is not None
    assert (alone.values[0, 1] > 0).sum() == 6
    assert both.values[0, 1].tolist() == [1] * 6 + [2] * 4 + [0] * 6
    assert run.embed(["abcd", "dcba"]).shape == (2, 128)


BAD = [
    ({"share": 0.0}, "--share is 0.0; the share that is hidden lies between 0 and 1"),
    ({"share": 1.0}, "--share is 1.0"),
    ({"masked": 0.9, "random": 0.2}, "together at most 1"),
    ({"random": -0.1}, "they are shares"),
    ({"most": 0}, "--most is 0"),
    ({"copies": 0}, "--copies 0"),
    ({"net": "small_gpt"}, "told from both of its sides: take small_bert"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_what_cannot_be_is_refused_in_a_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ManyviewsError, match=message):
        method(**settings)


def test_a_tokeniser_without_a_mask_is_refused() -> None:
    from tokenizers import Tokenizer, models

    bare = Tokeniser(
        Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "<unk>": 3}, unk_token="<unk>"))
    )
    with pytest.raises(ManyviewsError, match="no mask token"):
        method(words=bare)


def test_rows_that_hold_no_pair_are_refused() -> None:
    with pytest.raises(ManyviewsError, match="say --no-next-sentence"):
        loss(method(), batch()[:, :2])


def test_a_small_bert_has_no_dropout_where_it_is_asked_for_without() -> None:
    found = nets.build("small_bert/nodrop", in_channels=V, size=T)
    assert isinstance(found, Reader) and isinstance(found.net, BERT) and found.net.dropout == 0.0


def test_the_figure_of_the_next_sentence_is_the_share_told_rightly() -> None:
    made, x = method(), batch(7)  # of an odd number no half is right
    with torch.no_grad():
        made.tasks.next.weight.zero_()
        made.tasks.next.bias.copy_(torch.tensor([1.0, 0.0]))  # "it follows", always
    torch.manual_seed(3)
    *_, elsewhere = either(x, made.drawn(torch.arange(7), T)[0])
    assert elsewhere is not None
    assert loss(made, x).log["next"].item() == pytest.approx((elsewhere == 0).double().mean().item())
