"""What every function of this package asks of its input, so that bad input is one clear line instead of a NaN in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Seed means are sums of hundreds of 0/1 scores: a spread below this share of their size is rounding, not variance.
ROUNDING = 1e-12


def values(name: str, given: Sequence[float], at_least: int = 2) -> np.ndarray:
    """``given`` as float64 [seeds]. Raises ValueError for another shape, too few, NaN or infinite values; names them ``name``."""
    array = np.asarray(given, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one number a seed, got shape {array.shape}")
    if array.size < at_least:
        raise ValueError(f"{name}: {array.size} seed(s), needs at least {at_least}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: NaN or infinite value in {array.tolist()}")
    return array


def paired(a: Sequence[float], b: Sequence[float], at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both arms as float64 [seeds], entry i of both from the same seed. Raises ValueError, also when their lengths differ."""
    first, second = values("a", a, at_least), values("b", b, at_least)
    if first.size != second.size:
        raise ValueError(f"paired arms need the same seeds: {first.size} and {second.size}")
    return first, second


def share(name: str, given: float) -> float:
    """A number strictly between 0 and 1: a level, an alpha, a power. Raises ValueError."""
    if not 0 < given < 1:  # also refuses NaN
        raise ValueError(f"{name} must be strictly between 0 and 1, got {given}")
    return float(given)


def positive(name: str, given: float) -> float:
    """A finite number above 0: a margin, a standard deviation. Raises ValueError."""
    if not (math.isfinite(given) and given > 0):
        raise ValueError(f"{name} must be finite and above 0, got {given}")
    return float(given)


def variance(array: np.ndarray) -> float:
    """Unbiased variance, 0 where the spread is only rounding."""
    spread = float(np.ptp(array))
    return 0.0 if spread <= ROUNDING * float(np.abs(array).max()) else float(array.var(ddof=1))


def one_of(name: str, given: str, allowed: Sequence[str]) -> str:
    """``given`` if allowed. Raises ValueError that lists what is."""
    if given not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
    return given
