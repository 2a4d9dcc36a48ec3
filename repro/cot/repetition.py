"""Repetition: share of a response that lies inside n-grams which occurred before in it.

On token ids this is exactly the share of tokens that the paper's penalty marks (section 4.5, appendix C.2; N = 40), so a curve of it shows
what the penalty acts on. On words it needs no tokenizer. Both come from the rolling fingerprint in ``repro.rewards.repetition``: linear but
for one sort, and exact. Unlike ``1 - distinct/total`` n-grams, the share reaches its size with the repeated stretch: a chain whose second
half repeats the first has 0.5.

    >>> from repro.cot import repeated_tokens
    >>> repeated_tokens([[1, 2, 3, 9, 1, 2, 3]], ngram_size=3).round(2)
    array([0.43])
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from repro.cot.text import fold, responses
from repro.rewards import dense_repetition

TOKEN_NGRAM = 40  # the paper's N
WORD_NGRAM = 20  # about a sentence; 40 tokens are some 25 words of such text


def repeated_tokens(token_ids: Sequence[Sequence[int]], *, ngram_size: int = TOKEN_NGRAM) -> np.ndarray:
    """Share of tokens inside a repeated n-gram, first occurrences not counted.

    Args:
        token_ids: one sequence of token ids a response, without prompt or padding.
        ngram_size: N, in tokens.

    Returns:
        float64 array [responses], in [0, 1); 0 for a response shorter than N + 1.

    Raises:
        ValueError: ``ngram_size`` below 1, ids that are not whole numbers.
    """
    # One response at a time: the penalties of a whole batch would take eight bytes a token at once.
    return np.array([_share(ids, ngram_size) for ids in token_ids], dtype=float)


def _share(ids: Sequence[int] | np.ndarray, ngram_size: int) -> float:
    (marks,) = dense_repetition([ids], ngram_size=ngram_size, penalty=-1.0)
    return np.count_nonzero(marks) / marks.size if marks.size else 0.0


def repeated_words(texts: Sequence[str], *, ngram_size: int = WORD_NGRAM) -> np.ndarray:
    """Share of words inside a repeated n-gram of words, first occurrences not counted. Words: folded, separated by white space.

    Args:
        texts: one string a response.
        ngram_size: N, in words.

    Returns:
        float64 array [responses], in [0, 1); 0 for a response shorter than N + 1 words.

    Raises:
        ValueError: an entry that is not text, ``ngram_size`` below 1.
    """
    return np.array([word_share(fold(text).split(), ngram_size) for text in responses(texts)], dtype=float)


def word_share(words: list[str], ngram_size: int) -> float:
    """``repeated_words`` of one list of words."""
    first: dict[str, int] = {}
    # A word's id is where it occurred first: exact, and without a loop in Python.
    return _share(np.fromiter(map(first.setdefault, words, count()), dtype=np.int64, count=len(words)), ngram_size)
