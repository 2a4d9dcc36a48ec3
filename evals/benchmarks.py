"""The benchmarks that a model can be scored on: the micro world's and the published ones. Light to import: questions are read when asked for.

Every benchmark gives the same ``Question``s whatever the file's format, with the kind of comparison (``repro.verifiers``) chosen a question:
TheoremQA mixes numbers, truth values and options. The published ones are read from local files (``evals/files.py``); nothing of theirs is
shipped but the ids of our MMLU-Pro-1k. GPQA's options are shuffled by a hash of the record's id, so the order neither depends on the other
questions nor on a global random state, and it is recorded (``Question.order``). A micro question looks like this:

    find x : D1 C2 B1 A0 =5   ->   5

    REPRO_DATA_DIR=... python -m evals.benchmarks          # which benchmarks can be read here, and how many questions they have
"""

from __future__ import annotations

import ast
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evals import hub
from evals.files import BenchmarkError, check_questions, data_dir, from_hub, locate, needed, pick, read_rows

log = logging.getLogger(__name__)
LETTERS = "ABCDEFGHIJ"
SUBSET_IDS = Path(__file__).parent / "tasks" / "mmlu_pro_1k.txt"


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
class Benchmark:
    """A micro benchmark. ``title`` for tables; ``version`` goes up when the same name asks other questions; ``style``: usual prompt format."""

    name: str
    title: str
    split: str
    version: int = 1
    style: str = "plain"

    def questions(self, size: int, root: str | Path | None = None) -> list[Question]:
        """The first ``size`` questions; the same ones in every run. ``root`` is not used."""
        from repro.data.world import problems

        return [
            Question(p.id, p.prompt(), p.answer, p.task, f"degree {p.degree}", options=len(p.options)) for p in problems(self.split, size)
        ]


@dataclass(frozen=True)
class FileBenchmark(Benchmark):
    """A published benchmark in a local file.

    files: stems of the file's name, the first one is asked for. columns: field -> accepted column names (``evals.files.pick``).
    make: (fields of a row, its index) -> Question, or the reason why it is left out. count: questions of the published set.
    hub: data set on the hub; configs: its configurations that make up the benchmark, none where it has one only; commits are in
    ``evals.hub``. source: where the file may come from otherwise. subset: file with the ids that are asked, one a line, in that order.
    """

    files: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    make: Callable[[dict[str, Any], int], Question | str] | None = None
    count: int = 0
    hub: str = ""
    configs: tuple[str, ...] = ()
    source: str = ""
    subset: Path | None = None

    def advice(self) -> str:
        """Where to get the file and what must be in it."""
        gate = ""
        if self.hub == "Idavidrein/gpqa":
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
            except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
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
            return f"{self.hub}@{hub.commit(self.hub)}" if from_hub(root) else file_hash(locate(self.files, data_dir(root), self.advice()))
        except BenchmarkError as error:
            raise self._named(error) from None

    def _named(self, error: BenchmarkError) -> BenchmarkError:
        """The error with the benchmark's name, and with where to get it."""
        text = str(error)
        return BenchmarkError(f"{self.name}: {text}" if "get it from" in text else f"{self.name}: {text}; {self.advice()}")

    def questions(self, size: int | None = None, root: str | Path | None = None) -> list[Question]:
        """The first ``size`` questions in the file's order, all of them if there are fewer or with None. Raises as ``read``."""
        return self.read(root)[0][:size]


def _chosen(questions: list[Question], subset: Path, path: Path) -> list[Question]:
    by_id = {q.id: q for q in questions}
    ids = subset.read_text().split()
    missing = [i for i in ids if i not in by_id]
    if missing:
        raise BenchmarkError(f"{path}: {len(missing)} of the {len(ids)} questions of {subset.name} are missing, first {missing[0]}")
    return [by_id[i] for i in ids]


def _text(value: Any) -> str:
    """Cell as text: None is empty, 27.0 stays 27.0."""
    return "" if value is None else str(value).strip()


def _whole(value: Any) -> str:
    """27.0 is 27: competition answers that a file stores as floats."""
    text = _text(value)
    return text[:-2] if text.endswith(".0") else text


def _id(row: dict[str, Any], index: int) -> str:
    return str(index) if row["id"] is None else str(row["id"])


def _math(row: dict[str, Any], index: int) -> Question:
    """Reference from the answer column, else from the last box of the solution (as in the original MATH files)."""
    gold = row["answer"]
    if gold is None and "solution" in row:
        from repro.verifiers.extract import boxes

        found = boxes(_text(row["solution"]))
        if not found:
            raise BenchmarkError("neither a column answer nor a \\boxed{} in the column solution")
        gold = found[-1][2]
    level = _text(row["level"]).removeprefix("Level ")
    return Question(_id(row, index), _text(row["problem"]), _text(gold), "math", level, _text(row["subject"]))


