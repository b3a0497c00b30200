"""The language of the tables: each sign, there and back, and what is said where something does not fit."""

from collections.abc import Mapping
from inspect import signature

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from manyviews.errors import ManyviewsError
from manyviews.nets import catalogue, find, make
from manyviews.nets.names import Names, from_theirs, refuse, rows, to_theirs

State = Mapping[str, Tensor]


def numbered(*shapes: tuple[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of these names and shapes, no two numbers in them alike."""
    state, start = {}, 0
    for name, shape in shapes:
        count = int(torch.Size(shape).numel())
        state[name] = torch.arange(start, start + count, dtype=torch.float64).view(shape)
        start += count
    return state


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


LINEAR = (("a.weight", (4, 6)), ("a.bias", (4,)))


@pytest.mark.parametrize(
    ("table", "own", "theirs"),
    [
        ({"a.*": "b.*"}, LINEAR, {"b.weight": (4, 6), "b.bias": (4,)}),
        ({"a.*": "*_x"}, LINEAR, {"weight_x": (4, 6), "bias_x": (4,)}),
        ({"a.*": "b.*^T"}, LINEAR, {"b.weight": (6, 4), "b.bias": (4,)}),
        ({"a.weight": "w", "a.bias": "c[0]"}, LINEAR, {"w": (4, 6), "c": (1, 4)}),
        ({"a.weight": "w", "a.bias": "c[0][0]"}, LINEAR, {"w": (4, 6), "c": (1, 1, 4)}),
        ({"**": "**"}, LINEAR, {"a.weight": (4, 6), "a.bias": (4,)}),
        ({"a.**": "in.**"}, LINEAR, {"in.weight": (4, 6), "in.bias": (4,)}),
        ({"{}.q": "h{}.q"}, (("0.q", (2,)), ("11.q", (2,))), {"h0.q": (2,), "h11.q": (2,)}),
        ({"{}.{}.q": "h.{}.{}"}, (("0.1.q", (2,)), ("1.0.q", (2,))), {"h.0.1": (2,), "h.1.0": (2,)}),
        ({"a.*": "p.* + q.*"}, LINEAR, dict.fromkeys(("p.weight", "q.weight"), (2, 6)) | dict.fromkeys(("p.bias", "q.bias"), (2,))),
        ({"p + q": "whole"}, (("p", (1, 3)), ("q", (4, 3))), {"whole": (5, 3)}),
    ],
)  # fmt: skip
def test_each_sign_leads_there_and_back(table, own, theirs):
    own = numbered(*own)
    there = to_theirs(Names(table), own)
    assert {name: tuple(tensor.shape) for name, tensor in there.items()} == theirs
    assert same(from_theirs(Names(table), there, own), own)


def test_what_is_done_to_theirs_is_what_the_signs_say():
    own = numbered(("h.3.a.weight", (4, 6)), ("h.3.a.bias", (4,)), ("p.weight", (1, 3)), ("q.weight", (2, 3)))
    table = {"h.{}.a.*": "{}.x.* + {}.y.*", "p.* + q.*": "both.*^T"}
    there = to_theirs(Names(table), own)
    assert torch.equal(there["3.x.weight"], own["h.3.a.weight"][:2])
    assert torch.equal(there["3.y.bias"], own["h.3.a.bias"][2:])
    assert torch.equal(there["both.weight"].T, torch.cat([own["p.weight"], own["q.weight"]]))


word = st.text("abcxyz", min_size=1, max_size=4)


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, Tensor]]:
    """A table of random rows, and a state that it covers."""
    table: dict[str, str] = {}
    shapes: list[tuple[str, tuple[int, ...]]] = []
    for row in range(draw(st.integers(1, 4))):
        ours, theirs = f"{draw(word)}{row}", f"{draw(word)}{row}"
        numbers = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True))
        many, kinds = draw(st.booleans()), draw(st.sampled_from([(), ("weight",), ("weight", "bias")]))
        parts = draw(st.integers(1, 3))
        front = draw(st.integers(0, 2))
        transposed = draw(st.booleans())
        end = (".{}" if many else "") + (".*" if kinds else "")
        sign = "^T" * transposed
        lead = "[0]" * (0 if transposed else front)
        if parts > 1 and draw(st.booleans()):  # several of ours are one of theirs
            table[" + ".join(f"{ours}{p}{end}" for p in range(parts))] = f"{theirs}{end}{lead}{sign}"
            heads = [f"{ours}{p}" for p in range(parts)]
            rows_of = 1
        else:
            table[f"{ours}{end}"] = " + ".join(f"{theirs}{p}{end}{lead}{sign}" for p in range(parts))
            heads, rows_of = [ours], parts
        for head in heads:
            length = rows_of * draw(st.integers(1, 3))
            width = 3
            for number in numbers if many else [None]:
                for kind in kinds or [None]:
                    name = ".".join(str(part) for part in (head, number, kind) if part is not None)
                    shapes.append((name, (length,) if kind == "bias" else (length, width)))
    return table, numbered(*shapes)


@given(tables())
def test_any_table_leads_there_and_back(made: tuple[dict[str, str], dict[str, Tensor]]):
    table, own = made
    there = to_theirs(Names(table), own)
    assert sum(tensor.numel() for tensor in there.values()) == sum(t.numel() for t in own.values())
    assert same(from_theirs(Names(table), there, own), own)
    there["surplus"] = torch.zeros(1)
    with pytest.raises(ManyviewsError, match=r"1 surplus: surplus$"):
        from_theirs(Names(table), there, own)
    assert same(from_theirs(Names(table, ignore=("sur",)), there, own), own)


@given(tables(), st.data())
def test_any_tensor_that_is_missing_is_named(made, data: st.DataObject):
    table, own = made
    there = to_theirs(Names(table), own)
    gone = data.draw(st.sampled_from(sorted(there)))
    del there[gone]
    with pytest.raises(ManyviewsError) as error:
        from_theirs(Names(table), there, own)
    assert str(error.value) == f"These weights are of another net. 1 missing: {gone}"


def test_missing_surplus_and_misshapen_are_listed_together():
    own = numbered(*LINEAR, ("b.weight", (2,)))
    theirs = numbered(("x.weight", (4, 5)), ("x.bias", (4,)), ("other", (3,)), ("another", (3,)))
    with pytest.raises(ManyviewsError) as error:
        from_theirs(Names({"a.*": "x.*", "b.weight": "y"}), theirs, own)
    assert str(error.value) == (
        "These weights are of another net. 1 missing: y; 2 surplus: other, another; "
        "1 misshapen: a.weight [4, 5], not [4, 6]"
    )
    assert refuse([], [], own, own) is None


@pytest.mark.parametrize(
    ("table", "own", "words"),
    [
        ({"a.weight": "b"}, LINEAR, "No row of the table speaks of a.bias"),
        ({"a.weight": "b", "a.bias + a.weight": "d"}, LINEAR, "^a.weight: no such tensor, or in two rows"),
        ({"a.weight + b.weight": "c", "a.bias": "d"}, LINEAR, "^b.weight: no such tensor"),
        ({"a.weight": "b", "a.bias": "b"}, LINEAR, "Two rows of the table lead to b"),
        ({"a.weight": "b.{}", "a.bias": "c"}, LINEAR, "asks for more than the other side"),
        ({"{}.w": "{}.{}"}, (("3.w", (2,)),), "asks for more than the other side"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_table_is_a_programmers(table, own, words):
    with pytest.raises(ValueError, match=words) as error:
        list(rows(table, numbered(*own)))
    assert not isinstance(error.value, ManyviewsError)


def test_a_point_in_a_name_is_a_point():
    with pytest.raises(ValueError, match="speaks of axb"):
        list(rows({"a.b": "c"}, ["axb"]))


def test_other_names_are_those_of_the_table():
    also = {"m.{}.*": "f.{}.x.*", "**.gamma": "**.weight"}
    own = numbered(("a.0.weight", (2, 2)), ("a.0.bias", (2,)), ("n.weight", (1,)))
    names = Names({"a.{}.*": "f.{}.x.*", "n.weight": "n.weight"}, also=also)
    there = to_theirs(names, own)
    assert there.keys() == {"f.0.x.weight", "f.0.x.bias", "n.weight"}
    held = {name.replace("f.0.x", "m.0"): tensor for name, tensor in there.items()}
    assert same(from_theirs(names, held, own), own) and same(from_theirs(names, there, own), own)
    held["n.gamma"] = held.pop("n.weight")
    assert same(from_theirs(names, held, own), own)
    with pytest.raises(ManyviewsError, match=r"1 surplus: n\.gamma$"):  # its name is taken
        from_theirs(names, held | {"n.weight": held["n.gamma"]}, own)


@pytest.mark.parametrize("inside", [True, False])
def test_the_name_of_a_model_may_stand_before_all_others_or_not(inside: bool):
    own = numbered(*LINEAR)
    names = Names({"a.*": "net.b.*" if inside else "b.*"}, ignore=("head.", "b.{}.mask"), base="net.")
    bare = {"b.weight": own["a.weight"], "b.bias": own["a.bias"]}
    whole = {f"net.{name}": tensor for name, tensor in bare.items()}
    more = {"head.weight": torch.zeros(1), "b.3.mask": torch.zeros(1)}
    for theirs in (bare, whole, bare | more, whole | more, whole | {"net.b.3.mask": torch.zeros(1)}):
        assert same(from_theirs(names, theirs, own), own)
    with pytest.raises(ManyviewsError, match=r"net\. 1 missing: .*; 2 surplus: net\.c, b\.x\.mask$"):
        from_theirs(
            names, {"net.b.bias": own["a.bias"], "net.c": own["a.bias"], "b.x.mask": own["a.bias"]}, own
        )


def test_what_may_be_missing_stays_as_it_is_and_a_part_of_it_may_not():
    own = numbered(*LINEAR, ("b.weight", (2,)))
    names = Names({"a.*": "x.*", "b.weight": "y"}, optional=("x.",))
    there = to_theirs(names, own)
    given = {"y": there["y"] + 1}
    found = from_theirs(names, given, own)
    assert torch.equal(found["b.weight"], own["b.weight"] + 1)
    assert torch.equal(found["a.weight"], own["a.weight"])
    with pytest.raises(ManyviewsError, match=r"1 missing: x\.bias$"):
        from_theirs(names, given | {"x.weight": there["x.weight"]}, own)


def with_tables() -> list[tuple[str, str]]:
    """Every net that another library has, with every variant that it has there, and the libraries whose table it needs."""
    found: list[tuple[str, str]] = []
    for name, (net, file) in catalogue().items():
        libraries = {known.partition("/")[0] for known in net.known_as}
        for library in getattr(file, "NAMES", {}):
            if library in libraries:
                variants = [
                    known.partition("/")[2] for known in net.known_as if known.split("/")[0] == library
                ]
                found += [("/".join(filter(None, [name, variant])), library) for variant in variants]
            elif not any(
                library in known
                for other, of in catalogue().values()
                if of is file
                for known in other.known_as
            ):
                found.append((name, library))  # one that has no names for whole nets, such as torch
    return found


def test_every_net_that_says_who_has_it_also_says_how_its_tensors_are_called_there():
    for name, (net, file) in catalogue().items():
        for known in net.known_as:
            assert known.partition("/")[0] in file.NAMES, name


@pytest.mark.parametrize(("name", "library"), with_tables())
def test_every_tensor_of_every_net_goes_there_and_back(name: str, library: str):
    net, file, _ = find(name)
    with torch.device("meta"):
        of_images = {"in_channels": 3, "size": net.size} if net.sees == "images" else {}
        own = make(name, **of_images).state_dict()
    names: Names = file.NAMES[library]
    there = to_theirs(names, own)
    assert sum(tensor.numel() for tensor in there.values()) == sum(t.numel() for t in own.values())
    back = from_theirs(names, there, own)
    assert {key: t.shape for key, t in back.items()} == {key: t.shape for key, t in own.items()}


THIN = {"width": 8, "depth": 2, "heads": 2}  # for nets whose maker takes these


@pytest.mark.parametrize(
    ("name", "library"),
    [pair for pair in with_tables() if THIN.keys() <= signature(find(pair[0]).net.make).parameters.keys()],
)
def test_every_number_of_a_thin_twin_comes_back(name: str, library: str):
    net, file, _ = find(name)
    options = {"in_channels": 1, "size": net.size} if net.sees == "images" else {"vocabulary": 11}
    own = {key: torch.randn(t.shape) for key, t in make(name, **options, **THIN).state_dict().items()}
    names: Names = file.NAMES[library]
    assert same(from_theirs(names, to_theirs(names, own), own), own)
