"""The toy cluster, started once a session; every test here is skipped where it cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import SHRINK, repro
from tests.slurm.cluster import HERE

LONG = [*SHRINK, "rl.steps=30", "rl.save_steps=100", "rl.eval_steps=0"]


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.skipif(shutil.which("slurmctld") is None, reason="slurmctld is not installed"))
            item.add_marker(pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces of the nodes need root"))


@pytest.fixture(scope="session")
def cluster():
    """Two nodes of two cores; arrays of at most three tasks."""
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


@pytest.fixture(scope="session")
def calm(tmp_path_factory) -> Path:
    """The undisturbed run of four cells, one after the other, without Slurm."""
    folder = tmp_path_factory.mktemp("calm")
    repro("-m", *SHRINK, "rl=none", "seed=0,1,2,3", cwd=folder)
    return folder


@pytest.fixture(scope="session")
def calm_long(tmp_path_factory) -> Path:
    """The undisturbed run of one cell that trains long enough to be interrupted."""
    folder = tmp_path_factory.mktemp("calm_long")
    repro(*LONG, cwd=folder)
    return folder
