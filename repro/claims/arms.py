"""The arms of a claim as arrays: training seed x question x sample, with what the guards must know about how they were made.

Differs from a table of accuracies in that nothing is averaged before the guards have looked: a missing sample is a NaN here, never a zero
and never silently left out.

    >>> import numpy as np
    >>> from repro.claims.arms import Arm
    >>> arm = Arm("cosine", {0: np.array([[True, False], [True, True]])}, ("q1", "q2"))
    >>> arm.seed_means().tolist()
    [75.0]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Arm:
    """One arm of a claim. Raises ValueError when made from inconsistent arrays.

    Attributes:
        name: as in the claim file.
        scores: training seed -> [questions, samples], 1 correct, 0 wrong, NaN not sampled; booleans will do.
        question_ids: one id a row, unique.
        decoding: temperature, top_p, max_tokens and whatever else decides what is sampled.
        verifier_version: of the verifier that gave the scores.
        truncated: training seed -> share of samples that hit the token limit, 0 to 1; empty where it was not recorded.
        exceed_handling: truncated samples were treated on purpose (counted wrong by a declared rule, or rewarded so in training).
        data_order: training seed -> hash of the order of its training data; empty where it was not recorded.
        budget: what RL was given, in words ("tokens 500000"); empty for what RL did not make.
        decontaminated: how training data were kept apart from the benchmark, in words; empty where that was not recorded.
    """

    name: str
    scores: Mapping[int, np.ndarray]
    question_ids: tuple[str, ...]
    decoding: Mapping[str, Any] = field(default_factory=dict)
    verifier_version: str = ""
    truncated: Mapping[int, float] = field(default_factory=dict)
    exceed_handling: bool = False
    data_order: Mapping[int, str] = field(default_factory=dict)
    budget: str = ""
    decontaminated: str = ""

    def __post_init__(self) -> None:
        if not self.scores:
            raise ValueError(f"{self.name}: no training seed")
        if len(set(self.question_ids)) != len(self.question_ids):
            raise ValueError(f"{self.name}: duplicate question ids")
        arrays = {seed: np.asarray(self.scores[seed], dtype=np.float64) for seed in sorted(self.scores)}
        for seed, array in arrays.items():
            if array.ndim != 2 or array.shape[0] != len(self.question_ids) or array.shape[1] == 0:
                raise ValueError(f"{self.name}, seed {seed}: scores {array.shape}, expected [{len(self.question_ids)} questions, samples]")
            seen = array[~np.isnan(array)]
            if not np.isin(seen, (0.0, 1.0)).all():
                raise ValueError(f"{self.name}, seed {seed}: scores other than 0, 1 and NaN")
        object.__setattr__(self, "scores", arrays)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds in rising order, the order of ``seed_means``."""
        return tuple(self.scores)

    def question_means(self) -> np.ndarray:
        """Accuracy [seeds, questions] in points. Raises ValueError when a sample is missing: an average over the rest is another metric."""
        for seed, array in self.scores.items():
            if np.isnan(array).any():
                raise ValueError(f"{self.name}, seed {seed}: {int(np.isnan(array).sum())} missing sample(s)")
        return 100 * np.stack([array.mean(axis=1) for array in self.scores.values()])

    def seed_means(self) -> np.ndarray:
        """Accuracy [seeds] in points: mean over questions of the mean over samples. Raises ValueError as ``question_means``."""
        return self.question_means().mean(axis=1)


def align(arms: Sequence[Arm]) -> list[Arm]:
    """The arms with their questions in the first arm's order. Raises ValueError when they were not asked the same questions."""
    first = arms[0]
    aligned = []
    for arm in arms:
        if set(arm.question_ids) != set(first.question_ids):
            differing = len(set(arm.question_ids) ^ set(first.question_ids))
            raise ValueError(f"{first.name} and {arm.name}: {differing} question(s) asked of only one of them")
        place = {question: i for i, question in enumerate(arm.question_ids)}
        rows = [place[question] for question in first.question_ids]
        scores = {seed: array[rows] for seed, array in arm.scores.items()}
        aligned.append(Arm(**{**vars(arm), "scores": scores, "question_ids": first.question_ids}))
    return aligned


def common_seeds(a: Arm, b: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Seed means of two arms, entry by entry of the same training seed, for paired tests. Raises ValueError for other seeds."""
    if a.seeds != b.seeds:
        raise ValueError(f"{a.name} and {b.name}: pairing needs the same training seeds, got {list(a.seeds)} and {list(b.seeds)}")
    first, second = align([a, b])
    return first.seed_means(), second.seed_means()


def scores_of(seeds: Sequence[int], questions: Sequence[str], samples: Sequence[int], correct: Sequence[bool], name: str = "records"):
    """Columns of sample records -> (scores as ``Arm`` wants them, question ids). Vectorised: a million records take about a second.

    Args:
        seeds, questions, samples, correct: one entry a record: training seed, question id, sample index from 0, score.
        name: used in messages.

    Returns:
        (dict seed -> float64 [questions, samples], tuple of question ids in sorted order); NaN where a record is missing.

    Raises:
        ValueError: no record, columns of other lengths, negative sample index, or two records of one sample.
    """
    columns = [np.asarray(column) for column in (seeds, questions, samples, correct)]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1 or columns[0].size == 0:
        raise ValueError(f"{name}: expected equally long, non-empty columns, got shapes {[column.shape for column in columns]}")
    if columns[2].min() < 0:
        raise ValueError(f"{name}: negative sample index")
    seed_ids, s = np.unique(columns[0], return_inverse=True)
    question_ids, q = np.unique(columns[1], return_inverse=True)
    shape = (seed_ids.size, question_ids.size, int(columns[2].max()) + 1)
    cells = np.ravel_multi_index((s, q, columns[2].astype(np.intp)), shape)
    taken, first = np.unique(cells, return_index=True)
    if taken.size < cells.size:
        again = np.setdiff1d(np.arange(cells.size), first)[0]
        which = f"seed {columns[0][again]}, question {columns[1][again]}, sample {columns[2][again]}"
        raise ValueError(f"{name}: {cells.size - taken.size} duplicate record(s), the first for {which}")
    table = np.full(shape, np.nan)
    table.reshape(-1)[cells] = columns[3].astype(np.float64)
    return {int(seed): table[i] for i, seed in enumerate(seed_ids)}, tuple(str(question) for question in question_ids)
