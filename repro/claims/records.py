"""From the folders of finished cells to ``Arm``s and to one number a training seed.

Reads ``cell.json`` and ``records.parquet`` as ``repro.pipeline`` writes them. Differs from a results table in what it refuses: records of
another schema, two evaluations of one arm and seed, missing scores, and arms that differ in more than the claim says. An evaluation that
many cells share (the base, an SFT checkpoint) is one evaluation. Values are points: percent of samples, or percent of the token window.

    records = Records.load([Path("outputs/sweeps/reward_design")])
    choice = records.choose("micro", {"cosine": ({"sft.name": "long", "reward.name": "cosine"}, "rl"), ...})
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from repro.budget import describe
from repro.claims import curves
from repro.claims.arms import Arm, scores_of

FRONT = ("arm", "arm_key", "train_seed", "stage", "step")  # what repro.pipeline puts before the harness's columns
UNREAD = ("prompt_hash", "gold", "response", "extracted", "rule", "reason")  # nine tenths of the file, of no use for statistics
DECODING = ("temperature", "top_p", "max_tokens", "seed", "samples", "questions")
BUDGET = ("steps", "prompts_per_step", "group_size", "epochs", "max_completion_length")  # of rl: the same even where the algorithm differs
SETUP = ("threads", "launch")  # may change rounding, never what a claim compares
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
        """``records.parquet`` without the texts. Raises RecordError for another schema or null scores."""
        import pyarrow.parquet as pq

        path = self.folder / "records.parquet"
        check_schema(path)
        table = pq.read_table(path, columns=[name for name in (*FRONT, *_harness_schema().names) if name not in UNREAD])
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
        """Arrow table of the RL stage's ``metrics.parquet``, or None where the store is not here."""
        import pyarrow.parquet as pq

        for stage in self.facts["stages"]:
            if stage["stage"] == "rl":
                beside = next((p / "store" for p in self.folder.resolve().parents if (p / "store").is_dir()), None)
                for store in (Path(self.facts["store"]), beside):
                    if store is not None and (store / stage["path"] / "metrics.parquet").exists():
                        return pq.read_table(store / stage["path"] / "metrics.parquet")
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
            decoding={key: self.config["eval"][key] for key in DECODING if key in self.config["eval"]},
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
        problem can be drawn for training, whatever the seed.
        """
        if benchmark.startswith("micro_"):
            return BY_CONSTRUCTION
        found = [cell.facts.get("contamination") or {} for cell in self.cells.values()]
        said = [str((facts.get(benchmark) or {}).get("method") or "") for facts in found]
        return ", ".join(sorted(set(said))) if all(said) else ""

    def values(self, metric: Mapping[str, Any], name: str) -> dict[int, float]:
        """Seed -> the declared number, in points. Raises RecordError where it cannot be made."""
        if metric["kind"] == "curve":
            return self._curve(metric, name)
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

    def curve(self, column: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Seed -> (steps, values) of a column of the RL stage's metrics; seeds without it are left out."""
        found = {}
        for seed, cell in sorted(self.cells.items()):
            table = cell.metrics()
            if table is not None and column in table.column_names:
                found[seed] = (table["step"].to_numpy(), table[column].to_numpy(zero_copy_only=False).astype(float))
        return found

    def _curve(self, metric: Mapping[str, Any], name: str) -> dict[int, float]:
        column = metric["column"]
        series = self.curve(column)
        missing = sorted(set(self.cells) - set(series))
        if missing:
            table = self.cells[missing[0]].metrics()
            if table is None:
                store = self.cells[missing[0]].facts["store"]
                raise RecordError(
                    f"{name}, seed {missing[0]}: no metrics of its RL stage in {store}; run {self.cells[missing[0]].command} again"
                )
            close = difflib.get_close_matches(column, table.column_names, 3, 0.5)
            raise RecordError(
                f"{name}, seed {missing[0]}: its RL stage logged no {column}" + (f"; close are {', '.join(close)}" if close else "")
            )
        scale = {"share": 100.0, "window": 100.0 / self.config["rl"]["max_completion_length"], "raw": 1.0}[metric["unit"]]
        return {seed: summary(metric, steps, scale * values, f"{name}, seed {seed}, {column}") for seed, (steps, values) in series.items()}


