"""What each benchmark makes of a row, and of the real files where REPRO_DATA_DIR has them."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from evals.benchmarks import BENCHMARKS, FileBenchmark
from evals.files import BenchmarkError
from evals.mmlu_pro import SUBSET_IDS
from evals.tasks.mmlu_pro_1k import draw
from repro.verifiers import Verifier

FILES = [b for b in BENCHMARKS.values() if isinstance(b, FileBenchmark)]
ROOT = Path(__file__).parents[2]
real = pytest.mark.skipif("REPRO_DATA_DIR" not in os.environ, reason="REPRO_DATA_DIR is not set: no real benchmark files")


def read(tmp_path, name, *rows, stem=None):
    path = tmp_path / f"{stem or BENCHMARKS[name].files[0]}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return BENCHMARKS[name].read(tmp_path)


def gpqa_rows(count=40):
    """Made-up rows with GPQA's columns."""
    return [
        {
            "Question": f"Which is item {i}? ",
            "Correct Answer": f"right [{i}]\n",
            **{f"Incorrect Answer {k}": f"wrong {k} of (2R,3S)-{i}" for k in (1, 2, 3)},
            "Explanation": "made up",
            "Subdomain": "Nothing",
            "High-level domain": "Physics",
            "Record ID": f"rec{i:03d}",
            "Canary String": "made up",
        }
        for i in range(count)
    ]


def test_import_is_light():
    code = (
        "import sys, evals.benchmarks; sys.exit(any(m in sys.modules for m in ('torch', 'datasets', 'pyarrow', 'sympy', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


def test_micro_benchmarks_answer_as_before():
    question = BENCHMARKS["micro_math"].questions(3)[0]
    assert (question.prompt, question.gold, question.task, question.level) == ("find x : D1 C2 B1 A0 =5", "5", "math", "degree 3")
    assert BENCHMARKS["micro_gpqa"].questions(1)[0].options == 4


def test_gpqa_shuffle_is_seeded_per_question_and_recorded(tmp_path):
    rows = gpqa_rows()
    questions, _ = read(tmp_path, "gpqa_diamond", *rows)
    for row, q in zip(rows, questions, strict=True):
        options = [row["Correct Answer"].strip(), *(row[f"Incorrect Answer {k}"] for k in (1, 2, 3))]
        order = [int(i) for i in q.order.split(",")]
        shown = [line[3:] for line in q.prompt.splitlines()[-4:]]
        assert shown == [options[i] for i in order]  # and no bracket was touched
        assert shown[string.ascii_uppercase.index(q.gold)] == options[0]
        assert "Canary" not in q.prompt
    assert set(Counter(q.gold for q in questions)) == set("ABCD")
    random.seed(5)  # neither the global state nor the other questions matter
    again, _ = read(tmp_path, "gpqa_diamond", *reversed(rows[::2]))
    assert {q.id: q for q in again}.items() <= {q.id: q for q in questions}.items()
    main, _ = read(tmp_path, "gpqa_main", *rows)
    assert main == questions


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"Incorrect Answer 2": ""}, "question rec000: an option is empty"), ({"Record ID": "rec001"}, "question id rec001 occurs twice")],
)
def test_bad_gpqa(tmp_path, change, expected):
    rows = gpqa_rows(3)
    with pytest.raises(BenchmarkError, match=expected):
        read(tmp_path, "gpqa_diamond", {**rows[0], **change}, *rows[1:])
    del rows[0]["Correct Answer"]
    with pytest.raises(BenchmarkError, match="row 1: no column Correct Answer"):
        read(tmp_path, "gpqa_diamond", *rows)


def test_theoremqa_kinds(tmp_path):
    values = [
        ("integer", 4),
        ("float", 0.5),
        ("list of integer", [1, 2]),
        ("list of float", "[0.5, 2.0]"),
        ("bool", True),
        ("option", "(b)"),
    ]
    rows = [{"id": k, "Question": "?", "Answer": v, "Answer_type": k, "Picture": None} for k, v in values]
    questions, left_out = read(tmp_path, "theoremqa", *rows, {**rows[0], "id": "p", "Picture": "images/1.png"})
    assert [q.task for q in questions] == ["numeric"] * 5 + ["letter"]
    assert left_out == {"needs a picture": 1}
    verify = Verifier().verify
    answers = ["4", "0.502", "1, 2", "(0.5, 2)", "yes", "B"]
    for question, answer in zip(questions, answers, strict=True):
        assert verify(question.gold, f"\\boxed{{{answer}}}", task=question.task).correct, question
    with pytest.raises(BenchmarkError, match="unknown Answer_type 'matrix'"):
        read(tmp_path, "theoremqa", {**rows[0], "Answer_type": "matrix"})


