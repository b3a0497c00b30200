"""Any classifier of timm or torchvision as an encoder: its last layer left out, its feature map laid bare."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from manyviews.errors import ManyviewsError, nearest
from manyviews.nets import pixels
from manyviews.nets.encoder import Encoder, judging


def build(name: str, *, in_channels: int, size: int, pretrained: bool) -> HubEncoder:
    """The encoder called "timm/NAME" or "torchvision/NAME", for images of `size` pixels a side.

    Raises `ManyviewsError` where the library is missing, does not know the name or has no weights for it, or
    where the net cannot see such images.
    """
    try:
        encoder = make(name, in_channels=in_channels, size=size, pretrained=pretrained)
        with judging(encoder):
            embedding = encoder(torch.zeros(2, in_channels, size, size))
    except ManyviewsError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ManyviewsError(
            f'"{name}" cannot see images of {size} pixels a side: {_first_line(error)}'
        ) from error
    if embedding.ndim != 2 or not embedding.isfinite().all():
        raise ManyviewsError(
            f'"{name}" yields no embedding from images of {size} pixels a side; take larger ones.'
        )
    encoder.width = embedding.shape[1]
    return encoder


def make(name: str, *, in_channels: int, size: int, pretrained: bool = False) -> HubEncoder:
    """As `build`, but nothing is computed: the width is not known, and on the meta device nothing is stored.

    Raises `ManyviewsError` where the library is missing, does not know the name or has no weights for it.
    """
    library, _, architecture = name.partition("/")
    maker = _make_timm if library == "timm" else _make_torchvision
    return maker(architecture, in_channels, size, pretrained)


class HubEncoder(Encoder):
    """A model of another library; it is `encoder.model`, where its weights keep their own names.

    `construct` is Python that makes `model` again without us. Some models are made for images that are normalised in another
    way than here: these are shown what they expect, whether their weights come from there or are learned here.
    """

    library: str
    a_C11: Tensor | None
    c_C11: Tensor | None

    def __init__(self, model: nn.Module, architecture: str, construct: str, in_channels: int):
        super().__init__(width=0, in_channels=in_channels)  # `build` measures the width
        self.model = model
        self.architecture, self.construct = architecture, construct
        a_C11, c_C11 = (in_channels == 3 and expects(f"{self.library}/{architecture}")) or (None, None)
        # The name says it all: these are no weights, and not saved.
        self.register_buffer("a_C11", a_C11, persistent=False)
        self.register_buffer("c_C11", c_C11, persistent=False)

    @property
    def change(self) -> pixels.Change | None:
        """From images that are normalised as here to what the model expects; None where that is the same."""
        return None if self.a_C11 is None or self.c_C11 is None else pixels.Change(self.a_C11, self.c_C11)

    def as_there(self, x_BCHW: Tensor) -> Tensor:
        """Images that are normalised as here, normalised as the model expects them."""
        return x_BCHW if self.change is None else pixels.changed(x_BCHW, self.change)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.model(self.as_there(x_BCHW))


class TimmEncoder(HubEncoder):
    """timm's models all have `forward_features`, in one of three layouts."""

    library = "timm"

    def grid(self, x_BCHW: Tensor) -> Tensor:
        model: Any = self.model
        features = model.forward_features(self.as_there(x_BCHW))
        if features.ndim == 3:
            return _tokens_to_grid(features[:, _prefix_tokens(model, features.shape[1]) :], x_BCHW)
        if features.shape[1] != model.num_features and features.shape[3] == model.num_features:
            return features.permute(0, 3, 1, 2)  # the Swin family computes in [B, H, W, C]
        return features


def _prefix_tokens(model: Any, tokens: int) -> int:
    """Class and register tokens before the patches; where a model does not say, what exceeds a square."""
    return getattr(model, "num_prefix_tokens", tokens - math.isqrt(tokens) ** 2)


