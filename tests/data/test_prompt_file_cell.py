"""Cells that train on the user's own file of prompts."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import ROOT, SHRINK
from tests.forked import forked

BASE = ROOT / "repro" / "models" / "base" / "llama" / "model"


def built(outputs: Path) -> dict[str, bool]:
    (cell,) = outputs.glob("sweeps/*/*/seed=0/cell.json")
    return {stage["stage"]: not stage["reused"] for stage in json.loads(cell.read_text())["stages"] if stage["stage"] in ("sft_data", "rl")}


def test_a_file_that_changed_under_its_name_is_trained_on_anew(tmp_path: Path) -> None:
    """Same path, other references: what was trained on the old ones must not be passed off as trained on the new."""
    line = [
        *SHRINK,
        f"model.path={BASE}",
        "data.split=file",
        "data.file=prompts.jsonl",
        "data.train_size=2",
        "rl.steps=1",
        "rl.eval_steps=1",
    ]
    line = [*line, "eval.benchmarks=[micro_math]", "seed=0"]
    prompts = tmp_path / "prompts.jsonl"
    found = []
    for answers in (("1", "6"), ("1", "6"), ("2", "6")):
        asked = ("find x : E4 D3 C1 B1 A1 =3", "find x : D2 C3 B4 A5 =2")
        prompts.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in zip(asked, answers, strict=True)))
        forked(*line, cwd=tmp_path)
        found.append(built(tmp_path / "outputs")["rl"])
    assert found == [True, False, True]
