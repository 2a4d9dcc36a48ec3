"""Scores JSONL lines: ``python -m repro.verifiers < in.jsonl > out.jsonl``.

A line in is an object with ``gold`` and ``output``, and if wanted ``id``, ``task`` (math, letter, numeric, text) and ``kind`` (full: a whole
response, the answer is extracted; answer: the output is the answer). A line out repeats ``id`` and adds ``correct``, ``extracted``, ``rule``,
``reason``, ``seconds``. A line that cannot be read gets ``{"id", "line", "error", "correct": false}`` and the rest goes on. Lines come out in
the order they came in. Exit status: 0, or 1 if a line had an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from repro.verifiers import GoldError, Verifier
from repro.verifiers.verdict import check_kind, check_task

BATCH = 256  # lines scored together, so that the workers have something to share


class LineError(ValueError):
    """Why one line cannot be scored."""


def read(text: str) -> dict[str, Any]:
    """A line as a checked object with ``task`` and ``kind`` filled in.

    Raises:
        LineError: bad JSON, not an object, a missing or mistyped key, an unknown task or kind. ``identity`` is the id if there is one.
    """
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineError(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise LineError(f"a line is an object with gold and output, not {type(row).__name__}")
    try:
        for key in ("gold", "output"):
            if key not in row:
                raise LineError(f"{key} is missing")
            if not isinstance(row[key], str):
                raise LineError(f"{key} must be text, not {type(row[key]).__name__}")
        for key, check, default in (("task", check_task, "math"), ("kind", check_kind, "full")):
            value = row.get(key, default)
            if not isinstance(value, str):
                raise LineError(f"{key} must be text, not {type(value).__name__}")
            try:
                row[key] = check(value)
            except ValueError as error:
                raise LineError(str(error)) from None
    except LineError as error:
        error.identity = row.get("id")
        raise
    return row


def score(lines: Iterable[str], verifier: Verifier) -> Iterator[dict[str, Any]]:
    """One result a non-empty line, in order."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while batch := list(islice(numbered, BATCH)):
        results: list[dict[str, Any] | None] = []
        good: list[tuple[int, dict[str, Any]]] = []
        for number, text in batch:
            try:
                row = read(text)
                verifier.check_gold(row["gold"], task=row["task"], question_id=str(row.get("id", f"line {number}")))
                good.append((len(results), row))
                results.append(None)
            except (LineError, GoldError) as error:
                identity = row.get("id") if isinstance(error, GoldError) else getattr(error, "identity", None)
                results.append({"id": identity, "line": number, "correct": False, "error": str(error)})
        for kind in dict.fromkeys(row["kind"] for _, row in good):
            chosen = [(place, row) for place, row in good if row["kind"] == kind]
            columns = [[row[key] for _, row in chosen] for key in ("gold", "output", "task")]
            for (place, row), verdict in zip(chosen, verifier.verify_batch(*columns[:2], task=columns[2], kind=kind), strict=True):
                found = {name: getattr(verdict, name) for name in ("correct", "extracted", "rule", "reason")}
                results[place] = {"id": row.get("id"), **found, "seconds": round(verdict.seconds, 6)}
        yield from results


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m repro.verifiers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tolerance", type=float, default=0.01, help="relative, for numeric references written as decimals (0.01)")
    parser.add_argument("--workers", type=int, help="processes for what needs computer algebra (4, or the number of cores)")
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds a pair may spend there before it is killed and wrong (1)")
    parser.add_argument("--fallback", action="store_true", help="take the last number of an output that commits to no answer")
    options = parser.parse_args()
    try:
        verifier = Verifier(**vars(options))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Any bytes may stand in a model's output; what is no UTF-8 must not stop the others.
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    failed = 0
    with verifier:
        for result in score(sys.stdin, verifier):
            failed += "error" in result
            print(json.dumps(result, ensure_ascii=True), flush=False)
        sys.stdout.flush()
    if failed:
        print(f"{failed} lines had errors", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
