"""Curve summaries against numpy, loops and curves whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from repro.claims import curves
from tests.claims.strategies import RELAXED

MANY = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 12)), elements=st.integers(0, 100).map(float))
RNG = np.random.default_rng


def test_slope_and_area_of_a_line():
    steps = np.array([0.0, 1.0, 3.0, 10.0])
    lines = np.stack([5 + 2 * steps, 40 - steps])
    assert curves.slope(steps, lines) == pytest.approx([2, -1])
    assert curves.area(steps, lines) == pytest.approx([15, 35])  # mean height over [0, 10]


@given(MANY)
@RELAXED
def test_slope_is_polyfits(y):
    steps = np.arange(y.shape[1]) ** 1.5
    assert curves.slope(steps, y) == pytest.approx(np.polyfit(steps, y.T, 1)[0], abs=1e-7)


def test_slope_of_the_late_part_only():
    y = np.array([[0.0, 50.0, 60.0, 61.0, 62.0]])
    assert curves.slope(range(5), y, since=2) == pytest.approx([1])


@given(MANY, st.floats(0.01, 1))
@RELAXED
def test_final_mean(y, window):
    width = max(1, round(window * y.shape[1]))
    assert curves.final_mean(y, window) == pytest.approx(y[:, -width:].mean(axis=1))


@given(MANY, st.floats(0.01, 1), st.floats(0.1, 0.9), st.floats(0, 50))
@RELAXED
def test_collapse_is_its_definition(y, window, share, floor):
    width = max(1, round(window * y.shape[1]))
    for curve, flag in zip(y, curves.collapsed(y, window=window, share=share, floor=floor), strict=True):
        means = [curve[i : i + width].mean() for i in range(len(curve) - width + 1)]
        best, last = max(means), means[-1]
        if not math.isclose(last, share * best, abs_tol=1e-9):
            assert flag == (last < share * best and best > floor)


def test_collapse_examples():
    rise, steady, never, spike = np.linspace(0, 60, 20), np.full(20, 50.0), np.full(20, 0.5), np.full(20, 30.0)
    fall = np.concatenate([np.linspace(20, 60, 15), [30, 10, 5, 2, 1]])
    spike[3] = 90  # one lucky step is no level that was held
    found = curves.collapsed(np.stack([rise, steady, never, spike, fall]), window=0.2, floor=5)
    assert found.tolist() == [False, False, False, False, True]


def test_collapse_share_has_an_interval_even_when_all_collapse():
    share, interval = curves.collapse_share([True] * 5)
    assert share == 1.0
    assert (interval.low, interval.high) == (pytest.approx(0.025 ** (1 / 5)), 1.0)


def test_bootstrap_over_seeds():
    x = RNG(0).normal(50, 2, 12)
    mean, interval = curves.mean_interval(x, RNG(1))
    assert mean == pytest.approx(x.mean()) and mean in interval
    t = stats.t.interval(0.95, 11, x.mean(), stats.sem(x))
    assert interval.high - interval.low == pytest.approx(t[1] - t[0], rel=0.2)  # 12 seeds: close to the t interval, a little shorter
    assert interval.high - interval.low < t[1] - t[0]


def test_difference_between_arms_swaps_sign():
    a, b = RNG(2).normal(50, 2, 10), RNG(3).normal(45, 2, 10)
    forward, backward = curves.difference_interval(a, b, RNG(4)), curves.difference_interval(b, a, RNG(4))
    assert forward[0] == -backward[0] and forward[1].low > 0
    assert forward[1].low == pytest.approx(-backward[1].high, abs=0.5)  # other resamples, same distribution
    shared = RNG(5).normal(0, 10, 10)
    paired, independent = (curves.difference_interval(a + shared, b + shared, RNG(6), paired=p)[1] for p in (True, False))
    assert paired.high - paired.low < independent.high - independent.low


def test_correlation_of_the_climb_forgets_the_fall():
    """Length falls for ten steps with the other curve, then climbs against it; only the climb counts."""
    length = np.array([[*range(30, 20, -1), *range(20, 40)]], dtype=float)
    other = np.where(np.arange(30) < 9, length, 100 - length)  # the lowest three steps begin with the tenth
    assert curves.climb_correlation(length, other, 0.1) == pytest.approx([-1])
    assert curves.climb_correlation(length, -other, 0.1) == pytest.approx([1])
    tail = slice(9, 30)
    noisy = other + RNG(0).normal(0, 5, other.shape)
    assert curves.climb_correlation(length, noisy, 0.1)[0] == pytest.approx(stats.pearsonr(length[0, tail], noisy[0, tail]).statistic)


def test_summary_takes_the_reference_off():
    metric = {"summary": "final", "window": 0.5, "unit": "raw"}
    steps, values = np.arange(4.0), np.array([1.0, 2.0, 3.0, 5.0])
    assert curves.summary(metric, steps, values) == 4
    assert curves.summary({**metric, "reference": 100.0}, steps, values) == -96
    with pytest.raises(ValueError, match="NaN or infinite at step 2"):
        curves.summary({**metric, "summary": "correlation"}, steps, values, np.array([1.0, 2.0, math.nan, 4.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curves.climb_correlation(np.array([[3.0, 2.0, 1.0]]), np.ones((1, 3))), "no climb"),
        (lambda: curves.climb_correlation(np.array([[1.0, 2.0, 3.0]]), np.ones((1, 3))), "constant"),
        (lambda: curves.climb_correlation(np.ones((1, 3)), np.ones((1, 4))), "same steps"),
        (lambda: curves.slope([0, 1], np.ones((2, 3))), "2 steps and curves of 3"),
        (lambda: curves.slope([0, 0], np.ones((2, 2))), "steps must rise"),
        (lambda: curves.slope([0, 1], np.ones((2, 2)), since=1), "2 steps from 1 on"),
        (lambda: curves.area([0, 1], np.array([[1.0, math.nan]])), "NaN"),
        (lambda: curves.final_mean(np.ones(3)), "shape"),
        (lambda: curves.final_mean(np.ones((1, 3)), 0), "window"),
        (lambda: curves.collapsed(np.ones((1, 3)), share=1.5), "share"),
        (lambda: curves.collapsed(-np.ones((1, 3))), "not negative"),
        (lambda: curves.collapsed(np.ones((1, 3)), floor=math.nan), "floor"),
        (lambda: curves.collapse_share([]), "0 of 0"),
        (lambda: curves.mean_interval([1.0], RNG(0)), "1 seed"),
        (lambda: curves.difference_interval([1.0, 2.0], [1.0, 2.0, 3.0], RNG(0), paired=True), "2 and 3"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
