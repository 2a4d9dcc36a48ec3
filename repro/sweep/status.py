"""How a sweep stands: what the cells say of themselves, held against what the scheduler knows; the table, the wait, the final report.

A cell is failed or cancelled once its task has left the queue: until then Slurm may requeue it, for a node, a preemption or an
administrator. A cell that is neither final nor in the queue is dead, whether or not there is accounting: its job ended without a word (a killed supervisor, a
node that went down, a limit). That is believed only once it is seen twice, some seconds apart, since files and queue are not read at once,
and never while the controller does not answer.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.sweep import slurm
from repro.sweep.folder import FINAL, Cell, State, SweepFolder
from repro.sweep.supervise import HEARTBEAT, tail

POLL = 5.0  # seconds between two looks
QUIET = 6 * HEARTBEAT  # a local cell on another host without a heartbeat for so long is dead


@dataclass
class View:
    """A cell and how it stands. ``status``: pending | running | waiting | done | failed | cancelled | lost; ``detail``: why."""

    cell: Cell
    state: State
    status: str
    detail: str = ""
    task: str | None = None  # the scheduler's number
    output: Path | None = None  # what Slurm and the site's own lines wrote, before the cell's log begins and after it ends

    @property
    def final(self) -> bool:
        return self.status in (*FINAL, "lost")


class Watch:
    """Looks at a sweep again and again; a cell that is final is not read again."""

    def __init__(self, sweep: SweepFolder) -> None:
        self.sweep = sweep
        self.views: dict[int, View] = {}
        self.missing: dict[int, float] = {}  # cells that nobody knows, since when
        self.ends: dict[str, dict[int, dict[str, str]]] = {}  # what Slurm said of arrays with such cells, asked once a look
        self.never: dict[int, int] = {}  # how often a cell was seen waiting for what cannot be
        self.trouble = ""  # why the scheduler could not be asked

    def look(self) -> list[View]:
        """All cells, by index."""
        tasks = self.sweep.newest_tasks()
        is_slurm = self.sweep.info["launcher"] == "slurm"
        queue: dict[tuple[str, int], slurm.Queued] | None = None
        alive = True
        if is_slurm:
            try:
                queue, self.trouble = slurm.queue(self.sweep), ""
            except slurm.SlurmError as error:
                self.trouble = str(error)
        else:
            alive = self._pool_alive()
        self.ends.clear()
        begun = self.sweep.begun()  # after the queue: what left it meanwhile has written how it ended
        for cell in self.sweep.cells():
            batch, task = tasks.get(cell.index, (None, None))
            number = f"{batch.job}_{task}" if batch is not None and batch.job else None
            old = self.views.get(cell.index)
            queued = queue.get((batch.job, task)) if queue is not None and batch is not None and batch.job else None
            settled = old is not None and old.final and old.task == number and cell.index not in self.missing
            if settled and (old.status == "done" or queued is None):
                continue
            state = self.sweep.state(cell.index) if cell.index in begun else State()
            output = self.sweep.root / "logs" / f"batch-{batch.number}-{task}.slurm" if is_slurm and batch is not None else None
            view = View(cell, state, state.status, state.reason, number, output)
            if is_slurm and batch is not None and state.status != "done":
                self._with_queue(view, queue, queued)
            elif not is_slurm and state.status in ("pending", "running") and not alive:
                self._suspect(view, "the launcher ended before it")
            elif state.status == "done":
                self.missing.pop(cell.index, None)
            elif batch is None:
                view.status, view.detail = "lost", "it was never submitted"
            self.views[cell.index] = view
        return [self.views[cell.index] for cell in self.sweep.cells()]

    def _with_queue(self, view: View, queue: dict | None, queued: slurm.Queued | None) -> None:
        """Hold a cell that is not done against its line of the queue, where there is one."""
        index, state = view.cell.index, view.state
        ended = state.status in ("failed", "cancelled")
        if queued is None:
            if queue is not None and not ended:
                self._suspect(view, "")
            elif queue is None and ended:
                self._ending(view)
            return
        self.missing.pop(index, None)
        if queued.state in slurm.WAITS:
            self.never[index] = self.never.get(index, 0) + 1 if queued.reason in slurm.NEVER else 0
            view.status = "waiting" if state.attempt else "pending"
            view.detail = slurm.NEVER.get(queued.reason) or self._why_queued(view, queued)
        elif ended:
            self._ending(view)
        elif state.status in ("pending", "waiting") and queued.state != "COMPLETING":  # the attempt before
            view.status, view.detail = "running", f"starting on {queued.nodes}"

    def _why_queued(self, view: View, queued: slurm.Queued) -> str:
        """Say why a task waits: what its last attempt left, or that Slurm took it from its node, and what holds it."""
        taken = view.state.status in ("running", "failed", "cancelled")
        why = f"requeued by Slurm ({queued.reason})" if taken else view.state.reason or queued.reason
        held = queued.reason in slurm.HELD
        return f"{why}; it is held: scontrol release {view.task}" if held else why

    def _ending(self, view: View) -> None:
        """The attempt has ended, but Slurm still has the task, or cannot be asked, and may requeue it."""
        view.status, view.detail = "running", f"ending: {view.state.reason}"

    def _suspect(self, view: View, why: str) -> None:
        """Nobody knows the cell: lost, if it is so for a while."""
        since = self.missing.setdefault(view.cell.index, time.monotonic())
        old = self.views.get(view.cell.index)
        if old is not None and old.final and (old.task, old.state) == (view.task, view.state):
            view.status, view.detail = old.status, old.detail
        elif time.monotonic() - since >= POLL - 1:
            view.status, view.detail = "lost", why
            if not why:
                self._ask_slurm(view)

    def _ask_slurm(self, view: View) -> None:
        """How the job of a lost cell ended, if the controller still knows it."""
        job, _, task = (view.task or "").partition("_")
        if job and job not in self.ends:
            self.ends[job] = slurm.array(job)
        facts = self.ends.get(job, {}).get(int(task or 0), {})
        nodes = facts.get("NodeList", "(null)")
        host = nodes if nodes not in ("", "(null)") else view.state.host
        where, state = f" on {host}" if host else "", facts.get("JobState")
        if not state and not view.state.attempt:  # Slurm keeps no record of a task that was cancelled before it began
            view.detail = "its job left the queue before it began (cancelled, but not by repro.sweep)"
        elif not state:
            view.detail = f"its job ended without a word{where} (killed, or its node went down)"
        elif state == "CANCELLED":
            view.status, view.detail = "cancelled", f"its job was cancelled{where}, not by repro.sweep"
        elif not view.state.attempt:
            view.detail = f"its job ended as {state}{where} before the cell began (exit code {facts.get('ExitCode', '?')})"
        else:
            view.detail = f"its job ended as {state}{where} without a word (exit code {facts.get('ExitCode', '?')})"

    def pools(self) -> list[int]:
        """Processes of the local launcher that run on this host; a retry starts one beside those that still run."""
        from repro.lock import process_start

        here = [pool for pool in self.sweep.pools() if pool["host"] == socket.gethostname()]
        return [pool["pid"] for pool in here if process_start(pool["pid"]) == pool["start"]]

    def _pool_alive(self) -> bool:
        """The local launcher runs here, or, if it is on another host, one of its cells still has a heartbeat."""
        if all(pool["host"] == socket.gethostname() for pool in self.sweep.pools()):
            return bool(self.pools())
        now = self.sweep.now()
        beats = [path.stat().st_mtime for path in (self.sweep.root / "state").glob("*.json")]
        return not beats or now - max(beats) < QUIET

    def settle(self) -> list[View]:
        """``look``; where something seems dead, look again until it is sure."""
        views = self.look()
        while self.missing and any(v.status not in FINAL and v.cell.index in self.missing and v.status != "lost" for v in views):
            time.sleep(1.0)
            views = self.look()
        return views

    def impossible(self) -> list[View]:
        """Cells that wait for what the cluster will never grant."""
        return [self.views[i] for i, times in self.never.items() if times >= 2 and self.views[i].status == "pending"]


def counts(views: list[View]) -> str:
    """``3 done, 1 failed, 6 pending of 10 cells``."""
    found = Counter(view.status for view in views)
    order = ("done", "running", "waiting", "pending", "failed", "lost", "cancelled")
    return ", ".join(f"{found[name]} {name}" for name in order if found[name]) + f" of {len(views)} cells"


COLOURS = {"done": "green", "running": "cyan", "waiting": "yellow", "failed": "red", "lost": "red", "cancelled": "magenta"}


def table(sweep: SweepFolder, views: list[View], most: int = 30):
    """A rich table: what failed first, then what runs, then the rest, at most ``most`` lines."""
    from rich.table import Table

    order = {"failed": 0, "lost": 0, "cancelled": 1, "running": 2, "waiting": 3, "pending": 4, "done": 5}
    made = Table(title=f"{sweep.name}: {counts(views)}", title_justify="left", expand=False)
    for name in ("cell", "status", "where", "job", "try", "time", "detail"):
        made.add_column(name, overflow="fold", justify="right" if name in ("cell", "try", "time") else "left")
    for view in sorted(views, key=lambda v: (order[v.status], v.cell.index))[:most]:
        state = view.state
        seconds = state.seconds + (max(0.0, time.time() - (state.started or 0.0)) if view.status == "running" and state.started else 0.0)
        colour = COLOURS.get(view.status, "white")
        made.add_row(
            str(view.cell.index),
            f"[{colour}]{view.status}[/]",
            state.host or "",
            view.task or "",
            str(state.attempt or ""),
            f"{seconds / 60:.1f} m" if seconds else "",
            " ".join(part for part in (view.cell.folder, view.detail and f"- {view.detail}") if part),
        )
    if len(views) > most:
        made.caption = f"and {len(views) - most} more"
    return made


def wait(sweep: SweepFolder, watch: Watch | None = None) -> list[View]:
    """Until no cell can change any more, with a live table on a terminal and a line now and then elsewhere.

    Cells that ask for what the cluster can never grant are cancelled and named, since they would wait for ever.
    """
    watch = watch or Watch(sweep)
    if not sys.stdout.isatty():
        return _wait(sweep, watch, lambda views, said=[""]: _say(sweep, watch, views, said))
    from rich.live import Live

    with Live(refresh_per_second=2, transient=True) as live:
        return _wait(sweep, watch, lambda views: live.update(table(sweep, views)))


def _say(sweep: SweepFolder, watch: Watch, views: list[View], said: list[str]) -> None:
    line = f"{sweep.name}: {counts(views)}" + (f" (Slurm: {watch.trouble})" if watch.trouble else "")
    if line != said[0]:
        said[0] = line
        print(line, file=sys.stderr, flush=True)


def _wait(sweep: SweepFolder, watch: Watch, show) -> list[View]:
    pause = 1.0
    while True:
        views = watch.look()
        for view in watch.impossible():
            with contextlib.suppress(slurm.SlurmError):  # the next look tries again
                slurm.cancel([view.task])
                give_up(sweep, view, f"Slurm can never start it: {view.detail}")
        show(views)
        if all(view.final for view in views):
            return views
        time.sleep(pause)
        pause = min(POLL, pause * 1.5)


def give_up(sweep: SweepFolder, view: View, reason: str, status: str = "failed") -> None:
    sweep.write_state(view.cell.index, replace(view.state, status=status, reason=reason))
    view.status, view.detail = status, reason


def results(sweep: SweepFolder, views: list[View]) -> list[dict[str, Any]]:
    """The cells as ``repro.sweep.report`` takes them."""
    found = []
    for view in views:
        result, state = view.state.result, view.state
        folder = os.path.join(sweep.info["target"], view.cell.folder)
        if not os.path.isabs(folder):
            folder = os.path.join(sweep.info["cwd"], folder)
        if view.status == "done":
            found.append({**result, "status": "done", "folder": folder})
            continue
        log = sweep.log_path(view.cell.index)
        last = tail(log)
        if view.output is not None and (view.status == "lost" or not last):  # what killed it, or kept it from starting
            last += tail(view.output, 3)
            log = log if log.exists() else view.output
        facts = {"status": view.status, "folder": folder, "host": state.host, "job": view.task, "log": str(log), "last": last}
        error = view.detail or result.get("error") or view.status
        command = f"python -m repro.sweep retry {shlex.quote(os.path.relpath(sweep.root))} {view.cell.index}"
        refused = bool(result.get("refused")) or error.startswith("Slurm can never start it")
        found.append({**facts, "error": error, "overrides": view.cell.overrides, "command": command, "refused": refused})
    return found
