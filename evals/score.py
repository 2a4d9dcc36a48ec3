"""Scores responses that somebody else generated, with the verifier that scores ours, and writes one record a response.

Unlike a table of scores the records keep what was extracted and which rule decided, so two harnesses can be compared response by response;
a response without an answer is counted as such and never turned into a guess. Several responses to one question are samples of it.

    python -m evals.score recorded.jsonl.gz --benchmark mmlu_pro --by model --out records.parquet
    python -m evals.score recorded.jsonl --benchmark math500                 # answers looked up by the question's id in REPRO_DATA_DIR
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.benchmarks import BENCHMARKS, Benchmark, FileBenchmark
from evals.files import BenchmarkError, pick, read_rows
from repro.verifiers import TASKS, GoldError, Verifier

log = logging.getLogger(__name__)
MICRO_SIZE = 1_000  # questions of a micro benchmark among which ids are looked up
COLUMNS = {
    "question_id?": ("question_id", "id"),
    "response": ("response", "output"),
    "gold?": ("gold",),
    "task?": ("task",),
    "truncated?": ("truncated",),
    "finish_reason?": ("finish_reason",),
    "label?": ("label",),
}
HELP = """columns of the recorded file (JSONL, Parquet or CSV, .gz too):
  question_id or id    of the question in the benchmark; samples of one question have the same
  response or output   the whole text that the model generated; required
  gold                 reference answer; without it, that of the benchmark's question
  task                 math, letter, numeric or text; without it, that of the benchmark's question, else --task
  truncated            true where the response was cut at its token limit (or finish_reason = length): it then has no answer
  label                a verdict somebody else gave; the agreement with it is reported
The folder of the benchmark's own file is REPRO_DATA_DIR; it is only needed for rows without a gold or a task.

columns written (--out, JSONL or Parquet by its suffix):
  benchmark, benchmark_version, question_id, subject, level, sample_index, gold, task, response, extracted (null: no answer), correct,
  rule, reason, verifier_version, label, group (the value of the column --by)"""


def score(
    rows: Sequence[dict[str, Any]],
    benchmark: Benchmark | None,
    verifier: Verifier,
    *,
    task: str | None = None,
    by: str | None = None,
    root: str | None = None,
    where: str = "the recorded file",
) -> list[dict[str, Any]]:
    """One record a response; columns in ``--help``.

    Args:
        rows: recorded responses.
        benchmark: where references of rows without one come from; None if every row has its own.
        verifier: decides.
        task: kind of comparison of rows that have none, and whose question is not known.
        by: column to copy into ``group``.
        root: folder of the benchmark's file, None for ``REPRO_DATA_DIR``.
        where: file name for messages.

    Raises:
        BenchmarkError: wrong columns, a question that the benchmark does not have, a reference that cannot be compared with.
    """
    fields = pick(rows, COLUMNS, where)
    alone = all(f["gold"] is not None and (f["task"] or task) for f in fields)
    known = {} if alone or benchmark is None else {q.id: q for q in _questions(benchmark, root)}
    counts: dict[Any, int] = defaultdict(int)
    records, differ = [], 0
    for number, (row, f) in enumerate(zip(rows, fields, strict=True), 1):
        if by is not None and by not in row:
            raise BenchmarkError(f"{where}, row {number}: no column {by} for --by; it has {', '.join(row)}")
        if not isinstance(f["response"], str):
            raise BenchmarkError(f"{where}, row {number}: the response must be text, got {f['response']!r:.80}")
        name = str(number) if f["question_id"] is None else str(f["question_id"])
        question = known.get(name)
        if question is None and f["gold"] is None:
            which = f"{benchmark.name} has no question {name}" if benchmark else "no column gold and no --benchmark"
            raise BenchmarkError(f"{where}, row {number}: {which}; the row needs a gold or the id of a question")
        gold = question.gold if f["gold"] is None else str(f["gold"])
        kind = f["task"] or (question.task if question else task)
        if kind is None:
            which = f"{benchmark.name} has no question {name}" if benchmark else "no column task and no --benchmark"
            raise BenchmarkError(f"{where}, row {number}: {which}, so how to compare is unknown; give --task")
        group = "" if by is None else str(row[by])
        try:
            verifier.check_gold(gold, task=kind, question_id=name)
        except (GoldError, ValueError) as error:
            raise BenchmarkError(f"{where}, row {number}: {error}") from None
        records.append(
            {
                "benchmark": benchmark.name if benchmark else "",
                "benchmark_version": benchmark.version if benchmark else 0,
                "question_id": name,
                "subject": question.subject if question else "",
                "level": question.level if question else "",
                "sample_index": counts[group, name],
                "gold": gold,
                "task": kind,
                "response": f["response"],
                "label": f["label"],
                "group": group,
            }
        )
        counts[group, name] += 1
        differ += question is not None and question.gold != gold
    if differ:  # another order of the options, or another edition of the questions
        log.warning("%s: %d references differ from those of %s; the recorded ones count", where, differ, benchmark.name)
    cut = [_cut(f) for f in fields]
    verdicts = verifier.verify_batch(
        [r["gold"] for r in records], [r["response"] for r in records], task=[r["task"] for r in records], truncated=cut
    )
    for record, verdict in zip(records, verdicts, strict=True):
        record |= {"extracted": verdict.extracted, "correct": verdict.correct, "rule": verdict.rule, "reason": verdict.reason}
        record["verifier_version"] = verdict.version
    return records


def _questions(benchmark: Benchmark, root: str | None):
    return benchmark.questions(None, root) if isinstance(benchmark, FileBenchmark) else benchmark.questions(MICRO_SIZE)


def _cut(fields: dict[str, Any]) -> bool:
    return fields["truncated"] in (True, 1, "true", "True", "1") or fields["finish_reason"] == "length"


def interval(records: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """(mean over questions, ends of its 95 % interval): ``repro.report.table.question_interval``; nan ends with one question.

    Raises ValueError for no records.
    """
    import numpy as np

    from repro.report.table import question_interval

    if not records:
        raise ValueError("no records: nothing to average")
    return question_interval(np.array([r["correct"] for r in records]), np.array([r["question_id"] for r in records]))


def summary(records: Sequence[dict[str, Any]]) -> str:
    """One line a group: accuracy with interval, share without an answer, and the agreement with recorded labels."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record["group"]].append(record)
    if len(groups) > 1:
        groups["all"] = list(records)
    lines = []
    for name, rows in groups.items():
        mean, low, high = (100 * value for value in interval(rows))
        none = 100 * sum(r["extracted"] is None for r in rows) / len(rows)
        questions = len({r["question_id"] for r in rows})
        ends = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        line = f"{name or 'all':28s} {mean:6.2f}%{ends}  no answer {none:5.2f}%  {len(rows)} responses, {questions} questions"
        labelled = [r for r in rows if r["label"] is not None]
        if labelled:
            agree = sum(bool(r["label"]) == r["correct"] for r in labelled)
            here = sum(r["correct"] and not r["label"] for r in labelled)
            line += f"; {agree} of {len(labelled)} labels agree ({100 * agree / len(labelled):.2f}%)"
            line += f", {here} correct here only, {len(labelled) - agree - here} there only"
        lines.append(line)
    return "\n".join(lines)


