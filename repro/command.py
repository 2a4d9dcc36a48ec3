"""How every command of the project ends: with its exit code, or one line for what its user can mend.

A reader that has seen enough (``| head``) ends a command without a word, and an interrupt with a line. Every ``__main__`` block of a command
calls ``run``. Imports nothing heavy.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

INTERRUPTED = 130  # as a shell reports SIGINT
UNREAD = 141  # as a shell reports SIGPIPE


def run(main: Callable[[], int | None], interrupted: str = "interrupted", usage: str | None = None) -> NoReturn:
    """Run a command and exit.

    Args:
        main: does the work and returns the exit code; None is 0.
        interrupted: the line after an interrupt.
        usage: the answer to ``--help`` of a command that reads no arguments.
    """
    spec = sys.modules["__main__"].__spec__
    name = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    full = os.environ.get("HYDRA_FULL_ERROR")
    code: int | str | None
    try:
        try:
            asked = usage and {"-h", "--help"} & set(sys.argv[1:])
            code = print(usage.strip()) if asked else main()
        except KeyboardInterrupt:
            print(f"{name}: {interrupted}", file=sys.stderr)
            code = INTERRUPTED
        except SystemExit as end:
            code = UNREAD if isinstance(end.__context__, BrokenPipeError) else end.code  # rich answers a closed pipe so
        except BrokenPipeError:
            raise
        except Exception as error:
            line = _line(error)
            if line is None or full:
                raise
            print(f"{name}: {line}", file=sys.stderr)
            code = 2
        sys.stdout.flush()
    except BrokenPipeError:
        if not silence():
            raise  # of another pipe
        code = UNREAD
    sys.exit(code)


def silence() -> bool:
    """Let nothing more be written to standard output or error whose reader has left; returns whether one has."""
    left = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            left = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return left


def _line(error: Exception) -> str | None:
    from repro.errors import explain

    return explain(error)