def _cut(rows) -> float:
    """Share of samples that hit the token limit, 0 to 1."""
    import pyarrow.compute as pc

    return float(pc.mean(pc.equal(rows["finish_reason"], "length")).as_py())


def summary(metric: Mapping[str, Any], steps: np.ndarray, values: np.ndarray, name: str) -> float:
    """The declared summary of one seed's curve.

    final: mean of the last window; change: that minus the mean of the first window; spread: standard deviation of the steps around a
    straight line (a curve that only rises is not unstable); slope: points a step; area: mean height; collapse: 100 if it collapsed, else 0.
    """
    if not np.isfinite(values).all():
        raise RecordError(f"{name}: NaN or infinite at step {int(steps[~np.isfinite(values)][0])}")
    curve, window = values[None, :], metric["window"]
    made = {
        "final": lambda: curves.final_mean(curve, window),
        "change": lambda: curves.final_mean(curve, window) - curves.final_mean(curve[:, ::-1], window),
        "slope": lambda: curves.slope(steps, curve),
        "area": lambda: curves.area(steps, curve),
        "spread": lambda: np.std(curve - np.polyval(np.polyfit(steps, values, 1), steps), axis=1),
        "collapse": lambda: 100.0 * curves.collapsed(curve, window=window),
    }
    try:
        return float(made[metric["summary"]]()[0])
    except ValueError as error:
        raise RecordError(f"{name}: {error}") from None


