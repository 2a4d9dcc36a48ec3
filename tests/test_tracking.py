"""Weights & Biases offline: deterministic ids, configuration and manifest in the run, samples of evaluations; and nothing with tracking=none."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from repro.config import plain
from repro.tracking import NoTracker, open_tracker, track_evaluation
from repro.verifiers import Verifier
from tests.conftest import ROOT
from tests.test_config import composed

MODEL = ROOT / "repro" / "models" / "base" / "llama" / "model"


def config(folder: Path, *overrides: str) -> dict[str, Any]:
    made = plain(composed("+experiment=quickstart", *overrides))
    made["paths"] = {**made["paths"], "wandb": str(folder)}
    return made


def runs(folder: Path, word: str) -> dict[str, bytes]:
    """Run id -> what its offline file holds, which is what `wandb sync` reads; waits until each holds ``word``, for W&B's own process writes
    them and is not always done when ``finish`` returns.
    """
    for _ in range(600):
        found = {path.stem.removeprefix("run-"): path.read_bytes() for path in (folder / "wandb").glob("offline-run-*/run-*.wandb")}
        if found and all(word.encode() in held for held in found.values()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{word} is not in every run: { ({name: len(held) for name, held in found.items()}) }")


def test_an_evaluation_is_a_run_with_scores_samples_and_where_they_come_from(tmp_path: Path) -> None:
    from evals import harness

    settings = {"benchmarks": ["micro_math", "micro_gpqa"], "questions": 3, "samples": 2, "temperature": 0.7, "top_p": 0.95}
    settings |= {"max_tokens": 16, "batch_size": 12, "seed": 0}
    with Verifier() as verifier:
        harness.evaluate({"eval": settings}, verifier, MODEL, tmp_path, "base")
    made = config(tmp_path)
    track_evaluation(made, "0123abcd", tmp_path / "samples.parquet")
    ((name, held),) = runs(tmp_path, "micro_gpqa/no_answer").items()
    assert name == "eval-0123abcd"
    wanted = [
        "micro_math/accuracy",
        "micro_gpqa/no_answer",
        "manifest",
        "max_completion_length",
        "quickstart/llama+grpo+classic",
        "samples",
    ]
    assert [word for word in wanted if word.encode() not in held] == []
    tables = list(tmp_path.rglob("samples_*.table.json"))
    assert len(tables) == 1 and tables[0].read_text().count("micro_gpqa/") + tables[0].read_text().count("micro_math") >= 6
    # Without an account everything is in Parquet.
    assert pq.read_metadata(tmp_path / "samples.parquet").num_rows == 12


def test_the_same_stage_is_the_same_run_and_another_one_is_not(tmp_path: Path) -> None:
    for key, job in (("k1", "rl"), ("k1", "rl"), ("k2", "rl"), ("k1", "sft")):
        with open_tracker(config(tmp_path), key, job) as tracker:
            tracker.log({"step": 1, "length/mean": 3.0})
    assert set(runs(tmp_path, "length/mean")) == {"rl-k1", "rl-k2", "sft-k1"}


def test_none_writes_nothing(tmp_path: Path) -> None:
    with open_tracker(config(tmp_path, "tracking=none"), "k", "rl") as tracker:
        tracker.log({"step": 1})
        tracker.summary({"a": 1.0})
    assert isinstance(tracker, NoTracker) and not list(tmp_path.iterdir())


def test_online_without_a_key_says_what_to_do(tmp_path: Path) -> None:
    line = [
        sys.executable,
        "-m",
        "repro",
        "+experiment=quickstart",
        "tracking=wandb",
        "tracking.mode=online",
        "rl.steps=1",
        "eval.questions=2",
    ]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and "tracking.mode='online' needs a Weights & Biases key" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("override", ["tracking=wandb", "tracking.mode=offline"])
def test_offline_is_the_default(override: str) -> None:
    assert plain(composed())["tracking"] == plain(composed(override))["tracking"]
