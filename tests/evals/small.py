"""A small evaluation of the shipped micro checkpoint, for the tests of the harness and of its engines."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from evals import harness
from repro.verifiers import Verifier

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "repro" / "models" / "base" / "llama" / "model"
SMALL = [f"model={MODEL}", "questions=6", "samples=2", "max_tokens=40"]


def settings(**changed):
    made = {"benchmarks": ["micro_math"], "questions": 6, "samples": 2, "temperature": 0.7, "top_p": 0.95, "max_tokens": 40}
    return {"eval": {**made, "batch_size": 5, "seed": 0, **changed}}


def evaluate(work, **changed):
    work.mkdir(exist_ok=True)
    facts = harness.evaluate(settings(**changed), Verifier(), MODEL, work, "test")
    return pq.read_table(work / "samples.parquet"), facts
