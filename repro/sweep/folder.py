"""The folder of a submitted sweep: all that is known of it is in these files, so any process on any node can say how it stands.

    outputs/sweeps/<experiment>/jobs/<id>/
        sweep.json          launcher, its settings, folder it was started in, user
        cells.jsonl         one line a cell: index, overrides, folder, minutes
        batch-<k>.json      cells that were submitted together: an array job, its resources, the snapshot of code they run
        batch-<k>.id        the scheduler's number of it, once it has one
        batch-<k>.sh        the script given to sbatch
        code-<k>/           repro, evals and conf as they were then: later edits do not reach pending jobs
        state/<i>.json      what cell i's newest attempt says of itself; its time of change is the heartbeat
        logs/<i>.log        output of all attempts of cell i

No pickles: a job finds its overrides by its number, whatever Python or package version it was submitted with, and 10,000 cells are one file.
Files appear whole (written beside, then renamed) and every cell writes only its own, so nothing needs a lock.
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import shutil
import socket
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from repro.arguments import in_new_spelling

FINAL = ("done", "failed", "cancelled")
PACKAGES = ("repro", "evals", "conf")
SNAPSHOT = "snapshot.json"  # in the copied repro/: commit at submission


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep. ``resources``: nodes, gpus, cpus, memory (GB) of a node each, minutes of the whole."""

    index: int
    overrides: list[str]
    folder: str
    resources: dict[str, int]


@dataclass
class Batch:
    """Cells submitted together; task ``t`` of the array is ``cells[t]``."""

    number: int
    cells: list[int]
    resources: dict[str, int]
    code: str
    job: str | None = None


@dataclass
class State:
    """What a cell says of itself. ``status``: pending | running | waiting (to be requeued) | done | failed | cancelled."""

    status: str = "pending"
    attempt: int = 0
    job: str | None = None
    host: str | None = None
    pid: int | None = None
    started: float | None = None  # seconds since the epoch by the clock of the node: shown, never compared
    seconds: float = 0.0
    reason: str = ""
    timeouts: int = 0
    preemptions: int = 0
    result: dict[str, Any] = field(default_factory=dict)


def write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        draft.write_text(text)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


