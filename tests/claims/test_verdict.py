"""Verdicts on planted effects: how often they err, and what they say of single cases."""

import math

import numpy as np
import pytest
from scipy import stats

from manyviews.claims.predictions import (
    Collapse,
    Difference,
    Equal,
    GainsMore,
    Gap,
    Healthy,
    Order,
    Peak,
    Prediction,
    Rising,
)  # fmt: skip
from manyviews.claims.verdict import differences, judge, seeds_needed
from manyviews.errors import ManyviewsError
from manyviews.evaluation.paired import interval, t_quantile

TIMES = 1500


def planted(
    prediction: Prediction, means: dict[str, float], seeds: int, seed: int = 0, times: int = TIMES
) -> dict[str, float]:
    """Shares of verdicts where each arm's figure is its mean plus noise of deviation 1, beside what a seed adds to all."""
    rng = np.random.default_rng(seed)
    said: dict[str, float] = {"holds": 0.0, "fails": 0.0, "cannot tell": 0.0}
    for _ in range(times):
        shared = 5 * rng.standard_normal(seeds)  # cancels, for seeds are paired
        figures = {arm: (mean + shared + rng.standard_normal(seeds)).tolist() for arm, mean in means.items()}
        said[judge([prediction], figures).state] += 1 / times
    return said


@pytest.mark.parametrize("seeds", [3, 5])
def test_what_is_not_there_is_rarely_found(seeds: int) -> None:
    said = planted(Order("a", "b"), {"a": 0.0, "b": 0.0}, seeds)
    assert said["holds"] < 0.04 and said["fails"] < 0.04  # 2.5% each, and chance of the test itself


def test_a_true_difference_is_found() -> None:
    said = planted(Order("a", "b"), {"a": 8.0, "b": 0.0}, 3)
    assert said["holds"] > 0.95 and said["fails"] == 0
    assert planted(Order("b", "a"), {"a": 8.0, "b": 0.0}, 3)["fails"] > 0.95


def test_of_a_small_one_nothing_is_said() -> None:
    said = planted(Order("a", "b"), {"a": 0.5, "b": 0.0}, 3)
    assert said["cannot tell"] > 0.85 and said["fails"] < 0.04


