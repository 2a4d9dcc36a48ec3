"""Dialled noise around any verifier, and the random reward: how wrong may a reward be before learning stops?

    noisy = NoisyVerifier(Verifier(), false_positive=0.1, by_difficulty={"degree 4": (0.3, 0.0)}, seed=1)
    noisy.verify("4", "\\\\boxed{5}", question_id="q17", sample=3, difficulty="degree 4")

A flip is decided by a hash of (seed, question, sample) and by nothing else: not by order, batch, process or text. The hash gives a number in
[0, 1) and a verdict flips where that lies below its rate, so that a higher rate flips all that a lower one does, and runs that differ in the
rate alone are comparable. These are controls the paper lacks (its reward noise, section 5, cannot be dialled).
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from repro.verifiers.extract import extract
from repro.verifiers.verdict import GoldError, Verdict, check_kind, check_task

VERSION = "1.0"


def uniform(seed: int, question_id: str, sample: int) -> float:
    """The number in [0, 1) that belongs to a sample of a question; the same on every machine."""
    digest = hashlib.blake2b(json.dumps([seed, str(question_id), int(sample)]).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def check_rate(name: str, value: float) -> float:
    """Raises ValueError, naming the parameter, for anything but a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= 1:
        raise ValueError(f"{name}={value}: a rate is a number in [0, 1]")
    return float(value)


def _columns(size: int, question_ids: Sequence[str] | None, samples: Sequence[int] | None) -> tuple[Sequence[str], Sequence[int]]:
    """Raises ValueError where samples cannot be told apart: noise would then depend on the batch."""
    if question_ids is None or any(name is None for name in question_ids):
        raise ValueError("seeded noise needs the question ids (question_id=..., in batches question_ids=...)")
    samples = [0] * size if samples is None else samples
    if not len(question_ids) == len(samples) == size:
        raise ValueError(f"{size} outputs, {len(question_ids)} question ids, {len(samples)} samples: one of each a sample")
    return question_ids, samples


class NoisyVerifier:
    """``inner`` with verdicts flipped at given rates.

    Args:
        inner: any verifier; a flipped verdict keeps all but ``correct``, ``rule`` (``noise (<inner rule>)``) and ``reason``.
        false_positive: share of wrong verdicts that become correct, outputs without an answer included.
        false_negative: share of correct verdicts that become wrong.
        by_difficulty: (false_positive, false_negative) of a difficulty, for those that differ from the two above.
        seed: of the noise; another seed flips other samples.

    Raises ValueError, naming the parameter, for a rate outside [0, 1].
    """

    def __init__(
        self,
        inner: Any,
        *,
        false_positive: float = 0.0,
        false_negative: float = 0.0,
        by_difficulty: Mapping[Any, tuple[float, float]] | None = None,
        seed: int = 0,
    ) -> None:
        self.inner, self.seed = inner, seed
        self.rates = (check_rate("false_positive", false_positive), check_rate("false_negative", false_negative))
        self.by_difficulty: dict[str, tuple[float, float]] = {}
        for name, pair in (by_difficulty or {}).items():
            if isinstance(pair, str) or len(pair) != 2:
                raise ValueError(f"by_difficulty[{name!r}]={pair}: a pair (false_positive, false_negative)")
            positive, negative = pair
            self.by_difficulty[str(name)] = (
                check_rate(f"by_difficulty[{name!r}] false_positive", positive),
                check_rate(f"by_difficulty[{name!r}] false_negative", negative),
            )
        self.version = inner.version
        if any(map(any, (self.rates, *self.by_difficulty.values()))):  # without noise it is the inner verifier, to the version
            self.version += f"-noise{VERSION}-fp{self.rates[0]:g}-fn{self.rates[1]:g}-seed{seed}"
            if self.by_difficulty:
                table = json.dumps(sorted(self.by_difficulty.items()))
                self.version += f"-by{hashlib.sha256(table.encode()).hexdigest()[:8]}"

    def __enter__(self) -> NoisyVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the inner verifier."""
        self.inner.close()

    def check_gold(self, gold: str, *, task: str = "math", question_id: str | None = None) -> None:
        """As the inner verifier's."""
        self.inner.check_gold(gold, task=task, question_id=question_id)

    def verify(
        self,
        gold: str,
        output: str,
        *,
        task: str = "math",
        kind: str = "full",
        truncated: bool = False,
        question_id: str | None = None,
        sample: int = 0,
        difficulty: Any = None,
    ) -> Verdict:
        """Verdict on sample ``sample`` of question ``question_id``. Raises what the inner verifier raises, and ValueError without a question."""
        return self.verify_batch(
            [gold],
            [output],
            task=task,
            kind=kind,
            truncated=[truncated],
            question_ids=[question_id],
            samples=[sample],
            difficulties=None if difficulty is None else [difficulty],
        )[0]

    def verify_batch(
        self,
        golds: Sequence[str],
        outputs: Sequence[str],
        *,
        task: str | Sequence[str] = "math",
        kind: str = "full",
        truncated: Sequence[bool] | None = None,
        question_ids: Sequence[str] | None = None,
        samples: Sequence[int] | None = None,
        difficulties: Sequence[Any] | None = None,
        **more: Any,
    ) -> list[Verdict]:
        """One verdict an output, in order; ``more`` (such as ``prompts``) goes to the inner verifier.

        Raises what the inner verifier raises, and ValueError for missing question ids, for missing difficulties where rates depend on them, and
        for lengths that differ.
        """
        question_ids, samples = _columns(len(outputs), question_ids, samples)
        if difficulties is None:
            if self.by_difficulty:
                raise ValueError("by_difficulty needs the difficulty of every question (difficulty=..., in batches difficulties=...)")
            difficulties = [None] * len(outputs)
        if len(difficulties) != len(outputs):
            raise ValueError(f"{len(outputs)} outputs, {len(difficulties)} difficulties: one of each a sample")
        verdicts = self.inner.verify_batch(golds, outputs, task=task, kind=kind, truncated=truncated, **more)
        return [self._flip(*row) for row in zip(verdicts, question_ids, samples, difficulties, strict=True)]

    def _flip(self, verdict: Verdict, question_id: str, sample: int, difficulty: Any) -> Verdict:
        positive, negative = self.by_difficulty.get(str(difficulty), self.rates)
        if uniform(self.seed, question_id, sample) >= (negative if verdict.correct else positive):
            return replace(verdict, version=self.version)
        reason = "noise" if verdict.correct else ""
        return replace(verdict, correct=not verdict.correct, rule=f"noise ({verdict.rule})", reason=reason, version=self.version)


