"""The smallest difference between two arms that their training seeds can show, and the seeds that a given difference needs.

A thin front of ``repro.claims.power``, the statistics of the claims: two independent arms, two-sided test. The unit of inference is the training
seed: more questions or samples do not replace it.

    >>> round(smallest_effect(5, sd=1.0), 1)
    2.1
"""

from __future__ import annotations

from repro.claims import power

ALPHA, POWER = 0.05, 0.8  # two-sided test; share of true differences of that size that it finds


def smallest_effect(seeds: int, sd: float) -> float | None:
    """Difference that ``seeds`` seeds an arm show with probability ``POWER``, in the unit of sd; None below two seeds.

    sd: standard deviation between the seeds of an arm.
    """
    return power.minimum_detectable_effect(power.independent(seeds, sd), ALPHA, POWER) if seeds >= 2 else None


def seeds_needed(effect: float, sd: float) -> int | None:
    """Seeds an arm at which a true difference of ``effect`` is found with probability ``POWER``; None if more than a thousand."""
    try:
        return power.seeds_needed(effect, lambda n: power.independent(n, sd), ALPHA, POWER)
    except ValueError:
        return None
