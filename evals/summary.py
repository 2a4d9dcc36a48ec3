"""Records -> the numbers that are shown: the table of an evaluation, and ``python -m evals.metrics``, every metric of a file of records.

Differs from a report over a sweep (``repro.report``) in that it knows nothing of experiments or claims: any file with the columns of
``evals/metrics.py`` will do, ours or the one that ``python -m evals.harness score=... out=...`` wrote. Every number is that of a function there.

    python -m evals.metrics records=outputs/evals/NAME/samples.parquet
    python -m evals.metrics records=outputs/sweeps/reward_design/ARM/seed=0/records.parquet stage=rl step=60 out=metrics.csv
"""

from __future__ import annotations

import csv
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evals import metrics
from evals.records import columns, select
from repro.config import ConfigError
from repro.keys import numbers, pairs

GROUPS = ("arm", "train_seed", "stage", "step", "benchmark", "group")
PANEL = 6  # groups side by side
HELP = """python -m evals.metrics records=FILE[,FILE...] [key=value ...]

Prints every metric of recorded samples, a column a group: avg@k with its clustered standard error and 95 % interval, unbiased pass@k, exact
maj@k, lengths, shares truncated and without an answer, how length follows difficulty, rates of keywords, branching and behaviours, repetition,
Python fences, and avg@k by level and by subject. What the columns of the file do not allow is named and left out.

  records   samples.parquet or records.parquet of ours, or what `python -m evals.harness score=FILE out=...` wrote; JSONL and CSV too
  by        columns that tell groups apart; those of {groups} that the file has
  {groups}: only rows with this value there, or with one of several
  k         of avg@k, pass@k and maj@k, e.g. 1,4,16; a question with fewer samples is refused. Powers of two up to what every question has
  out       write them there too, as CSV: group columns, metric, value

Exit code: 0, or 2 for input that has to be mended, with one line that says how.""".format(groups=", ".join(GROUPS))
Measured = dict[str, float]


def by_benchmark(records: Any) -> Iterator[tuple[str, Any]]:
    """(benchmark, its rows), in order of appearance."""
    import pyarrow.compute as pc

    for name in dict.fromkeys(records["benchmark"].to_pylist()):
        yield name, records.filter(pc.equal(records["benchmark"], name))


def least_samples(records: Any) -> int:
    """Samples of the question that has the fewest. Raises ValueError as ``columns``."""
    import numpy as np

    (question,) = columns(records, "question_id")
    return int(np.unique(question, return_counts=True)[1].min())


def table(path: Path) -> str:
    """One line a benchmark from the records alone; without votes where every question has one sample."""
    import pyarrow.parquet as pq

    head = ["benchmark", "questions", "k", "avg@k %", "95 % interval", "pass@k %", "maj@k %", "mean tokens", "truncated %", "no answer %"]
    lines = [head]
    for name, rows in by_benchmark(pq.read_table(path)):
        k, average, size = least_samples(rows), metrics.avg_at_k(rows), metrics.lengths(rows)
        shares = [metrics.pass_at_k(rows, k).mean, metrics.maj_at_k(rows, k).mean]
        line = [
            name,
            str(average.questions),
            str(k),
            f"{100 * average.mean:z.2f}",
            f"[{100 * average.low:z.2f}, {100 * average.high:z.2f}]",
        ]
        line += [f"{100 * share:z.2f}" for share in shares] + [f"{size['mean']:z.1f}", f"{100 * size['truncated']:z.2f}"]
        lines.append([*line, f"{100 * metrics.no_answer_share(rows):z.2f}"])
    if all(line[2] == "1" for line in lines[1:]):
        lines = [[*line[:5], *line[7:]] for line in lines]
    return aligned(lines)