def _competition(row: dict[str, Any], index: int) -> Question:
    return Question(_id(row, index), _text(row["problem"]), _whole(row["answer"]), "math", "")


def _gsm8k(row: dict[str, Any], index: int) -> Question:
    answer = _text(row["answer"])
    if "####" not in answer:
        raise BenchmarkError("no '#### ' before the answer")
    return Question(_id(row, index), _text(row["problem"]), answer.rsplit("####", 1)[1].strip().replace(",", ""), "math", "")


def _olympiad(row: dict[str, Any], index: int) -> Question:
    """Several answers are one list; a context, where there is one, comes before the question. The unit stays out of the reference."""
    answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    problem = "\n".join(part for part in (_text(row["context"]), _text(row["problem"])) if part)
    return Question(_id(row, index), problem, ", ".join(map(_text, answers)), "math", "", _text(row["subject"]))


def _theoremqa(row: dict[str, Any], index: int) -> Question | str:
    """``numeric`` knows integers (exact), decimals (tolerance), lists and truth values; options are letters."""
    if row["picture"] is not None and _text(row["picture"]) not in ("", "None"):
        return "needs a picture"
    kind = _text(row["kind"])
    if kind not in ("integer", "float", "bool", "option", "list of integer", "list of float"):
        raise BenchmarkError(f"unknown Answer_type {kind!r}")
    gold = _text(row["answer"])
    task = "letter" if kind == "option" else "numeric"
    return Question(_id(row, index), _text(row["problem"]), gold, task, "", _text(row["subject"]), 4 if kind == "option" else 0)


def listed(problem: str, options: list[str]) -> str:
    """A question with its options under letters, one a line."""
    return problem + "\n\n" + "\n".join(f"{LETTERS[i]}) {option}" for i, option in enumerate(options))


def _mmlu_pro(row: dict[str, Any], index: int) -> Question:
    """The letter is the reference, as for the official scorer; the index disagrees once (3983, where the letter is the right one)."""
    options, gold = row["options"], _text(row["answer"])
    if isinstance(options, str):  # CSV
        options = ast.literal_eval(options)
    options = [str(o) for o in options if o != "N/A"]  # the hub's early revisions filled up with N/A
    if not 2 <= len(options) <= len(LETTERS) or gold not in LETTERS[: len(options)] or not gold:
        raise BenchmarkError(f"question {row['id']}: answer {gold!r} is none of its {len(options)} options")
    if row["index"] is not None and int(row["index"]) != LETTERS.index(gold):
        log.warning("mmlu_pro: question %s: answer %s but answer_index %s; the letter counts", row["id"], gold, row["index"])
    return Question(_id(row, index), listed(_text(row["problem"]), options), gold, "letter", "", _text(row["subject"]), len(options))


def _gpqa(row: dict[str, Any], index: int) -> Question:
    """Order drawn from the record's id alone. Options keep every bracket: stripping them corrupts formulas and names of compounds."""
    options = [_text(row[name]) for name in ("right", "wrong 1", "wrong 2", "wrong 3")]
    if not all(options):
        raise BenchmarkError(f"question {row['id']}: an option is empty")
    order = list(range(len(options)))
    random.Random(hashlib.sha256(f"gpqa/{row['id']}".encode()).hexdigest()).shuffle(order)
    prompt = listed(_text(row["problem"]), [options[i] for i in order])
    gold, shown = LETTERS[order.index(0)], ",".join(map(str, order))
    return Question(_id(row, index), prompt, gold, "letter", _text(row["level"]), _text(row["subject"]), len(options), shown)


_PROBLEM = ("problem", "Problem", "question", "Question")
_IDS = ("id", "ID", "unique_id", "question_id", "idx")
_ANSWER = ("answer", "Answer")
_MATH = {"problem": _PROBLEM, "answer": _ANSWER, "id?": ("unique_id", *_IDS), "level?": ("level",), "subject?": ("subject", "type")}
_MATH_SOLUTION = {**_MATH, "solution": ("solution",), "answer?": _ANSWER}
del _MATH_SOLUTION["answer"]
_CONTEST = {"problem": _PROBLEM, "answer": _ANSWER, "id?": _IDS}
_GPQA = {"problem": ("Question",), "right": ("Correct Answer",), **{f"wrong {i}": (f"Incorrect Answer {i}",) for i in (1, 2, 3)}}
_GPQA |= {"id": ("Record ID",), "subject?": ("High-level domain",), "level?": ("Writer's Difficulty Estimate",)}
_THEOREMQA = {"problem": ("Question",), "answer": ("Answer",), "kind": ("Answer_type",), "picture": ("Picture",)}
_THEOREMQA |= {"id?": ("id",), "subject?": ("field",)}
_MMLU_PRO = {"id": ("question_id",), "problem": ("question",), "options": ("options",), "answer": ("answer",)}
_MMLU_PRO |= {"index?": ("answer_index",), "subject": ("category",)}
_OLYMPIAD = {"problem": ("question",), "answer": ("final_answer",), "id?": ("id",), "subject?": ("subfield",), "context?": ("context",)}

