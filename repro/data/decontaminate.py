"""Which benchmark questions are in a set of training prompts: overlap of word n-grams, and a set without them.

Words are runs of letters and digits, in lower case; signs do not count, so spelling of formulas hides little. A prompt *overlaps* with a question
if they share 13 words in a row (GPT-3's size; a shorter question must be the whole prompt), and *contains* it if such runs cover 80 % of the
question's words (the share from which Llama 2's report, appendix A.6, calls a sample dirty). Overlaps are reported, since mathematics is full of
stock phrases ("where m and n are relatively prime ..."); contained questions are what a train set is refused for. Near duplicates with
other numbers count as contained where the rest is long enough; numbers are words like others.

    python -m repro.data.decontaminate prompts.jsonl                     # a table by benchmark
    python -m repro.data.decontaminate prompts.jsonl out=clean.jsonl report=overlaps.parquet
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals.benchmarks import BENCHMARKS, FileBenchmark
from evals.files import BenchmarkError
from repro.config import ConfigError
from repro.data.prompts import INSTRUCTION

log = logging.getLogger(__name__)
NGRAM = 13
CONTAINED = 0.8  # share of a question's words in shared n-grams
MICRO_QUESTIONS = 1_000  # of a micro benchmark, which has no end
WORD = re.compile(r"[^\W_]+")
HELP = """python -m repro.data.decontaminate FILE [key=value ...]

Looks for the questions of every benchmark that can be read (REPRO_DATA_DIR) in a file of prompts or of prompts with responses, or in
hub:OWNER/NAME, and prints how many it holds.

  out         JSONL file for the rows that contain no question
  report      Parquet file for the overlaps: benchmark, question, prompt, share, rule, text
  benchmark   names, separated by commas; all that can be read
  ngram       words in a row; 13

Exit code: 0, or 2 for input that has to be mended, with one line that says how."""


def words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


_INSTRUCTION = words(INSTRUCTION)


def prompt_words(text: str) -> list[str]:
    """Words of a prompt without the usual instruction at its end, which would hide an exact match."""
    found = words(text)
    return found[: -len(_INSTRUCTION)] if found[-len(_INSTRUCTION) :] == _INSTRUCTION else found


@dataclass(frozen=True)
class Overlap:
    """``share``: of the question's words, in [0, 1]. ``rule``: ``exact`` or ``13-gram``. ``text``: the longest run of shared words."""

    benchmark: str
    question_id: str
    prompt_id: str
    share: float
    rule: str
    text: str

    @property
    def contained(self) -> bool:
        return self.share >= CONTAINED


class Index:
    """Questions by the n-grams of their words.

    Args:
        questions: (benchmark, question id, text). n: words in a row.
    """

    def __init__(self, questions: Iterable[tuple[str, str, str]], n: int = NGRAM) -> None:
        self.n = n
        self.questions: list[tuple[str, str, list[str]]] = []
        self.exact: dict[str, list[int]] = {}
        self.grams: dict[int, int | list[int]] = {}  # hash of an n-gram -> question or questions; a collision costs a look, no error
        for number, (benchmark, question, text) in enumerate(questions):
            found = words(text)
            self.questions.append((benchmark, question, found))
            if len(found) < n:
                self.exact.setdefault(" ".join(found), []).append(number)
                continue
            for gram in {hash(g) for g in _grams(found, n)}:
                known = self.grams.get(gram)
                if known is None:
                    self.grams[gram] = number
                elif isinstance(known, list):
                    known.append(number)
                else:
                    self.grams[gram] = [known, number]

    @property
    def counts(self) -> Counter[str]:
        """Questions by benchmark."""
        return Counter(benchmark for benchmark, _, _ in self.questions)

    def overlaps(self, prompt_id: str, text: str) -> list[Overlap]:
        """What one prompt shares with the questions, in their order."""
        found = prompt_words(text)
        grams = _grams(found, self.n)
        hit: set[int] = set()
        for gram in grams:
            known = self.grams.get(hash(gram))
            if known is not None:
                hit.update(known if isinstance(known, list) else (known,))
        shared = []
        for number in sorted({*hit, *self.exact.get(" ".join(found), ())}):
            benchmark, question, asked = self.questions[number]
            if len(asked) < self.n:
                shared.append(Overlap(benchmark, question, prompt_id, 1.0, "exact", " ".join(asked)))
                continue
            share, run = _coverage(asked, set(grams), self.n)
            if share > 0:
                shared.append(Overlap(benchmark, question, prompt_id, share, f"{self.n}-gram", run))
        return shared


def _grams(found: Sequence[str], n: int) -> list[str]:
    return [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]


def _coverage(asked: list[str], grams: set[str], n: int) -> tuple[float, str]:
    """Share of the words that lie in a shared n-gram, and the longest run of them."""
    covered = [False] * len(asked)
    for i, gram in enumerate(_grams(asked, n)):
        if gram in grams:
            covered[i : i + n] = [True] * n
    best, start = (0, 0), 0
    for i in range(len(asked) + 1):
        if i == len(asked) or not covered[i]:
            best, start = max(best, (i - start, -start)), i + 1
    return sum(covered) / len(asked), " ".join(asked[-best[1] : -best[1] + best[0]])


