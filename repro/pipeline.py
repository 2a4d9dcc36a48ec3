"""One cell: the chain base -> SFT -> RL -> evaluation of each, every stage from the store if it is there.

The result of a cell is a folder with ``records.parquet`` (one row a sample, with arm, training seed, stage and step), ``cell.json`` (what
was reused, what it cost, where its stages are) and the Hydra configuration. Re-running a finished cell reads the store and writes the same.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from repro import budget, interrupt, launch, parts
from repro.config import adapter_of, adapters, plain
from repro.identity import arm_key, decoding, told_apart
from repro.store import Built, Stage, Store, fingerprint
from repro.tracking import arm_name, searches, track_evaluation

log = logging.getLogger(__name__)


RL_ENDS = ("steps", "eval_steps")  # of rl: not read where a budget ends it


class Cell:
    """Runs the stages of one configuration. ``plan`` is the list of stages done so far, for the summary; ``folder`` its own, by which it refers to them."""

    def __init__(self, config: DictConfig, folder: Path | None = None) -> None:
        self.config = plain(config)
        self.store = Store(self.config["paths"]["store"], folder)
        self.done: list[dict[str, Any]] = []
        self.evaluations: list[tuple[str, int, Built]] = []
        self.contamination: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.found: dict[str, Any] | None = None  # of a search for traces
        self.spent: dict[str, Any] | None = None  # of the budget of RL
        from repro.verifiers import Verifier

        self.verifier = Verifier()  # of evaluation, whatever rewards RL

    def _note(self, title: str, built: Built) -> Built:
        how = "reused" if built.reused else f"built in {built.seconds:.0f} s"
        log.info("  %-22s %s  %s", title, built.stage.key, how)
        fact = {
            "title": title,
            "stage": built.stage.name,
            "key": built.stage.key,
            "reused": built.reused,
            "seconds": round(built.seconds, 2),
        }
        self.done.append({**fact, "path": os.path.relpath(built.path, self.store.root), "tokens": built.manifest.get("tokens")})
        if interrupt.wanted():
            raise interrupt.Interrupted(f"after {title}")
        return built

    def base(self) -> tuple[Path, str]:
        """Folder and key of the base model."""
        model = self.config["model"]
        if model["path"] is not None:
            from repro.models.load import resolve

            local = resolve(model["path"], model["revision"])
            own = Path(model["path"]).expanduser().is_dir()
            # The label is not read by any stage, and the folder may move: the files are what counts.
            facts = {"files": fingerprint(local)} if own else {"hub": model["path"], "commit": local.name}
            return local, Stage("external", facts, {}, 1).key
        from repro.models.base import obtain

        built = self._note("base", obtain(model, self.store, self.config["threads"]))
        return built.path / "model", built.stage.key

    def traces(self) -> None:
        """Search a corpus for traces of reflection; ``found``: rates and their ratio, for ``cell.json`` and the claim."""
        from repro.data import traces

        settings, seed = self.config["traces"], self.config["seed"]
        stage, build = traces.stage_of(settings, seed)
        built = self._note("traces", self.store.get_or_build(stage, build))
        made = {key: built.manifest.get(key) for key in ("rates", "ratio", "truth")}
        self.found = {**made, **self._provenance(built), "arm_key": arm_key(self.config)}
        for line in built.manifest.get("table", "").splitlines():
            log.info("  %s", line)

    def sft_data(self) -> tuple[str | None, dict[str, str]]:
        """(file of prompts and responses that SFT imitates, None for the world's own chains; the key of it as an input)."""
        from repro.data import stage

        path, inputs, built = stage.obtain(self.config, self.store, self.machine, self.verifier)
        if built is not None:
            self._note("sft data", built)
            self.warnings += [built.manifest["warning"]] if "warning" in built.manifest else []
        return path, inputs

    def processes(self, stage: str) -> dict[str, Any]:
        """What the key of a stage must know of how many train it."""
        return {"processes": launch.process_count(self.config, stage), "launch": self.config["launch"]["name"]}

    def adapter(self, stage: str) -> dict[str, Any]:
        """Return what the key of a training stage must know of its adapter: nothing where all weights are trained."""
        settings = adapter_of(self.config, stage)
        return {"peft": settings} if settings else {}

    def sft(self, start: Path, start_key: str) -> tuple[Path, str]:
        from repro import sft

        path, inputs = self.sft_data()
        read = {
            **self.drawn,
            "sft": told_apart(self.config["sft"]),
            **self.machine,
            **self.processes("sft"),
            **self.adapter("sft"),
        }
        stage = Stage("sft", read, {"model": start_key, **inputs}, sft.VERSION)
        config = {**self.config, "sft_file": path}
        build = lambda work: launch.build("sft", config, start, work, stage.key)  # noqa: E731
        built = self._note(f"sft {self.config['sft']['name']}", self.store.get_or_build(stage, build))
        self.warnings += [said] if (said := built.manifest.get("set", {}).get("suspicion")) else []
        return built.path / "model", built.stage.key

    def judge(self, base: Path, base_key: str) -> tuple[str | None, dict[str, Any]]:
        """(checkpoint of the micro judge if the run needs one, what the key of RL must know of the verifier)."""
        from repro import sft
        from repro.data.judge import EPOCHS
        from repro.verifiers.choose import needs_micro_judge

        settings = self.config["verifier"]
        path = (settings["judge"] or {}).get("path")
        if path and Path(path).expanduser().is_dir():
            return None, {"judge": fingerprint(Path(path).expanduser())}
        if not needs_micro_judge(settings):
            return None, {}
        # One judge for all arms and seeds: its own training seed is 0, and no adapter, since it learns new words.
        config = {
            **self.config,
            "seed": 0,
            "peft": {"name": "none"},
            "sft": {**self.config["sft"], "name": "judge", "style": "judge", "epochs": EPOCHS},
        }
        read = {**self.drawn, "seed": config["seed"], "sft": told_apart(config["sft"]), **self.machine, **self.processes("sft")}
        stage = Stage("sft", read, {"model": base_key}, sft.VERSION)
        built = self._note("judge", self.store.get_or_build(stage, lambda work: launch.build("sft", config, base, work, stage.key)))
        return str(built.path / "model"), {"judge": stage.key}

    def rl(self, start: Path, start_key: str, judge_path: str | None, judge_facts: dict[str, Any]) -> Built:
        from repro.rl import stage as rl
        from repro.verifiers import VERSION

        read = {**{k: self.config[k] for k in ("rl", "reward")}, **self.drawn, **self.machine, **self.processes("rl"), **self.adapter("rl")}
        limited = budget.read_by_key(self.config)
        if limited:
            read |= {"rl": {key: value for key, value in self.config["rl"].items() if key not in RL_ENDS}, **limited}
        if own := parts.sources(self.config):
            read["parts"] = own
        verifier = {**self.config["verifier"], "version": VERSION, **judge_facts}
        stage = Stage("rl", {**read, "verifier": verifier}, {"model": start_key}, rl.VERSION)
        config = {**self.config, "judge_path": judge_path}
        build = lambda work: launch.build("rl", config, start, work, stage.key)  # noqa: E731
        return self._note(f"rl {self.config['rl']['name']} {self.config['reward']['name']}", self.store.get_or_build(stage, build))

    def evaluate(self, kind: str, step: int, model: Path, model_key: str) -> None:
        from evals import harness
        from evals.benchmarks import BENCHMARKS, state_of

        data = self.config["eval"]["data"]
        versions = {name: state_of(name, BENCHMARKS[name], data) for name in self.config["eval"]["benchmarks"]}
        read = {
            "eval": decoding(self.config["eval"]),
            "versions": versions,
            "verifier": self.verifier.version,
            "step": step,
            **self.machine,
        }
        stage = Stage("eval", read, {"model": model_key}, harness.VERSION)
        label = f"{kind} step {step}" if kind == "rl" else kind

        def build(work: Path) -> dict[str, Any]:
            facts = harness.evaluate(self.config, self.verifier, model, work, label)
            track_evaluation(self.config, stage.key, work / "samples.parquet")
            return facts

        self.evaluations.append((kind, step, self._note(f"eval {label}", self.store.get_or_build(stage, build))))

    def run(self) -> dict[str, Any]:
        """All stages; returns what ``cell.json`` holds."""
        import torch

        from repro.models.load import machine

        torch.set_num_threads(self.config["threads"])
        self.machine = machine(self.config["threads"])
        from repro.data.stage import contamination, identified
        from repro.models.adapter import check

        start = time.monotonic()
        if searches(self.config):
            self.traces()
            return self._summary(start)
        self.contamination = contamination(self.config)
        # What the keys of training stages know of the prompts and their order.
        self.drawn = {"data": identified(self.config["data"]), "seed": self.config["seed"]}
        model, key = self.base()
        base, base_key = model, key
        if self.config["model"]["path"] is not None and adapters(self.config, "sft", "rl"):
            check(base, self.config["peft"]["target_modules"])
        self.evaluate("base", 0, model, key)
        if self.config["sft"]["name"] != "none":
            model, key = self.sft(model, key)
            self.evaluate("sft", 0, model, key)
        if self.config["rl"]["name"] != "none":
            built = self.rl(model, key, *self.judge(base, base_key))
            for policy in sorted((built.path / "policies").glob("step-*")):
                self.evaluate("rl", int(policy.name.split("-")[1]), policy, built.stage.key)
            self.evaluate("rl", budget.last_step(self.config), built.path / "model", built.stage.key)
            self.spent = built.manifest.get("budget")
        return self._summary(start)

    def _provenance(self, built: Built) -> dict[str, Any]:
        made = built.manifest["environment"]
        return {"key": built.stage.key, "commit": made["commit"], "dirty": made["dirty"]}

    def _summary(self, start: float) -> dict[str, Any]:
        self.verifier.close()
        return {
            "arm": arm_name(self.config),
            "arm_key": arm_key(self.config),
            "seed": self.config["seed"],
            "seconds": round(time.monotonic() - start, 2),
            "stages": self.done,
            "evaluations": [
                {
                    "stage": kind,
                    "step": step,
                    "arm_key": arm_key(self.config, kind),
                    **self._provenance(built),
                }
                for kind, step, built in self.evaluations
            ],
            "budget": self.spent,
            "store": str(self.store.root),
            "contamination": self.contamination,
            "warnings": self.warnings,
            **({"traces": self.found} if self.found else {}),
        }

    def records(self):
        """One Arrow row a sample of every evaluation, with arm, arm_key, train_seed, stage and step in front."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from evals.harness import schema

        front = [("arm", pa.string()), ("arm_key", pa.string()), ("train_seed", pa.int64()), ("stage", pa.string()), ("step", pa.int64())]
        tables = [pa.schema([*front, *schema()]).empty_table()]  # a search for traces has no samples
        for kind, step, built in self.evaluations:
            table = pq.read_table(built.path / "samples.parquet")
            # The base model has no training seed; what it shares with other arms is told by `stage`.
            facts = {
                "arm": arm_name(self.config),
                "arm_key": arm_key(self.config),
                "train_seed": self.config["seed"],
                "stage": kind,
                "step": step,
            }
            columns = [pa.array([value] * table.num_rows) for value in facts.values()]
            tables.append(pa.Table.from_arrays([*columns, *table.columns], names=[*facts, *table.column_names]))
        return pa.concat_tables(tables)


def run_cell(config: DictConfig, folder: Path, command: str) -> dict[str, Any]:
    """Run a cell and write ``records.parquet`` and ``cell.json`` into ``folder``; both appear whole or not at all."""
    import pyarrow.parquet as pq

    from repro.manifest import environment

    cell = Cell(config, folder)
    summary = {**cell.run(), "command": command, "environment": environment(), "config": cell.config}
    draft = folder / f".records.{uuid.uuid4().hex}.tmp"  # two sweeps may run the same cell, on nodes with the same pids
    pq.write_table(cell.records(), draft)
    os.replace(draft, folder / "records.parquet")
    write_json(folder / "cell.json", {"status": "done", **summary})
    return summary


def write_json(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    draft.write_text(json.dumps(value, indent=1))
    os.replace(draft, path)
