"""The benchmarks that a cell can be scored on. Light to import: questions are made when asked for.

The micro world's counterparts of the paper's four benchmarks and GPQA, all on the test side of the world. One looks like this:

    find x : D1 C2 B1 A0 =5   ->   5
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """``gold`` is the reference answer, ``task`` the kind of comparison (``repro.verifiers``), ``level`` the difficulty."""

    id: str
    prompt: str
    gold: str
    task: str
    level: str


@dataclass(frozen=True)
class Benchmark:
    """``title`` for tables; ``version`` goes up when the same name asks other questions."""

    name: str
    title: str
    split: str
    version: int = 1

    def questions(self, size: int) -> list[Question]:
        """The first ``size`` questions; the same ones in every run."""
        from repro.data.world import problems

        return [Question(p.id, p.prompt(), p.answer, p.task, f"degree {p.degree}") for p in problems(self.split, size)]


BENCHMARKS = {
    b.name: b
    for b in (
        Benchmark("micro_math", "MATH", "math"),
        Benchmark("micro_aime", "AIME", "aime"),
        Benchmark("micro_theoremqa", "TheoremQA", "theoremqa"),
        Benchmark("micro_mmlu_pro", "MMLU-Pro", "mmlu_pro"),
        Benchmark("micro_gpqa", "GPQA", "gpqa"),
    )
}
