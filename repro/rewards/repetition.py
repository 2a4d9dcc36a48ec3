"""Repetition penalties: the dense per-token one that the paper trains with, and the sequence-level helper that everybody copied instead.

``dense_repetition`` puts a penalty on every token of every repeated n-gram of token ids (paper section 4.5 and appendix C.2).
open-r1's and TRL's ``get_repetition_penalty_reward`` give one number a response instead (share of repeated word or token n-grams), so they
cannot be discounted along the response; ``sequence_repetition`` is that helper as the paper's code has it, kept for comparison.

    >>> from repro.rewards import dense_repetition
    >>> dense_repetition([[1, 2, 3, 9, 1, 2, 3]], ngram_size=3, penalty=-1.0)
    [array([ 0.,  0.,  0.,  0., -1., -1., -1.])]

How it is fast and still exact: see ``_repeated_starts``. Speed: ``python tests/benchmarks/rewards.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from repro.rewards.checks import negative, token_row, whole

OnlyStart = bool | Literal["upstream"]

# The polynomial fingerprint's base and the weight of an n-gram's first token: arbitrary odd 64-bit numbers (odd: invertible modulo
# 2**64). They decide speed only, never results. A weight of 1 would leave a difference in the first token alone in the low bits, which
# the key drops.
_BASE, _WEIGHT = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def check_dense(ngram_size: int, penalty: float, only_start: OnlyStart) -> None:
    """Raise ValueError for parameters that ``dense_repetition`` refuses."""
    whole("ngram_size", ngram_size, at_least=1)
    negative("penalty", penalty)
    if not (isinstance(only_start, (bool, np.bool_)) or only_start == "upstream"):
        raise ValueError(f"only_start={only_start!r}: must be true, false or 'upstream'")


def dense_repetition(
    token_ids: Sequence[Sequence[int]], *, ngram_size: int = 40, penalty: float = -0.05, only_start: OnlyStart = False
) -> list[np.ndarray]:
    """Penalty of every token of every response (paper appendix C.2).

    An n-gram that occurred earlier in the same response (overlapping occurrences included) puts ``penalty`` on all its tokens; the first
    occurrence stays free. Penalties are assigned, never added up, so a token carries ``penalty`` or 0. Correct, wrong and truncated
    responses are treated alike.

    Args:
        token_ids: one sequence of token ids a response (list, tuple, numpy array or CPU tensor), EOS included, without prompt or padding.
        ngram_size: N, in tokens. A shorter response has no n-gram and gets zeros.
        penalty: reward of a penalised token; below zero.
        only_start: ``True`` penalises only the first n-gram of each run of repeats: a repeat counts if it starts after the end of the
            repeat before it. ``"upstream"`` is the paper code's form, whose end is one token too far (its issue 10), so that a repeat
            starting exactly N tokens after the one before it is skipped. No published run sets either.

    Returns:
        One float64 array a response, of that response's length.

    Raises:
        ValueError: ``penalty`` not finite or not below zero, ``ngram_size`` below 1, another ``only_start``, ids that are not whole
            numbers.
    """
    check_dense(ngram_size, penalty, only_start)
    rewards = []
    for index, ids in enumerate(token_ids):
        row = token_row(ids, index)
        reward = np.zeros(row.size)
        starts = _repeated_starts(row, ngram_size)
        if starts.size:
            if only_start:
                # The end moves with every repeat, used or not, so only the repeat just before decides.
                gap = ngram_size + 1 if only_start == "upstream" else ngram_size
                starts = starts[np.diff(starts, prepend=starts[0] - gap) >= gap]
            _cover(reward, starts, ngram_size, penalty)
        rewards.append(reward)
    return rewards


def sequence_repetition(texts: Sequence[str], *, ngram_size: int = 40, max_penalty: float = -1.0) -> np.ndarray:
    """Share of repeated word n-grams times ``max_penalty``, one number a response: the paper code's unused sparse helper.

    Words are whitespace-separated and lower-cased. Text with fewer than ``ngram_size`` words gets 0; the paper's code divides by zero
    there. It also reads the prompt; pass prompt + response to have that.

    Args:
        texts: one string a response.
        ngram_size: in words. 40 is the value in the paper's scripts, which leave the penalty itself off.
        max_penalty: limit for a text that is all repetition; below zero.

    Returns:
        float64 array [batch], in (max_penalty, 0].

    Raises:
        ValueError: ``max_penalty`` not finite or not below zero, ``ngram_size`` below 1.
    """
    check_sequence(ngram_size, max_penalty)
    rewards = np.zeros(len(texts))
    for index, text in enumerate(texts):
        words = text.lower().split()
        total = len(words) - ngram_size + 1
        if total > 0:
            distinct = len(set(zip(*(words[k:] for k in range(ngram_size)), strict=False)))
            rewards[index] = max_penalty * (1 - distinct / total) if distinct < total else 0.0
    return rewards


def check_sequence(ngram_size: int, max_penalty: float) -> None:
    """Raise ValueError for parameters that ``sequence_repetition`` refuses."""
    whole("ngram_size", ngram_size, at_least=1)
    negative("max_penalty", max_penalty)


@lru_cache(maxsize=8)
def _powers(size: int, base: int, weight: int) -> tuple[np.ndarray, np.ndarray]:
    """base**j and weight * base**-j modulo 2**64 for j < size; numpy's unsigned arithmetic wraps round, which is the modulus."""
    tables = []
    for start, factor in ((1, base), (weight, pow(base, -1, 2**64))):
        table = np.full(size, factor, dtype=np.uint64)
        table[0] = start
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]


