"""The rule verifier: extraction, then tiers of comparison, then killable workers. The same object is RL reward and scorer.

    >>> from repro.verifiers import Verifier
    >>> with Verifier() as verifier:
    ...     verifier.verify("\\\\frac{1}{2}", "... so \\\\boxed{0.5}").correct
    True

Targets and reasons: the notes on verifiers, section 4; paper sections 2.5 and 5.2. It holds no worker until a pair needs one.
"""

from __future__ import annotations

import os
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

from repro.verifiers.extract import Extraction, extract
from repro.verifiers.rules import Decision, arity, check, decide
from repro.verifiers.verdict import VERSION, Verdict, check_kind, check_task


class Verifier:
    """Rule verifier.

    Args:
        tolerance: relative tolerance of the ``numeric`` task for references written as decimals.
        symbolic: whether pairs that the bounded rules cannot decide go to worker processes; without, they are wrong.
        workers: processes at most; they start one by one as they are needed. None: 4, or the number of cores if smaller.
        deadline: wall seconds a pair may spend in a worker before it is killed and the pair is wrong (``reason="timeout"``).
        memory: bytes of address space of a worker.
        fallback: take the last number of an output that commits to no answer; for evaluation only, and then ``rule`` starts with
            ``fallback``.
        cache_size: pairs remembered in memory, 0 for none.

    Raises ValueError for a parameter out of range.
    """

    def __init__(
        self,
        *,
        tolerance: float = 0.01,
        symbolic: bool = True,
        workers: int | None = None,
        deadline: float = 0.5,
        memory: int = 1 << 30,
        fallback: bool = False,
        cache_size: int = 65_536,
    ) -> None:
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance={tolerance}: a relative tolerance lies in [0, 1)")
        if not 0 < deadline <= 60:
            raise ValueError(f"deadline={deadline}: seconds in (0, 60]")
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}: at least 1, or None")
        self.config: dict[str, Any] = {
            "tolerance": tolerance,
            "symbolic": symbolic,
            "workers": workers,
            "deadline": deadline,
            "memory": memory,
            "fallback": fallback,
            "cache_size": cache_size,
        }
        self.version = f"rule-{VERSION}" + (f"-tol{tolerance:g}" if tolerance != 0.01 else "") + ("-fallback" if fallback else "")
        self.timeouts = 0
        self._start()

    def _start(self) -> None:
        self._pool = None
        self._pid = os.getpid()
        self._lock = Lock()
        self._memory: OrderedDict[tuple[str, str, str], Decision] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "version": self.version, "timeouts": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes, if any were started. The verifier can still be used and starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def check_gold(self, gold: str, *, task: str = "math", question_id: str | None = None) -> None:
        """Raises GoldError, naming the question, for an empty or unparsable reference; ValueError for an unknown task."""
        check(gold, check_task(task), question_id)

    def extract(self, output: str, *, task: str = "math", kind: str = "full") -> Extraction:
        """The answer of an output and how it was found."""
        return extract(output, task=check_task(task), kind=check_kind(kind), fallback=self.config["fallback"])

    def verify(self, gold: str, output: str, *, task: str = "math", kind: str = "full", truncated: bool = False) -> Verdict:
        """Verdict on one output.

        Args:
            gold: reference answer.
            output: a whole response, or with ``kind="answer"`` the bare answer.
            task: ``math``, ``letter``, ``numeric`` or ``text``.
            truncated: the output was cut at its token limit; it then has no answer.

        Raises:
            GoldError: empty or unparsable reference. ValueError: unknown task or kind.
        """
        return self.verify_batch([gold], [output], task=task, kind=kind, truncated=[truncated])[0]

    def verify_batch(
        self,
        golds: Sequence[str],
        outputs: Sequence[str],
        *,
        task: str | Sequence[str] = "math",
        kind: str = "full",
        truncated: Sequence[bool] | None = None,
    ) -> list[Verdict]:
        """One verdict an output, in order; pairs for the symbolic tier run side by side in the workers.

        Raises as ``verify``, and ValueError where the lengths differ.
        """
        tasks = [task] * len(golds) if isinstance(task, str) else list(task)
        cut = [False] * len(golds) if truncated is None else list(truncated)
        if not len(golds) == len(outputs) == len(tasks) == len(cut):
            raise ValueError(f"{len(golds)} golds, {len(outputs)} outputs, {len(tasks)} tasks, {len(cut)} truncated: one of each a sample")
        check_kind(kind)
        if os.getpid() != self._pid:  # a fork: its lock may have been held by a thread that does not exist here, its pool is the parent's
            self._start()
        verdicts: list[Verdict | None] = []
        hard: list[tuple[int, str, str, str, Extraction, float]] = []
        for index, (gold, output, name, short) in enumerate(zip(golds, outputs, tasks, cut, strict=True)):
            start = time.perf_counter()
            name = check_task(name)
            check(gold, name, None)
            found, decision, answer = self._fast(gold, output, name, kind, short)
            if decision is None:
                hard.append((index, gold, answer, name, found, time.perf_counter() - start))
                verdicts.append(None)
            else:
                verdicts.append(self._verdict(found, decision, time.perf_counter() - start))
        for (index, gold, answer, name, found, spent), (decision, seconds) in zip(hard, self._hard(hard), strict=True):
            self._remember((gold, answer, name), decision)  # a timeout too: a policy that repeats a bomb must not be paid in time
            verdicts[index] = self._verdict(found, decision, spent + seconds)
        return [verdict for verdict in verdicts if verdict is not None]

    def _fast(self, gold: str, output: str, task: str, kind: str, truncated: bool) -> tuple[Extraction | None, Decision | None, str]:
        """(extraction, decision, answer) without any worker; decision None where one is needed."""
        if truncated:
            return None, Decision(False, "no answer", "truncated"), ""
        reference = gold
        if kind == "answer" or "boxed" in gold or "$" in gold:
            reference = dressed(gold)
        found = extract(output, task=task, kind=kind, fallback=self.config["fallback"])
        if found.answer is None:
            return None, Decision(False, "no answer", found.rule), ""
        answer = found.answer
        if task == "math" and (qualified := _QUALIFIED.match(answer)):
            answer = qualified.group(1)
        if len(found.parts) > 1 and task == "math" and arity(reference) == len(found.parts):
            answer = ", ".join(found.parts)
        key = (gold, answer, task)
        with self._lock:
            decision = self._memory.get(key)
            if decision is not None:
                self._memory.move_to_end(key)
                return found, decision, answer
        decision = decide(reference, answer, task, tolerance=self.config["tolerance"])
        if decision is None and not self.config["symbolic"]:
            decision = Decision(False, "symbolic", "needs computer algebra, which is switched off")
        if decision is not None:
            self._remember(key, decision)
        return found, decision, answer

    def _remember(self, key: tuple[str, str, str], decision: Decision) -> None:
        if self.config["cache_size"] and len(key[1]) <= 2_000:
            with self._lock:
                self._memory[key] = decision
                if len(self._memory) > self.config["cache_size"]:
                    self._memory.popitem(last=False)

    def _hard(self, pairs: list[tuple[int, str, str, str, Extraction, float]]) -> list[tuple[Decision, float]]:
        if not pairs:
            return []
        from repro.verifiers.pool import Pool

        with self._lock:
            if self._pool is None or not self._pool.usable():
                self._pool = Pool(workers=self.config["workers"], deadline=self.config["deadline"], memory=self.config["memory"])
            pool = self._pool
        asked = list(dict.fromkeys((dressed(gold), answer) for _, gold, answer, *_ in pairs))  # samples of one question repeat each other
        results = dict(zip(asked, pool.compare(asked), strict=True))
        with self._lock:
            self.timeouts += sum(outcome == "timeout" for outcome, _ in results.values())
        decisions = []
        for _, gold, answer, *_ in pairs:
            outcome, seconds = results[dressed(gold), answer]
            decisions.append((Decision(outcome == "equal", "symbolic", "" if outcome == "equal" else outcome), seconds))
        return decisions

    def _verdict(self, found: Extraction | None, decision: Decision, seconds: float) -> Verdict:
        rule = decision.rule if found is None or found.committed else f"fallback {decision.rule}"
        return Verdict(decision.correct, found.answer if found else None, rule, decision.reason, seconds, self.version)


_QUALIFIED = re.compile(r"\s*\$([^$]+)\$,?\s+(?:where|for|with|if)\b")


def dressed(gold: str) -> str:
    """The answer of a reference that comes with its box, a qualification ("$a+b$, where ...") or a whole solution; others as they are."""
    if "boxed" in gold or (len(gold) > 40 and "$" in gold.strip("$ \n")):
        qualified = _QUALIFIED.match(gold)
        if qualified and "boxed" not in gold:
            return qualified.group(1)
        found = extract(gold, kind="answer")
        if found.answer and found.rule not in ("formula", "last number"):
            return ", ".join(found.parts) if len(found.parts) > 1 else found.answer
    return gold
