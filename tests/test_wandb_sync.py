"""Runs that are killed and go on, uploaded by the real `wandb sync` to a stand-in of the service: each step once, at its number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from repro.training import RESUME, Metrics
from repro.wandb_parts import BLOCK, last_step, payloads
from tests.conftest import ROOT, SHRINK
from tests.wandb_service import Service, StoredRun, wandb_service

# Logs steps 1 to LAST, as a stage does that resumes: its metrics up to the checkpoint, then its own.
PART = """
import json, sys, time
from repro.tracking import open_tracker
given = json.loads(sys.argv[1])
with open_tracker(given["config"], "k", "rl") as tracker:
    for step in range(1, given["last"] + 1):
        tracker.log({"step": step, "length": 10.0 * step, **{f"wide{i}": 1 / step for i in range(given["wide"])}})
    if given["killed"]:
        print("logged", flush=True)
        time.sleep(600)
    tracker.table("rollouts", [{"question": "q", "reward": 1.0}])
    tracker.summary({"total": given["last"]})
"""


def environment(service: Service | None = None) -> dict[str, str]:
    """Variables of a process that shares nothing with this one's W&B; ``service``: where it uploads to."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    if service is None:
        return own
    return {**own, "WANDB_BASE_URL": service.url, "WANDB_API_KEY": "0" * 40}


def config(folder: Path, mode: str = "offline") -> dict:
    """The part of a cell's configuration that the tracker reads."""
    groups = {name: {"name": "x"} for name in ("model", "sft", "reward", "verifier")}
    groups |= {"rl": {"name": "none"}, "data": {"name": "math"}, "sft": {"name": "short"}}
    tracking = {"name": "wandb", "mode": mode, "project": "p"}
    return {**groups, "tracking": tracking, "paths": {"wandb": str(folder)}, "experiment_name": "e", "seed": 0}


def run_part(folder: Path, last: int, kill_after: float | None = None, wide: int = 0, service: Service | None = None) -> None:
    """Run one part in a process of its own; ``kill_after``: seconds between its last step and SIGKILL."""
    made = config(folder, "offline" if service is None else "online")
    given = {"config": made, "last": last, "wide": wide, "killed": kill_after is not None}
    process = subprocess.Popen(
        [sys.executable, "-c", PART, json.dumps(given)],
        env={**environment(service), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    if kill_after is None:
        assert process.wait(timeout=120) == 0
        return
    assert process.stdout.readline() == b"logged\n"
    time.sleep(kill_after)
    os.killpg(process.pid, signal.SIGKILL)  # W&B's own process too
    process.wait(timeout=60)


def sync(folder: Path, service: Service) -> None:
    """Upload as the README says."""
    line = f"for run in {folder}/wandb/offline-run-*; do {Path(sys.executable).parent}/wandb sync $run; done"
    env = {**environment(service), "HOME": str(folder)}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def steps(run: StoredRun) -> list[int]:
    return [row["_step"] for row in run.history]


@pytest.mark.parametrize("uploaded_between", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_twice_has_each_step_once(tmp_path: Path, uploaded_between: bool) -> None:
    with wandb_service() as service:
        run_part(tmp_path, 5, kill_after=0.0)  # nothing is on disk yet
        run_part(tmp_path, 9, kill_after=2.5)
        if uploaded_between:
            sync(tmp_path, service)
            assert steps(service.runs["rl-k"]) == list(range(1, 9))  # the last row waits for what may still be added to it
        run_part(tmp_path, 12)
        sync(tmp_path, service)
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1 + uploaded_between
        run = service.runs["rl-k"]
        assert steps(run) == list(range(1, 13))
        assert [row["length"] for row in run.history] == [10.0 * step for step in range(1, 13)]
        assert run.history[-1]["rollouts"]["nrows"] == 1 and any("rollouts" in name for name in run.files)
        assert run.summary["total"] == 12 and run.summary["length"] == 120.0 and run.finished
        assert run.config["experiment_name"]["value"] == "e"


def test_a_part_that_a_kill_cut_in_a_record_is_no_obstacle(tmp_path: Path) -> None:
    with wandb_service() as service:
        run_part(tmp_path, 30, kill_after=0.0, wide=300)
        (cut,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
        data = cut.read_bytes()
        whole = list(payloads(data))
        assert len(data) > 2 * BLOCK
        for end in (0, 7, 20, BLOCK - 1, BLOCK, BLOCK + 3, 2 * BLOCK - 1):
            found = list(payloads(data[:end]))
            assert found == whole[: len(found)] and len(found) < len(whole)
            assert last_step(data[:end])[1] == (end not in (7, *(position for _, position in whole)))
        cut.write_bytes(data[: BLOCK + 100])
        sync(tmp_path, service)
        before = len(service.runs["rl-k"].history)
        assert 1 < before < 29
        run_part(tmp_path, 31, wide=300)
        sync(tmp_path, service)
        assert steps(service.runs["rl-k"]) == list(range(1, 32))


def test_an_online_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    with wandb_service() as service:
        run_part(tmp_path, 5, kill_after=0.0, service=service)
        sent = len(service.runs["rl-k"].history)
        assert sent < 5
        run_part(tmp_path, 8, service=service)
        assert steps(service.runs["rl-k"]) == list(range(1, 9))


def test_a_resumed_stage_logs_what_its_checkpoint_has(tmp_path: Path) -> None:
    rows: list[dict] = []

    class Tracker:
        log = rows.append

    (tmp_path / RESUME).mkdir()
    lines = [json.dumps({"step": step, "loss": 1 / step}) for step in range(1, 8)]
    (tmp_path / RESUME / "metrics.jsonl").write_text("\n".join(lines)[:-4])
    Metrics(tmp_path, "rl", Tracker, {}, 4)
    assert rows == [{"step": step, "loss": 1 / step} for step in range(1, 5)]


@pytest.mark.slow
def test_a_stage_that_was_killed_and_resumed_is_uploaded_whole(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "repro", *SHRINK, "rl=grpo", "rl.steps=8", "rl.save_steps=3", "tracking=wandb"]
    for count in (2, 5):  # before the first checkpoint, and two steps after it
        process = subprocess.Popen(line, cwd=tmp_path, env=environment(), start_new_session=True)
        try:
            while not (found := list(tmp_path.glob("outputs/store/rl/.*.work/.resume/metrics.jsonl"))) or (
                len(found[0].read_text().splitlines()) < count
            ):
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
    subprocess.run(line, cwd=tmp_path, env=environment(), check=True, timeout=300)
    (path,) = tmp_path.glob("outputs/store/rl/*/metrics.parquet")
    metrics = pq.read_table(path).to_pylist()
    with wandb_service() as service:
        sync(tmp_path / "outputs/wandb", service)
        run = service.runs[f"rl-{path.parent.name}"]
    assert steps(run) == [row["step"] for row in metrics] == list(range(1, 9))
    for row, shown in zip(metrics, run.history, strict=True):
        expected = {key: value for key, value in row.items() if key != "step" and value is not None}
        assert len(expected) > 5 and {key: shown[key] for key in expected} == pytest.approx(expected)
    assert run.history[-1]["rollouts"]["nrows"] > 0
