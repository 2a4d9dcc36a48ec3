"""Being asked to stop: USR2 (a time limit or a preemption is near) means a checkpoint at the next step, TERM means now, releasing locks.

Only a supervised cell listens (``listen``). Training asks ``wanted`` after every step; a stage of several processes is told by a file beside
its checkpoints, which its first process reads and shares, so that all stop after the same step.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

RESULT = "REPRO_RESULT"  # environment variable of a supervised cell: file in which it leaves its result
INTERRUPTED = 75  # exit code of a cell that stopped on request (EX_TEMPFAIL)
STOP = "stop"  # file in a stage's .resume that tells its processes
_wanted = False
_files: set[Path] = set()


class Interrupted(BaseException):
    """The cell stops on request; what it has done stays. Not an Exception: nothing may take it for a failure and go on."""


def listen() -> None:
    """Install the handlers, in the main thread of a supervised cell."""
    signal.signal(signal.SIGUSR2, lambda *_: _ask())
    signal.signal(signal.SIGTERM, _end)


def _ask() -> None:
    global _wanted
    _wanted = True
    for path in _files:
        with contextlib.suppress(OSError):
            path.touch()


def _end(*_: object) -> None:
    raise Interrupted("SIGTERM")


def wanted(work: Path | None = None) -> bool:
    """Whether to stop: asked in this process, or by the file in the stage's work folder."""
    return _wanted or (work is not None and (work / STOP).exists())


@contextlib.contextmanager
def telling(folder: Path):
    """While the processes of a stage run: pass the request on to them by the file in ``folder``."""
    path = folder / STOP
    path.unlink(missing_ok=True)
    _files.add(path)
    try:
        if _wanted:
            path.touch()
        yield
    finally:
        _files.discard(path)
        path.unlink(missing_ok=True)
