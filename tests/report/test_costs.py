"""Costs count every stage that one seed of an experiment reads, once; unfinished cells and empty folders are not costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from repro.report.costs import costs


def cell(root: Path, name: str, arm: str, seed: int, stages: dict[str, float], status: str = "done") -> None:
    folder = root / "sweeps" / name / arm / f"seed={seed}"
    folder.mkdir(parents=True)
    made = {"commit": "0123456789abcdef", "cpu": "made up", "cores": 2, "gpu": None}
    for key, seconds in stages.items():
        manifest = root / "store" / key / "manifest.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"seconds": seconds, "environment": made}))
    rows = [{"key": key, "path": key, "reused": True} for key in stages]
    facts = {"status": status, "config": {"experiment_name": name}, "seed": seed, "stages": rows, "store": str(root / "store")}
    (folder / "cell.json").write_text(json.dumps(facts))


def test_costs(tmp_path: Path) -> None:
    cell(tmp_path, "one", "a", 1, {"base": 2.0, "rl-a": 10.4})
    cell(tmp_path, "one", "b", 1, {"base": 2.0, "rl-b": 5.0})
    cell(tmp_path, "one", "a", 2, {"base": 2.0, "other": 50.0})
    cell(tmp_path, "two", "a", 0, {"base": 2.0})
    cell(tmp_path, "three", "a", 0, {"base": 2.0}, status="failed")
    found = costs(tmp_path / "sweeps")
    assert found["one"] == {"cells": 2, "seconds": 17, "commit": "0123456789", "machine": "made up, 2 cores"}
    assert found["two"]["seconds"] == 2 and "three" not in found
    assert costs(tmp_path / "sweeps", ["one", "two"])["whole set"] == found["one"] | {"cells": 3}  # the base once
    assert "whole set" not in costs(tmp_path / "sweeps", ["one", "two", "three"])
    with pytest.raises(FileNotFoundError, match="no finished cell"):
        costs(tmp_path / "nowhere")
    (tmp_path / "store" / "rl-a" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="run the cells again"):
        costs(tmp_path / "sweeps")
