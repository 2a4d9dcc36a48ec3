"""Finished cells, and their evaluations as groups: one configuration at one stage over training seeds.

Reads ``cell.json``, ``records.parquet`` and the RL stage's ``metrics.parquet`` as ``repro.pipeline`` writes them, and refuses what no statistic
should be made of: another schema, missing scores, duplicates, NaN in a curve. Values are points: percent of samples, or of the token window.

    Group.values({"kind": "accuracy", "benchmarks": ["math"]}, "cosine")     # training seed -> points
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evals.harness import samples_of
from repro.budget import describe
from repro.claims import curves
from repro.claims.arms import Arm, scores_of

FRONT = ("arm", "arm_key", "train_seed", "stage", "step")  # what repro.pipeline puts before the harness's columns
UNREAD = ("prompt_hash", "gold", "response", "extracted", "rule", "reason")  # nine tenths of the file, of no use for statistics
DECODING = ("temperature", "top_p", "max_tokens", "seed", "questions", "prompt", "engine")
BY_CONSTRUCTION = "disjoint by construction"
BENCHMARKS = {  # a claim names the role, so that one file serves all scales
    "math": {"micro": "micro_math", "single_gpu": "micro_math", "paper": "math500"},
    "aime": {"micro": "micro_aime", "single_gpu": "micro_aime", "paper": "aime2024"},
    "theoremqa": {"micro": "micro_theoremqa", "single_gpu": "micro_theoremqa", "paper": "theoremqa"},
    "mmlu_pro": {"micro": "micro_mmlu_pro", "single_gpu": "micro_mmlu_pro", "paper": "mmlu_pro_1k"},
}


class RecordError(ValueError):
    """Records that no report can be made of. One line: what is wrong, where, what to run."""


@dataclass(frozen=True)
class Cell:
    """A finished cell: its folder and its ``cell.json``."""

    folder: Path
    facts: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        return self.facts["config"]

    @cached_property
    def table(self):
        """``records.parquet`` without the texts. Raises RecordError for another schema, a damaged file, null scores or duplicates."""
        path = self.folder / "records.parquet"
        check_schema(path)
        table = readable(path, columns=[name for name in (*FRONT, *_harness_schema().names) if name not in UNREAD])
        for column in ("correct", "tokens", "finish_reason", "question_id", "sample_index"):
            if table[column].null_count:
                raise RecordError(f"{path}: {table[column].null_count} row(s) without {column}; delete the folder and run {self.command}")
        sample = ["stage", "step", "benchmark", "question_id", "sample_index"]
        again = table.num_rows - table.group_by(sample).aggregate([]).num_rows
        if again:
            raise RecordError(f"{path}: {again} duplicate record(s); delete the folder and run {self.command}")
        return table

    @property
    def command(self) -> str:
        return self.facts.get("command", "the cell again")

    def start(self) -> str:
        """What RL set out from, and on which prompts: seeds of two arms with the same answer are a pair."""
        made = [stage["key"] for stage in self.facts["stages"] if stage["stage"] in ("pretrain", "sft") and stage["title"] != "judge"]
        text = json.dumps([made, self.config["data"], self.config["seed"]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def metrics(self):
        """Arrow table of the RL stage's ``metrics.parquet``, or None where the store is not here. Raises RecordError for a damaged file."""
        for stage in self.facts["stages"]:
            if stage["stage"] == "rl":
                beside = next((p / "store" for p in self.folder.resolve().parents if (p / "store").is_dir()), None)
                for store in (Path(self.facts["store"]), beside):
                    if store is not None and (store / stage["path"] / "metrics.parquet").exists():
                        table = readable(store / stage["path"] / "metrics.parquet")
                        if "step" not in table.column_names:
                            raise RecordError(
                                f"{store / stage['path'] / 'metrics.parquet'} has no column step; delete its folder and run {self.command}"
                            )
                        return table
        return None


