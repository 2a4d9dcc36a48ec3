"""The tracker: Weights & Biases, offline unless told otherwise, or nothing.

Run ids are derived from the stage key, so the same stage is the same run whoever starts it and a resumed one continues
it with each step once (``repro.wandb_parts``); a stage that several experiments share is a run of the first of them. A
run's configuration is the cell's, with the facts of the stage's manifest under ``manifest``.
Tracking never decides over a result: every metric is also in the stage's ``metrics.parquet``, every evaluated sample in
``samples.parquet``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from repro.budget import kind_of
from repro.config import ConfigError, adapters
from repro.manifest import environment
from repro.wandb_parts import continue_offline

FLUSH = 1.0  # seconds between writes to an offline run's file: what a kill can take of it


class NoTracker:
    def log(self, row: dict[str, float]) -> None:
        """Nothing to do."""

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Nothing to do."""

    def summary(self, facts: dict[str, float]) -> None:
        """Nothing to do."""


class WandbTracker:
    def __init__(self, run, first: int) -> None:
        self.run, self.first = run, first

    def log(self, row: dict[str, float]) -> None:
        """Log the metrics of one step, unless an earlier part of the run has uploaded them."""
        if row["step"] < self.first:
            return
        self.run.log({k: v for k, v in row.items() if k != "step"}, step=int(row["step"]))

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Rows to look at, as one table."""
        import wandb

        if rows:
            self.run.log({name: wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])})

    def summary(self, facts: dict[str, float]) -> None:
        """Numbers that the run ends with."""
        self.run.summary.update(facts)


@contextmanager
def open_tracker(config: dict[str, Any], run_id: str, job: str):
    """A tracker for one stage. ``run_id``: the stage key; ``job``: sft, rl or eval."""
    tracking = config["tracking"]
    if tracking["name"] == "none":
        yield NoTracker()
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    folder = Path(config["paths"]["wandb"]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    first = continue_offline(folder, f"{job}-{run_id}") if tracking["mode"] == "offline" else 0
    try:
        run = _init(wandb, config, folder, run_id, job)
    except wandb.errors.UsageError as error:  # online without a key
        remedy = "run `wandb login` or set WANDB_API_KEY, or keep tracking.mode=offline and `wandb sync` later"
        raise ConfigError(
            f"tracking.mode={tracking['mode']!r} needs a Weights & Biases key ({str(error).splitlines()[0]}): {remedy}"
        ) from None
    try:
        yield WandbTracker(run, max(first, run.step))  # online, a run that goes on knows where it stands
    finally:
        run.finish()


def _init(wandb, config: dict[str, Any], folder: Path, run_id: str, job: str):
    tracking = config["tracking"]
    return wandb.init(
        project=tracking["project"],
        id=f"{job}-{run_id}",
        name=f"{config['experiment_name']} {arm_name(config)} seed {config['seed']}",
        group=f"{config['experiment_name']}/{arm_name(config)}",
        job_type=job,
        mode=tracking["mode"],
        dir=str(folder),
        resume="allow",
        config={**config, "manifest": {"stage": job, "key": run_id, "environment": environment()}},
        settings=wandb.Settings(
            console="off",
            disable_git=True,
            x_disable_stats=True,
            x_transaction_log_flush_interval=FLUSH,
        ),
    )


TABLE_ROWS = 200  # samples of an evaluation that are shown; all are in samples.parquet
SHOWN = ("benchmark", "question_id", "sample_index", "gold", "extracted", "correct", "tokens", "finish_reason", "response")


def track_evaluation(config: dict[str, Any], run_id: str, samples: Path) -> None:
    """Scores by benchmark and a table of samples, the same number of each benchmark, as a run of its own."""
    if config["tracking"]["name"] == "none":
        return
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from evals import metrics

    records = pq.read_table(samples)
    names = records["benchmark"].unique().to_pylist()
    with open_tracker(config, run_id, "eval") as tracker:
        shown = []
        for name in names:
            rows = records.filter(pc.equal(records["benchmark"], name))
            size = metrics.lengths(rows)
            found = {"accuracy": metrics.avg_at_k(rows).mean, "length": size["mean"], "truncated": size["truncated"]}
            found["no_answer"] = metrics.no_answer_share(rows)
            tracker.summary({f"{name}/{key}": float(value) for key, value in found.items()})
            shown += rows.select(list(SHOWN)).slice(0, TABLE_ROWS // len(names)).to_pylist()
        tracker.table("samples", shown)


def arm_name(config: dict[str, Any]) -> str:
    """Readable name of an arm: model, SFT, RL and reward that it is made of; verifier and data where they are not the usual ones."""
    if searches(config):
        return f"traces-{config['traces']['name']}"
    parts = [config["model"]["name"]]
    if config["sft"]["name"] != "none":
        parts.append(f"sft-{config['sft']['name']}")
    if config["rl"]["name"] != "none":
        parts += [config["rl"]["name"], config["reward"]["name"]]
        if config["verifier"]["name"] != "rule":
            parts.append(f"by-{config['verifier']['name']}")
        if kind_of(config) != "samples":
            parts.append(f"{kind_of(config)}-budget")
    if used := adapters(config, "sft", "rl"):
        trained = [stage for stage in ("sft", "rl") if config[stage]["name"] != "none"]
        parts.append("-".join([config["peft"]["name"], *(used if len(used) < len(trained) else ())]))
    if config["data"]["name"] != "math":
        parts.append(f"on-{config['data']['name']}")
    return "+".join(parts)


def searches(config: dict[str, Any]) -> bool:
    """Whether a cell searches a corpus for traces (section 6.5) and does nothing else."""
    return config.get("traces", {"name": "none"})["name"] != "none"
