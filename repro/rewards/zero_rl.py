"""The three-valued reward of RL from a base model: correct, wrong, no answer at all (paper section 6.1; absent from its code).

>>> from repro.rewards import zero_rl
>>> zero_rl([True, False, False], [True, True, False])
array([ 1. , -0.5, -1. ])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from repro.rewards.checks import at_most_zero, finite, flags_array


def check_zero_rl(correct_value: float, wrong_value: float, no_answer_value: float) -> None:
    """Raise ValueError for parameters that ``zero_rl`` refuses."""
    finite(correct_value=correct_value)
    at_most_zero(wrong_value=wrong_value, no_answer_value=no_answer_value)


def zero_rl(
    correct: Sequence[bool],
    answered: Sequence[bool],
    *,
    correct_value: float = 1.0,
    wrong_value: float = -0.5,
    no_answer_value: float = -1.0,
) -> np.ndarray:
    """Reward by outcome; the length plays no part.

    Args:
        correct: booleans [batch]. A correct response counts as correct even if ``answered`` says otherwise (a grader may need no
            extraction).
        answered: booleans [batch], whether an answer was found in the response.
        correct_value, wrong_value, no_answer_value: rewards of the three outcomes; the last two at most 0.

    Returns:
        float64 array [batch].

    Raises:
        ValueError: non-finite parameter, a wrong or missing answer valued above 0, shapes that differ.
    """
    check_zero_rl(correct_value, wrong_value, no_answer_value)
    right = flags_array("correct", correct, np.size(correct))
    found = flags_array("answered", answered, right.size)
    return np.select([right, found], [float(correct_value), float(wrong_value)], float(no_answer_value))
