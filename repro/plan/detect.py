"""The smallest difference between two arms that their training seeds can show, and the seeds that a given difference needs.

Uses ``repro.claims.power``, the statistics of the claims; without it the textbook noncentral t (Cohen 1988, chapter 2), which at 3 seeds an arm
promises up to a tenth of power too much. The unit of inference is the training seed: more questions or samples do not replace it.

    >>> round(smallest_effect(5, sd=1.0), 1)
    2.1
"""

from __future__ import annotations

ALPHA, POWER = 0.05, 0.8  # two-sided test; share of true differences of that size that it finds
MOST = 1000  # seeds an arm


def power(effect: float, seeds: int, sd: float) -> float:
    """Chance that a two-sided t test of two independent arms of ``seeds`` training seeds finds a true difference of ``effect``.

    sd: standard deviation between the seeds of an arm, in the unit of effect (points).
    """
    try:
        from repro.claims import power as claims
    except ImportError:
        return textbook_power(effect, seeds, sd)
    return claims.power(effect, claims.independent(seeds, sd), ALPHA)


def textbook_power(effect: float, seeds: int, sd: float) -> float:
    """``power`` by the noncentral t with 2 x seeds - 2 degrees of freedom."""
    from scipy import stats

    df, shift = 2 * seeds - 2, abs(effect) / (sd * (2 / seeds) ** 0.5)
    reach = stats.t.isf(ALPHA / 2, df)
    return float(stats.nct.sf(reach, df, shift) + stats.nct.cdf(-reach, df, shift))


def smallest_effect(seeds: int, sd: float) -> float | None:
    """Difference that ``seeds`` seeds an arm show with probability ``POWER``, in the unit of sd; None below two seeds."""
    if seeds < 2:
        return None
    low, high = 0.0, sd
    while power(high, seeds, sd) < POWER:
        high *= 2
    while high - low > 1e-4 * sd:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, seeds, sd) >= POWER else (middle, high)
    return high


def seeds_needed(effect: float, sd: float) -> int | None:
    """Seeds an arm at which a true difference of ``effect`` is found with probability ``POWER``; None if more than ``MOST``."""
    if power(effect, MOST, sd) < POWER:
        return None
    low, high = 2, MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, sd) >= POWER else (middle + 1, high)
    return low
