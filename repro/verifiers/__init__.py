"""The rule verifier: takes the answer out of a response and compares it with the reference. The same object is RL reward and scorer.

First tier only: the last balanced ``\\boxed{}`` against the reference as normalised text, whole numbers by value, option letters with or
without brackets. It never scores an output that hit its token limit, and refuses a reference that is empty.

    >>> from repro.verifiers import Verifier
    >>> Verifier().verify("4", "x4 ... so \\\\boxed{ 4 }").correct
    True
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

VERSION = "0.1"
TASKS = ("math", "letter")
MAX_OUTPUT = 64_000  # characters from the end of an output that are looked at
MAX_ANSWER = 2_000  # characters of an answer; longer ones are not answers
_INTEGER = re.compile(r"[+-]?\d{1,300}")


class GoldError(ValueError):
    """A reference answer that nothing can be compared with; the message names the question."""


@dataclass(frozen=True)
class Verdict:
    """``extracted`` is None where no answer was found; ``rule`` says what decided, ``reason`` why not; ``seconds`` is wall time."""

    correct: bool
    extracted: str | None
    rule: str
    reason: str
    seconds: float
    version: str = VERSION


def last_box(output: str) -> str | None:
    """Content of the last ``\\boxed{...}`` whose braces balance, in linear time; None if there is none."""
    text = output[-MAX_OUTPUT:]
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth, first = 0, start + len("\\boxed{") - 1
        for i in range(first, min(len(text), first + MAX_ANSWER)):
            depth += (text[i] == "{") - (text[i] == "}")
            if depth == 0:
                return text[first + 1 : i]
        start = text.rfind("\\boxed{", 0, start)
    return None


def normalise(answer: str, task: str) -> str:
    """One spelling for equal answers: blanks, outer dollar signs, leading zeros, brackets around a letter. Idempotent."""
    text = "".join(answer.split()).strip("$")
    if task == "letter":
        inner = text.strip("().").upper()
        return inner if len(inner) == 1 else text
    return str(int(text)) if _INTEGER.fullmatch(text) else text


class Verifier:
    """Stateless and picklable; ``close`` exists for verifiers that hold workers."""

    version = f"rule-{VERSION}"

    def check_gold(self, gold: str, *, task: str = "math", question_id: str | None = None) -> None:
        """Raises GoldError for a reference that cannot be compared with, ValueError for an unknown task."""
        if task not in TASKS:
            raise ValueError(f"verifier task {task!r} does not exist; choose one of {', '.join(TASKS)}")
        if not isinstance(gold, str) or not normalise(gold, task):
            raise GoldError(f"question {question_id or '?'}: the reference answer {gold!r} is empty")

    def verify(self, gold: str, output: str, *, task: str = "math", truncated: bool = False) -> Verdict:
        start = time.perf_counter()
        self.check_gold(gold, task=task)
        answer = None if truncated else last_box(output)
        if answer is None:
            reason = "truncated" if truncated else "no box"
            return Verdict(False, None, "no answer", reason, time.perf_counter() - start, self.version)
        same = normalise(answer, task) == normalise(gold, task)
        return Verdict(same, answer.strip(), "string", "" if same else "different", time.perf_counter() - start, self.version)

    def verify_batch(
        self, golds: Sequence[str], outputs: Sequence[str], *, task: str | Sequence[str] = "math", truncated: Sequence[bool] | None = None
    ) -> list[Verdict]:
        """One verdict an output, in order."""
        tasks = [task] * len(golds) if isinstance(task, str) else task
        cut = [False] * len(golds) if truncated is None else truncated
        rows = zip(golds, outputs, tasks, cut, strict=True)
        return [self.verify(gold, output, task=kind, truncated=short) for gold, output, kind, short in rows]

    def close(self) -> None:
        """Nothing is held."""
