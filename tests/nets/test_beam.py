"""Beam search: the best of all texts where all can be tried, transformers' where definitions agree, plain ones elsewhere."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Cache
from manyviews.nets.beam import Written, answer, length_penalty, search, translate
from manyviews.nets.gpt import GPT
from manyviews.nets.gpt2 import NAMES, gpt2
from manyviews.nets.names import to_theirs
from manyviews.nets.transformer import Transformer

PADDING, START, END = 0, 1, 2


def translator(vocabulary: int = 12, length: int = 40, scale: float = 1.5) -> Transformer:
    """A net with opinions: of its own start it would say the same whatever it reads."""
    net = Transformer(vocabulary, 16, 2, 4, 32, length=length)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale) if p.ndim > 1 else p.add_(torch.randn_like(p) * 0.3)
    return net.eval()


def writer(vocabulary: int = 10) -> GPT:
    net = gpt2(vocabulary=vocabulary, width=16, depth=2, heads=4, length=24)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.randn_like(p) * 0.35 + (p.ndim == 1 and name.endswith("weight")))
        net.positions.weight.mul_(2)
        net.norm.bias.zero_()
    return net.eval()


def sources(lengths: list[int], vocabulary: int = 12) -> Tensor:
    longest = max(lengths)
    rows = [torch.randint(3, vocabulary, (length,)) for length in lengths]
    return torch.stack([F.pad(row, (0, longest - len(row)), value=PADDING) for row in rows])


def plain(net: Transformer, source_S: Tensor, beam: int, alpha: float, more: int) -> tuple[list[int], float]:
    """One sentence by lists, without a cache: the text and its score."""
    source_S = source_S[source_S != PADDING]
    longest = len(source_S) + more
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []

    def lp(length: int) -> float:
        return ((5 + length) / 6) ** alpha

    for length in range(1, longest + 1):
        candidates = []
        for score, text in alive:
            with torch.no_grad():
                log_p = net(source_S[None], torch.tensor([[START, *text]]))[0, -1].log_softmax(0)
            candidates += [(score + float(x), [*text, token]) for token, x in enumerate(log_p)]
        candidates.sort(key=lambda pair: -pair[0])
        ended += [(score / lp(length), text) for score, text in candidates[:beam] if text[-1] == END]
        if beam == 1 and ended:
            break
        alive = [pair for pair in candidates if pair[1][-1] != END][:beam]
    score, text = max(ended) if ended else (alive[0][0] / lp(longest), alive[0][1])
    return text, score


def text_of(written: Written, row: int) -> list[int]:
    """The tokens of one sentence: up to its end, or all."""
    tokens = written.tokens_BT[row].tolist()
    return tokens[: tokens.index(END) + 1] if END in tokens else tokens


def test_the_penalty_is_the_papers():
    assert length_penalty(1, 0.6) == 1.0 and length_penalty(7, 0.0) == 1.0
    assert length_penalty(7, 0.6) == pytest.approx(2**0.6)
    lengths = torch.arange(1, 9)
    expected = torch.tensor([(5 + n) ** 0.6 / 6**0.6 for n in range(1, 9)])
    torch.testing.assert_close(length_penalty(lengths, 0.6), expected)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.0, 0.6, 1.0, 3.0]))
def test_a_wide_beam_finds_the_best_of_all_texts(seed: int, alpha: float):
    torch.manual_seed(seed)
    net, source = translator(4, scale=2.5), torch.tensor([[3, 1]])
    best: tuple[float, list[int]] = (-math.inf, [])
    with torch.no_grad():
        for length in range(1, 5):
            texts = [[*body, END] for body in itertools.product((0, 1, 3), repeat=length - 1)]
            target = torch.tensor([[START, *text] for text in texts])
            log_p = net(source.expand(len(texts), -1), target[:, :-1]).log_softmax(2)
            scores = log_p.gather(2, target[:, 1:, None]).sum((1, 2)) / ((5 + length) / 6) ** alpha
            best = max(best, (float(scores.max()), texts[int(scores.argmax())]))
    found = translate(net, source, start=START, end=END, beam=150, alpha=alpha, more=2)
    assert text_of(found, 0) == best[1]
    assert float(found.score_B[0]) == pytest.approx(best[0], abs=1e-4)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000), beam=st.integers(1, 5), alpha=st.sampled_from([0.0, 0.6, 2.0]),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)  # fmt: skip
def test_sentences_are_searched_as_if_alone_without_a_cache(
    seed: int, beam: int, alpha: float, lengths: list[int]
):
    torch.manual_seed(seed)
    net = translator()
    source = sources(lengths)
    found = translate(net, source, start=START, end=END, beam=beam, alpha=alpha, more=4)
    for row, length in enumerate(lengths):
        text, score = plain(net, source[row], beam, alpha, more=4)
        assert text_of(found, row)[: length + 4] == text
        assert float(found.score_B[row]) == pytest.approx(score, abs=1e-4)
        assert set(found.tokens_BT[row, len(text) :].tolist()) <= {PADDING}


def test_a_text_ends_at_its_limit():
    net = translator()
    with torch.no_grad():
        net.decoder_norm = torch.nn.LayerNorm(16)  # pushed away from the end
        net.decoder_norm.bias.copy_(-20 * net.tokens.weight[END])
    found = translate(net, sources([2, 5]), start=START, end=END, more=3)
    assert found.tokens_BT.shape == (2, 8) and not found.tokens_BT.eq(END).any()
    assert found.tokens_BT[0, 5:].eq(PADDING).all() and found.tokens_BT[0, :5].ne(PADDING).any()
    assert found.score_B.isfinite().all()


def test_fifty_tokens_more_or_as_many_as_there_are_positions():
    net = translator(length=70)
    asked: list[int] = []
    net.decoder.register_forward_hook(lambda *seen: asked.append(seen[2].shape[1]))
    with torch.no_grad():
        net.decoder_norm = torch.nn.LayerNorm(16)
        net.decoder_norm.bias.copy_(-20 * net.tokens.weight[END])
    assert translate(net, sources([3]), start=START, end=END, beam=1).tokens_BT.shape == (1, 53)
    assert len(asked) == 53 and set(asked) == {1}, "a token costs one step of one token"
    assert translate(net, sources([30]), start=START, end=END, beam=1).tokens_BT.shape == (1, 70)


def test_it_stops_when_no_open_hypothesis_can_win():
    steps: list[int] = []

    def step(new_NT: Tensor, sentence_N: Tensor, cache: Cache) -> Tensor:
        steps.append(len(new_NT))
        sure = torch.full((len(new_NT), 5), -9.0)
        sure[:, END if len(steps) > 2 else 3] = 9.0  # ends, almost surely, after two tokens
        return sure

    longest = torch.tensor([30, 30])
    found = search(step, torch.ones(2, 1, dtype=torch.long), longest, end=END, beam=3)
    assert found.tokens_BT.tolist() == [[3, 3, END]] * 2 and steps == [2, 6, 6]


def test_longer_texts_win_where_the_penalty_is_larger():
    def step(new_NT: Tensor, sentence_N: Tensor, cache: Cache) -> Tensor:
        cache.length += 1
        p = {1: [0.0, 0.0, 0.55, 0.45], 2: [0.0, 0.0, 0.2, 0.8]}.get(cache.length, [0.0, 0.0, 0.9, 0.1])
        return torch.tensor(p).log().expand(len(new_NT), -1)

    def found(alpha: float, beam: int = 2) -> list[int]:
        first, longest = torch.ones(1, 1, dtype=torch.long), torch.tensor([6])
        return search(step, first, longest, end=2, beam=beam, alpha=alpha).tokens_BT[0].tolist()

    # log .55 = -0.60 against log(.45 * .8 * .9) = -1.13, which (8 / 6)^alpha divides: alike at alpha 2.2.
    assert [t for t in found(2.0) if t] == [2] and [t for t in found(2.4) if t] == [3, 3, 2]
    assert [t for t in found(2.4, beam=1) if t] == [2], "greedy looks no further"


def theirs(net: GPT) -> Any:
    config = transformers.GPT2Config(
        vocab_size=10, n_embd=16, n_layer=2, n_head=4, n_positions=24, bos_token_id=None, eos_token_id=None
    )
    model = transformers.GPT2LMHeadModel(config)
    model.load_state_dict(to_theirs(NAMES["transformers"], net.state_dict()), strict=False)
    return model.eval()


@pytest.mark.against("transformers", "beam")
@pytest.mark.parametrize("beam", [1, 2, 4])
def test_texts_without_an_end_are_transformers(beam: int):
    net, prompt = writer(), torch.randint(10, (4, 5))
    padding = torch.ones_like(prompt, dtype=torch.bool)
    padding[1, :3] = padding[2, :1] = False
    prompt[~padding] = 0
    expected = theirs(net).generate(
        prompt, max_new_tokens=9, num_beams=beam, do_sample=False, length_penalty=0.0,
        early_stopping="never", pad_token_id=0, attention_mask=padding.long(),
    )  # fmt: skip
    assert torch.equal(
        answer(net, prompt, 9, end=None, beam=beam, padding_BT=padding).tokens_BT, expected[:, 5:]
    )


@pytest.mark.against("transformers", "beam")
@pytest.mark.parametrize("beam", [1, 2, 4])
def test_texts_that_end_are_transformers(beam: int):
    net, prompt = writer(), torch.randint(10, (24, 3))
    free = answer(net, prompt, 18, end=None, beam=1).tokens_BT
    end = max(range(10), key=lambda token: int(free[:, 4:].eq(token).any(1).sum()))
    expected = theirs(net).generate(
        prompt, max_new_tokens=18, num_beams=beam, do_sample=False, length_penalty=0.0,
        early_stopping="never", eos_token_id=end, pad_token_id=end, attention_mask=torch.ones_like(prompt),
    )[:, 3:]  # fmt: skip
    found = answer(net, prompt, 18, end=end, beam=beam, alpha=0.0).tokens_BT
    found, expected = (F.pad(x, (0, 18 - x.shape[1]), value=end) for x in (found, expected))
    ended = expected.eq(end).any(1)  # at the limit they let a text win that has not
    assert ended.sum() > 8 and expected[ended, 2].ne(end).sum() > 2
    assert torch.equal(found[ended], expected[ended])


def test_a_wider_beam_is_no_worse_and_greedy_is_the_likeliest_each_time():
    net, prompt = writer(), torch.randint(10, (60, 3))
    greedy, wide = (answer(net, prompt, 12, end=None, beam=beam, alpha=0.6) for beam in (1, 8))
    assert (wide.score_B - greedy.score_B).mean() > 0.01
    with torch.no_grad():
        likeliest = net(torch.cat([prompt, greedy.tokens_BT], dim=1)[:, :-1]).argmax(2)[:, 2:]
    assert torch.equal(likeliest, greedy.tokens_BT)


def test_nothing_is_left_behind():
    net = translator().train()
    state = torch.random.get_rng_state()
    first, again = (translate(net, sources([3, 2]), start=START, end=END) for _ in range(2))
    assert net.training and all(module.training for module in net.modules())
    assert not first.score_B.requires_grad and first.tokens_BT.shape == again.tokens_BT.shape
    assert not torch.equal(torch.random.get_rng_state(), state)  # by `sources` alone: dropout is off
    source = sources([3, 2])
    assert torch.equal(*(translate(net, source, start=START, end=END).tokens_BT for _ in range(2)))


def test_bad_settings_are_one_sentence():
    net, source = translator(), sources([3, 2])
    for options, said in (
        ({"beam": 0}, "beam of 0"),
        ({"beam": -1}, "beam of -1"),
        ({"alpha": -0.5}, "penalty of -0.5"),
        ({"alpha": math.nan}, "penalty of nan"),
        ({"more": -2}, "0 tokens to write"),
        ({"end": 12}, "Of 12 tokens, 12"),
    ):
        with pytest.raises(ManyviewsError, match=said):
            translate(net, source, **{"start": START, "end": END} | options)
    source[1] = PADDING
    with pytest.raises(ManyviewsError, match="a sentence without tokens"):
        translate(net, source, start=START, end=END)
    gpt, prompt = writer(), torch.randint(10, (2, 5))
    with pytest.raises(ManyviewsError, match="beam of 0"):
        answer(gpt, prompt, 4, end=7, beam=0)
    with pytest.raises(ManyviewsError, match="nothing to go on from"):
        answer(gpt, prompt[:, :0], 4, end=7)
    with pytest.raises(ManyviewsError, match="longer than the 24 positions"):
        answer(gpt, prompt, 21, end=7)
    with pytest.raises(ManyviewsError, match="filled up at its end"):
        answer(gpt, prompt, 4, end=7, padding_BT=torch.tensor([[True] * 5, [True] * 4 + [False]]))
    with pytest.raises(ManyviewsError, match=r"padding_BT is torch.bool \[2, 4\]"):
        answer(gpt, prompt, 4, end=7, padding_BT=torch.ones(2, 4, dtype=torch.bool))
