"""Scores responses that somebody else generated, with the verifier that scores ours, and writes one record a response.

Unlike a table of scores the records keep what was extracted and which rule decided, so two harnesses can be compared response by response;
a response without an answer is counted as such and never turned into a guess. Several responses to one question are samples of it. The
command is the harness's:

    python -m evals.harness score=recorded.jsonl.gz benchmark=mmlu_pro by=model out=records.parquet
    python -m evals.harness score=recorded.jsonl benchmark=math500       # answers looked up by the question's id in REPRO_DATA_DIR
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.benchmarks import Benchmark, FileBenchmark, Question
from evals.files import BenchmarkError, pick
from evals.records import nothing
from repro.config import ConfigError
from repro.verifiers import GoldError, Verifier

log = logging.getLogger(__name__)
MICRO_SIZE = 1_000  # questions of a micro benchmark among which ids are looked up
COLUMNS = {
    "question_id?": ("question_id", "id"),
    "response": ("response", "output"),
    "gold?": ("gold",),
    "task?": ("task",),
    "truncated?": ("truncated",),
    "tokens?": ("tokens",),
    "finish_reason?": ("finish_reason",),
    "label?": ("label",),
}
SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")  # of what is written


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
    """One record a response, with the columns of ``schema()``; those that are read are in ``python -m evals.harness --help``.

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
    records, differ, shuffled = [], 0, 0
    for number, (row, f) in enumerate(zip(rows, fields, strict=True), 1):
        try:
            record = _record(row, f, str(number), benchmark, known, verifier, task, by)
        except (GoldError, ValueError) as error:
            raise BenchmarkError(f"{where}, row {number}: {error}") from None
        record["sample_index"] = counts[record["group"], record["question_id"]]
        counts[record["group"], record["question_id"]] += 1
        records.append(record)
        question = known.get(record["question_id"])
        differ += question is not None and question.gold != record["gold"]
        shuffled += question is not None and bool(question.order) and f["gold"] is None
    if differ:  # another order of the options, or another edition of the questions
        log.warning("%s: %d references differ from those of %s; the recorded ones count", where, differ, benchmark.name)
    if shuffled:
        log.warning("%s: %d rows have no gold, so they are taken to show the options of %s in our order", where, shuffled, benchmark.name)
    verdicts = verifier.verify_batch(
        [r["gold"] for r in records],
        [r["response"] for r in records],
        task=[r["task"] for r in records],
        truncated=[r["finish_reason"] == "length" for r in records],
    )
    for record, verdict in zip(records, verdicts, strict=True):
        record |= {"extracted": verdict.extracted, "correct": verdict.correct, "rule": verdict.rule, "reason": verdict.reason}
        record["verifier_version"] = verdict.version
    return records


def schema():
    """Arrow types of the records: as far as they go the columns of the harness's own (``evals.harness.schema``)."""
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema(
        {
            "benchmark": text,
            "benchmark_version": number,
            "group": text,  # the value of the column ``by``
            "question_id": text,
            "level": text,
            "subject": text,
            "sample_index": number,
            "task": text,
            "gold": text,
            "response": text,
            "tokens": number,  # null where the file does not say
            "finish_reason": text,  # stop | length
            "extracted": text,  # null: no answer
            "correct": pa.bool_(),
            "rule": text,
            "reason": text,
            "verifier_version": text,
            "label": pa.bool_(),  # of somebody else
        }
    )


