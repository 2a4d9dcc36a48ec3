"""Progress of long work: a bar with ETA on a terminal, a log line now and then elsewhere (a file, Slurm, a sweep side by side)."""

from __future__ import annotations

import logging
import sys
import time

log = logging.getLogger(__name__)
LINE_EVERY = 30.0  # seconds between lines where there is no terminal


class Progress:
    """``with Progress(total, "rl") as bar: bar.update(1, acc=0.5)``. ``initial``: what an earlier, killed run has done."""

    def __init__(self, total: int, name: str, unit: str = "step", initial: int = 0) -> None:
        self.total, self.name, self.unit, self.initial, self.n = total, name, unit, initial, initial
        self.start = self.said = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, desc=f"  {name}", unit=unit, initial=initial, mininterval=0.2, leave=False, dynamic_ncols=True)

    def update(self, count: int = 1, **shown: float) -> None:
        self.n += count
        if self.bar is not None:
            if shown:
                self.bar.set_postfix({k: f"{v:.3g}" for k, v in shown.items()}, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.said > LINE_EVERY and self.n < self.total:
            self.said = time.monotonic()
            left = (self.said - self.start) / max(1, self.n - self.initial) * (self.total - self.n)
            facts = "".join(f", {k} {v:.3g}" for k, v in shown.items())
            log.info("  %s: %d of %d %ss, about %.0f s left%s", self.name, self.n, self.total, self.unit, left, facts)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
