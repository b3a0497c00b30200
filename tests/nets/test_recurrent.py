"""RNN, GRU and LSTM against torch's own, their fused kernels against their equations, and the character models."""

import pytest
import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets import char, find, make, recurrent
from manyviews.nets.char import CharModel
from manyviews.nets.names import from_theirs, to_theirs
from manyviews.nets.recurrent import GRU, LSTM, RNN, Recurrent

PAIRS = {"rnn": (RNN, nn.RNN), "gru": (GRU, nn.GRU), "lstm": (LSTM, nn.LSTM)}
KINDS = {**{name: ours for name, (ours, _) in PAIRS.items()}, "gru/before": lambda *a, **k: GRU(*a, reset="before", **k)}  # fmt: skip
LENGTHS = torch.tensor([3, 7, 1])


def stir(net: nn.Module) -> nn.Module:
    """Biases away from zero, so that one in the wrong place shows."""
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -0.6, 0.6)
    return net


def twins(name: str, depth: int = 2) -> tuple[Recurrent, nn.Module]:
    ours, theirs = PAIRS[name][0](5, 4, depth), stir(PAIRS[name][1](5, 4, depth, batch_first=True))
    ours.load_state_dict(from_theirs(recurrent.NAMES["torch.nn"], theirs.state_dict(), ours.state_dict()))
    return ours, theirs


def states(name: str, depth: int = 2, batch: int = 3) -> tuple[Tensor, ...]:
    return tuple(torch.randn(depth, batch, 4) for _ in range(2 if name == "lstm" else 1))


