"""One cell under supervision: a process of its own, whose end of any kind becomes a state that says what happened.

Runs in a Slurm job (``python -m repro.sweep.supervise SWEEP BATCH``, in the place of the batch shell) or in a thread of the local launcher. It
is small and imports nothing heavy, so what kills the cell - memory, a signal, a bug in a library - leaves it alive to tell; if it dies too,
its heartbeat stops, and whoever looks at the sweep sees that. USR2 (time limit near, or preemption) is passed to the cell, which writes a
checkpoint and stops; the job is then requeued and goes on from it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from repro.interrupt import RESULT
from repro.sweep.folder import Cell, State, SweepFolder

HEARTBEAT = 10.0  # seconds
TAIL = 8  # last lines of a log that a report shows


_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec only the call itself may happen


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask Linux to send this process a signal when its parent ends, however that ends: nothing is orphaned by a SIGKILL."""
    _LIBC.prctl(1, int(number), 0, 0, 0)  # PR_SET_PDEATHSIG


def tail(path: Path, lines: int = TAIL, size: int = 8192) -> list[str]:
    """The last lines of a log that say something."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()][-lines:]


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process was killed by {name}" + (" (out of memory? raise resources.<stage>.memory)" if code == -signal.SIGKILL else "")


class Supervisor:
    """Runs one cell to its end. ``job``: number of the scheduler; ``environment``: what the cell gets besides this process's."""

    def __init__(self, sweep: SweepFolder, cell: Cell, job: str | None = None, environment: dict[str, str] | None = None) -> None:
        self.sweep, self.cell, self.job, self.environment = sweep, cell, job, environment or {}
        self.process: subprocess.Popen | None = None
        self.stop: str | None = None  # why the cell was asked to stop: usr2, term
        self.stop_time = self.begin = 0.0
        self._over = threading.Event()

    def command(self) -> list[str]:
        folder = f"hydra.run.dir={json.dumps(self.sweep.info['target'] + '/' + self.cell.folder)}"
        base = [sys.executable, "-P", "-m", "repro", "hydra.mode=RUN", "hydra/launcher=basic", folder]
        return [*base, *self.sweep.info["common"], *self.cell.overrides]

    def ask_to_stop(self, why: str) -> None:
        """Called from a signal handler. ``usr2``: checkpoint and requeue; ``term``: end now, releasing locks."""
        if self.stop is None or why == "term":
            self.stop, self.stop_time = why, time.monotonic()
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGUSR2 if why == "usr2" else signal.SIGTERM)

    def run(self) -> State:
        """The state in which the cell ended. ``waiting``: the job is to be requeued."""
        state = self.sweep.state(self.cell.index)
        if state.status == "done":
            return state
        state.status, state.attempt, state.job = "running", state.attempt + 1, self.job
        state.host, state.pid, state.started, state.reason = socket.gethostname(), os.getpid(), time.time(), ""
        result_path = self.sweep.result_path(self.cell.index)
        result_path.unlink(missing_ok=True)
        self.sweep.write_state(self.cell.index, state)
        self.begin = time.monotonic()
        with self.sweep.log_path(self.cell.index).open("ab", buffering=0) as log:
            log.write(f"=== attempt {state.attempt} on {state.host}, job {self.job} ===\n".encode())
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.sweep.info["cwd"],
                env={**os.environ, **self.environment, RESULT: str(result_path)},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call
            )
            beat = threading.Thread(target=self._beat, daemon=True)
            beat.start()
            if self.stop is not None:  # asked while it started
                self.process.send_signal(signal.SIGTERM)
            code = self._wait()
            self._over.set()
            beat.join()
        self._kill_group()
        state.seconds += time.monotonic() - self.begin
        state.result = json.loads(result_path.read_text()) if result_path.exists() else {}
        return self._judge(state, code)

    def _wait(self) -> int:
        """Exit code of the cell; a cell that does not stop in time is killed."""
        patience = max(5.0, self.sweep.info["settings"].get("signal_delay_s", 60) - 15.0)
        while True:
            try:
                return self.process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                waited = time.monotonic() - self.stop_time if self.stop is not None else 0.0
                if (
                    waited > max(patience / 2, patience - 15.0) and self.stop == "usr2"
                ):  # no checkpoint soon: at least the locks are to be released
                    self.process.send_signal(signal.SIGTERM)
                if waited > patience or (self.stop == "term" and waited > 3.0):
                    self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _beat(self) -> None:
        gone = 0
        while not self._over.wait(HEARTBEAT):
            try:
                self.sweep.touch(self.cell.index)
                gone = 0
            except FileNotFoundError:  # twice: the sweep's folder was deleted, and nobody waits for this cell
                gone += 1
                if gone > 1:
                    self.ask_to_stop("term")
            except OSError:
                continue

    def _judge(self, state: State, code: int) -> State:
        if code == 0:
            state.status = "done"
        elif self.stop == "usr2":
            self._judge_stop(state)
        elif self.stop == "term":
            state.status, state.reason = "cancelled", "ended by SIGTERM"
        else:
            state.status = "failed"
            state.reason = state.result.get("error") or self._refusal() or how_it_ended(code)
        self.save(state)
        return state

    def save(self, state: State) -> None:
        """Write how this attempt stands, unless another job has the cell by now."""
        newer = self.sweep.state(self.cell.index).attempt > state.attempt
        if (state.status == "done" or not newer) and self.sweep.root.exists():
            self.sweep.write_state(self.cell.index, state)

    def _refusal(self) -> str | None:
        """The line with which ``python -m repro`` refused to start, e.g. for a checkpoint that is gone."""
        last = tail(self.sweep.log_path(self.cell.index), 1)
        return last[0].removeprefix("repro: ") if last and last[0].startswith("repro: ") else None

    def _judge_stop(self, state: State) -> None:
        limit = self.sweep.info["settings"].get("max_timeouts", 0)
        if self._time_is_up():
            state.timeouts += 1
            minutes = self.cell.resources["minutes"]
            if state.timeouts > limit:
                state.status = "failed"
                state.reason = (
                    f"its time limit of {minutes} min ended {state.timeouts} times: raise resources.<stage>.minutes or "
                    "hydra.launcher.max_timeouts; its checkpoint stays"
                )
                return
            state.status, state.reason = "waiting", f"time limit of {minutes} min; goes on from its checkpoint"
        else:
            state.preemptions += 1
            state.status, state.reason = "waiting", "preempted; goes on from its checkpoint"

    def _time_is_up(self) -> bool:
        """A time-out, not a preemption: the controller says when it preempts, and how long the job has run; if it does not answer, by the
        time of this attempt, which does not count what came before it (a container that was fetched)."""
        from repro.sweep import slurm

        facts = slurm.record(self.job) if self.job is not None else {}
        if facts.get("PreemptTime", "None") not in ("None", "Unknown", "N/A", ""):
            return False
        elapsed = slurm.seconds(facts.get("RunTime")) or time.monotonic() - self.begin
        limit = slurm.seconds(facts.get("TimeLimit")) or self.cell.resources["minutes"] * 60
        margin = self.sweep.info["settings"].get("signal_delay_s", 0) + 75  # Slurm may signal a minute early, and its clock is coarse
        return elapsed > limit - margin


