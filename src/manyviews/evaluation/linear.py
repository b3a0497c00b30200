"""Linear classification: how much of the labels can be read off an embedding by a hyperplane a class.

Papers   Zhang, Isola, Efros 2016 (arXiv:1603.08511) brought the protocol; MoCo (arXiv:1911.05722, section 4.1) and
         SimCLR (arXiv:2002.05709, appendix B.6) the settings of ``probe_sgd``; the logistic regression on stored
         features of ``probe_lbfgs`` is CLIP's (arXiv:2103.00020, appendix A.3).
Differs  ``probe_lbfgs`` standardises the features first and tries five decays, CLIP 96 on the features as they are.
         ``probe_sgd`` has SimCLR's rate, decay and schedule, at batches of 256 without Nesterov's momentum, and no
         warm-up as MAE's has.
Shapes   N images, D embedding, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyviews import rng
from manyviews.data import ItemSet
from manyviews.eager import eager
from manyviews.errors import ManyviewsError
from manyviews.evaluation.batches import Plan, augmented, labelled_part, usual_view
from manyviews.evaluation.features import EncoderEmbedder, Features, device_of, embed_all, same_randomness
from manyviews.evaluation.frozen import frozen
from manyviews.evaluation.labels import folds, label_subset
from manyviews.evaluation.schedules import Schedule, share_of_peak
from manyviews.evaluation.scores import Scores, scores
from manyviews.nets.encoder import judging
from manyviews.views import Text, View, Wave

DECAYS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # from strong to weak: each fit starts from the one before
DECAY = 1e-2  # where no class has two labels, nothing can be held out to choose by
FOLDS = 5
FEW = 1_000  # labels; below, all folds are used to choose the decay, above one of them is enough


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier's figures on the test set and how it came to be."""

    scores: Scores
    labels: int  # labelled images that it learned from
    weight_decay: float
    validation: float | None  # top-1 on held-out training labels, by which the decay was chosen

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the scores' figures, and these beside them."""
        own = {name: value for name, value in vars(self).items() if name != "scores"}
        return self.scores.as_dict() | own


