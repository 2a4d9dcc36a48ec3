"""Estimates and intervals against scipy, textbook formulas and slow loops."""

import doctest
import importlib
import math
import pkgutil
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from repro import claims
from repro.claims import intervals
from repro.claims.intervals import Estimate, Interval, contrast, difference, paired_difference, prediction_interval
from tests.claims.strategies import RELAXED, arms, pairs, seeds

A, B = [54.0, 55.0, 56.5, 53.0], [51.0, 52.0, 50.0]


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(claims.__path__, "repro.claims.")] + ["repro.claims"])
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


@given(seeds(), seeds())
@RELAXED
def test_difference_is_scipys_welch(a, b):
    ours, theirs = difference(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert ours.df == pytest.approx(theirs.df)
    assert ours.p_value() == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval(0.9)
    assert ours.interval(0.9) == Interval(pytest.approx(interval.low), pytest.approx(interval.high), 0.9)


@given(pairs())
@RELAXED
def test_paired_difference_is_scipys(ab):
    ours, theirs = paired_difference(*ab), stats.ttest_rel(*ab)
    assert ours.p_value() == pytest.approx(theirs.pvalue, rel=1e-9)
    assert ours.df == pytest.approx(len(ab[0]) - 1)


@given(arms(4), st.lists(st.sampled_from([-2.0, -1.0, 0.5, 1.0]), min_size=4, max_size=4))
@RELAXED
def test_contrast_by_hand(four, weights):
    parts = [w**2 * statistics.variance(x) / len(x) for w, x in zip(weights, four, strict=True)]
    df = sum(parts) ** 2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, four, strict=True))
    found = contrast(four, weights)
    assert found.value == pytest.approx(sum(w * statistics.fmean(x) for w, x in zip(weights, four, strict=True)), abs=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt(sum(parts)))
    assert found.df == pytest.approx(df)


@given(seeds(), seeds(), st.integers(-100, 100))
@RELAXED
def test_antisymmetric_and_blind_to_a_common_shift(a, b, shift):
    ab, ba, moved = difference(a, b), difference(b, a), difference([x + shift for x in a], [x + shift for x in b])
    assert ab.value == pytest.approx(-ba.value)
    assert ab.p_value() == pytest.approx(ba.p_value(), abs=1e-12)
    assert ab.interval().low == pytest.approx(-ba.interval().high)
    assert moved.value == pytest.approx(ab.value, abs=1e-9)
    assert moved.p_value() == pytest.approx(ab.p_value(), abs=1e-9)


@given(seeds(), seeds(), st.floats(0.5, 0.999))
@RELAXED
def test_interval_excludes_zero_exactly_when_p_is_below_alpha(a, b, level):
    estimate = difference(a, b)
    if abs(estimate.p_value() - (1 - level)) > 1e-9:
        assert (0.0 in estimate.interval(level)) == (estimate.p_value() > 1 - level)
    assert estimate.p_value(alternative="greater") + estimate.p_value(alternative="less") == pytest.approx(1)


def test_prediction_interval_of_one_arm_is_the_textbook_one():
    x = [50.0, 52.0, 51.0, 55.0, 53.0]
    half = stats.t.ppf(0.975, 4) * statistics.stdev(x) * math.sqrt(1 + 1 / 5)
    found = prediction_interval([x], [1])
    assert (found.low, found.high) == (pytest.approx(52.2 - half), pytest.approx(52.2 + half))
    many = prediction_interval([x], [1], runs=10**12)  # another study without noise: the confidence interval
    assert many.low == pytest.approx(intervals.mean(x).interval().low)


def test_prediction_interval_holds_new_runs_as_often_as_it_says():
    rng = np.random.default_rng(11)
    rounds, held = 3000, 0
    for _ in range(rounds):
        a, b = rng.normal(55, 1.5, 5), rng.normal(52, 1.5, 5)
        held += (rng.normal(55, 1.5) - rng.normal(52, 1.5)) in prediction_interval([a, b], [1, -1])
    assert held / rounds == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / rounds) + 0.01)  # Satterthwaite is approximate


def test_an_estimate_from_a_published_standard_error():
    estimate = Estimate(3.0, (1.0**2,), (8,))
    assert (estimate.standard_error, estimate.df) == (1.0, 8.0)
    assert estimate.p_value() == pytest.approx(2 * stats.t.sf(3.0, 8))


