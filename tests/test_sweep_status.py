"""How a cell stands, by what it says of itself and by its line in Slurm's queue; and asking Slurm for a requeue that it has made itself."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from repro.sweep import slurm, status
from repro.sweep.folder import Cell, State, SweepFolder
from repro.sweep.status import View, Watch

STATES = ("pending", "running", "waiting", "done", "failed", "cancelled")
ON_A_NODE = ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED")
REASONS = ("None", "BeginTime", "Resources", "JobHeldUser", "JobHeldAdmin", "job requeued in held state", "JobHoldMaxRequeue")


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    """A submitted sweep of one cell, array job 7."""
    made = SweepFolder.create(str(tmp_path), [Cell(0, [], "seed=0", {})], "slurm", {}, [])
    made.set_job(made.add_batch([0], {}, Path("code-0")), "7")
    return made


def look(watch: Watch, monkeypatch: pytest.MonkeyPatch, queued: slurm.Queued | Exception | None) -> View:
    def queue(_: SweepFolder) -> dict:
        if isinstance(queued, Exception):
            raise queued
        return {} if queued is None else {("7", 0): queued}

    monkeypatch.setattr(slurm, "queue", queue)
    monkeypatch.setattr(slurm, "array", lambda _: {})
    return watch.look()[0]


def test_what_slurm_has_in_its_queue_is_neither_failed_nor_lost(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the cell says, whatever was seen before."""
    monkeypatch.setattr(status, "POLL", 1.0)  # lost at the second look
    lines = [slurm.Queued(state, "None", "n1") for state in ON_A_NODE]
    lines += [slurm.Queued(state, reason, "") for state, reason in itertools.product(slurm.WAITS, REASONS)]
    for said, before, queued in itertools.product(STATES, (None, *STATES), lines):
        watch = Watch(sweep)
        if before is not None:
            sweep.write_state(0, State(before, attempt=1, reason="before"))
            look(watch, monkeypatch, None)
            assert look(watch, monkeypatch, None).final or before == "done"
        sweep.write_state(0, State(said, attempt=1, reason="said"))
        view = look(watch, monkeypatch, queued)
        if said == "done" or before == "done":
            assert view.status == "done"
        elif queued.state in slurm.WAITS:
            assert view.status == "waiting"
            assert ("scontrol release 7_0" in view.detail) == (queued.reason in slurm.HELD)
            if said in ("running", "failed", "cancelled") and queued.reason not in slurm.NEVER:
                assert view.detail.startswith("requeued by Slurm")
        else:
            assert view.status == ("waiting" if said == "waiting" and queued.state == "COMPLETING" else "running") or said == "pending"
            assert not view.final


def test_what_has_left_the_queue_stands_as_it_says(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "POLL", 1.0)
    expected = {"done": "done", "failed": "failed", "cancelled": "cancelled"}
    for said in STATES:
        sweep.write_state(0, State(said, attempt=1, reason="said"))
        watch = Watch(sweep)
        look(watch, monkeypatch, None)
        assert look(watch, monkeypatch, None).status == expected.get(said, "lost")
        # A silent controller is no proof of an end.
        silent = look(Watch(sweep), monkeypatch, slurm.SlurmSilent("no answer"))
        assert silent.final == (said == "done")


FAKE = """#!/bin/sh
echo "$*" >> {folder}/calls
case "$*" in
  "-o show job 7_0") echo "JobId=8 ArrayJobId=7 ArrayTaskId=0 JobState=PENDING Restarts=$(cat {folder}/restarts) Requeue=1" ;;
  "requeue 7_0") tail -n 1 {folder}/refusals >&2; sed -i '$d' {folder}/refusals; exit 1 ;;
esac
"""
SILENT = "slurm_requeue error: Unable to contact slurm controller (connect failure)"


@pytest.mark.parametrize(
    ("refusals", "restarts", "refused", "calls"),
    [
        (["7_0: Job is pending execution"], 3, False, 1),
        (["7_0: Requested operation is presently disabled"], 2, True, 1),
        ([SILENT, "7_0: Requested operation is presently disabled"], 2, True, 2),
        ([SILENT], 3, False, 1),  # the answer to the call was lost: a second one would end the next attempt
    ],
)
def test_a_requeue_that_slurm_refuses_because_it_made_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusals: list[str], restarts: int, refused: bool, calls: int
) -> None:
    """The attempt began after two requeues."""
    (tmp_path / "scontrol").write_text(FAKE.format(folder=tmp_path))
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "restarts").write_text(str(restarts))
    (tmp_path / "refusals").write_text("".join(f"{line}\n" for line in reversed(refusals)))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm.time, "sleep", lambda _: None)
    if refused:
        with pytest.raises(slurm.SlurmError, match="presently disabled"):
            slurm.requeue("7_0", restarts=2)
    else:
        slurm.requeue("7_0", restarts=2)
    assert (tmp_path / "calls").read_text().count("requeue 7_0") == calls
