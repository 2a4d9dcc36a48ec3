"""Every number of an evaluation as a pure function of its sample records: nothing here runs a model or grades an answer.

Differs from lm-eval's aggregation in that records of several samples a question stay apart: averages carry a standard error clustered by
question, pass@k is the unbiased estimate and refuses questions with too few samples, maj@k is exact over all subsets.

``records`` is a pyarrow Table or a mapping of column -> array, one row a sample, of **one** arm, seed, checkpoint and benchmark
(``evals/records.py`` checks them). Columns: ``question_id``, ``sample_index``, ``correct``; by function also ``tokens``, ``finish_reason``
(stop | length), ``extracted``, ``response``, and ``level``, ``subject`` or whatever a breakdown asks for. ``evals/harness.py`` writes them.

    python -m evals.metrics records=outputs/evals/NAME/samples.parquet        # all of them, by benchmark (--help)

    >>> records = {"question_id": ["a", "a", "b", "b"], "sample_index": [0, 1, 0, 1], "correct": [1, 0, 1, 1]}
    >>> avg_at_k(records).mean, pass_at_k(records, 2).mean
    (0.75, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from evals.records import columns, enough, first_k, nothing, select
from repro.cot import profile, summarise
from repro.report.table import question_interval
from repro.rewards.checks import whole

Z = 1.96


@dataclass(frozen=True)
class Estimate:
    """A mean over questions, its standard error and 95 % interval (both nan with one question), and what it was made from.

    ``covers`` names the only variance in it: that of drawing questions (and of decoding, k samples a question). Training seeds are not.
    """

    mean: float
    se: float
    low: float
    high: float
    questions: int
    samples: int
    covers: str = "questions"


def clustered_se(values: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of the mean of ``values`` whose errors are correlated inside clusters (Miller, arXiv 2411.00640, section 2.2).

    sqrt(G/(G-1) * sum over clusters of (sum of the residuals)^2) / n with G clusters; with one value a cluster it is the ordinary one. Nan
    with one cluster.
    """
    _, index = np.unique(clusters, return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return math.nan
    residuals = np.bincount(index, values - values.mean())
    return math.sqrt(count / (count - 1) * float((residuals**2).sum())) / len(values)


def avg_at_k(records: Any, k: int | None = None, *, cluster: str | None = None) -> Estimate:
    """Mean over questions of the mean over their first k samples (all of them without ``k``).

    Args:
        cluster: column by which questions belong together (a contest, a passage), for the standard error; without it every question is its
            own cluster, which is the standard error clustered by question over samples.

    Returns:
        Estimate in [0, 1]. The interval is Wilson's at the effective number of answers (``repro.report.table.question_interval``), and with
        ``cluster`` a t interval over clusters.

    Raises:
        ValueError: as ``columns`` and ``first_k``; a question in two clusters.
    """
    chosen = first_k(records, k)
    question, correct, *group = (column[chosen] for column in columns(records, "question_id", "correct", *([cluster] if cluster else [])))
    names, first, index, count = np.unique(question, return_index=True, return_inverse=True, return_counts=True)
    means = np.bincount(index, correct) / count
    if not cluster:
        return Estimate(_mean(means), clustered_se(means, names), *question_interval(correct, question)[1:], len(names), len(correct))
    labels = np.array([str(value) for value in group[0]])
    if (labels != labels[first][index]).any():
        at = int((labels != labels[first][index]).argmax())
        raise ValueError(f"question '{question[at]}' is in two clusters of {cluster}")
    from scipy.stats import t

    mean, se = _mean(means), clustered_se(means, labels[first])
    half = float(t.ppf(0.975, len(set(labels.tolist())) - 1)) * se  # nan with one cluster, and then so are the ends
    low, high = (math.nan, math.nan) if math.isnan(half) else (max(0.0, mean - half), min(1.0, mean + half))
    return Estimate(mean, se, low, high, len(names), len(correct), f"clusters of {cluster}")


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def pass_at_k(records: Any, k: int) -> Estimate:
    """Probability that at least one of k samples is right: 1 - C(n-c, k) / C(n, k) a question (Chen et al. 2021, arXiv 2107.03374).

    Unbiased for any n >= k; never the plug-in 1 - (1 - c/n)^k.

    Returns:
        Estimate in [0, 1], all samples used; interval: mean +- 1.96 standard errors over questions, cut at 0 and 1.

    Raises:
        ValueError: as ``columns``; ``k`` below 1; a question with fewer than k samples (named).
    """
    question, correct = columns(records, "question_id", "correct")
    whole("k", k, at_least=1)
    names, index, count = np.unique(question, return_inverse=True, return_counts=True)
    enough(names, count, k)
    right = np.bincount(index, correct).astype(int)
    # Whole numbers of any size, so that nothing is rounded before the division.
    values = np.array([1 - math.comb(n - c, k) / math.comb(n, k) for n, c in zip(count.tolist(), right.tolist(), strict=True)])
    return _over_questions(values, len(correct))


def _over_questions(values: np.ndarray, samples: int) -> Estimate:
    """Estimate from one value in [0, 1] a question."""
    mean, se = _mean(values), clustered_se(values, np.arange(len(values)))
    low, high = (math.nan, math.nan) if math.isnan(se) else (max(0.0, mean - Z * se), min(1.0, mean + Z * se))
    return Estimate(mean, se, low, high, len(values), samples)


def maj_at_k(records: Any, k: int | None = None) -> Estimate:
    """Expected score of the majority vote of k samples, exact over **all** subsets of k of a question's samples (all n without ``k``).

    Votes are the extracted answers as texts, so "1/2" and "0.5" are two unless ``extracted`` is canonical. A sample without an answer does
    not vote; no vote at all is wrong. A tie scores the mean over the answers tied: what drawing one of them would score on average, with no
    draw and no dependence on the order of samples. An answer graded both ways counts with the share of its samples graded right.

    Raises:
        ValueError: as ``pass_at_k``; missing ``extracted``.
    """
    question, correct, extracted = columns(records, "question_id", "correct", "extracted")
    names, index, count = np.unique(question, return_inverse=True, return_counts=True)
    if k is not None:
        whole("k", k, at_least=1)
        enough(names, count, k)
    votes: list[dict[str, list[float]]] = [{} for _ in names]
    for at, right, answer in zip(index.tolist(), correct.tolist(), extracted, strict=True):
        if not nothing(answer):
            votes[at].setdefault(str(answer).strip(), []).append(right)
    values = np.zeros(len(names))
    for at, groups in enumerate(votes):
        sizes = sorted(len(graded) for graded in groups.values())
        for graded in groups.values():
            if any(graded):
                others = list(sizes)
                others.remove(len(graded))
                values[at] += _mean(graded) * _win(len(graded), tuple(others), int(count[at]), int(count[at]) if k is None else k)
    return _over_questions(values, len(correct))


@lru_cache(maxsize=65536)
def _win(size: int, others: tuple[int, ...], samples: int, k: int) -> float:
    """Probability that an answer given ``size`` times wins the vote of k of ``samples`` samples, against ``others``; ties by equal shares.

    For each number of votes j that it may get: the ways to give every other answer at most j votes, counted by votes handed out and by
    answers that tie, in whole numbers of any size. What is left of the k goes to samples without an answer.
    """
    silent, total, result = samples - size - sum(others), math.comb(samples, k), 0.0
    for j in range(1, min(size, k) + 1):
        ways = {(0, 0): 1}  # (votes of others, answers tied) -> ways
        for other in others:
            more: dict[tuple[int, int], int] = {}
            for (used, tied), number in ways.items():
                for votes in range(min(other, j, k - j - used) + 1):
                    key = (used + votes, tied + (votes == j))
                    more[key] = more.get(key, 0) + number * math.comb(other, votes)
            ways = more
        for (used, tied), number in ways.items():
            if (rest := k - j - used) <= silent:
                result += math.comb(size, j) * number * math.comb(silent, rest) / (total * (tied + 1))
    return result


def breakdown(records: Any, by: str, metric: Callable[[Any], Any] = avg_at_k) -> dict[str, Any]:
    """``metric`` of the records of each value of a column, ``level`` or ``subject`` say; rows without a value are under ``unknown``.

    Raises:
        ValueError: as ``columns`` and ``metric``.
    """
    _, values = columns(records, "question_id", by)
    labels = np.array(["unknown" if nothing(value) else str(value) for value in values])
    return {str(label): metric(select(records, labels == label)) for label in np.unique(labels)}


def lengths(records: Any) -> dict[str, float]:
    """Chain lengths in tokens, means over samples; nan where a group is empty.

    Returns:
        ``mean``, ``median``, ``correct``, ``wrong``, ``finished`` (mean over samples that ended by themselves), ``finished_diluted`` (the
        paper code's ``response_length_terminated``: tokens of finished samples over the number of **all** samples, so a growing share of
        truncated ones lowers it; D-17 of the discrepancies), ``truncated`` (share).

    Raises:
        ValueError: as ``columns``.
    """
    tokens, correct, reason = columns(records, "tokens", "correct", "finish_reason")
    right, done = correct == 1, reason == "stop"
    groups = {
        "mean": tokens,
        "correct": tokens[right],
        "wrong": tokens[~right],
        "finished": tokens[done],
        "finished_diluted": tokens * done,
    }
    means = {name: _mean(group) if len(group) else math.nan for name, group in groups.items()}
    return {**means, "median": float(np.median(tokens)), "truncated": float((~done).mean())}


def no_answer_share(records: Any) -> float:
    """Share of samples from which no answer could be extracted (null, nan or empty). Raises ValueError as ``columns``."""
    (extracted,) = columns(records, "extracted")
    return _mean([nothing(answer) for answer in extracted])


def text_metrics(records: Any) -> dict[str, float]:
    """Keyword, branching and behaviour rates, repetition and coding share of the responses: ``repro.cot.summarise``, rates by tokens.

    Raises:
        ValueError: as ``columns``; a response that is not text.
    """
    response, tokens = columns(records, "response", "tokens")
    return summarise(profile(response, tokens=tokens))


def length_difficulty(records: Any) -> dict[str, float]:
    """Calibration of length to difficulty: Spearman correlation, over questions, of the mean length with the error rate.

    Positive: harder questions get longer chains. Both come from the same samples, so wrong answers that ramble raise it as well; compare
    ``lengths`` of correct and wrong samples beside it.

    Returns:
        ``rho`` and ``p`` (two-sided, against no association), nan with fewer than three questions or where one of the two does not vary;
        ``questions``.

    Raises:
        ValueError: as ``columns``.
    """
    from scipy.stats import spearmanr

    question, tokens, correct = columns(records, "question_id", "tokens", "correct")
    _, index, count = np.unique(question, return_inverse=True, return_counts=True)
    length, error = np.bincount(index, tokens) / count, 1 - np.bincount(index, correct) / count
    if len(count) < 3 or np.ptp(length) == 0 or np.ptp(error) == 0:
        return {"rho": math.nan, "p": math.nan, "questions": float(len(count))}
    found = spearmanr(length, error)
    return {"rho": float(found.statistic), "p": float(found.pvalue), "questions": float(len(count))}


if __name__ == "__main__":
    from evals.summary import main
    from repro.command import run as run_command

    run_command(main)
