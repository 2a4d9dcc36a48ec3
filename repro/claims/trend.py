"""Trend over ordered arms, such as accuracy against the discount factor (H4.6) or against the SFT budget (H3.1).

Two tests: Jonckheere-Terpstra asks only for the order, the slope uses declared scores of the arms. Differs from testing all pairs in
spending one test on the one question that was asked, which with 3 seeds an arm is the difference between an answer and none.

    >>> from repro.claims.trend import jonckheere
    >>> jonckheere([[47.9, 48.2], [53.5, 53.0], [55.7, 57.8]]).p  # 1 of the 90 orders of 2 + 2 + 2 seeds
    0.0111...
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from repro.claims import checks
from repro.claims.comparison import Comparison
from repro.claims.intervals import contrast


def jonckheere(
    arms: Sequence[Sequence[float]],
    rng: np.random.Generator | None = None,
    *,
    alternative: str = "greater",
    max_exact: int = 20_000,
    resamples: int = 10_000,
) -> Comparison:
    """Jonckheere-Terpstra test that values rise with the arm's place (Terpstra 1952, Jonckheere 1954), by permutation, so ties are exact.

    Args:
        arms: seed values of each arm, in the declared order; at least 2 arms of at least 2 seeds.
        rng: only read when there are more than ``max_exact`` assignments of seeds to arms.
        alternative: "greater" (rising), "less" (falling) or "two-sided".
        max_exact, resamples: assignments enumerated at most; sampled beyond, with p = (hits + 1) / (resamples + 1).

    Returns:
        Comparison whose estimate is the share of pairs from different arms in the claimed order, ties counting half: 0.5 without trend.

    Raises:
        ValueError: fewer than 2 arms or seeds, NaN, another alternative, or sampling needed without ``rng``.
    """
    checks.one_of("alternative", alternative, ("greater", "less", "two-sided"))
    if len(arms) < 2:
        raise ValueError(f"a trend needs at least 2 arms, got {len(arms)}")
    data = [checks.values(f"arm {i}", arm) for i, arm in enumerate(arms)]
    sizes = [x.size for x in data]
    pool = np.concatenate(data)
    above = (np.sign(pool[None, :] - pool[:, None]) + 1) / 2  # [i, j]: 1 where j is above i
    places = np.repeat(np.arange(len(data)), sizes)
    pairs = sum(m * n for m, n in itertools.combinations(sizes, 2))

    def share(labels: np.ndarray) -> np.ndarray:  # labels [assignments, seeds]
        return np.einsum("aij,ij->a", labels[:, :, None] < labels[:, None, :], above) / pairs

    observed = float(share(places[None])[0])
    ways = math.factorial(pool.size) // math.prod(math.factorial(n) for n in sizes)
    exact = ways <= max_exact
    if exact:
        labels = _assignments(tuple(sizes))
    elif rng is None:
        raise ValueError(f"{ways} assignments are too many to enumerate: pass rng to sample them")
    else:
        labels = rng.permuted(np.tile(places, (resamples, 1)), axis=1)
    found = np.concatenate([share(chunk) for chunk in np.array_split(labels, max(1, labels.size * pool.size // 1_000_000))])
    # Shares are multiples of 1 / (2 pairs), so half such a step separates a tie from a rounding error.
    slack, extra = 0.25 / pairs, 0 if exact else 1
    rising = (int((found >= observed - slack).sum()) + extra) / (len(found) + extra)
    falling = (int((found <= observed + slack).sum()) + extra) / (len(found) + extra)
    p = {"greater": rising, "less": falling, "two-sided": min(1.0, 2 * min(rising, falling))}[alternative]
    return Comparison(f"jonckheere, {'exact' if exact else 'sampled'}", observed, p, tuple(sizes))


def slope(arms: Sequence[Sequence[float]], scores: Sequence[float], alternative: str = "two-sided") -> Comparison:
    """Least-squares slope of the arms' means against declared scores, as a contrast with Welch-Satterthwaite degrees of freedom.

    Each arm weighs the same however many seeds it has, and arms may differ in variance.

    Args:
        arms: seed values of each arm, points.
        scores: one number an arm, for instance log10 of the SFT tokens; the slope is in points per unit of score.

    Raises:
        ValueError: scores all equal, not one an arm, or as ``intervals.contrast``.
    """
    x = checks.values("scores", scores)
    if x.size != len(arms):
        raise ValueError(f"{len(arms)} arms and {x.size} scores")
    centred = x - x.mean()
    if checks.variance(x) == 0:
        raise ValueError(f"scores must differ, got {x.tolist()}")
    t = contrast(arms, (centred / (centred @ centred)).tolist())
    return Comparison("slope", t.value, t.p_value(alternative=alternative), tuple(len(arm) for arm in arms), t)


@cache
def _assignments(sizes: tuple[int, ...]) -> np.ndarray:
    """Every way to give arm 0 ``sizes[0]`` seeds, arm 1 ``sizes[1]``, and so on: arm numbers [assignments, seeds]."""

    def fill(labels: list[int], arm: int) -> Iterator[list[int]]:
        free = [i for i, label in enumerate(labels) if label < 0]
        if arm == len(sizes):
            yield labels
            return
        for chosen in itertools.combinations(free, sizes[arm]):
            taken = set(chosen)
            yield from fill([arm if i in taken else label for i, label in enumerate(labels)], arm + 1)

    return np.array(list(fill([-1] * sum(sizes), 0)))
