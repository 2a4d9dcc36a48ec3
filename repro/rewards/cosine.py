"""The cosine length-scaling reward (paper section 4.2, appendix C.1).

A correct answer earns ``r0_correct`` when short, down to ``rL_correct`` at the window; a wrong one costs ``r0_wrong`` when short, up to
``rL_wrong`` at the window, so that a model unsure of its answer thinks longer. Reaching the window costs ``exceed``.

Differs from its namesakes: open-r1 counts characters and lets the cosine climb back beyond its limit, TRL clamps there; neither has the
exceed rule, and both default to other values (``python -m repro.rewards.conformance``). The paper's formula and its code disagree on
which end is which; this follows the code.

    >>> from repro.rewards import cosine
    >>> cosine([7168, 7168, 14320], [True, False, True], max_length=14336)
    array([  1.5,  -5. , -10. ])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.rewards.checks import at_most_zero, finite, flags_array, lengths_array, whole


def check_cosine(*, r0_correct: float, rL_correct: float, r0_wrong: float, rL_wrong: float, exceed: float, margin: int) -> None:
    """Raise ValueError for parameters that ``cosine`` refuses."""
    finite(r0_correct=r0_correct, rL_correct=rL_correct, exceed=exceed)
    at_most_zero(r0_wrong=r0_wrong, rL_wrong=rL_wrong)
    whole("margin", margin, at_least=0)


def cosine(
    lengths: Sequence[int],
    correct: Sequence[bool],
    *,
    max_length: int,
    r0_correct: float = 2.0,
    rL_correct: float = 1.0,
    r0_wrong: float = -10.0,
    rL_wrong: float = 0.0,
    exceed: float = -10.0,
    margin: int = 16,
) -> np.ndarray:
    """Reward on a half cosine from ``r0`` at length 0 to ``rL`` at ``max_length``; the exceed rule comes first, whatever the correctness.

    Args:
        lengths: integers [batch], tokens of the response, EOS included.
        correct: booleans [batch].
        max_length: generation limit T, in tokens: 14336 in the paper's 16K runs, not the 16K window.
        r0_correct, rL_correct: ends of the curve of correct answers.
        r0_wrong, rL_wrong: ends of the curve of wrong answers; at most 0.
        exceed: reward where ``length + margin >= max_length``.
        margin: in tokens. 16 in the paper's code.

    Returns:
        float64 array [batch].

    Raises:
        ValueError: non-finite parameter, a wrong value above 0, negative margin, a length above ``max_length`` or below 0, shapes that
            differ.
    """
    check_cosine(r0_correct=r0_correct, rL_correct=rL_correct, r0_wrong=r0_wrong, rL_wrong=rL_wrong, exceed=exceed, margin=margin)
    n = lengths_array(lengths, max_length)
    right = flags_array("correct", correct, n.size)
    start, end = np.where(right, r0_correct, r0_wrong), np.where(right, rL_correct, rL_wrong)
    rewards = end + 0.5 * (start - end) * (1 + np.cos(np.pi * n / max_length))
    rewards[n + margin >= max_length] = exceed
    return rewards