_MMLU = FileBenchmark(
    "mmlu_pro", "MMLU-Pro", "test", 1, "simple_evals", ("mmlu_pro_test", "mmlu_pro"), _MMLU_PRO, _mmlu_pro, 12_032, "TIGER-Lab/MMLU-Pro"
)
_DIAMOND = FileBenchmark(
    "gpqa_diamond", "GPQA-diamond", "train", 1, "simple_evals", ("gpqa_diamond",), _GPQA, _gpqa, 198, "Idavidrein/gpqa", ("gpqa_diamond",)
)


_SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra", "precalculus")


def _boxed(name: str, title: str, file: str, columns: dict, make: Callable, count: int, hub: str, source: str = "", **more: Any):
    return FileBenchmark(
        name, title, more.pop("split", "test"), 1, "qwen_math", (file, name), columns, make, count, hub, source=source, **more
    )


BENCHMARKS: dict[str, Benchmark] = {
    b.name: b
    for b in (
        Benchmark("micro_math", "MATH", "math"),
        Benchmark("micro_aime", "AIME", "aime"),
        Benchmark("micro_theoremqa", "TheoremQA", "theoremqa"),
        Benchmark("micro_mmlu_pro", "MMLU-Pro", "mmlu_pro"),
        Benchmark("micro_gpqa", "GPQA", "gpqa"),
        _boxed("math500", "MATH-500", "math500_test", _MATH, _math, 500, "HuggingFaceH4/MATH-500", "github.com/openai/prm800k"),
        _boxed(
            "math",
            "MATH",
            "math_test5000",
            _MATH_SOLUTION,
            _math,
            5_000,
            "EleutherAI/hendrycks_math",
            "github.com/microsoft/ToRA",
            configs=_SUBJECTS,
        ),
        _boxed(
            "aime2024",
            "AIME 2024",
            "aime2024",
            _CONTEST,
            _competition,
            30,
            "Maxwell-Jia/AIME_2024",
            "github.com/QwenLM/QwQ",
            split="train",
        ),
        _boxed("aime2025", "AIME 2025", "aime2025", _CONTEST, _competition, 30, "math-ai/aime25", "github.com/QwenLM/QwQ"),
        _boxed("amc23", "AMC 2023", "amc23", _CONTEST, _competition, 40, "math-ai/amc23", "github.com/QwenLM/Qwen2.5-Math"),
        _DIAMOND,
        replace(_DIAMOND, name="gpqa_main", title="GPQA-main", files=("gpqa_main",), count=448, configs=("gpqa_main",)),
        _boxed("theoremqa", "TheoremQA", "theoremqa_test", _THEOREMQA, _theoremqa, 747, "TIGER-Lab/TheoremQA"),
        _MMLU,
        replace(_MMLU, name="mmlu_pro_1k", title="MMLU-Pro-1k", count=1_000, subset=SUBSET_IDS),
        _boxed(
            "olympiadbench",
            "OlympiadBench",
            "olympiadbench_en_text",
            _OLYMPIAD,
            _olympiad,
            675,
            "Hothan/OlympiadBench",
            split="train",
            configs=("OE_TO_maths_en_COMP",),
        ),
        _boxed(
            "gsm8k",
            "GSM8K",
            "gsm8k_test",
            _CONTEST,
            _gsm8k,
            1_319,
            "openai/gsm8k",
            "github.com/openai/grade-school-math",
            configs=("main",),
        ),
    )
}


if __name__ == "__main__":
    for benchmark in BENCHMARKS.values():
        try:
            read, out = benchmark.read() if isinstance(benchmark, FileBenchmark) else (benchmark.questions(100), Counter())
            reasons = "".join(f", {n} left out: {why}" for why, n in out.items())
            print(f"{benchmark.name:15s} v{benchmark.version} {len(read):6d} questions {dict(Counter(q.task for q in read))}{reasons}")
        except BenchmarkError as problem:
            print(f"{benchmark.name:15s} {problem}")
