"""The benchmarks that a model can be scored on, by name: the micro world's and the published ones, one file each (or each family).

A new one is a file with a row that looks real, a function row -> ``Question``, and a line here; its lm-eval task is four lines in
``evals/tasks``. Light to import: questions are read when they are asked for, and nothing of a published set ships but the ids of MMLU-Pro-1k.

    REPRO_DATA_DIR=... python -m evals.benchmarks          # which benchmarks can be read here, and how many questions they have
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import Any

from evals import aime, gpqa, gsm8k, math500, micro, mmlu_pro, olympiadbench, theoremqa
from evals.files import BenchmarkError, check_questions
from evals.prompts import FORMATS
from evals.questions import Benchmark, FileBenchmark, Question
from repro.config import ConfigError
from repro.parts import load, source_hash

__all__ = ["BENCHMARKS", "Benchmark", "FileBenchmark", "Question", "state_of"]

FAMILIES = (micro, math500, aime, gpqa, theoremqa, mmlu_pro, olympiadbench, gsm8k)


class Benchmarks(dict[str, Benchmark]):
    """The benchmarks by name, and those of users by import path (``package.module:NAME``)."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and ":" in name and self.__missing__(name) is not None)

    def __missing__(self, name: str) -> Benchmark:
        """Return the user's benchmark under its path as name.

        Raises:
            KeyError: no path. ConfigError: what cannot be imported, or is no benchmark. BenchmarkError: a question of it that cannot be used.
        """
        if ":" not in name:
            raise KeyError(name)
        found = load(name, "benchmark")
        if not isinstance(found, Benchmark):
            raise ConfigError(f"benchmark={name!r} is a {type(found).__name__}, not an evals.benchmarks.Benchmark")
        if found.style not in FORMATS:
            raise ConfigError(f"benchmark={name!r}: style={found.style!r} does not exist: choose one of {', '.join(FORMATS)}")
        if not isinstance(found, FileBenchmark):
            check_questions(found.questions(TRIED), name)
        made = self[name] = replace(found, name=name)
        return made


def state_of(name: str, benchmark: Benchmark, data: str | None) -> Any:
    """Return what tells two states of a benchmark apart, for keys.

    Its version; of a published one the contents of its file too; of a user's the source of its package.
    """
    if ":" in name:
        own = source_hash(name, "benchmark")
        return [benchmark.version, own, *([benchmark.contents(data)] if isinstance(benchmark, FileBenchmark) else [])]
    return [benchmark.version, benchmark.contents(data)] if isinstance(benchmark, FileBenchmark) else benchmark.version


TRIED = 64  # questions of a user's benchmark that are looked at before a run
BENCHMARKS = Benchmarks({benchmark.name: benchmark for family in FAMILIES for benchmark in family.ALL})


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
    from repro.command import run as run_command

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    run_command(main, usage=__doc__)
