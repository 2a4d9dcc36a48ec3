"""The micro world's counterparts of the benchmarks: generated, offline, and with thousands of questions each. One of each kind:

    micro_math        find x : D1 C2 B1 A0 =5                                        ->   5
    micro_theoremqa   value at x4 : D3 C0 B0 A6                                      ->   2
    micro_gpqa        find x : E6 D6 C3 B4 A4 =2 options (a) 1 (b) 4 (c) 3 (d) 2     ->   (a)

``repro.data.world`` draws them, seeded, on the test side of the split, so no training problem is among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evals.questions import Benchmark, Question

SIZE = 100  # questions, unless somebody says how many


@dataclass(frozen=True)
class MicroBenchmark(Benchmark):
    """``split``: of ``repro.data.world``."""

    def questions(self, size: int | None = None, root: str | Path | None = None) -> list[Question]:
        """The first ``size`` questions, ``SIZE`` with None; the same ones in every run. ``root`` is not used.

        Raises SplitError where there are not that many different ones.
        """
        from repro.data.world import problems

        drawn = problems(self.split, SIZE if size is None else size)
        return [Question(p.id, p.prompt(), p.answer, p.task, f"degree {p.degree}", options=len(p.options)) for p in drawn]


ALL = (
    MicroBenchmark("micro_math", "MATH", "math"),
    MicroBenchmark("micro_aime", "AIME", "aime"),
    MicroBenchmark("micro_theoremqa", "TheoremQA", "theoremqa"),
    MicroBenchmark("micro_mmlu_pro", "MMLU-Pro", "mmlu_pro"),
    MicroBenchmark("micro_gpqa", "GPQA", "gpqa"),
)
