"""Training prompts from a file: MATH train, WebInstruct or one's own, with reference answers.

JSONL or Parquet (gz too) with the columns ``problem`` (or ``prompt``, asked as it stands: a text, or a conversation as a list of messages with
``role`` and ``content`` that ends with the user's; ``messages`` is another name for the latter) and ``answer``, ``id`` and ``level`` if there are;
below ``REPRO_DATA_DIR`` where the name is relative. Every reference is checked when loading, so that an empty one stops the run with its question instead of scoring.

    python -m repro scale=paper data.file=my_prompts.jsonl sft=none
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.files import BenchmarkError, data_dir, read_rows
from repro.config import ConfigError
from repro.data.teacher import Prompt, user_text

ROLES = ("system", "user", "assistant")
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True)
class FileProblem:
    """A problem of a file; ``text``: what the user says in it; offers what ``repro.data.world.Problem`` offers to training."""

    id: str
    text: str
    answer: str
    level: str
    task: str = "math"
    asked: Prompt | None = None  # the whole prompt, where the file has it

    @property
    def degree(self) -> str:
        return self.level

    def prompt(self) -> Prompt:
        return f"{self.text}\n{INSTRUCTION}" if self.asked is None else self.asked


def conversation(turns: list[Any], where: str) -> list[dict[str, str]]:
    """Return the turns of a prompt, checked.

    Args:
        turns: as a file has them; ``where``: names the row in messages.

    Raises:
        ConfigError: no turns, a turn without role or content, an unknown role, a last turn that is not the user's.
    """
    for number, turn in enumerate(turns, 1):
        good = isinstance(turn, dict) and isinstance(turn.get("content"), str) and turn.get("role") in ROLES
        if not good:
            raise ConfigError(f"{where}: message {number} must have content (a text) and a role out of {', '.join(ROLES)}")
    if not turns or turns[-1]["role"] != "user" or not turns[-1]["content"].strip():
        raise ConfigError(f"{where}: the messages must end with a turn of the user; leave the answer out")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def path_of(file: str) -> Path:
    """Where a file of prompts lies: as given, or below ``REPRO_DATA_DIR`` (raises BenchmarkError where that is needed and unset)."""
    path = Path(file).expanduser()
    return path if path.is_absolute() or path.exists() else data_dir(None) / file


def load_problems(file: str, size: int | None, key: str = "data.file", answers: bool = True) -> list[FileProblem]:
    """The first ``size`` problems of a file, all with None. ``key``: names the file in messages. ``answers``: whether each must have a reference.

    Raises:
        ConfigError: no such file, wrong columns, a reference that nothing can be compared with, fewer than ``size`` problems.
    """
    from repro.verifiers import GoldError, Verifier

    try:
        path = path_of(file)
        if not path.exists():
            raise ConfigError(f"{key}={file!r}: no file {path}; give a JSONL or Parquet file with the columns problem and answer")
        rows = list(read_rows(path))
    except BenchmarkError as error:
        raise ConfigError(f"{key}={file!r}: {error}") from None
    verifier, found = Verifier(), []
    places: dict[str, int] = {}  # id -> row
    for index, row in enumerate(rows[:size]):
        where = f"{key}={file!r}, row {index + 1}"
        talk = next((row[name] for name in ("prompt", "messages") if isinstance(row.get(name), list)), None)
        text = next((row[name] for name in ("prompt", "problem") if isinstance(row.get(name), str)), None)
        if talk is not None:
            talk = conversation(talk, where)
            text = user_text(talk)
        if text is None:
            raise ConfigError(f"{where}: the column problem (or prompt) is missing or no text (has: {', '.join(row)})")
        if answers and not isinstance(row.get("answer"), str):
            raise ConfigError(f"{where}: the column answer is missing or no text (has: {', '.join(row)})")
        asked = talk or (text if isinstance(row.get("prompt"), str) else None)
        identity = f"{path.stem}-{index}" if row.get("id") in (None, "") else str(row["id"])
        if identity in places:
            raise ConfigError(f"{where}: the id {identity!r} is that of row {places[identity]} too; give every row its own, or none")
        places[identity] = index + 1
        problem = FileProblem(identity, text, str(row.get("answer") or ""), str(row.get("level", "")), asked=asked)
        try:
            if answers:
                verifier.check_gold(problem.answer, question_id=problem.id)
        except GoldError as error:
            raise ConfigError(f"{where}: {error}") from None
        found.append(problem)
    if size is not None and len(found) < size:
        raise ConfigError(f"data.train_size={size}: {path.name} has only {len(found)} problems")
    return found
