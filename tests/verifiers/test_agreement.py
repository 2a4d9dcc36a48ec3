"""The agreement report: what it reads, the numbers it prints, its refusals, and math-verify in a process that dies alone."""

import csv
import gzip
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evals.benchmarks import BENCHMARKS
from repro.verifiers.agreement import kappa, main
from repro.verifiers.mathverify import MathVerify
from repro.verifiers.saved import read

ROWS = [
    {"id": "a", "gold": "5", "output": "so \\boxed{5}", "correct": True},
    {"id": "b", "gold": "1/4", "output": "so \\boxed{0.25}", "correct": True},  # the legacy matcher says no
    {"id": "c", "gold": "7", "output": "\\boxed{6}, as $3+4=7$", "correct": False},  # ... and here yes
    {"id": "d", "gold": "8", "output": "so \\boxed{9}", "correct": False},
]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    return path


def table(text):
    """The report's table rows, cells stripped."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_report(lines, tmp_path, capsys):
    out = tmp_path / "verdicts.csv"
    assert main([str(lines), "--verifiers", "rule,legacy,stored", "--examples", "1", "--csv", str(out)]) == 0
    text = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in table(text)}
    assert rows["rule"][:3] == ["50.00%", "4", "0"]
    assert rows["legacy"][:3] == ["50.00%", "4", "0"]
    assert rows["**rule**"] == ["100.00% (1.000)", "50.00% (0.000)", "100.00% (1.000)"]
    assert [rows["**legacy**"][0], rows["**rule**"][1]] == ["50.00% (0.000)"] * 2  # symmetric
    assert "## rule and legacy part on 2" in text and "rule and stored part" not in text
    assert text.count("gold `") == 2  # one example for each of the two pairs that differ
    assert "row 2: gold `1/4`" in text and "correct, read `0.25`" in text
    with out.open() as handle:
        verdicts = list(csv.DictReader(handle))
    assert [row["question_id"] for row in verdicts] == list("abcd")
    assert [row["legacy"] for row in verdicts] == ["1", "0", "1", "0"]
    assert [row["rule"] for row in verdicts] == [row["stored"] for row in verdicts] == ["1", "1", "0", "0"]


def test_the_harness_records_and_folders(tmp_path, capsys):
    questions = BENCHMARKS["micro_math"].questions(3)
    rows = [
        {"benchmark": "micro_math", "question_id": q.id, "gold": q.gold, "response": f"\\boxed{{ {q.gold} }}", "finish_reason": reason}
        | {"extracted": q.gold, "correct": reason == "stop", "rule": "string", "reason": ""}
        for q, reason in zip(questions, ("stop", "stop", "length"), strict=True)
    ]
    folder = tmp_path / "store" / "eval-1"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    pq.write_table(pa.table({"loss": [1.0]}), folder / "curve.parquet")  # not samples: passed over in a folder
    (folder / "broken.jsonl").write_text("{")
    samples = read([str(tmp_path)])
    assert [s.prompt for s in samples] == [q.prompt for q in questions]
    assert [s.truncated for s in samples] == [False, False, True]
    assert main([str(tmp_path), "--verifiers", "rule,stored,legacy_prompt", "--examples", "0"]) == 0
    assert {row[0]: row[1] for row in table(capsys.readouterr().out)}["rule"] == "66.67%"


def test_default_verifiers_and_left_out_references(tmp_path, capsys):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as handle:
        handle.write('{"gold": "5", "output": "5", "kind": "answer"}\n{"gold": " ", "output": "\\\\boxed{5}"}\n')
        handle.write('{"gold": "B", "output": "Answer: B", "task": "mcq", "label": true}\n')
    assert main([str(path)]) == 0
    rows = {row[0]: row[1:] for row in table(capsys.readouterr().out)}
    assert rows["rule"][:3] == ["100.00%", "2", "1"]  # an empty reference scores for nobody
    assert rows["stored"][:3] == ["100.00%", "1", "2"]
    assert "legacy" in rows and "math_verify" not in rows


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, "", "no such file or folder"),
        ("", "", "no samples"),
        ("{", "", "line 1: not a JSON object"),
        ("[1]", "", "line 1: not a JSON object"),
        ('{"gold": "1"}', "", "row 1: no column output (or response); columns are gold"),
        ('{"output": "1"}', "", "no column gold"),
        ('{"gold": 1, "output": "1"}', "", "must be text"),
        ('{"gold": "1", "output": "1", "task": "essay"}', "", "'essay' does not exist"),
        ('{"gold": "1", "output": "1", "kind": "half"}', "", "'half' does not exist"),
        ('{"gold": "1", "output": "1"}', "--verifiers rule,strict", "choose some of rule, legacy"),
        ('{"gold": "1", "output": "1"}', "--verifiers stored", "needs the column correct"),
        ('{"gold": "1", "output": "1"}', "--verifiers legacy_prompt", "needs the column prompt"),
        ('{"gold": "1", "output": "1"}', "--verifiers judge", "needs --judge-model"),
        ('{"gold": "1", "output": "1"}', "--judge-url http://localhost:1", "needs --judge-model"),
        ('{"gold": "1", "output": "1"}', "--judge-url localhost --judge-model m", "http or https"),
        ('{"gold": "1", "output": "1"}', "--judge-model /no/such/folder", "/no/such/folder"),
        ('{"gold": "1", "output": "1"}', "--csv /no/such/folder/x.csv", "no such folder"),
        ('{"gold": "1", "output": "1"}', "--limit 0", "--limit at least 1"),
    ],
)
def test_refusals_are_one_line_and_exit_code_2(content, options, said, tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    if content is not None:
        path.write_text(content)
    assert main([str(path), *options.split()]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_other_files(tmp_path, capsys):
    wrong = tmp_path / "x.parquet"
    wrong.write_text("no parquet")
    other = tmp_path / "x.txt"
    other.write_text("")
    for path, said in ((wrong, "not a Parquet file"), (other, "neither of .parquet"), (tmp_path, "in this folder")):
        assert main([str(path)]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--judge-url" in (text := capsys.readouterr().out) and "python -m repro.verifiers.agreement" in text


def test_judge_by_url(lines, capsys):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"choices": [{"message": {"content": "Judgement: correct"}}]}')

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    assert main([str(lines), "--verifiers", "rule", "--judge-url", url, "--judge-model", "m", "--limit", "2"]) == 0
    rows = {row[0]: row[1:] for row in table(capsys.readouterr().out)}
    assert rows["judge"][:2] == ["100.00%", "2"]
    server.shutdown()
    server.server_close()


def test_kappa():
    assert kappa([True, False], [True, False]) == 1
    assert kappa([True, False], [False, True]) == -1
    assert kappa([True, True, False, False], [True, False, True, False]) == 0
    assert math.isnan(kappa([True], [True])) and math.isnan(kappa([], []))
    # 20 + 15 of 50 agree, marginals 0.5 and 0.6: (0.7 - 0.5) / (1 - 0.5)
    a, b = [True] * 25 + [False] * 25, [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa(a, b) == pytest.approx(0.4)


@pytest.mark.timeout(120)  # unkilled, the tower of powers runs for ever
def test_math_verify_is_killed_alone():
    library = MathVerify(deadline=5.0)
    try:
        bomb = "\\boxed{" + "9^{" * 6 + "9" + "}" * 6 + "}"
        verdicts = library.verify_batch(["\\frac{1}{2}", "5", "5", "7"], ["\\boxed{0.5}", bomb, "", "x" * 10**6 + "\\boxed{7}"])
        assert [v.correct for v in verdicts] == [True, False, False, True]
        assert verdicts[0].extracted and verdicts[1].reason in ("timeout", "worker died") and verdicts[2].reason == "no answer"
    finally:
        library.close()
    assert library.process is None