def test_at_a_ceiling_nothing_is_said() -> None:
    at_most = judge([Order("a", "b")], {"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]})
    assert at_most.state == "cannot tell" and at_most.needed is None
    assert judge([Order("a", "b")], {"a": [1.0], "b": [1.0]}, exact=True).state == "fails"


def test_errors_of_an_order_do_not_add_up() -> None:
    equal = planted(Order("a", "b", "c", "d"), dict.fromkeys("abcd", 0.0), 5)
    assert equal["holds"] < 0.03
    hair = planted(Order("a", ("b", "c", "d")), {"a": 1e-6, "b": 0.0, "c": 0.0, "d": 0.0}, 5)
    assert hair["fails"] < 0.045  # three comparisons, at a third of the level each


def test_errors_of_a_peak_do_not_add_up() -> None:
    arms = "abcdef"
    flat = planted(Peak(*arms), dict.fromkeys(arms, 0.0), 5, times=800)
    assert flat["holds"] < 0.04  # whichever of four happens to be highest
    there = planted(Peak(*arms), dict(zip(arms, (0, 3, 12, 3, 1, 0), strict=True)), 5)
    assert there["holds"] > 0.95
    rising = planted(Peak("a", "b", "c"), {"a": 0.0, "b": 10.0, "c": 20.0}, 5)
    assert rising["fails"] > 0.9 and rising["holds"] == 0


def test_equality_is_shown_and_refuted() -> None:
    prediction = Equal("a", "b", within=10.0)
    assert planted(prediction, {"a": 0.0, "b": 0.0}, 4)["holds"] > 0.9
    assert planted(prediction, {"a": 10.0, "b": 0.0}, 4)["holds"] < 0.04
    assert planted(prediction, {"a": 30.0, "b": 0.0}, 4)["fails"] > 0.95


def test_the_interval_is_that_of_scipy() -> None:
    d = [0.4, 1.1, 0.9, -0.2]
    expected = stats.ttest_1samp(d, 0.0).confidence_interval(0.95)
    found = interval(d)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert t_quantile(0.975, 2) == pytest.approx(stats.t.ppf(0.975, 2))


def test_as_many_seeds_as_asked_for_settle_it() -> None:
    """Were mean and deviation those that were seen, four in five repetitions with that many seeds would decide."""
    d = [0.5, 3.0, -0.5]
    needed = seeds_needed(Difference.between("a", "b", 0.0), d)
    assert needed is not None
    mean, deviation = float(np.mean(d)), float(np.std(d, ddof=1))
    rng = np.random.default_rng(0)
    decided = [interval(rng.normal(mean, deviation, needed).tolist()).low > 0 for _ in range(2000)]
    assert 0.75 < np.mean(decided) < 0.9
    assert seeds_needed(Difference.between("a", "b", 0.0), [1.0, -1.0]) is None  # no number would


def test_cannot_tell_says_how_many_seeds() -> None:
    verdict = judge([Order("a", "b")], {"a": [1.5, 4.0, 0.5], "b": [1.0, 1.0, 1.0]})
    assert verdict.state == "cannot tell" and verdict.needed is not None and verdict.needed > 3
    assert verdict.as_dict()["parts"][0]["needed"] == verdict.needed


def test_one_seed_tells_nothing_unless_it_is_exact() -> None:
    figures = {"a": [2.0], "b": [1.0]}
    assert judge([Order("a", "b")], figures).state == "cannot tell"
    assert judge([Order("a", "b")], figures, exact=True).state == "holds"
    assert judge([Order("b", "a")], figures, exact=True).state == "fails"
    assert judge([Equal("a", "b", within=1.5)], figures, exact=True).state == "holds"
    assert judge([Order("a", "b", margin=1.0)], figures, exact=True).state == "fails"  # more than the margin


def test_margins_gaps_slopes_and_gains() -> None:
    figures = {"a": [10.0, 11.0, 12.0], "b": [5.0, 6.1, 7.0], "c": [1.0, 2.0, 3.1], "d": [0.0, 1.05, 2.0]}
    assert judge([Order("a", "b", margin=4.0)], figures).state == "holds"
    assert judge([Order("a", "b", margin=6.0)], figures).state == "fails"
    assert judge([Order("b", "a")], figures, best="low").state == "holds"
    assert judge([Gap("a", "b", 4.0, 6.0)], figures).state == "holds"
    assert judge([Gap("a", "b", 6.0)], figures).state == "fails"
    assert judge([Rising("d", "c", "b", "a")], figures).state == "holds"
    assert judge([Rising("a", "b", "c")], figures).state == "fails"
    assert judge([GainsMore(("a", "b"), ("c", "d"))], figures).state == "holds"
    assert judge([GainsMore(("a", "b"), ("c", "d"))], figures, best="low").state == "fails"
    slope = Rising("d", "c", "b", "a").ways(1.0)[0][0]
    rows = np.array([figures[arm] for arm in "dcba"])
    assert differences(slope, figures) == pytest.approx(np.polyfit(range(4), rows, 1)[0])


def test_states_of_representations() -> None:
    states = {"x": ["collapsed", "collapsing"], "y": ["healthy", "plateaued"], "z": ["healthy", "collapsed"]}
    figures = {arm: [0.1, 0.1] for arm in states}
    for prediction, state in {
        Collapse("x"): "holds", Collapse("y"): "fails", Collapse("z"): "cannot tell",
        Healthy("x"): "fails", Healthy("y"): "holds", Healthy("z"): "cannot tell",
    }.items():  # fmt: skip
        assert judge([prediction], figures, states).state == state
    both = judge([Healthy("y"), Collapse("x")], figures, states)
    assert (
        both.state == "holds"
        and both.parts[1].found == "collapsed in 1 of 2 seeds, collapsing in 1 of 2 seeds"
    )
    assert judge([Healthy("y"), Collapse("y")], figures, states).state == "fails"
    assert judge([Collapse("x")], figures, {"x": ["too early", "too early"]}).state == "cannot tell"
    alone = judge([Collapse("x")], {"x": [0.1]}, {"x": ["collapsed"]})
    assert alone.state == "cannot tell"
    assert (
        alone.parts[0].found == "collapsed in 1 of 1 seeds, which tells nothing of chance: two are the least"
    )


def test_a_run_without_a_figure_lets_nothing_hold() -> None:
    figures = {"a": [9.0, None, 9.1, 9.0], "b": [1.0, 1.0, math.nan, 1.1]}
    (part,) = judge([Order("a", "b")], figures).parts
    assert part.seeds == 2 and part.mean == pytest.approx(7.95) and part.state == "cannot tell"
    assert part.found == "no figure under 2 of 4 seeds" and part.needed is None
    whole = {"a": [9.0, 9.1, 9.0], "b": [1.0, 1.0, 1.1]}
    assert judge([Order("a", "b")], whole).state == "holds"
    assert (
        judge([Order("b", "a")], figures).state == "cannot tell"
        and judge([Order("b", "a")], whole).state == "fails"
    )
    assert judge([Order("a", "b")], {"a": [None], "b": [1.0]}).state == "cannot tell"


def test_an_arm_that_diverged_under_every_seed_is_beaten() -> None:
    figures = {"a": [9.0, 9.1, 9.0], "b": [None, None, None], "c": [1.0, 1.0, 1.1]}
    fallen = {"a": ["healthy"] * 3, "b": ["diverged"] * 3, "c": ["healthy"] * 3}
    for best in ("high", "low"):
        (part,) = judge([Order("a", "b")], figures, fallen, best=best).parts
        assert part.state == "holds" and part.found == "b diverged under every seed"
        assert judge([Order("b", "a")], figures, fallen, best=best).state == "cannot tell"
    assert judge([Order("a", ("b", "c"))], figures, fallen).state == "holds"
    assert judge([Order("c", ("b", "a"))], figures, fallen).state == "fails"
    assert (
        judge([Gap("a", "b", low=0)], figures, fallen).state == "cannot tell"
    )  # says nothing of which is better
    once = fallen | {"b": ["diverged", "healthy", "diverged"]}
    assert judge([Order("a", "b")], figures | {"b": [None, 1.0, None]}, once).state == "cannot tell"
    assert judge([Order("a", "b")], figures | {"a": [9.0, None, 9.0]}, fallen).state == "cannot tell"
    assert judge([Order("a", "b")], {"a": [9.0], "b": [None]}, {"b": ["diverged"]}).state == "cannot tell"


@pytest.mark.parametrize("make", [lambda: Order("a"), lambda: Peak("a", "b"), lambda: Rising("a")])
def test_predictions_of_too_few_arms_are_refused(make: object) -> None:
    with pytest.raises(ManyviewsError, match="needs"):
        make()  # pyright: ignore[reportCallIssue]


def test_a_margin_counts_and_is_told_whatever_is_predicted() -> None:
    figures = {"a": [1.0, 1.1, 1.2], "b": [3.0, 3.1, 3.2], "c": [0.0, 0.1, 0.2]}
    for make, gain in (
        (lambda margin: Peak("a", "b", "c", margin=margin), 2.0),
        (lambda margin: Rising("c", "a", "b", margin=margin), 1.5),
        (lambda margin: GainsMore(("b", "a"), ("a", "c"), margin), 1.0),
    ):
        assert judge([make(gain - 0.2)], figures).state == "holds"
        assert judge([make(gain + 0.2)], figures).state == "fails"
        assert str(make(gain)) != str(make(0.0))
    assert judge([Peak("b", "c", "a")], figures, best="low").state == "holds"
