"""Many claims at once: Holm for a declared family, Benjamini-Hochberg for exploratory tables.

The adjustments are statsmodels' and scipy's. Differs from a column of stars in that a family is declared beforehand and counts its untested
members too: a claim that could not be tested must not make the others easier to show.

    >>> from repro.claims.multiplicity import holm
    >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.claims import checks


def _p_values(p: Sequence[float], family: int | None) -> tuple[np.ndarray, int]:
    array = checks.values("p", p, at_least=1)
    if (array < 0).any() or (array > 1).any():
        raise ValueError(f"p-values outside [0, 1]: {array.tolist()}")
    size = array.size if family is None else family
    if size < array.size:
        raise ValueError(f"a family of {size} cannot hold {array.size} p-values")
    return array, size


def holm(p: Sequence[float], family: int | None = None) -> np.ndarray:
    """Holm-adjusted p-values; below alpha means rejected with the family-wise error at most alpha, whatever the dependence.

    Args:
        p: p-values [claims].
        family: number of declared claims if more than were tested; the rest count as p = 1.

    Returns:
        float64 [claims], in the order given (Holm 1979, Scand. J. Statist. 6).

    Raises:
        ValueError: no p-value, NaN, outside [0, 1], or more p-values than the family has claims.
    """
    from statsmodels.stats.multitest import multipletests

    array, size = _p_values(p, family)
    return multipletests(np.concatenate([array, np.ones(size - array.size)]), method="holm")[1][: array.size]


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values for the false discovery rate (Benjamini and Hochberg 1995), for exploratory tables only.

    Holds under independence and positive dependence. Arguments, return and errors as ``holm``, without the family.
    """
    from scipy.stats import false_discovery_control

    return false_discovery_control(_p_values(p, None)[0])


def holm_levels(p: Sequence[float], alpha: float = 0.05, family: int | None = None) -> np.ndarray:
    """The confidence level of each claim's interval, such that it excludes the null exactly when Holm rejects.

    The claim of rank i is compared with alpha / (m - i + 1); from the first claim that Holm keeps on, all have that claim's level. This
    makes intervals and decisions agree about the null. It does not make all intervals cover their true values at once with 1 - alpha:
    for that use ``bonferroni_level``.

    Args:
        p: two-sided p-values [claims].
        alpha: family-wise error.
        family: as in ``holm``.

    Returns:
        float64 [claims] in (0, 1), at least 1 - alpha.

    Raises:
        ValueError: as ``holm``, or alpha outside (0, 1).
    """
    checks.share("alpha", alpha)
    array, size = _p_values(p, family)
    rejected = int((holm(array, family) <= alpha).sum())
    ranks = np.empty(array.size, dtype=int)
    ranks[np.argsort(array, kind="stable")] = np.arange(array.size)
    return 1 - alpha / (size - np.minimum(ranks, min(rejected, size - 1)))


def bonferroni_level(claims: int, alpha: float = 0.05) -> float:
    """Level at which ``claims`` intervals cover all their true values with probability 1 - alpha. Raises ValueError."""
    if claims < 1:
        raise ValueError(f"a family has at least one claim, got {claims}")
    return 1 - checks.share("alpha", alpha) / claims
