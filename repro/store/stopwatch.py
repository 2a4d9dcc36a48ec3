"""How long a stage takes to build, over all the tries that it takes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path


class Stopwatch:
    """Seconds spent on what is built beside ``folder``, those of killed tries included: kept in a file that a thread writes every few seconds."""

    EVERY = 5.0

    def __init__(self, folder: Path) -> None:
        self.path, self.start, self._stop = folder / "seconds", time.monotonic(), threading.Event()
        try:
            self.before = float(self.path.read_text())
        except (OSError, ValueError):
            self.before = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def _run(self) -> None:
        while not self._stop.wait(self.EVERY):
            self._write()

    def _write(self) -> None:
        draft = self.path.with_name("seconds.tmp")
        with contextlib.suppress(OSError):  # a full disk is for the build to report
            draft.write_text(f"{self.seconds:.3f}")
            os.replace(draft, self.path)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._write()
