"""Sweeps on a real two-node Slurm (``up.sh``): records equal to an undisturbed run whatever happens to the jobs, and failures named."""

from __future__ import annotations

import contextlib
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

from tests.conftest import ROOT, SHRINK, repro

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


def command(*arguments: str, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "repro.sweep", *arguments]
    done = subprocess.run(line, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False)
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


LONG = [*SHRINK, "rl.steps=30", "rl.save_steps=100", "rl.eval_steps=0"]


@pytest.fixture(scope="module")
def calm_long(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("calm_long")
    repro(*LONG, cwd=folder)
    return folder


def wait_for(pattern: str, cwd: Path) -> Path:
    for _ in range(2400):
        found = list(cwd.glob(pattern))
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no {pattern}")


TRAINING = "outputs/store/rl/.*.work/.resume/metrics.jsonl"


def test_usr2_is_a_checkpoint_and_a_requeue(cluster, calm_long, tmp_path) -> None:
    command("submit", *LONG, *LAUNCHER, cwd=tmp_path)
    wait_for_state(tmp_path, 0)
    wait_for(TRAINING, tmp_path)
    job = (sweep_of(tmp_path) / "batch-0.id").read_text()
    subprocess.run(["scancel", "--signal=USR2", "--batch", f"{job}_0"], check=True, timeout=60)
    wait_for_state(tmp_path, 0, attempt=2)
    command("wait", cwd=tmp_path)
    assert "checkpoint of step" in (sweep_of(tmp_path) / "logs" / "0.log").read_text()
    assert records(tmp_path, 0) == records(calm_long, 0)


def test_a_partition_that_preempts(cluster, calm_long, tmp_path) -> None:
    command("submit", *LONG, *LAUNCHER, cwd=tmp_path)
    wait_for_state(tmp_path, 0)
    wait_for(TRAINING, tmp_path)
    subprocess.run(["srun", "-p", "high", "-N2", "-n2", "--exclusive", "sleep", "1"], check=True, timeout=120)
    command("wait", cwd=tmp_path)
    state = wait_for_state(tmp_path, 0, "done", attempt=2)
    assert (state["preemptions"], state["timeouts"]) == (1, 0)
    assert records(tmp_path, 0) == records(calm_long, 0)


def processes(words: str, *also: str) -> list[int]:
    """Processes of this machine, and so of all its nodes, whose command line holds the words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(text in line for text in (words, *also)):
                found.append(int(path.parent.name))
    return found


PAIR = [*SHRINK, "sft=long", "sft.samples_per_problem=32", "sft.save_steps=20", "rl=none", "launch=ddp"]
OVER_TWO = ["launch.processes=2", "resources.sft.nodes=2"]


@pytest.fixture(scope="module")
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
    for _ in range(100):
        if not processes(str(sweep)):
            break
        time.sleep(0.2)
    assert not processes(str(sweep))
    done = command("status", "--json", cwd=tmp_path / "run", check=False)
    assert done.returncode == 1 and {row["status"] for row in json.loads(done.stdout)} == {"cancelled"}


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
    assert done.returncode == 2, done.stderr
    assert "can never start it" in done.stderr, done.stderr  # which of its reasons Slurm gives depends on the state of its nodes
