"""What a language model writes: transformers' tokens, and only what its settings allow."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets.generation import draw, generate, likeliest
from manyviews.nets.gpt import GPT
from manyviews.nets.gpt2 import NAMES, gpt2
from manyviews.nets.gpt3 import gpt3
from manyviews.nets.names import to_theirs

V, LENGTH = 40, 24


@pytest.fixture(autouse=True)
def _drawn_apart() -> None:
    torch.manual_seed(1)  # with first weights in which not all texts go on alike


def small(make: Any = gpt2, **options: object) -> GPT:
    """A net whose words follow each other in no simple circle."""
    net = make(vocabulary=V, width=16, depth=4, heads=4, length=LENGTH, **options)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.randn_like(p) * 0.4 + (p.ndim == 1 and name.endswith("weight")))
        net.positions.weight.mul_(4)
        if isinstance(net.norm, torch.nn.LayerNorm):
            net.norm.bias.zero_()  # it favours one word everywhere
    return net.eval()


def theirs(net: GPT) -> Any:
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=16, n_layer=4, n_head=4, n_positions=LENGTH, bos_token_id=None, eos_token_id=None
    )
    model = transformers.GPT2LMHeadModel(config)
    model.load_state_dict(to_theirs(NAMES["transformers"], net.state_dict()), strict=False)
    return model.eval()


def front(texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Tokens and padding of texts that are filled up in front."""
    longest = max(map(len, texts))
    missing = [(longest - len(text), 0) for text in texts]
    tokens = torch.stack([F.pad(text, pad) for text, pad in zip(texts, missing, strict=True)])
    there = [F.pad(torch.ones_like(text), pad) for text, pad in zip(texts, missing, strict=True)]
    return tokens, torch.stack(there).bool()


@pytest.mark.against("transformers", "generation")
def test_the_likeliest_tokens_are_transformers():
    net = small()
    prompt = torch.randint(V, (3, 5))
    written = generate(net, prompt, 12, temperature=0)
    expected = theirs(net).generate(
        prompt, max_new_tokens=12, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(prompt)
    )
    assert torch.equal(written, expected)
    assert torch.equal(written[:, :5], prompt) and len(written[:, 5:].unique()) > 5


@pytest.mark.against("transformers", "generation")
def test_prompts_of_unequal_length_are_transformers():
    net = small()
    prompt, padding = front([torch.randint(V, (length,)) for length in (5, 2, 4)])
    expected = theirs(net).generate(
        prompt, max_new_tokens=12, do_sample=False, pad_token_id=0, attention_mask=padding.long()
    )
    assert torch.equal(generate(net, prompt, 12, temperature=0, padding_BT=padding), expected)


@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    tokens=st.integers(0, 10),
    make=st.sampled_from([GPT, gpt2, gpt3]),
)
def test_what_is_written_is_what_the_whole_text_says(lengths: list[int], tokens: int, make: Any):
    net = small(make, **({"band": 3} if make is gpt3 else {}))
    texts = [torch.randint(V, (length,)) for length in lengths]
    prompt, padding = front(texts)
    written = generate(net, prompt, tokens, temperature=0, padding_BT=padding)
    assert written.shape == (len(lengths), max(lengths) + tokens)
    for row, there, text in zip(written, padding, texts, strict=True):
        for _ in range(tokens):  # without a cache, without neighbours
            with torch.no_grad():
                text = torch.cat([text, net(text[None])[0, -1].argmax()[None]])
        assert row.tolist() == [0] * int((~there).sum()) + text.tolist()


@pytest.mark.against("transformers", "generation")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    top_k=st.none() | st.integers(1, V + 5),
    top_p=st.none() | st.floats(0.01, 0.999) | st.just(1.0),  # near 1 the order of a sum decides
)
def test_what_is_drawn_from_is_transformers(seed: int, top_k: int | None, top_p: float | None):
    logits = torch.randn(3, V, generator=torch.Generator().manual_seed(seed)) * 3
    expected, empty = logits.clone(), torch.zeros(3, 0, dtype=torch.long)
    if top_k is not None:
        expected = transformers.TopKLogitsWarper(top_k)(empty, expected)
    if top_p is not None and top_p < 1:
        expected = transformers.TopPLogitsWarper(top_p)(empty, expected)
    assert torch.equal(likeliest(logits, top_k, top_p), expected)


