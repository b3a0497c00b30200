"""Counts of all networks, against their papers and against the libraries that have the same."""

import dataclasses
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from manyviews.errors import ManyviewsError
from manyviews.nets import catalogue, counting, net
from manyviews.nets.counting import kept, network, networks

ALL = cache(networks)  # not before a test asks: collecting tests is quick


def test_all_of_them_are_there():
    assert list(ALL()) == list(catalogue())


@pytest.mark.parametrize("name", catalogue())
def test_counts_are_about_what_the_paper_says(name: str):
    found = ALL()[name]
    assert found.problem is None and found.part
    if found.paper_parameters:
        assert found.parameters == pytest.approx(found.paper_parameters, rel=0.06)
    if found.paper_multiply_adds:
        # Striding in the 3x3 convolution, as torchvision does, adds up to 8% to a bottleneck net.
        assert found.multiply_adds == pytest.approx(found.paper_multiply_adds, rel=0.08)


@pytest.mark.against("torchvision", "resnet", "vgg", "vit")
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg_d", "vit_b16"])
def test_counts_are_torchvisions(name: str):
    from torchvision import models

    with torch.device("meta"):
        theirs = models.get_model(ALL()[name].known_as["torchvision"]).requires_grad_(False).eval()
        with FlopCounterMode(display=False) as counter:
            theirs(torch.zeros(1, 3, 224, 224))
    assert ALL()[name].parameters == sum(p.numel() for p in theirs.parameters())
    assert ALL()[name].multiply_adds == counter.get_total_flops() // 2


def test_parts_and_classifier_add_up():
    found = ALL()["resnet50"]
    assert found.part and found.head and found.head.parameters == 2048 * 1000 + 1000
    assert found.parameters == found.part.parameters + found.head.parameters
    assert found.multiply_adds == found.part.multiply_adds + found.head.multiply_adds
    assert network("gpt2").head is None


def test_the_papers_figures_are_not_those_of_a_variant():
    plain = network("resnet50/plain")
    assert plain.paper_parameters is None and plain.paper_multiply_adds is None and not plain.variants
    assert plain.parameters and plain.parameters < (ALL()["resnet50"].parameters or 0)
    assert not plain.known_as and network("vgg_d/bn").known_as == {"torchvision": "vgg16_bn"}


def test_a_net_that_needs_numbers_is_counted_with_the_same_ones_each_time():
    before = torch.get_rng_state()
    assert network("ode_net") == network("ode_net")
    assert torch.equal(torch.get_rng_state(), before)


def stand_in(monkeypatch: pytest.MonkeyPatch, make) -> None:
    """A net called "resnet18" that is made by `make`."""
    one, file = catalogue()["resnet18"]
    known = {"resnet18": (dataclasses.replace(one, make=make), file)}
    for module in (net, counting):
        monkeypatch.setattr(module, "catalogue", lambda: known)


def test_a_net_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch):
    def make(**options):
        raise ManyviewsError("It needs a library that is not there.")

    stand_in(monkeypatch, make)
    found = networks()["resnet18"]
    assert found.problem == "It needs a library that is not there."
    assert found.parameters is None and found.multiply_adds is None and found.part is None


def test_a_large_net_that_needs_numbers_is_not_tried(monkeypatch: pytest.MonkeyPatch):
    class Large(nn.Linear):
        def forward(self, x):
            return self.weight * x.sum().item()

    stand_in(monkeypatch, lambda **options: Large(4, 4))
    monkeypatch.setattr(counting, "LARGEST", 10)
    assert "too many of them to try: 20" in (networks()["resnet18"].problem or "")


def test_a_mistake_in_a_net_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    class Wrong(nn.Module):
        def forward(self, x):
            raise RuntimeError("a mistake")

    stand_in(monkeypatch, lambda **options: Wrong())
    with pytest.raises(RuntimeError, match="a mistake"):
        networks()


def test_an_unknown_net_is_refused():
    with pytest.raises(ManyviewsError, match="did you mean resnet50"):
        network("resnet5o")


class LetsGo(nn.Module):
    """Makes something that nothing depends on."""

    def forward(self, x: Tensor) -> Tensor:
        x.exp()
        return x.sin()


def test_what_a_forward_pass_keeps_counts_once_and_without_the_parameters():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert kept(LetsGo(), torch.randn(7, requires_grad=True)) == 4 * 7
    assert kept(net, torch.randn(5, 3)) == 4 * 5 * (3 + 4)  # the input, and what ReLU gives to the next layer
    with torch.no_grad():
        assert kept(net, torch.randn(5, 3)) == 0
