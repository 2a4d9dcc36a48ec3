"""Training curves reduced to one declared number a seed: slope, area, final-window mean, collapse, correlation of two.

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
from collections.abc import Mapping, Sequence
from typing import Any

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


def climb_correlation(curves: np.ndarray, beside: np.ndarray, window: float = 0.1) -> np.ndarray:
    """Pearson correlation of each seed's curve with another of its curves while it climbs: from its lowest window on.

    Args:
        curves, beside: [seeds, steps], evenly spaced steps.
        window: width of the stretch whose mean is lowest, as a share of the steps.

    Returns:
        float64 [seeds], -1 to 1.

    Raises:
        ValueError: as ``final_mean``, other shapes, or fewer than 3 steps from the lowest window on, or one of the curves constant there.
    """
    y, other = _matrix(curves), _matrix(beside)
    if y.shape != other.shape:
        raise ValueError(f"two curves of one run need the same steps, got shapes {y.shape} and {other.shape}")
    width = _width(y, window)
    lowest = np.lib.stride_tricks.sliding_window_view(y, width, axis=1).mean(axis=2).argmin(axis=1)
    found = []
    for first, one, two in zip(lowest, y, other, strict=True):
        one, two = one[first:], two[first:]
        if first == y.shape[1] - width or one.size < 3:
            raise ValueError("no climb: the curve is lowest at its end")
        if checks.variance(one) == 0 or checks.variance(two) == 0:
            raise ValueError("no correlation: one of the curves is constant")
        found.append(float(np.corrcoef(one, two)[0, 1]))
    return np.array(found)


def summary(metric: Mapping[str, Any], steps: np.ndarray, values: np.ndarray, beside: np.ndarray | None = None) -> float:
    """The summary that a claim's ``metric`` declares, of one seed's curve [steps]; ``beside``: that of ``metric.beside``.

    final: mean of the last window; change: that minus the mean of the first window; spread: standard deviation of the steps around a
    straight line (a curve that only rises is not unstable); slope: points a step; area: mean height; collapse: 100 if it collapsed, else 0;
    correlation: ``climb_correlation``. ``metric.reference`` is taken off.

    Raises:
        ValueError: NaN or infinite, with its step; as the summaries.
    """
    for curve in (values, values if beside is None else beside):
        if not np.isfinite(curve).all():
            raise ValueError(f"NaN or infinite at step {int(steps[~np.isfinite(curve)][0])}")
    curve, window = values[None, :], metric["window"]
    made = {
        "final": lambda: final_mean(curve, window),
        "change": lambda: final_mean(curve, window) - final_mean(curve[:, ::-1], window),
        "slope": lambda: slope(steps, curve),
        "area": lambda: area(steps, curve),
        "spread": lambda: np.std(curve - np.polyval(np.polyfit(steps, values, 1), steps), axis=1),
        "collapse": lambda: 100.0 * collapsed(curve, window=window),
        "correlation": lambda: climb_correlation(curve, beside[None, :], window),
    }
    return float(made[metric["summary"]]()[0]) - metric.get("reference", 0.0)


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
