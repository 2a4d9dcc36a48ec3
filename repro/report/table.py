"""The table at the end of a run and of a sweep: arms x benchmarks, as terminal output, Markdown and CSV.

A cell of the table is avg@k with a 95 % interval. The interval says what it covers: ``seeds`` (t over the training seeds' means, the one
that supports statements about training) or ``questions`` (one seed: standard error clustered by question). What arms share - the base, an
SFT checkpoint - is one row, not one a cell.
"""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

READ = [
    "stage",
    "step",
    "benchmark",
    "question_id",
    "tokens",
    "finish_reason",
    "extracted",
    "correct",
]  # not the texts: nine tenths of a file
Interval = tuple[float, float, float]  # mean, low, high; the ends are nan where there is no interval


@dataclass
class Row:
    """One arm at one stage. ``key``: of its configuration, as in the records; ``scores``: benchmark -> (mean, low, high); ``tokens``: mean CoT length."""

    arm: str
    key: str
    stage: str
    step: int
    seeds: int
    covers: str
    scores: dict[str, Interval]
    tokens: float
    truncated: float
    no_answer: float
    samples: int
    command: str
    commit: str
    manifests: list[Path] = field(default_factory=list)


def seed_interval(means: list[float]) -> Interval:
    """Mean and 95 % t interval over training seeds, cut at 0 and 1."""
    from scipy.stats import t

    values = np.asarray(means)
    mean, half = float(values.mean()), float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def question_interval(correct: np.ndarray, questions: np.ndarray) -> Interval:
    """Mean and 95 % interval over questions, several samples each.

    The standard error is that of the per-question means (Miller, arXiv 2411.00640); the interval is Wilson's at the number of independent
    answers with that standard error, since the normal one collapses to a point at 0 and 100 % (Bowyer et al., arXiv 2503.01747).
    """
    _, index = np.unique(questions, return_inverse=True)
    means = np.bincount(index, correct) / np.bincount(index)
    count, mean = len(means), float(means.mean())
    if count < 2:
        return mean, math.nan, math.nan
    variance = means.var(ddof=1) / count
    effective = mean * (1 - mean) / variance if variance > 0 else count
    z = 1.96
    centre = (mean + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * math.sqrt(mean * (1 - mean) / effective + z**2 / (4 * effective**2))
    return mean, min(mean, centre - half), max(mean, centre + half)


def percent(interval: Interval) -> str:
    """``61.2 [58.0, 64.4]``"""
    mean, low, high = (100 * value for value in interval)
    return f"{mean:z.1f}" + ("" if math.isnan(low) else f" [{low:z.1f}, {high:z.1f}]")


def _label(cell: dict[str, Any], stage: str) -> str:
    config = cell["config"]
    if stage == "base":
        return config["model"]["name"]
    return f"{config['model']['name']}+sft-{config['sft']['name']}" if stage == "sft" else cell["arm"]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: leaf for name, inner in value.items() for key, leaf in _flat(inner, f"{prefix}.{name}" if prefix else name).items()}


def _differences(configs: dict[str, dict[str, Any]], stage: str) -> dict[str, str]:
    """Key of a configuration -> what tells it from the others of the same name: `` rl.kl=0.01``, or `` #1a2b`` where much differs."""
    if len(configs) == 1:
        return dict.fromkeys(configs, "")
    from repro.identity import READS, section

    flat = {key: _flat({name: section(config, name) for name in READS[stage]}) for key, config in configs.items()}
    names = {name for leaves in flat.values() for name in leaves}
    differing = sorted(name for name in names if len({json.dumps(leaves.get(name)) for leaves in flat.values()}) > 1)
    if not 0 < len(differing) <= 3:
        return {key: f" #{key[:4]}" for key in configs}
    return {key: "".join(f" {name}={leaves.get(name)}" for name in differing) for key, leaves in flat.items()}


