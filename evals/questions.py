"""What a benchmark is: a name, a version, and questions that all look alike whatever file or generator they come from.

Unlike a task of lm-eval a benchmark here knows nothing of prompts or scores: ``evals/prompts.py`` adds the instruction, ``repro.verifiers``
compares, by the kind of comparison that every question names (TheoremQA mixes numbers, truth values and options). Files that do not fit are
refused before anything is generated, in one line that says where to get the right ones.

    Question(id="test/algebra/1.json", prompt="What is $1+1$?", gold="2", task="math", level="1", subject="Algebra")
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals import hub
from evals.files import BenchmarkError, check_questions, data_dir, from_hub, locate, needed, pick, read_rows

log = logging.getLogger(__name__)
LETTERS = "ABCDEFGHIJ"
Row = dict[str, Any]  # a row of a file under our names of its fields
PROBLEM = ("problem", "Problem", "question", "Question")  # the names that copies of the sets give to a column
ANSWER = ("answer", "Answer")
IDS = ("id", "ID", "unique_id", "question_id", "idx")


@dataclass(frozen=True)
class Question:
    """``gold`` is the reference answer, ``task`` the kind of comparison (``repro.verifiers``), ``level`` the difficulty.

    ``prompt`` is the bare problem, options included; ``evals/prompts.py`` adds the instruction. ``subject``: category, ``""`` if none.
    ``options``: number of options of a ``letter`` question. ``order``: where options were shuffled, their places in the file as shown,
    e.g. ``2,0,3,1``; 0 is the right one.
    """

    id: str
    prompt: str
    gold: str
    task: str
    level: str
    subject: str = ""
    options: int = 0
    order: str = ""


@dataclass(frozen=True)
class Benchmark(ABC):
    """``title`` for tables; ``version`` goes up when the same name asks other questions; ``style``: usual prompt format."""

    name: str
    title: str
    split: str
    version: int = 1
    style: str = "plain"

    @abstractmethod
    def questions(self, size: int | None = None, root: str | Path | None = None) -> list[Question]:
        """The first ``size`` questions; the same ones in every run. ``root``: folder of the files, ``hub``, or None for ``REPRO_DATA_DIR``."""


@dataclass(frozen=True)
class FileBenchmark(Benchmark):
    """A published benchmark in a local file, or on the hub.

    files: stems of the file's name, the first one is asked for. columns: field -> accepted column names (``evals.files.pick``).
    make: (fields of a row, its index) -> Question, or the reason why it is left out. count: questions of the published set.
    hub: data set on the hub; revision: its commit; configs: its configurations that make up the benchmark, none where it has one only.
    source: where the file may come from otherwise. gated: its terms have to be accepted first. subset: file with the ids that are asked, one
    a line, in that order.
    """

    files: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    make: Callable[[Row, int], Question | str] | None = None
    count: int = 0
    hub: str = ""
    revision: str = ""
    configs: tuple[str, ...] = ()
    source: str = ""
    gated: bool = False
    subset: Path | None = None

    def advice(self) -> str:
        """Where to get the file and what must be in it."""
        gate = ""
        if self.gated:
            gate = (
                f"it is gated, so first accept its terms at https://huggingface.co/datasets/{self.hub} and run `hf auth login`; "
                f"then `hf download {self.hub} {self.files[0]}.csv --repo-type dataset --local-dir FOLDER`; "
            )
        also = f" or {self.source}" if self.source else ""
        return f"get it from the hub ({self.hub}, split {self.split}){also}; {gate}it needs the columns {needed(self.columns)}"

    def read(self, root: str | Path | None = None) -> tuple[list[Question], Counter[str]]:
        """(all questions, reasons for which rows were left out with their numbers).

        Args:
            root: folder of the file, or ``hub``; None for ``REPRO_DATA_DIR``.

        Raises:
            BenchmarkError: missing or unreadable file, wrong columns, an id twice, a reference that nothing can be compared with.
        """
        try:
            path: Path | str
            if from_hub(root):
                path, rows = self.hub, hub.rows(self)
            else:
                path = locate(self.files, data_dir(root), self.advice())
                rows = read_rows(path)
        except BenchmarkError as error:
            raise self._named(error) from None
        questions, left_out = [], Counter()
        for index, fields in enumerate(pick(rows, self.columns, path)):
            try:
                made = self.make(fields, index)
            except BenchmarkError as error:
                raise BenchmarkError(f"{path}, row {index + 1}: {error}") from None
            except (TypeError, ValueError, IndexError, KeyError, AttributeError, SyntaxError) as error:
                raise BenchmarkError(f"{path}, row {index + 1}: unexpected content of a column ({error})") from None
            if isinstance(made, str):
                left_out[made] += 1
            else:
                questions.append(made)
        check_questions(questions, path)
        if self.subset is not None:
            questions = _chosen(questions, self.subset, path)
        for reason, number in left_out.items():
            log.info("%s: %d rows left out: %s", self.name, number, reason)
        if len(questions) != self.count:
            log.warning("%s: %s has %d questions, the published set has %d", self.name, Path(path).name, len(questions), self.count)
        return questions, left_out

    def contents(self, root: str | Path | None = None) -> str:
        """What tells two states of the questions apart: the file's checksum, or the hub's commit. Raises BenchmarkError as ``read``."""
        from repro.store import file_hash

        try:
            return f"{self.hub}@{self.revision}" if from_hub(root) else file_hash(locate(self.files, data_dir(root), self.advice()))
        except BenchmarkError as error:
            raise self._named(error) from None

    def _named(self, error: BenchmarkError) -> BenchmarkError:
        """The error with the benchmark's name, and with where to get it."""
        text = str(error)
        return BenchmarkError(f"{self.name}: {text}" if "get it from" in text else f"{self.name}: {text}; {self.advice()}")

    def questions(self, size: int | None = None, root: str | Path | None = None) -> list[Question]:
        """The first ``size`` questions in the file's order, all of them if there are fewer or with None. Raises as ``read``."""
        return self.read(root)[0][:size]


def _chosen(questions: list[Question], subset: Path, path: Path | str) -> list[Question]:
    by_id = {q.id: q for q in questions}
    ids = subset.read_text().split()
    missing = [i for i in ids if i not in by_id]
    if missing:
        raise BenchmarkError(f"{path}: {len(missing)} of the {len(ids)} questions of {subset.name} are missing, first {missing[0]}")
    return [by_id[i] for i in ids]


def text(value: Any) -> str:
    """Cell as text: None is empty, 27.0 stays 27.0."""
    return "" if value is None else str(value).strip()


def row_id(row: Row, index: int) -> str:
    """The row's id, else its place in the file."""
    return str(index) if row["id"] is None else str(row["id"])


def listed(problem: str, options: list[str]) -> str:
    """A question with its options under letters, one a line."""
    return problem + "\n\n" + "\n".join(f"{LETTERS[i]}) {option}" for i, option in enumerate(options))
