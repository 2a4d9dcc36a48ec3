"""DAPO's soft overlong punishment (arXiv 2503.14476, equation 13): the field's alternative to the paper's cliff at the window.

Differs from TRL's ``get_soft_overlong_punishment`` only in refusing lengths beyond the limit, which a generation cannot reach.

    >>> from repro.rewards import overlong
    >>> overlong([80, 90, 100], max_length=100, cache=20)
    array([ 0. , -0.5, -1. ])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.rewards.checks import lengths_array, whole


def overlong(lengths: Sequence[int], *, max_length: int, cache: int) -> np.ndarray:
    """0 up to ``max_length - cache`` tokens, then a ramp down to -1 at ``max_length``.

    Args:
        lengths: integers [batch], tokens of the response, EOS included.
        max_length: generation limit, in tokens (20480 in DAPO).
        cache: width of the ramp, in tokens, from 1 to ``max_length`` (4096 in DAPO).

    Returns:
        float64 array [batch], in [-1, 0].

    Raises:
        ValueError: ``cache`` outside 1..max_length, a length above ``max_length`` or below 0.
    """
    n = lengths_array(lengths, max_length)
    whole("cache", cache, at_least=1)
    if cache > max_length:
        raise ValueError(f"cache={cache}: must be at most max_length={max_length}")
    return np.minimum(0.0, (max_length - cache - n) / cache)
