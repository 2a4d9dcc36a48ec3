"""Training curves reduced to one declared number a seed: slope, area, final-window mean, collapse.

The summary is named in the claim before the runs, so that no checkpoint is picked after looking; each seed's curve is summarised on its
own and the summaries are compared like any seed means. Differs from plots of mean curves, in which five collapses at five steps look like
one slow decline.

    >>> import numpy as np
    >>> curves = np.array([[10, 40, 60, 5, 4], [12, 38, 61, 62, 60]])  # seeds x steps
    >>> collapsed(curves, window=0.4, share=0.5).tolist()
    [True, False]
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from repro.claims import checks
from repro.claims.intervals import Interval, binomial_interval, bootstrap


def slope(steps: Sequence[float], curves: np.ndarray, since: float = -math.inf) -> np.ndarray:
    """Least-squares slope of each seed's curve, in points per unit of ``steps``.

    Args:
        steps: rising numbers [steps]: training steps, or log10 of tokens.
        curves: [seeds, steps], the same steps for all seeds.
        since: only steps from here on count, for a claim about the late part.

    Returns:
        float64 [seeds].

    Raises:
        ValueError: shapes that do not match, NaN, steps that do not rise, or fewer than 2 of them from ``since`` on.
    """
    x, y = _curves(steps, curves)
    kept = x >= since
    if kept.sum() < 2:
        raise ValueError(f"a slope needs 2 steps from {since} on, got {int(kept.sum())}")
    centred = x[kept] - x[kept].mean()
    return y[:, kept] @ centred / (centred @ centred)


def area(steps: Sequence[float], curves: np.ndarray) -> np.ndarray:
    """Trapezoid area under each seed's curve over the range of steps: its mean height, in points [seeds]. Raises ValueError as ``slope``."""
    x, y = _curves(steps, curves)
    return np.trapezoid(y, x, axis=1) / (x[-1] - x[0])


def final_mean(curves: np.ndarray, window: float = 0.1) -> np.ndarray:
    """Mean of the last ``window`` (a share, 0 to 1; at least one step) of each seed's evenly spaced steps, in points [seeds].

    Raises:
        ValueError: not [seeds, steps], NaN, window outside (0, 1].
    """
    y = _matrix(curves)
    return y[:, -_width(y, window) :].mean(axis=1)


def collapsed(curves: np.ndarray, *, window: float = 0.1, share: float = 0.5, floor: float = 0.0) -> np.ndarray:
    """Whether each seed's curve ends below ``share`` of its own best stretch.

    Collapse means: mean of the final window < share x the largest mean of any window of the same width, and that largest mean is above
    ``floor``. Windows on both sides, since one lucky step among hundreds would make a maximum that the curve never held; a curve that
    never rose above the floor has nothing to collapse from.

    Args:
        curves: [seeds, steps], evenly spaced steps, of something that is not negative (accuracy).
        window: width, as a share of the steps, at least one step.
        share: strictly between 0 and 1.
        floor: in points.

    Returns:
        booleans [seeds].

    Raises:
        ValueError: as ``final_mean``, negative values, share outside (0, 1), negative floor.
    """
    checks.share("share", share)
    if not floor >= 0:
        raise ValueError(f"floor must be at least 0, got {floor}")
    y = _matrix(curves)
    if (y < 0).any():
        raise ValueError("collapse is defined for curves that are not negative")
    windows = np.lib.stride_tricks.sliding_window_view(y, _width(y, window), axis=1).mean(axis=2)
    best = windows.max(axis=1)
    return (windows[:, -1] < share * best) & (best > floor)


def collapse_share(flags: Sequence[bool], level: float = 0.95) -> tuple[float, Interval]:
    """Share of seeds that collapsed (0 to 1) with its exact interval; a bootstrap of "all five" would be the point 1.

    Raises:
        ValueError: no seed.
    """
    array = np.asarray(flags, dtype=bool)
    return float(array.mean()) if array.size else math.nan, binomial_interval(int(array.sum()), array.size, level)


def mean_interval(
    summaries: Sequence[float], rng: np.random.Generator, *, level: float = 0.95, resamples: int = 9999
) -> tuple[float, Interval]:
    """Mean of a summary over seeds with its BCa bootstrap interval. See ``intervals.bootstrap`` on few seeds. Raises ValueError."""
    data = checks.values("summaries", summaries)
    return float(data.mean()), bootstrap([data], np.mean, rng, level=level, resamples=resamples)


def difference_interval(
    a: Sequence[float], b: Sequence[float], rng: np.random.Generator, *, level: float = 0.95, resamples: int = 9999, paired: bool = False
) -> tuple[float, Interval]:
    """Mean summary of ``a`` minus that of ``b`` with its BCa bootstrap interval over seeds.

    Args:
        a, b: summaries [seeds]; when ``paired``, entry i of both from the same seed and data order.

    Raises:
        ValueError: fewer than 2 seeds, NaN, other lengths when paired.
    """
    first, second = checks.paired(a, b) if paired else (checks.values("a", a), checks.values("b", b))
    if paired:
        return mean_interval(first - second, rng, level=level, resamples=resamples)
    return float(first.mean() - second.mean()), bootstrap([first, second], _gap, rng, level=level, resamples=resamples)


def _gap(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return a.mean(axis=axis) - b.mean(axis=axis)


def _matrix(curves: np.ndarray) -> np.ndarray:
    y = np.asarray(curves, dtype=np.float64)
    if y.ndim != 2 or 0 in y.shape:
        raise ValueError(f"expected curves [seeds, steps], got shape {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError("NaN or infinite value in a curve")
    return y


def _curves(steps: Sequence[float], curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, x = _matrix(curves), checks.values("steps", steps)
    if y.shape[1] != x.size:
        raise ValueError(f"{x.size} steps and curves of {y.shape[1]}")
    if (np.diff(x) <= 0).any():
        raise ValueError("steps must rise")
    return x, y


def _width(y: np.ndarray, window: float) -> int:
    if not 0 < window <= 1:
        raise ValueError(f"window must be a share of the steps, above 0 and at most 1, got {window}")
    return max(1, round(window * y.shape[1]))
