"""``python -m repro ...`` in a process of its own that has the heavy imports behind it: forked from one that did nothing else.

Importing torch and TRL is a third of a shrunken cell. What runs is the entry point itself, under the name and with the arguments, folder and
exit code that a user's process has; tests that look at starting, killing or environments use ``tests.conftest.repro``, a real new process.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

PRELOAD = ["tests.preload"]


def _main(arguments: list[str], cwd: str, out: str, err: str) -> None:
    os.chdir(cwd)
    for path, number in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    sys.argv = ["repro", *arguments]
    runpy.run_module("repro", run_name="__main__", alter_sys=True)


def forked(*arguments: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess:
    """Run to the end; raises AssertionError with all output if the exit code is not 0."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    out, err = cwd / ".stdout", cwd / ".stderr"
    process = context.Process(target=_main, args=(list(arguments), str(cwd), str(out), str(err)))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    done = subprocess.CompletedProcess(list(arguments), process.exitcode, out.read_text(), err.read_text())
    assert done.returncode == 0, f"python -m repro {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done
