"""Runs one training stage: in this process, or over several by ``accelerate launch`` or torchrun, on one node or over a Slurm allocation.

A Hydra job plans and waits; the processes that train know nothing of Hydra. They get the resolved configuration in a file, and the first one
leaves its facts, or the reason why it failed, beside the work. A failure of any process ends all of them and fails the stage: on several
nodes ``srun --kill-on-bad-exit`` sees to it, and every process asks the kernel to end with its parent, so none is orphaned.

    python -m repro launch=ddp launch.processes=2                               # two processes on this machine
    python -m repro launch=ddp resources.rl.nodes=2 hydra/launcher=slurm ...    # a process a GPU on two nodes
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from repro import interrupt
from repro.config import ConfigError
from repro.store import RESUME

FACTS, ERROR, STOPPED = "facts.json", "error.json", "stopped.json"


def process_count(config: dict[str, Any], stage: str) -> int:
    """Processes of a training stage over all its nodes: as configured, else one a GPU that no server takes, else one."""
    wanted, needs = config["launch"]["processes"], config["resources"]
    if wanted:
        return wanted
    servers = needs["server_gpus"] if stage == "rl" else 0
    if needs[stage]["nodes"] > 1:
        return max(1, needs[stage]["nodes"] * needs[stage]["gpus"] - servers)
    return max(1, gpus() - servers)


def training_nodes(config: dict[str, Any], stage: str) -> int:
    """Nodes that a stage's processes run on; a node that only serves is not one."""
    needs = config["resources"][stage]
    if process_count(config, stage) == 1:
        return 1
    alone = stage == "rl" and needs["nodes"] > 1 and config["resources"]["server_gpus"] > 0
    return needs["nodes"] - alone


