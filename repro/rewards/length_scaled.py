"""The linear length-scaled reward that the paper's code contains and no published run uses (its trainer refuses it).

>>> from repro.rewards import length_scaled
>>> length_scaled([7168, 7168], [True, False], max_length=14336)
array([ 0.375, -0.5  ])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.rewards.checks import between, finite, flags_array, lengths_array, whole


def check_length_scaled(risk: float, exceed: float, margin: int) -> None:
    """Raise ValueError for parameters that ``length_scaled`` refuses."""
    between("risk", risk, 0, 1)
    finite(exceed=exceed)
    whole("margin", margin, at_least=0)


def length_scaled(
    lengths: Sequence[int], correct: Sequence[bool], *, max_length: int, risk: float = 0.5, exceed: float = 0.0, margin: int = 16
) -> np.ndarray:
    """With c = length / max_length: correct (risk + (1 - risk) c)(1 - c), wrong c - 1; the exceed rule comes first.

    Args:
        lengths: integers [batch], tokens of the response, EOS included.
        correct: booleans [batch].
        max_length: generation limit T, in tokens.
        risk: k of the paper's code, in [0, 1]: what a correct answer of length 0 earns.
        exceed: reward where ``length + margin >= max_length``.
        margin: in tokens.

    Returns:
        float64 array [batch].

    Raises:
        ValueError: ``risk`` outside [0, 1], non-finite ``exceed``, negative margin, a length above ``max_length`` or below 0, shapes that
            differ.
    """
    check_length_scaled(risk, exceed, margin)
    n = lengths_array(lengths, max_length)
    share = n / max_length
    rewards = np.where(flags_array("correct", correct, n.size), (risk + (1 - risk) * share) * (1 - share), share - 1)
    rewards[n + margin >= max_length] = exceed
    return rewards
