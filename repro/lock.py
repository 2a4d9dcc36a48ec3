"""A lock file with a heartbeat: one builder a stage, on one machine or several, and nobody waits for the dead.

The holder creates the file exclusively, writes who it is, and touches it every few seconds. A lock is stale when its holder's process is gone
(same host) or its heartbeat has stopped (any host); it is then taken over. ``flock`` would be shorter, but is not reliable on network file
systems and cannot say who holds it.

On a network file system: no clocks are compared, since those of nodes and server may differ by minutes - a heartbeat has stopped when a waiter
sees the same time of change for ``STALE`` seconds of its own; files are opened before they are asked for their times, which is what makes
NFS look at the server; a lost answer to ``link`` is told from a refusal by the number of links. A holder that was frozen so long that its
lock was taken over is interrupted and told so (``LockLost``): two must never write into one work folder.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import json
import logging
import math
import os
import shutil
import socket
import threading
import time
import uuid
from pathlib import Path

log = logging.getLogger(__name__)
HEARTBEAT = 5.0  # seconds between touches
STALE = 60.0  # seconds without a touch, as seen by one waiter, after which a holder on another host counts as dead
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
    """Start time of a process, or None if it does not run: tells a reused pid from the holder. NaN for one that runs and is hidden (another
    user's, where /proc has hidepid). In seconds since boot on Linux, a clock that nobody sets: times since the epoch change for a running
    process when the machine's clock is corrected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it runs, and is another user's
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(fields[18]) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return math.nan
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


class LockLost(RuntimeError):
    """The lock was taken over while it was held: this process was silent for longer than ``STALE``."""


class Lock:
    """``with Lock(path, what="sft/ab12"):`` waits until free, saying once whom it waits for."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        self.token = uuid.uuid4().hex
        self.lost = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: tuple[tuple[str, int], float] | None = None  # (token and beat of the holder, since when they are the same)

    def _try(self) -> bool:
        # Written beside and linked into place, so that nobody ever reads a half-written lock.
        draft = self.path.with_name(f"{self.path.name}.{self.token}")
        me = {"token": self.token, "host": host_name(), "pid": os.getpid(), "start": process_start(os.getpid())}
        draft.write_text(json.dumps(me))
        try:
            os.link(draft, self.path)
            return True
        except FileExistsError:
            return draft.stat().st_nlink == 2  # linked, but the server's answer got lost and the call was repeated
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            return self._create(draft.read_text())  # a file system without hard links
        finally:
            draft.unlink(missing_ok=True)

    def _create(self, text: str) -> bool:
        """Exclusive creation; who reads between creation and writing sees a holder on an unknown host, and waits."""
        try:
            with self.path.open("x") as file:
                file.write(text)
        except FileExistsError:
            return False
        return True

    def _holder(self) -> tuple[dict, float] | None:
        """(who holds it, seconds since its last beat as far as this waiter saw), or None if nobody does."""
        try:
            with self.path.open("rb") as file:
                beat = os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return None
        except IsADirectoryError:  # nobody's
            beat = -1
        except OSError:  # a stale handle: the file was replaced on the server
            return {"token": "?", "host": "?", "pid": -1, "start": None}, 0.0
        holder = read_holder(self.path)
        if holder is None:
            return None
        now, mark = time.monotonic(), (holder["token"], beat)
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, now)
        return holder, now - self._seen[1]

    def _is_stale(self, holder: dict, silent: float) -> bool:
        if holder["host"] == host_name():
            start = process_start(holder["pid"])
            if start is None or not math.isnan(start):
                return start is None or (holder["start"] is not None and abs(start - holder["start"]) > 1.0)
        return silent > STALE

    def _take_over(self, holder: dict) -> None:
        # Rename is atomic: of several waiters one wins, the others find nothing and try again.
        doomed = self.path.with_name(f"{self.path.name}.stale-{self.token}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(doomed)
            found = read_holder(doomed)
            if found is not None and found["token"] != holder["token"]:  # somebody took it over in between: give it back
                with contextlib.suppress(FileExistsError):
                    os.link(doomed, self.path)
            if doomed.is_dir():
                shutil.rmtree(doomed)
            else:
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
                holder = read_holder(self.path)
                if holder is None or holder["token"] not in (self.token, "?"):
                    self.lost = True
                    if not self._stop.is_set():
                        _thread.interrupt_main()  # KeyboardInterrupt in the builder; __exit__ turns it into LockLost
                    return
                os.utime(self.path)  # no times given: the server's clock

    def check(self) -> None:
        """Raises LockLost if another process holds the lock by now; called before what it built is published."""
        holder = read_holder(self.path)
        if self.lost or holder is None or holder["token"] != self.token:
            self.lost = True
            raise LockLost(f"the lock of {self.what} was taken over while this process was silent for more than {STALE:.0f} s")

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        holder = read_holder(self.path)
        if holder is not None and holder["token"] == self.token:
            self.path.unlink(missing_ok=True)
        if self.lost and kind is KeyboardInterrupt:
            raise LockLost(f"the lock of {self.what} was taken over while this process was silent for more than {STALE:.0f} s")