class RandomVerifier:
    """The random-reward control: correct by a seeded coin for each (question, sample), whatever the answer.

    Args:
        probability: of ``correct``. seed: of the coin.

    ``extracted`` is filled as usual, for the records; the coin does not see it. Raises ValueError for a probability outside [0, 1].
    """

    def __init__(self, probability: float = 0.5, seed: int = 0) -> None:
        self.probability, self.seed = check_rate("probability", probability), seed
        self.version = f"random-{VERSION}-p{self.probability:g}-seed{seed}"

    def __enter__(self) -> RandomVerifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing to close."""

    def check_gold(self, gold: str, *, task: str = "math", question_id: str | None = None) -> None:
        """Raises GoldError for an empty reference, as every arm does, ValueError for an unknown task."""
        check_task(task)
        if not gold.strip():
            raise GoldError((f"question {question_id}: " if question_id else "") + "the reference answer is empty")

    def verify(
        self,
        gold: str,
        output: str,
        *,
        task: str = "math",
        kind: str = "full",
        truncated: bool = False,
        question_id: str | None = None,
        sample: int = 0,
        difficulty: Any = None,
    ) -> Verdict:
        """The coin of sample ``sample`` of question ``question_id``; ``difficulty`` is ignored. Raises ValueError without a question."""
        return self.verify_batch(
            [gold], [output], task=task, kind=kind, truncated=[truncated], question_ids=[question_id], samples=[sample]
        )[0]

    def verify_batch(
        self,
        golds: Sequence[str],
        outputs: Sequence[str],
        *,
        task: str | Sequence[str] = "math",
        kind: str = "full",
        truncated: Sequence[bool] | None = None,
        question_ids: Sequence[str] | None = None,
        samples: Sequence[int] | None = None,
        difficulties: Sequence[Any] | None = None,
    ) -> list[Verdict]:
        """One coin an output, in order. Raises GoldError for an empty reference, ValueError for missing ids and lengths that differ."""
        tasks = [task] * len(golds) if isinstance(task, str) else list(task)
        cut = [False] * len(golds) if truncated is None else list(truncated)
        if not len(golds) == len(outputs) == len(tasks) == len(cut):
            raise ValueError(f"{len(golds)} golds, {len(outputs)} outputs, {len(tasks)} tasks, {len(cut)} truncated: one of each a sample")
        check_kind(kind)
        verdicts = []
        question_ids, samples = _columns(len(outputs), question_ids, samples)
        for gold, output, name, short, question, sample in zip(golds, outputs, tasks, cut, question_ids, samples, strict=True):
            start = time.perf_counter()
            self.check_gold(gold, task=name, question_id=question)
            answer = None if short else extract(output, task=check_task(name), kind=kind).answer
            correct = uniform(self.seed, question, sample) < self.probability
            reason = "" if correct else "the coin says wrong"
            verdicts.append(Verdict(correct, answer, "random", reason, time.perf_counter() - start, self.version))
        return verdicts
