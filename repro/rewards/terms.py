"""Reward terms: one dataclass a reward, holding its parameters with the paper's defaults and the discount of its stream.

They are the Hydra schema of ``reward=...`` (fields are plain numbers, truth values and strings) and compute the reward of a batch at once:

    >>> from repro.rewards.terms import CosineTerm, RepetitionTerm, validate_streams
    >>> terms = {"cosine": CosineTerm(r0_correct=10, rL_correct=9), "repetition": RepetitionTerm(gamma=0.99)}
    >>> validate_streams(terms, gae_lambda=1.0)

A *sparse* term gives one number a response, paid on its last token; a *dense* one gives one number a token. Every term is a stream of
rewards with its own discount ``gamma``. Imports numpy, nothing heavier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from repro import rewards
from repro.rewards.checks import between, flags_array, lengths_array
from repro.rewards.classic import check_classic
from repro.rewards.cosine import check_cosine
from repro.rewards.length_scaled import check_length_scaled
from repro.rewards.random_reward import check_random
from repro.rewards.repetition import check_dense, check_sequence
from repro.rewards.zero_rl import check_zero_rl


@dataclass(frozen=True)
class RewardBatch:
    """What the rewards of a batch of responses are computed from; refuses entries that do not fit together.

    Raises:
        ValueError: a field with another number of entries than ``lengths``, a length above ``max_length`` or below 0, flags that are not
            flags.
    """

    lengths: np.ndarray  # int [batch]: tokens of the response, EOS included
    correct: np.ndarray  # bool [batch]
    answered: np.ndarray  # bool [batch]: an answer was found in the response
    token_ids: Sequence[Sequence[int]]  # of the response, EOS included, no padding
    texts: Sequence[str]
    question_ids: Sequence[str]
    sample_indices: np.ndarray  # int [batch]: which sample of its question
    max_length: int  # generation limit, in tokens

    def __post_init__(self) -> None:
        lengths = lengths_array(self.lengths, self.max_length)
        object.__setattr__(self, "lengths", lengths)
        for name in ("correct", "answered"):
            object.__setattr__(self, name, flags_array(name, getattr(self, name), lengths.size))
        for name in ("token_ids", "texts", "question_ids", "sample_indices"):
            if len(getattr(self, name)) != lengths.size:
                raise ValueError(f"{name}: must have one entry a response ({lengths.size}), not {len(getattr(self, name))}")


@dataclass(kw_only=True)
class Term(ABC):
    """A stream of rewards. ``validate`` raises ValueError (key, value, what is allowed); ``compute`` gives a batch's rewards."""

    dense: ClassVar[bool] = False

    gamma: float = 1.0  # discount of this stream, a token

    def validate(self) -> None:
        between("gamma", self.gamma, 0, 1, open_low=True)

    @abstractmethod
    def compute(self, batch: RewardBatch) -> np.ndarray | list[np.ndarray]:
        """float64 array [batch], or for a dense term one float64 array of the response's length each."""


@dataclass(kw_only=True)
class ClassicTerm(Term):
    """Correct, wrong, overlong (``repro.rewards.classic``)."""

    correct_value: float = 1.0
    wrong_value: float = 0.0  # at most 0
    exceed: float | None = 0.0  # null: overlong responses are treated like any other
    margin: int = 16  # tokens before the window from which a response is overlong

    def validate(self) -> None:
        super().validate()
        check_classic(self.correct_value, self.wrong_value, self.exceed, self.margin)

    def compute(self, batch: RewardBatch) -> np.ndarray:
        return rewards.classic(
            batch.lengths,
            batch.correct,
            max_length=batch.max_length,
            correct_value=self.correct_value,
            wrong_value=self.wrong_value,
            exceed=self.exceed,
            margin=self.margin,
        )


