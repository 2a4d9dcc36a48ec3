"""Costs count what was built for an experiment, once; unfinished cells and empty folders are not costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro.report.costs import costs


def cell(root: Path, name: str, seed: int, stages: list[tuple[bool, float]], status: str = "done") -> None:
    folder = root / name / "arm-0" / f"seed={seed}"
    folder.mkdir(parents=True)
    made = {"commit": "0123456789abcdef", "cpu": "made up", "cores": 2, "gpu": None}
    rows = [{"reused": reused, "seconds": seconds} for reused, seconds in stages]
    facts = {"status": status, "config": {"experiment_name": name}, "stages": rows, "environment": made}
    (folder / "cell.json").write_text(json.dumps(facts))


def test_costs(tmp_path: Path) -> None:
    cell(tmp_path, "one", 0, [(False, 10.4), (True, 99.0)])
    cell(tmp_path, "one", 1, [(False, 5.0)])
    cell(tmp_path, "two", 0, [(True, 3.0)])
    cell(tmp_path, "three", 0, [(False, 3.0)], status="failed")
    found = costs(tmp_path)
    assert found["one"] == {"cells": 2, "seconds": 15, "commit": "0123456789", "machine": "made up, 2 cores"}
    assert found["two"]["seconds"] == 0 and "three" not in found
    with pytest.raises(FileNotFoundError):
        costs(tmp_path / "nowhere")
