"""Holm, Benjamini-Hochberg, levels; power against the noncentral t, random draws and published planning numbers."""

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from repro.claims import multiplicity, power
from repro.claims.intervals import Estimate
from tests.claims.strategies import RELAXED


@pytest.fixture(scope="module", autouse=True)
def no_garbage_collection():
    """statsmodels collects garbage in each call of Holm, 40 ms or more for a few microseconds of work."""
    with mock.patch("gc.collect"):
        yield


P = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def slow_holm(p, alpha, family):
    """The textbook step-down loop: reject the smallest while p <= alpha / (claims left)."""
    rejected = [False] * len(p)
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] > alpha / (family - step):
            break
        rejected[i] = True
    return rejected


@given(P, st.floats(0.01, 0.3), st.integers(0, 3))
@RELAXED
def test_holm_decides_as_the_loop(p, alpha, extra):
    adjusted = multiplicity.holm(p, len(p) + extra)
    if np.abs(adjusted - alpha).min() > 1e-12:
        assert (adjusted <= alpha).tolist() == slow_holm(p, alpha, len(p) + extra)


@given(P)
@RELAXED
def test_holm_properties(p):
    adjusted = multiplicity.holm(p)
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()  # monotone
    assert (adjusted >= np.asarray(p)).all() and (adjusted <= 1).all()
    assert (multiplicity.holm(p, len(p) + 2) >= adjusted).all()  # untested claims never help
    assert multiplicity.holm(p[::-1]).tolist() == adjusted[::-1].tolist()


def test_worked_examples():
    p = [0.01, 0.04, 0.03, 0.005]
    assert multiplicity.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert multiplicity.benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert multiplicity.holm_levels(p) == pytest.approx([1 - 0.05 / 3, 1 - 0.05 / 2, 1 - 0.05 / 2, 1 - 0.05 / 4])
    assert multiplicity.holm_levels([0.001], family=1) == pytest.approx([0.95])
    assert multiplicity.bonferroni_level(4) == pytest.approx(0.9875)


@given(P)
@RELAXED
def test_benjamini_hochberg_is_its_definition(p):
    """The smallest level at which the step-up procedure of the paper would reject a claim."""
    adjusted = multiplicity.benjamini_hochberg(p)
    ranked = sorted(p)
    for value, found in zip(p, adjusted, strict=True):
        levels = [other * len(p) / (rank + 1) for rank, other in enumerate(ranked) if other >= value]
        assert found == pytest.approx(min(1.0, *levels), abs=1e-12)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), st.integers(0, 3))
@RELAXED
def test_levels_agree_with_decisions(p, extra):
    alpha, family = 0.05, len(p) + extra
    adjusted, levels = multiplicity.holm(p, family), multiplicity.holm_levels(p, alpha, family)
    if np.abs(adjusted - alpha).min() > 1e-9:
        assert (np.asarray(p) <= 1 - levels).tolist() == (adjusted <= alpha).tolist()
    assert (levels >= 1 - alpha - 1e-12).all() and (levels <= multiplicity.bonferroni_level(family, alpha) + 1e-12).all()


@given(st.integers(2, 30), st.floats(0.1, 5), st.floats(0, 10), st.floats(0.005, 0.2))
@example(2, 0.125, 3.5, 0.005)  # one degree of freedom: the integrand is a step a hundredth wide
@RELAXED
def test_paired_power_is_scipys_noncentral_t(n, sd, effect, alpha):
    critical, shift = stats.t.isf(alpha / 2, n - 1), effect / (sd / math.sqrt(n))
    theirs = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    ours = power.power(effect, power.paired(n, sd), alpha)
    assume(math.isfinite(theirs))  # scipy's is NaN far in its tails
    assert ours == pytest.approx(theirs, abs=1e-5)


@given(st.integers(3, 30), st.floats(0.1, 5), st.floats(0, 10), st.floats(0.005, 0.2))
@RELAXED
def test_with_one_noiseless_arm_the_power_is_the_noncentral_t(n, sd, effect, alpha):
    welch, one = power.independent(n, sd, sd_b=1e-9 * sd), power.paired(n, sd)
    assert power.power(effect, welch, alpha) == pytest.approx(power.power(effect, one, alpha), abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_welch_power_against_draws_of_the_test_statistic(n, ratio):
    """The test statistic drawn from its definition, without the package: normal difference, two chi-square variances."""
    rng, rounds, effect = np.random.default_rng(7), 200_000, 3.0
    va = rng.chisquare(n - 1, rounds) / (n - 1) / n
    vb = ratio**2 * rng.chisquare(n - 1, rounds) / (n - 1) / n
    gap = rng.normal(effect, math.sqrt((1 + ratio**2) / n), rounds)
    df = (va + vb) ** 2 / ((va**2 + vb**2) / (n - 1))
    rate = (2 * stats.t.sf(np.abs(gap) / np.sqrt(va + vb), df) < 0.05).mean()
    design = power.independent(n, 1.0, sd_b=ratio)
    assert power.power(effect, design) == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / rounds))
    if n >= 5 and ratio == 1:
        assert power.power(effect, design, exact=False) == pytest.approx(rate, abs=0.03)


