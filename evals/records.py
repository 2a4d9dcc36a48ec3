"""Sample records as columns: the checks that every metric begins with, so that none averages over what it should not.

Unlike a data frame's means these refuse: nan or null in a score, a sample that stands there twice (two arms, seeds or checkpoints were mixed),
several benchmarks, a ``correct`` that is not 0 or 1. ``records`` is a pyarrow Table or a mapping of column -> array, one row a sample.

    >>> records = {"question_id": ["a", "b"], "sample_index": [0, 0], "correct": [True, False], "benchmark": ["math500", "math500"]}
    >>> columns(records, "correct")[0].tolist()
    [1.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from repro.rewards.checks import whole


def columns(records: Any, *names: str) -> list[np.ndarray]:
    """The named columns after the checks that all functions share.

    Raises:
        ValueError: a missing column, columns of unequal length, no row, null or nan in ``correct``, ``tokens``, ``question_id`` or
            ``sample_index``, a ``correct`` that is not 0 or 1, negative ``tokens``, several benchmarks, a sample that stands there twice.
    """
    table = hasattr(records, "column_names")
    present = list(records.column_names if table else records)
    wanted = list(dict.fromkeys(("question_id", "sample_index", *names)))
    if missing := [name for name in wanted if name not in present]:
        raise ValueError(f"missing column {', '.join(missing)}: the records have {', '.join(map(str, present)) or 'no columns'}")
    read = {name: _column(name, records[name].to_pylist() if table else records[name]) for name in wanted}
    sizes = {name: len(column) for name, column in read.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError("columns of unequal length: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
    if not sizes["question_id"]:
        raise ValueError("no records: there is nothing to average")
    if (
        "benchmark" in present
        and len(found := {str(name) for name in (records["benchmark"].to_pylist() if table else records["benchmark"])}) > 1
    ):
        raise ValueError(f"several benchmarks ({', '.join(sorted(found))}): choose the records of one first")
    _refuse_duplicates(read["question_id"], read["sample_index"])
    return [read[name] for name in names]


def nothing(value: Any) -> bool:
    """None, nan (what differs from itself) or an empty text: how files say "no value"."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # noqa: PLR0124


def _column(name: str, values: Any) -> np.ndarray:
    """One column as an array, checked if the metrics calculate with it."""
    entries = np.empty(len(values), dtype=object)
    entries[:] = list(values)
    if name not in ("question_id", "sample_index", "correct", "tokens", "finish_reason"):
        return entries
    for index, value in enumerate(entries):
        if nothing(value):
            raise ValueError(f"{name}[{index}]: is {value!r}, missing or not a number; grade or drop the sample first")
    if name == "question_id":
        return np.array([str(value) for value in entries])
    if name == "finish_reason":
        if unknown := sorted({str(value) for value in entries} - {"stop", "length"}):
            raise ValueError(f"finish_reason: must be stop or length, not {', '.join(unknown)}")
        return entries.astype(str)
    numbers = np.asarray(entries.tolist())
    if name == "correct":
        if numbers.dtype.kind not in "biuf" or not np.isin(numbers, (0, 1)).all():
            raise ValueError("correct: must be true or false (or 1 and 0) for every sample")
        return numbers.astype(float)
    if numbers.dtype.kind not in "iuf" or (numbers < 0).any() or (numbers != np.floor(numbers)).any() or np.isinf(numbers).any():
        raise ValueError(f"{name}: must be whole numbers, at least 0")
    return numbers.astype(np.int64)


def _refuse_duplicates(question: np.ndarray, sample: np.ndarray) -> None:
    order = np.lexsort((sample, question))
    same = (question[order][1:] == question[order][:-1]) & (sample[order][1:] == sample[order][:-1])
    if same.any():
        at = order[int(same.argmax())]
        raise ValueError(
            f"question '{question[at]}' has sample {sample[at]} twice: records of several arms, seeds or checkpoints are mixed, choose one first"
        )


def first_k(records: Any, k: int | None) -> np.ndarray:
    """Which rows are among the first k samples of their question, by ``sample_index``: bool array [samples].

    Raises:
        ValueError: ``k`` below 1, a question with fewer samples than k (named).
    """
    question, sample = columns(records, "question_id", "sample_index")
    if k is None:
        return np.ones(len(question), dtype=bool)
    whole("k", k, at_least=1)
    names, index, count = np.unique(question, return_inverse=True, return_counts=True)
    enough(names, count, k)
    order = np.lexsort((sample, index))
    rank = np.empty(len(question), dtype=np.int64)
    rank[order] = np.arange(len(question)) - np.repeat(np.cumsum(count) - count, count)
    return rank < k


def enough(names: np.ndarray, count: np.ndarray, k: int) -> None:
    if (count < k).any():
        at = int((count < k).argmax())
        raise ValueError(f"question '{names[at]}' has {count[at]} samples, {k} are needed: generate the missing ones or choose a smaller k")


def select(records: Any, chosen: np.ndarray) -> Mapping[str, Any]:
    """The chosen rows (bool array [samples]), as the same kind of records."""
    if hasattr(records, "column_names"):
        return records.filter(chosen)
    return {name: np.asarray(column, dtype=object)[chosen] for name, column in records.items()}
