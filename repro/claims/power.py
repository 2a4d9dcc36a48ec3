"""Before the runs: power, minimum detectable effect and seeds needed, from the between-seed standard deviation.

Differs from the textbook formula at few seeds: Welch's test estimates its own degrees of freedom, so the noncentral t with the true ones
promises too much (at 3 seeds an arm up to a tenth of power). Here the power is integrated over the estimated variances, exactly up to
quadrature; ``exact=False`` gives the noncentral t. For paired designs the two are the same.

    >>> from repro.claims.power import independent, minimum_detectable_effect, seeds_needed
    >>> round(minimum_detectable_effect(independent(5, sd=1.0)), 1)  # points, at 80 % power
    2.1
    >>> seeds_needed(2.0, lambda n: independent(n, sd=1.0))
    6
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from repro.claims import checks
from repro.claims.intervals import Estimate

NODES = {1: 512, 2: 40, 3: 20, 4: 14}  # Gauss-Legendre nodes a variance; four arms make 38,416 points
TAIL = 1e-8  # of the law of an estimated standard deviation, left out at each end


@dataclass(frozen=True)
class Design(Estimate):
    """An estimate that is still to be made: variances and degrees of freedom as planned; its value means nothing."""


def _design(sds: Sequence[float], seeds: Sequence[int]) -> Design:
    if any(n < 2 for n in seeds):
        raise ValueError(f"every arm needs at least 2 seeds, got {list(seeds)}")
    for sd in sds:
        checks.positive("sd", sd)
    return Design(0.0, tuple(float(sd) ** 2 / n for sd, n in zip(sds, seeds, strict=True)), tuple(n - 1 for n in seeds))


def independent(seeds: int, sd: float, *, seeds_b: int | None = None, sd_b: float | None = None) -> Design:
    """Two independent arms (Welch). ``sd``: between-seed standard deviation of a seed mean, points, decoding noise included."""
    return _design([sd, sd if sd_b is None else sd_b], [seeds, seeds if seeds_b is None else seeds_b])


def paired(seeds: int, sd_difference: float) -> Design:
    """Arms that share seed index and data order. ``sd_difference``: standard deviation of the seed-by-seed differences, points."""
    return _design([sd_difference], [seeds])


def interaction(seeds: int, sd: float | Sequence[float]) -> Design:
    """Difference of differences over four independent arms of ``seeds`` each; ``sd`` in points, one for all or one an arm.

    For linked arms (each "after" trained from its "before") use ``independent`` with the standard deviation of the gains.
    """
    sds = list(sd) if isinstance(sd, Sequence) else [float(sd)] * 4
    if len(sds) != 4:
        raise ValueError(f"an interaction has four arms, got {len(sds)} standard deviations")
    return _design(sds, [seeds] * 4)


def power(effect: float, design: Estimate, alpha: float = 0.05, *, exact: bool = True) -> float:
    """Probability that the two-sided t test at ``alpha`` rejects when the true effect is ``effect`` points, in either direction.

    Args:
        effect: true difference, in the unit of the design's standard deviations.
        design: from ``independent``, ``paired`` or ``interaction``; or an estimate, for what its observed spread could have shown. (Its
            observed *value* is not used: power at that would only restate the p-value, Hoenig and Heisey 2001.)
        alpha: two-sided; divide by the size of the family for the first step of Holm.
        exact: integrate over the estimated variances; otherwise, and beyond four arms, the noncentral t with Satterthwaite's degrees of
            freedom (Cohen 1988), which is exact for one variance.

    Raises:
        ValueError: alpha outside (0, 1), effect not finite.
    """
    checks.share("alpha", alpha)
    if not math.isfinite(effect):
        raise ValueError(f"effect must be finite, got {effect}")
    if not exact or len(design.parts) > max(NODES):
        # One variance with Satterthwaite's degrees of freedom: the noncentral t by definition. scipy's is NaN far in its tails.
        design = Design(0.0, (sum(design.parts),), (design.df,))
    reach, weights = _thresholds(design, alpha)
    shift = abs(effect) / design.standard_error
    return float(min(1.0, weights @ (special.ndtr(shift - reach) + special.ndtr(-shift - reach))))


@lru_cache(maxsize=64)
def _thresholds(design: Estimate, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """How many true standard errors the estimate must reach, at each node of the estimated variances, and the nodes' weights."""
    rules = []
    x, w = special.roots_legendre(NODES[len(design.parts)])
    for part, df in zip(design.parts, design.dfs, strict=True):
        # Over the standard deviation (a chi variable), in which the integrand is smooth down to 0; in the variance it is not.
        low, high = stats.chi.ppf(TAIL, df), stats.chi.isf(TAIL, df)
        sds = low + (high - low) * (x + 1) / 2
        mass = w * stats.chi.pdf(sds, df)
        rules.append((part * sds**2 / df, mass / mass.sum()))
    estimated = np.array(list(itertools.product(*(variances for variances, _ in rules))))  # [nodes, arms]
    weights = np.prod(list(itertools.product(*(mass for _, mass in rules))), axis=1)
    total = estimated.sum(axis=1)
    df = total**2 / (estimated**2 / np.array(design.dfs)).sum(axis=1)
    return special.stdtrit(df, 1 - alpha / 2) * np.sqrt(total) / design.standard_error, weights


def minimum_detectable_effect(design: Estimate, alpha: float = 0.05, target: float = 0.8, *, exact: bool = True) -> float:
    """Smallest true effect, in points, that the two-sided test at ``alpha`` shows with probability ``target``.

    Raises:
        ValueError: alpha or target outside (0, 1), target not above alpha.
    """
    checks.share("alpha", alpha)
    if not alpha < checks.share("target", target):
        raise ValueError(f"target power {target} must be above alpha {alpha}")
    high = design.standard_error
    while power(high, design, alpha, exact=exact) < target:
        high *= 2
    return float(optimize.brentq(lambda effect: power(effect, design, alpha, exact=exact) - target, 0.0, high, xtol=1e-9 * high))


def seeds_needed(
    effect: float, design_of: Callable[[int], Design], alpha: float = 0.05, target: float = 0.8, *, most: int = 1000, exact: bool = True
) -> int:
    """Smallest number of seeds an arm at which ``effect`` points are shown with probability ``target``.

    Args:
        effect: true difference, not 0.
        design_of: from seeds to a design, for instance ``lambda n: independent(n, sd=1.5)``.
        most: give up beyond.

    Raises:
        ValueError: effect 0 or not finite, or more than ``most`` seeds needed.
    """
    checks.positive("abs(effect)", abs(effect))

    def enough(n: int) -> bool:
        return power(effect, design_of(n), alpha, exact=exact) >= target

    if not enough(most):
        raise ValueError(f"more than {most} seeds an arm needed to show {effect} points with power {target}")
    low, high = 2, most
    while low < high:  # power rises with seeds
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