def aligned(lines: list[list[str]]) -> str:
    """Columns of equal width, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def spread(files: Sequence[Path], chosen: Sequence[int]) -> str:
    """Mean over the seeds of decoding, and the standard deviation between them, in points; of one checkpoint, so not what training seeds vary by."""
    import numpy as np
    import pyarrow.parquet as pq

    scores: dict[str, list[float]] = {}
    for file in files:
        for name, rows in by_benchmark(pq.read_table(file)):
            scores.setdefault(name, []).append(100 * metrics.avg_at_k(rows).mean)
    lines = [
        f"{name}: {np.mean(found):z.2f} % over decoding seeds {', '.join(map(str, chosen))}, sd {np.std(found, ddof=1):z.2f}"
        for name, found in scores.items()
    ]
    return "\n".join(["", *lines])


def measure(records: Any, ks: Sequence[int] | None = None) -> tuple[Measured, list[str]]:
    """Every metric of the records of one arm, seed, checkpoint and benchmark.

    Args:
        records: pyarrow Table.
        ks: of avg@k, pass@k and maj@k; None: 1, 2, 4, ... and the number of samples that every question has.

    Returns:
        (metric -> value, shares in [0, 1] and lengths in tokens; what was left out, each with the column that is missing). A metric's ``_se``,
        ``_low`` and ``_high`` are its standard error over questions and the ends of its 95 % interval.

    Raises:
        ValueError: as the functions of ``evals.metrics``.
    """
    most = least_samples(records)
    ks = ks or sorted({2**i for i in range(most.bit_length())} | {most})
    present = {name for name in records.column_names if records[name].null_count < records.num_rows}
    left_out: list[str] = []

    def has(what: str, *names: str) -> bool:
        missing = [name for name in names if name not in present]
        if missing:
            left_out.append(f"{what} (no {' and no '.join(missing)})")
        return not missing

    average = metrics.avg_at_k(records)
    made: Measured = {"questions": average.questions, "samples": average.samples}
    voted = has("maj@k and share without an answer", "extracted")
    for k in ks:
        for name, found in (
            (f"avg@{k}", metrics.avg_at_k(records, k)),
            (f"pass@{k}", metrics.pass_at_k(records, k)),
            *([(f"maj@{k}", metrics.maj_at_k(records, k))] if voted else []),
        ):
            made |= {name: found.mean, f"{name}_se": found.se, f"{name}_low": found.low, f"{name}_high": found.high}
    if voted:
        made["no_answer"] = metrics.no_answer_share(records)
    if has("lengths", "tokens", "finish_reason"):
        found = metrics.lengths(records)
        made |= {"truncated": found.pop("truncated"), **{f"tokens_{name}": value for name, value in found.items()}}
    if has("calibration of length to difficulty", "tokens"):
        found = metrics.length_difficulty(records)
        made |= {"length_difficulty_rho": found["rho"], "length_difficulty_p": found["p"]}
    if has("rates of words and behaviours", "response", "tokens"):
        made |= {name: value for name, value in metrics.text_metrics(records).items() if name not in ("responses", "mean_length")}
    for column in ("level", "subject"):
        if column in present and len(set(records[column].to_pylist())) > 1:
            made |= {f"avg, {column} {value}": part.mean for value, part in metrics.breakdown(records, column).items()}
    return made, left_out


def groups(records: Any, by: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(values of ``by``, their rows), in order of appearance."""
    import numpy as np

    keys = list(zip(*(map(str, records[name].to_pylist()) for name in by), strict=True)) if by else [()] * records.num_rows
    places: dict[tuple[str, ...], list[int]] = {}
    for index, key in enumerate(keys):
        places.setdefault(key, []).append(index)
    for key, rows in places.items():
        chosen = np.zeros(len(keys), dtype=bool)
        chosen[rows] = True
        yield key, select(records, chosen)


def load(paths: Sequence[str]) -> Any:
    """The records of all files as one pyarrow Table; columns that only some have are null elsewhere.

    Raises:
        BenchmarkError: a file that cannot be read. ConfigError: files whose columns do not fit.
    """
    import pyarrow as pa

    from evals.files import read_table

    try:
        return pa.concat_tables([read_table(Path(path).expanduser()) for path in paths], promote_options="default")
    except pa.ArrowException as error:
        raise ConfigError(
            f"records={','.join(paths)}: columns of different types ({str(error).splitlines()[0]}); give them one by one"
        ) from None


