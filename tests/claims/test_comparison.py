"""Two-arm tests and trends against loops written from their definitions, scipy, and examples worked by hand."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from repro.claims import comparison, trend
from repro.claims.intervals import contrast, difference
from tests.claims.strategies import RELAXED, arms, pairs, seeds

A, B = [54.0, 55.0, 56.5], [51.0, 52.0, 50.0]


def slow_permutation(a, b, extreme):
    """Share of all relabellings that ``extreme`` calls as extreme as the data; exact in rationals since the data are eighths."""
    pool = [round(8 * x) for x in [*a, *b]]
    n, k = len(pool), len(a)

    def gap(chosen):  # difference of means times k * (n - k)
        top = sum(pool[i] for i in chosen)
        return top * (n - k) - (sum(pool) - top) * k

    gaps = [gap(chosen) for chosen in itertools.combinations(range(n), k)]
    return sum(extreme(g, gap(range(k))) for g in gaps) / len(gaps)


@given(seeds(2, 5), seeds(2, 5))
@settings(RELAXED, max_examples=60)
def test_permutation_against_a_loop(a, b):
    assert comparison.permutation(a, b).p == slow_permutation(a, b, lambda g, o: abs(g) >= abs(o))
    assert comparison.permutation(a, b, alternative="greater").p == slow_permutation(a, b, lambda g, o: g >= o)
    assert comparison.permutation(a, b, alternative="less").p == slow_permutation(a, b, lambda g, o: g <= o)


@pytest.mark.parametrize(("n", "floor"), [(3, 2 / 20), (4, 2 / 70), (5, 2 / 252)])
def test_permutation_floor(n, floor):
    assert comparison.permutation(np.arange(n) + 100.0, np.arange(n) + 0.0).p == pytest.approx(floor)


@given(pairs(2, 7))
@settings(RELAXED, max_examples=60)
def test_sign_flip_against_a_loop(ab):
    gaps = [round(8 * (x - y)) for x, y in zip(*ab, strict=True)]
    sums = [sum(s * g for s, g in zip(signs, gaps, strict=True)) for signs in itertools.product((1, -1), repeat=len(gaps))]
    assert comparison.sign_flip(*ab).p == sum(abs(s) >= abs(sum(gaps)) for s in sums) / len(sums)
    assert comparison.sign_flip(*ab, alternative="greater").p == sum(s >= sum(gaps) for s in sums) / len(sums)


def test_sampled_tests_agree_with_exact_ones():
    rng = np.random.default_rng(2)
    a, b = rng.normal(1, 1, 7), rng.normal(0, 1, 7)
    for test in (comparison.permutation, comparison.sign_flip):
        exact = test(a, b).p
        sampled = test(a, b, np.random.default_rng(3), max_exact=1, resamples=20_000)
        assert sampled.method.endswith("sampled")
        assert sampled.p == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000) + 1e-4)
        assert sampled.p == test(a, b, np.random.default_rng(3), max_exact=1, resamples=20_000).p


def test_a_sampled_p_is_never_zero_and_ten_against_ten_is_exact():
    a, b = np.arange(10) + 100.0, np.arange(10) + 0.0
    assert comparison.permutation(a, b, np.random.default_rng(0), max_exact=1, resamples=99).p >= 1 / 100
    full = comparison.permutation(a, b)
    assert (full.method, full.p) == ("permutation, exact", 2 / math.comb(20, 10))


@given(seeds(), seeds(), st.integers(-50, 50))
@settings(RELAXED, max_examples=50)
def test_symmetries(a, b, shift):
    moved = [x + shift for x in a], [x + shift for x in b]
    for test in (comparison.welch, comparison.permutation):
        assert test(a, b).estimate == pytest.approx(-test(b, a).estimate, abs=1e-9)
        assert test(a, b).p == pytest.approx(test(b, a).p)
        assert test(a, b).p == pytest.approx(test(*moved).p, abs=1e-9)
        assert 0 <= test(a, b).p <= 1
        assert test(a, b, alternative="greater").p == pytest.approx(test(b, a, alternative="less").p)


@given(pairs(), st.integers(-50, 50))
@settings(RELAXED, max_examples=50)
def test_paired_symmetries(ab, shift):
    a, b = ab
    moved = [x + shift for x in a], [x + shift for x in b]
    for test in (comparison.paired_t, comparison.sign_flip):
        assert test(a, b).p == pytest.approx(test(b, a).p) == pytest.approx(test(*moved).p, abs=1e-9)
        assert 0 <= test(a, b).p <= 1


def test_pairing_helps_when_arms_share_what_their_seeds_do():
    shared = np.array([-4.0, 0.0, 3.0, 1.0, -2.0])
    a, b = 55 + shared + [0.1, -0.2, 0.0, 0.2, -0.1], 53 + shared
    assert comparison.paired_t(a, b).p < 0.001 < comparison.welch(a, b).p


def test_interaction_by_hand():
    after_a, before_a, after_b, before_b = [60.0, 62.0], [50.0, 54.0], [45.0, 47.0], [44.0, 48.0]
    found = comparison.interaction(after_a, before_a, after_b, before_b)  # (61 - 52) - (46 - 46) = 9, variances 2, 8, 2, 8 over 2 seeds
    assert found.estimate == pytest.approx(9)
    assert found.t.standard_error == pytest.approx(math.sqrt(10))
    assert found.t.df == pytest.approx(10**2 / (1 + 16 + 1 + 16))
    assert found.p == pytest.approx(2 * stats.t.sf(9 / math.sqrt(10), 100 / 34))


@given(arms(4, 3, 3))
@settings(RELAXED, max_examples=50)
def test_linked_interaction_is_welch_on_gains(four):
    gains = [[x - y for x, y in zip(four[i], four[i + 1], strict=True)] for i in (0, 2)]
    if all(len(set(g)) > 1 for g in gains):
        found = comparison.interaction(*four, linked=True)
        assert found.p == pytest.approx(stats.ttest_ind(*gains, equal_var=False).pvalue)
        assert found.estimate == pytest.approx(comparison.interaction(*four).estimate, abs=1e-9)


@given(seeds(), seeds(), st.floats(0.1, 20), st.floats(0.01, 0.2))
@RELAXED
def test_tost_against_two_t_tests_and_its_interval(a, b, margin, alpha):
    estimate = difference(a, b)
    found = comparison.tost(estimate, margin, alpha)
    lower = stats.ttest_ind([x + margin for x in a], b, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind([x - margin for x in a], b, equal_var=False, alternative="less").pvalue
    assert found.p == pytest.approx(max(lower, upper), abs=1e-9)
    if abs(found.p - alpha) > 1e-9:
        assert found.equivalent == (-margin < found.interval.low and found.interval.high < margin) == (found.p < alpha)


@given(seeds(), seeds())
@settings(RELAXED, max_examples=25)
def test_probability_of_improvement(a, b):
    found, interval = comparison.probability_of_improvement(a, b, np.random.default_rng(0), resamples=200)
    assert found == pytest.approx(statistics.fmean((x > y) + (x == y) / 2 for x in a for y in b))
    assert found == pytest.approx(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert found == pytest.approx(1 - comparison.probability_of_improvement(b, a, np.random.default_rng(0), resamples=200)[0])
    assert 0 <= interval.low <= interval.high <= 1


def slow_jonckheere(groups):
    def count(order):
        return sum((x < y) + (x == y) / 2 for g, h in itertools.combinations(order, 2) for x in g for y in h)

    sizes = [len(g) for g in groups]
    found = []
    for order in itertools.permutations([x for g in groups for x in g]):
        ends = list(itertools.accumulate(sizes, initial=0))
        found.append(count([order[i:j] for i, j in itertools.pairwise(ends)]))
    return sum(f >= count(groups) for f in found) / len(found), sum(f <= count(groups) for f in found) / len(found)


@given(arms(3, 2, 2))
@settings(RELAXED, max_examples=25)
def test_jonckheere_against_all_orders(groups):
    rising, falling = slow_jonckheere(groups)
    assert trend.jonckheere(groups).p == pytest.approx(rising)
    assert trend.jonckheere(groups, alternative="less").p == pytest.approx(falling)
    assert trend.jonckheere(groups, alternative="two-sided").p == pytest.approx(min(1, 2 * min(rising, falling)))
    assert trend.jonckheere(groups[::-1]).estimate == pytest.approx(1 - trend.jonckheere(groups).estimate)


def test_jonckheere_of_two_arms_is_mann_whitney_and_sampling_agrees():
    a, b = [1.0, 2.0, 5.0, 4.0], [3.0, 6.0, 7.0, 8.0]
    exact = trend.jonckheere([a, b]).p
    assert exact == pytest.approx(stats.mannwhitneyu(b, a, alternative="greater", method="exact").pvalue)
    sampled = trend.jonckheere([a, b], np.random.default_rng(4), max_exact=1)
    assert sampled.p == pytest.approx(exact, abs=4 * math.sqrt(exact / 10_000) + 1e-4)


def test_six_arms_of_three_seeds_show_the_published_order():
    table = [22.3, 26.5, 26.9, 29.9, 30.2, 31.3]  # Table 5 averages, put in rising order, as if every arm had three close seeds
    found = trend.jonckheere([[x - 0.1, x, x + 0.1] for x in table], np.random.default_rng(0), resamples=999)
    assert (found.estimate, found.p) == (1.0, 1 / 1000)


@given(arms(4), st.permutations([0.0, 1.0, 2.0, 4.0]))
@RELAXED
def test_slope_is_least_squares_on_arm_means(four, scores):
    found = trend.slope(four, scores)
    assert found.estimate == pytest.approx(np.polyfit(scores, [statistics.fmean(x) for x in four], 1)[0], abs=1e-8)
    assert found.p == pytest.approx(trend.slope(four, [x + 7 for x in scores]).p, abs=1e-9)
    assert found.p == pytest.approx(trend.slope(four, [-x for x in scores]).p, abs=1e-12)


def test_slope_of_two_arms_is_welch():
    assert trend.slope([B, A], [0.0, 2.0]).p == pytest.approx(comparison.welch(A, B).p)
    assert trend.slope([B, A], [0.0, 2.0]).estimate == pytest.approx(comparison.welch(A, B).estimate / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: comparison.welch([54.0], B), "1 seed"),
        (lambda: comparison.permutation(A, [51.0, math.nan]), "NaN"),
        (lambda: comparison.permutation(A, B, alternative="up"), "two-sided"),
        (lambda: comparison.permutation(A, B, max_exact=3), "pass rng"),
        (lambda: comparison.sign_flip(A, B[:2]), "3 and 2"),
        (lambda: comparison.sign_flip(A, B, max_exact=3), "pass rng"),
        (lambda: comparison.permutation(A, B).interval(), "no t interval"),
        (lambda: comparison.tost(contrast([A, B], [1, -1]), 0), "margin"),
        (lambda: comparison.tost(contrast([A, B], [1, -1]), 1, 0.6), "alpha"),
        (lambda: comparison.interaction(A, B[:2], A, B, linked=True), "3 and 2"),
        (lambda: comparison.probability_of_improvement([1.0], B, np.random.default_rng(0)), "1 seed"),
        (lambda: trend.jonckheere([A]), "at least 2 arms"),
        (lambda: trend.jonckheere([A, [1.0]]), "arm 1: 1 seed"),
        (lambda: trend.jonckheere([A, B], max_exact=1), "pass rng"),
        (lambda: trend.jonckheere([A, B], alternative="up"), "greater"),
        (lambda: trend.slope([A, B], [1.0, 1.0]), "scores must differ"),
        (lambda: trend.slope([A, B], [1.0, 2.0, 3.0]), "2 arms and 3 scores"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
