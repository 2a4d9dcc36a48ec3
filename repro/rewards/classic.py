"""The classic outcome reward: one value for correct, one for wrong, one for hitting the window (paper section 4.1).

Differs from the usual 0/1 reward in the third value: a correct answer that ends within the margin of the window counts as overlong.

    >>> from repro.rewards import classic
    >>> classic([100, 100, 250], [True, False, True], max_length=256)
    array([1., 0., 0.])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.rewards.checks import at_most_zero, finite, flags_array, lengths_array, whole


def check_classic(correct_value: float, wrong_value: float, exceed: float | None, margin: int) -> None:
    """Raise ValueError for parameters that ``classic`` refuses."""
    finite(correct_value=correct_value)
    at_most_zero(wrong_value=wrong_value)
    if exceed is not None:
        finite(exceed=exceed)
    whole("margin", margin, at_least=0)


def classic(
    lengths: Sequence[int],
    correct: Sequence[bool],
    *,
    max_length: int,
    correct_value: float = 1.0,
    wrong_value: float = 0.0,
    exceed: float | None = 0.0,
    margin: int = 16,
) -> np.ndarray:
    """Reward by correctness; the exceed rule comes first, whatever the correctness.

    Args:
        lengths: integers [batch], tokens of the response, EOS included.
        correct: booleans [batch].
        max_length: generation limit T, in tokens.
        correct_value, wrong_value: rewards of the two outcomes; ``wrong_value`` at most 0.
        exceed: reward where ``length + margin >= max_length``; None switches that rule off.
        margin: in tokens. 16 in the paper's code.

    Returns:
        float64 array [batch].

    Raises:
        ValueError: non-finite parameter, ``wrong_value`` above 0, negative margin, a length above ``max_length`` or below 0, shapes that
            differ.
    """
    check_classic(correct_value, wrong_value, exceed, margin)
    n = lengths_array(lengths, max_length)
    rewards = np.where(flags_array("correct", correct, n.size), float(correct_value), float(wrong_value))
    if exceed is not None:
        rewards[n + margin >= max_length] = exceed
    return rewards
