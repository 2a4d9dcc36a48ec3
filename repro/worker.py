"""One process of a training stage that several processes share; started by ``repro.launch``, not by hand.

python -m repro.worker JOB.json
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

from repro.interrupt import Interrupted
from repro.launch import ERROR, FACTS, STOPPED, main_process, run
from repro.store import RESUME


def main() -> None:
    from repro.errors import explain
    from repro.sweep import quiet_libraries
    from repro.sweep.supervise import die_with_parent

    die_with_parent(signal.SIGKILL)
    job = json.loads(Path(sys.argv[1]).read_text())
    quiet_libraries()
    logging.basicConfig(level=logging.INFO if main_process() else logging.WARNING, format="%(message)s")
    logging.getLogger("accelerate").setLevel(logging.WARNING)  # it tells every file of a checkpoint
    import torch

    torch.set_num_threads(job["config"]["threads"])
    folder = Path(job["work"]) / RESUME
    try:
        facts = run(job["stage"], job["config"], Path(job["start"]), Path(job["work"]), job["run_id"])
    except Interrupted as error:
        if main_process():
            _write(folder / STOPPED, {"line": str(error)})
        return
    except Exception as error:
        line = explain(error)
        if line is not None:
            _write(folder / ERROR, {"line": line})
        raise
    if main_process():
        _write(folder / FACTS, facts)


def _write(path: Path, value: dict) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value))
    os.replace(draft, path)


if __name__ == "__main__":
    main()
