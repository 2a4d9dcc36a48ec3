"""``hydra/launcher=local``: cells side by side on one machine, and what happens when one, the pool, or the user ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro.sweep.local import slots
from tests.conftest import SHRINK

LONG = [*SHRINK, "sft=none", "rl.steps=3000", "rl.eval_steps=0", "rl.save_steps=5000"]


@pytest.mark.parametrize(
    ("gpus", "each", "n_jobs", "shares"),
    [
        ("0,1,2,3", 1, None, ["0", "1", "2", "3"]),
        ("0,1,2,3", 1, 2, ["0", "1"]),
        ("4,5,6,7,8", 2, None, ["4,5", "6,7"]),
        ("GPU-a,GPU-b", 8, None, ["GPU-a,GPU-b"]),
        ("0,1", 0, None, ["0", "1"]),
    ],
)
def test_cells_get_the_gpus_that_they_ask_for_and_share_none(gpus, each, n_jobs, shares, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(n_jobs, 1, each)] == shares


def test_without_gpus_a_cell_a_core(monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert len(slots(None, 1)) == 8 and len(slots(None, 3)) == 2 and len(slots(None, 16)) == 1 and len(slots(5, 1)) == 5


def sweep_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "repro.sweep", *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def state(cwd: Path, index: int, status: str) -> dict:
    """The state of a cell, once it is ``status``."""
    for _ in range(1200):
        for path in cwd.glob(f"outputs/sweeps/custom/jobs/*/state/{index}.json"):
            found = json.loads(path.read_text())
            if found["status"] == status:
                return found
        time.sleep(0.1)
    raise AssertionError(f"cell {index} is not {status}")


def cells_of(cwd: Path) -> list[int]:
    """Processes that run in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(path) == str(cwd) and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def gone(cwd: Path) -> bool:
    for _ in range(200):
        if not cells_of(cwd):
            return True
        time.sleep(0.1)
    return False


def kill_the_cell(cwd: Path) -> None:
    """SIGKILL to the one cell that runs, once its process is there: the state says so just before."""
    for _ in range(100):
        for pid in cells_of(cwd):
            if b"hydra.mode=RUN" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.1)
    raise AssertionError("no cell runs")


def test_a_killed_cell_is_named_a_killed_pool_leaves_no_orphan_and_retry_ends_both(tmp_path, shared_store) -> None:
    line = [*SHRINK, "rl=none", f"paths.store={shared_store}", "hydra/launcher=local", "hydra.launcher.n_jobs=1"]
    assert sweep_command("submit", *line, "seed=0,1", cwd=tmp_path).returncode == 0
    pool = state(tmp_path, 0, "running")["pid"]
    kill_the_cell(tmp_path)
    assert "killed by SIGKILL" in state(tmp_path, 0, "failed")["reason"]
    state(tmp_path, 1, "running")
    os.kill(pool, signal.SIGKILL)
    done = sweep_command("wait", cwd=tmp_path)
    assert done.returncode == 1 and "2 of 2 cells failed" in done.stderr and "the launcher ended before it" in done.stderr
    assert gone(tmp_path)
    assert "2 cells submitted again" in sweep_command("retry", cwd=tmp_path).stdout
    done = sweep_command("wait", cwd=tmp_path)
    assert done.returncode == 0 and "2 done of 2 cells" in done.stderr, done.stderr


def test_ctrl_c_in_the_foreground_ends_the_cells_and_says_how_to_go_on(tmp_path, shared_store) -> None:
    line = [sys.executable, "-m", "repro", "-m", *LONG, f"paths.store={shared_store}", "hydra/launcher=local", "hydra.launcher.n_jobs=2"]
    process = subprocess.Popen(
        [*line, "seed=91,92,93"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a background job ignores SIGINT
    )
    state(tmp_path, 1, "running")
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues" in text and "Traceback" not in text
    assert gone(tmp_path) and not list(shared_store.glob("rl/.*.lock"))
    assert sweep_command("status", cwd=tmp_path).returncode == 1


@pytest.mark.slow
def test_a_retry_beside_cells_that_still_run_takes_them_for_alive(tmp_path, shared_store) -> None:
    line = [*LONG, f"paths.store={shared_store}", "hydra/launcher=local", "hydra.launcher.n_jobs=1"]
    assert sweep_command("submit", *line, "rl.group_size=2", "seed=94,95", cwd=tmp_path).returncode == 0
    state(tmp_path, 0, "running")
    kill_the_cell(tmp_path)
    state(tmp_path, 1, "running")
    sweep_command("retry", cwd=tmp_path)
    second = state(tmp_path, 0, "running")["pid"]
    os.kill(second, signal.SIGKILL)  # the younger pool
    rows = json.loads(sweep_command("status", "--json", cwd=tmp_path).stdout)
    assert rows[1]["status"] == "running"
    assert sweep_command("cancel", cwd=tmp_path).returncode == 0 and gone(tmp_path)
