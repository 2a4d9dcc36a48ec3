"""The math-verify library as it is, for the agreement report: on bounded text, in a process that is killed at its deadline.

>>> from repro.verifiers.mathverify import MathVerify
>>> MathVerify().version.startswith("math-verify-")
True
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from typing import Any

from repro.verifiers.verdict import GoldError, Verdict

BOUND = 8_000  # characters of an output that math-verify is given
DEADLINE = 5.0  # seconds it gets for a pair, the library's own default


class MathVerify:
    """The math-verify library as it is, its timeouts off, on bounded text and in a process that is killed at the deadline."""

    def __init__(self, deadline: float = DEADLINE) -> None:
        from importlib.metadata import version

        self.version = f"math-verify-{version('math-verify')}"
        self.deadline = deadline
        self.process = None

    def check_gold(self, gold: str, *, task: str = "math") -> None:
        """Raises GoldError for an empty reference; one that the library cannot parse is simply never equal to anything."""
        if not gold.strip():
            raise GoldError("the reference answer is empty")

    def verify_batch(self, golds, outputs, *, task="math", kind="full", truncated=None) -> list[Verdict]:
        """One verdict an output. ``task``, ``kind`` and ``truncated`` mean nothing to the library."""
        return [self._one(gold, output) for gold, output in zip(golds, outputs, strict=True)]

    def _one(self, gold: str, output: str) -> Verdict:
        start = time.perf_counter()
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.channel, theirs = context.Pipe()
            self.process = context.Process(target=_math_verify, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
            self.channel.recv()  # loaded: the deadline is for the pair alone
        reason, correct, extracted = "timeout", False, None
        try:
            self.channel.send((gold[:BOUND], output[-BOUND:]))
            if self.channel.poll(self.deadline):
                correct, extracted, reason = self.channel.recv()
            else:
                self.close()
        except (EOFError, OSError):
            self.close()
            reason = "worker died"
        return Verdict(correct, extracted, "math_verify", reason, time.perf_counter() - start, self.version)

    def close(self) -> None:
        """Kill the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.channel.close()
            self.process = None


def _math_verify(channel: Any) -> None:
    """The process: pairs in, (correct, extracted, reason) out."""
    import resource

    from math_verify import parse, verify

    logging.disable(logging.WARNING)  # it warns about its timeouts with every pair
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    channel.send("ready")
    while True:
        gold, output = channel.recv()
        try:
            found = parse(output, parsing_timeout=None)
            reference = parse(gold if "$" in gold or "boxed" in gold else f"${gold}$", parsing_timeout=None)
            correct = bool(verify(reference, found, timeout_seconds=None))
            # The last element is the text that was parsed. Never str() of the first: it may be a tower of powers.
            extracted = next((item for item in reversed(found) if isinstance(item, str)), None)
            channel.send((correct, extracted, "" if correct else "different" if found else "no answer"))
        except Exception as error:
            channel.send((False, None, f"failed: {type(error).__name__}"))
