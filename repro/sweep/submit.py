"""Submits cells: a snapshot of the code, batches of cells with equal needs, arrays no larger than the cluster allows."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from collections import defaultdict

from repro.config import ConfigError
from repro.sweep import slurm
from repro.sweep.folder import SweepFolder

log = logging.getLogger(__name__)


def submit(sweep: SweepFolder, indices: list[int]) -> None:
    """Hand the cells ``indices`` to the sweep's launcher, with the code and configuration of now.

    Raises:
        ConfigError: what the cluster will not take. SlurmError: Slurm refused for another reason; what was submitted before it runs on.
    """
    code = sweep.snapshot()
    cells = sweep.cells()
    groups: dict[str, list[int]] = defaultdict(list)
    for index in indices:
        groups[json.dumps(cells[index].resources)].append(index)
    if sweep.info["launcher"] == "local":
        sweep.add_batch(indices, {}, code)
        return
    most = slurm.max_array_size()
    parts = [(json.loads(asked), group[i : i + most]) for asked, group in groups.items() for i in range(0, len(group), most)]
    handed = 0
    for asked, part in parts:
        batch = sweep.add_batch(part, asked, code)
        try:
            job = slurm.submit(sweep, batch)
        except Exception as error:
            for path in sweep.root.glob(f"batch-{batch.number}.*"):  # the cells of a batch without a job are unsubmitted, not lost
                path.unlink()
            if not handed or not isinstance(error, (slurm.SlurmError, ConfigError)):
                raise
            where = shlex.quote(os.path.relpath(sweep.root))
            more = (
                f"{handed} of {len(indices)} cells were submitted before and go on; python -m repro.sweep retry {where} submits the others"
            )
            raise type(error)(f"{error}; {more}") from None
        handed += len(part)
        log.info("Slurm array %s: %d cells, %s", job, len(part), ", ".join(f"{key} {value}" for key, value in asked.items()))


def start_pool(sweep: SweepFolder) -> int:
    """The local launcher in a session of its own, which outlives this process; returns its process id."""
    with (sweep.root / "pool.log").open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "repro.sweep.local", str(sweep.root)],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(sweep.root / sweep.batches()[-1].code), os.environ.get("PYTHONPATH", "")]),
            },
            start_new_session=True,
        )
    sweep.add_pool(process.pid)
    return process.pid