def chosen(records: Any, wanted: dict[str, str]) -> Any:
    """The rows whose columns have one of the values asked for, ``"rl"`` or ``"0,20"``.

    Raises:
        ConfigError: no such column, no row with that value.
    """
    import numpy as np

    for name, text in wanted.items():
        if name not in records.column_names:
            raise ConfigError(f"{name}={text}: the records have no {name}; they have {', '.join(records.column_names)}")
        held = [str(value) for value in records[name].to_pylist()]
        values = [value.strip() for value in text.split(",")]
        if unknown := [value for value in values if value not in held]:
            there = ", ".join(dict.fromkeys(held))
            raise ConfigError(f"{name}={text}: no row has {unknown[0]}; there are {there[:300]}")
        records = select(records, np.isin(held, values))
    return records


def show(found: dict[tuple[str, ...], Measured], by: Sequence[str]) -> str:
    """A column a group, ``PANEL`` of them side by side, numbered; what the numbers mean, and what all groups share, above the tables."""
    names = list(dict.fromkeys(name for measured in found.values() for name in measured if not name.endswith(("_low", "_high"))))
    values = list(zip(*found, strict=True)) if by else []  # of each column
    alike = [f"{column}={held[0]}" for column, held in zip(by, values, strict=True) if len(set(held)) == 1]
    apart = [(column, held) for column, held in zip(by, values, strict=True) if len(set(held)) > 1]
    labels = [", ".join(f"{column}={held[at]}" for column, held in apart) for at in range(len(found))]
    lines = [", ".join(alike)] * bool(alike) + [f"[{at}] {label}" for at, label in enumerate(labels, 1)] * bool(apart)

    def cell(measured: Measured, name: str) -> str:
        value = measured.get(name, math.nan)
        if f"{name}_low" in measured:
            return f"{value:z.4f} [{measured[f'{name}_low']:z.4f}, {measured[f'{name}_high']:z.4f}]"
        return "-" if math.isnan(value) else f"{value:z.4g}" if value != int(value) else f"{value:z.0f}"

    measured = list(found.values())
    for first in range(0, len(measured), PANEL):
        panel = measured[first : first + PANEL]
        heads = [f"[{at}]" for at in range(first + 1, first + len(panel) + 1)] if apart else ["value"]
        lines += [""] * bool(lines) + [aligned([["metric", *heads], *([name, *(cell(m, name) for m in panel)] for name in names)])]
    return "\n".join(lines)


def write(found: dict[tuple[str, ...], Measured], by: Sequence[str], path: Path) -> None:
    """CSV: one row a group and metric. Raises ConfigError where it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow([*by, "metric", "value"])
            out.writerows([*key, name, repr(float(value))] for key, measured in found.items() for name, value in measured.items())
        os.replace(draft, path)
    except OSError as error:
        raise ConfigError(f"out={path} cannot be written ({error.strerror or error}): choose another file") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m evals.metrics``. Exit code; 2 with one line on stderr for input that has to be mended."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(HELP)
        return 0
    try:
        given = pairs(arguments, ("records", "by", "k", "out", *GROUPS))
        if "records" not in given:
            raise ConfigError("records=FILE is missing (--help)")
        ks = numbers("k", given["k"], 1) if "k" in given else None
        records = chosen(load([path.strip() for path in given["records"].split(",")]), {n: given[n] for n in GROUPS if n in given})
        by = [name.strip() for name in given["by"].split(",")] if "by" in given else [n for n in GROUPS if n in records.column_names]
        if missing := [name for name in by if name not in records.column_names]:
            raise ConfigError(f"by={given['by']}: the records have no {missing[0]}; they have {', '.join(records.column_names)}")
        if "by" in given and "benchmark" in records.column_names and "benchmark" not in by:
            by.append("benchmark")  # metrics of several together mean nothing
        found: dict[tuple[str, ...], Measured] = {}
        left_out: list[str] = []
        for key, rows in groups(records, by):
            try:
                found[key], missing = measure(rows, ks)
            except ValueError as error:
                label = ", ".join(f"{column}={value}" for column, value in zip(by, key, strict=True))
                raise ConfigError(f"{given['records']}{f' ({label})' if label else ''}: {error}") from None
            left_out += missing
        if not found:
            raise ConfigError(f"{given['records']} has no records")
        if "out" in given:
            write(found, by, Path(given["out"]).expanduser())
    except ValueError as error:  # ConfigError and BenchmarkError are among them
        print(f"evals.metrics: {error}", file=sys.stderr)
        return 2
    print(show(found, by))
    for what in dict.fromkeys(left_out):
        print(f"left out: {what}")
    return 0