@dataclass(kw_only=True)
class CosineTerm(Term):
    """Cosine length scaling (``repro.rewards.cosine``); the paper's sets A, B, C are (0, 10, 0, 0), (6, 5, -10, 0), (10, 9, -10, 0)."""

    r0_correct: float = 2.0  # correct, length 0
    rL_correct: float = 1.0  # correct, at the window
    r0_wrong: float = -10.0  # wrong, length 0; at most 0
    rL_wrong: float = 0.0  # wrong, at the window; at most 0
    exceed: float = -10.0
    margin: int = 16  # tokens before the window from which a response is overlong

    def validate(self) -> None:
        super().validate()
        check_cosine(
            r0_correct=self.r0_correct,
            rL_correct=self.rL_correct,
            r0_wrong=self.r0_wrong,
            rL_wrong=self.rL_wrong,
            exceed=self.exceed,
            margin=self.margin,
        )

    def compute(self, batch: RewardBatch) -> np.ndarray:
        return rewards.cosine(
            batch.lengths,
            batch.correct,
            max_length=batch.max_length,
            r0_correct=self.r0_correct,
            rL_correct=self.rL_correct,
            r0_wrong=self.r0_wrong,
            rL_wrong=self.rL_wrong,
            exceed=self.exceed,
            margin=self.margin,
        )


_WHERE: dict[str, bool | str] = {"everywhere": False, "start": True, "start_upstream": "upstream"}


@dataclass(kw_only=True)
class RepetitionTerm(Term):
    """Dense n-gram penalty (``repro.rewards.dense_repetition``). The paper's runs discount it with 0.99: set ``gamma``."""

    dense: ClassVar[bool] = True

    ngram_size: int = 40  # tokens
    penalty: float = -0.05  # of every token of a repeat; below 0
    where: str = "everywhere"  # or start: the first n-gram of a run of repeats; or start_upstream: with the paper code's off-by-one

    def validate(self) -> None:
        super().validate()
        if self.where not in _WHERE:
            raise ValueError(f"where={self.where!r}: must be one of {', '.join(_WHERE)}")
        check_dense(self.ngram_size, self.penalty, _WHERE[self.where])

    def compute(self, batch: RewardBatch) -> list[np.ndarray]:
        """Raises ValueError where ``lengths`` and ``token_ids`` disagree: the penalties would land on other tokens than meant."""
        for index, (ids, length) in enumerate(zip(batch.token_ids, batch.lengths.tolist(), strict=True)):
            if len(ids) != length:
                raise ValueError(
                    f"token_ids[{index}]: must have lengths[{index}]={length} tokens (EOS included, no padding), not {len(ids)}"
                )
        return rewards.dense_repetition(batch.token_ids, ngram_size=self.ngram_size, penalty=self.penalty, only_start=_WHERE[self.where])


@dataclass(kw_only=True)
class SequenceRepetitionTerm(Term):
    """Share of repeated word n-grams, one number a response (``repro.rewards.sequence_repetition``)."""

    ngram_size: int = 40  # words
    max_penalty: float = -1.0  # of a text that is all repetition; below 0. The paper leaves it off
    wrong_only: bool = True  # the paper's code applies it to wrong responses only

    def validate(self) -> None:
        super().validate()
        check_sequence(self.ngram_size, self.max_penalty)

    def compute(self, batch: RewardBatch) -> np.ndarray:
        values = rewards.sequence_repetition(batch.texts, ngram_size=self.ngram_size, max_penalty=self.max_penalty)
        return np.where(batch.correct, 0.0, values) if self.wrong_only else values


@dataclass(kw_only=True)
class LengthScaledTerm(Term):
    """Linear length scaling (``repro.rewards.length_scaled``)."""

    risk: float = 0.5  # reward of a correct answer of length 0, in [0, 1]
    exceed: float = 0.0
    margin: int = 16  # tokens before the window from which a response is overlong

    def validate(self) -> None:
        super().validate()
        check_length_scaled(self.risk, self.exceed, self.margin)

    def compute(self, batch: RewardBatch) -> np.ndarray:
        return rewards.length_scaled(
            batch.lengths, batch.correct, max_length=batch.max_length, risk=self.risk, exceed=self.exceed, margin=self.margin
        )


@dataclass(kw_only=True)
class ZeroRLTerm(Term):
    """Correct, wrong, no answer (``repro.rewards.zero_rl``)."""

    correct_value: float = 1.0
    wrong_value: float = -0.5  # at most 0
    no_answer_value: float = -1.0  # at most 0

    def validate(self) -> None:
        super().validate()
        check_zero_rl(self.correct_value, self.wrong_value, self.no_answer_value)

    def compute(self, batch: RewardBatch) -> np.ndarray:
        return rewards.zero_rl(
            batch.correct,
            batch.answered,
            correct_value=self.correct_value,
            wrong_value=self.wrong_value,
            no_answer_value=self.no_answer_value,
        )


