"""Cells side by side on this machine: one a core, or one a GPU, each a supervised process of its own.

The counterpart of Slurm for one machine: the same folder, states, report, retry and cancel. Unlike joblib's launcher, a cell that dies by a
signal or memory is one failed cell, not the end of the pool.

    python -m repro.sweep.local SWEEP      the pool of a detached sweep; started by `python -m repro.sweep submit`
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from pathlib import Path

from repro.sweep.folder import SweepFolder
from repro.sweep.supervise import Supervisor


def slots(n_jobs: int | None, threads: int, each: int = 1) -> list[dict[str, str]]:
    """The environment of each cell that may run at once: GPUs of its own, or a share of the cores.

    ``each``: GPUs that a cell asks for (``resources.<stage>.gpus``). Where there are fewer, one cell at a time gets all.
    """
    gpus = visible_gpus()
    if gpus:
        each = min(max(1, each), len(gpus))
        shares = [gpus[first : first + each] for first in range(0, len(gpus) - each + 1, each)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(share)} for share in shares][: n_jobs or len(shares)]
    cores = len(os.sched_getaffinity(0))
    return [{} for _ in range(n_jobs or max(1, cores // max(1, threads)))]


def visible_gpus() -> list[str]:
    """Numbers of the GPUs that this process may use, without starting CUDA (a later fork could not use it)."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu for gpu in given.split(",") if gpu.strip() not in ("", "-1")]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


class Pool:
    """Runs the newest batch of a sweep; ``stop`` ends all cells."""

    def __init__(self, sweep: SweepFolder) -> None:
        self.sweep = sweep
        batch = sweep.batches()[-1]
        self.code = sweep.root / batch.code
        self.todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in batch.cells:
            self.todo.put(index)
        self.running: dict[int, Supervisor] = {}
        self.stopped = False

    def run(self) -> None:
        settings = self.sweep.info["settings"]
        cells = self.sweep.cells()
        most = max(cells[index].resources["gpus"] for index in self.sweep.batches()[-1].cells)
        found = slots(settings["n_jobs"], settings["threads"], most)
        workers = [threading.Thread(target=self._work, args=(slot,)) for slot in found]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():  # so that signals are handled here
                worker.join(0.2)

    def _work(self, slot: dict[str, str]) -> None:
        inherited = os.environ.get("PYTHONPATH")
        path = os.pathsep.join([str(self.code), *([inherited] if inherited else [])])
        while not self.stopped:
            try:
                index = self.todo.get_nowait()
            except queue.Empty:
                return
            supervisor = Supervisor(self.sweep, self.sweep.cells()[index], None, {**slot, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"})
            self.running[index] = supervisor
            if not self.stopped:
                supervisor.run()
            self.running.pop(index, None)

    def stop(self) -> None:
        """End the cells that run, and start no others."""
        self.stopped = True
        for supervisor in list(self.running.values()):
            supervisor.ask_to_stop("term")


def run_here(sweep: SweepFolder) -> Pool:
    """Run the newest batch in this process; TERM ends it in order."""
    sweep.add_pool(os.getpid())
    pool = Pool(sweep)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: pool.stop())
    try:
        pool.run()
    except KeyboardInterrupt:
        pool.stop()
        for supervisor in list(pool.running.values()):
            if supervisor.process is not None:
                supervisor.process.wait()
        raise
    return pool


if __name__ == "__main__":
    run_here(SweepFolder(sys.argv[1]))
