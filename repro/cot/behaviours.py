"""Behaviours of a chain by documented rules: verification, backtracking, subgoal setting, enumeration.

The four are those of Gandhi et al. (arXiv 2503.01307; their "backward chaining" is left out, rules cannot see it), which the paper's
section 5.2 approaches by single words. Judged by an LLM elsewhere; here by the patterns in ``repro.cot.rules``, so that a count is the same
tomorrow and costs nothing. A **count is the number of sentences with at least one hit**: "Let me double-check to make sure" is one act,
whatever number of rules see it. ``behaviour_hits`` says which rule saw what.

    >>> from repro.cot import behaviour_hits
    >>> behaviour_hits("Hmm, let me double-check that.")["verification"]
    [Hit(start=5, end=24, rule='intent'), Hit(start=12, end=24, rule='again')]

What rules cannot do: irony, other languages, quoted speech, and a check done without saying so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from repro.cot.rules import RULES
from repro.cot.segment import SENTENCE_END
from repro.cot.text import fold, responses

BEHAVIOURS = tuple(RULES)  # verification, backtracking, subgoal, enumeration


class Hit(NamedTuple):
    """One match: positions in the response, and the rule's name."""

    start: int
    end: int
    rule: str


def _hits(folded: str, behaviour: str) -> list[Hit]:
    """All matches of one behaviour's rules in a folded text, in order."""
    found = []
    for rule in RULES[behaviour]:
        for anchor, pattern in rule.patterns:
            # Most anchors are in no sentence of a response, and looking for a plain string is many times faster than a pattern.
            if anchor in folded:
                found += [Hit(match.start(), match.end(), rule.name) for match in pattern.finditer(folded)]
    return sorted(found)


def count_behaviours(folded: str) -> list[int]:
    """Sentences with a hit, for each of ``BEHAVIOURS``, in a folded text."""
    counts = []
    for behaviour in BEHAVIOURS:
        hits = _hits(folded, behaviour)
        # Two hits are in two sentences if one ends between them. Only the stretches between hits are read, each once: linear.
        counts.append(
            len(hits[:1])
            + sum(SENTENCE_END.search(folded, before.start, hit.start) is not None for before, hit in zip(hits, hits[1:], strict=False))
        )
    return counts


def behaviour_counts(texts: Sequence[str]) -> np.ndarray:
    """Sentences that show each behaviour.

    Returns:
        int64 array [responses, 4], columns in the order of ``BEHAVIOURS``.

    Raises:
        ValueError: an entry that is not text.
    """
    return np.array([count_behaviours(fold(text)) for text in responses(texts)], dtype=np.int64).reshape(-1, len(BEHAVIOURS))


def behaviour_hits(text: str) -> dict[str, list[Hit]]:
    """Every hit of every rule in one response, for reading along; several may lie in one sentence.

    Raises:
        ValueError: ``text`` is not text.
    """
    (text,) = responses([text])
    folded = fold(text)
    return {behaviour: _hits(folded, behaviour) for behaviour in BEHAVIOURS}
