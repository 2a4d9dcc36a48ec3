"""``python -m repro.cot`` as a user runs it: tables from both file kinds, and one line with exit code 2 for what is wrong."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS = [
    {"model": "a|b", "output": "Wait, that's not right.", "tokens": 10},
    {"model": "a|b", "output": "It is 4.", "tokens": 10},
    {"model": None, "output": "```python\n4\n```", "tokens": 5},
]


def run(*arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "repro.cot", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_table_is_the_same_from_every_kind_of_file(tmp_path):
    lines = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    (tmp_path / "r.jsonl").write_text(lines)
    with gzip.open(tmp_path / "r.jsonl.gz", "wt") as file:
        file.write(lines)
    pq.write_table(
        pa.Table.from_pylist([{**row, "response": row["output"]} for row in ROWS]).drop_columns(["output"]), tmp_path / "r.parquet"
    )
    tables = {run(tmp_path / name, "--by", "model").stdout for name in ("r.jsonl", "r.jsonl.gz", "r.parquet")}
    assert len(tables) == 1
    (table,) = tables
    assert "| a\\|b | 2 | 10 |" in table
    assert "50.0 (50.00)" in table, "one response of two waits, once in 20 tokens"
    assert "| unknown | 1 | 5 |" in table
    assert len({line.count(" |") for line in table.splitlines() if line.startswith("| ")}) == 1


def test_half_a_surrogate_pair(tmp_path):
    """JSON can escape it, a terminal cannot show it."""
    (tmp_path / "r.jsonl").write_text('{"output": "wait \\ud83d", "model": "m\\ud83d"}\n')
    assert "| m? | 1 |" in run(tmp_path / "r.jsonl", "--by", "model").stdout


def test_without_groups_and_without_tokens(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"text": "So it is 4."}\n')
    table = run(tmp_path / "r.jsonl", "--column", "text", "--ngram", 3).stdout
    assert "mean words" in table
    assert "| all | 1 | 4 |" in table


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, [], "no such file"),
        ("", [], "no responses in"),
        ('{"output": "x"}\n{', [], "line 2: not JSON"),
        ("[1]", [], "line 1: must be a JSON object"),
        ('{"text": "x"}', [], "row 1: no column response or output; it has text"),
        ('{"output": "x"}', ["--by", "arm"], "row 1: no column arm; it has output"),
        ("[" * 100_000, [], "line 1: not JSON (maximum recursion depth"),
        ('{"output": null}', [], "row 1: the response must be text, not null"),
        ('{"output": "x"}', ["--ngram", "0"], "--ngram 0: must be at least 1"),
        ('{"output": "x"}', ["--group", "arm"], "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line(tmp_path, content, arguments, message):
    path = tmp_path / "r.jsonl"
    if content is not None:
        path.write_text(content)
    done = run(path, *arguments, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["r.parquet", "r.jsonl.gz", "r.jsonl"])
def test_a_file_that_is_something_else(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfenot what its name says")
    done = run(tmp_path / name, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_the_table_as_a_file(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"output": "Wait, let me check."}')
    done = run(tmp_path / "r.jsonl", "--out", tmp_path / "t.md")
    assert (tmp_path / "t.md").read_text() == done.stdout and "| all | 1 |" in done.stdout
    refused = run(tmp_path / "r.jsonl", "--out", tmp_path / "no" / "t.md", check=False)
    assert refused.returncode == 2 and "cannot be written" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_help():
    assert "--by COLUMN" in run("--help").stdout


@pytest.mark.skipif("REPRO_DATA_DIR" not in os.environ, reason="REPRO_DATA_DIR is unset: no recorded chains")
def test_recorded_long_chains_verify_more_than_base_models():
    """Models known for reflection come out above base models' run-on text; and that text, known to be degenerate, repeats more."""
    from repro.cot.__main__ import measure
    from repro.cot.summary import summarise

    groups, _ = measure([Path(os.environ["REPRO_DATA_DIR"]) / "raw_generations.jsonl.gz"], "model", None, 20)
    means = {model: summarise(found) for model, found in groups.items()}
    for thinker in ("Marco-o1 pipeline", "DeepSeek-R1 family via ollama", "DeepSeek-R1 family via openrouter"):
        for base in ("Mistral-7B-v0.1", "Mistral-7B-v0.2", "internlm2-20b"):
            assert means[thinker]["verification_share"] > 10 * means[base]["verification_share"]
            assert means[base]["repetition"] > means[thinker]["repetition"]
    # Five chains of one of the families never say "wait"; the larger set does in most.
    assert means["Marco-o1 pipeline"]["wait_share"] > 0.5 > 100 * means["internlm2-20b"]["wait_share"]
