"""Folding: the one form of a response that all rules read, so that none of them repeats it.

Lower case and straight apostrophes, **of the same length as the response**: positions of hits are positions in the response. ``str.lower``
alone is not (one Turkish capital becomes two characters).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def fold(text: str) -> str:
    """``text`` in lower case with straight apostrophes, every character at its old position."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(low if len(low := character.lower()) == 1 else character for character in text)
    return lower.replace("\u2019", "'")


def responses(texts: Iterable[str]) -> Iterator[str]:
    """The texts, checked one by one; a lone string is refused, since it would count as one response a character.

    Raises:
        ValueError: naming the first entry that is not text.
    """
    if isinstance(texts, (str, bytes)):
        raise ValueError("responses: must be a list of texts, not one text")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"responses[{index}]: must be text, not {type(text).__name__}")
        yield text


def token_counts(tokens: Iterable[int], size: int) -> np.ndarray:
    """Tokens of every response as an int64 array [size].

    Raises:
        ValueError: another number of entries, entries that are not whole or below 0.
    """
    counts = np.asarray(tokens)
    if counts.shape != (size,):
        raise ValueError(f"tokens: must have one entry a response ({size}), not shape {list(counts.shape)}")
    if size and (counts.dtype.kind not in "iu" or counts.min() < 0):
        raise ValueError("tokens: must be whole numbers of tokens, at least 0")
    return counts.astype(np.int64)
