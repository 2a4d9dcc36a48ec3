"""The targets on recorded real model outputs; needs the benchmark files (REPRO_DATA_DIR)."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from repro.verifiers import GoldError, Verifier

DATA = os.environ.get("REPRO_DATA_DIR")
pytestmark = pytest.mark.skipif(not DATA, reason="REPRO_DATA_DIR is unset: no recorded model outputs to score")


def rows(name: str) -> list[dict]:
    path = Path(DATA) / name
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [json.loads(line) for line in file]


def right(verifier: Verifier, row: dict, **more) -> bool:
    try:
        return verifier.verify(row["gold"], row["output"], **more).correct
    except GoldError:
        return False


def test_graded_generations() -> None:
    data = [row for row in rows("graded_generations.jsonl.gz") if row["label"] is not None]
    with Verifier() as verifier:
        verdicts = [right(verifier, row) for row in data]
    false_positives = sum(v and not row["label"] for v, row in zip(verdicts, data, strict=True))
    false_negatives = sum(row["label"] and not v for v, row in zip(verdicts, data, strict=True))
    correct = sum(bool(row["label"]) for row in data)
    assert (false_positives + false_negatives) / len(data) <= 0.005
    assert false_positives / (len(data) - correct) <= 0.001 and false_negatives / correct <= 0.007


def test_verifier_pairs() -> None:
    data = [row for row in rows("verifier_pairs.jsonl") if row["scored"]]
    with Verifier() as verifier:
        good = 0
        for row in data:
            kind = "answer" if row["kind"] in ("answer", "gsm8k-style") else "full"
            good += right(verifier, row, kind=kind, task="letter" if row["kind"] == "letter" else "math") == bool(row["label"])
    assert good / len(data) >= 0.95


def test_adversarial_cases_are_all_right_and_quick() -> None:
    with Verifier() as verifier:
        for row in rows("adversarial_cases.jsonl"):
            if not row["contested"]:
                task = {"mcq": "letter"}.get(row["task"], row["task"])
                assert right(verifier, row, task=task) == bool(row["label"]), row["id"]
                if row["gold"]:
                    assert verifier.verify(row["gold"], row["output"], task=task).seconds < 2, row["id"]
