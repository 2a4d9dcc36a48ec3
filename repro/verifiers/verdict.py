"""What every verifier returns and raises. Imports nothing heavy, so that ``from repro.verifiers import Verifier`` stays cheap.

>>> from repro.verifiers import Verifier
>>> Verifier().verify("4", "so the answer is \\\\boxed{4}").rule
'string'
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "1.2"  # raised with every change that can change a verdict; part of every cache key and record
TASKS = ("math", "letter", "numeric", "text")
TASK_ALIASES = {"mcq": "letter", "choice": "letter", "number": "numeric"}
KINDS = ("full", "answer")


class GoldError(ValueError):
    """A reference answer that nothing can be compared with; the message names the question."""


@dataclass(frozen=True)
class Verdict:
    """One decision.

    correct: whether the answer equals the reference.
    extracted: the answer as it stood in the output; None where no answer was found.
    rule: what decided: ``no answer``, or a tier of the comparison (``string``, ``number``, ``list``, ``numeric``, ``symbolic`` ...).
    reason: why not, ``""`` for a correct answer; ``timeout`` where a worker was killed.
    seconds: wall time spent on this pair.
    version: of the verifier that decided.
    """

    correct: bool
    extracted: str | None
    rule: str
    reason: str
    seconds: float
    version: str = VERSION


def check_task(task: str) -> str:
    """The task's own name (``mcq`` is ``letter``). Raises ValueError naming what is allowed."""
    task = TASK_ALIASES.get(task, task)
    if task not in TASKS:
        raise ValueError(f"verifier task {task!r} does not exist; choose one of {', '.join(TASKS)}")
    return task


def check_kind(kind: str) -> str:
    """Raises ValueError for anything but ``full`` (a whole response) and ``answer`` (the bare answer)."""
    if kind not in KINDS:
        raise ValueError(f"output kind {kind!r} does not exist; choose one of {', '.join(KINDS)}")
    return kind
