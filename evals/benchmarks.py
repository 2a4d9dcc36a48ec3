"""The benchmarks that a model can be scored on, by name: the micro world's and the published ones, one file each (or each family).

A new one is a file with a row that looks real, a function row -> ``Question``, and a line here; its lm-eval task is four lines in
``evals/tasks``. Light to import: questions are read when they are asked for, and nothing of a published set ships but the ids of MMLU-Pro-1k.

    REPRO_DATA_DIR=... python -m evals.benchmarks          # which benchmarks can be read here, and how many questions they have
"""

from __future__ import annotations

import logging
from collections import Counter

from evals import aime, gpqa, gsm8k, math500, micro, mmlu_pro, olympiadbench, theoremqa
from evals.files import BenchmarkError
from evals.questions import Benchmark, FileBenchmark, Question

__all__ = ["BENCHMARKS", "Benchmark", "FileBenchmark", "Question"]

FAMILIES = (micro, math500, aime, gpqa, theoremqa, mmlu_pro, olympiadbench, gsm8k)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for family in FAMILIES for benchmark in family.ALL}


def main() -> None:
    """One line a benchmark: how many questions, of which kinds and subjects; or why it cannot be read."""
    for benchmark in BENCHMARKS.values():
        try:
            found, left_out = benchmark.read() if isinstance(benchmark, FileBenchmark) else (benchmark.questions(), Counter())
        except BenchmarkError as error:
            print(f"{benchmark.name:15s} {error}")
            continue
        kinds = ", ".join(f"{count} {task}" for task, count in Counter(q.task for q in found).items())
        reasons = "".join(f"; {count} left out: {why}" for why, count in left_out.items())
        subjects = Counter(q.subject for q in found if q.subject)
        shares = "; " + ", ".join(f"{subject} {count}" for subject, count in subjects.most_common()) if 1 < len(subjects) <= 20 else ""
        print(f"{benchmark.name:15s} v{benchmark.version} {len(found):6d} questions: {kinds}{reasons}{shares}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    main()
