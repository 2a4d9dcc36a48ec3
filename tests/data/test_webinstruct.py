"""The WebInstruct pipeline against a real endpoint process: killed and resumed, its filter against the known noise, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from repro.data.web import agreeing, source_items

ITEMS = source_items("web", 400, 0)


@contextmanager
def server(log: Path, delay: float = 0.0) -> Iterator[str]:
    arguments = [sys.executable, "-m", "tests.data.chat_server", str(log), "--delay", str(delay)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def corpus(folder: Path) -> Path:
    path = folder / "web.jsonl"
    path.write_text("".join(json.dumps({"question": i.problem.prompt(), "answer": f"The result: {i.reference}"}) + "\n" for i in ITEMS))
    return path


def command(source: Path, out: Path, url: str, *more: str, teacher: str = "teacher") -> list[str]:
    models = ["--extractor", url, "extractor", "--teacher", url, teacher]
    return [sys.executable, "-m", "repro.data.webinstruct", str(source), "--out", str(out), *models, *more]


def test_killed_and_resumed_without_loss_or_duplicates(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    with server(tmp_path / "whole.log") as url:
        done = subprocess.run(command(source, tmp_path / "whole", url), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "whole.log").read_text().splitlines()
    assert len(asked) == len(set(asked))
    with server(tmp_path / "cut.log", delay=0.05) as url:
        process = subprocess.Popen(command(source, tmp_path / "cut", url))
        journal = tmp_path / "cut" / "journal.jsonl"
        while not (journal.exists() and journal.read_text().count("\n") > 100):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        before = journal.read_text().count("\n")
        with open(journal, "a") as file:
            file.write('["half a li')
        assert not (tmp_path / "cut" / "webinstruct.parquet").exists()
    with server(tmp_path / "second.log") as url:  # the first one may still log what the killed process had asked
        done = subprocess.run(command(source, tmp_path / "cut", url), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    second = (tmp_path / "second.log").read_text().splitlines()
    assert len(second) == len(set(second)) and before > 100
    assert len(second) < len(asked) - 64  # what the journal had was not asked again
    for name in ("webinstruct", "webinstruct_filtered"):
        one, two = (pq.read_table(tmp_path / folder / f"{name}.parquet") for folder in ("whole", "cut"))
        assert one.equals(two) and len(set(one["row"].to_pylist())) == one.num_rows

    counts = json.loads((tmp_path / "cut" / "counts.json").read_text())["counts"]
    everything, kept = (pq.read_table(tmp_path / "cut" / f"{n}.parquet").to_pylist() for n in ("webinstruct", "webinstruct_filtered"))
    assert counts["loaded"] == 400 and counts["distinct"] == len(everything) and counts["filtered"] == len(kept)
    assert all((row["answer"] == "") == (ITEMS[row["row"]].noise == "prose") for row in everything)
    expected = {row["row"] for row in everything if agreeing(ITEMS[row["row"]], 0)}
    assert {row["row"] for row in kept} == expected
    assert counts["responses"] == sum(len(agreeing(ITEMS[index], 0)) for index in expected)
    facts = json.loads(pq.read_metadata(tmp_path / "cut" / "webinstruct.parquet").metadata[b"provenance"])
    assert facts["teacher"] == "teacher" and facts["counts"] == counts


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("", [], "is empty"),
        ('{"body": "x"}', [], "no text column 'question'"),
        ('{"question": "x", "answer": "y"}', ["--solution", "proof"], "no text column 'proof'"),
        ('{"question": "x", "answer": "y"}', ["--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY"),
        ('{"question": "x", "answer": "y"}', ["--limit", "-1"], "--limit -1: at least 1"),
        ('{"question": "x", "answer": "y"}', ["--max-tokens", "0"], "--max-tokens 0: at least 1"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, content: str, more: list[str], words: str) -> None:
    (tmp_path / "c.jsonl").write_text(content)
    arguments = command(tmp_path / "c.jsonl", tmp_path / "out", "http://127.0.0.1:9/v1", *more)
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("teacher", "more", "words"),
    [
        ("garbage", [], "a reply that is not a chat completion"),
        ("teacher", ["--timeout", "0.2"], "no answer within 0.2 s"),
        ("teacher", ["DOWN"], "failed 5 times"),
    ],
)
def test_an_endpoint_that_fails_is_one_line_and_what_came_stays(tmp_path: Path, teacher: str, more: list[str], words: str) -> None:
    source, out = corpus(tmp_path), tmp_path / "out"
    with server(tmp_path / "log", delay=2.0 if "--timeout" in more else 0.0) as url:
        place = "http://127.0.0.1:9/v1" if "DOWN" in more else url
        extra = [m for m in more if m != "DOWN"]
        line = command(source, out, place, "--limit", "20", *extra, teacher=teacher)
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not list(out.glob("*.parquet")) and not list(out.glob(".*.tmp"))
    assert (out / "journal.jsonl").read_text().count("\n") == (20 if teacher == "garbage" else 0)  # the extractor's replies
