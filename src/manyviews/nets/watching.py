"""What a net that reads patches looks at: numbers for pictures, from its attention and its positions.

Papers   Attention distance, filters, similarity of positions: ViT (Dosovitskiy et al. 2021, arXiv:2010.11929), figures 7
         and 11. Roll-out: Abnar, Zuidema, ACL 2020 (arXiv:2005.00928), section 3, with the mean over heads. What each
         head of the class token looks at: DINO (Caron et al., ICCV 2021, arXiv:2104.14294), figures 1 and 3.
         What a translation looks at: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.3; Bahdanau et al., ICLR 2015
         (arXiv:1409.0473), figure 3.
Shapes   B images, L layers, H heads, T tokens, N = h * w patches of P pixels, K components; S tokens of a source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.attention import Attention
from manyviews.nets.encoder import judging
from manyviews.nets.transformer import Transformer

if TYPE_CHECKING:
    from typing_extensions import TypeIs


class ReadsPatches(Protocol):
    """An encoder that can be watched: its tokens are patches of the image, after `first` others."""

    patch_size: int  # P in pixels
    first: int  # tokens before the patches
    cells: tuple[int, int]  # (h, w) that its positions are made for
    patch: nn.Conv2d  # what makes a token of a patch
    positions: Sequence[Any]  # of `positions.OnGrid`; empty where none are absolute

    def cells_of(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of an image in pixels."""
        ...


def reads_patches(net: object) -> TypeIs[ReadsPatches]:
    """Whether it is such an encoder; ``isinstance`` would not see its submodules from Python 3.12 on."""
    needed = ("patch_size", "first", "cells", "patch", "positions", "cells_of")
    return all(hasattr(net, name) for name in needed)


def patch_projection(encoder: nn.Module) -> nn.Module | None:
    """The convolution that makes a token of a patch, in our ViTs and in those of timm and torchvision; None in other nets."""
    if reads_patches(encoder):
        return encoder.patch
    model: Any = getattr(encoder, "model", None)  # of another library
    projection = getattr(getattr(model, "patch_embed", None), "proj", None) or getattr(
        model, "conv_proj", None
    )
    attends = projection is not None and any("Attention" in type(part).__name__ for part in model.modules())
    return projection if attends and isinstance(projection, nn.Conv2d) else None


@contextmanager
def watching(net: nn.Module) -> Iterator[list[Tensor]]:
    """Collects who looks at whom while `net` runs: `[B, H, T, S]` for each `Attention`, in the order of the calls.

        with watching(net) as seen:
            net(x)

    Without gradients. Raises `ManyviewsError` for an attention that fills a cache.
    """
    seen: list[Tensor] = []

    def look(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        assert isinstance(module, Attention)
        if options.get("cache") is not None:
            raise ManyviewsError(
                "Attention cannot be watched through a cache; give the whole sequence at once."
            )
        with torch.no_grad():
            seen.append(module.weights(*args, **{name: o for name, o in options.items() if name != "cache"}))

    hooks = [
        module.register_forward_pre_hook(look, with_kwargs=True)
        for module in net.modules()
        if isinstance(module, Attention)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def watch(net: nn.Module, x_BCHW: Tensor) -> list[Tensor]:
    """`[B, H, T, T]` of each of the L layers while `net` is judged on normalised images."""
    with judging(net), watching(net) as seen:
        net(x_BCHW)
    return seen


def cross_attention(net: Transformer, source_S: Tensor, target_T: Tensor) -> Tensor:
    """What a translation looks at while it is written, `[L, H, T, S]`, each row a distribution over the source.

    Row t is what the net looks at to tell the token after `target_T[t]`: the target begins with its start token. Neither
    is filled up.
    """
    crosses = nn.ModuleList(
        module for module in net.decoder.modules() if isinstance(module, Attention) and module.cross
    )
    here_1S = torch.ones_like(source_S, dtype=torch.bool)[None]
    with judging(net), watching(crosses) as seen:
        net.decode(target_T[None], net.encode(source_S[None], here_1S), here_1S)
    return torch.stack(seen)[:, 0]


def attention_distance(looks_BHTT: Tensor, cells: tuple[int, int], patch: int, first: int = 1) -> Tensor:
    """How far a patch looks, in pixels, `[H]`: the mean over patches and images of the distance, by weight.

    Tokens before the patches lie nowhere: as those that ask they are left out, and what patches give to them is
    shared out among the patches.
    """
    share_BHNN = looks_BHTT[:, :, first:, first:].float()
    share_BHNN = share_BHNN / share_BHNN.sum(3, keepdim=True).clamp(min=1e-12)
    h, w = cells
    places_N2 = torch.cartesian_prod(torch.arange(h), torch.arange(w)).to(share_BHNN) * patch
    distance_NN = (places_N2[:, None] - places_N2).square().sum(2).sqrt()
    return (share_BHNN * distance_NN).sum(3).mean(dim=(0, 2))


def rollout(looks: Sequence[Tensor]) -> Tensor:
    """How much of each token of the first layer is in each of the last, `[B, T, T]`; rows sum to 1.

    A layer's mean over heads counts half, the residual connection around it the other half.
    """
    whole: Tensor | None = None
    for looks_BHTT in looks:
        mean_BTT = looks_BHTT.float().mean(dim=1)
        mixed = (mean_BTT + torch.eye(mean_BTT.shape[1]).to(mean_BTT)) / 2
        mixed = mixed / mixed.sum(2, keepdim=True)
        whole = mixed if whole is None else mixed @ whole
    if whole is None:
        raise ValueError("a roll-out needs at least one layer")
    return whole


def rollout_maps(looks: Sequence[Tensor], cells: tuple[int, int], first: int = 1) -> Tensor:
    """What the embedding is made of, `[B, h, w]`: the class token's row, or the mean of all rows without one."""
    whole_BTT = rollout(looks)
    row_BT = whole_BTT[:, 0] if first else whole_BTT.mean(dim=1)
    return row_BT[:, first:].unflatten(1, cells)


def class_maps(looks_BHTT: Tensor, cells: tuple[int, int], first: int = 1) -> Tensor | None:
    """What the class token looks at in one layer, `[B, H, h, w]`, by head; None without a class token.

    A map sums to what the head leaves to patches: 1 but for the part that the class token keeps to itself.
    """
    return looks_BHTT[:, :, 0, first:].float().unflatten(2, cells) if first else None


def filters(net: ReadsPatches, most: int = 28) -> Tensor | None:
    """Principal components of what patches are projected on, `[K, C, P, P]`, unit vectors, the largest first.

    None for a hybrid, whose filters see a feature map. The sign of a component means nothing; the largest entry is
    positive here.
    """
    weight_DCPP = net.patch.weight.detach().float()
    if weight_DCPP.shape[2:] != (net.patch_size, net.patch_size):
        return None
    flat = weight_DCPP.flatten(1)
    _, _, v = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    v = v[: min(most, len(flat) - 1)]
    sign = v.gather(1, v.abs().argmax(dim=1, keepdim=True)).sign()
    return (v * sign).unflatten(1, weight_DCPP.shape[1:])


def position_similarity(net: ReadsPatches) -> Tensor | None:
    """Cosine of each place with each other, `[h, w, h, w]`, of the positions that are added first; None without any."""
    if not len(net.positions):
        return None
    place_ND = net.positions[0](net.cells).detach().float()[net.first :]
    unit_ND = F.normalize(place_ND, dim=1)
    return (unit_ND @ unit_ND.T).unflatten(1, net.cells).unflatten(0, net.cells)
