"""Rewards as pure, vectorised numpy functions of (length, correctness, token ids); usable without the rest of the project.

    >>> import repro.rewards as rewards
    >>> rewards.cosine([1000, 1000, 14336], [True, False, True], max_length=14336).round(2)
    array([  1.99,  -9.88, -10.  ])

Lengths are **tokens of the response, EOS included**, and ``max_length`` is the generation limit, as in the paper's code; copies elsewhere
count characters, or the whole context window. ``python -m repro.rewards.conformance`` shows where namesakes part. As settings:
``repro.rewards.terms``.
"""

from repro.rewards.classic import classic
from repro.rewards.cosine import cosine
from repro.rewards.length_scaled import length_scaled
from repro.rewards.overlong import overlong
from repro.rewards.random_reward import random_reward
from repro.rewards.repetition import dense_repetition, sequence_repetition
from repro.rewards.zero_rl import zero_rl

# Imported here and not on demand: the functions share their names with their files, and whichever is bound last wins.
__all__ = ["classic", "cosine", "dense_repetition", "length_scaled", "overlong", "random_reward", "sequence_repetition", "zero_rl"]
