"""Runs one training stage: in this process, or over several by ``accelerate launch``.

A Hydra job plans and waits; the processes that train know nothing of Hydra. They get the resolved configuration in a file, and the first one
leaves its facts, or the reason why it failed, beside the work. A failure of any process ends all of them and fails the stage.

    python -m repro launch=ddp launch.processes=2      # two processes on this machine
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from repro.config import ConfigError
from repro.store import RESUME

FACTS, ERROR = "facts.json", "error.json"


def process_count(config: dict[str, Any]) -> int:
    """Processes of a training stage: as configured, else one a GPU, else one."""
    import torch

    return config["launch"]["processes"] or max(1, torch.cuda.device_count())


def main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def build(stage: str, config: dict[str, Any], start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """Run ``repro.sft`` or ``repro.rl.stage`` (``stage``: sft, rl) on the model in ``start``; returns facts for the manifest.

    Raises:
        ConfigError: what the stage refuses. RuntimeError: a process failed; its own output says why.
    """
    if process_count(config) == 1:
        return run(stage, config, start, work, run_id)
    folder = work / RESUME
    folder.mkdir(parents=True, exist_ok=True)
    for name in (FACTS, ERROR):
        (folder / name).unlink(missing_ok=True)
    job = {"stage": stage, "config": config, "start": str(start), "work": str(work), "run_id": run_id}
    (folder / "job.json").write_text(json.dumps(job))
    command = [*accelerate_command(config, folder), "-m", "repro.worker", str(folder / "job.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(config["threads"])}
    process = subprocess.Popen(command, env=environment)
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if (folder / ERROR).exists():
        raise ConfigError(json.loads((folder / ERROR).read_text())["line"])
    if code or not (folder / FACTS).exists():
        raise RuntimeError(
            f"the {stage} stage failed in one of its {process_count(config)} processes (exit code {code}); its traceback is above"
        )
    return json.loads((folder / FACTS).read_text())


def accelerate_command(config: dict[str, Any], folder: Path) -> list[str]:
    """The launcher's command line; its settings go to a file in ``folder``."""
    import torch
    import yaml

    gpu = torch.cuda.is_available()
    settings = {
        "compute_environment": "LOCAL_MACHINE",
        "num_processes": process_count(config),
        "num_machines": 1,
        "machine_rank": 0,
        "main_process_port": 0,
        "mixed_precision": "bf16" if gpu else "no",
        "use_cpu": not gpu,
        **config["launch"]["accelerate"],
    }
    path = folder / "accelerate.yaml"
    path.write_text(yaml.safe_dump(settings))
    if gpu:
        return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(path)]
    # On a CPU accelerate's launcher starts one process and says nothing; torchrun starts them all.
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(settings["num_processes"])]


def run(stage: str, config: dict[str, Any], start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """The stage in this process, alone or as one of several."""
    if stage == "sft":
        from repro import sft

        return sft.build(config, start, work, run_id)
    from repro.rl import stage as rl

    return rl.build(config, start, work, run_id)