def test_draws_have_the_probabilities_of_the_model():
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    generator = torch.Generator().manual_seed(0)
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 3)):
        drawn = draw(logits.expand(20_000, -1), temperature, top_k, generator=generator)
        share = drawn.bincount(minlength=4) / 20_000
        expected = (logits[0] / temperature).masked_fill(
            torch.tensor([False, False, top_k == 3, False]), -torch.inf
        )
        torch.testing.assert_close(share, expected.softmax(0), rtol=0, atol=0.015)


def test_coldest_is_likeliest():
    logits = torch.randn(50, V)
    assert torch.equal(draw(logits, 0.0), logits.argmax(1))
    assert torch.equal(draw(logits, 0.0, 5, 0.5), logits.argmax(1))
    assert torch.equal(draw(logits, 1.0, 1), logits.argmax(1))
    assert torch.equal(draw(logits, 1e-4), logits.argmax(1))
    assert torch.equal(draw(logits, 1.0, None, 1e-6), logits.argmax(1))


def test_chance_is_the_generators_alone():
    net, prompt = small(), torch.randint(V, (2, 3))

    def written(seed: int) -> Tensor:
        return generate(net, prompt, 15, generator=torch.Generator().manual_seed(seed))

    state = torch.random.get_rng_state()
    assert torch.equal(written(1), written(1)) and not torch.equal(written(1), written(2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_text_ends_with_its_stop_token():
    net, prompt = small(), torch.randint(V, (2, 3))
    free = generate(net, prompt, 12, temperature=0)[:, 3:]
    places = [(free == stop).int().argmax(1) + 1 for stop in range(V)]
    both = [stop for stop in range(V) if (free == stop).any(1).all()]
    one = [stop for stop in range(V) if (free == stop).any(1).sum() == 1]
    assert one, "no token is in one text alone"
    for stop in both + one:
        written = generate(net, prompt, 12, temperature=0, stop=stop)[:, 3:]
        there = (free == stop).any(1)
        ends = places[stop].where(there, torch.tensor(12))
        assert written.shape[1] == ends.max()
        for row, full, end in zip(written, free, ends.tolist(), strict=True):
            assert row[:end].tolist() == full[:end].tolist() and (row[end:] == stop).all()


def test_a_net_in_training_writes_as_it_would_be_judged_and_trains_on():
    net, prompt = small(dropout=0.5), torch.randint(V, (2, 3))
    expected = generate(net, prompt, 8, temperature=0)
    net.train()
    written = generate(net, prompt, 8, temperature=0)
    assert torch.equal(written, expected) and all(module.training for module in net.modules())
    net(written).sum().backward()  # what was written can be learned from


def test_all_positions_can_be_filled_and_one_token_more_follows():
    net = small()
    assert generate(net, torch.randint(V, (1, LENGTH)), 1).shape == (1, LENGTH + 1)
    with pytest.raises(ManyviewsError, match=f"{LENGTH + 1} tokens is longer than the {LENGTH} positions"):
        generate(net, torch.randint(V, (1, LENGTH)), 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt_BT": torch.zeros(1, 0, dtype=torch.long)}, r"shape \[1, 0\] has nothing to go on from"),
        ({"prompt_BT": torch.zeros(3, dtype=torch.long)}, r"shape \[3\] has nothing to go on from"),
        ({"tokens": -1}, "-1 tokens cannot be written"),
        ({"temperature": -0.1}, "temperature -0.1"),
        ({"top_k": 0}, "top_k 0"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.1}, "top_p 1.1"),
        ({"padding_BT": torch.ones(2, 4, dtype=torch.bool)}, r"padding_BT is torch.bool \[2, 4\]"),
        ({"padding_BT": torch.ones(2, 3)}, "padding_BT is torch.float32"),
        ({"padding_BT": torch.tensor([[True] * 3, [True, True, False]])}, "filled up at its end"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options: dict[str, Any], words: str):
    with pytest.raises(ManyviewsError, match=words):
        generate(small(), **{"prompt_BT": torch.ones(2, 3, dtype=torch.long), "tokens": 2, **options})


def test_the_temperature_divides_before_the_likeliest_are_chosen() -> None:
    logits = torch.tensor([[3.0, 2.0, 0.0, 0.0]])  # at 1 the first alone has 60%, at 4 the first two
    for temperature, kept in ((1.0, [0]), (4.0, [0, 1])):
        generator = torch.Generator().manual_seed(0)
        drawn = draw(logits.expand(500, -1), temperature, None, 0.6, generator)
        assert drawn.unique().tolist() == kept
