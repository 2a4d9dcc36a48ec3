"""What sweeps ask of Slurm: sbatch, squeue, scontrol, scancel. No sacct, which many clusters do not have or throttle.

The scripts take the option names of hydra-submitit-launcher (partition, account, constraint, setup, additional_parameters, ...), but submitit
itself does not run the cells: it learns of dead jobs from sacct only (without it, it waits for ever), finishes on pickles that a later
version of the code cannot read, calls every job of ten minutes or less that is preempted timed out, keeps only the first rank's result,
needs its process to live as long as the sweep, and cannot submit more than MaxArraySize cells. One call of squeue tells the state of all of
a user's cells, whatever their number.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from repro.config import ConfigError
from repro.sweep.folder import Batch, SweepFolder

TIMEOUT = 60  # seconds for one call; Slurm's clients retry for minutes where the controller is down
# Reasons with which a job waits for ever (squeue's %r); all others may pass.
NEVER = {
    "PartitionTimeLimit": "resources.<stage>.minutes together are more than the partition allows",
    "PartitionNodeLimit": "resources.<stage>.nodes is more than the partition has",
    "PartitionConfig": "the partition does not take such jobs",
    "BadConstraints": "no node has hydra.launcher.constraint and resources.<stage>",
    "AssociationNodeLimit": "resources.<stage>.nodes is more than the account may use",
    "AssociationTimeLimit": "resources.<stage>.minutes together are more than the account may use",
    "QOSTimeLimit": "resources.<stage>.minutes together are more than the quality of service allows",
    "InvalidAccount": "hydra.launcher.account does not exist",
    "InvalidQOS": "hydra.launcher.qos does not exist",
    "AccountNotAllowed": "the partition does not take hydra.launcher.account",
    "launch failed requeued held": "its node could not start it, and Slurm holds it; exclude the node with hydra.launcher.exclude",
    "JobHoldMaxRequeue": "its nodes could not start it again and again, and Slurm holds it",
}
# Reasons with which a job waits until somebody releases it.
HELD = ("JobHeldUser", "JobHeldAdmin", "job requeued in held state")
WAITS = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")  # in the queue, on no node
OVER = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


class SlurmError(RuntimeError):
    """Slurm did not answer, or refused."""


class SlurmSilent(SlurmError):
    """Slurm did not answer in time; it may have done what it was asked to."""


@dataclass(frozen=True)
class Queued:
    """A line of squeue: state (PENDING, RUNNING, ...), the reason why it waits, its nodes."""

    state: str
    reason: str
    nodes: str


def call(*command: str, check: bool = True) -> str:
    """Standard output of a Slurm command. Raises SlurmError with its last line of complaint."""
    if shutil.which(command[0]) is None:
        raise ConfigError(
            f"hydra/launcher=slurm needs {command[0]}, which is not on PATH: run it on a login node, or use hydra/launcher=local"
        )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise SlurmSilent(f"{command[0]} did not answer within {TIMEOUT} s") from None
    if done.returncode and check:
        lines = [line.split("error: ", 1)[-1] for line in done.stderr.strip().splitlines()]
        raise SlurmError("; ".join(lines[-2:]) or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def max_array_size() -> int:
    """Tasks that one array may have (its highest number is MaxArraySize - 1)."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    return max(1, int(found.group(1))) if found else 1001


def script(sweep: SweepFolder, batch: Batch) -> str:
    """The batch script: options, the site's own lines, and one supervisor a task in the place of the shell, so that signals reach it."""
    settings, asked, root = sweep.info["settings"], batch.resources, sweep.root
    log = root / "logs" / f"batch-{batch.number}-%a.slurm"
    options: dict[str, Any] = {
        "job-name": sweep.name,
        "array": f"0-{len(batch.cells) - 1}" + (f"%{settings['array_parallelism']}" if settings["array_parallelism"] else ""),
        "output": log,
        "open-mode": "append",
        "chdir": sweep.info["cwd"],
        "nodes": asked["nodes"],
        "ntasks-per-node": 1,
        "cpus-per-task": asked["cpus"],
        "mem": f"{asked['memory']}G",
        "gpus-per-node": asked["gpus"] or None,
        "time": asked["minutes"],
        "requeue": True,
        # B: to the supervisor alone; it asks the cell for a checkpoint and has the job requeued.
        "signal": f"B:USR2@{settings['signal_delay_s']}",
        **{key: settings[key] for key in ("partition", "account", "qos", "constraint", "exclude", "comment")},
        **(settings["additional_parameters"] or {}),
    }
    lines = ["#!/bin/bash"]
    for key, value in options.items():
        if value is not None and value is not False:
            lines.append(f"#SBATCH --{key}" + ("" if value is True else f"={shlex.quote(str(value))}"))
    # -P and PYTHONSAFEPATH: the code of the snapshot, not that of the folder the sweep was started in.
    lines += [*(settings["setup"] or []), f"export PYTHONPATH={shlex.quote(str(root / batch.code))}:$PYTHONPATH PYTHONSAFEPATH=1"]
    prefix = f"{settings['container']} " if settings["container"] else ""
    python = settings["python"] or shlex.quote(sys.executable)
    lines.append(f"exec {prefix}{python} -P -m repro.sweep.supervise {shlex.quote(str(root))} {batch.number}")
    return "\n".join(lines) + "\n"


