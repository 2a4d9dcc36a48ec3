"""Reward terms: their defaults, validation, batches, streams; and what importing them costs."""

import math
import subprocess
import sys

import numpy as np
import pytest
from omegaconf import OmegaConf

from repro import rewards
from repro.rewards.terms import (
    TERMS,
    ClassicTerm,
    CosineTerm,
    OverlongTerm,
    RepetitionTerm,
    RewardBatch,
    SequenceRepetitionTerm,
    validate_streams,
)


def batch(**changes):
    fields = {
        "lengths": np.array([60, 100, 256]),
        "correct": np.array([True, False, False]),
        "answered": np.array([True, True, False]),
        "token_ids": [[7] * 60, list(range(100)), [7] * 256],
        "texts": ["a a a", "b b b", ""],
        "question_ids": ["q", "q", "r"],
        "sample_indices": np.array([0, 1, 0]),
        "max_length": 256,
    }
    return RewardBatch(**{**fields, **changes})


def test_every_term_computes_a_batch_and_is_a_hydra_schema():
    for name, kind in TERMS.items():
        term = OmegaConf.to_object(OmegaConf.structured(kind))
        assert term == kind()
        if name == "custom":  # of a user's own: tests/test_parts.py
            term.path = "tests.test_parts.lengths"
        term.validate()
        values = term.compute(batch())
        if term.dense:
            assert [value.shape for value in values] == [(60,), (100,), (256,)], name
        else:
            assert values.shape == (3,), name
            assert values.dtype == np.float64, name


def test_defaults_are_those_of_the_functions():
    one = batch()
    assert (CosineTerm().compute(one) == rewards.cosine(one.lengths, one.correct, max_length=256)).all()
    assert ClassicTerm().compute(one).tolist() == [1, 0, 0]
    assert TERMS["zero_rl"]().compute(one).tolist() == [1, -0.5, -1]
    assert TERMS["length_scaled"]().compute(one).tolist() == rewards.length_scaled(one.lengths, one.correct, max_length=256).tolist()
    assert TERMS["random"]().compute(one).tolist() == rewards.random_reward(one.question_ids, one.sample_indices).tolist()
    assert OverlongTerm(ramp=0.5).compute(one).tolist() == [0, 0, -1]
    assert [value.sum() for value in RepetitionTerm().compute(one)] == pytest.approx([-0.05 * 59, 0, -0.05 * 255])


def test_parameters_reach_the_functions():
    one = batch()
    term = CosineTerm(r0_correct=10, rL_correct=9, r0_wrong=-8, rL_wrong=-1, exceed=-3, margin=4)
    expected = rewards.cosine(
        one.lengths, one.correct, max_length=256, r0_correct=10, rL_correct=9, r0_wrong=-8, rL_wrong=-1, exceed=-3, margin=4
    )
    assert (term.compute(one) == expected).all()
    assert ClassicTerm(correct_value=3, wrong_value=-2, exceed=None).compute(one).tolist() == [3, -2, -2]
    runs = RepetitionTerm(ngram_size=3, penalty=-1, where="start").compute(one)
    assert np.flatnonzero(runs[0]).tolist() == [1, 2, 3]


def test_sequence_repetition_charges_wrong_answers_only_unless_told():
    assert SequenceRepetitionTerm(ngram_size=1).compute(batch()).tolist() == pytest.approx([0, -2 / 3, 0])
    assert SequenceRepetitionTerm(ngram_size=1, wrong_only=False).compute(batch()).tolist() == pytest.approx([-2 / 3, -2 / 3, 0])


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *((name, "gamma", value) for name in TERMS for value in (0.0, -0.5, 1.01, math.nan)),
        ("classic", "correct_value", math.inf),
        ("classic", "wrong_value", 0.5),
        ("classic", "exceed", math.nan),
        ("classic", "margin", -1),
        ("cosine", "r0_wrong", 1.0),
        ("cosine", "rL_wrong", 0.1),
        ("cosine", "rL_correct", math.nan),
        ("cosine", "margin", -16),
        ("repetition", "penalty", 0.0),
        ("repetition", "penalty", 0.05),
        ("repetition", "penalty", -math.inf),
        ("repetition", "ngram_size", 0),
        ("repetition", "where", "downstream"),
        ("sequence_repetition", "max_penalty", 0.0),
        ("sequence_repetition", "ngram_size", 0),
        ("length_scaled", "risk", 1.5),
        ("length_scaled", "exceed", math.inf),
        ("length_scaled", "margin", -1),
        ("zero_rl", "wrong_value", 0.1),
        ("zero_rl", "no_answer_value", 0.1),
        ("zero_rl", "correct_value", math.nan),
        ("overlong", "ramp", 0.0),
        ("overlong", "ramp", 1.1),
        ("random", "probability", 2.0),
        ("random", "value", math.nan),
        ("random", "seed", -1),
    ],
)
def test_validate_names_key_value_and_what_is_allowed(name, key, value):
    with pytest.raises(ValueError, match=rf"^{key}=.+: must be ") as error:
        TERMS[name](**{key: value}).validate()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": np.array([60, 100, 257])}, r"lengths\[2\]=257: must be at most max_length=256"),
        ({"correct": np.array([True])}, "correct: must have one entry a response"),
        ({"answered": np.array([0.5, 0, 0])}, "answered: must be true or false"),
        ({"texts": ["a"]}, r"texts: must have one entry a response \(3\), not 1"),
        ({"token_ids": []}, "token_ids: must have one entry"),
        ({"max_length": 0}, "max_length=0"),
    ],
)
def test_a_batch_that_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        batch(**changes)


def test_dense_penalties_need_the_tokens_that_the_lengths_count():
    with pytest.raises(ValueError, match=r"token_ids\[0\]: must have lengths\[0\]=60 tokens"):
        RepetitionTerm().compute(batch(token_ids=[[7] * 59, list(range(100)), [7] * 256]))


def test_streams():
    cosine, repetition = CosineTerm(), RepetitionTerm(gamma=0.99)
    validate_streams({"cosine": cosine, "repetition": repetition}, 1.0)
    validate_streams({"cosine": cosine, "repetition": repetition}, None)
    validate_streams({"cosine": cosine, "repetition": RepetitionTerm()}, 0.95)
    validate_streams({"repetition": repetition}, 0.95)
    with pytest.raises(ValueError, match=r"^gae_lambda=0.95: must be 1 .*cosine 1, repetition 0.99"):
        validate_streams({"cosine": cosine, "repetition": repetition}, 0.95)
    with pytest.raises(ValueError, match="at least one"):
        validate_streams({}, 1.0)
    with pytest.raises(ValueError, match="gae_lambda=nan"):
        validate_streams({"cosine": cosine}, math.nan)


def test_importing_is_light_and_names_stay_functions():
    code = (
        "import sys, repro.rewards.cosine, repro.rewards.terms, repro.rewards.repetition; import repro.rewards as r;"
        "assert callable(r.cosine) and callable(r.classic) and callable(r.overlong);"
        "print([m for m in ('torch', 'scipy', 'trl', 'transformers', 'matplotlib', 'hydra') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
