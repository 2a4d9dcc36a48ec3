"""The report's variance table: for every arm and benchmark, what training seed, question, decoding and verifier each contribute.

Differs from the ± of a leaderboard, whose one number covers one unnamed mixture of these (``repro.claims.variance`` has the model and the
formulas). The verifier is a source only where the same samples were scored by several; nothing is sampled again for it:

    python -m repro.verifiers.agreement outputs/sweeps --verifiers rule,legacy --csv verdicts.csv
    python -m repro.report outputs/sweeps --verdicts verdicts.csv

A cell of the table reads ``0.8 (3 %)``: the standard deviation, in points, that the source gives to one run's accuracy, and its share of a
single score's variance.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.claims.arms import scores_of
from repro.claims.group import Group, RecordError
from repro.claims.records import Records
from repro.claims.variance import Components, components
from repro.report.table import Row

SOURCES = ("seed", "question", "seed x question", "decoding")
HEADINGS = ("arm", "stage", "benchmark", "seeds x questions x samples", *SOURCES, "verifier", "seed, 95 % interval")
LONG = (
    "arm",
    "stage",
    "benchmark",
    "seeds",
    "questions",
    "samples",
    "verifiers",
    "source",
    "variance",
    "share",
    "sd_in_run",
    "mean_square",
    "df",
)
NOTE = (
    "0.8 (3 %): the standard deviation in points that a source gives to one run's accuracy, and its share of a single score's variance. "
    "A rerun with another training seed moves by seed, seed x question and decoding together; question is what another set of questions of "
    "this size would add. Crossed random effects by the method of moments; 0.0 is an estimate of 0 or below. Verifier: only where --verdicts "
    "gives the scores of several."
)
Verdicts = Mapping[Path, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Line:
    """Components of one arm on one benchmark."""

    arm: str
    stage: str
    benchmark: str
    found: Components

    def cells(self) -> list[str]:
        """As ``HEADINGS``."""
        found = self.found
        sources = [_both(found.in_mean(n), found.share(n)) if n in found.variances else "-" for n in SOURCES]
        share, deviation = found.verifier()
        low, high = found.seed_interval()
        levels = " x ".join(str(found.levels[name]) for name in ("seed", "question", "sample"))
        interval = "-" if math.isnan(low) else f"[{low:z.1f}, {high:z.1f}]"
        return [self.arm, self.stage, self.benchmark, levels, *sources, _both(deviation, share), interval]


def _both(deviation: float, share: float) -> str:
    return "-" if math.isnan(deviation) else f"{deviation:z.1f}" + ("" if math.isnan(share) else f" ({100 * share:z.0f} %)")


def long(found: Sequence[Line]) -> list[list[str]]:
    """Rows of variance.csv, as ``LONG``: one a source, in squared points and points; estimates below 0 as they are."""
    made = []
    for line in found:
        c = line.found
        for name, value in c.variances.items():
            numbers = (value, c.share(name), c.in_mean(name), c.mean_squares[name])
            levels = [str(count) for count in c.levels.values()]
            made.append([line.arm, line.stage, line.benchmark, *levels, name, *(f"{n:z.6g}" for n in numbers), str(c.freedom[name])])
    return made


def read_verdicts(path: Path) -> dict[Path, dict[str, np.ndarray]]:
    """The CSV of ``repro.verifiers.agreement``: records file -> verifier -> verdict of each of its rows, 1, 0 or NaN.

    Raises RecordError: no such file, no CSV of that command, or fewer than two verifiers beside the recorded verdict.
    """
    again = "write it with python -m repro.verifiers.agreement outputs/sweeps --verifiers rule,legacy --csv FILE"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = [n for n in reader.fieldnames or [] if f"{n}_extracted" in (reader.fieldnames or []) and n != "stored"]
            if "where" not in (reader.fieldnames or []) or len(names) < 2:
                raise RecordError(f"{path}: needs a column where and two or more verifiers, has {', '.join(names) or 'none'}; {again}")
            rows = [(row["where"], [row[name] for name in names]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path} cannot be read ({' '.join(str(error).split())}); {again}") from None
    found: dict[Path, list[tuple[int, list[str]]]] = {}
    for where, values in rows:
        place = re.fullmatch(r"(.+), row (\d+)", where)
        if not place:
            raise RecordError(f"{path}: {where!r} is no file and row; {again}")
        found.setdefault(Path(place[1]).resolve(), []).append((int(place[2]), values))
    made: dict[Path, dict[str, np.ndarray]] = {}
    for file, held in found.items():
        table = np.full((max(number for number, _ in held), len(names)), np.nan)
        for number, values in held:
            table[number - 1] = [float(value) if value in ("0", "1") else math.nan for value in values]
        made[file] = dict(zip(names, table.T, strict=True))
    return made


def lines(main: Sequence[Row], records: Records, scale: str, verdicts: Verdicts | None = None) -> list[Line]:
    """A line for each of the leaderboard's rows and benchmarks whose samples are complete."""
    made = []
    for row in main:
        group = records.groups[scale, row.stage, row.key]
        for benchmark in row.scores:
            table = _rescored(group, benchmark, verdicts) if verdicts else None
            table = _recorded(group, row.arm, benchmark) if table is None else table
            if table is not None and table.size > 1:
                made.append(Line(row.arm, row.stage, benchmark, components(table)))
    return made


def _seeds(group: Group) -> list[int]:
    """One seed an evaluation: the base is one evaluation, whichever seeds' cells hold it."""
    return sorted({evaluation["key"]: seed for seed, (evaluation, _) in group.evaluations[group.last].items()}.values())


def _recorded(group: Group, name: str, benchmark: str) -> np.ndarray | None:
    """Scores [seeds, questions, samples] by the recorded verdict; None where samples are missing."""
    arm = group.arm(name, benchmark)
    table = np.stack([arm.scores[seed] for seed in _seeds(group)])
    return None if np.isnan(table).any() else table


def _rescored(group: Group, benchmark: str, verdicts: Verdicts) -> np.ndarray | None:
    """Scores [seeds, questions, samples, verifiers], without questions that some verifier refused; None where some cell was not scored."""
    columns: dict[str, list[np.ndarray]] = {}
    places: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for seed in _seeds(group):
        _, cell = group.evaluations[group.last][seed]
        held = verdicts.get((cell.folder / "records.parquet").resolve())
        if held is None or (columns and set(columns) != set(held)):
            return None
        text = {name: np.asarray(cell.table[name].to_pylist()) for name in ("stage", "benchmark")}
        at = np.flatnonzero(
            (text["stage"] == group.stage) & (text["benchmark"] == benchmark) & (cell.table["step"].to_numpy() == group.last)
        )
        if not at.size or at.max() >= len(next(iter(held.values()))):
            return None
        places.append(
            (np.full(at.size, seed), np.asarray(cell.table["question_id"].to_pylist())[at], cell.table["sample_index"].to_numpy()[at])
        )
        for name, values in held.items():
            columns.setdefault(name, []).append(values[at])
    where = [np.concatenate(parts) for parts in zip(*places, strict=True)]
    tables = []
    for parts in columns.values():
        scores, _ = scores_of(*where, np.concatenate(parts), name=benchmark)
        tables.append(np.stack(list(scores.values())))
    table = np.stack(tables, axis=3)
    complete = ~np.isnan(table).any(axis=(0, 2, 3))
    return table[:, complete] if complete.any() else None