class TorchvisionEncoder(HubEncoder):
    """torchvision's models have no common name for their feature map; it is caught on its way to the pool."""

    library = "torchvision"

    def grid(self, x_BCHW: Tensor) -> Tensor:
        caught: list[Any] = []
        pools = [module for module in self.model.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
        if pools:
            handle = pools[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        else:
            places = dict(self.model.named_children())
            last = next(places[name] for name in ("encoder", "features", "layers", "conv5") if name in places)
            handle = last.register_forward_hook(lambda _, __, output: caught.append(output))
        try:
            self(x_BCHW)
        finally:
            handle.remove()
        (features,) = caught
        return features if features.ndim == 4 else _tokens_to_grid(features[:, 1:], x_BCHW)


def expects(name: str) -> pixels.Change | None:
    """How the images for "timm/NAME" or "torchvision/NAME" differ from ours; None where they do not, or nobody says."""
    about = _about(name)
    return pixels.change(about[1], about[2]) if about is not None and len(about[1]) == 3 else None


def side_of(name: str) -> int:
    """Pixels a side of the images that "timm/NAME" or "torchvision/NAME" was made for.

    Raises `ManyviewsError` where the library is missing or does not know the name.
    """
    about = _about(name)
    return 224 if about is None else about[0]


def _about(name: str) -> tuple[int, tuple[float, ...], tuple[float, ...]] | None:
    """What a library's weights for a model expect: the side of images, the mean and the deviation of their channels."""
    library, _, architecture = name.partition("/")
    if library == "timm":
        config = _timm(architecture).get_pretrained_cfg(architecture)
        return config and (config.input_size[-1], tuple(config.mean), tuple(config.std))
    weights: Any = _torchvision(architecture).get_model_weights(architecture)
    if not len(weights):
        return None
    shown = weights.DEFAULT.transforms()
    return shown.crop_size[0], tuple(shown.mean), tuple(shown.std)


def _tokens_to_grid(tokens_BNC: Tensor, x_BCHW: Tensor) -> Tensor:
    """Patch tokens `[B, h*w, C]` in reading order as `[B, C, h, w]`, in the proportions of the image."""
    height, width = x_BCHW.shape[2:]
    h = round(math.sqrt(tokens_BNC.shape[1] * height / width))
    return tokens_BNC.transpose(1, 2).unflatten(2, (h, -1))


def _make_timm(name: str, in_channels: int, size: int, pretrained: bool) -> HubEncoder:
    timm = _timm(name)
    from timm.layers.patch_embed import PatchEmbed

    options: dict[str, Any] = {"num_classes": 0, "in_chans": in_channels}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options["img_size"] = size
    try:
        with no_unpickling():
            model = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if pretrained:
            raise ManyviewsError(no_weights("timm", name, error)) from error
        raise
    patches = getattr(model, "patch_embed", None)
    if isinstance(patches, PatchEmbed) and not patches.dynamic_img_pad:
        patch = max(map(int, patches.patch_size))
        if size % patch:  # timm would leave the rest of the image out
            raise ManyviewsError(
                f'"timm/{name}" sees patches of {patch} pixels; {size} is no multiple of that.'
            )
    return TimmEncoder(model, name, f"model = timm.create_model({_arguments(name, options)})", in_channels)


def _make_torchvision(name: str, in_channels: int, size: int, pretrained: bool) -> HubEncoder:
    models = _torchvision(name)
    if pretrained and in_channels != 3:
        raise ManyviewsError(
            f'"torchvision/{name}" is pretrained on 3 channels, not {in_channels}; "timm/..." nets adapt theirs.'
        )
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options = {"image_size": size}
    elif name.startswith("maxvit"):
        options = {"input_size": (size, size)}
    elif name in ("googlenet", "inception_v3"):  # whose own weights are of images normalised otherwise
        options = {"aux_logits": False, "init_weights": True, "transform_input": True}
    unsaid = {"init_weights", *(["aux_logits"] if name == "googlenet" else [])}  # with weights
    asked = {key: value for key, value in options.items() if not (pretrained and key in unsaid)}
    try:
        with no_unpickling():
            model = models.get_model(name, weights="DEFAULT" if pretrained else None, **asked)
    except Exception as error:
        if pretrained:
            raise ManyviewsError(no_weights("torchvision", name, error)) from error
        raise
    construct = [f"model = torchvision.models.get_model({_arguments(name, options)})"]
    construct.append(_leave_out_last_layer(model))
    if in_channels != 3:
        construct.append(_see_channels(model, in_channels))
    return TorchvisionEncoder(model, name, "; ".join(construct), in_channels)


@contextmanager
def no_unpickling() -> Iterator[None]:
    """torch.load reads tensors and nothing else, which not every library asks of it when it downloads."""
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    finally:
        del os.environ[switch]
        if before is not None:
            os.environ[switch] = before


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ManyviewsError(
            'timm is needed for "timm/..." nets and for --to timm: pip install "manyviews[hub]"'
        ) from error
    if not timm.is_model(name):
        raise ManyviewsError(_unknown("timm", name, timm.list_models()))
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # what stands behind the dot
        raise ManyviewsError(f'timm has no weights called "{name}": {_first_line(error)}.') from error
    return timm


def _torchvision(name: str) -> ModuleType:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ManyviewsError(_unknown("torchvision", name, known))
    return models


def _arguments(name: str, options: dict[str, Any]) -> str:
    return ", ".join([f'"{name}"', *(f"{key}={value!r}" for key, value in options.items())])


def _leave_out_last_layer(model: nn.Module) -> str:
    """Replace the classifying layer (and a dropout before it) by the identity; gives the code for it."""
    layers = [
        (name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Dropout)
    ]
    (before, dropout), (last, _) = layers[-2:]
    model.set_submodule(last, nn.Identity())
    if isinstance(dropout, nn.Dropout):
        model.set_submodule(before, nn.Identity())
    return f'model.set_submodule("{last}", torch.nn.Identity())'


def _see_channels(model: nn.Module, in_channels: int) -> str:
    """Replace the first convolution by a fresh one for `in_channels`; gives the code for that."""
    name, old = next((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    shape = (in_channels, old.out_channels, old.kernel_size, old.stride, old.padding)
    new = nn.Conv2d(*shape, bias=old.bias is not None)  # pyright: ignore[reportArgumentType]
    model.set_submodule(name, new)
    if hasattr(model, "transform_input"):
        setattr(model, "transform_input", False)  # noqa: B010  googlenet, inception_v3 renormalise 3 channels
    arguments = ", ".join(map(str, shape))
    return f'model.set_submodule("{name}", torch.nn.Conv2d({arguments}, bias={old.bias is not None}))'


def _unknown(library: str, name: str, known: Iterable[str]) -> str:
    hint = nearest(name, known, f"see {library}'s list_models().")
    return f'{library} has no model called "{name}"; {hint}'


def no_weights(library: str, name: str, error: Exception) -> str:
    reason = _first_line(error)
    return f'Pretrained weights of "{library}/{name}" could not be loaded ({reason}); retry, or go without.'


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
