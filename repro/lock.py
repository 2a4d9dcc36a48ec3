"""A lock file with a heartbeat: one builder a stage, on one machine or several, and nobody waits for the dead.

The holder creates the file exclusively, writes who it is, and touches it every few seconds. A lock is stale when its holder's process is gone
(same host) or its heartbeat has stopped (any host); it is then taken over. ``flock`` would be shorter, but is not reliable on network file
systems and cannot say who holds it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path

log = logging.getLogger(__name__)
HEARTBEAT = 5.0  # seconds between touches
STALE = 60.0  # seconds without a touch after which a holder on another host counts as dead
POLL = 0.5  # seconds


def host_name() -> str:
    """Host and process namespace: a pid says nothing about a process in another container, even under the same host name."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        space = ""
    return f"{socket.gethostname()} {space}".strip()


def read_holder(path: Path) -> dict | None:
    """Who holds a lock, from its file; None if there is no file. A file that says nothing usable is a holder on an unknown host."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("token"), str) and isinstance(found.get("host"), str):
        pid, start = found.get("pid"), found.get("start")
        if isinstance(pid, int) and 0 < pid < 2**31 and (start is None or isinstance(start, (int, float))):
            return {"token": found["token"], "host": found["host"], "pid": pid, "start": start}
    return {"token": "?", "host": "?", "pid": -1, "start": None}


def process_start(pid: int) -> float | None:
    """Start time of a process in seconds since the epoch, or None if it does not run: tells a reused pid from the holder."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


class Lock:
    """``with Lock(path, what="sft/ab12"):`` waits until free, saying once whom it waits for."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        self.token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _try(self) -> bool:
        # Written beside and linked into place, so that nobody ever reads a half-written lock.
        draft = self.path.with_name(f"{self.path.name}.{self.token}")
        me = {"token": self.token, "host": host_name(), "pid": os.getpid(), "start": process_start(os.getpid())}
        draft.write_text(json.dumps(me))
        try:
            os.link(draft, self.path)
            return True
        except FileExistsError:
            return False
        finally:
            draft.unlink()

    def _holder(self) -> tuple[dict, float] | None:
        try:
            age = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        holder = read_holder(self.path)
        return None if holder is None else (holder, age)

    def _is_stale(self, holder: dict, age: float) -> bool:
        if holder["host"] == host_name():
            start = process_start(holder["pid"])
            return start is None or (holder["start"] is not None and abs(start - holder["start"]) > 1.0)
        return age > STALE

    def _take_over(self, holder: dict) -> None:
        # Rename is atomic: of several waiters one wins, the others find nothing and try again.
        doomed = self.path.with_name(f"{self.path.name}.stale-{self.token}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(doomed)
            found = read_holder(doomed)
            if found is not None and found["token"] != holder["token"]:  # somebody took it over in between: give it back
                with contextlib.suppress(FileExistsError):
                    os.link(doomed, self.path)
            doomed.unlink()

    def __enter__(self) -> Lock:
        said = False
        while not self._try():
            seen = self._holder()
            if seen is None:
                continue
            holder, age = seen
            if self._is_stale(holder, age):
                log.info("store: taking over the lock of %s from a dead process (%s, pid %s)", self.what, holder["host"], holder["pid"])
                self._take_over(holder)
                continue
            if not said:
                log.info("store: waiting for %s, which pid %s on %s is building", self.what, holder["pid"], holder["host"])
                said = True
            time.sleep(POLL)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        holder = read_holder(self.path)
        if holder is not None and holder["token"] == self.token:
            self.path.unlink(missing_ok=True)
