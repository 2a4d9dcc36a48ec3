"""What the Slurm tests share: the toy cluster's commands, its processes, and how to look at a sweep from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

HERE = Path(__file__).parent
LAUNCHER = ["hydra/launcher=slurm"]


def records(folder: Path, seed: int) -> list[dict]:
    (path,) = folder.glob(f"outputs/sweeps/custom/*/seed={seed}/records.parquet")
    return pq.read_table(path).to_pylist()


def command(*arguments: str, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess:
    """``python -m repro.sweep ...`` as a user runs it."""
    line = [sys.executable, "-m", "repro.sweep", *arguments]
    done = subprocess.run(line, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=900, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def slurm(*line: str) -> str:
    """Output of one of Slurm's own commands."""
    return subprocess.run(line, check=True, timeout=60, capture_output=True, text=True).stdout


def sweep_of(cwd: Path) -> Path:
    (found,) = cwd.glob("outputs/sweeps/custom/jobs/*")
    return found


def until(condition: Callable[[], Any], what: str, seconds: float = 600) -> Any:
    """The first true answer of ``condition``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def wait_for_state(cwd: Path, index: int, status: str = "running", attempt: int = 1) -> dict:
    path = sweep_of(cwd) / "state" / f"{index}.json"

    def there() -> dict | None:
        state = json.loads(path.read_text()) if path.exists() else None
        return state if state and state["status"] == status and state["attempt"] >= attempt else None

    return until(there, f"cell {index} is {status} (attempt {attempt})")


def wait_for(pattern: str, cwd: Path) -> Path:
    return until(lambda: next(iter(cwd.glob(pattern)), None), pattern)


def command_lines() -> dict[int, str]:
    """Process number -> command line and working folder, of this machine and so of all its nodes."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[int(path.name)] = f"{line} in {os.readlink(path / 'cwd')}"
    return found


def processes(words: str, *also: str) -> list[int]:
    """Processes whose command line or working folder holds the words."""
    return [pid for pid, line in command_lines().items() if all(text in line for text in (words, *also))]


def node_processes(node: str) -> list[int]:
    """Everything that runs on a node: what is in its network namespace."""
    space, found = f"net:[{os.stat(f'/run/netns/{node}').st_ino}]", []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(path / "ns/net") == space:
                found.append(int(path.name))
    return found


def kill_node(node: str) -> int:
    """A power cut: SIGKILL to slurmd and all that runs on its node; returns how many processes that were."""
    found = node_processes(node)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def start_node(cluster: Path, node: str) -> None:
    subprocess.run([HERE / "node.sh", cluster, node], check=True, timeout=60)


def queue() -> list[str]:
    """Jobs that wait or run."""
    return slurm("squeue", "-h", "-r").splitlines()
