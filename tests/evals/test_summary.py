"""``python -m evals.metrics``: its numbers are those of the functions, for our records and for scored ones, and bad input is one line."""

from __future__ import annotations

import csv
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evals import metrics
from evals.command import main as harness_main
from evals.summary import groups, main, measure

ROWS = [
    {
        "arm": arm,
        "benchmark": name,
        "question_id": f"q{q}",
        "sample_index": i,
        "level": f"degree {3 + q % 2}",
        "subject": "",
        "tokens": 10 * q + i + 1,
        "finish_reason": "length" if (q, i) == (2, 3) else "stop",
        "extracted": None if (q, i) == (2, 3) else str((q + i) % 3),
        "correct": (q + i) % 3 == 0 and (q, i) != (2, 3),
        "response": "Wait. Alternatively, let me check that." if i else "It is 4.",
    }
    for arm in ("base", "rl")
    for name in ("micro_math", "micro_aime")
    for q in range(5)
    for i in range(4)
]


@pytest.fixture
def file(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "records.parquet")
    return tmp_path / "records.parquet"


def test_every_metric_is_that_of_its_function(file, tmp_path, capsys):
    assert main([f"records={file}", f"out={tmp_path / 'm.csv'}"]) == 0
    shown = capsys.readouterr().out
    with (tmp_path / "m.csv").open(newline="") as written:
        found = {(r["arm"], r["benchmark"], r["metric"]): float(r["value"]) for r in csv.DictReader(written)}
    assert len({key[:2] for key in found}) == 4 and "[4] arm=rl, benchmark=micro_aime" in shown
    rows = pa.Table.from_pylist([r for r in ROWS if (r["arm"], r["benchmark"]) == ("rl", "micro_aime")])
    average, size, rates = metrics.avg_at_k(rows, 4), metrics.lengths(rows), metrics.text_metrics(rows)
    expected = {
        "avg@4": average.mean,
        "avg@4_se": average.se,
        "avg@4_high": average.high,
        **{f"pass@{k}": metrics.pass_at_k(rows, k).mean for k in (1, 2, 4)},
        **{f"maj@{k}": metrics.maj_at_k(rows, k).mean for k in (1, 2, 4)},
        **{f"tokens_{name}": size[name] for name in ("mean", "median", "correct", "wrong", "finished", "finished_diluted")},
        "truncated": size["truncated"],
        "no_answer": metrics.no_answer_share(rows),
        "length_difficulty_rho": metrics.length_difficulty(rows)["rho"],
        **{name: rates[name] for name in ("wait_share", "branching_per_1k", "verification_per_response", "repetition", "coding")},
        "avg, level degree 4": metrics.breakdown(rows, "level")["degree 4"].mean,
    }
    for name, value in expected.items():
        assert found["rl", "micro_aime", name] == pytest.approx(value, nan_ok=True), name
        if not name.endswith("_high"):
            assert f"\n{name} " in shown
    assert "left out" not in shown and not any(name.startswith("avg, subject") for *_, name in found)


def test_k_and_groups_can_be_chosen(file, capsys):
    assert main([f"records={file}", "k=3", "by=arm"]) == 0
    shown = capsys.readouterr().out
    assert "pass@3" in shown and "pass@4" not in shown and "arm=base, benchmark=micro_math" in shown
    assert main([f"records={file}", "arm=rl", "benchmark=micro_aime,micro_math"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("arm=rl\n[1] benchmark=micro_math\n[2] benchmark=micro_aime\n\nmetric ") and "[3]" not in shown
    assert [key for key, _ in groups(pa.Table.from_pylist(ROWS), ["arm"])] == [("base",), ("rl",)]


def test_scored_responses_of_others_have_metrics_too(tmp_path, capsys):
    """Without tokens what needs them is named and left out."""
    rows = [{"id": q, "gold": "5", "response": f"\\boxed{{{5 + (q + i) % 2}}}"} for q in range(3) for i in range(2)]
    recorded = tmp_path / "recorded.jsonl"
    for suffix, more in (("parquet", {}), ("jsonl.gz", {"tokens": 7})):
        recorded.write_text("".join(json.dumps({**row, **more}) + "\n" for row in rows))
        out = tmp_path / f"scored.{suffix}"
        assert harness_main([f"score={recorded}", "task=math", f"out={out}"]) == 0
        capsys.readouterr()
        assert main([f"records={out}"]) == 0
        shown = capsys.readouterr().out
        assert "pass@2" in shown and ("left out: lengths (no tokens)" in shown) == (not more) and ("tokens_mean" in shown) == bool(more)


def test_one_question_has_no_error():
    found, _ = measure(pa.Table.from_pylist([row for row in ROWS if row["arm"] == "rl" and row["question_id"] == "q0"][:4]))
    assert math.isnan(found["avg@4_se"]) and 0 <= found["avg@4"] <= 1


@pytest.mark.parametrize(
    ("change", "arguments", "expected"),
    [
        ({}, "k=9", "(arm=base, benchmark=micro_math): question 'q0' has 4 samples, 9 are needed"),
        ({}, "k=99999999999999", "k=99999999999999: at most"),
        ({}, "k=0", "k=0: a whole number of at least 1"),
        ({}, "by=model", "by=model: the records have no model; they have arm, "),
        ({}, "by=benchmark", "question 'q0' has sample 0 twice"),
        ({}, "groups=arm", "unknown key groups, did you mean group?"),
        ({}, "arm=sft", "arm=sft: no row has sft; there are base, rl"),
        ({}, "stage=rl", "stage=rl: the records have no stage"),
        ({}, "out=/proc/m.csv", "out=/proc/m.csv cannot be written"),
        ({"correct": None}, "k=1", "correct[0]: is None"),
        ({"correct": math.nan}, "k=1", "correct[0]: is nan"),
        ({"correct": 0.5}, "k=1", "correct: must be true or false"),
        ({"tokens": math.nan}, "k=1", "tokens[0]: is nan"),
        ({"finish_reason": "eos"}, "k=1", "finish_reason: must be stop or length, not eos"),
    ],
)
def test_refusals_are_one_line(tmp_path, capsys, change, arguments, expected):
    pq.write_table(pa.Table.from_pylist([{**row, **change} for row in ROWS]), tmp_path / "r.parquet")
    assert main([f"records={tmp_path / 'r.parquet'}", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert not captured.out and captured.err.count("\n") == 1 and expected in captured.err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.parquet", None),
        ("r.parquet", b"PAR1 cut short"),
        ("r.parquet", b""),
        ("r.jsonl", b""),
        ("r.jsonl", b'{"question_id": "\xff"}\n'),
        ("r.jsonl", b'{"question_id": 1}\n{"question_id": "x"}\n'),
        ("r.jsonl", b"[" * 100_000),
        ("r.jsonl", b'{"question_id": 1}\n'),
        ("r.txt", b"x"),
    ],
)
def test_files_that_are_no_records(tmp_path, capsys, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main([f"records={tmp_path / name}"]) == 2
    captured = capsys.readouterr()
    assert not captured.out and captured.err.count("\n") == 1 and name in captured.err


def test_help(capsys):
    assert main(["--help"]) == 0 and "maj@k" in capsys.readouterr().out
