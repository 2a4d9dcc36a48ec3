"""The same contrast without the t distribution: a rearrangement test of its seeds, and how often a seed of one arm beats one of the other.

Shown beside the verdict and never in its place: the claim files declare the t tests. With few seeds a rearrangement test has a floor (0.008 for
5 against 5, 0.0625 for 5 pairs), so a large p-value of it beside a small one of the t test is no contradiction, and a small one is support.

    of(claim, values, groups, fixed)        # of repro.claims.engine
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from repro.claims.comparison import permutation, probability_of_improvement, sign_flip
from repro.claims.declared import Claim
from repro.claims.intervals import Interval
from repro.claims.trend import jonckheere

SEED = 0  # of the bootstrap, and of rearrangements too many to enumerate


@dataclass(frozen=True)
class Robustness:
    """``p``: two-sided, not adjusted for other claims; ``method``: of it. ``improvement``: P(a seed of the first arm is beyond one of the second
    in the claimed direction), 0 to 1, with its 95 % bootstrap interval; None but for two trained arms."""

    p: float
    method: str
    improvement: tuple[float, Interval] | None = None


def of(
    claim: Claim,
    values: Mapping[str, Mapping[int, float]],
    groups: tuple[Sequence[Sequence[float]], Sequence[float]],
    fixed: Collection[str],
) -> Robustness | None:
    """Of the seed numbers that ``engine`` compares; None for claims of no effect, whose null is not that of these tests.

    Args:
        values: arm -> training seed -> number.
        groups: independent groups of seed numbers and their weights.
        fixed: arms without a training seed.

    Raises:
        ValueError: fewer than 2 seeds, NaN.
    """
    if claim.direction == "none":
        return None
    rng, data = np.random.default_rng(SEED), [np.asarray(group) for group in groups[0]]
    if claim.test == "trend":
        order = np.argsort([claim.contrast[name] for name in claim.arms], kind="stable")
        test = jonckheere([data[i] for i in order], rng, alternative="two-sided")
    elif len(data) == 1:
        test = sign_flip(data[0], np.zeros_like(data[0]), rng)
    else:  # weights 1 and -1, or two groups of gains that carry their signs
        signs = groups[1]
        test = permutation(signs[0] * data[0], -signs[1] * data[1], rng)
    improvement = None
    if claim.test in ("welch", "paired") and not fixed:
        first, second = (list(values[name].values()) for name in claim.arms)
        ahead = (first, second) if (claim.direction == "increase") == (next(iter(claim.contrast.values())) > 0) else (second, first)
        improvement = probability_of_improvement(*ahead, rng)
    return Robustness(test.p, test.method, improvement)