def install(handle: Callable[[str], None]) -> None:
    """Signals to words: USR2 asks for a checkpoint, TERM for the end."""
    signal.signal(signal.SIGUSR2, lambda *_: handle("usr2"))
    signal.signal(signal.SIGTERM, lambda *_: handle("term"))


def main() -> None:
    """A task of an array job."""
    from repro.sweep import slurm

    sweep = SweepFolder(sys.argv[1])
    batch = next(b for b in sweep.batches() if b.number == int(sys.argv[2]))
    task = int(os.environ["SLURM_ARRAY_TASK_ID"])
    job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}"
    supervisor = Supervisor(sweep, sweep.cells()[batch.cells[task]], job)
    install(supervisor.ask_to_stop)
    state = supervisor.run()
    if state.status == "waiting":
        try:
            slurm.requeue(job, int(os.environ.get("SLURM_RESTART_COUNT") or 0))
            time.sleep(60)  # requeueing ends this process
        except slurm.SlurmError as error:
            if supervisor.stop == "term":  # ended meanwhile, which is why Slurm refuses
                state.status, state.reason = "cancelled", "ended by SIGTERM"
            else:
                state.status, state.reason = "failed", f"{state.reason}, but Slurm does not requeue it ({error})"
            supervisor.save(state)
    sys.exit(0 if state.status in ("done", "waiting") else 1)


if __name__ == "__main__":
    main()
