"""The other side of ``repro/verifiers/pool.py``: a spawner process that loads the algebra libraries once and forks workers on command.

Killing a worker then costs milliseconds, not the import of sympy. The spawner has one thread and never computes, so that it always
hears its orders, and it ends with its workers as soon as its parent is gone. A worker is given strings and answers with strings, has a
limited address space, and is ended by the kernel's own alarm even if nobody is left to kill it.

Started by the pool as ``python -m repro.verifiers.worker FD MEMORY ALARM``: control socket, bytes, seconds. Linux.

    control, from the pool    ``spawn ID`` with a socket attached, ``kill ID``
    control, to the pool      ``ready`` once, or ``error MESSAGE``
    a worker's socket         ``{"gold": ..., "answer": ...}`` in, ``equal``, ``different`` or what went wrong out
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any

MESSAGE = 65_536  # bytes of a message at most; pairs are a few hundred characters
POLL = 1.0  # seconds between looks at whether the parent still lives (its death closes the socket, unless a fork of it holds a copy)


def load() -> Any:
    """The comparison function, with everything imported and used once, so that forked workers start warm."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]

    def compare(gold: str, answer: str) -> str:
        # Their own timeouts are signals that need the main thread's alarm; here the pool's deadline and the kernel's alarm bound the time.
        sides = [parse(f"${side}$", extraction_config=config, parsing_timeout=None, fallback_mode="no_fallback") for side in (gold, answer)]
        if not all(sides):
            return "unparsed"
        equal = verify(*sides, float_rounding=12, numeric_precision=20, timeout_seconds=None)
        return "equal" if equal else "different"

    compare("\\int_0^1 x dx", "\\frac{1}{2}")
    return compare


def work(channel: socket.socket, compare: Any, memory: int, alarm: float) -> None:
    """Answer pairs until the socket closes."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while message := channel.recv(MESSAGE):
        signal.setitimer(signal.ITIMER_REAL, alarm)
        try:
            pair = json.loads(message)
            outcome = compare(pair["gold"], pair["answer"])
        except MemoryError:
            outcome = "memory limit"
        except Exception as error:
            outcome = f"failed: {type(error).__name__}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.send(outcome.encode())


class Spawner:
    """Workers by number, each a child process."""

    def __init__(self, control: socket.socket, memory: int, alarm: float) -> None:
        self.control, self.memory, self.alarm = control, memory, alarm
        self.parent = os.getppid()
        self.children: dict[str, int] = {}
        self.compare = load()
        gc.collect()
        gc.freeze()  # workers share these pages

    def serve(self) -> None:
        """Obey until the pool is gone, then end every worker."""
        self.control.send(b"ready")
        try:
            while os.getppid() == self.parent:
                if select.select([self.control], [], [], POLL)[0]:
                    message, handles, _, _ = socket.recv_fds(self.control, MESSAGE, 1)
                    if not message:
                        break
                    order, _, name = message.decode().partition(" ")
                    self.spawn(name, handles[0]) if order == "spawn" else self.kill(name)
                self.reap()
        finally:
            for name in list(self.children):
                self.kill(name)

    def spawn(self, name: str, handle: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self.control.close()
                work(socket.socket(fileno=handle), self.compare, self.memory, self.alarm)
            finally:
                os._exit(0)
        os.close(handle)
        self.children[name] = pid

    def kill(self, name: str) -> None:
        pid = self.children.pop(name, None)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still this worker's
            os.waitpid(pid, 0)

    def reap(self) -> None:
        for name, pid in list(self.children.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self.children[name]


def main() -> None:
    """Entry of the spawner process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handle, memory, alarm = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    control = socket.socket(fileno=handle)
    try:
        Spawner(control, memory, alarm).serve()
    except OSError:
        pass  # the pool is gone
    except Exception as error:
        control.send(f"error {type(error).__name__}: {error}".encode()[:MESSAGE])


if __name__ == "__main__":
    main()
