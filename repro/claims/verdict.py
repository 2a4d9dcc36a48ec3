"""The verdict rule: from an effect and its interval to one of six words and the reason.

Differs from "significant or not" in three ways. A margin, declared beforehand as the smallest effect worth having, separates "not reproduced"
(an effect of that size is excluded) from "inconclusive" (it is not; the smallest effect that these seeds could have shown is given). Being
smaller than published is judged by a prediction interval, because the published run was noisy too. Guards come before all numbers.

The rows are read in this order, effects turned so that positive is what the paper claims:

    not tested           a guard has a reason, or fewer than min_seeds
    reproduced           interval above 0, estimate at least the margin, published value not above the prediction interval
    reproduced smaller   interval above 0 otherwise
    contradicted         interval below 0
    not reproduced       interval below the margin
    inconclusive         anything else

An interval inside (0, margin) is "reproduced smaller": the claimed sign is shown and its size is not, and the reason says so.

    >>> from repro.claims.intervals import Interval
    >>> from repro.claims.verdict import directional
    >>> directional(3.1, Interval(1.2, 5.0, 0.99), margin=2.0, seeds=5).name
    'reproduced'
    >>> str(directional(0.4, Interval(-3.0, 3.8, 0.99), margin=2.0, seeds=5, detectable=4.1))
    'inconclusive: [-3.0, 3.8] holds both 0 and the margin 2.0; effects from 4.1 points on would have been shown'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from repro.claims import checks, power
from repro.claims.comparison import tost
from repro.claims.intervals import Estimate, Interval

NAMES = ("reproduced", "reproduced smaller", "not reproduced", "contradicted", "inconclusive", "not tested")
DIRECTIONS = ("increase", "decrease")
MIN_SEEDS = 5


@dataclass(frozen=True)
class Verdict:
    """One of ``NAMES``, why, and for "inconclusive" the smallest effect that would have been shown (points, 80 % power)."""

    name: str
    reason: str
    minimum_detectable_effect: float | None = None
    proxy: bool = False

    def __str__(self) -> str:
        return f"{'at proxy scale: ' if self.proxy else ''}{self.name}: {self.reason}"


def directional(
    estimate: float | None,
    interval: Interval | None,
    *,
    margin: float,
    seeds: int,
    direction: str = "increase",
    min_seeds: int = MIN_SEEDS,
    published: float | None = None,
    prediction: Interval | None = None,
    guards: Sequence[str] = (),
    detectable: float | None = None,
    proxy: bool = False,
) -> Verdict:
    """Verdict on "A differs from B in this direction", from numbers alone.

    Args:
        estimate: A minus B (or any contrast), in points; may be None or NaN only where a guard fires.
        interval: around it, over training seeds, at the Holm-adjusted level.
        margin: smallest effect of interest, above 0, in points.
        seeds: training seeds of the smallest arm.
        direction: "increase" if the paper claims a positive effect, else "decrease".
        min_seeds: declared by the claim.
        published, prediction: the paper's effect in its own sign, and the interval of ``intervals.prediction_interval`` for it; both or
            neither. Ignored at proxy scale, which tests mechanisms and not sizes.
        guards: reasons from ``guards.check``.
        detectable: minimum detectable effect, from ``power.minimum_detectable_effect``; only reported when inconclusive.
        proxy: the scale is below the paper's.

    Raises:
        ValueError: no guard fired and the estimate is missing, NaN or outside its interval; margin not above 0; another direction; a
            published value without prediction interval or the reverse.
    """
    checks.positive("margin", margin)
    checks.one_of("direction", direction, DIRECTIONS)
    if (published is None) != (prediction is None):
        raise ValueError("a published value and its prediction interval come together")
    reasons = _untested(guards, seeds, min_seeds)
    if reasons:
        return Verdict("not tested", reasons, proxy=proxy)
    value, low, high = _checked(estimate, interval)
    if direction == "decrease":
        value, low, high = -value, -high, -low
    text = _text(low, high)
    if low > 0:
        if value < margin:
            below = ", which is excluded" if high < margin else ""
            return Verdict(
                "reproduced smaller", f"{text} is above 0, but {value:z.1f} is below the margin {margin:z.1f}{below}", proxy=proxy
            )
        reason = f"{text} is above 0 and {value:z.1f} is at least the margin {margin:z.1f}"
        if published is not None and prediction is not None and not proxy:
            claimed, least, most = (
                (published, prediction.low, prediction.high) if direction == "increase" else (-published, -prediction.high, -prediction.low)
            )
            if claimed > most:
                return Verdict(
                    "reproduced smaller", f"{reason}, but the published {claimed:z.1f} is above {_text(least, most)}, expected of a rerun"
                )
            reason += (
                f"; larger than the published {claimed:z.1f}"
                if claimed < least
                else f"; the published {claimed:z.1f} is as expected of a rerun"
            )
        return Verdict("reproduced", reason, proxy=proxy)
    if high < 0:
        return Verdict("contradicted", f"{text} is below 0", proxy=proxy)
    if high < margin:
        return Verdict("not reproduced", f"{text} excludes effects of the margin {margin:z.1f} and does not exclude 0", proxy=proxy)
    return Verdict("inconclusive", f"{text} holds both 0 and the margin {margin:z.1f}{_could(detectable)}", detectable, proxy)


def no_effect(
    estimate: Estimate | None,
    *,
    margin: float,
    seeds: int,
    alpha: float = 0.05,
    min_seeds: int = MIN_SEEDS,
    guards: Sequence[str] = (),
    proxy: bool = False,
) -> Verdict:
    """Verdict on "A and B do not differ", through two one-sided tests.

    "reproduced": both tests pass at ``alpha``. "contradicted": the interval at 1 - ``alpha`` lies outside (-margin, margin). "not
    reproduced": it excludes 0 and the estimate reaches the margin, which is what would have shown an effect. Else "inconclusive".

    Args:
        estimate: A minus B with its standard error, points; None only where a guard fires.
        margin: largest difference that still counts as none, above 0, in points.
        alpha: Holm-adjusted, below 0.5.
        seeds, min_seeds, guards, proxy: as in ``directional``.

    Raises:
        ValueError: no estimate and no guard, NaN, margin not above 0, alpha outside (0, 0.5).
    """
    checks.positive("margin", margin)
    reasons = _untested(guards, seeds, min_seeds)
    if reasons:
        return Verdict("not tested", reasons, proxy=proxy)
    if estimate is None:
        raise ValueError("no estimate and no reason why not")
    interval = estimate.interval(1 - alpha)
    value, low, high = _checked(estimate.value, interval)
    test = tost(estimate, margin, alpha)
    if test.equivalent:
        inside = _text(test.interval.low, test.interval.high)
        return Verdict("reproduced", f"{inside} lies within {margin:z.1f} of 0 (p = {test.p:z.3g})", proxy=proxy)
    if low >= margin or high <= -margin:
        return Verdict("contradicted", f"{_text(low, high)} lies beyond the margin {margin:z.1f}", proxy=proxy)
    if (low > 0 or high < 0) and abs(value) >= margin:
        return Verdict("not reproduced", f"{_text(low, high)} excludes 0 and {value:z.1f} reaches the margin {margin:z.1f}", proxy=proxy)
    detectable = power.minimum_detectable_effect(estimate, alpha)
    return Verdict("inconclusive", f"{_text(low, high)} is not within {margin:z.1f} of 0{_could(detectable)}", detectable, proxy)


def judge(
    estimate: Estimate | None,
    level: float,
    *,
    margin: float,
    seeds: int,
    direction: str = "increase",
    min_seeds: int = MIN_SEEDS,
    published: float | None = None,
    prediction: Interval | None = None,
    guards: Sequence[str] = (),
    proxy: bool = False,
) -> Verdict:
    """``directional`` on the t interval of an estimate at ``level`` (from ``multiplicity.holm_levels``), with what it could have shown.

    Raises:
        ValueError: as ``directional``; level outside (0, 1).
    """
    checks.share("level", level)
    usable = estimate is not None and math.isfinite(estimate.value) and math.isfinite(estimate.standard_error)
    return directional(
        estimate.value if estimate is not None else None,
        estimate.interval(level) if usable else None,
        margin=margin,
        seeds=seeds,
        direction=direction,
        min_seeds=min_seeds,
        published=published,
        prediction=prediction,
        guards=guards,
        detectable=power.minimum_detectable_effect(estimate, 1 - level) if usable else None,
        proxy=proxy,
    )


def _untested(guards: Sequence[str], seeds: int, min_seeds: int) -> str:
    if isinstance(guards, str):
        raise ValueError("guards is a sequence of reasons, not one string")
    reasons = [*guards]
    if seeds < min_seeds and not any("training seeds" in reason for reason in reasons):
        reasons.append(f"{seeds} training seeds, the claim asks for {min_seeds}")
    return "; ".join(reasons)


def _checked(estimate: float | None, interval: Interval | None) -> tuple[float, float, float]:
    if estimate is None or interval is None:
        raise ValueError("no estimate and no reason why not")
    if not all(math.isfinite(x) for x in (estimate, interval.low, interval.high)):
        raise ValueError(f"estimate {estimate} with interval [{interval.low}, {interval.high}] is not finite")
    if not interval.low <= estimate <= interval.high:
        raise ValueError(f"estimate {estimate} lies outside its interval [{interval.low}, {interval.high}]")
    return estimate, interval.low, interval.high


def _text(low: float, high: float) -> str:
    return f"[{low:z.1f}, {high:z.1f}]"


def _could(detectable: float | None) -> str:
    return "" if detectable is None else f"; effects from {detectable:z.1f} points on would have been shown"
