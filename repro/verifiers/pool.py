"""Killable worker processes for the symbolic tier, the only one that may take long or much memory.

A thread cannot be killed and a signal works in the main thread only, so each comparison runs in a process of its own that the pool kills
(SIGKILL) at the pair's deadline and replaces within milliseconds: workers are forked from a spawner that has loaded the libraries
(``repro/verifiers/worker.py``). Only plain strings cross. Usable from any thread, from asyncio and from forked or spawned processes (a
pool belongs to the process that made it; ``usable`` says so). Linux.

    >>> from repro.verifiers.pool import Pool
    >>> with Pool(workers=1) as pool:
    ...     pool.compare([("\\\\int_0^1 x dx", "\\\\frac{1}{2}")])[0][0]
    'equal'
"""

from __future__ import annotations

import json
import os
import queue
import select
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from repro.verifiers.worker import MESSAGE

START = 60.0  # seconds for the spawner to load its libraries
SOURCES = str(Path(__file__).resolve().parents[2])


class _Slot:
    """A worker's place: its number, our end of its socket (None before its first pair), and what it works on."""

    def __init__(self) -> None:
        self.name, self.channel = "", None
        self.index, self.begun = -1, 0.0


def _end(pid: int, control: socket.socket, process: subprocess.Popen) -> None:
    """Close the spawner, which ends its workers. In a fork of the owner only our copy of the socket closes."""
    control.close()
    if os.getpid() == pid:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Pool:
    """Workers that compare pairs.

    Args:
        workers: processes at most; each starts with its first pair. None: 4, or the number of cores if smaller.
        deadline: wall seconds of a pair in a worker before it is killed.
        memory: bytes of address space of a worker.

    Raises RuntimeError, saying why, where the algebra libraries do not load.
    """

    def __init__(self, *, workers: int | None = None, deadline: float = 0.5, memory: int = 1 << 30) -> None:
        self.workers = workers or min(4, os.cpu_count() or 1)
        self.deadline = deadline
        self.kills = 0
        self._pid, self._lock, self._count = os.getpid(), Lock(), 0
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for _ in range(self.workers):
            self._free.put(_Slot())
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join(part for part in (SOURCES, os.environ.get("PYTHONPATH", "")) if part)
        command = [sys.executable, "-m", "repro.verifiers.worker", str(theirs.fileno()), str(memory), str(2 * deadline + 1)]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for the parent
        )
        theirs.close()
        self.close = weakref.finalize(self, _end, self._pid, self._control, self._process)
        self._control.settimeout(START)
        try:
            said = self._control.recv(MESSAGE).decode()
        except OSError as error:
            said = str(error)
        if said != "ready":
            self.close()
            raise RuntimeError(
                f"the symbolic tier's process did not start ({said or 'it ended'}); install math-verify or use symbolic=False"
            )

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def usable(self) -> bool:
        """False in a fork of the process that made the pool, after ``close``, and where the spawner died."""
        return os.getpid() == self._pid and self.close.alive and self._process.poll() is None

    def pids(self) -> list[int]:
        """Process numbers of the live workers, for tests and for a look at what runs."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, float]]:
        """(outcome, seconds) of each (gold, answer), in order: ``equal``, ``different``, ``timeout`` or what went wrong.

        The pairs of one call spread over the workers that are free; at least one is waited for.
        """
        results: list[tuple[str, float]] = [("not run", 0.0)] * len(pairs)
        todo, busy = list(range(len(pairs)))[::-1], {}
        while todo or busy:
            while todo:
                try:
                    slot = self._free.get(block=not busy)
                except queue.Empty:
                    break
                slot.index, slot.begun = todo.pop(), time.monotonic()
                if self._hand(slot, pairs[slot.index]):
                    busy[slot.channel] = slot
                else:
                    results[slot.index] = ("no worker", 0.0)
                    self._free.put(slot)
            if not busy:
                continue
            left = min(slot.begun for slot in busy.values()) + self.deadline - time.monotonic()
            poll = select.poll()
            for channel in busy:
                poll.register(channel, select.POLLIN)
            ready = {handle for handle, _ in poll.poll(max(0.0, left) * 1000)}
            now = time.monotonic()
            for channel, slot in list(busy.items()):
                if channel.fileno() in ready:
                    outcome = self._read(slot)
                elif now - slot.begun >= self.deadline:
                    outcome = "timeout"
                    with self._lock:
                        self.kills += 1
                    self._drop(slot)
                else:
                    continue
                results[slot.index] = (outcome, now - slot.begun)
                del busy[channel]
                self._free.put(slot)
        return results

    def _hand(self, slot: _Slot, pair: tuple[str, str]) -> bool:
        """Send a pair to the slot's worker, starting one if there is none or it has died since."""
        message = json.dumps({"gold": pair[0], "answer": pair[1]}).encode()
        if len(message) > MESSAGE:
            return False
        for _ in range(2):
            try:
                if slot.channel is None:
                    self._spawn(slot)
                slot.channel.send(message)
                return True
            except OSError:
                self._drop(slot)
        return False

    def _spawn(self, slot: _Slot) -> None:
        with self._lock:
            self._count += 1
            slot.name = str(self._count)
        slot.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._control, [f"spawn {slot.name}".encode()], [theirs.fileno()])

    def _read(self, slot: _Slot) -> str:
        try:
            outcome = slot.channel.recv(MESSAGE).decode()
        except OSError:
            outcome = ""
        if not outcome:  # ended by its memory limit or a crash
            self._drop(slot)
        return outcome or "worker died"

    def _drop(self, slot: _Slot) -> None:
        """Kill the slot's worker; its next pair starts another."""
        if slot.channel is not None:
            slot.channel.close()
            slot.channel = None
        with suppress(OSError):  # the spawner is gone and its workers with it
            self._control.send(f"kill {slot.name}".encode())
