"""Cells of a made-up study, written as repro.pipeline writes them, with known effects and no training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evals.harness import schema
from repro.identity import arm_key
from repro.tracking import arm_name

QUESTIONS, SAMPLES, STEPS = 50, 4, 20
CONFIG: dict[str, Any] = {
    "scale": "micro",
    "experiment_name": "made_up",
    "seed": 0,
    "model": {"name": "llama", "role": "llama", "path": None},
    "data": {"name": "math", "split": "train", "seed": 0},
    "sft": {"name": "long", "epochs": 1},
    "rl": {"name": "ppo", "steps": STEPS, "group_size": 8, "max_completion_length": 100},
    "reward": {"name": "classic", "cosine": None},
    "verifier": {"name": "rule"},
    "eval": {"questions": QUESTIONS, "samples": SAMPLES, "temperature": 0.7, "max_tokens": 100, "benchmarks": ["micro_math"]},
    "threads": 1,
    "launch": {"name": "single"},
}


def config(reward: str = "classic", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A cell's configuration; ``changes`` by dotted key with __ for the dot."""
    made = copy.deepcopy(CONFIG)
    made["reward"]["name"], made["seed"] = reward, seed
    for key, value in changes.items():
        *parents, last = key.split("__")
        inner = made
        for part in parents:
            inner = inner[part]
        inner[last] = value
    return made


def samples(share: float, questions: int = QUESTIONS, rng: np.random.Generator | None = None) -> pa.Table:
    """Harness records with ``share`` of the samples correct, in an order that depends on ``rng``."""
    count = questions * SAMPLES
    correct = np.arange(count) < round(share * count)
    if rng is not None:
        rng.shuffle(correct)
    rows = [
        {
            "benchmark": "micro_math",
            "benchmark_version": 1,
            "question_id": f"q{i // SAMPLES}",
            "level": "degree 1",
            "sample_index": i % SAMPLES,
            "prompt_hash": "0",
            "gold": "1",
            "response": "so <b>& \\boxed{ 1 }</script>",
            "tokens": 40,
            "finish_reason": "stop",
            "extracted": "1",
            "correct": bool(correct[i]),
            "rule": "number",
            "reason": "",
            "verifier_version": "rule-1.0",
        }
        for i in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=schema())


def write(root: Path, made: dict[str, Any], shares: dict[str, float], curve: np.ndarray | None = None, commit: str = "0" * 40) -> Path:
    """One finished cell: ``shares`` is stage -> share correct; ``curve``: the RL stage's accuracy, 0 to 1."""
    name, seed = arm_name(made), made["seed"]
    folder = root / "sweeps" / "made_up" / f"{name}-{arm_key(made)}" / f"seed={seed}"
    folder.mkdir(parents=True)
    evaluations, tables = [], []
    for stage, share in shares.items():
        step = STEPS if stage == "rl" else 0
        key = arm_key(made, stage)
        own = "" if stage == "base" else str(seed)
        rng = np.random.default_rng([ord(c) for c in key + own])
        table = samples(share, rng=rng)
        front = {"arm": name, "arm_key": arm_key(made), "train_seed": seed, "stage": stage, "step": step}
        columns = [pa.array([value] * table.num_rows) for value in front.values()]
        tables.append(pa.Table.from_arrays([*columns, *table.columns], names=[*front, *table.column_names]))
        evaluations.append({"stage": stage, "step": step, "arm_key": key, "key": f"{key}{own}", "commit": commit, "dirty": False})
    pq.write_table(pa.concat_tables(tables), folder / "records.parquet")
    path = f"rl/{arm_key(made)}-{seed}"
    stages = [{"title": "sft long", "stage": "sft", "key": f"sft{seed}", "path": "sft/x"}]
    if curve is not None:
        (root / "store" / path).mkdir(parents=True)
        columns = {"step": np.arange(len(curve)), "accuracy": curve, "length/mean": 50 + 10 * curve, "truncated": 0 * curve}
        pq.write_table(pa.table(columns), root / "store" / path / "metrics.parquet")
        stages.append({"title": "rl", "stage": "rl", "key": f"rl{seed}", "path": path})
    facts = {"status": "done", "arm": name, "arm_key": arm_key(made), "seed": seed, "stages": stages, "evaluations": evaluations}
    facts |= {"store": str(root / "store"), "command": "python -m repro reward=classic", "config": made}
    (folder / "cell.json").write_text(json.dumps(facts))
    return folder


def pair(root: Path, effect: float, seeds: int = 5, spread: float = 1.0, **changes: Any) -> Path:
    """Classic and cosine after one SFT each seed; cosine is ``effect`` points better, with ``spread`` points between seeds."""
    rng = np.random.default_rng(7)
    for reward, gain in (("classic", 0.0), ("cosine", effect)):
        noise = rng.normal(0, spread, seeds)
        for seed in range(seeds):
            share = (60 + gain + noise[seed]) / 100
            curve = np.linspace(0.3, share, STEPS)
            write(root, config(reward, seed, **changes), {"base": 0.2, "sft": 0.5 + noise[seed] / 200, "rl": share}, curve)
    return root


def claim(folder: Path, **changes: Any) -> Path:
    """A claim file: cosine is better than classic, margin 3 points."""
    import yaml

    arm = {"sft.name": "long", "stage": "rl"}
    text = {
        "id": "X1",
        "section": "4.2",
        "statement": "Cosine beats classic.",
        "experiment": "reward_design",
        "family": "X",
        "arms": {"cosine": {**arm, "reward.name": "cosine"}, "classic": {**arm, "reward.name": "classic"}},
        "contrast": {"cosine": 1, "classic": -1},
        "metric": {"kind": "accuracy", "benchmarks": ["math"]},
        "direction": "increase",
        "margin": 3.0,
        "margin_reason": "made up",
        "test": "welch",
        "min_seeds": 5,
        "scale": "mechanism",
        "published": {"effect": None, "tag": "P", "source": "made up"},
    }
    text |= changes
    folder.mkdir(exist_ok=True)
    path = folder / f"{text['id']}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in text.items() if value is not ...}, sort_keys=False))
    return path
