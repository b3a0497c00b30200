"""Numbers, axes and lines: what is drawn is what was given."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyviews.report.curves import LABEL, MOST, Axis, apart, line_chart, thin
from manyviews.report.numbers import bounds, log_ticks, number, short, ticks, with_margin
from manyviews.report.story import Curve

values = st.floats(-1e9, 1e9, allow_subnormal=False)


@pytest.mark.parametrize(
    ("value", "percent", "said"),
    [
        (0.7431, True, "74.3%"),
        (1, True, "100.0%"),
        (0.7431, False, "0.7431"),
        (12000, False, "12,000"),
        (-3.5958, False, "−3.596"),
        (1e-5, False, "1e-5"),
        (123456.7, False, "123,457"),
        (None, False, "–"),
        (math.nan, True, "–"),
        (math.inf, False, "∞"),
        (-math.inf, True, "−∞"),
    ],
)
def test_number(value: float | None, percent: bool, said: str) -> None:
    assert number(value, percent) == said


def test_a_margin_sets_the_digits_of_its_value() -> None:
    assert with_margin(621.73, 10.83) == "622 ± 11"
    assert with_margin(505.04, 7.395) == "505.0 ± 7.4"
    assert with_margin(0.42, 0.0123, percent=True) == "42.0% ± 1.2"
    assert with_margin(0.42, None, percent=True) == "42.0%"
    assert with_margin(math.nan, 0.1) == "–"
    assert with_margin(3.0, 0.0) == "3.00 ± 0.00"


def test_ticks_are_round() -> None:
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert ticks(0, 4800, 4) == [0, 2000, 4000]
    assert log_ticks(0.9, 1100) == [1, 10, 100, 1000]
    assert log_ticks(6, 90) == [10, 20, 50]
    assert short(20000) == "20k" and short(2.5e6) == "2.5M" and short(0.5, percent=True) == "50%"


@given(values, st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_lie_inside_and_evenly(low: float, extent: float, count: int) -> None:
    high = low + extent
    if (high - low) < 1e-9 * abs(low) or high <= low:
        return
    marks = ticks(low, high, count)
    slack = 1e-6 * extent + 1e-9 * abs(low)
    assert all(low - slack <= mark <= high + slack for mark in marks)
    assert len(marks) <= 2 * count
    gaps = {round((b - a) / extent, 5) for a, b in pairwise(marks)}
    assert len(gaps) <= 2 and (not gaps or max(gaps) - min(gaps) < 1e-4)


@given(st.lists(values, min_size=1, max_size=20))
def test_bounds_hold_every_value_and_are_never_empty(given_values: list[float]) -> None:
    low, high = bounds(given_values)
    assert low < high and low <= min(given_values) and max(given_values) <= high


@given(st.lists(st.floats(0, 190), min_size=1, max_size=10))
def test_labels_never_touch_and_keep_their_order(tops: list[float]) -> None:
    placed = apart(sorted(tops))
    assert all(b - a >= LABEL - 1e-9 for a, b in pairwise(placed))
    assert placed[-1] <= 190


def test_labels_that_are_apart_stay_where_they_are() -> None:
    assert apart([10, 60, 120]) == [10, 60, 120]


@given(st.integers(MOST + 1, 3000), st.integers(0, 2**31))
def test_thinning_keeps_mean_extremes_and_reach(count: int, seed: int) -> None:
    xs = list(range(count))
    ys = [math.sin(seed + 0.37 * x) for x in xs]
    line = thin("loss", xs, ys)
    assert len(line.points) <= MOST and line.reach == (0, count - 1)
    faint = [y for _, y in line.faint if y is not None]
    assert max(faint) == max(ys) and min(faint) == min(ys)
    whole = count - count % line.run
    means = [y for _, y in line.points[: whole // line.run] if y is not None]
    assert math.isclose(sum(means) * line.run, sum(ys[:whole]), abs_tol=1e-6)


def test_a_short_series_is_drawn_as_it_is() -> None:
    line = thin("loss", [0, 1, 2], [5, math.nan, 3])
    assert line.points == [(0, 5), (1, None), (2, 3)] and line.run == 1 and line.faint == []


def test_a_log_axis_spaces_powers_evenly_and_drops_what_has_no_logarithm() -> None:
    axis = Axis(1, 100, log=True)
    assert axis.at(10) == pytest.approx(0.5)
    curve = Curve("rank", "epoch", {"rank": ([0, 1, 2], [0.0, 10.0, 100.0])}, log_y=True)
    chart = line_chart(curve)
    assert chart is not None and "10 at epoch 1, 100 at 2" in chart
    assert line_chart(Curve("rank", "epoch", {"rank": ([0], [-1.0])}, log_y=True)) is None


def test_one_point_is_a_dot() -> None:
    chart = line_chart(Curve("loss", "step", {"loss": ([7], [2.0])}))
    assert chart is not None and "h0" in chart