def test_bootstrap_percentile_against_a_loop():
    x = np.array([50.0, 52.0, 51.0, 55.0, 53.0, 49.0])
    rng = np.random.default_rng(0)
    draws = [rng.choice(x, x.size).mean() for _ in range(4000)]
    found = intervals.bootstrap([x], np.mean, np.random.default_rng(1), method="percentile", resamples=4000)
    error = np.std(draws) * 2.7 * math.sqrt(2 / 4000)  # of a 2.5 % quantile of 4000 normal draws, both sides random
    assert found.low == pytest.approx(np.quantile(draws, 0.025), abs=4 * error)
    assert found.high == pytest.approx(np.quantile(draws, 0.975), abs=4 * error)


def test_bca_leans_with_the_skew_and_repeats_with_its_generator():
    x = np.array([1.0, 1.2, 1.1, 1.4, 1.3, 1.2, 1.1, 6.0, 1.0, 1.3])
    bca = intervals.bootstrap([x], np.mean, np.random.default_rng(3))
    assert bca == intervals.bootstrap([x], np.mean, np.random.default_rng(3))
    percentile = intervals.bootstrap([x], np.mean, np.random.default_rng(3), method="percentile")
    assert bca.low > percentile.low and bca.high > percentile.high


def test_bootstrap_of_equal_seeds_is_a_point_not_nan():
    assert intervals.bootstrap([[50.0, 50.0, 50.0]], np.mean, np.random.default_rng(0)) == Interval(50.0, 50.0, 0.95)


def test_nested_bootstrap_is_wider_than_seeds_alone():
    rng = np.random.default_rng(5)
    a, b = 100 * rng.binomial(4, 0.6, (5, 40)) / 4, 100 * rng.binomial(4, 0.5, (5, 40)) / 4
    nested = intervals.nested_bootstrap(a, b, np.random.default_rng(6))
    seeds_only = intervals.bootstrap(
        [a.mean(axis=1), b.mean(axis=1)], lambda x, y, axis: x.mean(axis) - y.mean(axis), np.random.default_rng(6), method="percentile"
    )
    assert nested.high - nested.low > seeds_only.high - seeds_only.low
    assert a.mean() - b.mean() in nested


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(RELAXED, max_examples=30)
def test_clopper_pearson_from_beta_quantiles(case):
    hits, n = case
    found = intervals.binomial_interval(hits, n)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, hits, n - hits + 1) if hits else 0, abs=1e-9)
    assert found.high == pytest.approx(stats.beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: difference([54.0], B), "arm 0: 1 seed"),
        (lambda: difference(A, [51.0, math.nan]), "arm 1: NaN"),
        (lambda: difference([[1.0, 2.0]], B), "one number a seed"),
        (lambda: difference([50.0] * 3, [40.0] * 3), "no spread"),
        (lambda: difference([0.1 + 0.2] * 3, [0.3, 0.1 + 0.2]), "no spread"),  # rounding is no spread
        (lambda: paired_difference(A, B), "4 and 3"),
        (lambda: contrast([A, B], [1.0]), "2 arms and 1 weights"),
        (lambda: difference(A, B).interval(95), "level"),
        (lambda: difference(A, B).p_value(alternative="both"), "two-sided, greater, less"),
        (lambda: prediction_interval([A], [1], runs=0), "runs"),
        (lambda: intervals.bootstrap([[1.0]], np.mean, np.random.default_rng(0)), "1 seed"),
        (lambda: intervals.bootstrap([A, B], np.mean, np.random.default_rng(0), paired=True), "same seeds"),
        (lambda: intervals.bootstrap([A], np.mean, np.random.default_rng(0), method="bayes"), "BCa"),
        (lambda: intervals.nested_bootstrap(np.ones((3, 4)), np.ones((3, 5)), np.random.default_rng(0)), "same questions"),
        (lambda: Estimate(1.0, (0.0,), (4,)), "not all 0"),
        (lambda: Estimate(1.0, (math.nan,), (4,)), "finite variances"),
        (lambda: Estimate(1.0, (1.0, 1.0), (4,)), "each with degrees"),
        (lambda: intervals.binomial_interval(3, 2), "3 of 2"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