@pytest.mark.parametrize("n", [3, 5])
def test_interaction_power_against_draws(n):
    rng, rounds = np.random.default_rng(8), 200_000
    parts = rng.chisquare(n - 1, (rounds, 4)) / (n - 1) / n
    total = parts.sum(axis=1)
    df = total**2 / (parts**2 / (n - 1)).sum(axis=1)
    rate = (2 * stats.t.sf(np.abs(rng.normal(4.0, 2 / math.sqrt(n), rounds)) / np.sqrt(total), df) < 0.05).mean()
    assert power.power(4.0, power.interaction(n, 1.0)) == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / rounds))


def test_a_textbook_sample_size():
    """Two-sided t test, effect 0.5 SD, 80 % power: 64 a group (Cohen 1988, table 2.4.1); paired: 34."""
    assert power.seeds_needed(0.5, lambda n: power.independent(n, 1.0), exact=False) == 64
    assert power.seeds_needed(0.5, lambda n: power.paired(n, 1.0)) == 34
    assert power.power(0.5, power.independent(64, 1.0), exact=False) == pytest.approx(0.8015, abs=1e-4)


@given(st.sampled_from([power.independent, power.paired, power.interaction]), st.integers(2, 12), st.floats(0.2, 4))
@settings(RELAXED, max_examples=30)
def test_minimum_detectable_effect_has_the_power_it_names(design, n, sd):
    plan = design(n, sd)
    effect = power.minimum_detectable_effect(plan)
    assert power.power(effect, plan) == pytest.approx(0.8, abs=1e-5)
    assert power.minimum_detectable_effect(design(n, 2 * sd)) == pytest.approx(2 * effect, rel=1e-5)
    assert power.minimum_detectable_effect(design(n + 1, sd)) < effect


def test_seeds_needed_is_the_smallest_that_is_enough():
    for design in (power.independent, power.paired, power.interaction):
        n = power.seeds_needed(3.0, lambda n, design=design: design(n, 1.5))
        assert power.power(3.0, design(n, 1.5)) >= 0.8 > power.power(3.0, design(n - 1, 1.5))
    assert power.seeds_needed(-3.0, lambda n: power.paired(n, 1.5)) == power.seeds_needed(3.0, lambda n: power.paired(n, 1.5))


def test_an_estimate_serves_as_a_design_and_many_arms_fall_back():
    assert power.minimum_detectable_effect(Estimate(99.0, (0.2, 0.2), (4, 4))) == pytest.approx(
        power.minimum_detectable_effect(power.independent(5, 1.0)), rel=1e-9
    )
    six = Estimate(0.0, (0.2,) * 6, (4,) * 6)
    assert power.power(3.0, six) == power.power(3.0, six, exact=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multiplicity.holm([]), "0 seed"),
        (lambda: multiplicity.holm([0.1, math.nan]), "NaN"),
        (lambda: multiplicity.holm([1.2]), r"outside \[0, 1\]"),
        (lambda: multiplicity.holm([0.1, 0.2], family=1), "family of 1"),
        (lambda: multiplicity.holm_levels([0.1], alpha=0), "alpha"),
        (lambda: multiplicity.bonferroni_level(0), "at least one"),
        (lambda: power.independent(1, 1.0), "at least 2 seeds"),
        (lambda: power.independent(3, 0.0), "sd"),
        (lambda: power.interaction(3, [1.0, 2.0]), "four arms"),
        (lambda: power.power(math.nan, power.paired(3, 1.0)), "effect"),
        (lambda: power.power(1.0, power.paired(3, 1.0), alpha=5), "alpha"),
        (lambda: power.minimum_detectable_effect(power.paired(3, 1.0), target=0.04), "above alpha"),
        (lambda: power.seeds_needed(0.0, lambda n: power.paired(n, 1.0)), "effect"),
        (lambda: power.seeds_needed(0.01, lambda n: power.paired(n, 5.0), most=50), "more than 50 seeds"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