def readable(
    names: Sequence[str] | None = None, micro_questions: int = MICRO_QUESTIONS
) -> tuple[list[tuple[str, str, str]], dict[str, str]]:
    """(benchmark, question id, text) of every benchmark that can be read, and why the others cannot.

    Args:
        names: of the benchmarks that must be read; None: all that can be.

    Raises:
        BenchmarkError: one of ``names`` cannot be read. ConfigError: one of them does not exist.
    """
    found: list[tuple[str, str, str]] = []
    silent: dict[str, str] = {}
    for name in names or BENCHMARKS:
        if name not in BENCHMARKS:
            raise ConfigError(f"benchmark={name} does not exist: choose from {', '.join(BENCHMARKS)}")
        benchmark = BENCHMARKS[name]
        try:
            questions = benchmark.questions() if isinstance(benchmark, FileBenchmark) else benchmark.questions(micro_questions)
        except BenchmarkError as error:
            if names:
                raise
            silent[name] = str(error)
            continue
        found += [(name, question.id, question.prompt) for question in questions]
    return found, silent


@dataclass(frozen=True)
class Report:
    """What a set of prompts shares with the benchmarks. ``counts``: questions looked for, by benchmark; ``prompts``: how many were looked at."""

    overlaps: list[Overlap]
    counts: dict[str, int]
    unread: dict[str, str]
    prompts: int
    n: int

    def contained(self, benchmark: str | None = None) -> set[tuple[str, str]]:
        """(benchmark, question id) of the questions that some prompt contains."""
        return {(o.benchmark, o.question_id) for o in self.overlaps if o.contained and benchmark in (None, o.benchmark)}

    @property
    def dirty(self) -> set[str]:
        """Ids of the prompts that contain a question."""
        return {o.prompt_id for o in self.overlaps if o.contained}

    def facts(self, allowed: bool = False, dropped: int = 0) -> dict[str, dict[str, Any]]:
        """By benchmark, for manifests and ``cell.json``: ``method`` (in words, what reports show), ``questions``, ``contained``, ``overlapping``."""
        found = {}
        for name, count in self.counts.items():
            inside = len(self.contained(name))
            near = len({o.question_id for o in self.overlaps if o.benchmark == name})
            text = f"{self.n}-grams, {near} of {count} questions overlap, none contained"
            if inside and allowed:
                text = f"CONTAMINATED: the train set contains {inside} of {count} questions (allow_contaminated=true)"
            elif inside:
                text = f"{self.n}-grams, prompts with {inside} of {count} questions left out"
            found[name] = {
                "method": text,
                "questions": count,
                "contained": inside,
                "overlapping": near,
                "allowed": bool(inside and allowed),
            }
            if dropped:
                found[name]["prompts_dropped"] = len({o.prompt_id for o in self.overlaps if o.benchmark == name and o.contained})
        return found

    def summary(self) -> str:
        """``3 of math500, 1 of aime2024``: contained questions."""
        return ", ".join(f"{len(self.contained(name))} of {name}" for name in self.counts if self.contained(name))

    def write(self, path: Path) -> None:
        """All overlaps as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [("benchmark", pa.string()), ("question_id", pa.string()), ("prompt_id", pa.string()), ("share", pa.float64())]
        schema = pa.schema([*columns, ("rule", pa.string()), ("text", pa.string())])
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        pq.write_table(pa.Table.from_pylist([asdict(o) for o in self.overlaps], schema=schema), draft)
        os.replace(draft, path)

    def table(self) -> str:
        lines = [f"{'benchmark':15s} {'questions':>9s} {'overlapping':>11s} {'contained':>9s} {'prompts':>8s}"]
        for name, fact in self.facts().items():
            prompts = len({o.prompt_id for o in self.overlaps if o.benchmark == name and o.contained})
            lines.append(f"{name:15s} {fact['questions']:9,} {fact['overlapping']:11,} {fact['contained']:9,} {prompts:8,}")
        lines.append(
            f"{len(self.dirty):,} of {self.prompts:,} prompts contain a question ({self.n}-grams cover {CONTAINED:.0%} of it, or all of it)"
        )
        lines += [f"{name}: not looked for, it cannot be read" for name in self.unread]
        return "\n".join(lines)


def check(
    prompts: Iterable[tuple[str, str]], names: Sequence[str] | None = None, n: int = NGRAM, micro_questions: int = MICRO_QUESTIONS
) -> Report:
    """Look for the questions of ``names`` (None: every benchmark that can be read) in (id, text) prompts.

    Raises:
        BenchmarkError, ConfigError: as ``readable``.
    """
    questions, unread = readable(names, micro_questions)
    index = Index(questions, n)
    shared: list[Overlap] = []
    count = 0
    for prompt_id, text in prompts:
        shared += index.overlaps(prompt_id, text)
        count += 1
    return Report(shared, dict(index.counts), unread, count, n)


def main(arguments: Sequence[str]) -> int:
    from repro.data.sets import prompt_text, rows_of
    from repro.keys import pairs, several, whole

    if not arguments or "--help" in arguments or "-h" in arguments:
        print(HELP)
        return 0
    source = arguments[0]
    try:
        given = pairs(arguments[1:], ("out", "report", "benchmark", "ngram"))
        names = several("benchmark", given["benchmark"], list(BENCHMARKS)) if "benchmark" in given else None
        report = check(
            ((str(index), prompt_text(row, source, index)) for index, row in enumerate(rows_of(source))),
            names,
            whole("ngram", given["ngram"]) if "ngram" in given else NGRAM,
        )
        if not report.counts:
            raise ConfigError(f"no benchmark can be read: {next(iter(report.unread.values()))}")
        if "report" in given:
            report.write(Path(given["report"]))
        if "out" in given:
            out = Path(given["out"])
            draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
            with open(draft, "w") as file:
                for index, row in enumerate(rows_of(source)):
                    if str(index) not in report.dirty:
                        file.write(json.dumps(row) + "\n")
            os.replace(draft, out)
    except (ConfigError, BenchmarkError, OSError) as error:
        print(f"repro.data.decontaminate: {error}", file=sys.stderr)
        return 2
    print(report.table())
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    logging.basicConfig(level=logging.ERROR)
    run_command(lambda: main(sys.argv[1:]))
