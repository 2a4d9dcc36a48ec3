"""``python -m repro.verifiers``: one line in, one line out, whatever stands in it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys


def run(data: bytes, *options: str) -> tuple[list[dict], int]:
    done = subprocess.run([sys.executable, "-m", "repro.verifiers", *options], input=data, capture_output=True, check=False, timeout=120)
    assert b"Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def lines(*rows) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows) + b"\n"


def test_scores_in_order() -> None:
    rows = [
        {"id": "a", "gold": "\\frac12", "output": "so \\boxed{0.5}"},
        {"id": "b", "gold": "5", "output": "5", "kind": "answer"},
        {"id": "c", "gold": "C", "output": "The answer is (C).", "task": "letter"},
        {"id": "d", "gold": "3.14", "output": "\\boxed{3.15}", "task": "numeric"},
        {"id": "e", "gold": "5", "output": "\\boxed{6}"},
        {"gold": "5", "output": "\\boxed{5}"},
    ]
    found, code = run(lines(*rows))
    assert code == 0 and [f["id"] for f in found] == ["a", "b", "c", "d", "e", None]
    assert [f["correct"] for f in found] == [True, True, True, True, False, True]
    assert set(found[0]) == {"id", "correct", "extracted", "rule", "reason", "seconds"} and found[0]["extracted"] == "0.5"


def test_a_bad_line_is_an_error_line_and_the_rest_goes_on() -> None:
    good = {"id": "good", "gold": "5", "output": "\\boxed{5}"}
    bad = [
        b"garbage",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        {"id": "x", "output": "5"},
        {"id": "x", "gold": 5, "output": "5"},
        {"id": "x", "gold": "5", "output": None},
        {"id": "x", "gold": "5", "output": "5", "task": "poetry"},
        {"id": "x", "gold": "5", "output": "5", "kind": 3},
        {"id": "x", "gold": "", "output": "5"},
    ]
    found, code = run(lines(good, *bad, good))
    assert code == 1 and len(found) == len(bad) + 2
    assert found[0]["correct"] and found[-1]["correct"]
    for number, row in enumerate(found[1:-1], 2):
        assert row["line"] == number and row["correct"] is False and row["error"]
    assert [row["id"] for row in found[6:-1]] == ["x"] * 6


def test_odd_characters_and_a_huge_line() -> None:
    surrogate = b'{"id": 1, "gold": "5", "output": "\\ud800 \\\\boxed{5}"}'
    found, code = run(lines(surrogate, {"id": 2, "gold": "5", "output": "x" * 2_000_000 + "\\boxed{5}"}))
    assert code == 0 and all(row["correct"] for row in found)
    assert run(b"") == ([], 0) and run(b"\n\n") == ([], 0)


def test_a_reader_that_stops_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "repro.verifiers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(lines(*[{"gold": "5", "output": "\\boxed{5}"}] * 3000))
        process.stdin.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(60)


def test_help_and_bad_options() -> None:
    done = subprocess.run([sys.executable, "-m", "repro.verifiers", "--help"], capture_output=True, text=True, check=True)
    for word in ("gold", "output", "task", "kind", "--deadline"):
        assert word in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "repro.verifiers", "--tolerance", "7"], input="", capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("error: tolerance=7")