class SweepFolder:
    """Reads and writes one sweep's folder. Raises ConfigError for a folder that is none."""

    def __init__(self, root: str | Path) -> None:
        from repro.config import ConfigError

        self.root = Path(root).expanduser().absolute()
        if not (self.root / "sweep.json").is_file():
            raise ConfigError(f"{str(root)!r} is not the folder of a submitted sweep: give one of outputs/sweeps/*/jobs/*")
        self.info: dict[str, Any] = json.loads((self.root / "sweep.json").read_text())
        self._cells: list[Cell] | None = None

    @classmethod
    def create(cls, target: str, cells: list[Cell], launcher: str, settings: dict[str, Any], common: list[str]) -> SweepFolder:
        """A new sweep below ``target/jobs``. ``target``: Hydra's sweep folder; ``common``: arguments of every cell besides its overrides."""
        root = Path(target).absolute() / "jobs" / uuid.uuid4().hex[:8]
        for name in ("state", "logs"):
            (root / name).mkdir(parents=True)
        info = {"id": root.name, "launcher": launcher, "settings": settings, "target": target, "common": common, "cwd": os.getcwd()}
        info |= {"user": getpass.getuser(), "host": socket.gethostname(), "created": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write(root / "cells.jsonl", "".join(json.dumps(asdict(cell)) + "\n" for cell in cells))
        write(root / "sweep.json", json.dumps(info, indent=1))
        return cls(root)

    def update(self, **facts: Any) -> None:
        """Add facts to sweep.json."""
        self.info |= facts
        write(self.root / "sweep.json", json.dumps(self.info, indent=1))

    def pools(self) -> list[dict[str, Any]]:
        """Processes of the local launcher that were started for this sweep: host, pid, start."""
        return json.loads((self.root / "sweep.json").read_text()).get("pools", [])

    def add_pool(self, pid: int) -> None:
        """Note a process of the local launcher on this host."""
        from repro.lock import process_start

        pool = {"host": socket.gethostname(), "pid": pid, "start": process_start(pid)}
        self.update(pools=[*(known for known in self.pools() if known != pool), pool])

    @property
    def name(self) -> str:
        """Job name in the scheduler."""
        return f"repro-{self.info['id']}"

    def cells(self) -> list[Cell]:
        if self._cells is None:
            cells = [Cell(**json.loads(line)) for line in (self.root / "cells.jsonl").read_text().splitlines()]
            self._cells = [replace(cell, overrides=[in_new_spelling(text) for text in cell.overrides]) for cell in cells]
        return self._cells

    def change_resources(self, indices: list[int], changes: list[str]) -> None:
        """``resources.<stage>.<key>=<value>`` for cells that are submitted again. Raises ConfigError for any other override: it would be
        another cell."""
        if not changes:
            return
        from repro.config import ConfigError
        from repro.sweep.planner import asked_by

        if any(not text.startswith("resources") for text in changes):
            raise ConfigError(f"retry takes resources.<stage>.<key>=<value> only, not {changes}: anything else is another cell, submit it")
        cells = self.cells()
        for index in indices:
            overrides = [*cells[index].overrides, *changes]
            cells[index] = replace(cells[index], overrides=overrides, resources=asked_by(overrides))
        write(self.root / "cells.jsonl", "".join(json.dumps(asdict(cell)) + "\n" for cell in cells))

    def state_path(self, index: int) -> Path:
        return self.root / "state" / f"{index}.json"

    def result_path(self, index: int) -> Path:
        return self.root / "state" / f"{index}.result.json"

    def log_path(self, index: int) -> Path:
        return self.root / "logs" / f"{index}.log"

    def state(self, index: int) -> State:
        for again in (True, True, False):
            try:
                return State(**json.loads(self.state_path(index).read_text()))
            except FileNotFoundError:
                return State()
            except OSError as error:  # NFS: replaced on the server while it was read here
                if error.errno != errno.ESTALE or not again:
                    raise
        raise AssertionError("unreachable")

    def begun(self) -> set[int]:
        """Cells that have a state. Listing the folder also makes NFS look for files that it remembers not to be there.

        Raises:
            ConfigError: the sweep's folder was deleted.
        """
        from repro.config import ConfigError

        try:
            return {int(name[:-5]) for name in os.listdir(self.root / "state") if name[:-5].isdigit()}
        except FileNotFoundError:
            end = f"scancel --name={self.name} ends its jobs" if self.info["launcher"] == "slurm" else "its cells end within half a minute"
            raise ConfigError(f"the folder of the sweep, {self.root}, is gone: {end}; finished stages are in the store") from None

    def write_state(self, index: int, state: State) -> None:
        write(self.state_path(index), json.dumps(asdict(state)))

    def touch(self, index: int) -> None:
        """The heartbeat: the file server's time, not this node's."""
        os.utime(self.state_path(index))

    def now(self) -> float:
        """The file server's clock, so that nodes whose clocks differ agree on the age of a file."""
        probe = self.root / f".now-{uuid.uuid4().hex}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()

    def batches(self) -> list[Batch]:
        found = []
        for path in sorted(self.root.glob("batch-*.json"), key=lambda p: int(p.stem.split("-")[1])):
            batch = Batch(**json.loads(path.read_text()))
            job = path.with_suffix(".id")
            batch.job = job.read_text().strip() if job.exists() else None
            found.append(batch)
        return found

    def newest_tasks(self) -> dict[int, tuple[Batch, int]]:
        """Cell -> (the last batch that it was submitted in, its task there)."""
        return {index: (batch, task) for batch in self.batches() for task, index in enumerate(batch.cells)}

    def add_batch(self, cells: list[int], resources: dict[str, int], code: Path) -> Batch:
        number = len(list(self.root.glob("batch-*.json")))
        batch = Batch(number, cells, resources, code.name)
        write(self.root / f"batch-{number}.json", json.dumps(asdict(batch)))
        return batch

    def set_job(self, batch: Batch, job: str) -> None:
        batch.job = job
        write(self.root / f"batch-{batch.number}.id", job)

    def snapshot(self) -> Path:
        """Copy the code and configuration of now; returns the folder to put on PYTHONPATH."""
        from repro.manifest import commit

        target = self.root / f"code-{len(list(self.root.glob('code-*')))}"
        source = Path(__file__).parents[2]
        for package in PACKAGES:
            shutil.copytree(source / package, target / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        (target / "repro" / SNAPSHOT).write_text(json.dumps(commit()))
        return target
