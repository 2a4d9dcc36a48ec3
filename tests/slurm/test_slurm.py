"""Sweeps on a real two-node Slurm (``up.sh``): records equal to an undisturbed run whatever happens to the jobs, and failures named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import SHRINK, repro

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which("slurmctld") is None, reason="slurmctld is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces of the nodes need root"),
]
LAUNCHER = ["hydra/launcher=slurm"]


@pytest.fixture(scope="module")
def cluster():
    parent = Path(tempfile.mkdtemp(prefix="slurm-"))
    parent.chmod(0o755)  # munged wants a path that everyone may pass
    folder = parent / "cluster"
    subprocess.run([HERE / "up.sh", folder, "2", "2"], check=True, timeout=120, env={**os.environ, "MAXARRAY": "3"})
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield folder
    subprocess.run([HERE / "down.sh", folder], check=False, timeout=60)
    shutil.rmtree(parent, ignore_errors=True)
    os.environ.pop("SLURM_CONF")
    if before is not None:
        os.environ["SLURM_CONF"] = before


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    """The undisturbed run, one cell after the other, without Slurm."""
    folder = tmp_path_factory.mktemp("calm")
    repro("-m", *SHRINK, "rl=none", "seed=0,1,2,3", cwd=folder)
    return folder


def records(folder: Path, seed: int) -> list[dict]:
    (path,) = folder.glob(f"outputs/sweeps/custom/*/seed={seed}/records.parquet")
    return pq.read_table(path).to_pylist()


def command(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "repro.sweep", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def sweep_of(cwd: Path) -> Path:
    (found,) = cwd.glob("outputs/sweeps/custom/jobs/*")
    return found


def wait_for_state(cwd: Path, index: int, status: str = "running", attempt: int = 1) -> dict:
    path = sweep_of(cwd) / "state" / f"{index}.json"
    for _ in range(1800):
        if path.exists():
            state = json.loads(path.read_text())
            if state["status"] == status and state["attempt"] >= attempt:
                return state
        time.sleep(0.1)
    raise AssertionError(f"cell {index} is not {status} (attempt {attempt})")


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


def test_usr2_is_a_checkpoint_and_a_requeue(cluster, tmp_path) -> None:
    line = [*SHRINK, "rl.steps=30", "rl.save_steps=100", "rl.eval_steps=0"]
    (tmp_path / "calm").mkdir()
    (tmp_path / "asked").mkdir()
    repro(*line, cwd=tmp_path / "calm")
    command("submit", *line, *LAUNCHER, cwd=tmp_path / "asked")
    wait_for_state(tmp_path / "asked", 0)
    for _ in range(1200):
        if list((tmp_path / "asked").glob("outputs/store/rl/.*.work/.resume/metrics.jsonl")):
            break
        time.sleep(0.05)
    job = (sweep_of(tmp_path / "asked") / "batch-0.id").read_text()
    subprocess.run(["scancel", "--signal=USR2", "--batch", f"{job}_0"], check=True, timeout=60)
    wait_for_state(tmp_path / "asked", 0, attempt=2)
    command("wait", cwd=tmp_path / "asked")
    assert "checkpoint of step" in (sweep_of(tmp_path / "asked") / "logs" / "0.log").read_text()
    assert records(tmp_path / "asked", 0) == records(tmp_path / "calm", 0)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("hydra.launcher.partition=nowhere", "choose one of debug, high, short"),
        ("resources.eval.cpus=64", "Slurm can never"),
    ],
)
def test_what_slurm_refuses_is_one_line(cluster, tmp_path, key: str, words: str) -> None:
    done = repro("-m", *SHRINK, "rl=none", *LAUNCHER, key, cwd=tmp_path, check=False)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_time_that_the_partition_never_grants_ends(cluster, tmp_path) -> None:
    line = ["hydra.launcher.partition=short", "resources.eval.minutes=600"]
    done = repro("-m", *SHRINK, "rl=none", *LAUNCHER, *line, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "can never start it" in done.stderr and "resources.<stage>.minutes" in done.stderr
