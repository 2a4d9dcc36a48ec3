"""Local benchmark files: every format is read alike, and every bad file is refused in one line that says what to do."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from evals.benchmarks import BENCHMARKS
from evals.files import BenchmarkError, data_dir, read_rows

ROWS = [{"problem": f"What is {i}+1?", "answer": str(i + 1), "unique_id": f"q{i}", "level": 1, "subject": "Sums"} for i in range(3)]


def jsonl(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def refusal(folder, name="math500") -> str:
    with pytest.raises(BenchmarkError) as caught:
        BENCHMARKS[name].questions(None, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet", "parquet.gz", "csv", "csv.gz"])
def test_every_format_gives_the_same_questions(tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = tmp_path / f"math500_test.{suffix.removesuffix('.gz')}"
    if "parquet" in suffix:
        pq.write_table(pa.Table.from_pylist(ROWS), plain)
    elif "csv" in suffix:
        with plain.open("w", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0])
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        plain.write_text(jsonl(ROWS))
    if suffix.endswith(".gz"):
        (tmp_path / f"math500_test.{suffix}").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    questions = BENCHMARKS["math500"].questions(2, tmp_path)
    assert [(q.id, q.prompt, q.gold, q.task, q.level, q.subject) for q in questions] == [
        ("q0", "What is 0+1?", "1", "math", "1", "Sums"),
        ("q1", "What is 1+1?", "2", "math", "1", "Sums"),
    ]


def test_folder_comes_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "math500.jsonl").write_text(jsonl(ROWS))  # the benchmark's own name is a file name too
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path))
    assert len(BENCHMARKS["math500"].questions()) == 3
    monkeypatch.delenv("REPRO_DATA_DIR")
    with pytest.raises(BenchmarkError, match="set REPRO_DATA_DIR"):
        data_dir()
    with pytest.raises(BenchmarkError, match="does not exist"):
        data_dir(tmp_path / "none")


def test_missing_file_says_where_to_get_it_and_which_columns_it_needs(tmp_path):
    text = refusal(tmp_path)
    for part in ("math500_test.jsonl", ".parquet", str(tmp_path), "HuggingFaceH4/MATH-500", "problem", "answer"):
        assert part in text


def test_missing_gpqa_says_how_to_accept_the_gate(tmp_path):
    text = refusal(tmp_path, "gpqa_diamond")
    for part in ("huggingface.co/datasets/Idavidrein/gpqa", "accept its terms", "hf auth login", "gpqa_diamond.csv", "Correct Answer"):
        assert part in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"problem": "p", "answer": "1"}\n{"problem": \n', "line 2: not JSON"),
        ('{"problem": "p", "answer": "1"}\n\n[1]\n', "line 3: a list, not an object"),
        ('{"problem": "p", "solution": "1"}\n', "row 1: no column answer or Answer; it has problem, solution; needed: problem"),
        (jsonl([ROWS[0], ROWS[1], ROWS[0]]), "question id q0 occurs twice"),
        (jsonl([ROWS[0], {**ROWS[1], "answer": " "}]), "question q1: the reference answer '' is empty"),
        (jsonl([{**ROWS[0], "answer": None}]), "question q0: the reference answer '' is empty"),
        (jsonl([{**ROWS[0], "answer": "\\frac{1}{2"}]), "question q0: the reference answer"),
        (jsonl([{**ROWS[0], "problem": ""}]), "question q0 has no text"),
        ("", "has no rows"),
    ],
)
def test_bad_rows(tmp_path, content, expected):
    (tmp_path / "math500_test.jsonl").write_text(content)
    text = refusal(tmp_path)
    assert expected in text
    assert "math500_test.jsonl" in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("math500_test.jsonl", b'\xff\xfe{"problem": 1}\n'),
        ("math500_test.jsonl.gz", gzip.compress(jsonl(ROWS).encode())[:-12]),
        ("math500_test.jsonl.gz", b"not gzip"),
        ("math500_test.parquet", b"not parquet"),
        ("math500_test.csv", b"problem,answer\n\xff,1\n"),
        ("math500_test.parquet", b""),
    ],
)
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refusal(tmp_path)


def test_unknown_kind_and_missing_path(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(BenchmarkError, match=r"unknown kind of file; use one of \.jsonl"):
        read_rows(tmp_path / "x.txt")
    with pytest.raises(BenchmarkError, match="does not exist"):
        read_rows(tmp_path / "y.jsonl")