def theirs_of(state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return state if len(state) == 2 else state[0]


def ours_of(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else state


def close(ours: object, theirs: object) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.against("torch.nn", "recurrent")
@pytest.mark.parametrize("way", ["forward", "scan"])
@pytest.mark.parametrize("name", PAIRS)
def test_torchs_weights_give_torchs_states(name: str, way: str):
    ours, theirs = twins(name)
    x, state = torch.randn(3, 7, 5), states(name)
    y, after = getattr(ours, way)(x, state)
    y_theirs, after_theirs = theirs(x, theirs_of(state))
    close(y, y_theirs)
    close(after, ours_of(after_theirs))
    close(getattr(ours, way)(x)[0], theirs(x)[0])  # from zeros


@pytest.mark.against("torch.nn", "recurrent")
@pytest.mark.parametrize("way", ["forward", "scan"])
@pytest.mark.parametrize("name", PAIRS)
def test_padding_is_torchs_packing(name: str, way: str):
    ours, theirs = twins(name)
    x, state = torch.randn(3, 7, 5), states(name)
    packed = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    y_theirs, after_theirs = theirs(packed, theirs_of(state))
    y_theirs, _ = nn.utils.rnn.pad_packed_sequence(y_theirs, batch_first=True, total_length=7)
    y, after = getattr(ours, way)(x, state, lengths_B=LENGTHS)
    close(y, y_theirs)
    close(after, ours_of(after_theirs))


@pytest.mark.against("torch.nn", "recurrent")
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_are_torchs(name: str):
    ours, theirs = twins(name)
    x = torch.randn(3, 7, 5)
    for net in (ours, theirs):
        net(x)[0].square().sum().backward()
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    mine = {key: parameter.grad for key, parameter in ours.named_parameters()}
    torch.testing.assert_close(
        from_theirs(recurrent.NAMES["torch.nn"], gradients, mine), mine, rtol=1e-5, atol=1e-5
    )


@pytest.mark.against("torch.nn", "recurrent")
@pytest.mark.parametrize("name", PAIRS)
def test_names_lead_there_and_back(name: str):
    ours, theirs = twins(name, depth=3)
    out = to_theirs(recurrent.NAMES["torch.nn"], ours.state_dict())
    assert out.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(out[key], tensor), key


def test_the_reset_gate_before_the_product_is_the_published_equation():
    """Eq. 5-8 of Cho et al., word for word, with U and W apart."""
    net = stir(GRU(5, 4, reset="before"))
    W_r, W_z, W = net.cells()[0].x.weight.chunk(3)
    U_r, U_z, U = net.cells()[0].h.weight.chunk(3)
    b_r, b_z, b = (net.cells()[0].x.bias + net.cells()[0].h.bias).chunk(3)
    x, h = torch.randn(3, 6, 5), torch.zeros(3, 4)
    y, _ = net(x)
    for t in range(6):
        r = torch.sigmoid(x[:, t] @ W_r.T + h @ U_r.T + b_r)
        z = torch.sigmoid(x[:, t] @ W_z.T + h @ U_z.T + b_z)
        candidate = torch.tanh(x[:, t] @ W.T + (r * h) @ U.T + b)
        h = z * h + (1 - z) * candidate
        close(y[:, t], h)
    other = GRU(5, 4)
    other.load_state_dict(net.state_dict())
    assert not torch.allclose(other(x)[0], y, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_may_be_read_in_parts_or_token_by_token(kind: str):
    net, x = stir(KINDS[kind](5, 4, 2)), torch.randn(3, 7, 5)
    whole, end = net(x)
    first, state = net(x[:, :4])
    second, in_parts = net(x[:, 4:], state)
    close(torch.cat([first, second], dim=1), whole)
    close(in_parts, end)
    state, steps = None, []
    for x_BD in x.unbind(1):
        y_BH, state = net.step(x_BD, state)
        steps.append(y_BH)
    close(torch.stack(steps, dim=1), whole)
    close(state, end)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str):
    net, x = stir(KINDS[kind](5, 4, 2)), torch.randn(3, 7, 5, requires_grad=True)
    y, after = net(x, lengths_B=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, end = net(x[row : row + 1, :length])
        close(y[row, :length], alone[0])
        assert not y[row, length:].any()
        close(tuple(part[:, row] for part in after), tuple(part[:, 0] for part in end))
    y.sum().backward()
    for row, length in enumerate(LENGTHS.tolist()):
        assert x.grad is not None and not x.grad[row, length:].any() and x.grad[row, :length].all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_detached_state_cuts_the_gradient(kind: str):
    net, x = stir(KINDS[kind](5, 4)), torch.randn(2, 6, 5, requires_grad=True)
    _, state = net(x[:, :3])
    y, _ = net(x[:, 3:], tuple(part.detach() for part in state))
    y.sum().backward()
    assert x.grad is not None and not x.grad[:, :3].any() and x.grad[:, 3:].all()


@pytest.mark.parametrize("way", ["forward", "scan"])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_lies_between_the_layers_alone(kind: str, way: str):
    x = torch.randn(2, 6, 5)
    one, two = KINDS[kind](5, 4, 1, dropout=0.5), KINDS[kind](5, 4, 2, dropout=1.0)
    close(getattr(one, way)(x)[0], one.eval()(x)[0])
    first = two.cells()[0]
    lower = type(two)(5, 4, 1) if not kind.endswith("before") else GRU(5, 4, reset="before")
    lower.cells()[0].load_state_dict(first.state_dict())
    y, state = getattr(two, way)(x)
    close(state[0][0], lower(x)[1][0][0])  # the first layer's own state is whole
    dry, _ = getattr(two, way)(torch.zeros_like(x))
    close(y, dry)  # the second layer sees nothing of x
    assert not torch.allclose(two.eval()(x)[0], dry)


def test_the_forget_gate_starts_where_it_is_told():
    net = LSTM(5, 4, 2, forget_bias=1.0)
    for cell in net.cells():
        bias = cell.x.bias + cell.h.bias
        assert bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8  # i f g o
    _, c = net.step(torch.zeros(1, 5), (torch.zeros(2, 1, 4), torch.ones(2, 1, 4)))[1]
    close(c[0], torch.ones(1, 4).sigmoid())


def test_weights_start_with_the_variance_of_their_fan_in():
    net = LSTM(400, 100)
    assert net.cells()[0].x.weight.std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert net.cells()[0].h.weight.std().item() == pytest.approx(100**-0.5, rel=0.02)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (lambda net: net(torch.zeros(2, 3, 4)), "reads"),
        (lambda net: net(torch.zeros(2, 0, 5)), "one token"),
        (lambda net: net(torch.zeros(2, 5)), "reads"),
        (lambda net: net(torch.zeros(2, 3, 5), (torch.zeros(1, 2, 4),)), "The state"),
        (lambda net: net(torch.zeros(2, 3, 5), (torch.zeros(1, 2, 4), torch.zeros(1, 1, 4))), "The state"),
        (lambda net: net(torch.zeros(2, 3, 5), lengths_B=torch.tensor([3, 4])), "from 1 to 3"),
        (lambda net: net(torch.zeros(2, 3, 5), lengths_B=torch.tensor([0, 3])), "from 1 to 3"),
        (lambda net: net.scan(torch.zeros(2, 3, 5), lengths_B=torch.tensor([3])), "2 whole numbers"),
    ],
)
def test_what_does_not_fit_is_said(what, sentence: str):
    with pytest.raises(ManyviewsError, match=sentence):
        what(LSTM(5, 4))


# --- character models ---------------------------------------------------------


@pytest.mark.parametrize("name", ["char_rnn", "char_gru", "char_lstm", "char_gru/before", "char_lstm/3x512"])
def test_character_models_come_by_name(name: str):
    assert find(name).net.sees == "tokens"
    with torch.device("meta"):
        net = make(name)
        assert net(torch.zeros(2, 50, dtype=torch.long)).shape == (2, 50, 65)
    cell = net.recurrent.cells()[0]
    V, H, L = 65, cell.width, len(net.recurrent.layers)
    count = sum(cell.gates * H * ((H if number else V) + H + 2) for number in range(L)) + (H + 1) * V
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.against("torch.nn", "char")
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("embedding", [None, 6])
def test_a_character_model_is_torchs_parts(name: str, embedding: int | None):
    ours = make(f"char_{name}", vocabulary=9, width=4, depth=2, embedding=embedding)
    theirs = nn.ModuleDict(
        {"recurrent": PAIRS[name][1](embedding or 9, 4, 2, batch_first=True), "out": nn.Linear(4, 9)}
    )
    if embedding:
        theirs["tokens"] = nn.Embedding(9, embedding)
    ours.load_state_dict(from_theirs(char.NAMES["torch.nn"], stir(theirs).state_dict(), ours.state_dict()))
    tokens = torch.randint(9, (3, 7))
    x = theirs["tokens"](tokens) if embedding else torch.eye(9)[tokens]
    close(ours(tokens), theirs["out"](theirs["recurrent"](x)[0]))


def test_the_lstm_of_the_character_model_starts_with_an_open_forget_gate():
    cell = make("char_lstm").recurrent.cells()[0]
    assert (cell.x.bias.chunk(4)[1] == 1).all()


def successor() -> CharModel:
    """A model that has learnt to count: each of five tokens is followed by the next."""
    net = make("char_gru", vocabulary=5, width=16, depth=1)
    optimiser = torch.optim.Adam(net.parameters(), 0.03)
    tokens = torch.arange(21).remainder(5)[None] + torch.arange(5)[:, None]
    tokens = tokens.remainder(5)
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


def test_samples_carry_on_what_was_learnt():
    net = successor()
    greedy = net.sample(torch.tensor([[1, 2, 3], [4, 0, 1]]), 6, temperature=0)
    assert greedy.tolist() == [[4, 0, 1, 2, 3, 4], [2, 3, 4, 0, 1, 2]]
    prompt, generator = torch.tensor([[0]] * 200), torch.Generator()
    hot = net.sample(prompt, 1, temperature=100.0, generator=generator.manual_seed(1))
    cold = net.sample(prompt, 1, temperature=0.5, generator=generator.manual_seed(1))
    assert (cold == 1).float().mean() > 0.95
    assert hot.unique().numel() == 5
    again = net.sample(prompt, 1, temperature=100.0, generator=generator.manual_seed(1))
    assert torch.equal(hot, again)
    assert net.sample(prompt, 0).shape == (200, 0)


def test_a_negative_temperature_is_refused():
    with pytest.raises(ManyviewsError, match="temperature"):
        make("char_rnn", vocabulary=5, width=4).sample(torch.zeros(1, 1, dtype=torch.long), 1, temperature=-1)


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_around_a_recurrent_net_is_full_within(name: str) -> None:
    net, x_BTD = KINDS[name](5, 6), torch.randn(2, 4, 5)
    expected, _ = net(x_BTD)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = net(x_BTD)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