def test_other_rows(tmp_path):
    (q,), _ = read(tmp_path, "gsm8k", {"question": "How many?", "answer": "2*600=1200\n#### 1,200"})
    assert (q.gold, q.id) == ("1200", "0")
    (q,), _ = read(tmp_path, "amc23", {"id": 3, "question": "How many?", "answer": 27.0})
    assert (q.gold, q.id) == ("27", "3")
    (q,), _ = read(
        tmp_path, "math", {"problem": "?", "solution": "so \\boxed{1} or \\boxed{\\frac{1}{2}}.", "level": "Level 5", "type": "Algebra"}
    )
    assert (q.gold, q.level, q.subject) == ("\\frac{1}{2}", "5", "Algebra")
    (q,), _ = read(
        tmp_path,
        "olympiadbench",
        {"id": 1, "question": "All $x$?", "final_answer": ["$1$", "$2$"], "context": "Let $x>0$.", "subfield": "Algebra"},
    )
    assert (q.gold, q.prompt) == ("$1$, $2$", "Let $x>0$.\nAll $x$?")
    row = {"question_id": 7, "question": "Which?", "options": ["x", "y", "z"], "answer": "C", "category": "law"}
    (q,), _ = read(tmp_path, "mmlu_pro", row)
    assert (q.prompt, q.gold, q.subject, q.options) == ("Which?\n\nA) x\nB) y\nC) z", "C", "law", 3)
    for name, bad, expected in (
        ("mmlu_pro", {**row, "answer": "D"}, "answer 'D' is none of its 3 options"),
        ("mmlu_pro", {**row, "options": None}, "row 1: unexpected content"),
        ("gsm8k", {"question": "How many?", "answer": "1200"}, "row 1: no '####"),
        ("math", {"problem": "?", "solution": "so 1"}, "neither a column answer nor"),
        ("mmlu_pro_1k", row, "1000 of the 1000 questions of mmlu_pro_1k.txt are missing"),
    ):
        with pytest.raises(BenchmarkError, match=expected):
            read(tmp_path, name, bad)


def test_another_number_of_questions_is_said(tmp_path, caplog):
    read(tmp_path, "aime2024", {"id": 1, "problem": "?", "answer": "033"})
    assert "1 questions, the published set has 30" in caplog.text


def test_subset_is_stratified_and_does_not_depend_on_the_files_order():
    questions = [(str(i), "abc"[i % 7 % 3]) for i in range(500)]
    chosen = draw(questions, 100)
    assert len(set(chosen)) == 100 and chosen == draw(questions[::-1], 100)
    share, drawn = Counter(c for _, c in questions), Counter(dict(questions)[i] for i in chosen)
    assert all(abs(drawn[c] - share[c] / 5) < 1 for c in share)
    with pytest.raises(ValueError, match="size=501: there are only 500"):
        draw(questions, 501)


def test_declared_ids():
    ids = SUBSET_IDS.read_text().split()
    assert len(ids) == len(set(ids)) == 1_000 and all(i.isdigit() for i in ids)


@real
def test_declared_ids_are_the_drawn_ones():
    full = BENCHMARKS["mmlu_pro"].questions()
    assert draw((q.id, q.subject) for q in full) == SUBSET_IDS.read_text().split()
    subset = BENCHMARKS["mmlu_pro_1k"].questions()
    whole, part = Counter(q.subject for q in full), Counter(q.subject for q in subset)
    assert all(abs(part[s] - whole[s] * 1_000 / len(full)) < 1 for s in whole)


@real
@pytest.mark.parametrize("benchmark", [b for b in FILES if "gpqa" not in b.name], ids=lambda b: b.name)
def test_real_files(benchmark):
    questions, left_out = benchmark.read()
    assert len(questions) == benchmark.count
    assert dict(left_out) == ({"needs a picture": 53} if benchmark.name == "theoremqa" else {})
    if benchmark.name.startswith("aime"):
        assert all(0 <= int(q.gold) <= 999 for q in questions)


@real
def test_references_from_solutions_are_those_of_math500():
    answers = {q.prompt: q.gold for q in BENCHMARKS["math500"].questions()}
    full = {q.prompt: q.gold for q in BENCHMARKS["math"].questions()}
    assert answers.items() <= full.items()
