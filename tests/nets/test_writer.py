"""What follows a prompt: as the net expects it, as far as a text goes, joined to the prompt as words are."""

import pytest
import torch
from torch import nn

from manyviews.data.tokeniser import Tokeniser
from manyviews.errors import ManyviewsError
from manyviews.nets import build, make
from manyviews.nets.char import CharModel
from manyviews.nets.gpt import GPT
from manyviews.nets.reader import Reader
from manyviews.nets.writer import Writer, require_writer, samples, write

LENGTH = 10
WORDS = Tokeniser.train("chars", ["abcdefgh"], 20)


def gpt(words: Tokeniser = WORDS) -> GPT:
    torch.manual_seed(0)
    net = make("small_gpt", vocabulary=len(words), width=16, depth=2, heads=2, length=LENGTH)
    assert isinstance(net, GPT)
    nn.init.normal_(net.tokens.weight)
    return net


def char(words: Tokeniser = WORDS) -> CharModel:
    torch.manual_seed(0)
    net = make("char_lstm", vocabulary=len(words), width=16, depth=1)
    assert isinstance(net, CharModel)
    nn.init.normal_(net.out.weight)
    return net


@pytest.mark.parametrize("net", [gpt(), char()])
def test_at_temperature_0_the_likeliest_token_follows_until_the_text_ends(net: Writer) -> None:
    assert WORDS.start is not None
    ids = [WORDS.start, *WORDS.encode(["abc"])[0]]
    net.eval()
    for _ in range(6):
        token = int(net(torch.tensor([ids]))[0, -1].argmax())
        if token == WORDS.end:
            break
        ids.append(token)
    expected = WORDS.decode(ids[4:])
    assert write(net, WORDS, "abc", 6, temperature=0) == expected


@pytest.mark.parametrize("net", [gpt(), char()])
def test_a_text_ends_at_its_end_token(net: Writer) -> None:
    """A net that expects `a` after all but `a`, and after `a` the end."""
    (a,), end = WORDS.encode(["a"])[0], WORDS.end
    assert end is not None
    V = len(WORDS)
    follows_VV = torch.full((V, V), -9.0)
    follows_VV[:, a], follows_VV[a, a], follows_VV[a, end] = 9.0, -9.0, 9.0

    class Fixed(GPT if isinstance(net, GPT) else CharModel):  # pyright: ignore[reportGeneralTypeIssues]
        def words(self, x):
            return x

        def states(self, tokens_BT, padding_BS=None, cache=None):
            if cache is not None:
                cache.length += tokens_BT.shape[1]
            return follows_VV[tokens_BT]

        def read(self, tokens_BT, state=None, *, lengths_B=None):
            return follows_VV[tokens_BT], ()

    net.__class__ = Fixed
    assert write(net, WORDS, "b", 6, temperature=0) == "a"
    assert write(net, WORDS, "", 6, temperature=0) == "a"


@pytest.mark.parametrize("net", [gpt(), char()])
def test_what_is_drawn_is_a_function_of_the_generator_alone_and_dropout_rests(net: Writer) -> None:
    net.train()
    drawn = [
        write(net, WORDS, "ab", 8, temperature=9.0, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert net.training


def test_a_prompt_may_fill_the_context_and_no_more() -> None:
    net = gpt()
    assert (
        len(write(net, WORDS, "a" * (LENGTH - 1), 5, temperature=0)) <= 1
    )  # with its start it has ten tokens
    with pytest.raises(ManyviewsError, match="prompt has 11 tokens and the net reads 10: give a shorter"):
        write(net, WORDS, "a" * LENGTH, 5)
    assert len(samples(net, WORDS, LENGTH)) == 3


def test_a_recurrent_net_reads_any_prompt_but_draws_from_all() -> None:
    assert isinstance(write(char(), WORDS, "ab" * 40, 4), str)
    with pytest.raises(ManyviewsError, match="leave out top_k and top_p"):
        write(char(), WORDS, "a", 4, top_k=3)


@pytest.mark.parametrize("net", [gpt(), char()])
@pytest.mark.parametrize("temperature", [-1.0, float("nan")])
def test_a_temperature_that_cannot_be_is_refused(net: Writer, temperature: float) -> None:
    with pytest.raises(ManyviewsError, match="temperature"):
        write(net, WORDS, "a", 4, temperature=temperature)


def test_words_that_follow_are_parted_from_the_prompt_and_pieces_are_not() -> None:
    """The wordpiece decoder puts no space before the first word of what it is given."""
    words = Tokeniser.train("wordpiece", ["the cat sat the cats sat"] * 9, 60)
    net, told = gpt(words), iter([*words.encode(["sat"])[0], words.end])

    class Told(GPT):
        def words(self, x):
            logits = torch.zeros(1, len(words))
            logits[0, next(told)] = 9.0
            return logits

    net.__class__ = Told
    assert write(net, words, "the cat", 5, temperature=0) == " sat"


def test_only_a_net_that_looks_back_alone_writes() -> None:
    assert isinstance(require_writer(build("small_gpt", in_channels=9, size=8)), GPT)
    assert isinstance(require_writer(build("char_gru", in_channels=9, size=8)), CharModel)
    for encoder in (build("bert_tiny", in_channels=9, size=8), build("cifar_resnet8")):
        assert encoder.built is not None
        with pytest.raises(ManyviewsError, match=f"{encoder.built.name} does not look back alone"):
            require_writer(encoder)
    with pytest.raises(ManyviewsError, match="Reader does not look back alone"):
        require_writer(Reader(make("bert_tiny", vocabulary=9, length=8), 9))


def test_only_the_likeliest_tokens_are_drawn_where_that_is_asked() -> None:
    net = gpt()
    for prompt in ("abc", "h", "ga"):
        likeliest = write(net, WORDS, prompt, 6, temperature=0)
        assert write(net, WORDS, prompt, 6, temperature=5.0, top_p=1e-6) == likeliest
        assert write(net, WORDS, prompt, 6, temperature=5.0, top_k=1) == likeliest
