"""SimCSE: two readings of a sentence under different dropout attract, all others of the batch repel."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from manyviews import pretrain
from manyviews.data import ItemSet
from manyviews.data.corpus import from_texts
from manyviews.data.reading import as_set
from manyviews.errors import ManyviewsError
from manyviews.method import Batch, Out, Spec
from manyviews.methods.contrastive.simcse import RECIPES, Config, SimCSE
from manyviews.nets import build, interop, net_factory
from manyviews.nets.reader import Reader, by_first_token
from manyviews.views import Text, Texts

TOKENS = 12
WORDS = (
    "the",
    "a",
    "old",
    "red",
    "fox",
    "owl",
    "hare",
    "sleeps",
    "runs",
    "sits",
    "beside",
    "near",
    "river",
    "hill",
)
TINY = "bert_tiny"


def texts(items: int, count: int = 1) -> Any:
    """Made-up sentences of three to nine words, or as many to an item as wanted."""
    source = torch.Generator().manual_seed(items)
    made = [
        " ".join(WORDS[i] for i in torch.randint(0, len(WORDS), (3 + n % 7,), generator=source).tolist())
        for n in range(items * count)
    ]
    return made if count == 1 else [tuple(made[i::items]) for i in range(items)]


def data(config: Config, items: int = 8) -> ItemSet:
    reading = SimCSE.reading(replace(config, tokens="wordpiece", vocabulary=80))
    return as_set(from_texts(texts(items, reading.texts)), reading, TOKENS)


def made(config: Config, seen: ItemSet, net: str = TINY) -> SimCSE:
    torch.manual_seed(0)
    spec = Spec(items=len(seen), size=TOKENS, tokeniser=seen.tokeniser)
    return SimCSE(config, net_factory(net, TOKENS), spec)


def batch(method: SimCSE, seen: ItemSet) -> Batch:
    assert seen.values is not None
    views = method.views()
    return Batch(views(seen.values, views.draw(len(seen), "test")), torch.arange(len(seen)))


def lost(method: SimCSE, seen: ItemSet) -> Out:
    torch.manual_seed(1)
    return method.loss(batch(method, seen), 0.0)


# -- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", ["pair", "triple"])
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_loss_is_that_of_transformers_bert_and_the_plain_formula(
    positive: Any, pool: Any, tmp_path: Path
) -> None:
    config = Config(positive=positive, pool=pool, dropout=0.0)
    seen = data(config)
    method = made(config, seen)
    with torch.no_grad():  # so that embeddings differ by more than rounding
        for weight in method.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    assert isinstance(method.encoder, Reader)
    interop.export(method.encoder.net, tmp_path, "transformers")
    theirs = transformers.BertModel.from_pretrained(tmp_path).eval()

    assert seen.values is not None
    token_BRT, part_BRT = seen.values.long()[:, 0::2], seen.values.long()[:, 1::2]
    h = []
    for token_BT, part_BT in zip(token_BRT.unbind(1), part_BRT.unbind(1), strict=True):
        out = theirs(token_BT, attention_mask=part_BT)
        mean = (out.last_hidden_state * part_BT[..., None]).sum(1) / part_BT.sum(1, keepdim=True)
        h.append(out.pooler_output if pool == "cls" else mean)
    logits = torch.cat([F.cosine_similarity(h[0][:, None], other[None], dim=2) for other in h[1:]], 1) / 0.05
    expected = F.cross_entropy(logits, torch.arange(len(seen)))
    assert logits.shape == (8, 8 if positive == "pair" else 16) and expected > 0.1
    loss = lost(method, seen).loss
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    words = theirs.embeddings.word_embeddings.weight
    own = next(weight for weight in method.parameters() if weight.shape == words.shape)
    torch.testing.assert_close(
        torch.autograd.grad(loss, own)[0], torch.autograd.grad(expected, words)[0], rtol=1e-3, atol=1e-4
    )


def test_the_views_are_one_sentence_under_two_drop_outs() -> None:
    seen = data(Config())
    method = made(Config(), seen)
    both = batch(method, seen).views
    assert torch.equal(both[0], both[1])
    out = lost(method, seen)
    assert 0 < out.log["align"] < 1 and -4 < out.log["uniform"] < 0
    method.eval()  # nothing is dropped: a sentence is exactly like itself
    assert lost(method, seen).log["align"] < 1e-6


def test_alignment_and_uniformity_are_those_of_their_paper() -> None:
    from manyviews.evaluation.labelfree import alignment, uniformity

    config = Config(positive="pair", dropout=0.0)
    seen = data(config)
    method = made(config, seen)
    assert seen.values is not None
    x = seen.values.long()
    h, positive = method.read(x[:, :2]), method.read(x[:, 2:])
    log = lost(method, seen).log
    assert log["align"].item() == pytest.approx(alignment(h, positive), abs=1e-5)
    assert log["uniform"].item() == pytest.approx(uniformity(h), abs=1e-5)


@pytest.mark.parametrize("pool", ["cls", "mlp", "mean"])
def test_it_learns_to_tell_sentences_apart(pool: Any) -> None:
    seen = data(Config(pool=pool), 16)
    method = made(Config(pool=pool), seen)
    optimiser = torch.optim.AdamW(method.parameters(), 1e-3)
    first = lost(method, seen)
    for step in range(30):
        torch.manual_seed(step)
        optimiser.zero_grad()
        method.loss(batch(method, seen), 0.0).loss.backward()
        optimiser.step()
    last = lost(method, seen)
    assert last.loss < 0.5 * first.loss
    assert last.log["uniform"] < first.log["uniform"] - 0.5  # the paper's claim: they spread


# -- what embeds a sentence ------------------------------------------------------------------------------------------


def test_the_layer_is_there_in_training_and_gone_in_use_unless_it_is_to_stay() -> None:
    seen = data(Config())
    assert seen.values is not None
    x = seen.values.long()
    for pool in ("cls", "mlp", "mean"):
        method = made(Config(pool=pool), seen).eval()
        encoder = method.encoder
        assert isinstance(encoder, Reader)
        state = encoder.states(x)
        layer = (state[:, 0] @ encoder.net.pooler.weight.T + encoder.net.pooler.bias).tanh()
        mean = state.sum(1) / x[:, 1].sum(1, keepdim=True)
        torch.testing.assert_close(method.read(x), mean if pool == "mean" else layer)
        torch.testing.assert_close(encoder(x), {"cls": state[:, 0], "mlp": layer, "mean": mean}[pool])


def test_padding_is_not_read() -> None:
    seen = data(Config())
    method = made(Config(), seen).eval()
    assert seen.values is not None
    x = seen.values.long()
    longer = torch.cat([x, torch.zeros(8, 2, 5, dtype=torch.long)], 2)[..., :TOKENS]
    noisy = torch.where(longer[:, 1:] == 0, torch.tensor([[7], [0]]), longer)
    torch.testing.assert_close(method.read(noisy), method.read(x))


def test_a_layer_is_drawn_anew_and_the_rest_begins_as_the_start() -> None:
    seen = data(Config())
    assert seen.tokeniser is not None
    start = build(TINY, in_channels=len(seen.tokeniser), size=20)  # it knows longer texts
    torch.manual_seed(3)
    spec = Spec(items=8, size=TOKENS, tokeniser=seen.tokeniser)
    method = SimCSE(Config(), net_factory(TINY, TOKENS, start), spec)
    for name, tensor in method.encoder.state_dict().items():
        given = start.state_dict()[name]
        if "positions" in name:
            assert torch.equal(tensor, given[:TOKENS])
        elif "pooler" not in name:
            assert torch.equal(tensor, given), name
        elif "weight" in name:
            assert not torch.equal(tensor, given)
    for other, said in ((build(TINY, in_channels=99, size=TOKENS), "its vocabulary"), (build(TINY, in_channels=len(seen.tokeniser), size=6), "a --size of no more than its own")):  # fmt: skip
        with pytest.raises(ManyviewsError, match=f"cannot start from .*{said}"):
            SimCSE(Config(), net_factory(TINY, TOKENS, other), spec)


# -- dropout, and other views ----------------------------------------------------------------------------------------


def test_dropout_is_that_of_the_setting_in_every_layer() -> None:
    method = made(Config(dropout=0.25), data(Config()), "small_bert/nodrop")
    found = [module.dropout for module in method.modules() if hasattr(module, "dropout")]
    assert len(found) == 1 + 2 * 4 and set(found) == {0.25}  # the input, each block and each attention


@pytest.mark.parametrize("net", [TINY, "small_bert/nodrop"])
def test_views_that_would_be_the_same_are_refused(net: str) -> None:
    with pytest.raises(ManyviewsError, match="two views of a sentence would be the same"):
        made(Config(dropout=0.0), data(Config()), net)
    made(Config(dropout=0.0, positive="delete"), data(Config()), net)  # these differ without it


def test_looking_whether_views_differ_leaves_the_seed_alone() -> None:
    seen = data(Config())
    after = []
    for positive in ("dropout", "delete"):
        made(Config(positive=positive), seen)  # pyright: ignore[reportArgumentType]
        after.append(torch.rand(1))
    assert torch.equal(*after)


def rows(*of: list[int]) -> Tensor:
    """Tokens in rows of 10, with their parts: 1 begins and 2 ends each."""
    x = torch.zeros(len(of), 2, 10, dtype=torch.int32)
    for row, tokens in zip(x, of, strict=True):
        row[0, : len(tokens)], row[1, : len(tokens)] = torch.tensor(tokens), 1
    return x


LONG, SHORT, ONE = [1, 11, 12, 13, 14, 15, 16, 17, 18, 2], [1, 21, 22, 23, 2], [1, 31, 2]


def kept(view: Text, name: str) -> list[list[int]]:
    views = Texts(view)
    (seen,) = views(rows(LONG, SHORT, ONE), views.draw(3, name))
    there = seen[:, 1] > 0
    assert torch.equal(there, there.cummin(1).values)  # no holes
    assert int(seen[:, 0][~there].sum()) == 0
    return [row[mask].tolist() for row, mask in zip(seen[:, 0], there, strict=True)]


@pytest.mark.parametrize("how", ["delete", "crop"])
@pytest.mark.parametrize(("share", "long", "short"), [(0.0, 1, 1), (0.25, 2, 1), (0.5, 4, 2), (0.9, 7, 2)])
def test_a_text_loses_its_share_in_order_and_never_its_ends(
    how: str, share: float, long: int, short: int
) -> None:
    view = Text(size=10, keep=(1, 2), **{how: share})
    for draw in range(40):
        found = kept(view, str(draw))
        assert [len(row) for row in found] == [10 - long, 5 - short, 3]
        for row, of in zip(found, (LONG, SHORT, ONE), strict=True):
            assert row[0] == 1 and row[-1] == 2 and row == [token for token in of if token in row]
            if how == "crop":
                assert row[1:-1] == list(range(row[1], row[-2] + 1))


@pytest.mark.parametrize(("how", "ways"), [("delete", 28), ("crop", 3)])
def test_every_way_to_shorten_comes_up_alike(how: str, ways: int) -> None:
    view = Text(size=10, keep=(1, 2), **{how: 0.25})
    counts: dict[tuple[int, ...], int] = {}
    views, many = Texts(view), 3000
    (seen,) = views(rows(LONG).expand(many, -1, -1), views.draw(many, "ways"))
    for row in seen[:, 0].tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    assert len(counts) == ways  # 2 of 8 tokens, or where a stretch of 6 begins
    assert max(abs(count - many / ways) for count in counts.values()) < 5 * (many / ways) ** 0.5


def test_a_part_of_the_batch_loses_what_it_does_in_the_whole() -> None:
    views = Texts(Text(size=10), Text(size=10, delete=0.5, keep=(1, 2)))
    x = rows(*[LONG] * 8)
    draws = views.draw(8, "ranks")
    whole, half = views(x, draws), views(x[4:], draws.rows(4, 8))
    assert all(torch.equal(a[4:], b) for a, b in zip(whole, half, strict=True))
    crops = [
        torch.stack(both)
        for both in zip(*[views.crop(row, draws, i) for i, row in enumerate(x)], strict=True)
    ]
    assert all(torch.equal(a, b) for a, b in zip(whole, views.finish(crops, draws), strict=True))


def test_only_the_second_view_is_shortened() -> None:
    config = Config(positive="delete", share=0.3)
    seen = data(config)
    method = made(config, seen)
    x, shorter = batch(method, seen).views
    assert seen.values is not None and torch.equal(x, seen.values.long())
    assert bool(((x[:, 1].sum(1) - shorter[:, 1].sum(1)) >= 1).all())
    assert bool((x[:, 0, 0] == shorter[:, 0, 0]).all())  # [CLS] stays in front


# -- from texts to a run ---------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "net": TINY, "size": TOKENS, "batch": 8, "budget": "2steps", "baselines": (), "quiet": True, "vocabulary": 80,
}  # fmt: skip
CLS = {"pool": "cls", "dropout": 0.1}  # the paper's, where the recipe for the world has others


def run(method: str, given: Any, out: Path, **changes: Any) -> Any:
    own = CLS if method == "simcse" else {}
    made = SMALL | own | changes
    if "tokens" in changes:  # a tokeniser of its own size
        del made["vocabulary"]
    return pretrain(method, given, out=out, **made)


def test_it_begins_as_a_bert_that_learned_hidden_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert = run("bert", texts(64), tmp_path / "bert", next_sentence=False, size=20)
    begun: list[dict[str, Tensor]] = []
    own = SimCSE.__init__

    def spy(self: SimCSE, *args: Any) -> None:
        own(self, *args)
        begun.append({name: tensor.clone() for name, tensor in self.encoder.state_dict().items()})

    monkeypatch.setattr(SimCSE, "__init__", spy)
    changes = {name: value for name, value in SMALL.items() if name not in ("net", "vocabulary")}
    other = ["owls are others", *texts(31)]  # of which another tokeniser would have been made
    later = pretrain("simcse", other, out=tmp_path / "simcse", init_from=bert.path, **(CLS | changes))
    for name, tensor in bert.encoder.state_dict().items():
        if "pooler" not in name:
            assert torch.equal(tensor[: len(begun[0][name])], begun[0][name]), name
    assert (later.path / "tokeniser.json").read_text() == (bert.path / "tokeniser.json").read_text()
    embedded = later.embed(["the old fox sleeps", "a red owl"])
    assert embedded.shape == (2, 128) and not torch.equal(embedded[0], embedded[1])
    assert {"align", "uniform"} <= set(json.loads((later.path / "metrics.jsonl").read_text().splitlines()[0]))


def test_it_begins_as_transformers_bert_with_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenizers import Tokenizer, models

    shape: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}  # fmt: skip
    theirs = transformers.BertModel(transformers.BertConfig(**shape))
    monkeypatch.setattr(transformers.BertModel, "from_pretrained", lambda _: theirs)
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    known += [f"w{number}" for number in range(30_522 - len(known))]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    learned = {"pretrained": "transformers", "lr": 1e-12}
    found = run("simcse", texts(16), tmp_path / "a", tokens=str(tmp_path / "tokenizer.json"), **learned)
    assert isinstance(found.encoder, Reader)
    own, given = found.encoder.net, theirs.embeddings
    torch.testing.assert_close(own.get_parameter("tokens.weight"), given.word_embeddings.weight)
    torch.testing.assert_close(
        own.get_parameter("positions.weight"), given.position_embeddings.weight[:TOKENS]
    )
    with pytest.raises(
        ManyviewsError, match="knows 30,522 tokens as transformers has it, and these texts have"
    ):
        run("simcse", texts(16), tmp_path / "b", **learned)


@pytest.mark.parametrize("count", [2, 3])
def test_texts_that_belong_together_are_learned_from_and_single_ones_are_embedded(
    count: int, tmp_path: Path
) -> None:
    table = tmp_path / "nli.csv"
    names = ("sent0", "sent1", "hard_neg")
    table.write_text("\n".join([",".join(names[:count] if count == 3 else ("premise", "hypothesis")), *map(",".join, texts(16, count))]))  # fmt: skip
    found = run("simcse", str(table), tmp_path / "run", positive={2: "pair", 3: "triple"}[count], pool="mlp")
    assert found.embed(["the old fox sleeps"]).shape == (1, 128)
    assert found.settings["data"]["items"] == 16


@pytest.mark.parametrize(
    ("given", "changes", "said"),
    [
        (texts(16), {"positive": "pair"}, "has 1 text.s. an item, .* learns from 2: give pairs"),
        (
            texts(16, 2),
            {"positive": "triple"},
            "has 2 text.s. an item, .* learns from 3: give texts in threes",
        ),
        (texts(16, 2), {}, "has 2 text.s. an item, .* learns from 1: give single texts"),
        (texts(16), {"temperature": 0.0}, "--temperature is 0.0; it divides, and is above 0"),
        (texts(16), {"dropout": 1.0}, "--dropout is 1.0; it is a share"),
        (texts(16), {"positive": "crop", "share": 1.0}, "--share is 1.0; what is taken away"),
        (texts(16, 2), {"positive": "pair", "sentences": True}, "leave out --sentences"),
        (texts(16), {"net": "small_gpt"}, "The first token speaks for a text where it looks at all others"),
        (texts(16), {"batch": 64}, "A batch of 64 is larger than the data"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    given: Any, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ManyviewsError, match=said):
        run("simcse", given, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_document_is_learned_from_sentence_by_sentence() -> None:
    reading = SimCSE.reading(Config(vocabulary=80, sentences=True))
    text = "The fox sleeps. An owl sits near.\nA hare"
    seen = as_set(from_texts(([text, "One more."], [0, 1])), reading, TOKENS)
    assert len(seen) == 4 and seen.labels is None and seen.tokeniser is not None
    assert seen.values is not None
    assert [seen.tokeniser.decode(row) for row in seen.values[:, 0]][2] == "a hare"
    used = replace(reading, joined=True)
    assert len(as_set(from_texts([text, "One more."]), used, TOKENS)) == 2  # whoever uses it gives documents


def test_the_papers_settings() -> None:
    config, recipe = RECIPES["paper"]
    assert (config.temperature, config.dropout, config.positive, config.pool) == (0.05, 0.1, "dropout", "cls")
    assert (recipe.net, recipe.lr, recipe.batch, recipe.size) == ("bert_base", 3e-5, 64, 32)


def test_first_tokens_of_what_has_none_are_refused() -> None:
    for name, said in (("first(small_gpt)", "small_bert"), ("pooler(small_bert, 3)", "needs no number")):
        with pytest.raises(ManyviewsError, match=said):
            build(name, in_channels=30, size=TOKENS)


@pytest.mark.parametrize(
    ("net", "pool"), [("small_transformer", "mean"), ("bert_tiny", "mean"), ("bert_tiny", "cls")]
)
def test_what_learns_is_what_the_loss_reaches(net: str, pool: Any) -> None:
    """Several devices would wait for the gradients of all else."""
    config = Config(pool=pool)
    seen = data(config)
    method = made(config, seen, net)
    lost(method, seen).loss.backward()
    learns = {name for name, weight in method.named_parameters() if weight.requires_grad}
    assert learns == {name for name, weight in method.named_parameters() if weight.grad is not None}
    parts = {name.split(".")[2] for name, weight in method.named_parameters() if not weight.requires_grad}
    assert parts == ({"decoder"} if net == "small_transformer" else {"pooler"} if pool == "mean" else set())


def test_who_asks_for_the_first_token_through_its_layer_gets_it_back() -> None:
    seen = data(Config())
    method = made(Config(), seen).eval()
    assert seen.values is not None
    x = seen.values.long()
    assert not torch.allclose(method.encoder(x), method.read(x))
    by_first_token(method.encoder)
    torch.testing.assert_close(method.encoder(x), method.read(x))


@pytest.mark.parametrize("positive", ["delete", "crop"])
def test_what_begins_and_ends_a_sentence_stays(positive: Any) -> None:
    config = Config(positive=positive, share=0.5)
    seen = data(config, 32)
    x, words = batch(made(config, seen), seen).views[1], seen.tokeniser
    assert words is not None
    last = x[:, 0].gather(1, x[:, 1].sum(1, keepdim=True) - 1)
    assert (x[:, 0, 0] == words.start).all() and (last == words.end).all()
