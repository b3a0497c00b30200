"""A linear probe at every layer: how deep in an encoder lies what the labels ask for; and one on the last layers together.

Papers   Chen et al., "Generative Pretraining from Pixels", ICML 2020, section 4.1 and figure 2: of a net that learned to
         generate, the middle tells most. The last layers side by side: of texts BERT (arXiv:1810.04805, section 5.3), of
         a ViT DINO (arXiv:2104.14294, linear evaluation in its appendix).
Shapes   N images, L layers, D embedding, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from manyviews.data import ItemSet
from manyviews.errors import ManyviewsError
from manyviews.evaluation.features import EncoderEmbedder, Features, embed_all
from manyviews.evaluation.linear import DECAYS, LinearProbe, probe_lbfgs
from manyviews.nets.encoder import Layered
from manyviews.nets.reader import LastLayers, Reader
from manyviews.nets.vit import ViT


@dataclass(frozen=True)
class LayerProbes:
    """A linear classifier a layer, from the image up."""

    probes: tuple[LinearProbe, ...]

    @property
    def layer(self) -> int:
        """The layer that told most of the labels that were held out of the training set; the middle where none were."""
        held = [-1.0 if probe.validation is None else probe.validation for probe in self.probes]
        return held.index(max(held)) if max(held) >= 0 else len(held) // 2

    def as_dict(self) -> dict[str, Any]:
        """For JSON: top-1 on the test set by layer, and all figures of the best layer, which the test set did not choose."""
        by_layer = [probe.scores.top1 for probe in self.probes]
        return self.probes[self.layer].as_dict() | {"layer": self.layer, "by_layer": by_layer}


def probe_layers(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    weight_decays: Sequence[float] = DECAYS,
    label_fraction: float = 1.0,
    seed: int = 0,
) -> LayerProbes:
    """``probe_lbfgs`` on what each layer of a ``Layered`` encoder embeds; all layers of a set are held at once.

    Args:
        size: side of the square that the encoder sees, in pixels.
    """
    embedder = EncoderEmbedder(_AllLayers(encoder), size)
    pairs = zip(*(_parted(embed_all(embedder, data)) for data in (train, test)), strict=True)
    how: dict[str, Any] = {"classes": classes, "label_fraction": label_fraction, "seed": seed}
    return LayerProbes(tuple(probe_lbfgs(*pair, weight_decays=weight_decays, **how) for pair in pairs))


class _AllLayers(nn.Module):
    """Every layer's embedding: ``[B, L, D]``."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return cast(Layered, self.encoder).by_layer(x_BCHW).movedim(0, 1)


def _parted(all_layers: Features) -> list[Features]:
    """The features of each layer by itself."""
    return [replace(all_layers, h_ND=h_ND) for h_ND in all_layers.h_ND.unbind(1)]


def probe_last(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    layers: int = 4,
    patches: bool = False,
    weight_decays: Sequence[float] = DECAYS,
    label_fraction: float = 1.0,
    seed: int = 0,
) -> LinearProbe:
    """``probe_lbfgs`` on the last layers of a ViT, or of a net that reads texts, beside each other.

    BERT's are those of whole texts; of single tokens it is "tag" with ``frozen``. DINO takes four layers of a small ViT,
    and of a base one the last alone with ``patches``.

    Args:
        size: side of the square that a ViT sees, in pixels, or tokens of a text that are read.
        layers: how many of the last ones.
        patches: of a ViT, also the mean of the patches after the last layer.

    Raises:
        ManyviewsError: the net is neither, or has fewer layers; or patches are asked of texts.
    """
    embedder = EncoderEmbedder(_last(encoder, layers, patches), size)
    seen, asked = (embed_all(embedder, data) for data in (train, test))
    how: dict[str, Any] = {"classes": classes, "label_fraction": label_fraction, "seed": seed}
    return probe_lbfgs(seen, asked, weight_decays=weight_decays, **how)


def _last(encoder: nn.Module, layers: int, patches: bool) -> nn.Module:
    if isinstance(encoder, ViT):
        return _LastOfViT(encoder, layers, patches)
    if patches:
        raise ManyviewsError(
            "The mean of patches can be taken only of a ViT of this library, and this net is no ViT of ours; leave patches out."
        )
    if not isinstance(encoder, Reader):
        raise ManyviewsError(
            "The last layers of this net cannot be read, because it is no ViT of ours, and no bert or gpt; "
            'take "linear".'
        )
    return LastLayers(encoder, layers)


class _LastOfViT(nn.Module):
    """What a ViT's last layers made of its class token, or of its patches where it has none, each normed as the last one is."""

    def __init__(self, vit: ViT, layers: int, patches: bool) -> None:
        super().__init__()
        if not 1 <= layers <= len(vit.blocks):
            raise ManyviewsError(f"The last {layers} layers are asked for; the net has {len(vit.blocks)}.")
        if patches and not vit.first:
            raise ManyviewsError(
                "The embedding of this ViT already is the mean of its patches, because it has no class token; leave patches out."
            )
        self.vit, self.layers, self.patches = vit, layers, patches

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """``[B, L D]``, the last layer last; with ``patches`` ``[B, (L + 1) D]``."""
        kept: list[Tensor] = []
        blocks = list(self.vit.blocks)[-self.layers :]
        hooks = [block.register_forward_hook(lambda *args: kept.append(args[-1])) for block in blocks]
        try:
            last_BTD = self.vit.tokens(x_BCHW)
        finally:
            for hook in hooks:
                hook.remove()
        states = [self.vit.norm(y_BTD) for y_BTD in kept[:-1]] + [last_BTD]
        told = [y_BTD[:, 0] if self.vit.first else y_BTD.mean(1) for y_BTD in states]
        if self.patches:
            told.append(last_BTD[:, self.vit.first :].mean(1))
        return torch.cat(told, 1)
