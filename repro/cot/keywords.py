"""Keyword rates: the paper's five self-validation words (section 5.2, Fig. 7) and its branching proxy (sections 4.5 and 4.6).

Definition used here, since the paper gives none: a hit is the word itself in any case, with no ASCII letter, digit or underscore on either
side. So "Wait," and "wait-and-see" count, "waiting", "await" and "re-check" do not, and Chinese characters beside it do not hide a word.
The branching proxy is "alternatively" with its comma directly after it, as the paper writes it. A keyword is not a behaviour: "wait for
the bus" counts here and not in ``repro.cot.behaviours``.

    >>> from repro.cot import keyword_counts
    >>> keyword_counts(["Wait, wait. However, I was waiting."]).tolist()  # wait, recheck, alternatively, retry, however
    [[2, 0, 0, 0, 1]]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from repro.cot.text import fold, responses

SELF_VALIDATION = ("wait", "recheck", "alternatively", "retry", "however")  # the paper's words, in its order
BRANCHING = "alternatively,"

# The word stands first and its boundaries are asserted after it: a pattern that starts with a literal is searched for at memory speed.
_WORDS = [(word, re.compile(rf"{word}(?<![a-z0-9_]{word})(?![a-z0-9_])")) for word in SELF_VALIDATION]
_BRANCH = re.compile(rf"{BRANCHING}(?<![a-z0-9_]{BRANCHING})")


def count_keywords(folded: str) -> list[int]:
    """Hits of each of ``SELF_VALIDATION`` in a folded text."""
    return [len(pattern.findall(folded)) if word in folded else 0 for word, pattern in _WORDS]


def count_branching(folded: str) -> int:
    """Hits of "alternatively," in a folded text."""
    return len(_BRANCH.findall(folded)) if BRANCHING in folded else 0


def keyword_counts(texts: Sequence[str]) -> np.ndarray:
    """Hits of the five self-validation words (paper section 5.2).

    Returns:
        int64 array [responses, 5], columns in the order of ``SELF_VALIDATION``. ``(counts > 0).mean(0)`` is the share of responses with
        the word, ``1000 * counts.sum(0) / tokens.sum()`` the rate per 1,000 tokens.

    Raises:
        ValueError: an entry that is not text.
    """
    return np.array([count_keywords(fold(text)) for text in responses(texts)], dtype=np.int64).reshape(-1, len(SELF_VALIDATION))


def branching_counts(texts: Sequence[str]) -> np.ndarray:
    """Hits of "alternatively,", the paper's proxy for branching (Figs. 10 and 11).

    Returns:
        int64 array [responses].

    Raises:
        ValueError: an entry that is not text.
    """
    return np.array([count_branching(fold(text)) for text in responses(texts)], dtype=np.int64)
