"""A cluster with accounting (slurmdbd, a private MariaDB, a real sacct): accounts that do not exist are refused by name, and sweeps need
nothing of it. It starts beside the cluster of the other tests, in namespaces of its own."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import SHRINK
from tests.slurm.cluster import HERE, LAUNCHER

SCRIPT = """
set -e
export DBD=1 PYTHONPATH={root}
{here}/up.sh {folder} 2 2 > /dev/null
trap '{here}/down.sh {folder}' EXIT
. {folder}/env
cd {cwd}
try() {{ echo "== $1"; {sweep} "hydra.launcher.$1" 2>&1 || echo "code $?"; }}
try account=nobody
try qos=gold
try account=lab
sacct -n -X -o State | sort | uniq -c
"""


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("slurmdbd") is None or shutil.which("mariadbd") is None, reason="slurmdbd and mariadb-server are not installed"
)
def test_accounts_are_checked_by_name_and_sacct_makes_no_difference(tmp_path) -> None:
    parent = Path(tempfile.mkdtemp(prefix="slurm-"))
    parent.chmod(0o755)
    sweep = shlex.join([sys.executable, "-m", "repro", "-m", *SHRINK, "rl=none", "sft=none", "seed=0,1", *LAUNCHER])
    text = SCRIPT.format(here=HERE, root=HERE.parents[1], folder=parent / "cluster", cwd=tmp_path, sweep=sweep)
    try:
        done = subprocess.run([HERE / "apart.sh", "bash", "-c", text], capture_output=True, text=True, timeout=900, check=False)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    account, qos, good = done.stdout.split("== ")[1:]
    assert "hydra.launcher.account='nobody'" in account and account.rstrip().endswith("code 2") and "Traceback" not in account
    assert "hydra.launcher.qos='gold' is refused" in qos and qos.rstrip().endswith("code 2")
    assert "2 done of 2 cells" in good and good.split()[-2:] == ["2", "COMPLETED"]