def probe_lbfgs(
    train: Features,
    test: Features,
    *,
    classes: int,
    weight_decays: Sequence[float] = DECAYS,
    label_fraction: float = 1.0,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> LinearProbe:
    """Multinomial logistic regression on stored features: no augmentation, no learning rate, seconds.

    Features are standardised by the training set's statistics, for which no labels are needed. The weight decay is the one with the best accuracy on
    training labels that were held out (never the test's); then all the training labels are fitted.

    Args:
        classes: C; labels lie in [0, C).
        weight_decays: the candidates, as the factor before half the squared norm of the weights.
        label_fraction: the share of training labels to use, balanced between classes.
        seed: of the choice of labels and of the held-out ones; the fit itself draws nothing.
    """
    h_ND, labels_N = _labelled(train)
    few = label_subset(labels_N, label_fraction, seed)
    mean_D, std_D = h_ND.mean(0), h_ND.std(0, correction=0)
    std_D = torch.where(std_D > 1e-6 * mean_D.abs().clamp(min=1e-6), std_D, 1.0)  # a channel that never moves
    x_ND, labels_N = ((h_ND[few] - mean_D) / std_D).to(device), labels_N[few]
    decay, validation, near = _choose(x_ND, labels_N, classes, weight_decays, seed)
    classify = fit(x_ND, labels_N, classes, decay, start=near)
    test_ND, truth_M = _labelled(test)
    logits_MC = classify(((test_ND - mean_D) / std_D).to(device))
    return LinearProbe(scores(logits_MC, truth_M, classes), len(few), decay, validation)


@dataclass(frozen=True)
class Linear:
    """A linear classifier: weights ``[C, D]`` and bias ``[C]``."""

    weight_CD: Tensor
    bias_C: Tensor

    def __call__(self, x_ND: Tensor) -> Tensor:
        return F.linear(x_ND, self.weight_CD, self.bias_C)


def fit(
    x_ND: Tensor,
    labels_N: Tensor,
    classes: int,
    weight_decay: float,
    *,
    start: Linear | None = None,
    steps: int = 100,
    tolerance: float = 1e-5,
) -> Linear:
    """Minimise mean cross-entropy + weight_decay / 2 * |W|^2 (the bias goes free) by L-BFGS from ``start`` or zero.

    scikit-learn's ``LogisticRegression`` has the same minimum at ``C = 1 / (N * weight_decay)``. Stops after
    ``steps`` or where no derivative exceeds ``tolerance``; draws nothing, so it is deterministic.
    """
    labels_N = labels_N.to(x_ND.device)
    zero = Linear(x_ND.new_zeros(classes, x_ND.shape[1]), x_ND.new_zeros(classes))
    begin = start or zero
    weight_CD, bias_C = (t.clone().requires_grad_() for t in (begin.weight_CD, begin.bias_C))
    optimiser = eager(torch.optim.LBFGS)(
        [weight_CD, bias_C],
        max_iter=steps,
        tolerance_grad=tolerance,
        tolerance_change=tolerance**2,  # of the loss, which is flat to second order at its minimum
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        with torch.enable_grad():
            loss = F.cross_entropy(F.linear(x_ND, weight_CD, bias_C), labels_N)
            loss = loss + weight_decay / 2 * weight_CD.square().sum()
            loss.backward()
        return loss.detach()

    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    return Linear(weight_CD.detach(), bias_C.detach())


def _choose(
    x_ND: Tensor, labels_N: Tensor, classes: int, weight_decays: Sequence[float], seed: int
) -> tuple[float, float | None, Linear | None]:
    """The weight decay with the best top-1 on held-out training labels, that figure, and the first fold's classifier at it.

    Goes from strong to weak, and no further once two in a row were worse than the best: weaker ones are the slowest.
    """
    if not weight_decays:
        raise ManyviewsError("A linear probe needs a weight decay to try: weight_decays is empty.")
    if len(weight_decays) == 1:
        return weight_decays[0], None, None
    if labels_N.bincount().max() < 2:
        return DECAY, None, None
    fold_N = folds(labels_N, FOLDS, seed)
    held = [fold_N == fold for fold in range(FOLDS if len(labels_N) < FEW else 1)]
    held = [held_N for held_N in held if held_N.any() and not held_N.all()]
    splits = [(x_ND[~h_N], labels_N[~h_N], x_ND[h_N], labels_N[h_N]) for h_N in held]
    judged = sum(int(h_N.sum()) for h_N in held)
    starts: list[Linear | None] = [None] * len(splits)
    best, near, best_right, worse = weight_decays[0], None, -1, 0
    for decay in sorted(weight_decays, reverse=True):
        right = 0
        for k, (x_fit, labels_fit, x_held, labels_held) in enumerate(splits):
            starts[k] = classify = fit(x_fit, labels_fit, classes, decay, start=starts[k])
            right += int((classify(x_held).argmax(1).cpu() == labels_held).sum())
        if right > best_right:  # the strongest among equals
            best, near, best_right, worse = decay, starts[0], right, 0
        else:
            worse += right < best_right
        if worse == 2:
            break
    return best, best_right / judged, near


def _labelled(features: Features) -> tuple[Tensor, Tensor]:
    if features.labels is None:
        raise ValueError("A linear probe needs labels; these features have none.")
    return features.h_ND, features.labels


@dataclass(frozen=True)
class SgdProbe:
    """The last epoch's figures of a classifier trained by SGD on a frozen encoder."""

    scores: Scores
    labels: int  # labelled images that it learned from
    history: tuple[float, ...]  # test top-1 after each epoch: a curve to look at, not to choose from

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the scores' figures, and these beside them."""
        own = {name: value for name, value in vars(self).items() if name != "scores"}
        return self.scores.as_dict() | own


def probe_sgd(
    encoder: nn.Module,
    train: ItemSet,
    test: ItemSet,
    *,
    classes: int,
    size: int,
    epochs: int = 100,
    lr: float = 0.1,
    schedule: Schedule = "cosine",
    batch: int = 256,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_norm: bool = False,
    label_fraction: float = 1.0,
    view: View | Wave | Text | None = None,
    upright: bool = True,
    mirror: bool = True,
    seed: int = 0,
) -> SgdProbe:
    """The papers' linear protocol: a linear layer trained by SGD on augmented images, under a frozen encoder.

    The encoder stays in evaluation mode, batch norm included, and is proven unchanged. The figure is the last
    epoch's. What is drawn is a function of the seed and the step.

    SimCLR's rate and schedule are the defaults; MoCo's are ``lr=30, schedule="step"`` (section 4.1 and its code: its
    features are small). Where neither fits an encoder, ``probe_lbfgs`` has no learning rate to choose, and ``batch_norm``
    makes features small and large alike (MAE's probe, arXiv:2111.06377, appendix A.1).

    Args:
        size: side of the square that the encoder sees, in pixels.
        lr: peak learning rate for a batch of 256, scaled in proportion to the batch.
        batch_norm: the features are standardised before the linear layer by a batch norm that learns nothing else.
        view: how training images are seen; None: random resized crop of 8% to 100% and flip.
        upright: False: images have no up and down, and the usual view is also turned by 0 to 3 quarters.
        mirror: False: their left and right differ, and the usual view is not flipped.

    Raises:
        NotFrozen: the encoder changed.
        ManyviewsError: the classifier diverged.
    """
    if not (lr > 0 and 0 <= momentum < 1 and weight_decay >= 0):
        raise ManyviewsError(
            f"A probe's lr is above 0, its momentum from 0 to below 1 and its weight decay 0 or more, not {lr}, {momentum} "
            f"and {weight_decay}."
        )
    train = labelled_part(train, label_fraction, seed)
    device = device_of(encoder)
    plan = Plan(epochs, batch, seed, "probe")
    total = epochs * plan.steps_per_epoch(len(train))
    with frozen(encoder):
        test_MD, truth_M = _labelled(embed_all(EncoderEmbedder(encoder, size), test))
        linear = linear_head(test_MD.shape[1], classes, seed)
        norm = nn.BatchNorm1d(test_MD.shape[1], eps=1e-6, affine=False) if batch_norm else nn.Identity()
        head = nn.Sequential(norm, linear).to(device)
        optimiser = eager(torch.optim.SGD)(
            head.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
        )
        history = []
        for now in augmented(train, view or usual_view(train.kind, size, upright, mirror), plan, device):
            peak = lr * min(batch, len(train)) / 256
            optimiser.param_groups[0]["lr"] = peak * share_of_peak(now.step / total, schedule)
            with torch.no_grad(), same_randomness(device):
                h_BD = encoder(now.x_BCHW)
            with torch.enable_grad():
                loss = F.cross_entropy(head(h_BD.float()), now.labels_B)
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            if now.ends_epoch:
                with judging(head):
                    history.append(scores(head(test_MD.to(device)), truth_M, classes))
    return SgdProbe(history[-1], len(train), tuple(epoch.top1 for epoch in history))


def linear_head(width: int, classes: int, seed: int) -> nn.Linear:
    """A linear layer with weights from N(0, 0.01) and no bias to begin with, as in MoCo's protocol."""
    head = nn.Linear(width, classes, device="meta").to_empty(device="cpu")  # on "meta" nothing is drawn
    nn.init.normal_(head.weight, std=0.01, generator=rng.generator(seed, "head"))
    nn.init.zeros_(head.bias)
    return head
