"""Where the variance of a score comes from: training seed, question, decoding, verifier.

Differs from a standard deviation over runs, which mixes all of them, in that each source is estimated apart: crossed random effects by the
method of moments (analysis of variance; Searle, Casella & McCulloch, *Variance Components*, ch. 4), with no distribution assumed. For a score
of seed s, question q, sample k and, where the same samples were scored again, verifier v:

    y = mean + seed_s + question_q + (seed x question)_sq + decoding_k(sq)  [+ verifier_v + its products with all of these]

Samples are nested in (seed, question); the rest is crossed. With MS the mean squares of the balanced table and S, Q, K, V the numbers of levels,
the expected mean square of an effect is the sum, over every effect that contains its letters, of (product of the other letters' levels) x
variance; without verifiers:

    E MS_decoding = d    E MS_sq = d + K sq    E MS_question = d + K sq + S K q    E MS_seed = d + K sq + Q K s

which is solved from the left. An estimate below 0 says that the component cannot be told from 0 and is kept as it is; ``sd`` cuts it.

    >>> import numpy as np
    >>> from repro.claims.variance import components
    >>> sorted(components(np.random.default_rng(0).random((5, 40, 4)) < 0.5).variances)
    ['decoding', 'question', 'seed', 'seed x question']
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

AXES = ("seed", "question", "sample", "verifier")


@dataclass(frozen=True)
class Components:
    """Variance components of one score, in squared points.

    Attributes:
        variances: effect -> estimate, possibly below 0. ``decoding`` is the sample within seed and question; effects of axes with one level
            are absent, and with one sample a question ``seed x question`` holds decoding, too.
        mean_squares, freedom: effect -> mean square and its degrees of freedom.
        levels: axis -> number of levels, for all four axes.
    """

    variances: dict[str, float]
    mean_squares: dict[str, float]
    freedom: dict[str, int]
    levels: dict[str, int]

    def share(self, effect: str) -> float:
        """Share of a single score's variance, 0 to 1; NaN where no score differs."""
        total = sum(max(0.0, value) for value in self.variances.values())
        return max(0.0, self.variances[effect]) / total if total > 0 else math.nan

    def in_mean(self, effect: str) -> float:
        """Standard deviation, in points, that an effect gives to one run's accuracy under one verifier: its variance over the number of its
        independent draws in that accuracy, one for ``seed`` and ``verifier``, the questions for ``question``, all samples for ``decoding``."""
        parts = effect.split(" x ")
        draws = 1
        if "question" in parts or "decoding" in parts:
            draws *= self.levels["question"]
        if "decoding" in parts:
            draws *= self.levels["sample"]
        return math.sqrt(max(0.0, self.variances[effect]) / draws)

    def verifier(self) -> tuple[float, float]:
        """(share of a score's variance, standard deviation in a run's accuracy) of the verifier with all its products; NaN without."""
        effects = [name for name in self.variances if name.startswith("verifier")]
        if not effects:
            return math.nan, math.nan
        return sum(self.share(name) for name in effects), math.sqrt(sum(self.in_mean(name) ** 2 for name in effects))

    def seed_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Williams-Tukey interval of the seed's standard deviation, in points; (NaN, NaN) with one seed, or where verifiers are an axis.

        Conservative for normal seed effects: Williams 1962, Biometrika 49; covers at least ``level`` (the tests check it).
        """
        from scipy.stats import chi2, f

        if "seed" not in self.variances or "seed x question" not in self.variances or self.levels["verifier"] > 1:
            return math.nan, math.nan
        square, error = self.mean_squares["seed"], self.mean_squares["seed x question"]
        a, b = self.freedom["seed"], self.freedom["seed x question"]
        draws = self.levels["question"] * self.levels["sample"]
        ends = []
        for tail in ((1 + level) / 2, (1 - level) / 2):
            ends.append(a * (square - error * f.ppf(tail, a, b)) / (draws * chi2.ppf(tail, a)))
        low, high = (math.sqrt(max(0.0, end)) for end in ends)
        return low, high


def components(scores: np.ndarray) -> Components:
    """Components of scores [seeds, questions, samples] or [seeds, questions, samples, verifiers], 1 correct and 0 wrong, in points squared.

    Raises:
        ValueError: another number of axes, a missing score (the moments are those of a balanced table), or not two scores.
    """
    table = 100 * np.asarray(scores, dtype=np.float64)
    if table.ndim not in (3, 4):
        raise ValueError(f"expected [seeds, questions, samples] or one axis more of verifiers, got shape {table.shape}")
    if np.isnan(table).any():
        raise ValueError(f"{int(np.isnan(table).sum())} missing score(s); the components need a balanced table")
    if table.size < 2:
        raise ValueError(f"expected two or more scores, got shape {table.shape}")
    table = table.reshape(*table.shape, 1) if table.ndim == 3 else table
    levels = dict(zip(AXES, table.shape, strict=True))
    effects = _effects([name for name in AXES if levels[name] > 1])
    deviations: dict[frozenset[str], np.ndarray] = {}
    squares: dict[frozenset[str], float] = {}
    freedom: dict[frozenset[str], int] = {}
    for effect in effects:
        inside = [other for other in deviations if other < effect]
        away = tuple(i for i, name in enumerate(AXES) if name not in effect)
        deviations[effect] = table.mean(axis=away, keepdims=True) - table.mean() - sum((deviations[other] for other in inside), start=0.0)
        freedom[effect] = math.prod(levels[name] for name in effect) - 1 - sum(freedom[other] for other in inside)
        squares[effect] = _outside(effect, levels) * float((deviations[effect] ** 2).sum()) / freedom[effect]
    variances: dict[frozenset[str], float] = {}
    for effect in reversed(effects):  # the largest first: each contains only its own error
        above = sum(_outside(other, levels) * value for other, value in variances.items() if effect < other)
        variances[effect] = (squares[effect] - above) / _outside(effect, levels)
    names = {effect: _name(effect) for effect in effects}
    return Components(
        {names[effect]: variances[effect] for effect in effects},
        {names[effect]: squares[effect] for effect in effects},
        {names[effect]: freedom[effect] for effect in effects},
        levels,
    )


def _effects(present: list[str]) -> list[frozenset[str]]:
    """Effects of the axes that vary, smallest first: all products, samples only together with what they are nested in."""
    crossed = [name for name in present if name != "sample"]
    found = [frozenset(names) for size in range(1, len(crossed) + 1) for names in combinations(crossed, size)]
    if "sample" in present:
        cell = frozenset(present) - {"verifier"}
        found += [cell, *([cell | {"verifier"}] if "verifier" in present else [])]
    return sorted(found, key=len)


def _outside(effect: frozenset[str], levels: dict[str, int]) -> int:
    return math.prod(count for name, count in levels.items() if name not in effect)


def _name(effect: frozenset[str]) -> str:
    own = ["decoding"] if "sample" in effect else [name for name in ("seed", "question") if name in effect]
    return " x ".join([*(["verifier"] if "verifier" in effect else []), *own])
