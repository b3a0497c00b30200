"""Which token comes: cross entropy over a vocabulary, with smoothed labels or without.

Paper    Label smoothing: Szegedy et al., CVPR 2016 (arXiv:1512.00567), section 7; Vaswani et al. 2017
         (arXiv:1706.03762), section 5.4. The right token is expected with probability 1 - smoothing + smoothing / V,
         any other with smoothing / V, as torch's `cross_entropy(label_smoothing=)` has it.
Shapes   N tokens, C of them at a time, D width, V vocabulary; B texts of T tokens.

Every mean is over the tokens that count. Their number differs between ranks: each rank divides its sum by the mean number
of a rank, so that the losses and gradients of all ranks, averaged, are those of one process with the whole batch.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from manyviews import distributed
from manyviews.objectives.contrast import precise

IGNORED = -100  # a target that does not count, as in torch
CPU_LOGITS = 2**22  # that `linear_cross_entropy` holds at a time: 16 MiB of float32
DEVICE_LOGITS = 2**26
FEWEST = 256  # tokens at a time: each time, the gradient of the whole matrix is read and written


def smoothed_cross_entropy(
    logits_NV: Tensor, target_N: Tensor, smoothing: float = 0.0, weight_N: Tensor | None = None
) -> Tensor:
    """A scalar: the mean over the targets that are not `IGNORED`, by weight where they have one; 0 where none counts."""
    _check(smoothing, logits_NV, target_N)
    loss_N = F.cross_entropy(
        precise(logits_NV), target_N, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
    )
    return (loss_N * _share(target_N, weight_N)).sum()


def next_token(logits_BTV: Tensor, tokens_BT: Tensor, counts_BT: Tensor | None = None) -> Tensor:
    """Mean cross entropy, a scalar, of each token but the first, which nothing foretells, given those before it.

    Args:
        logits_BTV: of what follows each token.
        counts_BT: which tokens are to be foretold, as True and False, or how much each counts; all of them alike
            where it is not given.
    """
    target_BT, weight_N = tokens_BT[:, 1:], None
    if counts_BT is not None and counts_BT.dtype == torch.bool:
        target_BT = target_BT.masked_fill(~counts_BT[:, 1:], IGNORED)
    elif counts_BT is not None:
        weight_N = counts_BT[:, 1:].flatten()
    return smoothed_cross_entropy(logits_BTV[:, :-1].flatten(0, 1), target_BT.flatten(), weight_N=weight_N)


def linear_cross_entropy(
    states_ND: Tensor,
    words_VD: Tensor,
    target_N: Tensor,
    bias_V: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    weight_N: Tensor | None = None,
) -> Tensor:
    """`smoothed_cross_entropy` of the logits `states words^T + bias`, some tokens at a time: no more of the logits exist.

    The gradients are added up on the way, so that nothing is computed twice. Double backward is refused.
    """
    _check(smoothing, states_ND, target_N)
    share_N = _share(target_N, weight_N)
    return cast(Tensor, _Linear.apply(states_ND, words_VD, bias_V, target_N, share_N, smoothing))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_ND: Tensor,
        words_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        share_N: Tensor,
        smoothing: float,
    ) -> Tensor:
        device = states_ND.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states_ND.dtype
        with torch.autocast(device, enabled=False):
            x_ND, w_VD = states_ND.to(dtype), words_VD.to(dtype)
            by_state, by_word, by_bias = ctx.needs_input_grad[:3]
            dx_ND = torch.empty_like(states_ND) if by_state else None
            dw_VD = torch.zeros_like(precise(words_VD)) if by_word else None
            db_V = torch.zeros_like(precise(bias_V)) if by_bias and bias_V is not None else None
            loss = precise(states_ND.new_zeros(()))
            rows = max(FEWEST, (CPU_LOGITS if device == "cpu" else DEVICE_LOGITS) // len(w_VD))
            for first in range(0, len(x_ND), rows):
                some = slice(first, first + rows)
                logits_CV = precise(x_ND[some] @ w_VD.T)
                if bias_V is not None:
                    logits_CV += bias_V
                share_C = share_N[some].to(loss.dtype)
                loss += _into_gradient(logits_CV, target_N[some], share_C, smoothing)
                if dx_ND is not None:
                    dx_ND[some] = logits_CV.to(dtype) @ w_VD
                if dw_VD is not None and dw_VD.dtype == dtype:
                    dw_VD.addmm_(logits_CV.T, x_ND[some])
                elif dw_VD is not None:
                    dw_VD += logits_CV.to(dtype).T @ x_ND[some]
                if db_V is not None:
                    db_V += logits_CV.sum(0)
        ctx.save_for_backward(dx_ND, dw_VD, db_V)
        ctx.dtypes = [None if x is None else x.dtype for x in (states_ND, words_VD, bias_V)]
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # to what is saved, nothing could be traced back
            raise RuntimeError(
                "linear_cross_entropy has no second derivative; take one of smoothed_cross_entropy."
            )
        found = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *(None if d is None else (d * grad).to(dtype) for d, dtype in found), None, None, None


def _into_gradient(logits_CV: Tensor, target_C: Tensor, share_C: Tensor, smoothing: float) -> Tensor:
    """The loss of some tokens, a scalar; their logits are overwritten with its gradient."""
    there_C1 = target_C.clamp(min=0)[:, None]
    wanted_C = (1 - smoothing) * logits_CV.gather(1, there_C1)[:, 0] + smoothing * logits_CV.mean(1)
    top_C1 = logits_CV.amax(1, keepdim=True)
    sum_C1 = logits_CV.sub_(top_C1).exp_().sum(1, keepdim=True)
    logits_CV.mul_(share_C[:, None] / sum_C1)
    if smoothing:
        logits_CV.sub_(share_C[:, None] * (smoothing / logits_CV.shape[1]))
    logits_CV.scatter_add_(1, there_C1, share_C[:, None] * (smoothing - 1))
    return ((sum_C1.log() + top_C1)[:, 0] - wanted_C) @ share_C


def _share(target_N: Tensor, weight_N: Tensor | None) -> Tensor:
    """How much each token is of the mean; 0 where it does not count."""
    share_N = (target_N != IGNORED).float()
    if weight_N is not None:
        share_N = share_N * weight_N
    mean = distributed.all_reduce_sum(share_N.sum()) / distributed.world_size()
    return share_N / torch.where(mean > 0, mean, 1)


def _check(smoothing: float, rows: Tensor, target_N: Tensor) -> None:
    if not 0 <= smoothing < 1:
        raise ValueError(
            f"A share of {smoothing} of the labels cannot be smoothed; it is at least 0 and below 1."
        )
    if rows.dim() != 2 or target_N.shape != rows.shape[:1]:
        raise ValueError(
            f"{list(target_N.shape)} targets do not fit rows of shape {list(rows.shape)}; give [N] and [N, ...]."
        )
