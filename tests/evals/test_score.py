"""Scoring of recorded responses: verdicts, records, intervals, refusals, and the labels of real recorded outputs."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import pytest

from evals.benchmarks import BENCHMARKS
from evals.command import main
from evals.files import read_rows
from evals.score import interval, score
from repro.verifiers import Verifier

real = pytest.mark.skipif("REPRO_DATA_DIR" not in os.environ, reason="REPRO_DATA_DIR is not set: no recorded outputs")


def micro(count=4):
    questions = BENCHMARKS["micro_math"].questions(count)
    answers = [q.gold for q in questions[:2]] + ["9"] * (count - 3)
    return [{"question_id": q.id, "response": f"so \\boxed{{ {a} }}"} for q, a in zip(questions, answers, strict=False)] + [
        {"question_id": questions[-1].id, "response": "I do not know"}
    ]


def save(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_command_line_writes_records(tmp_path, capsys, suffix):
    recorded, out = save(tmp_path / "r.jsonl", micro()), tmp_path / f"records.{suffix}"
    assert main([f"score={recorded}", "benchmark=micro_math", f"out={out}"]) == 0
    assert " 50.00% [" in (shown := capsys.readouterr().out) and "no answer 25.00%" in shown
    records = read_rows(out)
    assert [r["correct"] for r in records] == [True, True, False, False]
    assert [r["extracted"] for r in records][2:] == ["9", None]
    assert {"rule", "reason", "gold", "level", "sample_index", "benchmark_version", "verifier_version"} <= set(records[0])


def test_a_response_cut_at_its_limit_has_no_answer():
    rows = [{"gold": "5", "output": "\\boxed{5}", "finish_reason": "length"}, {"gold": "5", "output": "\\boxed{5}", "truncated": False}]
    assert [r["correct"] for r in score(rows, None, Verifier(), task="math")] == [False, True]


def test_cells_of_files_that_know_no_types():
    """CSV says everything in text, pandas writes nan for nothing."""
    row = {"gold": "5", "output": "\\boxed{5}", "label": float("nan"), "tokens": "12", "truncated": "False"}
    (record,) = score([row], None, Verifier(), task="math")
    assert (record["label"], record["tokens"], record["finish_reason"], record["correct"]) == (None, 12, "stop", True)
    labels = [True, 1, 1.0, "true", "1", False, 0, "FALSE", None, ""]
    records = score([{**row, "label": label} for label in labels], None, Verifier(), task="math")
    assert [r["label"] for r in records] == [True] * 5 + [False] * 3 + [None] * 2


def test_half_a_surrogate_pair_is_no_text(tmp_path, capsys):
    """JSON can escape it; neither UTF-8 nor Parquet can hold it."""
    rows = [{"id": "q\ud83d", "gold": "5", "output": "\\boxed{5} \ud83d", "m": "\U0001f600\ud83d"}]
    out = tmp_path / "out.parquet"
    assert main([f"score={save(tmp_path / 'r.jsonl', rows)}", "task=math", "by=m", f"out={out}"]) == 0
    (record,) = read_rows(out)
    assert (record["question_id"], record["response"], record["group"]) == ("q?", "\\boxed{5} ?", "\U0001f600?")
    assert "100.00%" in capsys.readouterr().out


def test_references_of_shuffled_options_are_said_to_be_of_our_order(tmp_path, caplog):
    rows = [{"Question": "Q?", "Record ID": "r", "Correct Answer": "a", **{f"Incorrect Answer {i}": str(i) for i in (1, 2, 3)}}]
    save(tmp_path / "gpqa_diamond.jsonl", rows)
    score([{"id": "r", "output": "Answer: A"}], BENCHMARKS["gpqa_diamond"], Verifier(), root=str(tmp_path))
    assert "1 rows have no gold, so they are taken to show the options of gpqa_diamond in our order" in caplog.text


def test_samples_of_a_question_are_numbered_a_group():
    rows = [{"id": "q", "gold": "B", "output": "Answer: B", "model": m} for m in "xxy"]
    records = score(rows, None, Verifier(), task="letter", by="model")
    assert [r["sample_index"] for r in records] == [0, 1, 0]


@pytest.mark.parametrize(
    ("rows", "arguments", "expected"),
    [
        ([{"id": 1, "text": "x"}], ["benchmark=micro_math"], "no column response or output; it has id, text"),
        ([{"id": "nope", "output": "x"}], ["benchmark=micro_math"], "micro_math has no question nope"),
        ([{"id": "nope", "output": "x", "gold": "1"}], ["benchmark=micro_math"], "how to compare is unknown; give task="),
        ([{"id": 1, "output": "x"}], [], "no column gold and no benchmark="),
        ([{"id": 1, "output": None, "gold": "1"}], ["task=math"], "the response must be text, got None"),
        ([{"id": 1, "output": "x", "gold": ["1"]}], ["task=math"], "gold must be text or a number, got ['1']"),
        ([{"id": 1, "output": "x", "gold": ""}], ["task=math"], "question 1: the reference answer '' is empty"),
        ([{"id": 1, "output": "x", "gold": "1", "task": "maths"}], [], "verifier task 'maths' does not exist"),
        ([{"id": 1, "output": "x", "gold": "1", "label": "yes"}], ["task=math"], "row 1: label must be true or false, got 'yes'"),
        ([{"id": 1, "output": "x", "gold": "1", "label": 0.5}], ["task=math"], "label must be true or false, got 0.5"),
        ([{"id": 1, "output": "x", "gold": "1", "label": [1]}], ["task=math"], "label must be true or false, got [1]"),
        ([{"id": 1, "output": "x", "gold": "1", "truncated": "maybe"}], ["task=math"], "truncated must be true or false"),
        ([{"id": 1, "output": "x", "gold": "1", "tokens": -3}], ["task=math"], "tokens must be a whole number of at least 0, got -3"),
        ([{"id": 1, "output": "x", "gold": "1", "tokens": 1e999}], ["task=math"], "tokens must be a whole number"),
        ([{"id": 1, "output": "x", "gold": "1"}], ["task=math", "by=model"], "no column model for by=model"),
        ([{"id": 1, "output": "x", "gold": "1"}], ["task=math", "out=records.txt"], "out=records.txt: name a file that ends in"),
    ],
)
def test_refusals(tmp_path, capsys, rows, arguments, expected):
    assert main([f"score={save(tmp_path / 'r.jsonl', rows)}", *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_missing_recorded_file(tmp_path, capsys):
    assert main([f"score={tmp_path / 'none.jsonl'}", "task=math"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_intervals():
    one = [{"question_id": str(i), "correct": i < 40} for i in range(100)]
    mean, low, high = interval(one)
    assert (mean, round(low, 4), round(high, 4)) == (0.4, 0.309, 0.4985)  # Wilson's with 99 for 100 answers, by hand
    assert math.isnan(interval([{"question_id": "0", "correct": True}])[1])  # one question says nothing about others
    # against simulation: the standard error of the mean over 50 questions with 8 correlated samples each
    rng = random.Random(0)

    def draw():
        return [{"question_id": str(q), "correct": rng.random() < p} for q in range(50) for p in [rng.random()] for _ in range(8)]

    means, widths = zip(*((m, (high - low) / 2 / 1.96) for m, low, high in (interval(draw()) for _ in range(300))), strict=True)
    centre = sum(means) / len(means)
    spread = math.sqrt(sum((m - centre) ** 2 for m in means) / (len(means) - 1))
    assert abs(sum(widths) / len(widths) / spread - 1) < 0.12
    with pytest.raises(ValueError, match="no records"):
        interval([])


@real
@pytest.mark.parametrize(
    ("name", "arguments", "disagree"), [("mcq_generations", {"task": "letter"}, 5), ("graded_generations", {"task": "math"}, 11)]
)
def test_recorded_labels(name, arguments, disagree):
    """Counts seen. Multiple choice: two letters committed to, or two in turn, where we take the last; free answers: most never state one."""
    rows = read_rows(Path(os.environ["REPRO_DATA_DIR"]) / f"{name}.jsonl.gz")
    with Verifier() as verifier:
        records = [r for r in score(rows, None, verifier, **arguments) if r["label"] is not None]
    assert len(records) > 5_000
    assert sum(r["correct"] != r["label"] for r in records) <= disagree
    assert sum(r["correct"] and not r["label"] for r in records) <= 2


@real
def test_recorded_aggregate_scores():
    """Share of right answers among all outputs, unanchored ones wrong: within 0.3 points of the recorded labels, a model at a time."""
    rows = read_rows(Path(os.environ["REPRO_DATA_DIR"]) / "mcq_generations.jsonl.gz")
    with Verifier() as verifier:
        records = score(rows, BENCHMARKS["mmlu_pro"], verifier, by="model")
    for model in {r["group"] for r in records}:
        group = [r for r in records if r["group"] == model]
        assert abs(interval(group)[0] - sum(bool(r["label"]) for r in group) / len(group)) < 0.003