@dataclass(kw_only=True)
class OverlongTerm(Term):
    """DAPO's soft overlong punishment (``repro.rewards.overlong``), its ramp given as a share of the window so that it fits every scale."""

    ramp: float = 0.2  # share of max_length, in (0, 1]; DAPO: 4096 of 20480 tokens

    def validate(self) -> None:
        super().validate()
        between("ramp", self.ramp, 0, 1, open_low=True)

    def compute(self, batch: RewardBatch) -> np.ndarray:
        return rewards.overlong(batch.lengths, max_length=batch.max_length, cache=max(1, round(self.ramp * batch.max_length)))


@dataclass(kw_only=True)
class RandomTerm(Term):
    """Coin flips, the control (``repro.rewards.random_reward``)."""

    probability: float = 0.5  # of value, in [0, 1]
    value: float = 1.0
    seed: int = 0

    def validate(self) -> None:
        super().validate()
        check_random(self.probability, self.value, self.seed)

    def compute(self, batch: RewardBatch) -> np.ndarray:
        return rewards.random_reward(
            batch.question_ids, batch.sample_indices, probability=self.probability, value=self.value, seed=self.seed
        )


@dataclass(kw_only=True)
class CustomTerm(Term):
    """A reward of the user's own, by import path (``repro.rewards.custom``)."""

    path: str = ""  # package.module.Name of a class with compute(batch), or of a function of a batch
    arguments: dict[str, Any] = field(default_factory=dict)  # for the class, or beside the batch

    def validate(self) -> None:
        """Raises ConfigError for code that cannot be used, tried on three made-up responses."""
        super().validate()
        self.compute(TRIAL)

    def compute(self, batch: RewardBatch) -> np.ndarray | list[np.ndarray]:
        from repro.rewards import custom

        return custom.compute(self.path, dict(self.arguments), batch)


TRIAL = RewardBatch(
    lengths=np.array([3, 1, 4]),
    correct=np.array([True, False, False]),
    answered=np.array([True, False, True]),
    token_ids=[[5, 6, 1], [7], [5, 5, 5, 5]],
    texts=["so \\boxed{1}", "wait", "\\boxed{2} \\boxed{2}"],
    question_ids=["q0", "q0", "q1"],
    sample_indices=np.array([0, 1, 0]),
    max_length=4,
)

TERMS: dict[str, type[Term]] = {
    "classic": ClassicTerm,
    "cosine": CosineTerm,
    "repetition": RepetitionTerm,
    "sequence_repetition": SequenceRepetitionTerm,
    "length_scaled": LengthScaledTerm,
    "zero_rl": ZeroRLTerm,
    "overlong": OverlongTerm,
    "random": RandomTerm,
    "custom": CustomTerm,
}


def from_config(reward: Mapping[str, object]) -> dict[str, Term]:
    """The terms that a reward group of the configuration turns on, by name; ``reward``: plain mappings, null for a term that is off."""
    return {name: TERMS[name](**values) for name, values in reward.items() if name != "name" and values is not None}


def validate_streams(terms: Mapping[str, Term], gae_lambda: float | None) -> None:
    """Refuse what the returns cannot express: no reward at all, or several discounts with lambda other than 1.

    Terms with the same discount add up to one stream, to which ordinary GAE applies. Several discounts have no common TD error, because one
    value head predicts the sum of the streams' returns: the advantage is then the sum of the returns minus the value, which is lambda 1
    (paper section 4.6, its code's assertion).

    Args:
        terms: the terms that are on, by name.
        gae_lambda: of the advantage estimator; None where it has none.

    Raises:
        ValueError: one line.
    """
    if not terms:
        raise ValueError("reward: has no term, must have at least one (e.g. reward=classic)")
    if gae_lambda is None:
        return
    between("gae_lambda", gae_lambda, 0, 1)
    if gae_lambda != 1 and len({term.gamma for term in terms.values()}) > 1:
        discounts = ", ".join(f"{name} {term.gamma:g}" for name, term in terms.items())
        raise ValueError(f"gae_lambda={gae_lambda:g}: must be 1 where terms have different discounts ({discounts})")