def submit(sweep: SweepFolder, batch: Batch) -> str:
    """Give a batch to Slurm; returns its job number.

    Raises:
        ConfigError: a partition, account or amount that Slurm refuses, naming the key. SlurmError: any other refusal.
    """
    path = sweep.root / f"batch-{batch.number}.sh"
    path.write_text(script(sweep, batch))
    try:
        job = call("sbatch", "--parsable", str(path)).strip().split(";")[0]
    except SlurmSilent:
        job = _accepted(sweep)  # of two batches at once, none may be submitted twice
    except SlurmError as error:
        raise explain(error, sweep.info["settings"], batch.resources) from None
    sweep.set_job(batch, job)
    return job


def _accepted(sweep: SweepFolder) -> str:
    """The array that sbatch handed over before its answer got lost. Raises SlurmSilent if there is none."""
    known = {batch.job for batch in sweep.batches()}
    unknown = {job for job, _ in queue(sweep)} - known
    if len(unknown) != 1:
        raise SlurmSilent(f"sbatch did not answer within {TIMEOUT} s")
    return unknown.pop()


def explain(error: SlurmError, settings: dict[str, Any], asked: dict[str, int]) -> Exception:
    """Slurm's refusal as one line that names the key."""
    text = str(error)
    lower = text.lower()
    if "invalid partition" in lower:
        try:
            known = ", ".join(sorted({line.strip().rstrip("*") for line in call("sinfo", "-h", "-o", "%P").splitlines()}))
        except SlurmError:
            known = "sinfo lists them"
        return ConfigError(f"hydra.launcher.partition={settings['partition']!r} does not exist ({text}): choose one of {known}")
    if "invalid account" in lower:
        return ConfigError(f"hydra.launcher.account={settings['account']!r} with partition={settings['partition']!r} is refused ({text})")
    if "invalid qos" in lower:
        return ConfigError(f"hydra.launcher.qos={settings['qos']!r} is refused ({text})")
    if any(
        words in lower for words in ("configuration is not available", "invalid feature", "cpu count", "memory spec", "time limit", "gres")
    ):
        wanted = ", ".join(f"{key} {value}" for key, value in asked.items())
        return ConfigError(f"Slurm can never grant what resources asks for ({text}): {wanted}, constraint {settings['constraint']}")
    return error


def queue(sweep: SweepFolder) -> dict[tuple[str, int], Queued]:
    """All tasks of the sweep that wait or run, by (array job, task). Raises SlurmError where the controller does not answer."""
    found = {}
    user = sweep.info["user"]
    for line in call("squeue", "-h", "-r", "-u", user, f"--name={sweep.name}", "-o", "%F|%K|%T|%r|%N").splitlines():
        job, task, state, reason, nodes = line.split("|")
        if state not in OVER and task.isdigit():
            found[job, int(task)] = Queued(state, reason.replace("_", " "), nodes)
    return found


def record(job: str) -> dict[str, str]:
    """What the controller still knows of a task (``12_3``): JobState, ExitCode, NodeList, PreemptTime, ...; empty if it forgot it."""
    try:
        text = call("scontrol", "-o", "show", "job", job)
    except SlurmError:
        return {}
    return _facts(text.splitlines()[0] if text else "")


def array(job: str) -> dict[int, dict[str, str]]:
    """``record`` of all tasks of an array that the controller still knows, in one call."""
    try:
        lines = map(_facts, call("scontrol", "-o", "show", "job", job).splitlines())
    except SlurmError:
        return {}
    return {int(facts["ArrayTaskId"]): facts for facts in lines if facts.get("ArrayTaskId", "").isdigit()}


def _facts(line: str) -> dict[str, str]:
    return dict(re.findall(r"(?:^| )(\w+)=(\S*)", line))


def seconds(text: str | None) -> float | None:
    """Slurm's ``[days-]hours:minutes:seconds`` in seconds; None for UNLIMITED and the like."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text or "")
    if not found:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)


def requeued(job: str, restarts: int) -> bool:
    """Tell whether Slurm has requeued a task since the attempt that began after ``restarts`` requeues of it."""
    count = record(job).get("Restarts", "")
    return count.isdigit() and int(count) > restarts


def requeue(job: str, restarts: int, patience: float = 600.0) -> None:
    """Put a running job back into the queue, unless Slurm has done so itself: for a node, a preemption or an administrator.

    Args:
        job: array job and task, ``12_3``.
        restarts: how often Slurm had requeued it when this attempt began.
        patience: seconds in which Slurm may not answer; its controller may just be restarting, and a cell is not lost for that.

    Raises:
        SlurmError: Slurm refuses, or does not answer.
    """
    end = time.monotonic() + patience
    while True:
        try:
            call("scontrol", "requeue", job)
            return
        except SlurmError as error:
            if requeued(job, restarts):  # before this call, or by one whose answer was lost
                return
            if not (isinstance(error, SlurmSilent) or "contact" in str(error).lower()) or time.monotonic() > end:
                raise
        time.sleep(5.0)


def cancel(jobs: list[str]) -> None:
    """End jobs; one that is over already is no error. Raises SlurmError if the controller does not answer: they go on then."""
    for start in range(0, len(jobs), 500):  # a command line has its limit
        try:
            call("scancel", *jobs[start : start + 500])
        except SlurmError as error:
            if "invalid job id" not in str(error).lower():
                raise