class Records:
    """All cells below some folders, grouped by scale, stage and configuration."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        self.groups: dict[tuple[str, str, str], Group] = {}
        for cell in self.cells:
            scale, seed = cell.config["scale"], int(cell.config["seed"])
            for evaluation in cell.facts["evaluations"]:
                key = (scale, evaluation["stage"], evaluation["arm_key"])
                group = self.groups.setdefault(key, Group(*key, config=cell.config))
                group.cells.setdefault(seed, cell)
                group.experiments.add(cell.config.get("experiment_name", ""))
                held = group.evaluations.setdefault(evaluation["step"], {}).setdefault(seed, (evaluation, cell))
                if held[0]["key"] != evaluation["key"]:
                    raise RecordError(
                        f"two different evaluations of {cell.facts['arm']} seed {seed} ({evaluation['stage']} step {evaluation['step']}): "
                        f"{held[1].folder} and {cell.folder}; report one of the folders, or run the older one again: {cell.command}"
                    )

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Records:
        """Finished cells below ``paths``. Raises RecordError: no such folder, no finished cell, unreadable or other-schema files."""
        folders = sorted({file.parent.resolve() for path in paths for file in _existing(path).rglob("cell.json")})
        cells, failed = [], 0
        for folder in folders:
            try:
                facts = json.loads((folder / "cell.json").read_text())
            except (OSError, ValueError) as error:
                raise RecordError(f"{folder / 'cell.json'} cannot be read ({error}); delete it and run its cell again") from None
            if facts.get("status") != "done":
                failed += 1
                continue
            missing = {"arm", "arm_key", "seed", "stages", "evaluations", "config"} - set(facts)
            if missing or not all("arm_key" in e for e in facts["evaluations"]):
                raise RecordError(
                    f"{folder / 'cell.json'} is of another version (no {', '.join(sorted(missing)) or 'arm_key'}); run its cell again"
                )
            if not (folder / "records.parquet").exists():
                raise RecordError(f"{folder} has no records.parquet; run {facts.get('command', 'its cell')} again")
            check_schema(folder / "records.parquet")
            cells.append(Cell(folder, facts))
        if not cells:
            where = ", ".join(str(path) for path in paths)
            seen = f" ({failed} failed cell(s) there)" if failed else ""
            raise RecordError(f"no finished cell below {where}{seen}; run python -m repro +experiment=quickstart first")
        return cls(cells)

    @property
    def scales(self) -> list[str]:
        return sorted({cell.config["scale"] for cell in self.cells})

    def choose(self, scale: str, queries: Mapping[str, tuple[Mapping[str, Any], str]], experiment: str = "") -> dict[str, Group] | str:
        """One group an arm such that arms differ in nothing but what their queries name; otherwise the reason why there is none.

        Where several fit, those that ``experiment`` made.
        """
        candidates = {
            name: [g for (at, kind, _), g in self.groups.items() if at == scale and kind == stage and _matches(g.config, query)]
            for name, (query, stage) in queries.items()
        }
        absent = [name for name, found in candidates.items() if not found]
        if absent:
            unknown = [text for name in absent for text in self._unknown(scale, *queries[name])]
            return f"no records of {', '.join(absent)}" + (f" ({'; '.join(dict.fromkeys(unknown))})" if unknown else "")
        reasons, chosen = [], []
        for combination in itertools.islice(itertools.product(*candidates.values()), 4096):
            groups = dict(zip(candidates, combination, strict=True))
            differing = _undeclared(groups, queries)
            (reasons if differing else chosen).append(differing or groups)
        if len(chosen) > 1:
            own = [groups for groups in chosen if all(experiment in group.experiments for group in groups.values())]
            chosen = own or chosen
        if len(chosen) == 1:
            return chosen[0]
        if not chosen:
            return reasons[0]
        name = next(n for n in candidates if len({id(groups[n]) for groups in chosen}) > 1)
        which = sorted({f"#{groups[name].key[:4]}" for groups in chosen})
        return f"arm {name} matches {len(which)} configurations ({', '.join(which)}); report one sweep at a time"

    def _unknown(self, scale: str, query: Mapping[str, Any], stage: str) -> list[str]:
        """Keys of a query that no configuration of that stage has: a slip of the pen, most likely."""
        held = [g.config for (at, kind, _), g in self.groups.items() if at == scale and kind == stage]
        known = sorted({key for config in held for key in _flat(config, "")})
        # A part that is null (a reward without that term) may have keys elsewhere.
        odd = [key for key in query if held and not any(f"{name}.".startswith(f"{key}.") or key.startswith(f"{name}.") for name in known)]
        close = {key: difflib.get_close_matches(key, known, 1) for key in odd}
        return [f"no configuration has a key {key}" + (f", close is {close[key][0]}" if close[key] else "") for key in odd]


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


def _existing(path: Path) -> Path:
    if not path.is_dir():
        raise RecordError(f"{path} is no folder; give a folder of finished cells, or run python -m repro +experiment=quickstart first")
    return path


def lookup(config: Mapping[str, Any], dotted: str) -> Any:
    """``config["reward"]["name"]`` for ``reward.name``; None where a part is missing."""
    value: Any = config
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _matches(config: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    return all(lookup(config, key) == value for key, value in query.items())


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}
    return {prefix: value}


def _undeclared(groups: Mapping[str, Group], queries: Mapping[str, tuple[Mapping[str, Any], str]]) -> str | None:
    """The first key in which arms differ though no query says so."""
    from repro.pipeline import READS

    keys = {key for query, _ in queries.values() for key in query}
    varied = {key for key in keys if len({json.dumps(query[key]) for query, _ in queries.values() if key in query}) > 1}
    # A choice varied by name varies all of its keys, except that RL's budget stays comparable.
    whole = {key.rpartition(".")[0] for key in varied if key.endswith((".name", ".role"))}

    def declared(key: str) -> bool:
        top = key.split(".", maxsplit=1)[0]
        return key in varied or (top in whole and not (top == "rl" and key.rsplit(".", maxsplit=1)[-1] in BUDGET))

    for (first, a), (second, b) in itertools.combinations(groups.items(), 2):
        if a.stage == b.stage == "rl" and describe(a.config) != describe(b.config):
            return f"budget differs: {first} {describe(a.config)}, {second} {describe(b.config)}"
        shared = [part for part in READS[a.stage] if part in READS[b.stage] and part not in SETUP]
        left, right = ({k: v for part in shared for k, v in _flat(g.config[part], part).items()} for g in (a, b))
        for key in sorted({*left, *right}):
            if left.get(key) != right.get(key) and not declared(key):
                return f"arms differ in more than the claim says: {key} is {left.get(key)} in {first} and {right.get(key)} in {second}"
    return None
