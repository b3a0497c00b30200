"""Attention: every token asks, and takes from all others what answers best. No other file here computes attention.

Paper    Vaswani et al., NeurIPS 2017 (arXiv:1706.03762), section 3.2, eq. 1; relative positions as in ViT
         (Dosovitskiy et al., arXiv:2010.11929, appendix D.4).
Differs  Here one matrix product gives queries, keys and values of a sequence, and torch's fused kernel does the rest,
         except where training drops attention weights on a CPU.
Shapes   B sequences, T tokens that ask, S tokens that answer, D width, H heads, d = D / H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.errors import ManyviewsError
from manyviews.nets.dropout import draws_itself, dropout
from manyviews.nets.linear import Linear


class Attention(nn.Module):
    """Multi-head attention (3.2.2).

    Args:
        width: D of what asks and what comes out.
        heads: H; it divides `width`.
        head_width: d, where it is not D / H.
        dropout: share of the attention weights that training sets to zero.
        cross: keys and values come from another sequence, the `memory`.
        bias: of the four projections.
        relative: a `positions.Relative` whose logits are added to those of the content.

    Raises `ManyviewsError` where `heads` does not divide `width` and no `head_width` is given.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        head_width: int | None = None,
        dropout: float = 0.0,
        cross: bool = False,
        bias: bool = True,
        relative: nn.Module | None = None,
    ):
        super().__init__()
        if head_width is None and width % heads:
            raise ManyviewsError(
                f"{heads} heads do not divide a width of {width}; choose a number that does."
            )
        self.heads, self.dropout, self.cross = heads, dropout, cross
        inner = heads * (head_width or width // heads)
        if cross:
            self.q = Linear(width, inner, bias=bias)
            self.kv = Linear(width, 2 * inner, bias=bias)
        else:
            self.qkv = Linear(width, 3 * inner, bias=bias)
        self.out = Linear(inner, width, bias=bias)
        self.relative = relative

    def forward(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor | None = None,
        *,
        padding_BS: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: Cache | None = None,
    ) -> Tensor:
        """What each token takes from the others, `[B, T, D]`; one that may look nowhere takes zeros, to which `out`
        adds its bias.

        Args:
            memory_BSD: the other sequence; only with `cross`.
            padding_BS: True where an answering token is one, False where it only fills up.
            mask: `[T, S]` or `[B, T, S]`, True where a token may look.
            causal: a token looks at itself and what stands before it.
            cache: what was asked before stays in it, and `x_BTD` are the tokens that follow (inference only).

        Raises `ManyviewsError` for a mask of another shape.
        """
        q, k, v = self.project(x_BTD, memory_BSD, cache)
        p = self.dropout if self.training else 0.0
        alone = causal and padding_BS is None and mask is None and self.relative is None
        if p and draws_itself(q):  # the kernel would write the weights out too
            allowed = self.logits_added(q, k, padding_BS, mask, causal)
            y_BHTd = dropout(spread(q, k, allowed), p) @ v
        elif alone and q.shape[2] == k.shape[2]:
            y_BHTd = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        else:
            allowed = self.logits_added(q, k, padding_BS, mask, causal)
            y_BHTd = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=p)
        return self.out(y_BHTd.transpose(1, 2).flatten(2))

    def weights(
        self,
        x_BTD: Tensor,
        memory_BSD: Tensor | None = None,
        *,
        padding_BS: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Who looks at whom, `[B, H, T, S]`, each row a distribution (eq. 1 without V); for pictures.

        The row of a token that may look nowhere is zero. Dropout has no part in it.
        """
        q, k, _ = self.project(x_BTD, memory_BSD, None)
        return spread(q, k, self.logits_added(q, k, padding_BS, mask, causal))

    def project(
        self, x_BTD: Tensor, memory_BSD: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries `[B, H, T, d]`, keys and values `[B, H, S, d]`."""
        if not self.cross:
            B, T, _ = x_BTD.shape
            qkv = self.qkv(x_BTD).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind() if cache is None else (qkv[0], *cache.extend(self, qkv[1:]))
            return q, k, v
        q = self.q(x_BTD).unflatten(2, (self.heads, -1)).transpose(1, 2)
        if cache is not None and self in cache:
            return q, *cache[self]
        if memory_BSD is None:
            raise ManyviewsError("Cross attention needs the sequence that answers; give memory_BSD.")
        kv = self.kv(memory_BSD).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        k, v = kv.unbind() if cache is None else cache.extend(self, kv)
        return q, k, v

    def logits_added(
        self, q: Tensor, k: Tensor, padding_BS: Tensor | None, mask: Tensor | None, causal: bool
    ) -> Tensor | None:
        """All that is added to the logits, as one tensor that broadcasts to `[B, H, T, S]`; True and False where it is a mask alone."""
        B, T, S = q.shape[0], q.shape[2], k.shape[2]
        allowed: Tensor | None = None
        if causal and T > 1:
            allowed = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T)
        if mask is not None:
            expect("mask", mask, {(T, S), (B, T, S)})
            mask = mask if mask.ndim == 2 else mask[:, None]
            allowed = mask if allowed is None else allowed & mask
        if padding_BS is not None:
            expect("padding_BS", padding_BS, {(B, S)})
            allowed = padding_BS[:, None, None] if allowed is None else allowed & padding_BS[:, None, None]
        if self.relative is None:
            return allowed
        logits: Tensor = self.relative(q, S) / q.shape[3] ** 0.5
        return logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)


