"""Arms from records, and every guard: silent on a sound claim, one reason on each way to break it."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.claims import guards
from repro.claims.arms import Arm, align, common_seeds, scores_of
from tests.claims.strategies import RELAXED

QUESTIONS, SAMPLES, SEEDS = 40, 4, 5


def arm(name, entropy=0, **changes):
    rng = np.random.default_rng(entropy)
    sound = Arm(
        name=name,
        scores={seed: rng.random((QUESTIONS, SAMPLES)) < 0.5 for seed in range(SEEDS)},
        question_ids=tuple(f"q{i}" for i in range(QUESTIONS)),
        decoding={"temperature": 0.7, "max_tokens": 1024},
        verifier_version="rule/3",
        truncated=dict.fromkeys(range(SEEDS), 0.01),
        data_order={seed: f"order-{seed}" for seed in range(SEEDS)},
        decontaminated="13-grams, none shared",
    )
    return replace(sound, **changes)


def check(*arms, **asked):
    return guards.check(arms, **{"k": SAMPLES, "min_seeds": SEEDS, "paired": True, **asked})


def holed(name, holes):
    found = arm(name)
    scores = {seed: array.copy() for seed, array in found.scores.items()}
    for seed, question, samples in holes:
        scores[seed][question, samples] = np.nan
    return replace(found, scores=scores)


def test_a_sound_claim_has_no_reason():
    assert check(arm("a"), arm("b", 1), arm("c", 2)) == ()


BROKEN = {
    "decoding": ({"decoding": {"temperature": 1.0, "max_tokens": 1024}}, "temperature is 0.7 in a and 1.0 in b"),
    "unset": ({"decoding": {"temperature": 0.7}}, "max_tokens is 1024 in a and unset in b"),
    "verifier": ({"verifier_version": "rule/4"}, "verifier differs: a rule/3, b rule/4"),
    "truncated": ({"truncated": dict.fromkeys(range(SEEDS), 0.3)}, "b, seed 0: 30.0 % of samples truncated"),
    "unknown truncation": ({"truncated": {}}, "truncated share not recorded"),
    "decontamination": ({"decontaminated": ""}, "decontamination was not run for b"),
    "data order": ({"data_order": dict.fromkeys(range(SEEDS), "x")}, "different orders"),
    "unknown order": ({"data_order": {}}, "data order of seed 0 was not recorded"),
    "questions": ({"question_ids": tuple(f"q{i + 1}" for i in range(QUESTIONS))}, "2 question.*for instance q0"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_guard_fires_alone(case):
    changes, message = BROKEN[case]
    (reason,) = check(arm("a"), arm("b", 1, **changes))
    assert re.search(message, reason)


def test_missing_seeds_and_samples():
    few = arm("b", 1)
    few = replace(few, scores={seed: few.scores[seed] for seed in range(3)})
    assert check(arm("a"), few, paired=False) == ("needs 5 training seeds an arm: b has 3",)
    assert "pairing claimed, but seeds differ" in check(arm("a"), few)[-1]
    assert check(arm("a"), holed("b", [(2, 7, 0)])) == ("b, seed 2: 1 question(s) without exactly 4 samples (q7 has 3)",)
    assert "has 4" in check(arm("a"), arm("b", 1), k=3)[0]  # too many is another metric as well
    empty = check(arm("a"), holed("b", [(1, 3, slice(None))]))
    assert empty[0] == "b, seed 1: accuracy is NaN on 1 question(s)" and "q3 has 0" in empty[1]


def test_what_switches_guards_off():
    long = arm("b", 1, truncated=dict.fromkeys(range(SEEDS), 0.3))
    assert check(arm("a"), replace(long, exceed_handling=True)) == ()
    assert check(arm("a"), long, truncation_cap=0.5) == ()
    assert check(arm("a"), arm("b", 1, decontaminated=""), decontamination=False) == ()
    assert check(arm("a"), arm("b", 1, data_order={}), paired=False) == ()


def test_a_seed_that_did_not_reach_the_run():
    copies = arm("b")
    copies = replace(copies, scores=dict.fromkeys(range(SEEDS), copies.scores[0]))
    assert check(arm("a"), copies) == ("b: seeds 0 and 1 have identical scores on all 160 samples",)
    zero = replace(copies, scores=dict.fromkeys(range(SEEDS), np.zeros((QUESTIONS, SAMPLES))))
    assert check(arm("a"), zero) == ()  # a hard benchmark, not a copied run


def test_a_fixed_arm_needs_no_seeds():
    base = arm("base")
    base = replace(base, scores={0: base.scores[0]})
    assert check(arm("a"), base, fixed={"base"}) == ()
    assert check(arm("a"), base, paired=False) == ("needs 5 training seeds an arm: base has 1",)


def test_means_in_points():
    scores = {3: [[1, 0], [1, 1]], 1: [[0, 0], [1, 0]]}
    found = Arm("a", scores, ("x", "y"))
    assert found.seeds == (1, 3)
    assert found.question_means().tolist() == [[0, 50], [50, 100]]
    assert found.seed_means().tolist() == [25, 75]


def test_arms_are_aligned_by_question_and_by_seed():
    a = Arm("a", {0: [[1, 1], [0, 0]], 1: [[1, 0], [0, 0]]}, ("x", "y"))
    b = Arm("b", {1: [[0, 0], [1, 0]], 0: [[0, 0], [1, 1]]}, ("y", "x"))
    first, second = common_seeds(a, b)
    assert first.tolist() == second.tolist() == [50, 25]
    assert align([a, b])[1].question_means().tolist() == a.question_means().tolist()
    with pytest.raises(ValueError, match="same training seeds"):
        common_seeds(a, replace(b, scores={0: b.scores[0]}))
    with pytest.raises(ValueError, match="asked of only one"):
        align([a, replace(b, question_ids=("y", "z"))])


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.randoms(use_true_random=False))
@RELAXED
def test_records_in_any_order_give_back_the_arrays(seeds, questions, samples, random):
    truth = {(s, f"q{q}", i): random.random() < 0.5 for s in range(seeds) for q in range(questions) for i in range(samples)}
    records = [(*key, value) for key, value in truth.items()]
    random.shuffle(records)
    scores, ids = scores_of(*zip(*records, strict=True))
    assert all(scores[s][ids.index(q), i] == value for (s, q, i), value in truth.items())
    assert sum(array.size for array in scores.values()) == len(truth)


def test_records_with_holes_and_duplicates():
    scores, ids = scores_of([0, 0, 0], ["a", "a", "b"], [0, 1, 0], [True, False, True])
    assert ids == ("a", "b")
    assert np.isnan(scores[0]).tolist() == [[False, False], [False, True]]
    with pytest.raises(ValueError, match=r"1 duplicate record.*seed 0, question a, sample 0"):
        scores_of([0, 0], ["a", "a"], [0, 0], [True, False])
    with pytest.raises(ValueError, match="non-empty"):
        scores_of([], [], [], [])
    with pytest.raises(ValueError, match="negative sample"):
        scores_of([0], ["a"], [-1], [True])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Arm("a", {}, ("x",)), "no training seed"),
        (lambda: Arm("a", {0: [[1]], 1: [[1], [0]]}, ("x",)), "seed 1: scores"),
        (lambda: Arm("a", {0: [1, 0]}, ("x", "y")), "expected .2 questions"),
        (lambda: Arm("a", {0: [[1], [1]]}, ("x", "x")), "duplicate question"),
        (lambda: Arm("a", {0: [[0.5]]}, ("x",)), "other than 0, 1 and NaN"),
        (lambda: Arm("a", {0: [[1, math.nan]]}, ("x",)).seed_means(), "1 missing sample"),
        (check, "different names"),
        (lambda: check(arm("a"), arm("a")), "different names"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
