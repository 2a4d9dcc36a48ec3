"""Requeues that Slurm makes itself, beside and against ours: no cell is ever called failed or lost, and what cannot go on is said."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repro.sweep.folder import SweepFolder
from repro.sweep.status import View, Watch
from tests.slurm.cluster import LAUNCHER, command, records, slurm, sweep_of, until, wait_for, wait_for_state
from tests.slurm.conftest import LONG

TRAINING = "outputs/store/rl/.*.work/.resume/metrics.jsonl"
# A `scontrol` whose requeue comes second to one that Slurm makes at that moment. All else is the real one's.
RACING = """#!/bin/sh
[ "$1" = requeue ] && {scontrol} requeue "$2"
exec {scontrol} "$@"
"""


def racing(folder: Path, tasks: str) -> str:
    """Put such a `scontrol` before the real one, in the tasks whose numbers match the shell pattern."""
    (folder / "bin").mkdir()
    script = folder / "bin/scontrol"
    script.write_text(RACING.format(scontrol=shutil.which("scontrol")))
    script.chmod(0o755)
    return f"hydra.launcher.setup=['case $SLURM_ARRAY_TASK_ID in {tasks}) export PATH={folder}/bin:$PATH;; esac']"


def looks(cwd: Path, end: Callable[[list[View]], bool], seconds: float = 600) -> Iterator[list[View]]:
    """How the sweep stands, as often as can be, until ``end``."""
    watch, limit = Watch(SweepFolder(sweep_of(cwd))), time.monotonic() + seconds
    while True:
        views = watch.look()
        yield views
        if end(views):
            return
        assert time.monotonic() < limit, [(view.status, view.detail) for view in views]
        time.sleep(0.1)


def over(views: list[View]) -> bool:
    return all(view.status == "done" for view in views) or any(view.final and view.status != "done" for view in views)


def seen(cwd: Path) -> list[set[tuple[str, str]]]:
    """Every (status, detail) of each cell until all are done, or one ends otherwise."""
    found: list[set[tuple[str, str]]] = [set() for _ in SweepFolder(sweep_of(cwd)).cells()]
    for views in looks(cwd, over):
        for view in views:
            found[view.cell.index].add((view.status, view.detail))
    return found


def test_ours_slurms_and_both_at_once_are_requeues(cluster, calm_long, tmp_path) -> None:
    """Of one array: task 0 is signalled, task 1 is requeued by hand, task 2 asks just after Slurm has requeued it."""
    command("submit", *LONG, "seed=0,1,2", *LAUNCHER, racing(tmp_path, "2"), cwd=tmp_path)
    jobs = [wait_for_state(tmp_path, index)["job"] for index in range(3)]
    wait_for(TRAINING, tmp_path)
    slurm("scancel", "--signal=USR2", "--batch", jobs[0], jobs[2])
    slurm("scontrol", "requeue", jobs[1])
    found = seen(tmp_path)
    for statuses in found:
        assert {status for status, _ in statuses} <= {"pending", "running", "waiting", "done"}, statuses
    assert any(detail.startswith("requeued by Slurm") for _, detail in found[1])
    states = [json.loads((sweep_of(tmp_path) / f"state/{index}.json").read_text()) for index in range(3)]
    assert [state["attempt"] for state in states] == [2, 2, 2]  # one requeue each, not two
    assert "checkpoint of step" in (sweep_of(tmp_path) / "logs/0.log").read_text()
    assert records(tmp_path, 0) == records(calm_long, 0)


@pytest.mark.slow
def test_a_node_set_down_and_a_hold_are_said_and_end_well(cluster, calm_long, tmp_path) -> None:
    command("submit", *LONG, *LAUNCHER, cwd=tmp_path)
    state = wait_for_state(tmp_path, 0)
    wait_for(TRAINING, tmp_path)
    slurm("scontrol", "update", f"NodeName={state['host']}", "State=DOWN", "Reason=test")
    try:
        (view,) = list(looks(tmp_path, lambda views: views[0].status == "waiting"))[-1]
        assert view.detail.startswith("requeued by Slurm")
        attempt = wait_for_state(tmp_path, 0, attempt=2)
        slurm("scontrol", "requeuehold", attempt["job"])
        (view,) = list(looks(tmp_path, lambda views: views[0].status == "waiting"))[-1]
        assert f"scontrol release {attempt['job']}" in view.detail
        shown = command("status", "--json", cwd=tmp_path, check=False)
        assert shown.returncode == 3 and json.loads(shown.stdout)[0]["detail"] == view.detail
        until(lambda: "PENDING" in slurm("squeue", "-h", "-o", "%T"), "Slurm has taken it from its node")
        slurm("scontrol", "release", attempt["job"])
        (statuses,) = seen(tmp_path)
        assert {status for status, _ in statuses} <= {"running", "waiting", "done"}, statuses
    finally:
        if "down" in slurm("sinfo", "-h", "-n", state["host"], "-o", "%t"):
            slurm("scontrol", "update", f"NodeName={state['host']}", "State=RESUME")
    assert records(tmp_path, 0) == records(calm_long, 0)


@pytest.mark.slow
def test_without_requeueing_the_end_is_named(cluster, tmp_path) -> None:
    """Where jobs may not be requeued: our request is refused, and a node that is set down ends its cell."""
    line = ["seed=0,1", *LAUNCHER, "hydra.launcher.additional_parameters={requeue: false, no-requeue: true}"]
    command("submit", *LONG, *line, cwd=tmp_path)
    states = [wait_for_state(tmp_path, index) for index in (0, 1)]
    wait_for(TRAINING, tmp_path)
    slurm("scancel", "--signal=USR2", "--batch", states[0]["job"])
    wait_for_state(tmp_path, 0, "failed")
    host = states[1]["host"]
    slurm("scontrol", "update", f"NodeName={host}", "State=DOWN", "Reason=test")
    try:
        done = command("wait", cwd=tmp_path, check=False)
    finally:
        if "down" in slurm("sinfo", "-h", "-n", host, "-o", "%t"):
            slurm("scontrol", "update", f"NodeName={host}", "State=RESUME")
    assert done.returncode == 1 and "2 of 2 cells failed" in done.stderr, done.stderr
    assert "Slurm does not requeue it" in done.stderr and "presently disabled" in done.stderr
