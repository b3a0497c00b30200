"""Adam (Kingma & Ba 2015, arXiv:1412.6980)."""

import torch
from torch import Tensor

from manyviews.claims import Claim, Equal, Found, Gap
from manyviews.recipe import Recipe
from manyviews.training.optimisers import over

BETA1, BETA2, ALPHA = 0.9, 0.999, 1e-3  # section 2
STEPS, WEIGHTS, SEEDS = 100, 64, 5


def _gradients(seed: int) -> Tensor:
    """Gradients of every step, as if of a slope with noise as large as itself: `[T, D]`."""
    noise_TD = torch.randn(STEPS, WEIGHTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 1 + noise_TD


def _ours(g_TD: Tensor) -> Tensor:
    """Where our optimiser goes, in learning rates, `[T, D]`."""
    w_D = torch.zeros(WEIGHTS, dtype=torch.float64, requires_grad=True)
    adam = over([w_D], Recipe(optimiser="adam", lr=ALPHA, inertia=BETA1, beta2=BETA2, weight_decay=0.0))
    path = []
    for g_D in g_TD:
        w_D.grad = g_D.clone()
        adam.step()
        path.append(w_D.detach() / ALPHA)
    return torch.stack(path)


def _uncorrected(g_TD: Tensor) -> Tensor:
    """Algorithm 1 without its two lines of correction, in learning rates, `[T, D]`."""
    m = v = torch.zeros(WEIGHTS, dtype=torch.float64)
    theta, path = torch.zeros(WEIGHTS, dtype=torch.float64), []
    for g_D in g_TD:
        m, v = BETA1 * m + (1 - BETA1) * g_D, BETA2 * v + (1 - BETA2) * g_D**2
        theta = theta - m / (v.sqrt() + 1e-8)
        path.append(theta)
    return torch.stack(path)


def first_steps() -> Found:
    """The size of the first step and of the largest of all, in learning rates, the mean over weights."""
    figures: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        g_TD = _gradients(seed)
        for name, path_TD in (("corrected", _ours(g_TD)), ("uncorrected", _uncorrected(g_TD))):
            size_TD = path_TD.diff(dim=0, prepend=torch.zeros(1, WEIGHTS, dtype=torch.float64)).abs()
            figures.setdefault(name, []).append(float(size_TD[0].mean()))
            figures.setdefault(f"{name}, largest", []).append(float(size_TD.amax(0).mean()))
    return Found(figures | {"(1 - b1) / sqrt(1 - b2)": [(1 - BETA1) / (1 - BETA2) ** 0.5] * SEEDS})


def rescaled() -> Found:
    """How far the weights get in all steps, for gradients of two sizes."""
    gradients = [_gradients(seed) for seed in range(SEEDS)]
    return Found(
        {
            "gradient": [float(_ours(g)[-1].abs().mean()) for g in gradients],
            "gradient x 1000": [float(_ours(1000 * g)[-1].abs().mean()) for g in gradients],
        }
    )


CLAIMS = {
    "adam-bias": Claim(
        sentence="Without bias correction, Adam's first steps are too large.",
        source="sections 3 and 6.4",
        exact=first_steps,
        predicts=(
            Equal("uncorrected", "(1 - b1) / sqrt(1 - b2)", within=1e-4),
            Gap("uncorrected", "corrected", low=2.0),
            Gap("uncorrected, largest", "corrected, largest", low=2.0),
        ),
        unit="first step and largest of a hundred, in learning rates",
        paper="No figure for the size of a step; without correction, training is unstable where the second beta is close to 1 (figure 4).",
        remark="After one step the two averages are only 1 - b1 of the gradient and 1 - b2 of its square, so without correction the first step is (1 - b1) / sqrt(1 - b2) learning rates.",
    ),
    "adam-scale": Claim(
        sentence="The size of Adam's steps does not depend on the size of the gradients.",
        source="section 2.1",
        exact=rescaled,
        predicts=Equal("gradient", "gradient x 1000", within=1e-3),
        unit="way after 100 steps, in learning rates",
        paper="Exact: scaling the gradients by c scales the mean by c and the root of the mean square by c.",
    ),
}
