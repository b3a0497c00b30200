"""What every encoder is: images in, one embedding (and one feature map) each out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError


@dataclass(frozen=True)
class Built:
    """The arguments of `nets.build` that make an encoder again."""

    name: str
    in_channels: int
    size: int


class Encoder(nn.Module):
    """A network that methods train and evaluators judge.

    Whoever extends it calls `super().__init__(width, in_channels)` and writes `grid`; the embedding is the
    grid's mean unless `forward` says otherwise (a class token, say).
    """

    def __init__(self, width: int, in_channels: int = 3):
        super().__init__()
        self.width = width  # D, the length of an embedding
        self.in_channels = in_channels  # C of the images that go in
        self.built: Built | None = None  # set by `nets.build`
        self.started = False  # it has the weights of another: methods that draw their own leave it alone

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Embeddings `[B, width]` of normalised images `[B, in_channels, H, W]`."""
        return self.grid(x_BCHW).mean(dim=(2, 3))

    def grid(self, x_BCHW: Tensor) -> Tensor:
        """The feature map `[B, C, h, w]` before pooling; C is `width` wherever `forward` is its mean."""
        raise NotImplementedError(f"{type(self).__name__} has no grid")


@runtime_checkable
class Layered(Protocol):
    """An encoder that says what it knows at every depth."""

    def by_layer(self, x_BCHW: Tensor) -> Tensor:
        """An embedding a layer, from the image up: `[L, B, D]`."""
        ...


@runtime_checkable
class Midway(Layered, Protocol):
    """One whose embedding may be what it knows on the way."""

    def embed_at(self, layer: int | None) -> None:
        """From now on the embedding is this row of `by_layer`; None: the last."""
        ...


@runtime_checkable
class Generative(Protocol):
    """An encoder that can be learned from images alone, and goes on with that while it is fine-tuned."""

    def with_loss(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """What its last layer embeds, `[B, D]`, and its own loss on the same images, a scalar."""
        ...


@runtime_checkable
class Resizable(Protocol):
    """An encoder that is made for images of one size, and can be made to fit another."""

    def resized(self, size: int) -> Encoder:
        """This net for images of `size` pixels a side."""
        ...

    def size_of(self, weights: Mapping[str, Tensor]) -> int | None:
        """Side in pixels of the images that some weights of this net are made for; None where they do not say."""
        ...


def compile_encoders(module: nn.Module) -> None:
    """Have torch compile every encoder inside, those of twins and those that an encoder is made of too, in place.

    Whole, as feature maps and, of those that read patches, from some of them, of those that read texts, token by token and
    as what answers: a method may ask for any.
    """
    for encoder in module.modules():
        if isinstance(encoder, Encoder):
            encoder.compile()
            encoder.grid = torch.compile(encoder.grid)
            inner = getattr(encoder, "net", None)
            for part, name in ((encoder, "encode"), (inner, "hidden"), (inner, "answer")):
                if callable(asked := getattr(part, name, None)):
                    setattr(part, name, torch.compile(asked))


def start_from(encoder: Encoder, other: Encoder) -> None:
    """Give `encoder` the weights of `other`, in place.

    Nets with the same tensors share all of them. An encoder that can begin as a different one says so by a method
    `warm_start_from(other)` (a deep net from a shallow one, a ViT from one of other images). Raises
    `ManyviewsError` where neither is possible.
    """
    encoder.started = True
    if shapes(encoder) == shapes(other):
        encoder.load_state_dict(other.state_dict())
        return
    warm_start = getattr(encoder, "warm_start_from", None)
    if warm_start is None:
        raise cannot_start(encoder, other)
    warm_start(other)


def hold_unread(net: nn.Module, output: Tensor) -> None:
    """Parameters that `output` does not depend on stop asking for gradients: they get none, for which several devices would wait."""
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(output.sum(), learned, allow_unused=True)
    for parameter, gradient in zip(learned, found, strict=True):
        parameter.requires_grad_(gradient is not None)


def shapes(encoder: nn.Module) -> dict[str, torch.Size]:
    """Of every tensor of its weights and statistics, by name."""
    return {name: tensor.shape for name, tensor in encoder.state_dict().items()}


def cannot_start(encoder: Encoder, other: Encoder) -> ManyviewsError:
    """The sentence for an encoder whose tensors are not those of `other`."""
    differ = {name for name, _ in shapes(encoder).items() ^ shapes(other).items()}
    return ManyviewsError(
        f"{called(encoder)} cannot start from {called(other)}: {len(differ)} tensors differ in name or shape, "
        f"such as {min(differ)}; start from a run of the same net, channels and size."
    )


def called(encoder: Encoder) -> str:
    return f'"{encoder.built.name}"' if encoder.built else type(encoder).__name__


def describe(encoder: Encoder, size: int) -> dict[str, int]:
    """How large an encoder is, and what one image of `size` pixels a side costs it.

    Gives `parameters`, `width`, `multiply_adds` (what the ResNet paper's table 1 calls FLOPs) and `flops`
    (twice that), both counted by torch over convolutions, matrix products and attention.
    """
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.zeros(1, encoder.in_channels, size, size, device=next(encoder.parameters()).device)
    twin = copy.deepcopy(encoder).requires_grad_(
        False
    )  # torch's counter trips over parameters that want gradients
    counter = FlopCounterMode(display=False)
    with judging(twin), counter:
        twin(image)
    return {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "width": encoder.width,
        "multiply_adds": counter.get_total_flops() // 2,
        "flops": counter.get_total_flops(),
    }


@contextmanager
def judging(net: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients for a while; every submodule's mode is put back afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
