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

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from repro.cot.rules import RULES, WORD
from repro.cot.segment import SENTENCE_END
from repro.cot.text import fold, responses

BEHAVIOURS = tuple(RULES)  # verification, backtracking, subgoal, enumeration

# behaviour -> word -> the patterns that can only match a text with that word.
_BY_WORD: dict[str, dict[str, list[tuple[str, str, re.Pattern[str]]]]] = {behaviour: {} for behaviour in RULES}
for _behaviour, _rules in RULES.items():
    for _rule in _rules:
        for _word, _anchor, _pattern in _rule.patterns:
            _BY_WORD[_behaviour].setdefault(_word, []).append((_rule.name, _anchor, _pattern))


class Hit(NamedTuple):
    """One match: positions in the response, and the rule's name."""

    start: int
    end: int
    rule: str


def _hits(folded: str, behaviour: str, words: set[str]) -> list[Hit]:
    """All matches of one behaviour's rules in a folded text, in order."""
    found = []
    # Most anchors have a word that the text has not: a look-up instead of a search for each of some 200.
    for word in words & _BY_WORD[behaviour].keys():
        for rule, anchor, pattern in _BY_WORD[behaviour][word]:
            if anchor in folded:
                found += [Hit(match.start(), match.end(), rule) for match in pattern.finditer(folded)]
    return sorted(found)


def _words(pieces: list[str]) -> set[str]:
    """The different words of a folded text that is split at white space. Pieces come back often, so each is read once only."""
    return set(WORD.findall(" ".join(set(pieces))))


def count_behaviours(folded: str, pieces: list[str]) -> list[int]:
    """Sentences with a hit, for each of ``BEHAVIOURS``, in a folded text; ``pieces`` is it split at white space."""
    words = _words(pieces)
    counts = []
    for behaviour in BEHAVIOURS:
        hits = _hits(folded, behaviour, words)
        # Two hits are in two sentences if one ends between them. Only the stretches between hits are read, each once: linear.
        breaks = (SENTENCE_END.search(folded, before.start, hit.start) for before, hit in pairwise(hits))
        counts.append(len(hits[:1]) + sum(found is not None for found in breaks))
    return counts


def behaviour_counts(texts: Sequence[str]) -> np.ndarray:
    """Sentences that show each behaviour.

    Returns:
        int64 array [responses, 4], columns in the order of ``BEHAVIOURS``.

    Raises:
        ValueError: an entry that is not text.
    """
    return np.array([count_behaviours(folded, folded.split()) for folded in map(fold, responses(texts))], dtype=np.int64).reshape(
        -1, len(BEHAVIOURS)
    )


def behaviour_hits(text: str) -> dict[str, list[Hit]]:
    """Every hit of every rule in one response, for reading along; several may lie in one sentence.

    Raises:
        ValueError: ``text`` is not text.
    """
    (text,) = responses([text])
    folded = fold(text)
    words = _words(folded.split())
    return {behaviour: _hits(folded, behaviour, words) for behaviour in BEHAVIOURS}
