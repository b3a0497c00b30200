"""What to learn with: networks by name, a paper a file, and the heads on top of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from manyviews.errors import ManyviewsError
from manyviews.nets import around, hub
from manyviews.nets.encoder import Built, Encoder, describe, start_from
from manyviews.nets.heads import mlp
from manyviews.nets.net import Made, Net, catalogue, find
from manyviews.nets.norms import split_batch_norm
from manyviews.nets.reader import Reader
from manyviews.nets.resnet import ResNet, cifar_resnet, resnet, small_resnet

__all__ = [
    "Encoder",
    "Net",
    "ResNet",
    "build",
    "catalogue",
    "cifar_resnet",
    "describe",
    "find",
    "make",
    "mlp",
    "names",
    "net_factory",
    "resnet",
    "sees",
    "small_resnet",
    "split_batch_norm",
]

KINDS = {"tokens": "texts", "two sequences": "texts"}  # what `Net.sees` says -> what data is called
HUB = ("timm", "torchvision")  # libraries whose models are nets here by LIBRARY/NAME


def names() -> list[str]:
    """The nets that `build` knows by name, without their variants and without timm's and torchvision's."""
    return [name for name, (net, _) in catalogue().items() if net.sees == "images"]


def sees(name: str) -> str:
    """What the encoder called `name` is given: images, sounds or texts."""
    if (composed := around.parsed(name)) is not None:
        return sees(composed[1])
    library, _, model = name.partition("/")
    return "images" if model and library in HUB else KINDS.get(of := find(name).net.sees, of)


def build(
    name: str, *, in_channels: int | None = None, size: int = 32, pretrained: bool | str = False
) -> Encoder:
    """The encoder called `name`, for images of `size` pixels a side, sounds in windows of `size` samples, or texts of
    `size` tokens.

        small_resnet                   three stages of one block, for the embedded world
        cifar_resnet20                 8 to 110 layers, or 1202; zero-padding shortcuts (A)
        cifar_resnet20/B               ... with 1x1 projections instead
        resnet50                       18, 34, 50, 101 or 152 layers; "cifar" stem up to 64 pixels, else
                                       "imagenet"
        resnet50/cifar, /imagenet      ... with this stem
        resnet18/plain                 ... without shortcuts
        ...+group                      with group norm for batch norm: resnet18/cifar+group
        timm/NAME, torchvision/NAME    any of their classifiers without its last layer, pretrained or not
        WORD(NET), WORD(NET, 8, 4)     an encoder around another, as a file's `AROUND` makes it
        small_waveform                 of sounds: strided convolutions; gru(small_waveform, 128): with their contexts

    `in_channels` is 3, of sounds 1, unless told; of texts it is the size of the vocabulary. `manyviews nets` lists all of ours. With `pretrained`, the weights are those that a library has for this net:
    "torchvision", "timm" or "transformers", or those in a file or folder of its: "timm:weights.safetensors"; True where the
    name itself says which. Raises `ManyviewsError` for a name, variant or combination that does not exist, for a size that
    the net cannot see, or for weights that do not exist, fit or arrive.
    """
    kind = sees(name)
    if in_channels is None:
        in_channels = {"images": 3, "sounds": 1}.get(kind, 0)
    if kind == "texts" and in_channels < 1:
        raise ManyviewsError(f'"{name}" reads texts: say how many tokens there are, as in_channels.')
    if size < 1 or in_channels < 1:
        raise ManyviewsError(f"Images of size {size} with {in_channels} channels cannot be; both start at 1.")
    library, _, model = name.partition("/")
    if (composed := around.parsed(name)) is not None:
        maker, inner, numbers = composed
        if pretrained:
            raise ManyviewsError(f'"{name}" has no pretrained weights as a whole; leave out --pretrained.')

        def within(*, in_channels: int | None = in_channels, size: int = size) -> Encoder:
            return build(inner, in_channels=in_channels, size=size)

        encoder = maker(within, *numbers, in_channels=in_channels, size=size)
    elif model and library in HUB:
        source, _, place = (pretrained if isinstance(pretrained, str) else library).partition(":")
        if source != library:
            raise ManyviewsError(f'"{name}" has the weights of {library}, not of {source}; name {library}.')
        encoder = hub.build(
            name, in_channels=in_channels, size=size, pretrained=bool(pretrained) and not place
        )
        if place:
            from manyviews.nets.interop.inward import load_hub

            load_hub(encoder, place)
    elif pretrained is True:
        raise ManyviewsError(
            f'"{name}" may have pretrained weights in several libraries; say which: torchvision, timm or transformers.'
        )
    elif kind == "texts":
        encoder = reader(name, in_channels, size, pretrained or None)
        size = getattr(encoder.net, "length", size) if pretrained else size  # as long as its weights are
    else:
        encoder = make(name, pretrained=pretrained or None, in_channels=in_channels, size=size)
        if not isinstance(encoder, Encoder):
            raise ManyviewsError(
                f'"{name}" is a {type(encoder).__name__}, and methods learn an Encoder; make it one.'
            )
        if pretrained and kind == "images" and in_channels == 3:
            from manyviews.nets.interop.inward import see_ours

            see_ours(encoder, pretrained)
    encoder.built = Built(name, in_channels, size)
    return encoder


def reader(name: str, vocabulary: int, size: int, pretrained: str | None) -> Reader:
    """A net of texts as an encoder. Pretrained ones have the vocabulary and the length that they were learned with."""
    if pretrained is None:
        long: dict[str, Any] = {} if find(name).net.any_length else {"length": size}
        return Reader(make(name, vocabulary=vocabulary, **long), vocabulary)
    from manyviews.nets.gpt import GPT

    net = make(name, pretrained=pretrained)
    table = net.get_submodule("tokens")
    assert isinstance(table, nn.Embedding)
    words = table.num_embeddings
    if words == vocabulary - 1 and isinstance(
        net, GPT
    ):  # GPT-2's tokeniser has no padding, and has been given one
        weight_VD = table.weight.detach()
        more_VD = torch.cat([weight_VD, weight_VD.mean(0, keepdim=True)])
        net.tokens, words = nn.Embedding.from_pretrained(more_VD, freeze=False), vocabulary
    if words != vocabulary:
        raise ManyviewsError(
            f'"{name}" knows {words:,} tokens as {pretrained} has it, and these texts have {vocabulary:,}: give the '
            "tokenizer.json that lies beside its weights (--tokens)."
        )
    return Reader(net, vocabulary)


def net_factory(name: str, size: int, start: Encoder | None = None) -> Any:
    """A ``NetFactory`` for the net of this name; with ``start``, of encoders that begin as that one."""

    def net(*, in_channels: int | None = None, within: str = "{}", size: int = size) -> Encoder:
        encoder = build(within.format(name), in_channels=in_channels, size=size)
        if start is not None:
            start_from(encoder, start)
        return encoder

    return net


def make(name: str, *, pretrained: str | None = None, **options: Any) -> nn.Module:
    """The network called `name`, of whatever kind; `options` are those of its maker, beside its variants'.

    With `pretrained`, its weights are those that "torchvision", "timm" or "transformers" has for it, or those in a file
    or folder of its ("timm:weights.safetensors"); raises `ManyviewsError` where these do not exist, fit or arrive.
    """
    if pretrained is not None:
        from manyviews.nets.interop.inward import pretrained as with_weights

        return with_weights(name, pretrained, options)
    net, _, variants = find(name)
    made = net.make(**variants, **options)
    setattr(made, "made", Made(name, variants | options))  # noqa: B010  nn.Module's types know tensors and modules alone
    return made
