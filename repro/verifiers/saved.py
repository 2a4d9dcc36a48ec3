"""Saved samples to re-score: the harness's Parquet records and JSONL lines, one form for all.

>>> from repro.verifiers.saved import Sample
>>> Sample("samples.jsonl, row 1", gold="5", output="so it is 5").task
'math'
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.verifiers.verdict import KINDS, Verdict, check_task

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")


class AgreementError(ValueError):
    """Input that cannot be re-scored; the message is one line and names the file or option."""


@dataclass(frozen=True)
class Sample:
    """One saved output. ``where``: file and row, for messages; ``stored``: the verdict in the record, None if there is none."""

    where: str
    gold: str
    output: str
    task: str = "math"
    kind: str = "full"
    truncated: bool = False
    prompt: str | None = None
    stored: Verdict | None = None
    question_id: str = ""


def read(paths: Sequence[str]) -> list[Sample]:
    """The samples of all files, in order. Raises AgreementError for a missing file or column and for a line that is no JSON object."""
    samples: list[Sample] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES) and not p.name.startswith("."))
            found = [file for file in files if "gold" in (columns := _columns(file)) and _output(columns)]
            if not found:
                raise AgreementError(f"{path}: no Parquet or JSONL file with columns gold and output (or response) in this folder")
        elif path.is_file():
            if not path.name.endswith(SUFFIXES):
                raise AgreementError(f"{path}: neither of {', '.join(SUFFIXES)}")
            found = [path]
        else:
            raise AgreementError(f"{path}: no such file or folder")
        for file in found:
            samples += _samples(file)
    return samples


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet as pq

        try:
            yield from pq.read_table(path).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise AgreementError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
        return
    with gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if not isinstance(row, dict):
                    raise AgreementError(f"{path}, line {number}: not a JSON object")
                yield row


def _columns(path: Path) -> list[str]:
    """Column names, of JSONL those of the first line; none for a file that cannot be read."""
    try:
        if path.name.endswith(".parquet"):
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        return list(next(_rows(path), {}))
    except (AgreementError, OSError, ValueError):
        return []


def _output(columns: Sequence[str]) -> str | None:
    return next((name for name in ("output", "response") if name in columns), None)


def _samples(path: Path) -> list[Sample]:
    rows = list(_rows(path))
    questions = _questions(rows)
    samples = []
    for number, row in enumerate(rows, 1):
        where, output = f"{path}, row {number}", _output(list(row))
        if output is None or "gold" not in row:
            raise AgreementError(f"{where}: no column {'gold' if output else 'output (or response)'}; columns are {', '.join(row)}")
        if not isinstance(row["gold"], str) or not isinstance(row[output], str):
            raise AgreementError(f"{where}: gold and {output} must be text")
        question = questions.get((row.get("benchmark"), str(row.get("question_id"))))
        kind = row.get("kind") or "full"
        try:
            task = check_task(row.get("task") or (question.task if question else "math"))
        except ValueError as error:
            raise AgreementError(f"{where}: {error}") from None
        if kind not in KINDS:
            raise AgreementError(f"{where}: kind {kind!r} does not exist; choose one of {', '.join(KINDS)}")
        said = row.get("correct", row.get("label"))
        stored = None
        if isinstance(said, bool):
            stored = Verdict(said, row.get("extracted"), row.get("rule") or "stored", row.get("reason") or "", 0.0, "stored")
        prompt = next((row[name] for name in ("prompt", "problem", "question") if isinstance(row.get(name), str)), None)
        samples.append(
            Sample(
                where,
                row["gold"],
                row[output],
                task,
                kind,
                row.get("finish_reason") == "length" or bool(row.get("truncated")),
                question.prompt if prompt is None and question else prompt,
                stored,
                str(row.get("question_id", row.get("id", ""))),
            )
        )
    return samples


def _questions(rows: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """(benchmark, question) -> question with task and prompt, which evaluation records leave to the benchmark."""
    ids: dict[str, set[str]] = {}
    for row in rows:
        if isinstance(row.get("benchmark"), str):
            ids.setdefault(row["benchmark"], set()).add(str(row.get("question_id")))
    if not ids:
        return {}
    from evals.benchmarks import BENCHMARKS

    return {(name, str(q.id)): q for name in ids if name in BENCHMARKS for q in BENCHMARKS[name].questions(len(ids[name]))}