def _record(
    row: dict[str, Any],
    f: dict[str, Any],
    number: str,
    benchmark: Benchmark | None,
    known: dict[str, Question],
    verifier: Verifier,
    task: str | None,
    by: str | None,
) -> dict[str, Any]:
    """What is known of a response before it is scored. Raises ValueError and GoldError for a row that cannot be."""
    if by is not None and by not in row:
        raise ValueError(f"no column {by} for by={by}; it has {', '.join(map(str, row))}")
    if not isinstance(f["response"], str):
        raise ValueError(f"the response must be text, got {f['response']!r:.80}")
    if f["gold"] is not None and (isinstance(f["gold"], bool) or not isinstance(f["gold"], (str, int, float))):
        raise ValueError(f"gold must be text or a number, got {f['gold']!r:.80}")
    name = number if f["question_id"] is None else str(f["question_id"])
    question = known.get(name)
    if question is None and f["gold"] is None:
        which = f"{benchmark.name} has no question {name}" if benchmark else "no column gold and no benchmark="
        raise ValueError(f"{which}; the row needs a gold or the id of a question")
    kind = f["task"] or (question.task if question else task)
    if kind is None:
        which = f"{benchmark.name} has no question {name}" if benchmark else "no column task and no benchmark="
        raise ValueError(f"{which}, so how to compare is unknown; give task=")
    gold = question.gold if f["gold"] is None else str(f["gold"])
    verifier.check_gold(gold, task=kind, question_id=name)
    cut = _truth("truncated", f["truncated"]) or f["finish_reason"] == "length"
    return {
        "benchmark": benchmark.name if benchmark else "",
        "benchmark_version": benchmark.version if benchmark else 0,
        "group": "" if by is None else str(row[by]),
        "question_id": name,
        "level": question.level if question else "",
        "subject": question.subject if question else "",
        "task": kind,
        "gold": gold,
        "response": f["response"],
        "tokens": _count("tokens", f["tokens"]),
        "finish_reason": "length" if cut else "stop",
        "label": _truth("label", f["label"]),
    }


def _truth(column: str, value: Any) -> bool | None:
    """A cell as a truth value, None for none. Raises ValueError."""
    if nothing(value):
        return None
    known = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}  # 1 and 1.0 equal True
    read = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(read, (str, bool, int, float)) or read not in known:
        raise ValueError(f"{column} must be true or false, got {value!r:.40}")
    return known[read]


def _count(column: str, value: Any) -> int | None:
    """A cell as a whole number of at least 0, None for none. Raises ValueError."""
    if nothing(value):
        return None
    try:
        number = int(value)
        if number != float(value) or number < 0 or isinstance(value, bool):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{column} must be a whole number of at least 0, got {value!r:.40}") from None
    return number


def _questions(benchmark: Benchmark, root: str | None):
    return benchmark.questions(None, root) if isinstance(benchmark, FileBenchmark) else benchmark.questions(MICRO_SIZE)


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
        ends = "" if math.isnan(low) else f" [{low:z.2f}, {high:z.2f}]"
        line = f"{name or 'all':28s} {mean:z6.2f}%{ends}  no answer {none:z5.2f}%  {len(rows)} responses, {questions} questions"
        labelled = [r for r in rows if r["label"] is not None]
        if labelled:
            agree = sum(r["label"] == r["correct"] for r in labelled)
            here = sum(r["correct"] and not r["label"] for r in labelled)
            recorded = 100 * sum(r["label"] for r in labelled) / len(rows)  # no label, no anchor: not counted as right
            line += f"; labels say {recorded:z.2f}%, {agree} of {len(labelled)} agree ({100 * agree / len(labelled):z.2f}%)"
            line += f", {here} correct here only, {len(labelled) - agree - here} there only"
        lines.append(line)
    return "\n".join(lines)


def target(text: str) -> Path:
    """The file that records are to be written to. Raises ConfigError for another kind of file, and for one that cannot be written."""
    path = Path(text).expanduser()
    if not path.name.endswith(SUFFIXES) or path.is_dir():
        raise ConfigError(f"out={text}: name a file that ends in {', '.join(SUFFIXES)}")
    try:
        _draft(path).write_text("")
        _draft(path).unlink()
    except OSError as error:
        raise ConfigError(f"out={text} cannot be written ({error.strerror or error}): choose another file") from None
    return path


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write(records: Sequence[dict[str, Any]], path: Path) -> None:
    """The records as a file of the kind that its suffix says (``SUFFIXES``); whole or not at all."""
    try:
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(list(records), schema=schema()), _draft(path))
        else:
            names = schema().names
            with (gzip.open if path.suffix == ".gz" else open)(_draft(path), "wt", encoding="utf-8") as file:
                file.writelines(json.dumps({name: record[name] for name in names}, ensure_ascii=False) + "\n" for record in records)
        os.replace(_draft(path), path)
    finally:
        _draft(path).unlink(missing_ok=True)
