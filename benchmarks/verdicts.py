"""How often the verdicts on claims are wrong, on planted effects: `python benchmarks/verdicts.py`.

Differences of two arms by seed are drawn around a known truth, in units of their standard deviation: no effect, a small one
(a half), a true one (four). A claim that one arm beats the other is then judged by three intervals: Student's t, which the
package uses, and two bootstraps. Printed: how often it is said to hold where it does not, to fail where it holds (by a
hair's breadth), how often a true effect is found and how often a small one is left open, and how often the interval covers the truth.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from manyviews.claims.predictions import Difference, Order
from manyviews.claims.verdict import judge, seeds_needed
from manyviews.evaluation.paired import LEVEL, interval

SEEDS = (3, 4, 5, 10)
DRAWS = 1000  # of a bootstrap
Draw = Callable[[np.random.Generator, int], np.ndarray]
CHANCE: dict[str, Draw] = {  # of mean 0 and deviation 1
    "normal": lambda rng, n: rng.standard_normal(n),
    "heavy tails": lambda rng, n: rng.standard_t(5, n) / np.sqrt(5 / 3),
    "skewed": lambda rng, n: rng.exponential(1.0, n) - 1.0,
}
EFFECTS = {"none": 0.0, "small": 0.5, "true": 4.0}  # standard deviations


def student(d: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    found = interval(d.tolist())
    return found.low, found.high


def percentile(d: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    means = d[rng.integers(len(d), size=(DRAWS, len(d)))].mean(1)
    low, high = np.quantile(means, (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)


def bca(d: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Bias-corrected and accelerated (Efron 1987)."""
    means = d[rng.integers(len(d), size=(DRAWS, len(d)))].mean(1)
    below = np.clip((means < d.mean()).mean() + (means == d.mean()).mean() / 2, 1 / DRAWS, 1 - 1 / DRAWS)
    bias = norm.ppf(below)
    left = (d.sum() - d) / (len(d) - 1)  # the mean without each
    spread = left.mean() - left
    cubes, squares = (spread**3).sum(), (spread**2).sum()
    speed = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + norm.ppf((LEVEL / 2, 1 - LEVEL / 2))
    low, high = np.quantile(means, norm.cdf(bias + z / (1 - speed * z)))
    return float(low), float(high)


INTERVALS = {"t": student, "percentile": percentile, "BCa": bca}


def rates(how: str, chance: str, seeds: int, times: int, seed: int = 0) -> dict[str, float]:
    """Shares of ``times`` repetitions: false "holds", false "fails", true effects found, small ones left open, coverage."""
    rng = np.random.default_rng((seed, seeds, *map(ord, how + chance)))
    said = {name: {"holds": 0, "fails": 0, "open": 0} for name in EFFECTS}
    covered = 0
    for name, effect in EFFECTS.items():
        for _ in range(times):
            low, high = INTERVALS[how](effect + CHANCE[chance](rng, seeds), rng)
            said[name]["holds" if low > 0 else "fails" if high < 0 else "open"] += 1
            covered += low <= effect <= high
    return {
        "holds wrongly": said["none"]["holds"] / times,
        "fails wrongly": said["none"]["fails"] / times,
        "true effect found": said["true"]["holds"] / times,
        "small one left open": said["small"]["open"] / times,
        "covers": covered / (times * len(EFFECTS)),
    }


def chains(arms: int, seeds: int, times: int, seed: int = 0) -> dict[str, float]:
    """The package's own verdict on a chain of arms: all equal, all apart but one pair, all apart."""
    rng = np.random.default_rng((seed, arms, seeds))
    names = [str(arm) for arm in range(arms)]
    wrong = {"holds, all equal": 0, "holds, one pair equal": 0, "found, all apart": 0}
    for _ in range(times):
        for key, steps in {
            "holds, all equal": [0.0] * arms,
            "holds, one pair equal": [4.0 * max(0, arms - 2 - arm) for arm in range(arms)],
            "found, all apart": [4.0 * (arms - arm) for arm in range(arms)],
        }.items():
            figures = {
                n: (step + rng.standard_normal(seeds)).tolist() for n, step in zip(names, steps, strict=True)
            }
            wrong[key] += judge([Order(*names)], figures).state == "holds"
    return {key: count / times for key, count in wrong.items()}


def settled(effect: float, seeds: int, times: int, seed: int = 0) -> tuple[float, float]:
    """Of claims left open: the median number of seeds asked for, and how often as many do settle it."""
    rng = np.random.default_rng((seed, seeds))
    one, asked, done = Difference.between("a", "b", 0.0), [], 0
    while len(asked) < times:
        d = (effect + rng.standard_normal(seeds)).tolist()
        found = interval(d)
        if found.low <= 0 <= found.high and (needed := seeds_needed(one, d)) is not None:
            more = interval([*d, *(effect + rng.standard_normal(max(1, needed - seeds))).tolist()])
            asked.append(needed)
            done += not more.low <= 0 <= more.high
    return float(np.median(asked)), done / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2000, help="repetitions of each case")
    times = parser.parse_args().times
    columns = list(rates("t", "normal", 3, 1))
    print(f"{'interval':<11}{'chance':<12}{'seeds':>6}  " + "  ".join(f"{column:>19}" for column in columns))
    for chance in CHANCE:
        for seeds in SEEDS:
            for how in INTERVALS:
                row = rates(how, chance, seeds, times)
                print(f"{how:<11}{chance:<12}{seeds:>6}  " + "  ".join(f"{row[c]:>19.1%}" for c in columns))
    print("\nthe verdict on a chain of three arms, normal chance")
    for seeds in SEEDS:
        row = chains(3, seeds, times)
        print(f"{seeds:>3} seeds  " + "   ".join(f"{key} {value:.1%}" for key, value in row.items()))
    print("\nthe number of seeds asked for, where it could not be told (an effect of one standard deviation)")
    for seeds in (3, 5):
        needed, done = settled(1.0, seeds, times // 4)
        print(f"{seeds:>3} seeds  median asked {needed:.0f}, which settle it in {done:.1%}")


if __name__ == "__main__":
    main()