def main_process() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def build(stage: str, config: dict[str, Any], start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """Run ``repro.sft`` or ``repro.rl.stage`` (``stage``: sft, rl) on the model in ``start``; returns facts for the manifest.

    Raises:
        ConfigError: more processes than GPUs, or what the stage refuses. RuntimeError: a process failed; its own output says why.
        Interrupted: asked to stop.
    """
    from repro.servers import serving

    count, nodes = process_count(config, stage), training_nodes(config, stage)
    config = {**config, "launch": {**config["launch"], "processes": count}}  # counted before the server's GPUs are out of sight
    cards = gpus() - (config["resources"]["server_gpus"] if stage == "rl" and config["resources"]["rl"]["nodes"] == 1 else 0)
    if gpus() and count > max(1, cards) * nodes:  # each takes one; NCCL's own message is "invalid usage"
        raise ConfigError(
            f"launch.processes={count} is not possible: {cards} GPU{'s' * (cards != 1)} a node are left for training; set it to at most "
            f"{max(1, cards) * nodes}, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    with serving(stage, config, start) as watch:
        if count == 1:
            return run(stage, config, start, work, run_id)
        return _spawn(stage, config, start, work, run_id, watch)


def _spawn(stage: str, config: dict[str, Any], start: Path, work: Path, run_id: str, watch) -> dict[str, Any]:
    from repro.sweep.supervise import die_with_parent

    folder = work / RESUME
    folder.mkdir(parents=True, exist_ok=True)
    for name in (FACTS, ERROR, STOPPED):
        (folder / name).unlink(missing_ok=True)
    job = {"stage": stage, "config": config, "start": str(start), "work": str(work), "run_id": run_id}
    (folder / "job.json").write_text(json.dumps(job))
    command = launcher_command(stage, config, folder, ["-m", "repro.worker", str(folder / "job.json")])
    environment = {**os.environ, "OMP_NUM_THREADS": str(config["threads"])}
    with interrupt.telling(folder):
        process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent)  # noqa: PLW1509 - one system call
        try:
            code = watch(process)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if (folder / ERROR).exists():
        raise ConfigError(json.loads((folder / ERROR).read_text())["line"])
    if (folder / STOPPED).exists():
        raise interrupt.Interrupted(json.loads((folder / STOPPED).read_text())["line"])
    if code or not (folder / FACTS).exists():
        count = process_count(config, stage)
        raise RuntimeError(f"the {stage} stage failed in one of its {count} processes (exit code {code}); its traceback is above")
    return json.loads((folder / FACTS).read_text())


def gpus() -> int:
    """CUDA devices that this process can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def launcher_command(stage: str, config: dict[str, Any], folder: Path, worker: list[str]) -> list[str]:
    """The command that starts all processes of a stage.

    Raises:
        ConfigError: the stage wants nodes that this process has not been given, or its processes do not divide over them.
    """
    count, nodes = process_count(config, stage), training_nodes(config, stage)
    if count % nodes:
        raise ConfigError(f"launch.processes={count} is not possible: it does not divide over resources.{stage}.nodes={nodes}")
    given = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if nodes > given:
        raise ConfigError(
            f"resources.{stage}.nodes={nodes} is not possible: this process was given {given}; use hydra/launcher=slurm, or "
            f"resources.{stage}.nodes=1"
        )
    if nodes == 1:
        return [sys.executable, *_launcher(config, count, folder, {}), *worker]
    head = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    meeting = {"num_machines": nodes, "main_process_ip": head, "main_process_port": free_port()}
    # Every node starts its own launcher; its number among them is only known there.
    inner = shlex.join([sys.executable, *_launcher(config, count, folder, meeting), *worker]).replace("NODE_RANK", '"$SLURM_NODEID"')
    step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--relative=0", "--kill-on-bad-exit=1", "--overlap"]
    if os.environ.get("SLURM_CPUS_PER_TASK"):  # srun does not take it over from sbatch since 22.05
        step.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
    return [*step, "bash", "-c", f"exec {inner}"]


def _launcher(config: dict[str, Any], count: int, folder: Path, meeting: dict[str, Any]) -> list[str]:
    """Arguments for Python that start the processes of one node; accelerate's settings go to a file in ``folder``."""
    import yaml

    nodes, gpu = meeting.get("num_machines", 1), gpus() > 0
    settings = {
        "compute_environment": "LOCAL_MACHINE",
        "num_processes": count,
        "num_machines": nodes,
        "machine_rank": 0,
        "main_process_port": 0,
        "mixed_precision": "bf16" if gpu else "no",
        **config["launch"]["accelerate"],
        **meeting,
    }
    settings["use_cpu"] = not gpu and settings["distributed_type"] != "DEEPSPEED"
    if nodes > 1:
        settings |= {"rdzv_backend": "static", "same_network": True}
        if "deepspeed_config" in settings:  # each node starts its own processes; pdsh is not on every cluster
            settings["deepspeed_config"] = {**settings["deepspeed_config"], "deepspeed_multinode_launcher": "standard"}
    path = folder / "accelerate.yaml"
    path.write_text(yaml.safe_dump(settings))
    if gpu or settings["distributed_type"] in ("FSDP", "DEEPSPEED"):
        rank = ["--machine_rank", "NODE_RANK"] if nodes > 1 else []
        return ["-m", "accelerate.commands.launch", "--config_file", str(path), *rank]
    # Data parallel on a CPU: accelerate's launcher starts one process and says nothing; torchrun starts them all.
    each = ["--nproc_per_node", str(count // nodes)]
    if nodes == 1:
        return ["-m", "torch.distributed.run", "--standalone", *each]
    where = ["--master_addr", meeting["main_process_ip"], "--master_port", str(meeting["main_process_port"])]
    return ["-m", "torch.distributed.run", "--nnodes", str(nodes), "--node_rank", "NODE_RANK", *where, *each]


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def run(stage: str, config: dict[str, Any], start: Path, work: Path, run_id: str) -> dict[str, Any]:
    """The stage in this process, alone or as one of several."""
    if stage == "sft":
        from repro import sft

        return sft.build(config, start, work, run_id)
    from repro.rl import stage as rl

    return rl.build(config, start, work, run_id)
