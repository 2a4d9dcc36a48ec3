"""All measures of many responses in one pass (``profile``), and their means by group (``summarise``).

Each response is folded once and forgotten, so that memory does not grow with the text: what is kept are some twenty numbers a response.

    >>> from repro.cot import profile, summarise
    >>> summarise(profile(["Alternatively, use symmetry.", "It is 4."], tokens=[5, 5]))["branching_per_response"]
    0.5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from repro.cot.behaviours import BEHAVIOURS, count_behaviours
from repro.cot.coding import has_fence
from repro.cot.keywords import SELF_VALIDATION, count_branching, count_keywords
from repro.cot.repetition import WORD_NGRAM, word_share
from repro.cot.segment import folded_steps
from repro.cot.text import fold, responses, token_counts

COUNTS = (*SELF_VALIDATION, "branching", *BEHAVIOURS)  # columns of ``profile`` that are numbers of hits
Profile = dict[str, np.ndarray]


def profile(texts: Iterable[str], *, tokens: Sequence[int] | None = None, ngram_size: int = WORD_NGRAM) -> Profile:
    """Every measure of every response.

    Args:
        texts: the responses; may be a generator.
        tokens: tokens of each response, EOS included. Without them rates per 1,000 are per 1,000 words (white space separates words).
        ngram_size: of the repetition measure, in words.

    Returns:
        Arrays [responses]: ``length`` (tokens, or words without ``tokens``), ``steps``, the five self-validation words, ``branching`` and the four
        behaviours (int64, hits; paper sections 5.2, 4.5 and repro.cot.behaviours), ``repetition`` (share of words in repeated n-grams),
        ``coding`` (bool).

    Raises:
        ValueError: an entry that is not text, ``tokens`` of another size.
    """
    counts: list[list[int]] = []
    words, cuts, repetition, coding = [], [], [], []
    for text in responses(texts):
        folded = fold(text)
        split = folded.split()
        counts.append([*count_keywords(folded), count_branching(folded), *count_behaviours(folded, split)])
        words.append(len(split))
        cuts.append(len(folded_steps(folded)))
        repetition.append(word_share(split, ngram_size))
        coding.append(has_fence(folded))
    hits = np.array(counts, dtype=np.int64).reshape(-1, len(COUNTS))
    length = np.array(words, dtype=np.int64) if tokens is None else token_counts(tokens, len(words))
    return {
        "length": length,
        "steps": np.array(cuts, dtype=np.int64),
        **{name: hits[:, column] for column, name in enumerate(COUNTS)},
        "repetition": np.array(repetition, dtype=float),
        "coding": np.array(coding, dtype=bool),
    }


def summarise(measures: Profile) -> dict[str, float]:
    """Means of a profile over its responses.

    Returns:
        ``responses``, ``mean_length``, ``mean_steps``, ``repetition`` and ``coding`` (shares), and for every count ``<name>_share`` (of responses with at
        least one hit), ``<name>_per_response`` and ``<name>_per_1k`` (all hits over all tokens, so long responses weigh more; nan where
        there is no token).

    Raises:
        ValueError: no response.
    """
    size = len(measures["length"])
    if not size:
        raise ValueError("no responses: there is nothing to average")
    total = float(measures["length"].sum())
    result = {"responses": float(size), "mean_length": total / size, "mean_steps": float(measures["steps"].mean())}
    for name in COUNTS:
        hits = measures[name]
        result[f"{name}_share"] = float((hits > 0).mean())
        result[f"{name}_per_response"] = float(hits.mean())
        result[f"{name}_per_1k"] = 1000 * float(hits.sum()) / total if total else float("nan")
    return {**result, "repetition": float(measures["repetition"].mean()), "coding": float(measures["coding"].mean())}