def write(records: Sequence[dict[str, Any]], path: Path) -> None:
    """JSONL (``.jsonl``, ``.jsonl.gz``) or Parquet (``.parquet``) by the suffix. Raises BenchmarkError for another one."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"benchmark_version": pa.int64(), "sample_index": pa.int64(), "correct": pa.bool_(), "label": pa.bool_()}
        schema = pa.schema({name: types.get(name, pa.string()) for name in records[0]})
        pq.write_table(
            pa.Table.from_pylist([dict(r, label=None if r["label"] is None else bool(r["label"])) for r in records], schema=schema), path
        )
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    else:
        raise BenchmarkError(f"--out {path}: unknown kind of file; use .jsonl, .jsonl.gz or .parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 2 for input that has to be mended, with one line on stderr."""
    parser = argparse.ArgumentParser(
        "python -m evals.score", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recorded", type=Path, help="file of recorded responses")
    parser.add_argument("--benchmark", choices=list(BENCHMARKS), help="whose questions they answer; needed unless every row has its gold")
    parser.add_argument("--task", choices=TASKS, help="kind of comparison of rows without one; then the benchmark's file is not needed")
    parser.add_argument("--by", help="column to report by, e.g. model")
    parser.add_argument("--root", help="folder of the benchmark's file (REPRO_DATA_DIR)")
    parser.add_argument("--fallback", action="store_true", help="take the last number of responses that commit to no answer; rule says so")
    parser.add_argument("--out", type=Path, help="write the records here (.jsonl, .jsonl.gz, .parquet)")
    chosen = parser.parse_args(arguments)
    try:
        with Verifier(fallback=chosen.fallback) as verifier:
            benchmark = BENCHMARKS[chosen.benchmark] if chosen.benchmark else None
            rows = read_rows(chosen.recorded)
            records = score(rows, benchmark, verifier, task=chosen.task, by=chosen.by, root=chosen.root, where=str(chosen.recorded))
        if chosen.out:
            write(records, chosen.out)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    print(summary(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
