"""Two training arms, or four, compared over training seeds.

An observation is a seed's mean accuracy on the shared questions, so five seeds are five observations however many questions were asked.
Differs from question-paired tests, which compare two *checkpoints*: with a between-seed spread of 2 points they find a difference between
two arms of one recipe two times in five on 500 questions, and more questions make that worse (tests/claims/test_simulation.py).

    >>> from repro.claims.comparison import permutation, welch
    >>> long, short = [54.0, 55.0, 56.5], [51.0, 52.0, 50.0]
    >>> round(welch(long, short).p, 3), permutation(long, short).p  # 0.1 is the smallest that 3 against 3 can reach
    (0.012, 0.1)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from repro.claims import checks
from repro.claims.intervals import ALTERNATIVES, Estimate, Interval, bootstrap, contrast, difference, paired_difference

MEANINGFUL = 0.75  # probability of improvement above which Bouthillier et al. 2021 call a difference meaningful
CHUNK = 4_000_000  # array cells at a time: enumerating 184,756 splits must not need gigabytes


@dataclass(frozen=True)
class Comparison:
    """``estimate`` (unit of the data), p-value, and the t estimate where the method has one."""

    method: str
    estimate: float
    p: float
    seeds: tuple[int, ...]
    t: Estimate | None = None

    def interval(self, level: float = 0.95) -> Interval:
        """t interval at ``level``. Raises ValueError for methods without one."""
        if self.t is None:
            raise ValueError(f"{self.method} has no t interval")
        return self.t.interval(level)


@dataclass(frozen=True)
class Equivalence:
    """Result of two one-sided tests: ``equivalent`` when ``interval``, at level 1 - 2 alpha, lies inside (-margin, margin)."""

    p: float
    equivalent: bool
    margin: float
    interval: Interval


def welch(a: Sequence[float], b: Sequence[float], alternative: str = "two-sided") -> Comparison:
    """Mean of ``a`` minus mean of ``b`` by Welch's t test (Welch 1947).

    Args:
        a, b: seed means [seeds], at least 2 each, in points.
        alternative: "two-sided", "greater" (a above b) or "less".

    Raises:
        ValueError: fewer than 2 seeds, NaN, no spread in either arm, another alternative.
    """
    t = difference(a, b)
    return Comparison("welch", t.value, t.p_value(alternative=alternative), (len(a), len(b)), t)


def paired_t(a: Sequence[float], b: Sequence[float], alternative: str = "two-sided") -> Comparison:
    """Seed-by-seed t test, for arms that share seed index and data order. Arguments and errors as ``welch``; lengths must agree."""
    t = paired_difference(a, b)
    return Comparison("paired t", t.value, t.p_value(alternative=alternative), (len(a), len(b)), t)


def interaction(
    a_after: Sequence[float], a_before: Sequence[float], b_after: Sequence[float], b_before: Sequence[float], *, linked: bool = False
) -> Comparison:
    """Does the gain of ``a`` exceed the gain of ``b``: (a_after - a_before) - (b_after - b_before), two-sided.

    Args:
        a_after, a_before, b_after, b_before: seed means [seeds], in points; long CoT and short CoT, after and before RL, for H3.2.
        linked: entry i of "after" was trained from entry i of "before", so that the gain of a seed is one observation. Otherwise four
            independent arms, Welch-Satterthwaite degrees of freedom.

    Raises:
        ValueError: as ``welch``; for linked arms also when before and after differ in length.
    """
    seeds = tuple(len(x) for x in (a_after, a_before, b_after, b_before))
    if linked:
        (aa, ab), (ba, bb) = checks.paired(a_after, a_before), checks.paired(b_after, b_before)
        t = difference(aa - ab, ba - bb)
        return Comparison("interaction, linked", t.value, t.p_value(), seeds, t)
    t = contrast([a_after, a_before, b_after, b_before], [1, -1, -1, 1])
    return Comparison("interaction", t.value, t.p_value(), seeds, t)


def tost(estimate: Estimate, margin: float, alpha: float = 0.05) -> Equivalence:
    """Two one-sided tests of |true value| < ``margin`` (Schuirmann 1987; Lakens 2017), for claims of no effect.

    Args:
        estimate: from ``intervals.difference``, ``paired_difference`` or ``contrast``.
        margin: smallest effect of interest, declared before the runs, in the unit of the estimate.
        alpha: of each one-sided test, and so of the claim.

    Raises:
        ValueError: margin not above 0, alpha outside (0, 0.5).
    """
    checks.positive("margin", margin)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must be between 0 and 0.5, got {alpha}")
    p = max(estimate.p_value(-margin, "greater"), estimate.p_value(margin, "less"))
    return Equivalence(p, p < alpha, margin, estimate.interval(1 - 2 * alpha))


def permutation(
    a: Sequence[float],
    b: Sequence[float],
    rng: np.random.Generator | None = None,
    *,
    alternative: str = "two-sided",
    max_exact: int = 200_000,
    resamples: int = 20_000,
) -> Comparison:
    """Permutation test of the difference of means between two independent arms: every split of the seeds, or sampled ones.

    Its null is that the arms have the same *distribution*; it needs no normality. It cannot go below 2 / (number of splits): 0.1 for 3
    against 3 seeds, 0.029 for 4 against 4, 0.008 for 5 against 5.

    Args:
        a, b: seed means [seeds], at least 2 each.
        rng: only read when there are more than ``max_exact`` splits.
        alternative: as ``welch``.
        max_exact, resamples: splits enumerated at most; splits sampled beyond, with p = (hits + 1) / (resamples + 1) (Phipson and
            Smyth 2010).

    Raises:
        ValueError: fewer than 2 seeds, NaN, another alternative, or sampling needed without ``rng``.
    """
    first, second = checks.values("a", a), checks.values("b", b)
    pool, n, k = np.concatenate([first, second]), first.size + second.size, first.size
    observed = float(first.mean() - second.mean())
    total = pool.sum()

    def statistic(chosen: np.ndarray) -> np.ndarray:
        top = pool[chosen].sum(axis=1)
        return top / k - (total - top) / (n - k)

    if math.comb(n, k) <= max_exact:
        splits = itertools.combinations(range(n), k)
        chunks = iter(lambda: list(itertools.islice(splits, CHUNK // n)), [])
        found = np.concatenate([statistic(np.array(chunk)) for chunk in chunks])
        return Comparison("permutation, exact", observed, _share_as_extreme(found, observed, alternative, pool, 0), (k, n - k))
    sampled = _need(rng, math.comb(n, k)).permuted(np.tile(np.arange(n), (resamples, 1)), axis=1)[:, :k]
    p = _share_as_extreme(statistic(sampled), observed, alternative, pool, 1)
    return Comparison("permutation, sampled", observed, p, (k, n - k))


def sign_flip(
    a: Sequence[float],
    b: Sequence[float],
    rng: np.random.Generator | None = None,
    *,
    alternative: str = "two-sided",
    max_exact: int = 200_000,
    resamples: int = 20_000,
) -> Comparison:
    """Paired permutation test: the sign of each seed's difference is flipped (Fisher 1935), all 2^seeds ways or sampled.

    For arms that share seed index and data order; assumes that differences are symmetric around 0 under the null. Cannot go below
    2 / 2^seeds: 0.25 for 3 seeds, 0.0625 for 5, 0.031 for 6. Arguments and errors as ``permutation``; lengths must agree.
    """
    first, second = checks.paired(a, b)
    gaps = first - second
    n, observed = gaps.size, float(gaps.mean())
    if n < 63 and 2**n <= max_exact:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return Comparison("sign flip, exact", observed, _share_as_extreme(signs @ gaps / n, observed, alternative, gaps, 0), (n, n))
    signs = 1 - 2 * _need(rng, 2**n).integers(2, size=(resamples, n))
    return Comparison("sign flip, sampled", observed, _share_as_extreme(signs @ gaps / n, observed, alternative, gaps, 1), (n, n))


def probability_of_improvement(
    a: Sequence[float], b: Sequence[float], rng: np.random.Generator, *, level: float = 0.95, resamples: int = 9999
) -> tuple[float, Interval]:
    """P(a seed of ``a`` scores above a seed of ``b``), ties counting half, with a percentile bootstrap interval over seeds.

    As in rliable (Agarwal et al. 2021, arXiv 2108.13264). The percentile interval, because BCa does not exist where all pairs agree, which
    few seeds often do; then the interval is the point 1 or 0 and says only that.

    Returns:
        (probability, Interval). Swapping the arms gives one minus the probability.

    Raises:
        ValueError: fewer than 2 seeds, NaN.
    """
    first, second = checks.values("a", a), checks.values("b", b)
    interval = bootstrap([first, second], _above, rng, level=level, resamples=resamples, method="percentile")
    return float(_above(first, second)), interval


def _above(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    gaps = np.moveaxis(np.asarray(a), axis, -1)[..., :, None] - np.moveaxis(np.asarray(b), axis, -1)[..., None, :]
    return (np.sign(gaps).mean(axis=(-2, -1)) + 1) / 2


def _need(rng: np.random.Generator | None, ways: int) -> np.random.Generator:
    if rng is None:
        raise ValueError(f"{ways} rearrangements are too many to enumerate: pass rng to sample them")
    return rng


def _share_as_extreme(found: np.ndarray, observed: float, alternative: str, data: np.ndarray, extra: int) -> float:
    """Share of rearrangements at least as extreme as the data. ``extra`` counts the data themselves among sampled ones."""
    checks.one_of("alternative", alternative, ALTERNATIVES)
    sign: Callable[[np.ndarray], np.ndarray] = {"two-sided": np.abs, "greater": np.asarray, "less": np.negative}[alternative]
    # The same split summed in another order differs in the last bits, and a missed tie would make p too small.
    slack = checks.ROUNDING * (float(np.abs(data).max()) or 1.0)
    hits = int((sign(found) >= float(sign(np.float64(observed))) - slack).sum())
    return (hits + extra) / (len(found) + extra)
