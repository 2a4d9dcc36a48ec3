"""Reads the rows of a benchmark from local files: JSONL, Parquet or CSV, gzipped or not, below one folder.

Unlike ``datasets.load_dataset`` it needs no hub, no cache and no torch, accepts several spellings of a column (copies of one benchmark on
the hub and in repositories differ), and refuses a bad file in one line that says which file, which line or question, and what to do.

    from evals.files import data_dir, locate, pick, read_rows
    rows = read_rows(locate(("math500_test", "math500"), data_dir(), "see ..."))
    pick(rows, {"problem": ("problem", "question"), "level?": ("level",)}, "math500_test.jsonl")

The folder is an argument or the environment's ``REPRO_DATA_DIR``.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = "REPRO_DATA_DIR"
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".parquet.gz", ".csv", ".csv.gz")


class BenchmarkError(ValueError):
    """A benchmark that cannot be read; the message is one line that says which file or question and how to mend it."""


def from_hub(root: str | Path | None = None) -> bool:
    """Are questions to be read from the hub (``evals.hub``) in the place of files?"""
    return str(root or os.environ.get(ENVIRONMENT)) == "hub"


def data_dir(root: str | Path | None = None) -> Path:
    """The folder of the benchmark files: ``root``, else ``REPRO_DATA_DIR``.

    Raises BenchmarkError where neither is given or the folder does not exist.
    """
    named = root or os.environ.get(ENVIRONMENT)
    if not named:
        raise BenchmarkError(f"no folder of benchmark files: set {ENVIRONMENT} to it, or to hub to download them")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise BenchmarkError(f"the folder of benchmark files {folder} does not exist: set {ENVIRONMENT} to one that does")
    return folder


def locate(stems: Sequence[str], folder: Path, advice: str) -> Path:
    """The first file ``folder/STEM.SUFFIX`` that exists, stems before suffixes.

    Raises BenchmarkError naming the first stem, every suffix and ``advice`` (where to get it, which columns it needs).
    """
    for stem in stems:
        for suffix in SUFFIXES:
            if (path := folder / f"{stem}{suffix}").is_file():
                return path
    raise BenchmarkError(f"no file {stems[0]}{SUFFIXES[0]} (or {', '.join(SUFFIXES[1:])}) in {folder}: {advice}")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a file, its kind taken from the name. JSONL rows keep the file's order; empty lines are skipped.

    Raises BenchmarkError for a file that is missing, cut short, not what its name says, or empty; for JSONL with the line.
    """
    name = path.name.removesuffix(".gz")
    try:
        raw = path.read_bytes()
        if path.name.endswith(".gz"):
            raw = gzip.decompress(raw)
        if name.endswith(".jsonl"):
            rows = list(_jsonl(raw, path))
        elif name.endswith(".csv"):
            rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True))
        elif name.endswith(".parquet"):
            rows = _parquet(raw)
        else:
            raise BenchmarkError(f"{path}: unknown kind of file; use one of {', '.join(SUFFIXES)}")
    except BenchmarkError:
        raise
    except FileNotFoundError:
        raise BenchmarkError(f"{path} does not exist") from None
    # pyarrow's ArrowInvalid is a ValueError, zlib.error a plain Exception, a bad gzip header an OSError
    except (OSError, EOFError, ValueError, csv.Error, gzip.zlib.error) as error:
        raise BenchmarkError(f"{path}: cannot be read ({_line(error)}); copy it again") from None
    if not rows:
        raise BenchmarkError(f"{path} has no rows; copy it again")
    return rows


def read_table(path: Path) -> Any:
    """All rows of a file as a pyarrow Table; Parquet without a detour through Python objects.

    Raises BenchmarkError as ``read_rows``, and where a column of a JSONL file has values of several types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        rows = read_rows(path)
        try:
            return pa.Table.from_pylist(rows)
        except (pa.ArrowException, OverflowError) as error:
            raise BenchmarkError(f"{path}: a column has values of several types ({_line(error)})") from None
    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise BenchmarkError(f"{path} does not exist") from None
    except (pa.ArrowException, OSError) as error:
        raise BenchmarkError(f"{path}: cannot be read ({_line(error)}); copy it again") from None


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _jsonl(raw: bytes, path: Path) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # bytes that are not UTF-8, thousands of brackets
            raise BenchmarkError(f"{path}, line {number}: not JSON ({_line(error)}); one object a line") from None
        if not isinstance(row, dict):
            raise BenchmarkError(f"{path}, line {number}: a {type(row).__name__}, not an object; one object a line")
        yield whole_text(row) if b"\\ud" in line.lower() else row


def whole_text(value: Any) -> Any:
    """The value with a question mark for each half of a surrogate pair, which JSON can escape and no file of text can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {whole_text(key): whole_text(inner) for key, inner in value.items()}
    return [whole_text(inner) for inner in value] if isinstance(value, list) else value


def _parquet(raw: bytes) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(raw)).to_pylist()


def pick(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Sequence[str]], where: str | Path) -> list[dict[str, Any]]:
    """Rows under our names of the fields.

    Args:
        rows: as ``read_rows`` returns them.
        columns: field -> the column names it may have, first one first; a field whose name ends in ``?`` may be missing (then None).
        where: file name for messages.

    Raises:
        BenchmarkError: naming the field, the accepted names, the row and the columns it has.
    """
    picked = []
    for number, row in enumerate(rows, 1):
        fields = {}
        for field, names in columns.items():
            name = next((n for n in names if n in row), None)
            if name is None and not field.endswith("?"):
                raise BenchmarkError(
                    f"{where}, row {number}: no column {' or '.join(names)}; it has {', '.join(map(str, row)) or 'none'}; needed: {needed(columns)}"
                )
            fields[field.rstrip("?")] = None if name is None else row[name]
        picked.append(fields)
    return picked


def needed(columns: Mapping[str, Sequence[str]]) -> str:
    """The columns that a file must have, for messages."""
    return ", ".join(" or ".join(names) for field, names in columns.items() if not field.endswith("?"))


def check_questions(questions: Sequence[Any], where: str | Path) -> None:
    """Raises BenchmarkError, naming the question, for an id that occurs twice, an empty prompt or a reference that cannot be compared with.

    Args:
        questions: objects with ``id``, ``prompt``, ``gold`` and ``task``.
        where: file name for messages.
    """
    from repro.verifiers import GoldError, Verifier

    verifier, seen = Verifier(), set()
    for question in questions:
        if question.id in seen:
            raise BenchmarkError(f"{where}: question id {question.id} occurs twice; a result could not say which one it means")
        seen.add(question.id)
        if not question.prompt.strip():
            raise BenchmarkError(f"{where}: question {question.id} has no text")
        try:
            verifier.check_gold(question.gold, task=question.task, question_id=question.id)
        except GoldError as error:
            raise BenchmarkError(f"{where}: {error}") from None