def spread(q: Tensor, k: Tensor, added: Tensor | None) -> Tensor:
    """Equation 1 without V, `[B, H, T, S]`, with what `logits_added` gives; zeros in a row that may look nowhere."""
    logits = (q * q.shape[3] ** -0.5) @ k.mT
    if added is None:
        return logits.softmax(3)
    mask = added.dtype == torch.bool
    nowhere = ~added.any(-1, keepdim=True) if mask else added.amax(-1, keepdim=True) == -torch.inf
    if lost := bool(
        nowhere.any()
    ):  # a gradient through minus infinities alone is not a number: look anywhere first
        added = added | nowhere if mask else added.masked_fill(nowhere, 0.0)
    logits = logits.masked_fill_(~added, -torch.inf) if mask else logits + added
    return logits.softmax(3).masked_fill(nowhere, 0.0) if lost else logits.softmax(3)


def expect(name: str, mask: Tensor, shapes: set[tuple[int, ...]]) -> None:
    """Raises `ManyviewsError` for a mask that is not of booleans or has none of these shapes."""
    if tuple(mask.shape) not in shapes or mask.dtype != torch.bool:
        wanted = " or ".join(str(list(shape)) for shape in sorted(shapes, key=len))
        raise ManyviewsError(
            f"{name} is {mask.dtype} {list(mask.shape)}, but this attention needs torch.bool {wanted}."
        )


class Cache:
    """Keys and values of the tokens so far, so that a new token costs one step and not all of them.

    Every attention that is given it keeps its own; `length` is the number of tokens that it holds.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity  # tokens
        self.length = 0
        self._kept: dict[Attention, Tensor] = {}  # keys and values together
        self._lengths: dict[Attention, int] = {}

    def __contains__(self, attention: Attention) -> bool:
        return attention in self._kept

    def __getitem__(self, attention: Attention) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, S, d]` of one attention."""
        k, v = self._kept[attention].narrow(3, 0, self._lengths[attention]).unbind()
        return k, v

    def extend(self, attention: Attention, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values `[2, B, H, T, d]`; gives all so far. Raises `ManyviewsError` beyond the capacity."""
        T = kv.shape[3]
        if attention.cross:  # a memory is whole from the start
            self._kept[attention], self._lengths[attention] = kv, T
            return self[attention]
        start = self._lengths.get(attention, 0)
        end = start + T
        if end > self.capacity:
            raise ManyviewsError(f"The cache holds {self.capacity} tokens, not {end}; make a larger one.")
        if attention not in self._kept:
            _, B, H, _, d = kv.shape
            self._kept[attention] = kv.new_empty(2, B, H, self.capacity, d)
        self._kept[attention].narrow(3, start, T).copy_(kv)
        self._lengths[attention] = self.length = end
        return self[attention]

    def take(self, rows_B: Tensor, memory: bool = True) -> None:
        """Keep these sequences, in this order, a sequence as often as it is named: what a beam search needs.

        Without `memory`, what cross attention keeps stays as it is: they change places with those of the same memory.
        """
        for attention, kept in self._kept.items():
            if not attention.cross:
                self._kept[attention] = _chosen(kept, rows_B, self._lengths[attention])
            elif memory:
                self._kept[attention] = kept[:, rows_B]


def _chosen(kept: Tensor, rows_B: Tensor, length: int) -> Tensor:
    """`kept[:, rows_B]`, of which only the first `length` places hold anything; in place where it has the room."""
    chosen = kept.narrow(3, 0, length)[:, rows_B]
    if len(rows_B) != kept.shape[1]:
        kept = kept.new_empty(2, len(rows_B), *kept.shape[2:])
    kept.narrow(3, 0, length).copy_(chosen)
    return kept
