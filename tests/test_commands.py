"""How every command of the project ends: ``--help``, a reader that has left, an interrupt, and what its user can mend."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SHRINK

# Started by other processes of the project with arguments of their own.
INTERNAL = {"repro.worker", "repro.sweep.supervise", "repro.sweep.local", "repro.verifiers.worker"}


def has_main(path: Path) -> bool:
    """Return whether a module has a ``__main__`` block."""
    tests = [ast.unparse(node.test) for node in ast.parse(path.read_text()).body if isinstance(node, ast.If)]
    return "__name__ == '__main__'" in tests


def modules() -> list[str]:
    paths = [path for package in ("repro", "evals") for path in sorted((ROOT / package).rglob("*.py")) if has_main(path)]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for path in paths]


QUIET = (141, 0)  # as after SIGPIPE; argparse and logging pass over the closed pipe themselves
COMMANDS = sorted(set(modules()) - INTERNAL)


def unread(*arguments: str, cwd: Path, stderr: bool = False, **env: str) -> subprocess.CompletedProcess:
    """Run a module whose standard output nobody reads; with ``stderr`` its standard error neither."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write if stderr else subprocess.PIPE,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        os.close(write)


def test_the_internal_entries_are_there() -> None:
    assert set(modules()) > INTERNAL and len(COMMANDS) > 20


@pytest.mark.parametrize("module", COMMANDS)
def test_help_into_a_closed_pipe_is_silent(module: str, tmp_path: Path) -> None:
    """Unbuffered, so that the first line already meets the closed pipe; and nothing is written."""
    done = unread(module, "--help", cwd=tmp_path, PYTHONUNBUFFERED="1")
    assert done.returncode in QUIET and done.stderr == ""
    assert not list(tmp_path.iterdir())


MAIN_OUTPUT = [
    ["repro", "--cfg", "job"],
    ["repro", "--info", "defaults"],
    ["repro", "--hydra-help"],
    ["repro.plan", "+experiment=quickstart", "scale=single_gpu", "--no-store", "--gpu", "h100"],
    ["repro.plan", "+experiment=quickstart", "scale=single_gpu", "--no-store", "--gpu", "h100", "--json"],
    ["repro.rewards.conformance"],
    ["repro.data.world"],
    ["repro.claims.example"],
    ["repro.store", "ls", "."],
    ["evals.benchmarks"],
]


@pytest.mark.parametrize("line", MAIN_OUTPUT, ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_into_a_closed_pipe_is_silent(line: list[str], unbuffered: str, tmp_path: Path) -> None:
    done = unread(*line, cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode in QUIET and done.stderr == ""


def test_a_run_whose_reader_has_left_keeps_its_results(tmp_path: Path, shared_store: Path) -> None:
    """The table is written before it is printed."""
    line = [*SHRINK, "rl=none", "eval.benchmarks=[micro_math]", f"paths.store={shared_store}"]
    done = unread("repro", *line, cwd=tmp_path)
    assert done.returncode == 141 and "Traceback" not in done.stderr, done.stderr
    assert list(tmp_path.rglob("table.csv")) and list(tmp_path.rglob("cell.json"))


def test_a_closed_standard_error_ends_a_refusal(tmp_path: Path) -> None:
    assert unread("repro", "rl.stepz=3", cwd=tmp_path, stderr=True).returncode == 141


def test_another_broken_pipe_is_no_closed_output(tmp_path: Path) -> None:
    """The error of a process that died must not pass for a reader that left."""
    module = tmp_path / "broken.py"
    module.write_text("from repro.command import run\n\ndef main():\n    raise BrokenPipeError(32, 'of a worker')\n\nrun(main)\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-m", "broken"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "of a worker" in done.stderr


def test_head_of_a_real_shell(tmp_path: Path) -> None:
    """As users type it."""
    line = f"set -o pipefail; {sys.executable} -m repro --help | head -1"
    done = subprocess.run(
        [shutil.which("bash"), "-c", line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""