@dataclass
class Group:
    """One configuration at one stage, over training seeds: evaluations by step and seed."""

    scale: str
    stage: str
    key: str
    config: dict[str, Any]
    cells: dict[int, Cell] = field(default_factory=dict)  # seed -> the first cell that holds it
    experiments: set[str] = field(default_factory=set)
    parts: dict[tuple[str, str], Any] = field(default_factory=dict)  # (evaluation, benchmark) -> its rows
    arms: dict[str, Arm] = field(default_factory=dict)  # benchmark -> arm at the last step
    evaluations: dict[int, dict[int, tuple[dict[str, Any], Cell]]] = field(default_factory=dict)  # step -> seed -> (evaluation, its cell)

    @property
    def last(self) -> int:
        return max(self.evaluations)

    def part(self, seed: int, step: int, benchmark: str):
        """Rows of one evaluation of one benchmark."""
        import pyarrow.compute as pc

        evaluation, cell = self.evaluations[step][seed]
        at = (evaluation["key"], benchmark)
        if at not in self.parts:
            chosen = pc.and_(pc.equal(cell.table["stage"], self.stage), pc.equal(cell.table["step"], step))
            self.parts[at] = cell.table.filter(pc.and_(chosen, pc.equal(cell.table["benchmark"], benchmark)))
        return self.parts[at]

    def arm(self, name: str, benchmark: str) -> Arm:
        """The last step as arrays for guards and tests. Raises RecordError for duplicates or a benchmark that was not asked."""
        if benchmark not in self.arms:
            self.arms[benchmark] = self._arm(name, benchmark)
        return replace(self.arms[benchmark], name=name)

    def _arm(self, name: str, benchmark: str) -> Arm:
        step, columns, truncated, versions = self.last, ([], [], [], []), {}, set()
        for seed in sorted(self.evaluations[step]):
            rows = self.part(seed, step, benchmark)
            if rows.num_rows == 0:
                raise RecordError(f"{name}, seed {seed}: no records of {benchmark} at {self.stage}; run with eval.benchmarks=[{benchmark}]")
            found = (np.full(rows.num_rows, seed), rows["question_id"], rows["sample_index"], rows["correct"])
            for column, values in zip(columns, found, strict=True):
                column.append(np.asarray(values.to_numpy(zero_copy_only=False) if hasattr(values, "to_numpy") else values))
            truncated[seed] = _cut(rows)
            versions |= set(rows["verifier_version"].unique().to_pylist())
        try:
            scores, questions = scores_of(*(np.concatenate(column) for column in columns), name=name)
        except ValueError as error:
            folder = next(iter(self.cells.values())).folder
            raise RecordError(f"{error} ({folder}); delete the folder of the cell and run {self.cells[min(self.cells)].command}") from None
        return Arm(
            name,
            scores,
            questions,
            decoding={key: self.config["eval"][key] for key in DECODING if key in self.config["eval"]}
            | {"samples": samples_of(self.config["eval"], benchmark)},
            verifier_version=" ".join(sorted(versions)),
            truncated=truncated,
            exceed_handling=True,  # the harness hands every cut sample to the verifier as cut: no answer, wrong
            data_order={seed: cell.start() for seed, cell in self.cells.items()},
            budget=describe(self.config) if self.stage == "rl" else "",
            decontaminated=self.decontaminated(benchmark),
        )

    def decontaminated(self, benchmark: str) -> str:
        """How the training data of all cells were kept apart from a benchmark, in words; empty where some cell does not say.

        A cell says so in ``cell.json``: ``contamination: {benchmark: {"method": text, ...}}``. The micro world's splits need no check: no test
        problem can be drawn for training, whatever the seed; a cell that trained on a file says what it found there.
        """
        by_default = BY_CONSTRUCTION if benchmark.startswith("micro_") else ""
        found = [cell.facts.get("contamination") or {} for cell in self.cells.values()]
        said = [str((facts.get(benchmark) or {}).get("method") or by_default) for facts in found]
        return ", ".join(sorted(set(said))) if all(said) else ""

    def values(self, metric: Mapping[str, Any], name: str) -> dict[int, float]:
        """Seed -> the declared number, in points. Raises RecordError where it cannot be made."""
        if metric["kind"] == "curve":
            return self._curve(metric, name)
        if metric["kind"] == "traces":
            return {seed: self._doublings(cell, f"{name}, seed {seed}") for seed, cell in sorted(self.cells.items())}
        step, window = self.last, self.config["eval"]["max_tokens"]
        names = [BENCHMARKS[role][self.scale] for role in metric["benchmarks"]]
        found: dict[int, list[float]] = {seed: [] for seed in sorted(self.evaluations[step])}
        for benchmark in names:
            if metric["kind"] == "accuracy":
                arm = self.arm(name, benchmark)
                for seed, scores in arm.scores.items():
                    found[seed].append(100 * float(np.nanmean(scores)))
                continue
            for seed, series in found.items():
                rows = self.part(seed, step, benchmark)
                if metric["kind"] == "tokens":
                    series.append(100 * float(rows["tokens"].to_numpy().mean()) / window)
                else:
                    series.append(100 * _cut(rows))
        return {seed: float(np.mean(series)) for seed, series in found.items()}

    def _doublings(self, cell: Cell, name: str) -> float:
        """log2 of the rate of matches in forum documents over that in others."""
        ratio = cell.facts["traces"]["ratio"]
        if ratio is None:
            raise RecordError(f"{name}: no match in forum documents, or none in others: search more of the corpus")
        return float(np.log2(ratio["ratio"]))

    def curve(self, column: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Seed -> (steps, values) of a column of the RL stage's metrics; seeds without it are left out."""
        found = {}
        for seed, cell in sorted(self.cells.items()):
            table = cell.metrics()
            if table is not None and column in table.column_names:
                try:
                    found[seed] = (table["step"].to_numpy(), table[column].to_numpy(zero_copy_only=False).astype(float))
                except ValueError as error:
                    raise RecordError(
                        f"{cell.folder}: its RL stage's metric {column} is no number ({error}); run {cell.command} again"
                    ) from None
        return found

    def _curve(self, metric: Mapping[str, Any], name: str) -> dict[int, float]:
        series = self._logged(metric["column"], name)
        beside = self._logged(metric["beside"], name) if "beside" in metric else {}
        scale = {"share": 100.0, "window": 100.0 / self.config["rl"]["max_completion_length"], "raw": 1.0}[metric["unit"]]
        found = {}
        for seed, (steps, values) in series.items():
            try:
                found[seed] = curves.summary(metric, steps, scale * values, beside[seed][1] if beside else None)
            except ValueError as error:
                raise RecordError(f"{name}, seed {seed}, {metric['column']}: {error}") from None
        return found

    def _logged(self, column: str, name: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """``curve`` of every seed. Raises RecordError where a seed has no such column."""
        series = self.curve(column)
        missing = sorted(set(self.cells) - set(series))
        if not missing:
            return series
        cell = self.cells[missing[0]]
        table = cell.metrics()
        if table is None:
            raise RecordError(f"{name}, seed {missing[0]}: no metrics of its RL stage in {cell.facts['store']}; run {cell.command} again")
        close = difflib.get_close_matches(column, table.column_names, 3, 0.5)
        raise RecordError(
            f"{name}, seed {missing[0]}: its RL stage logged no {column}" + (f"; close are {', '.join(close)}" if close else "")
        )


def _cut(rows) -> float:
    """Share of samples that hit the token limit, 0 to 1."""
    import pyarrow.compute as pc

    return float(pc.mean(pc.equal(rows["finish_reason"], "length")).as_py())


def readable(path: Path, **options: Any):
    """Arrow table of a Parquet file. Raises RecordError where it is none or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, **options)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path} is no readable Parquet file ({str(error).splitlines()[0]}); delete it and run its cell again") from None


def check_schema(path: Path) -> None:
    """Raises RecordError if the file's columns are not those of this version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path} is no readable Parquet file ({str(error).splitlines()[0]}); delete it and run its cell again") from None
    expected = {name: str(kind) for name, kind in zip(_harness_schema().names, _harness_schema().types, strict=True)}
    expected |= {"arm": "string", "arm_key": "string", "train_seed": "int64", "stage": "string", "step": "int64"}
    present = {name: str(kind) for name, kind in zip(found.names, found.types, strict=True)}
    odd = sorted(name for name in {*expected, *present} if expected.get(name) != present.get(name))
    if odd:
        one = f"{odd[0]} is {present.get(odd[0], 'missing')}, expected {expected.get(odd[0], 'no such column')}"
        raise RecordError(f"{path}: records of another schema version ({one}); delete the folder and run its cell again")


def _harness_schema():
    from evals.harness import schema

    return schema()
