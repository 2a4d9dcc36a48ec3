"""Metrics of sample records: against brute force over all subsets, against simulation, properties, refusals, and recorded outputs."""

import gzip
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.metrics import (
    avg_at_k,
    breakdown,
    clustered_se,
    length_difficulty,
    lengths,
    maj_at_k,
    no_answer_share,
    pass_at_k,
    text_metrics,
)
from evals.records import columns, first_k, select

# Answers of each question's samples; "r" and "s" are right, None is no answer.
ANSWERS = st.lists(st.lists(st.sampled_from(["r", "s", "x", "y", None]), min_size=3, max_size=6), min_size=1, max_size=4)


def records(answers, **more):
    """Records in an order that is neither by question nor by sample."""
    rows = [
        {"question_id": f"q{q}", "sample_index": i, "correct": a in ("r", "s"), "extracted": a}
        for q, row in enumerate(answers)
        for i, a in enumerate(row)
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    return {name: [rows[at][name] for at in order] for name in rows[0]} | more


def over_subsets(answers, k, score):
    """Mean over questions of the mean score over all subsets of k of its samples."""
    return np.mean([np.mean([score(subset) for subset in itertools.combinations(row, k)]) for row in answers])


def vote(subset):
    """Expected score of the majority vote, ties by equal chance."""
    answers = [a for a in subset if a]
    most = max((answers.count(a) for a in set(answers)), default=0)
    tied = [a for a in set(answers) if answers.count(a) == most]
    return np.mean([a in ("r", "s") for a in tied]) if tied else 0.0


@given(answers=ANSWERS, k=st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_against_all_subsets(answers, k):
    made = records(answers)
    assert pass_at_k(made, k).mean == pytest.approx(over_subsets(answers, k, lambda s: any(a in ("r", "s") for a in s)))
    assert maj_at_k(made, k).mean == pytest.approx(over_subsets(answers, k, vote))
    assert maj_at_k(made).mean == pytest.approx(np.mean([vote(row) for row in answers]))
    assert avg_at_k(made).mean == pytest.approx(over_subsets(answers, k, lambda s: np.mean([a in ("r", "s") for a in s])))
    assert avg_at_k(made, k).mean == pytest.approx(np.mean([np.mean([a in ("r", "s") for a in row[:k]]) for row in answers]))


@given(answers=ANSWERS)
@settings(max_examples=100, deadline=None)
def test_properties(answers):
    made = records(answers)
    values = [pass_at_k(made, k).mean for k in (1, 2, 3)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(avg_at_k(made).mean) == pytest.approx(maj_at_k(made, 1).mean)
    found = avg_at_k(made)
    assert math.isnan(found.se) == (len(answers) == 1)
    if len(answers) > 1:
        assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found == avg_at_k(pa.table(made)), "a Table and a mapping are the same records"
    assert no_answer_share(made) == np.mean([a is None for row in answers for a in row])


def test_known_values():
    made = records([["r", "x", "x", "x"], ["r", "r", "s", None]])
    assert pass_at_k(made, 2).mean == (0.5 + 1) / 2
    assert maj_at_k(made).mean == 0.5
    assert avg_at_k(made).se == pytest.approx(np.std([0.25, 0.75], ddof=1) / math.sqrt(2))
    assert maj_at_k(records([["x", "r"]])).mean == 0.5, "a tie scores the mean of the answers tied"
    assert maj_at_k(records([[None, None]])).mean == 0.0
    assert pass_at_k(records([["x"] * 999 + ["r"]] * 2), 500).mean == pytest.approx(0.5), "no overflow"


def test_standard_errors_against_simulation():
    """Over fresh draws of questions and samples, the mean squared standard error is the variance of the average."""
    generator = np.random.default_rng(1)
    count, samples, repeats = 40, 4, 800
    means, variances, naive = [], [], []
    question, sample = np.repeat(np.arange(count), samples), np.tile(np.arange(samples), count)
    for _ in range(repeats):
        ability = generator.beta(0.5, 0.5, count)
        correct = generator.random(count * samples) < np.repeat(ability, samples)
        means.append(correct.mean())
        variances.append(clustered_se(correct.astype(float), question) ** 2)
        naive.append(correct.var(ddof=1) / correct.size)
    made = {"question_id": question, "sample_index": sample, "correct": correct}
    assert avg_at_k(made).se == pytest.approx(math.sqrt(variances[-1])), "means of equal clusters have the clustered error of their samples"
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.15)
    assert np.mean(naive) < 0.6 * np.var(means), "the simulation tells a clustered error from a naive one"


def test_clusters_of_questions_against_simulation():
    generator = np.random.default_rng(2)
    contests, each = 30, 5
    means, variances = [], []
    for _ in range(400):
        correct = generator.random(contests * each) < np.repeat(generator.beta(0.5, 0.5, contests), each)
        made = {
            "question_id": np.arange(contests * each),
            "sample_index": np.zeros(contests * each, int),
            "correct": correct,
            "contest": np.repeat(np.arange(contests), each),
        }
        found = avg_at_k(made, cluster="contest")
        means.append(found.mean)
        variances.append(found.se**2)
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.2)
    assert found.covers == "clusters of contest"


def test_pass_at_k_is_unbiased_where_the_plug_in_is_not():
    generator = np.random.default_rng(3)
    ability, n, k, repeats = np.array([0.1, 0.3, 0.7]), 6, 4, 600
    question, sample = np.repeat(np.arange(3), n), np.tile(np.arange(n), 3)
    ours, plug_in = [], []
    for _ in range(repeats):
        correct = generator.random(3 * n) < np.repeat(ability, n)
        ours.append(pass_at_k({"question_id": question, "sample_index": sample, "correct": correct}, k).mean)
        plug_in.append(np.mean(1 - (1 - correct.reshape(3, n).mean(1)) ** k))
    truth, error = np.mean(1 - (1 - ability) ** k), np.std(ours) / math.sqrt(repeats)
    assert abs(np.mean(ours) - truth) < 4 * error < abs(np.mean(plug_in) - truth)


def test_lengths_by_both_definitions():
    made = records([["r", "x"], ["x", "x"]])
    order = list(zip(made["question_id"], made["sample_index"], strict=True))
    tokens = {("q0", 0): 10, ("q0", 1): 20, ("q1", 0): 40, ("q1", 1): 100}
    made |= {"tokens": [tokens[at] for at in order], "finish_reason": ["length" if tokens[at] == 100 else "stop" for at in order]}
    found = lengths(made)
    assert found["mean"] == 42.5
    assert found["median"] == 30
    assert (found["correct"], found["wrong"]) == (10, 160 / 3)
    assert (found["finished"], found["finished_diluted"], found["truncated"]) == (70 / 3, 17.5, 0.25)
    alone = select(made, np.array([at == ("q1", 1) for at in order]))
    assert math.isnan(lengths(alone)["finished"])
    assert math.isnan(lengths(alone)["correct"])
    assert lengths(alone)["finished_diluted"] == 0


def test_breakdown_by_level():
    made = records([["r", "x"], ["x", "x"], ["r", "r"]])
    levels = {"q0": 1, "q1": 5, "q2": None}
    made["level"] = [levels[q] for q in made["question_id"]]
    found = breakdown(made, "level")
    assert {name: part.mean for name, part in found.items()} == {"1": 0.5, "5": 0.0, "unknown": 1.0}
    assert breakdown(pa.table(made), "level", lambda part: pass_at_k(part, 2).mean) == {"1": 1.0, "5": 0.0, "unknown": 1.0}


def test_length_follows_difficulty():
    made = records([["r", "r", "r"], ["r", "r", "x"], ["r", "x", "x"], ["x", "x", "x"]])
    longer = [100 * int(q[1]) + 10 for q in made["question_id"]]
    assert length_difficulty(made | {"tokens": longer})["rho"] == pytest.approx(1)
    assert length_difficulty(made | {"tokens": [500 - n for n in longer]})["rho"] == pytest.approx(-1)
    assert math.isnan(length_difficulty(made | {"tokens": [5] * 12})["rho"])


def test_text_metrics_read_tokens():
    made = records([["r"], ["x"]], response=["Wait. Let me check.", "```python\n1"], tokens=[6, 4])
    found = text_metrics(made)
    assert (found["wait_share"], found["wait_per_1k"], found["coding"]) == (0.5, 100, 0.5)


def test_first_k_goes_by_sample_index():
    made = {"question_id": ["a"] * 3, "sample_index": [7, 2, 5], "correct": [1, 0, 0]}
    assert first_k(made, 2).tolist() == [False, True, True]
    assert avg_at_k(made, 2).mean == 0


GOOD = {"question_id": ["a", "a", "b"], "sample_index": [0, 1, 0], "correct": [1, 0, 1], "tokens": [3, 4, 5], "finish_reason": ["stop"] * 3}


@pytest.mark.parametrize(
    ("change", "call", "message"),
    [
        ({}, lambda r: pass_at_k(r, 2), "question 'b' has 1 samples, 2 are needed"),
        ({}, lambda r: maj_at_k(r | {"extracted": ["1"] * 3}, 2), "question 'b' has 1"),
        ({}, lambda r: avg_at_k(r, 2), "question 'b' has 1"),
        ({}, lambda r: pass_at_k(r, 0), "k=0"),
        ({}, maj_at_k, "missing column extracted: the records have question_id"),
        ({}, lambda r: breakdown(r, "subject"), "missing column subject"),
        ({"sample_index": [1, 1, 0]}, avg_at_k, "question 'a' has sample 1 twice"),
        ({"correct": [1, float("nan"), 0]}, avg_at_k, r"correct\[1\]: is nan"),
        ({"correct": [1, None, 0]}, avg_at_k, r"correct\[1\]: is None"),
        ({"correct": [1, 0.5, 0]}, avg_at_k, "correct: must be true or false"),
        ({"correct": ["yes", "no", "no"]}, avg_at_k, "correct: must be true or false"),
        ({"tokens": [1, -2, 3]}, lengths, "tokens: must be whole numbers"),
        ({"tokens": [1, float("nan"), 3]}, lengths, r"tokens\[1\]: is nan"),
        ({"finish_reason": ["stop", "eos", "stop"]}, lengths, "stop or length, not eos"),
        ({"question_id": ["a", None, "b"]}, avg_at_k, r"question_id\[1\]: is None"),
        ({"correct": [1, 0]}, avg_at_k, "columns of unequal length"),
        ({"benchmark": ["aime", "math", "math"]}, avg_at_k, r"several benchmarks \(aime, math\)"),
        ({"contest": ["x", "y", "x"]}, lambda r: avg_at_k(r, cluster="contest"), "question 'a' is in two clusters"),
        ({name: [] for name in GOOD}, avg_at_k, "no records"),
    ],
)
def test_refusals(change, call, message):
    with pytest.raises(ValueError, match=message):
        call(GOOD | change)


def test_columns_of_arrays_keep_their_kinds():
    made = {name: np.asarray(column) for name, column in GOOD.items()}
    correct, tokens = columns(made, "correct", "tokens")
    assert (correct.dtype, tokens.dtype) == (float, np.int64)


@pytest.mark.skipif("REPRO_DATA_DIR" not in os.environ, reason="REPRO_DATA_DIR is unset: no recorded outputs")
def test_on_recorded_multiple_choice_outputs():
    path = Path(os.environ["REPRO_DATA_DIR"]) / "mcq_generations.jsonl.gz"
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    for model in sorted({row["model"] for row in rows}):
        mine = [row for row in rows if row["model"] == model]
        made = {
            "question_id": [row["question_id"] for row in mine],
            "sample_index": [0] * len(mine),
            "correct": [bool(row["label"]) for row in mine],
            "extracted": [row["extracted"] for row in mine],
            "subject": [row["category"] for row in mine],
        }
        found = avg_at_k(made)
        assert found.mean == pytest.approx(np.mean(made["correct"]))
        assert found.se == pytest.approx(math.sqrt(found.mean * (1 - found.mean) / (len(mine) - 1))), (
            "one sample a question: the ordinary error"
        )
        assert no_answer_share(made) == np.mean([row["label"] is None for row in mine])
        assert maj_at_k(made).mean == found.mean
        parts = breakdown(made, "subject")
        assert sum(part.mean * part.questions for part in parts.values()) == pytest.approx(found.mean * len(mine))
