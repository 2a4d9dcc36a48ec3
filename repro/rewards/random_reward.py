"""The random-reward control: a coin flip that knows nothing of the answer (after *Spurious Rewards*, arXiv 2506.10947).

If it trains as well as the real reward, the gain does not come from the reward. The coin is a hash of (seed, question, sample), so a
sample's reward does not depend on the batch, the worker or the order it is computed in.

    >>> from repro.rewards import random_reward
    >>> random_reward(["a", "a", "q2"], [0, 1, 0], seed=1)
    array([0., 1., 1.])
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from repro.rewards.checks import between, finite, whole


def check_random(probability: float, value: float, seed: int) -> None:
    """Raise ValueError for parameters that ``random_reward`` refuses."""
    between("probability", probability, 0, 1)
    finite(value=value)
    whole("seed", seed, at_least=0)


def random_reward(
    question_ids: Sequence[str], sample_indices: Sequence[int], *, probability: float = 0.5, value: float = 1.0, seed: int = 0
) -> np.ndarray:
    """``value`` with the given probability, else 0.

    Args:
        question_ids: strings [batch].
        sample_indices: integers [batch], which sample of its question each is.
        probability: of ``value``, in [0, 1].
        value: the reward paid.
        seed: another seed gives independent coins.

    Returns:
        float64 array [batch].

    Raises:
        ValueError: ``probability`` outside [0, 1], non-finite ``value``, negative seed, sequences of different length.
    """
    check_random(probability, value, seed)
    if len(question_ids) != len(sample_indices):
        raise ValueError(f"sample_indices: must have one entry a response ({len(question_ids)}), not {len(sample_indices)}")
    # Numbers first: whatever characters a question's id has, different triples stay different strings.
    keys = (f"{seed} {int(index)} {question}".encode() for question, index in zip(question_ids, sample_indices, strict=True))
    coins = [int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64 for key in keys]
    return np.where(np.array(coins, dtype=np.float64) < probability, float(value), 0.0)
