"""``python -m repro.cot FILES``: the measures of recorded responses by group, as a Markdown table.

Reads any records with a text column, ours or another project's, and never holds more than a batch of texts. Bad input is one line and
exit code 2.

    python -m repro.cot outputs/*/records.parquet --by arm
    python -m repro.cot recorded.jsonl.gz --by model --out table.md
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from repro.cot.behaviours import BEHAVIOURS
from repro.cot.keywords import SELF_VALIDATION
from repro.cot.repetition import WORD_NGRAM
from repro.cot.summary import Profile, profile, summarise

BATCH = 512  # rows read at once: some 15 MB of long chains
TEXT_COLUMNS = ("response", "output")


class InputError(Exception):
    """What the user can mend, in one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise InputError(f"{message} (python -m repro.cot --help)")


def batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Rows of a Parquet or JSONL file (``.gz`` too), ``BATCH`` at a time."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                yield from (batch.to_pylist() for batch in file.iter_batches(BATCH))
        else:
            with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
                yield from _json_rows(path, file)
    except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are among the last
        raise InputError(
            f"{path}: cannot read it as {'Parquet' if path.suffix == '.parquet' else 'JSONL'}: {str(error).splitlines()[0]}"
        ) from error


def _json_rows(path: Path, lines: Iterator[str]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:  # the second for thousands of brackets
            raise InputError(f"{path}, line {number}: not JSON ({str(error).splitlines()[0]})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: must be a JSON object")
        rows.append(row)
        if len(rows) == BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


def _value(row: dict[str, Any], column: str, path: Path, number: int) -> Any:
    if column not in row:
        raise InputError(f"{path}, row {number}: no column {column}; it has {', '.join(map(str, row))}")
    return row[column]


def measure(paths: list[Path], by: str | None, column: str | None, ngram_size: int) -> tuple[dict[str, Profile], str]:
    """group -> profile of its responses, in order of appearance, and the unit of lengths: tokens if every row says how many."""
    parts: dict[str, list[Profile]] = {}
    unit = "tokens"
    for path in paths:
        number = 0
        for rows in batches(path):
            groups: dict[str, list[tuple[str, Any]]] = {}
            for row in rows:
                number += 1
                text = _value(row, column or next((name for name in TEXT_COLUMNS if name in row), " or ".join(TEXT_COLUMNS)), path, number)
                if not isinstance(text, str):
                    raise InputError(f"{path}, row {number}: the response must be text, not {json.dumps(text)[:40]}")
                tokens = row.get("tokens")
                if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
                    unit, tokens = "words", -1
                group = _value(row, by, path, number) if by else "all"
                named = "unknown" if group is None else str(group).encode("utf-8", "replace").decode()  # JSON may hold what no file can
                groups.setdefault(named, []).append((text, tokens))
            for group, found in groups.items():
                made = profile([text for text, _ in found], ngram_size=ngram_size)
                parts.setdefault(group, []).append({**made, "tokens": np.array([tokens for _, tokens in found])})
    if not parts:
        raise InputError("no responses in " + ", ".join(map(str, paths)))
    merged = {group: {name: np.concatenate([part[name] for part in found]) for name in found[0]} for group, found in parts.items()}
    for whole in merged.values():
        tokens = whole.pop("tokens")
        whole["length"] = tokens if unit == "tokens" else whole["length"]
    return merged, unit


def markdown(groups: dict[str, Profile], unit: str, by: str | None, ngram_size: int) -> str:
    """The table, with what its cells mean below it."""
    heads = [by or "group", "responses", f"mean {unit}", "mean steps", *SELF_VALIDATION, '"alternatively," a response', *BEHAVIOURS]
    heads += ["repeated words %", "python fence %"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for group, measures in groups.items():
        mean = summarise(measures)
        cells = [
            group.replace("|", "\\|").replace("\n", " "),
            f"{mean['responses']:z.0f}",
            f"{mean['mean_length']:z.0f}",
            f"{mean['mean_steps']:z.1f}",
        ]
        both = {name: f"{100 * mean[f'{name}_share']:z.1f} ({mean[f'{name}_per_1k']:z.2f})" for name in (*SELF_VALIDATION, *BEHAVIOURS)}
        cells += [both[name] for name in SELF_VALIDATION] + [f"{mean['branching_per_response']:z.3f}"] + [both[name] for name in BEHAVIOURS]
        cells += [f"{100 * mean['repetition']:z.1f}", f"{100 * mean['coding']:z.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Words and behaviours: % of responses with a hit (hits per 1,000 {unit}); a behaviour's hits are sentences that show it.",
    ]
    lines += [
        f"Repeated words: mean share of words inside {ngram_size}-word sequences that occurred before in the response. English rules."
    ]
    return "\n".join(lines)


def _write(table: str, path: Path) -> None:
    try:
        path.write_text(table + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror})") from None


def main() -> int:
    """Print the table, or one line on what is wrong. Returns the exit code."""
    parser = _Parser("python -m repro.cot", description=__doc__.split("\n\n")[1], epilog="\n".join(__doc__.strip().splitlines()[-2:]))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="records.parquet, or JSONL (.gz too), with a column response or output"
    )
    parser.add_argument("--by", metavar="COLUMN", help="a row of the table for each value of this column: model, arm, benchmark, ...")
    parser.add_argument("--column", help="the column of the text, if it is neither response nor output")
    parser.add_argument("--ngram", type=int, default=WORD_NGRAM, help="length in words of a repeated sequence (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there too")
    try:
        options = parser.parse_args()
        if options.ngram < 1:
            raise InputError(f"--ngram {options.ngram}: must be at least 1")
        groups, unit = measure(options.files, options.by, options.column, options.ngram)
        table = markdown(groups, unit, options.by, options.ngram)
        if options.out:
            _write(table, options.out)
    except InputError as error:
        print(f"repro.cot: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