def leaderboard(folders: list[Path]) -> list[Row]:
    """Rows of all stages and steps of finished cells, in the order base, SFT, RL by step.

    Every training seed counts once, however many cells share its evaluation; the base has none and is one evaluation. Where cells hold
    different evaluations of the same thing - made before and after an update, or on other devices - that of the newest cell counts. Rows
    are told apart by all the configuration their stage reads, never by name alone; where one name stands for several configurations, each
    row shows what differs.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    cells = [json.loads((folder / "cell.json").read_text()) for folder in folders]
    keys: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for cell in cells:
        for evaluation in cell["evaluations"]:
            name = (evaluation["stage"], _label(cell, evaluation["stage"]))
            keys.setdefault(name, {})[evaluation["arm_key"]] = cell["config"]
    suffixes = {name: _differences(configs, name[0]) for name, configs in keys.items()}
    groups: dict[tuple, dict[str, Any]] = {}
    order = {"base": 0, "sft": 1, "rl": 2}
    for folder, cell in zip(folders, cells, strict=True):
        table = pq.read_table(folder / "records.parquet", columns=READ)
        for evaluation in cell["evaluations"]:
            stage, step = evaluation["stage"], evaluation["step"]
            label, key = _label(cell, stage), evaluation["arm_key"]
            shown = label + suffixes[stage, label][key]
            made = groups.setdefault((order[stage], shown, key, stage, step), {})
            unit = None if stage == "base" else cell["seed"]
            old = made.get(unit)
            if old is None or (old["evaluation"]["key"] != evaluation["key"] and _written(old["folder"]) < _written(folder)):
                chosen = pc.and_(pc.equal(table["stage"], stage), pc.equal(table["step"], step))
                made[unit] = {"evaluation": evaluation, "folder": folder, "cell": cell, "samples": table.filter(chosen)}
    return [
        _row(label, key, stage, step, list(made.values()))
        for (_, label, key, stage, step), made in sorted(groups.items(), key=lambda item: item[0])
    ]


def _written(folder: Path) -> float:
    return (folder / "cell.json").stat().st_mtime


def _commit(evaluation: dict[str, Any]) -> str:
    return (evaluation["commit"] or "unknown")[:10] + ("+dirty" if evaluation["dirty"] else "")


def _row(label: str, key: str, stage: str, step: int, made: list[dict[str, Any]]) -> Row:
    parts = [one["samples"] for one in made]
    by_benchmark: dict[str, list] = {}
    for part in parts:
        benchmark = np.asarray(part["benchmark"].to_pylist())
        correct, question = part["correct"].to_numpy(zero_copy_only=False).astype(float), np.asarray(part["question_id"].to_pylist())
        for name in dict.fromkeys(benchmark.tolist()):
            by_benchmark.setdefault(name, []).append((correct[benchmark == name], question[benchmark == name]))
    scores = {
        name: seed_interval([c.mean() for c, _ in found]) if len(found) > 1 else question_interval(*found[0])
        for name, found in by_benchmark.items()
    }
    tokens = np.concatenate([part["tokens"].to_numpy() for part in parts])
    cut = np.concatenate([np.asarray(part["finish_reason"].to_pylist()) == "length" for part in parts])
    silent = np.concatenate([np.asarray([e is None for e in part["extracted"].to_pylist()]) for part in parts])
    return Row(
        arm=label,
        key=key,
        stage=stage,
        step=step,
        seeds=len(parts),
        covers="seeds" if len(parts) > 1 else "questions",
        scores=scores,
        tokens=float(tokens.mean()),
        truncated=float(cut.mean()),
        no_answer=float(silent.mean()),
        samples=len(tokens),
        command=made[0]["cell"]["command"],
        commit=" ".join(sorted({_commit(one["evaluation"]) for one in made})),
        manifests=[one["folder"] / "cell.json" for one in made],
    )


def main_rows(rows: list[Row]) -> list[Row]:
    """Without the RL checkpoints along the way: for each arm the last step."""
    last = {row.arm: max(r.step for r in rows if r.arm == row.arm and r.stage == "rl") for row in rows if row.stage == "rl"}
    return [row for row in rows if row.stage != "rl" or row.step == last[row.arm]]


def _titles(rows: list[Row]) -> dict[str, str]:
    from evals.benchmarks import BENCHMARKS

    return {name: BENCHMARKS[name].title if name in BENCHMARKS else name for row in rows for name in row.scores}


def _cells(row: Row, names: list[str]) -> list[str]:
    scores = [percent(row.scores[name]) if name in row.scores else "-" for name in names]
    stage = f"rl @ {row.step}" if row.stage == "rl" else row.stage
    return [
        row.arm,
        stage,
        str(row.seeds),
        *scores,
        f"{row.tokens:z.1f}",
        f"{100 * row.truncated:z.1f}",
        f"{100 * row.no_answer:z.1f}",
    ]


def headings(rows: list[Row]) -> list[str]:
    return ["arm", "stage", "seeds", *_titles(rows).values(), "CoT tokens", "truncated %", "no answer %"]


def markdown(rows: list[Row], target: Path) -> str:
    """The table with, below it, what every row was made by; manifests relative to ``target``."""
    names = list(_titles(rows))
    lines = ["| " + " | ".join(headings(rows)) + " |", "|" + "---|" * len(headings(rows))]
    lines += ["| " + " | ".join(_cells(row, names)) + " |" for row in rows]
    lines += ["", "Accuracy is avg@k in percent with a 95 % interval over training seeds, or over questions where there is one seed.", ""]
    lines += [
        f"- `{row.arm}` ({row.stage}): `{row.command}`, commit {row.commit}, {row.samples} samples, manifest {os.path.relpath(row.manifests[0], target)}"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def show(rows: list[Row], target: Path) -> None:
    """Write ``table.md`` and ``table.csv`` (all rows, checkpoints included) to ``target``, then print the main rows."""
    from rich.console import Console
    from rich.table import Table

    main = main_rows(rows)
    names = list(_titles(rows))
    table = Table(title="avg@k in %, 95 % interval (over seeds; over questions where there is one)", title_justify="left")
    for i, heading in enumerate(headings(main)):
        table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=i < 2)
    for row in main:
        table.add_row(*_cells(row, names))
    (target / "table.md").write_text(markdown(main, target))
    with (target / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{name}{suffix}" for name in names for suffix in ("", "_low", "_high")]
        writer.writerow(
            [
                "arm",
                "stage",
                "step",
                "seeds",
                "interval_over",
                *columns,
                "mean_tokens",
                "truncated",
                "no_answer",
                "samples",
                "commit",
                "command",
                "manifests",
            ]
        )
        for row in rows:
            values = [f"{v:z.6g}" for name in names for v in row.scores.get(name, (math.nan,) * 3)]
            facts = [
                f"{row.tokens:z.6g}",
                f"{row.truncated:z.6g}",
                f"{row.no_answer:z.6g}",
                row.samples,
                row.commit,
                row.command,
                ";".join(os.path.relpath(path, target) for path in row.manifests),
            ]
            writer.writerow([row.arm, row.stage, row.step, row.seeds, row.covers, *values, *facts])
    console = Console()
    # Piped output has no width of its own; 80 columns would wrap the names of the arms.
    Console(width=console.width if console.is_terminal else 190).print(table)