def _repeated_starts(row: np.ndarray, ngram_size: int) -> np.ndarray:
    """Ascending starts of the n-grams of ``row`` (int64) that occurred before. Exact.

    1. *Fingerprint*: with prefix sums S[i] = sum_{j<i} row[j] B**j modulo 2**64, the n-gram at i has h(i) = (S[i+N] - S[i]) W B**-i. It
       depends on the n-gram's tokens only, so equal n-grams always have equal fingerprints: no repeat is ever missed.
    2. *Sort* keys made of the top bits of h and, below them, i. Equal n-grams become neighbours in order of position, so every key whose
       top bits equal its predecessor's is a candidate repeat of that predecessor.
    3. *Verify* every candidate against its predecessor token by token. If all hold, each group of equal fingerprints is one n-gram
       (equality is transitive) and the candidates are exactly the repeats. If one fails, two different n-grams share a fingerprint, and
       the row is redone with a set of the n-grams themselves.
    """
    count = row.size - ngram_size + 1
    if count < 2:
        return np.empty(0, dtype=np.int64)
    power, inverse = _powers(1 << (row.size - 1).bit_length(), _BASE, _WEIGHT)
    sums = np.empty(row.size + 1, dtype=np.uint64)
    sums[0] = 0
    np.multiply(row.view(np.uint64), power[: row.size], out=sums[1:])
    np.add.accumulate(sums[1:], out=sums[1:])
    keys = sums[ngram_size:] - sums[:count]
    keys *= inverse[:count]
    low = np.uint64((1 << (count - 1).bit_length()) - 1)
    keys &= ~low
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    equal = (keys[1:] ^ keys[:-1]) <= low
    if not equal.any():
        return np.empty(0, dtype=np.int64)
    order = (keys & low).view(np.int64)
    previous = np.full(count, -1)
    previous[order[1:][equal]] = order[:-1][equal]
    starts = np.flatnonzero(previous >= 0)
    if _all_equal(row, starts, previous[starts], ngram_size):
        return starts
    return _repeated_starts_by_set(row, ngram_size)


def _all_equal(row: np.ndarray, starts: np.ndarray, previous: np.ndarray, ngram_size: int) -> bool:
    """Whether the n-gram at each of ``starts`` (ascending) equals the one at ``previous``.

    Where the start before is its neighbour and has the neighbouring predecessor, all tokens but the last are compared there already. The
    n-grams that begin such a run are compared in full, looping over n-grams or over their tokens, whichever is fewer: time O(repeats * N)
    at worst and O(repeats) for a loop, memory O(repeats).
    """
    last = ngram_size - 1
    if (row[starts + last] != row[previous + last]).any():
        return False
    begins = np.concatenate(([True], (starts[1:] - starts[:-1] != 1) | (previous[1:] - previous[:-1] != 1)))
    starts, previous = starts[begins], previous[begins]
    if starts.size < last:
        pairs = zip(starts.tolist(), previous.tolist(), strict=True)
        return all((row[a : a + last] == row[b : b + last]).all() for a, b in pairs)
    return all((row[starts + k] == row[previous + k]).all() for k in range(last))


def _repeated_starts_by_set(row: np.ndarray, ngram_size: int) -> np.ndarray:
    """The definition itself, for the rows in which fingerprints collided: slow and exact."""
    data, width = row.tobytes(), row.itemsize
    seen: set[bytes] = set()
    starts = []
    for start in range(row.size - ngram_size + 1):
        gram = data[start * width : (start + ngram_size) * width]
        if gram in seen:
            starts.append(start)
        else:
            seen.add(gram)
    return np.array(starts, dtype=np.int64)


def _cover(reward: np.ndarray, starts: np.ndarray, ngram_size: int, penalty: float) -> None:
    """Assign ``penalty`` to ``reward[s : s + ngram_size]`` for every s of the ascending ``starts``, merging blocks that touch."""
    cut = np.flatnonzero(np.diff(starts) > ngram_size)
    begins = np.concatenate((starts[:1], starts[cut + 1]))
    ends = np.concatenate((starts[cut], starts[-1:])) + ngram_size
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        reward[begin:end] = penalty
