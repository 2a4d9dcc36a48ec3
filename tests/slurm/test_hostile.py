"""What administrators, file systems and users do to a running sweep: the records are right in the end, or the report says what is not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SHRINK, repro
from tests.slurm.cluster import (
    LAUNCHER,
    command,
    command_lines,
    processes,
    queue,
    records,
    slurm,
    sweep_of,
    until,
    wait_for,
    wait_for_state,
)
from tests.slurm.conftest import LONG

SMALL = [*SHRINK, "rl=none"]
TRAINING = "outputs/store/rl/.*.work/.resume/metrics.jsonl"


def on(node: str) -> list[str]:
    return [*LAUNCHER, f"hydra.launcher.additional_parameters={{nodelist: {node}}}"]


def results(cwd: Path) -> list[dict]:
    """What the cells of all sweeps in a folder left."""
    return [json.loads(path.read_text())["result"] for path in cwd.glob("outputs/sweeps/custom/jobs/*/state/?.json")]


@pytest.mark.slow
def test_jobs_cancelled_from_outside_are_named_and_the_rest_goes_on(cluster, tmp_path) -> None:
    line = ["hydra.launcher.array_parallelism=1"]
    command("submit", *SMALL, "seed=0,1,2", *LAUNCHER, *line, cwd=tmp_path)
    running = wait_for_state(tmp_path, 0)
    slurm("scancel", running["job"], running["job"].replace("_0", "_1"))
    done = command("wait", cwd=tmp_path, check=False)
    assert done.returncode == 1 and "1 done, 1 lost, 1 cancelled of 3 cells" in done.stderr
    assert "ended by SIGTERM" in done.stderr and "left the queue before it began" in done.stderr
    assert "2 cells submitted again" in command("retry", cwd=tmp_path).stdout
    command("wait", cwd=tmp_path)


@pytest.mark.slow
def test_an_admins_requeue_a_drained_node_and_a_controller_that_restarts_change_nothing(cluster, calm_long, tmp_path) -> None:
    command("submit", *LONG, *LAUNCHER, cwd=tmp_path)
    state = wait_for_state(tmp_path, 0)
    wait_for(TRAINING, tmp_path)
    slurm("scontrol", "update", f"NodeName={state['host']}", "State=DRAIN", "Reason=test")
    slurm("scontrol", "requeue", state["job"])
    controller = int((cluster / "run/slurmctld.pid").read_text())
    os.kill(controller, signal.SIGTERM)
    until(lambda: "slurmctld" not in command_lines().get(controller, ""), "the controller has ended")
    try:
        silent = command("status", cwd=tmp_path, check=False)
        assert silent.returncode == 3 and "Slurm does not answer" in silent.stderr and "lost" not in silent.stdout
        refused = repro("-m", *SMALL, *LAUNCHER, cwd=tmp_path, check=False)
        assert refused.returncode == 2 and refused.stderr.count("repro: Slurm: ") == 1 and "Traceback" not in refused.stderr
        assert len(list(tmp_path.glob("outputs/sweeps/custom/jobs/*"))) == 1  # nothing of the refused one is left
    finally:
        subprocess.run(["slurmctld"], check=True, timeout=60)
    try:
        command("wait", cwd=tmp_path)
    finally:
        slurm("scontrol", "update", f"NodeName={state['host']}", "State=RESUME")
    again = wait_for_state(tmp_path, 0, "done", attempt=2)
    assert again["host"] != state["host"]
    assert records(tmp_path, 0) == records(calm_long, 0)


def test_two_nodes_that_race_build_each_stage_once_whatever_their_clocks(cluster, calm, tmp_path) -> None:
    """Two sweeps of one experiment at once, from a folder whose name has spaces; on one node it is seven minutes later."""
    folder, skew = tmp_path / "a b's folder", tmp_path / "skew"
    folder.mkdir()
    skew.mkdir()
    (skew / "sitecustomize.py").write_text("import time\nreal = time.time\ntime.time = lambda: real() + 420\n")
    command("submit", *SMALL, "seed=0", *on("n1"), cwd=folder)
    command("submit", *SMALL, "seed=0", *on("n2"), f"hydra.launcher.setup=['export PYTHONPATH={skew}']", cwd=folder)
    sweeps = sorted(folder.glob("outputs/sweeps/custom/jobs/*"))
    for sweep in sweeps:
        command("wait", os.path.relpath(sweep, folder), cwd=folder)
    states = [json.loads((sweep / "state/0.json").read_text()) for sweep in sweeps]
    assert {state["host"] for state in states} == {"n1", "n2"} and abs(states[0]["started"] - states[1]["started"]) > 300
    stages = [(stage["key"], stage["reused"]) for found in results(folder) for stage in found["stages"]]
    assert len(stages) == 4 and len([key for key, reused in stages if not reused]) == len({key for key, _ in stages}) == 2
    assert records(folder, 0) == records(calm, 0)


@pytest.mark.slow
def test_a_deleted_sweep_folder_ends_its_cells(cluster, tmp_path) -> None:
    command("submit", *SHRINK, "rl.steps=2000", "rl.eval_steps=0", *LAUNCHER, cwd=tmp_path)
    wait_for_state(tmp_path, 0)
    sweep = sweep_of(tmp_path)
    waiting = subprocess.Popen(command_line("wait", str(sweep)), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(TRAINING, tmp_path)
    shutil.rmtree(sweep, ignore_errors=True)
    _, text = waiting.communicate(timeout=60)
    assert waiting.returncode == 2 and f"scancel --name=repro-{sweep.name}" in text and "Traceback" not in text
    until(lambda: not processes(str(tmp_path)) and not queue(), "its cells end", 60)


def command_line(*arguments: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "repro.sweep", *arguments]


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, as small or as read-only as wanted."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_full_store_and_one_that_nodes_cannot_write_are_named_and_retried(cluster, tmp_path) -> None:
    with disk(tmp_path / "store", "size=64k") as store:
        command("submit", *SMALL, f"paths.store={store}", *LAUNCHER, cwd=tmp_path)
        done = command("wait", cwd=tmp_path, check=False)
        assert done.returncode != 0 and "disk full while writing" in done.stderr and "rl=none" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m,ro", store], check=True)
        command("retry", cwd=tmp_path)
        done = command("wait", cwd=tmp_path, check=False)
        assert done.returncode != 0 and "cannot be written (Read-only file system)" in done.stderr
        refused = repro("-m", *SMALL, f"paths.store={store}", *LAUNCHER, cwd=tmp_path, check=False)
        assert refused.returncode == 2 and "Read-only file system" in refused.stderr
        subprocess.run(["mount", "-o", "remount,rw", store], check=True)
        command("retry", cwd=tmp_path)
        assert "1 done of 1 cells" in command("wait", cwd=tmp_path).stderr


def test_a_job_that_dies_before_its_cell_shows_why(cluster, tmp_path) -> None:
    line = ["hydra.launcher.setup=['echo module cuda/99 not found >&2; exit 7']"]
    done = repro("-m", *SMALL, *LAUNCHER, *line, cwd=tmp_path, check=False)
    assert done.returncode == 1 and "before the cell began (exit code 7:0)" in done.stderr
    assert "| module cuda/99 not found" in done.stderr and "batch-0-0.slurm" in done.stderr


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("hydra.launcher.partition=nowhere", "choose one of debug, high, short"),
        ("resources.eval.cpus=64", "Slurm can never"),
        ("resources.eval.nodes=3", "resources.<stage>.nodes"),
        ("resources.eval.memory=9000", "Slurm can never"),
        ("resources.eval.gpus=1", "Slurm can never"),
        ("hydra.launcher.constraint=h100", "Slurm can never"),
    ],
)
def test_what_slurm_refuses_is_one_line(cluster, tmp_path, key: str, words: str) -> None:
    done = repro("-m", *SMALL, *LAUNCHER, key, cwd=tmp_path, check=False)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("outputs/sweeps/custom/jobs/*/batch-*.id")) or "can never start it" in done.stderr


def test_a_time_that_the_partition_never_grants_ends(cluster, tmp_path) -> None:
    line = ["hydra.launcher.partition=short", "resources.eval.minutes=600"]
    done = repro("-m", *SMALL, *LAUNCHER, *line, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    assert "can never start it" in done.stderr, done.stderr  # which of its reasons Slurm gives depends on the state of its nodes


@pytest.mark.slow
def test_a_time_limit_is_no_preemption_and_is_counted(cluster, tmp_path) -> None:
    line = [*SHRINK, "rl.steps=100000", "rl.eval_steps=0", "rl.save_steps=1000", "resources.rl.minutes=1", "resources.eval.minutes=1"]
    line += ["hydra.launcher.signal_delay_s=50", "hydra.launcher.max_timeouts=0"]
    command("submit", *line, *LAUNCHER, cwd=tmp_path)
    done = command("wait", cwd=tmp_path, check=False)
    state = json.loads((sweep_of(tmp_path) / "state/0.json").read_text())
    assert (state["timeouts"], state["preemptions"]) == (1, 0), state
    assert done.returncode == 1 and "its time limit of 2 min ended 1 times" in done.stderr and "max_timeouts" in done.stderr
    assert "stopped (" in (sweep_of(tmp_path) / "logs/0.log").read_text()  # in order, releasing its lock
