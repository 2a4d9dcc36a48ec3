"""Training prompts from a file: MATH train, WebInstruct or one's own, with reference answers.

JSONL or Parquet (gz too) with the columns ``problem`` and ``answer``, and ``level`` if there is one; below ``REPRO_DATA_DIR`` where the name
is relative. Every reference is checked when loading, so that an empty one stops the run with its question instead of scoring.

    python -m repro scale=paper data.file=my_prompts.jsonl sft=none
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evals.files import BenchmarkError, data_dir, read_rows
from repro.config import ConfigError

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True)
class FileProblem:
    """A problem of a file; offers what ``repro.data.world.Problem`` offers to training."""

    id: str
    text: str
    answer: str
    level: str
    task: str = "math"

    @property
    def degree(self) -> str:
        return self.level

    def prompt(self) -> str:
        return f"{self.text}\n{INSTRUCTION}"


def load_problems(file: str, size: int) -> list[FileProblem]:
    """The first ``size`` problems of a file.

    Raises:
        ConfigError: no such file, wrong columns, a reference that nothing can be compared with, fewer than ``size`` problems.
    """
    from repro.verifiers import GoldError, Verifier

    try:
        path = Path(file).expanduser()
        if not path.is_absolute() and not path.exists():
            path = data_dir(None) / file
        if not path.exists():
            raise ConfigError(f"data.file={file!r}: no file {path}; give a JSONL or Parquet file with the columns problem and answer")
        rows = list(read_rows(path))
    except BenchmarkError as error:
        raise ConfigError(f"data.file={file!r}: {error}") from None
    verifier, found = Verifier(), []
    for index, row in enumerate(rows[:size]):
        missing = [name for name in ("problem", "answer") if not isinstance(row.get(name), str)]
        if missing:
            raise ConfigError(f"data.file={file!r}, row {index + 1}: the column {missing[0]} is missing or no text (has: {', '.join(row)})")
        problem = FileProblem(str(row.get("id", f"{path.stem}-{index}")), row["problem"], row["answer"], str(row.get("level", "")))
        try:
            verifier.check_gold(problem.answer, question_id=problem.id)
        except GoldError as error:
            raise ConfigError(f"data.file={file!r}, row {index + 1}: {error}") from None
        found.append(problem)
    if len(found) < size:
        raise ConfigError(f"data.train_size={size}: {path.name} has only {len(found)} problems")
    return found
