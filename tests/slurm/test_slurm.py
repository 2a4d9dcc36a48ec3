"""Sweeps on a real two-node Slurm (``up.sh``): records equal to an undisturbed run whatever happens to the jobs, and failures named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, SHRINK, repro
from tests.slurm.cluster import (
    LAUNCHER,
    command,
    kill_node,
    processes,
    records,
    start_node,
    sweep_of,
    until,
    wait_for,
    wait_for_state,
)
from tests.slurm.conftest import LONG


def test_a_sweep_over_two_nodes_with_more_cells_than_an_array_may_have(cluster, calm, tmp_path) -> None:
    done = repro("-m", *SHRINK, "rl=none", "seed=0,1,2,3", *LAUNCHER, cwd=tmp_path)
    assert "4 done of 4 cells" in done.stderr and done.stderr.count("Slurm array") == 2  # MaxArraySize is 3
    states = [json.loads(p.read_text()) for p in (sweep_of(tmp_path) / "state").glob("?.json")]
    assert {state["host"] for state in states} == {"n1", "n2"}
    for seed in range(4):
        assert records(tmp_path, seed) == records(calm, seed)


def test_a_raising_cell_and_a_killed_task_are_named_and_the_rest_goes_on(cluster, calm, tmp_path) -> None:
    command("submit", *SHRINK, "rl=none", "seed=0,1", "eval.questions=3,100000", *LAUNCHER, cwd=tmp_path)
    cells = [json.loads(line) for line in (sweep_of(tmp_path) / "cells.jsonl").read_text().splitlines()]
    victim = next(cell["index"] for cell in cells if "eval.questions=3" in cell["overrides"])
    os.kill(wait_for_state(tmp_path, victim)["pid"], signal.SIGKILL)  # the supervisor itself: nobody is left to tell
    done = command("wait", cwd=tmp_path, check=False)
    assert done.returncode == 1 and "3 of 4 cells failed" in done.stderr
    assert "has only" in done.stderr and "without a word" in done.stderr and "repro.sweep retry" in done.stderr
    again = command("retry", str(sweep_of(tmp_path)), str(victim), cwd=tmp_path)
    assert "1 cells submitted again" in again.stdout
    command("wait", cwd=tmp_path, check=False)
    assert json.loads((sweep_of(tmp_path) / "state" / f"{victim}.json").read_text())["status"] == "done"


TRAINING = "outputs/store/rl/.*.work/.resume/metrics.jsonl"


@pytest.mark.slow
def test_a_partition_that_preempts(cluster, calm_long, tmp_path) -> None:
    command("submit", *LONG, *LAUNCHER, cwd=tmp_path)
    wait_for_state(tmp_path, 0)
    wait_for(TRAINING, tmp_path)
    subprocess.run(["srun", "-p", "high", "-N2", "-n2", "--exclusive", "sleep", "1"], check=True, timeout=120)
    command("wait", cwd=tmp_path)
    state = wait_for_state(tmp_path, 0, "done", attempt=2)
    assert (state["preemptions"], state["timeouts"]) == (1, 0)
    assert records(tmp_path, 0) == records(calm_long, 0)


def test_a_dead_node_gives_its_cell_to_the_other(cluster, calm_long, tmp_path) -> None:
    command("submit", *LONG, *LAUNCHER, cwd=tmp_path)
    node = wait_for_state(tmp_path, 0)["host"]
    wait_for(TRAINING, tmp_path)
    assert kill_node(node) > 3  # slurmd, its step, supervisor and cell
    try:
        command("wait", cwd=tmp_path)
    finally:
        start_node(cluster, node)
    state = wait_for_state(tmp_path, 0, "done", attempt=2)
    assert state["host"] != node
    assert "taking over the lock" in (sweep_of(tmp_path) / "logs" / "0.log").read_text()
    assert records(tmp_path, 0) == records(calm_long, 0)


PAIR = [*SHRINK, "sft=long", "sft.samples_per_problem=32", "sft.save_steps=20", "rl=none", "launch=ddp"]
OVER_TWO = ["launch.processes=2", "resources.sft.nodes=2"]


@pytest.fixture(scope="session")
def calm_pair(cluster, tmp_path_factory) -> Path:
    """A stage of two processes on two nodes, undisturbed."""
    folder = tmp_path_factory.mktemp("pair")
    repro("-m", *PAIR, *OVER_TWO, *LAUNCHER, cwd=folder)
    return folder


def losses(folder: Path) -> list[float]:
    (path,) = folder.glob("outputs/store/sft/*/metrics.parquet")
    return [row["loss"] for row in pq.read_table(path).to_pylist() if row.get("loss") is not None]


@pytest.mark.slow
def test_two_processes_on_two_nodes_have_the_loss_of_one(calm_pair, tmp_path) -> None:
    repro(*PAIR, "launch.processes=1", cwd=tmp_path)
    assert len(losses(tmp_path)) > 3
    # The last batch is not full, and accelerate fills it up from the first rows so that all processes have as many.
    assert losses(calm_pair)[:-1] == pytest.approx(losses(tmp_path)[:-1], rel=1e-4)


@pytest.mark.slow
def test_a_killed_rank_fails_its_cell_and_leaves_no_process(cluster, tmp_path) -> None:
    command("submit", *PAIR, *OVER_TWO, *LAUNCHER, cwd=tmp_path)
    wait_for("outputs/store/sft/.*.work/.resume/metrics.jsonl", tmp_path)
    ranks = [
        pid for pid in processes("repro.worker", str(tmp_path)) if b"torch.distributed.run" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(max(ranks), signal.SIGKILL)
    done = command("wait", cwd=tmp_path, check=False)
    assert done.returncode == 1 and "1 of 1 cells failed" in done.stderr and "one of its 2 processes" in done.stderr
    assert not processes("repro.worker", str(tmp_path))


def test_code_edited_after_submission_does_not_reach_pending_cells_and_cancel_ends_all(cluster, tmp_path) -> None:
    source = tmp_path / "source"
    for package in ("repro", "evals", "conf"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "run").mkdir()
    here = {"cwd": tmp_path / "run", "PYTHONPATH": str(source)}
    subprocess.run(["scontrol", "update", "PartitionName=debug", "State=DOWN"], check=True, timeout=60)
    try:
        command("submit", *SHRINK, "rl=none", "sft=none", "seed=0", *LAUNCHER, **here)
        (source / "repro" / "pipeline.py").write_text("raise RuntimeError('edited')\n")
        (source / "conf" / "config.yaml").write_text("broken: [")
    finally:
        subprocess.run(["scontrol", "update", "PartitionName=debug", "State=UP"], check=True, timeout=60)
    done = command("wait", cwd=tmp_path / "run")
    assert "1 done of 1 cells" in done.stderr
    shutil.rmtree(sweep_of(tmp_path / "run"))
    command("submit", *LONG, "seed=1,2,3", *LAUNCHER, cwd=tmp_path / "run")
    sweep = sweep_of(tmp_path / "run")
    wait_for("state/0.json", sweep)
    assert "3 cells cancelled" in command("cancel", cwd=tmp_path / "run").stdout
    until(lambda: not processes(str(sweep)), "no process of the cancelled sweep is left", 30)
    command("wait", cwd=tmp_path / "run", check=False)  # Slurm keeps a job in its queue a little longer than the job's processes
    done = command("status", "--json", cwd=tmp_path / "run", check=False)
    assert done.returncode == 1 and {row["status"] for row in json.loads(done.stdout)} == {"cancelled"}
